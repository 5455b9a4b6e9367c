//! Who this member is: a founder of a new cluster, one that joins a cluster that runs, or the one
//! that its data directory says.
//!
//! A new data directory is given the identity that the initial cluster assigns, or that the cluster
//! knows, and keeps it. On a later start the settings only have to agree with it, as far as they say
//! anything: without an initial cluster, or with the state `existing`, they say nothing. An identity
//! that was removed from its cluster is never used again.

use std::{borrow::Cow, sync::Arc};

use super::{
    Error, discovery, fence,
    join::{self, Place},
    rendezvous,
};
use crate::{
    config::{Config, InitialClusterState},
    node::{Initial, Opened, fail_points, force_new_cluster, ports::StateStore},
    state::{Member, Membership, member, meta},
    storage::{self, DataDir, IdentityRecord, Life, Log, LogOptions, Store, StoreOptions},
    tls::Dialer,
    types::{BootNumber, ClusterId, Fault, MemberId},
};

/// A member that is ready to start.
pub(super) struct Prepared {
    pub(super) cluster: ClusterId,
    pub(super) member: MemberId,
    pub(super) boot: BootNumber,
    pub(super) log: Arc<Log>,
    pub(super) store: Arc<Store>,
    pub(super) opened: Opened,
    pub(super) dir: Arc<DataDir>,
    /// The members, as far as they are known beside the state.
    pub(super) members: Option<Membership>,
}

/// Finds out who a member is that has no state, by asking others: the settings as they are then, and
/// the place of a member that joins. Nothing is written yet.
pub(super) async fn look_up<'a>(
    config: &'a Config,
    dir: &DataDir,
    dialer: &Dialer,
) -> Result<(Cow<'a, Config>, Option<Place>), Error> {
    let started = |it: &IdentityRecord| it.boot > BootNumber(0) && it.life != Life::Joining;
    let is_new = !dir.identity().as_ref().is_some_and(started);
    let config = match &config.discovery_srv {
        Some(domain) if is_new => Cow::Owned(Config {
            initial_cluster: discovery::initial_cluster(config, domain).await?,
            initial_cluster_is_set: true,
            ..config.clone()
        }),
        None if is_new && !config.discovery.token.is_empty() => Cow::Owned(Config {
            initial_cluster: rendezvous::initial_cluster(config).await?,
            initial_cluster_is_set: true,
            initial_cluster_token: config.discovery.token.clone(),
            ..config.clone()
        }),
        Some(_) | None => Cow::Borrowed(config),
    };
    let place = find_place(&config, dir, dialer).await?;
    Ok((config, place))
}

async fn find_place(
    config: &Config,
    dir: &DataDir,
    dialer: &Dialer,
) -> Result<Option<Place>, Error> {
    match dir.identity() {
        Some(identity) if identity.life == Life::Joining => {
            Ok(Some(join::rejoin(config, dialer, identity.cluster, identity.member).await?))
        }
        Some(_) => Ok(None),
        None if config.force_new_cluster => {
            Err(Error::NothingToForce(dir.path().display().to_string()))
        }
        None if config.initial_cluster_state == InitialClusterState::Existing => {
            Ok(Some(join::join(config, dialer).await?))
        }
        None => {
            join::found(config, dialer, founders(config).0, own_id(config)).await?;
            Ok(None)
        }
    }
}

/// Who this member is by its directory, which is given an identity when it has none, and what its
/// state begins with when it is new.
fn identify(
    config: &Config,
    dir: &DataDir,
    place: Option<&Place>,
) -> Result<(IdentityRecord, Initial), Error> {
    let (cluster, members) = founders(config);
    let identity = match dir.identity() {
        Some(identity) => identity,
        None => {
            match place {
                Some(place) => dir.begin_joining(place.cluster, place.member, &config.name)?,
                None => dir.begin(cluster, own_id(config), &config.name)?,
            }
            pass("start-named")?;
            dir.identity().expect("the directory was begun")
        }
    };
    let ran_before = identity.boot > BootNumber(0);
    if identity.life == Life::Removed {
        let path = dir.path().display().to_string();
        return Err(Error::RemovedBefore { path, member: identity.member });
    }
    let says_nothing = identity.life == Life::Joining
        || config.initial_cluster_state == InitialClusterState::Existing
        || (ran_before && !config.initial_cluster_is_set);
    if !says_nothing {
        dir.require(cluster, own_id(config))?;
    }
    let initial = match identity.life {
        Life::Joining => Initial::Joining { again: ran_before },
        Life::Member | Life::Removed => Initial::Founding { cluster, members },
    };
    Ok((identity, initial))
}

/// Opens the log and the state in the member's data directory, and makes them when it is new. A
/// member that joins has its `place`.
pub(super) fn prepare(
    config: &Config,
    dir: DataDir,
    place: Option<Place>,
) -> Result<Prepared, Error> {
    let (identity, initial) = identify(config, &dir, place.as_ref())?;
    let IdentityRecord { cluster, member, .. } = identity;
    let ran_before = identity.boot > BootNumber(0);
    let lost = Error::StateLost(dir.path().display().to_string());

    let dir = Arc::new(dir);
    let log = match Log::open(&dir, LogOptions::default()) {
        Err(fault) if fault.is_damage() => Err(fault),
        opened => Ok(opened.map_err(Error::Start)?),
    };
    pass("start-log-opened")?;
    let store = Store::open(&dir, store_options(config)).map_err(Error::Start)?;
    pass("start-store-opened")?;
    // A member that voted and forgot must not begin anew: it might vote twice in one term.
    if ran_before && identity.life != Life::Joining && stored_cluster(&store)?.is_none() {
        return Err(lost);
    }
    if stored_removal(&store, member)? {
        dir.removed()?;
        return Err(Error::RemovedBefore { path: dir.path().display().to_string(), member });
    }
    let mut fencing = fence::found(&dir)?;
    fencing.forced = config.force_new_cluster;
    let log = fence::usable_log(&dir, log, &store, &mut fencing)?;
    let mut opened = crate::node::open(&log, &store, &initial, fencing).map_err(Error::Start)?;
    if config.force_new_cluster {
        let forced = force_new_cluster(&log, &store, member, opened);
        opened = forced.map_err(Error::Start)?;
        opened.fencing.lift().map_err(Error::Start)?;
    }
    match stored_cluster(&store)? {
        // A crash may have come between the state and the note of it.
        Some(found) if found == cluster => dir.joined()?,
        None if identity.life == Life::Joining => {}
        found => {
            let found = found.map_or_else(|| "none".to_owned(), |found| found.to_string());
            let what =
                format!("the state belongs to cluster {found}, the data directory to {cluster}");
            return Err(Error::Start(Fault::new(what)));
        }
    }
    pass("start-fitted")?;
    let boot = fence::count_start(&dir, &log, &store)?;
    pass("start-counted")?;
    Ok(Prepared {
        cluster,
        member,
        boot,
        log: Arc::new(log),
        store: Arc::new(store),
        opened,
        dir,
        members: place.map(|place| place.members),
    })
}

fn store_options(config: &Config) -> StoreOptions {
    let block_cache_bytes = match config.block_cache_bytes {
        0 => storage::block_cache_bytes(),
        set => set,
    };
    tracing::info!(block_cache_bytes, "blocks of files are kept in memory");
    StoreOptions { block_cache_bytes, ..StoreOptions::default() }
}

fn pass(place: &str) -> Result<(), Error> {
    fail_points::pass(place).map_err(Error::Start)
}

fn stored_cluster(store: &dyn StateStore) -> Result<Option<ClusterId>, Error> {
    store.view().and_then(|view| meta::cluster(&*view)).map_err(Error::Start)
}

fn stored_removal(store: &dyn StateStore, member: MemberId) -> Result<bool, Error> {
    let membership = store.view().and_then(|view| meta::membership(&*view));
    membership.map(|it| it.is_removed(member)).map_err(Error::Start)
}

/// The cluster that the settings describe. Names and client URLs are left out: members publish
/// their own, and the first state must be the same on all of them.
pub(super) fn founders(config: &Config) -> (ClusterId, Vec<Member>) {
    let mut members: Vec<Member> = config
        .initial_cluster
        .iter()
        .map(|founder| {
            let peer_urls: Vec<String> =
                founder.peer_urls.iter().map(ToString::to_string).collect();
            Member {
                id: member::member_id(&peer_urls, &config.initial_cluster_token),
                peer_urls,
                ..Member::default()
            }
        })
        .collect();
    members.sort_by_key(|member| member.id);
    let ids: Vec<MemberId> = members.iter().map(|member| member.id).collect();
    (member::cluster_id(&ids), members)
}

/// The id that the initial cluster gives this member.
pub(super) fn own_id(config: &Config) -> MemberId {
    let founder = config.initial_cluster.iter().find(|founder| founder.name == config.name);
    let urls = founder.map_or(&config.initial_advertise_peer_urls, |founder| &founder.peer_urls);
    let urls: Vec<String> = urls.iter().map(ToString::to_string).collect();
    member::member_id(&urls, &config.initial_cluster_token)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        config::{self, Inputs},
        server::JoinError,
    };

    const CLUSTER: &str = "a=http://127.0.0.1:1,b=http://127.0.0.1:2";

    fn config(dir: &Path, changes: &[(&str, &str)]) -> Config {
        let dir = dir.to_str().unwrap();
        let url = "http://127.0.0.1:1";
        let defaults = [
            ("name", "a"),
            ("data-dir", dir),
            ("initial-advertise-peer-urls", url),
            ("initial-cluster", CLUSTER),
        ];
        let text = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let mut flags: std::collections::BTreeMap<String, String> =
            defaults.iter().map(text).collect();
        flags.extend(changes.iter().map(text));
        let inputs = Inputs { flags: flags.into_iter().collect(), ..Inputs::default() };
        config::load(&inputs).unwrap().config
    }

    /// Starts a member as far as this file does, and lets go of everything again.
    fn start(config: &Config) -> Result<(ClusterId, MemberId, BootNumber), Error> {
        start_at(config, None)
    }

    fn start_at(
        config: &Config,
        place: Option<Place>,
    ) -> Result<(ClusterId, MemberId, BootNumber), Error> {
        let prepared = prepare(config, DataDir::open(&config.data_dir)?, place)?;
        Ok((prepared.cluster, prepared.member, prepared.boot))
    }

    /// The place of a member that joins.
    fn place() -> Place {
        Place { cluster: ClusterId(0xc), member: MemberId(0xa), members: Membership::default() }
    }

    fn life(dir: &Path) -> Life {
        DataDir::open(dir).unwrap().identity().unwrap().life
    }

    /// Takes away all directories and, with them, the state or the log.
    fn lose(dir: &Path, what: &str) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && name.starts_with(what) {
                std::fs::remove_dir_all(path).unwrap();
            } else if name == what {
                std::fs::remove_file(path).unwrap();
            }
        }
    }

    /// A new directory gets the identity of the initial cluster, and keeps it: a later start needs
    /// no initial cluster.
    #[test]
    fn an_identity_is_given_once() {
        let dir = tempfile::tempdir().unwrap();
        let first = start(&config(dir.path(), &[])).unwrap();
        assert_eq!(first.2, BootNumber(1));

        let again = start(&config(dir.path(), &[])).unwrap();
        assert_eq!(again, (first.0, first.1, BootNumber(2)));

        let silent = Config { initial_cluster_is_set: false, ..config(dir.path(), &[]) };
        assert_eq!(start(&silent).unwrap(), (first.0, first.1, BootNumber(3)));
    }

    /// A directory of another cluster, or of another member of this one, is refused by name.
    #[test]
    fn a_directory_of_somebody_else_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        start(&config(dir.path(), &[])).unwrap();

        let other = start(&config(dir.path(), &[("initial-cluster-token", "other")])).unwrap_err();
        assert!(other.to_string().contains("belongs to cluster"), "{other}");
        let changes = [("name", "b"), ("initial-advertise-peer-urls", "http://127.0.0.1:2")];
        let other = start(&config(dir.path(), &changes)).unwrap_err();
        assert!(other.to_string().contains("belongs to member"), "{other}");
    }

    /// A member that joins is given its place, and may be started again and again before it has a
    /// state, whatever its settings say by then.
    #[test]
    fn a_member_that_joins_waits_for_its_state() {
        let dir = tempfile::tempdir().unwrap();
        let joining = config(dir.path(), &[("initial-cluster-state", "existing")]);

        let first = start_at(&joining, Some(place())).unwrap();
        assert_eq!(first, (ClusterId(0xc), MemberId(0xa), BootNumber(1)));
        assert_eq!(life(dir.path()), Life::Joining);

        let again = start(&config(dir.path(), &[])).unwrap();
        assert_eq!(again, (first.0, first.1, BootNumber(2)));
    }

    /// A member that joins and has lost its log may have voted already.
    #[test]
    fn a_member_that_joins_must_keep_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let joining = config(dir.path(), &[("initial-cluster-state", "existing")]);
        start_at(&joining, Some(place())).unwrap();
        lose(dir.path(), "log");

        let error = start(&joining).unwrap_err().to_string();

        assert!(error.contains("the log of a member that joined is missing"), "{error}");
    }

    /// Without anybody to ask a member does not join, and leaves no identity behind.
    #[tokio::test]
    async fn joining_nobody_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let changes =
            [("initial-cluster-state", "existing"), ("initial-cluster", "a=http://127.0.0.1:1")];
        let (config, data_dir) = (config(dir.path(), &changes), DataDir::open(dir.path()).unwrap());

        let error = look_up(&config, &data_dir, &Dialer::default()).await.unwrap_err();

        assert!(matches!(error, Error::Join(JoinError::NobodyToAsk)), "{error}");
        assert_eq!(data_dir.identity(), None);
    }

    /// A removed member is refused at once, and told what to do.
    #[test]
    fn a_removed_member_stays_away() {
        let dir = tempfile::tempdir().unwrap();
        start(&config(dir.path(), &[])).unwrap();
        DataDir::open(dir.path()).unwrap().removed().unwrap();

        let error = start(&config(dir.path(), &[])).unwrap_err().to_string();

        let expected = "the member has been permanently removed from the cluster: data directory";
        assert!(error.starts_with(expected), "{error}");
    }

    /// A member that has lost its state does not begin anew under its old name.
    #[test]
    fn a_lost_state_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        start(&config(dir.path(), &[])).unwrap();
        lose(dir.path(), "state");
        lose(dir.path(), "log");

        let error = start(&config(dir.path(), &[])).unwrap_err();

        assert!(matches!(error, Error::StateLost(_)), "{error}");
    }

    /// An identity that was put back from a copy, beside the log of a later start, is noticed: the
    /// number of that start would be used again.
    #[test]
    fn an_identity_that_was_put_back_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let (identity, copy) = (dir.path().join("identity"), dir.path().join("copy"));
        start(&config(dir.path(), &[])).unwrap();
        std::fs::copy(&identity, &copy).unwrap();
        assert_eq!(start(&config(dir.path(), &[])).unwrap().2, BootNumber(2));
        std::fs::copy(&copy, &identity).unwrap();

        let third = start(&config(dir.path(), &[])).unwrap();

        assert_eq!(third.2, BootNumber(3));
        let fenced = DataDir::open(dir.path()).unwrap().identity().unwrap().fenced;
        assert!(fenced, "it does not know what else it lost");
    }
}
