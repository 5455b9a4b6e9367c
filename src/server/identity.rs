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
        Initial, Opened,
        ports::{LogStore, StateStore},
    },
    state::{Member, member, meta},
    storage::{DataDir, Log, LogOptions, Store, StoreOptions},
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
    let store = Store::open(&dir, StoreOptions::default()).map_err(Error::Start)?;
    // A member that voted and forgot must not begin anew: it might vote twice in one term.
    if ran_before && stored_cluster(&store)?.is_none() {
        return Err(lost);
    }
    let opened = open(&log, &store, &initial)?;
    match stored_cluster(&store)? {
        Some(found) if found == cluster => {}
        found => {
            let found = found.map_or_else(|| "none".to_owned(), |found| found.to_string());
            let what = format!("the state belongs to cluster {found}, the data directory to {cluster}");
            return Err(Error::Start(Fault::new(what)));
        }
    }
    let boot = dir.next_boot()?;
    Ok(Prepared { cluster, member, boot, log: Arc::new(log), store: Arc::new(store), opened })
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
            let peer_urls: Vec<String> = founder.peer_urls.iter().map(ToString::to_string).collect();
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
