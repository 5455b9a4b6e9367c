//! Who this member is: a founder of a new cluster, or the one that its data directory says.
//!
//! A new data directory is given the identity that the initial cluster assigns, and keeps it. On a
//! later start the settings only have to agree with it, as far as they say anything: without an
//! initial cluster, or with the state `existing`, they say nothing.

use std::sync::Arc;

use super::Error;
use crate::{
    config::{Config, InitialClusterState},
    node::{
        Initial, Opened, fail_points,
        ports::{LogStore, StateStore},
    },
    state::{Member, member, meta},
    storage::{self, DataDir, Log, LogOptions, Store, StoreOptions},
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
}

/// Opens the log and the state in the member's data directory, and makes them when it is new.
pub(super) fn prepare(config: &Config, dir: DataDir) -> Result<Prepared, Error> {
    let path = || dir.path().display().to_string();
    let initial = initial(config);
    let me = own_id(config);
    let (cluster, member, ran_before) = match dir.identity() {
        None if config.initial_cluster_state == InitialClusterState::Existing => {
            return Err(Error::JoinUnsupported(path()));
        }
        None => {
            dir.begin(initial.cluster, me, &config.name)?;
            pass("start-named")?;
            (initial.cluster, me, false)
        }
        Some(identity) => {
            let ran_before = identity.boot > BootNumber(0);
            let says_nothing = !config.initial_cluster_is_set
                || config.initial_cluster_state == InitialClusterState::Existing;
            if !ran_before || !says_nothing {
                dir.require(initial.cluster, me)?;
            }
            (identity.cluster, identity.member, ran_before)
        }
    };
    let lost = Error::StateLost(path());

    let dir = Arc::new(dir);
    let log = Log::open(&dir, LogOptions::default()).map_err(Error::Start)?;
    pass("start-log-opened")?;
    let store = Store::open(&dir, store_options(config)).map_err(Error::Start)?;
    pass("start-store-opened")?;
    // A member that voted and forgot must not begin anew: it might vote twice in one term.
    if ran_before && stored_cluster(&store)?.is_none() {
        return Err(lost);
    }
    let opened = open(&log, &store, &initial)?;
    match stored_cluster(&store)? {
        Some(found) if found == cluster => {}
        found => {
            let found = found.map_or_else(|| "none".to_owned(), |found| found.to_string());
            let what =
                format!("the state belongs to cluster {found}, the data directory to {cluster}");
            return Err(Error::Start(Fault::new(what)));
        }
    }
    pass("start-fitted")?;
    let boot = dir.next_boot()?;
    pass("start-counted")?;
    Ok(Prepared { cluster, member, boot, log: Arc::new(log), store: Arc::new(store), opened })
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

fn open(log: &dyn LogStore, store: &dyn StateStore, initial: &Initial) -> Result<Opened, Error> {
    crate::node::open(log, store, initial).map_err(Error::Start)
}

fn stored_cluster(store: &dyn StateStore) -> Result<Option<ClusterId>, Error> {
    store.view().and_then(|view| meta::cluster(&*view)).map_err(Error::Start)
}

/// The cluster that the settings describe. Names and client URLs are left out: members publish
/// their own, and the first state must be the same on all of them.
fn initial(config: &Config) -> Initial {
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
    Initial { cluster: member::cluster_id(&ids), members }
}

/// The id that the initial cluster gives this member.
fn own_id(config: &Config) -> MemberId {
    let founder = config.initial_cluster.iter().find(|founder| founder.name == config.name);
    let urls = founder.map_or(&config.initial_advertise_peer_urls, |founder| &founder.peer_urls);
    let urls: Vec<String> = urls.iter().map(ToString::to_string).collect();
    member::member_id(&urls, &config.initial_cluster_token)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{self, Inputs};

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
        let prepared = prepare(config, DataDir::open(&config.data_dir)?)?;
        Ok((prepared.cluster, prepared.member, prepared.boot))
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

    /// Joining is refused in so many words, and leaves no identity behind.
    #[test]
    fn joining_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let joining = config(dir.path(), &[("initial-cluster-state", "existing")]);

        let error = start(&joining).unwrap_err();

        assert!(matches!(error, Error::JoinUnsupported(_)), "{error}");
        assert_eq!(DataDir::open(dir.path()).unwrap().identity(), None);
    }

    /// A member that has lost its state does not begin anew under its old name.
    #[test]
    fn a_lost_state_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        start(&config(dir.path(), &[])).unwrap();
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                std::fs::remove_dir_all(path).unwrap();
            } else if path.file_name().is_some_and(|name| name == "state") {
                std::fs::remove_file(path).unwrap();
            }
        }

        let error = start(&config(dir.path(), &[])).unwrap_err();

        assert!(matches!(error, Error::StateLost(_)), "{error}");
    }
}
