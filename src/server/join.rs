//! Who a member is that has no data: a founder, or one that was added to a cluster that runs.
//!
//! Both ask the members that the initial cluster names. A founder goes on when nobody answers, for
//! then there is no cluster yet; a member that joins waits for an answer for some time. Neither
//! begins under an id that has been in use already: its votes and what it acknowledged are
//! forgotten, so it must be removed and added again, under another id.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{
    net::lookup_host,
    time::{Instant, sleep, timeout},
};
use tracing::{info, warn};

use crate::{
    config::{Config, InitialMember, Url},
    state::{Member, Membership},
    tls::Dialer,
    transport::{ClusterMembers, membership_at},
    types::{ClusterId, MemberId},
};

/// How long one member may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// The same when a cluster is founded. Founders that start together find nobody listening, or
/// somebody who is about to answer.
const FOUNDER_ANSWERS_WITHIN: Duration = Duration::from_secs(1);
/// The pause before all are asked again.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// How long somebody is waited for who answers at all.
const SOMEBODY_ANSWERS_WITHIN: Duration = Duration::from_secs(30);
/// How long answers may contradict the settings: who answers may not have applied the addition yet.
const AGREE_WITHIN: Duration = Duration::from_secs(3);
/// How long the addresses of all members may take to be resolved.
const RESOLVED_WITHIN: Duration = Duration::from_secs(5);

/// Who a member that joins is, and who the members are.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) cluster: ClusterId,
    pub(super) member: MemberId,
    pub(super) members: Membership,
}

/// Why a member without data does not begin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// There is nobody to ask.
    #[error(
        "initial-cluster-state is existing, but initial-cluster names no other member that could be \
         asked"
    )]
    NobodyToAsk,
    /// Nobody answered.
    #[error(
        "cannot fetch cluster info from peer urls: could not retrieve cluster information from the \
         given URLs: {0}"
    )]
    NoAnswer(String),
    /// Those that were asked belong to several clusters.
    #[error("initial-cluster names members of several clusters: {0} and {1}")]
    SeveralClusters(ClusterId, ClusterId),
    /// The settings name more or fewer members than there are.
    #[error(
        "error validating peerURLs {0}: member count is unequal: initial-cluster names {1}. A member \
         must be added to the cluster before it is started"
    )]
    CountUnequal(String, usize),
    /// The settings do not name one of the members.
    #[error(
        "error validating peerURLs {found}: PeerURLs: no match found for existing member ({member}, \
         [{urls}])"
    )]
    NoMatch {
        /// The members there are.
        found: String,
        /// The one that is not named.
        member: MemberId,
        /// Its peer URLs.
        urls: String,
    },
    /// The id was in use before.
    #[error(
        "member {member} has already been bootstrapped, but its data directory {path} is empty. What \
         it has promised to the others is lost: remove it from the cluster (member remove {member}), \
         add it again (member add {name} --peer-urls={urls}), and start it with \
         initial-cluster-state existing"
    )]
    AlreadyBootstrapped {
        /// The member.
        member: MemberId,
        /// Its data directory.
        path: String,
        /// Its name.
        name: String,
        /// Its peer URLs.
        urls: String,
    },
    /// The id was removed.
    #[error(
        "the member has been permanently removed from the cluster: member {member} never returns. Add \
         a new one (member add {name} --peer-urls={urls}), and start it with an empty data directory \
         and initial-cluster-state existing"
    )]
    Removed {
        /// The member.
        member: MemberId,
        /// Its name.
        name: String,
        /// Its peer URLs.
        urls: String,
    },
}

/// Finds out who this member is in the cluster that the settings name, which it was added to.
pub(super) async fn join(config: &Config, dialer: &Dialer) -> Result<Place, JoinError> {
    let begun = Instant::now();
    let mut told = BTreeSet::new();
    let mut answered = None;
    loop {
        let answers = ask_others(config, dialer, None, ANSWER_WITHIN, &mut told).await?;
        let error = match answers {
            Answers { found, failed } if found.is_empty() => JoinError::NoAnswer(failed),
            Answers { found, .. } => {
                answered.get_or_insert_with(Instant::now);
                let resolved = resolve(config, &found).await;
                match place(config, &found, &resolved) {
                    Ok(place) => return Ok(place),
                    Err(error) => error,
                }
            }
        };
        let (since, patience) = match answered {
            Some(since) => (since, AGREE_WITHIN),
            None => (begun, SOMEBODY_ANSWERS_WITHIN),
        };
        if since.elapsed() >= patience || !error.may_pass() {
            return Err(error);
        }
        sleep(ASK_AGAIN_AFTER).await;
    }
}

/// Asks, for a member that joined before and has no state yet, who the others are. It knows its own
/// id, so it does not depend on the settings being up to date.
pub(super) async fn rejoin(
    config: &Config,
    dialer: &Dialer,
    cluster: ClusterId,
    member: MemberId,
) -> Result<Place, JoinError> {
    let mut told = BTreeSet::new();
    let asked = ask_others(config, dialer, Some(cluster), ANSWER_WITHIN, &mut told).await;
    let found = asked.map(|answers| answers.found).unwrap_or_default();
    refuse_used(config, member, &found)?;
    // Whichever it is, this member corrects it once it has a state.
    let members = found.into_iter().next().map(|it| it.membership).unwrap_or_default();
    Ok(Place { cluster, member, members })
}

/// Makes sure that a founder of a new cluster does not found it a second time.
pub(super) async fn found(
    config: &Config,
    dialer: &Dialer,
    cluster: ClusterId,
    member: MemberId,
) -> Result<(), JoinError> {
    // Nobody is there, as a rule, and that is as it should be: not worth a warning.
    let mut told = others(config).map(|url| url.to_string()).collect();
    let patience = FOUNDER_ANSWERS_WITHIN;
    match ask_others(config, dialer, Some(cluster), patience, &mut told).await {
        Ok(answers) => refuse_used(config, member, &answers.found),
        Err(_) => Ok(()), // it is alone
    }
}

/// What those said that were asked.
struct Answers {
    found: Vec<ClusterMembers>,
    /// Why the others gave no answer.
    failed: String,
}

/// The peer URLs of all initial members but this one.
fn others(config: &Config) -> impl Iterator<Item = &Url> {
    let others = config.initial_cluster.iter().filter(|member| member.name != config.name);
    others.flat_map(|member| &member.peer_urls)
}

/// Asks all others at once. `told` remembers whose failures were logged.
async fn ask_others(
    config: &Config,
    dialer: &Dialer,
    cluster: Option<ClusterId>,
    patience: Duration,
    told: &mut BTreeSet<String>,
) -> Result<Answers, JoinError> {
    let ask = async |url: &Url| {
        let url = url.to_string();
        let answer = membership_at(dialer, &url, cluster, patience).await;
        (url, answer)
    };
    let asked = join_all(others(config).map(ask)).await;
    if asked.is_empty() {
        return Err(JoinError::NobodyToAsk);
    }
    let mut answers = Answers { found: Vec::new(), failed: String::new() };
    for (url, answer) in asked {
        match answer {
            Ok(members) => answers.found.push(members),
            Err(reason) => {
                if told.insert(url.clone()) {
                    warn!(url, reason, "failed to get cluster response");
                }
                let separator = if answers.failed.is_empty() { "" } else { ", " };
                answers.failed = format!("{}{separator}{url}: {reason}", answers.failed);
            }
        }
    }
    Ok(answers)
}

impl JoinError {
    /// Whether it can help to ask again.
    fn may_pass(&self) -> bool {
        match self {
            Self::NoAnswer(_) | Self::CountUnequal(..) | Self::NoMatch { .. } => true,
            Self::NobodyToAsk
            | Self::SeveralClusters(..)
            | Self::AlreadyBootstrapped { .. }
            | Self::Removed { .. } => false,
        }
    }
}

/// This member's place by the first answer that agrees with the settings. All answers must be of one
/// cluster, and none may know the member from before.
fn place(
    config: &Config,
    found: &[ClusterMembers],
    resolved: &Resolved,
) -> Result<Place, JoinError> {
    let mut clusters = found.iter().map(|it| it.cluster);
    if let Some(first) = clusters.next()
        && let Some(other) = clusters.find(|other| *other != first)
    {
        return Err(JoinError::SeveralClusters(first, other));
    }
    let mut mismatch = JoinError::NobodyToAsk;
    for ClusterMembers { cluster, membership } in found {
        match own_id(config, *cluster, membership, resolved) {
            Ok(member) => {
                refuse_used(config, member, found)?;
                info!(%cluster, %member, "found this member in the cluster");
                return Ok(Place { cluster: *cluster, member, members: membership.clone() });
            }
            Err(error) => mismatch = error,
        }
    }
    Err(mismatch)
}

/// The id under which this member was added. As for etcd, the settings must name all members.
fn own_id(
    config: &Config,
    cluster: ClusterId,
    membership: &Membership,
    resolved: &Resolved,
) -> Result<MemberId, JoinError> {
    let (named, members) = (&config.initial_cluster, &membership.members);
    if named.len() != members.len() {
        return Err(JoinError::CountUnequal(describe(cluster, membership), named.len()));
    }
    let mut own = None;
    for member in members {
        let matching = named.iter().find(|it| resolved.same(&texts(it), &member.peer_urls));
        let Some(matching) = matching else {
            let (found, urls) = (describe(cluster, membership), member.peer_urls.join(" "));
            return Err(JoinError::NoMatch { found, member: member.id, urls });
        };
        if matching.name == config.name {
            own = Some(member.id);
        }
    }
    own.ok_or_else(|| JoinError::CountUnequal(describe(cluster, membership), named.len()))
}

/// Refuses an id that was removed, or that has been in use by a member that started.
fn refuse_used(
    config: &Config,
    member: MemberId,
    found: &[ClusterMembers],
) -> Result<(), JoinError> {
    let own = config.initial_cluster.iter().find(|it| it.name == config.name);
    let (name, urls) = (config.name.clone(), own.map(texts).unwrap_or_default().join(","));
    if found.iter().any(|it| it.membership.is_removed(member)) {
        return Err(JoinError::Removed { member, name, urls });
    }
    let started =
        |it: &Member| it.id == member && !(it.name.is_empty() && it.client_urls.is_empty());
    if found.iter().flat_map(|it| &it.membership.members).any(started) {
        let path = config.data_dir.display().to_string();
        return Err(JoinError::AlreadyBootstrapped { member, path, name, urls });
    }
    Ok(())
}

fn texts(member: &InitialMember) -> Vec<String> {
    member.peer_urls.iter().map(ToString::to_string).collect()
}

/// A member list for an error.
fn describe(cluster: ClusterId, membership: &Membership) -> String {
    let member = |it: &Member| format!("{}:{}=[{}]", it.id, it.name, it.peer_urls.join(" "));
    let members: Vec<String> = membership.members.iter().map(member).collect();
    format!("{{ClusterID:{cluster} Members:[{}]}}", members.join(" "))
}

/// URLs as addresses, as far as they could be resolved: several texts may mean one address.
#[derive(Debug, Default)]
struct Resolved(BTreeMap<String, String>);

impl Resolved {
    fn address<'a>(&'a self, url: &'a str) -> &'a str {
        self.0.get(url).map_or(url, String::as_str)
    }

    /// Whether two lists of URLs lead to the same places.
    fn same(&self, some: &[String], others: &[String]) -> bool {
        let places = |urls: &[String]| -> BTreeSet<String> {
            urls.iter().map(|url| self.address(url).to_owned()).collect()
        };
        some.len() == others.len() && places(some) == places(others)
    }
}

/// Resolves all URLs of the settings and of the member lists.
async fn resolve(config: &Config, found: &[ClusterMembers]) -> Resolved {
    let named = config.initial_cluster.iter().flat_map(texts);
    let known =
        found.iter().flat_map(|it| &it.membership.members).flat_map(|it| it.peer_urls.clone());
    let urls: BTreeSet<String> = named.chain(known).collect();
    let resolve = async |text: String| {
        let url = Url::parse(&text).ok()?;
        let looked_up = timeout(RESOLVED_WITHIN, lookup_host(url.authority())).await.ok()?.ok();
        let address = looked_up.and_then(Iterator::min)?;
        Some((text, format!("{}://{address}", url.scheme().as_str())))
    };
    Resolved(join_all(urls.into_iter().map(resolve)).await.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Inputs};

    const NAMED: &str = "a=http://127.0.0.1:1,b=http://127.0.0.1:2,c=http://127.0.0.1:3";

    /// The settings of member c, which is to join a and b.
    fn config(initial_cluster: &str) -> Config {
        let flags = [
            ("name", "c"),
            ("initial-advertise-peer-urls", "http://127.0.0.1:3"),
            ("initial-cluster", initial_cluster),
            ("initial-cluster-state", "existing"),
        ];
        let flags = flags.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let inputs = Inputs { flags: flags.into(), ..Inputs::default() };
        config::load(&inputs).unwrap().config
    }

    fn member(id: u64, name: &str, url: &str) -> Member {
        let (id, name) = (MemberId(id), name.to_owned());
        Member { id, name, peer_urls: vec![url.to_owned()], ..Member::default() }
    }

    /// What a member says that knows of all three, c not started.
    fn three() -> ClusterMembers {
        let members = vec![
            member(0xc, "", "http://127.0.0.1:3"),
            member(0xb, "b", "http://127.0.0.1:2"),
            member(0xa, "a", "http://127.0.0.1:1"),
        ];
        let membership = Membership { members, removed: Vec::new() };
        ClusterMembers { cluster: ClusterId(0x1), membership }
    }

    fn placed(initial_cluster: &str, found: &[ClusterMembers]) -> Result<Place, JoinError> {
        place(&config(initial_cluster), found, &Resolved::default())
    }

    fn refusal(initial_cluster: &str, found: &[ClusterMembers]) -> String {
        placed(initial_cluster, found).unwrap_err().to_string()
    }

    /// A member finds its id by its peer URLs, whatever the order.
    #[test]
    fn a_member_is_found_by_its_urls() {
        let place = placed(NAMED, &[three()]).unwrap();
        assert_eq!((place.cluster, place.member), (ClusterId(1), MemberId(0xc)));
        assert_eq!(place.members.members.len(), 3);
    }

    /// One answer that agrees is enough: the others may lag behind.
    #[test]
    fn an_answer_that_lags_is_passed_over() {
        let mut behind = three();
        behind.membership.members.remove(0);
        assert_eq!(placed(NAMED, &[behind, three()]).unwrap().member, MemberId(0xc));
    }

    /// More or fewer members than there are, and others than there are, are refused in etcd's words.
    #[test]
    fn settings_that_do_not_fit_are_refused() {
        let two = "a=http://127.0.0.1:1,c=http://127.0.0.1:3";
        let text = refusal(two, &[three()]);
        assert!(text.contains("error validating peerURLs {ClusterID:1 Members:[c:=["), "{text}");
        assert!(text.contains("member count is unequal: initial-cluster names 2"), "{text}");

        let other = "a=http://127.0.0.1:1,b=http://127.0.0.1:9,c=http://127.0.0.1:3";
        let text = refusal(other, &[three()]);
        let expected = "PeerURLs: no match found for existing member (b, [http://127.0.0.1:2])";
        assert!(text.ends_with(expected), "{text}");
    }

    /// An id under which somebody started already is not begun anew, whoever says so.
    #[test]
    fn an_id_in_use_is_refused() {
        let mut started = three();
        started.membership.members[0].name = "c".into();
        for found in [[started.clone(), three()], [three(), started]] {
            let text = refusal(NAMED, &found);
            assert!(text.starts_with("member c has already been bootstrapped"), "{text}");
            assert!(text.contains("member remove c"), "{text}");
            assert!(text.contains("member add c --peer-urls=http://127.0.0.1:3"), "{text}");
        }
    }

    /// A removed id never returns.
    #[test]
    fn a_removed_id_is_refused() {
        let mut removed = three();
        removed.membership.removed.push(MemberId(0xc));
        let text = refusal(NAMED, &[removed]);
        let expected = "the member has been permanently removed from the cluster";
        assert!(text.starts_with(expected), "{text}");
    }

    /// Settings that lead to two clusters are refused.
    #[test]
    fn two_clusters_are_refused() {
        let other = ClusterMembers { cluster: ClusterId(0x2), ..three() };
        let error = placed(NAMED, &[three(), other]).unwrap_err();
        assert_eq!(error, JoinError::SeveralClusters(ClusterId(1), ClusterId(2)));
    }

    /// Names and addresses that lead to one place are the same.
    #[tokio::test]
    async fn urls_are_compared_by_where_they_lead() {
        let named = "a=http://127.0.0.1:1,b=http://127.0.0.1:2,c=http://127.0.0.1:3";
        let mut found = three();
        found.membership.members[1].peer_urls = vec!["http://[::ffff:127.0.0.1]:2".to_owned()];
        let config = config(named);
        assert!(place(&config, std::slice::from_ref(&found), &Resolved::default()).is_err());

        found.membership.members[1].peer_urls = vec!["http://localhost:2".to_owned()];
        let found = [found];
        let mut resolved = resolve(&config, &found).await;
        assert!(resolved.0.contains_key("http://localhost:2"), "{resolved:?}");
        // Where localhost leads first differs between machines.
        resolved.0.insert("http://localhost:2".to_owned(), "http://127.0.0.1:2".to_owned());
        assert_eq!(place(&config, &found, &resolved).unwrap().member, MemberId(0xc));
    }
}
