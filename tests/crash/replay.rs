//! What a stopped member holds, held against what its log alone leads to.
//!
//! The log's commands, applied to an empty state in memory by the state machine, must give every
//! record that the member's own store has once it has applied the rest of the same log: counts,
//! sizes, leases, history and all. Only garbage may differ.

use std::{collections::BTreeMap, fs, io, ops::ControlFlow, path::Path, sync::Arc};

use bytes::Bytes;
use quorate::{
    node::ports::{LogStore, StateStore},
    raft::LogEntry,
    state::{
        self, Direction, Family, Member, Overlay, View, Writes, codec, hash, member, meta,
        schema::{cnt, versioned},
        testing::{MapView, inconsistencies},
    },
    storage::{DataDir, Log, LogOptions, Store, StoreOptions},
    types::{Index, Position, Revision, Term},
};

/// The token that the harness leaves at its default.
const TOKEN: &str = "etcd-cluster";
const PAGE_BYTES: u64 = 1024 * 1024;

/// What a member holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) revision: i64,
    pub(crate) applied: u64,
    /// The checksum of the state at its revision.
    pub(crate) hash: u32,
    /// Whether the log began at its origin and was replayed.
    pub(crate) replayed: bool,
}

/// Reads a copy of a data directory that no process uses, as a member would at its start: state and
/// log, the rest of the log applied. Where the log is whole, compares with a pure replay of it.
pub(crate) fn read(data_dir: &Path, peer_urls: &[String]) -> Result<Held, String> {
    let copy = crate::folder();
    copy_into(data_dir, copy.path()).map_err(|error| format!("copy: {error}"))?;
    let text = |fault: quorate::types::Fault| fault.to_string();
    let dir = Arc::new(DataDir::open(copy.path()).map_err(|error| error.to_string())?);
    let options = LogOptions { prefill_bytes: 0, ..LogOptions::default() };
    let log = Log::open(&dir, options).map_err(text)?;
    let store = Store::open(&dir, StoreOptions::default()).map_err(text)?;
    let bounds = log.load().map_err(text)?;
    let (applied, _) = meta::applied(&*store.view().map_err(text)?).map_err(text)?;

    let mut pure = MapView::default();
    pure.commit(first_state(peer_urls));
    // A log begins at its origin, which is entry 1. One that ends before the state was to start anew
    // behind a checkpoint that is installed already.
    let replayed = bounds.truncated.index <= Index(1) && applied <= bounds.last.index;
    let mut next = bounds.truncated.index.next();
    while next <= bounds.last.index {
        for entry in log.entries(next, bounds.last.index.next(), PAGE_BYTES).map_err(text)? {
            next = Index(entry.index).next();
            if entry.index > applied.0 {
                let view = store.view().map_err(text)?;
                store.commit(effects(&*view, &entry)).map_err(text)?;
            }
            if replayed {
                let writes = effects(&pure, &entry);
                pure.commit(writes);
            }
        }
    }
    let view = store.view().map_err(text)?;
    let wrong = inconsistencies(&*view).map_err(text)?;
    if !wrong.is_empty() {
        return Err(format!("{} is unsound:\n{}", data_dir.display(), wrong.join("\n")));
    }
    if replayed {
        compare(&*view, &pure)?;
    }
    let revision = meta::revision(&*view).map_err(text)?;
    let hash = hash_at(&*view, revision)?;
    let (applied, _) = meta::applied(&*view).map_err(text)?;
    Ok(Held { revision: revision.0, applied: applied.0, hash, replayed })
}

fn hash_at(view: &dyn View, revision: Revision) -> Result<u32, String> {
    hash::state(view, revision).map_err(|error| format!("{error:?}"))
}

/// The state in which the cluster of these members began.
fn first_state(peer_urls: &[String]) -> Writes {
    let member = |url: &String| {
        let peer_urls = vec![url.clone()];
        Member { id: member::member_id(&peer_urls, TOKEN), peer_urls, ..Member::default() }
    };
    let mut members: Vec<Member> = peer_urls.iter().map(member).collect();
    members.sort_by_key(|member| member.id);
    let ids: Vec<_> = members.iter().map(|member| member.id).collect();
    state::bootstrap(member::cluster_id(&ids), &members)
}

/// What an entry changes, and that it was applied.
fn effects(view: &dyn View, entry: &LogEntry) -> Writes {
    let mut overlay = Overlay::new(view);
    let at = Position { index: Index(entry.index), term: Term(entry.term) };
    if !entry.data.is_empty() {
        for request in codec::decode_group(entry.data.clone()).unwrap() {
            let applied = state::apply(&overlay, at, &request).unwrap();
            overlay.absorb(applied.writes);
        }
    }
    let (key, value) = meta::applied_record(Index(entry.index), Term(entry.term));
    overlay.put(Family::Meta, key, value);
    overlay.into_writes()
}

fn compare(stored: &dyn View, pure: &dyn View) -> Result<(), String> {
    let mut wrong = Vec::new();
    for family in Family::ALL {
        let (stored, pure) = (records(stored, family)?, records(pure, family)?);
        for key in stored.keys().chain(pure.keys()) {
            if stored.get(key) != pure.get(key) {
                let (stored, pure) = (stored.get(key), pure.get(key));
                wrong.push(format!("{family:?} {key:?}: stored {stored:?}, by replay {pure:?}"));
            }
        }
    }
    wrong.truncate(10);
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

/// The records of a family but for garbage.
fn records(view: &dyn View, family: Family) -> Result<BTreeMap<Bytes, Bytes>, String> {
    let compacted = meta::compacted(view).map_err(|fault| fault.to_string())?;
    let mut records = BTreeMap::new();
    view.scan(family, &[], None, Direction::Forward, &mut |key, value| {
        let garbage = match family {
            Family::Versions => versioned::is_garbage(value, compacted),
            Family::Counts => cnt::is_garbage(key, value, compacted),
            Family::Current | Family::Events | Family::Meta | Family::Leases | Family::Auth => {
                false
            }
        };
        if !garbage {
            records.insert(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
        }
        Ok(ControlFlow::Continue(()))
    })
    .map_err(|fault| fault.to_string())?;
    Ok(records)
}

fn copy_into(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir(&target)?;
            copy_into(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
