use std::ops::ControlFlow;

use super::*;
use crate::{
    node::ports::{DiskSpace, StateStore},
    state::{
        Writes,
        meta::Store,
        schema::{meta as records, ver},
    },
    storage::{
        Store as Stored, StoreOptions,
        testing::{crash, data_dir, temporary},
    },
};

const VALUE_BYTES: usize = 16 * 1024;

fn open(dir: &tempfile::TempDir) -> Stored {
    Stored::open(&data_dir(dir), StoreOptions::default()).unwrap()
}

/// A value that does not compress.
fn noise(seed: u64) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()
    };
    (0..VALUE_BYTES / 8).flat_map(|_| next()).collect::<Vec<u8>>().into()
}

fn commit(store: &Stored, records: impl IntoIterator<Item = (Family, String, Bytes)>) {
    let mut writes = Writes::default();
    for (family, key, value) in records {
        writes.records.insert((family, key.into()), Some(value));
    }
    store.commit(writes).unwrap();
}

/// `count` old versions whose ends are `count` revisions, the last of them `last`.
fn old_versions(store: &Stored, count: u64, last: u64) {
    for end in last + 1 - count..=last {
        let value = ver::encode(Revision(end.cast_signed()), &noise(end));
        commit(store, [(Family::Versions, format!("key{end:06}"), value)]);
    }
    store.flush().unwrap();
}

/// History up to `revision` is given up, and with it `bytes`.
fn compact_to(store: &Stored, revision: i64, bytes: u64) {
    commit_compaction(store, revision, bytes);
    store.set_compacted(Revision(revision));
}

/// The same as far as it is committed: readers do not know of it yet.
fn commit_compaction(store: &Stored, revision: i64, bytes: u64) {
    let numbers =
        Store { compacted: Revision(revision), compacted_retired_bytes: bytes, ..Store::default() };
    let record = records::encode_store(&numbers);
    let mut writes = Writes::default();
    writes.records.insert((Family::Meta, records::STORE_KEY.into()), Some(record));
    store.commit(writes).unwrap();
}

fn used(store: &Stored) -> u64 {
    store.disk_space().unwrap().used
}

fn go_on() -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Old versions in files that no write touches any more go, and the disk has room again. Those that
/// are still kept stay.
#[test]
fn garbage_in_cold_files_goes() {
    let dir = temporary();
    let store = open(&dir);
    old_versions(&store, 200, 200);
    // Down to the lowest level, where nothing would visit them again.
    store.current().compact(Family::Versions, &(None, None)).unwrap();
    let before = used(&store);
    assert!(before > 190 * VALUE_BYTES as u64, "{before}");
    compact_to(&store, 190, 1);
    store.flush().unwrap();
    assert!(used(&store) >= before, "flushes alone free nothing");

    let forgotten = store.reclaim(Reclaim::History, &mut go_on).unwrap();

    assert_eq!(forgotten, Some(Revision(190)));
    assert!(used(&store) < 20 * VALUE_BYTES as u64, "{} of {before} are left", used(&store));
    let view = store.view().unwrap();
    assert_eq!(view.get(Family::Versions, b"key000190").unwrap(), None);
    assert!(view.get(Family::Versions, b"key000191").unwrap().is_some());
}

/// Pairs that were deleted leave room only when everything is reclaimed.
#[test]
fn deleted_pairs_go_with_everything() {
    let dir = temporary();
    let store = open(&dir);
    for key in 0..200 {
        commit(&store, [(Family::Current, format!("key{key:06}"), noise(key))]);
    }
    store.flush().unwrap();
    store.current().compact(Family::Current, &(None, None)).unwrap();
    let mut deletes = Writes::default();
    for key in 0..200 {
        deletes.records.insert((Family::Current, format!("key{key:06}").into()), None);
    }
    store.commit(deletes).unwrap();

    store.reclaim(Reclaim::History, &mut go_on).unwrap();
    assert!(used(&store) > 190 * VALUE_BYTES as u64);
    store.reclaim(Reclaim::Everything, &mut go_on).unwrap();
    assert!(used(&store) < 2 * VALUE_BYTES as u64, "{} are left", used(&store));
}

/// What a compaction gives up that is just being applied is not taken for gone: the files may be
/// rewritten before it may be dropped.
#[test]
fn garbage_of_a_compaction_under_way_is_not_forgotten() {
    let dir = temporary();
    let store = open(&dir);
    old_versions(&store, 20, 20);
    commit_compaction(&store, 10, 1_000);

    store.reclaim(Reclaim::Everything, &mut go_on).unwrap();
    assert_eq!(store.garbage().unwrap(), 1_000);
    store.set_compacted(Revision(10));
    store.reclaim(Reclaim::Everything, &mut go_on).unwrap();
    assert_eq!(store.garbage().unwrap(), 0);
}

/// What was given up counts as garbage until all of it is gone, and a restart knows that; a run that
/// a crash or a stop cut short does not count.
#[test]
fn garbage_is_counted_across_restarts() {
    let dir = temporary();
    let store = open(&dir);
    old_versions(&store, 20, 20);
    compact_to(&store, 10, 1_000);
    store.flush().unwrap();
    assert_eq!(store.garbage().unwrap(), 1_000);

    let stopped = store.reclaim(Reclaim::Everything, &mut || ControlFlow::Break(()));
    assert_eq!(stopped, Ok(None));
    assert_eq!(store.garbage().unwrap(), 1_000);
    let killed = crash(&dir);
    assert_eq!(open(&killed).garbage().unwrap(), 1_000);

    store.reclaim(Reclaim::History, &mut go_on).unwrap();
    assert_eq!(store.garbage().unwrap(), 1_000, "pairs may have left some too");
    store.reclaim(Reclaim::Everything, &mut go_on).unwrap();
    assert_eq!(store.garbage().unwrap(), 0);
    compact_to(&store, 20, 1_500);
    drop(store);
    assert_eq!(open(&dir).garbage().unwrap(), 500);
}

/// A record of what is gone that cannot be read, or is of another state, says nothing.
#[test]
fn what_is_gone_is_known_of_one_state_only() {
    let dir = temporary();
    let reclaimed = Reclaimed::read(dir.path());
    reclaimed.note(3, 77).unwrap();
    let reclaimed = Reclaimed::read(dir.path());
    assert_eq!((reclaimed.bytes(3), reclaimed.bytes(4)), (77, 0));
    fs::write(dir.path().join("reclaimed"), "3 7").unwrap();
    assert_eq!(Reclaimed::read(dir.path()).bytes(3), 0);
}

/// A large family is compacted in several steps that do not overlap, and a stop is heeded between
/// two of them.
#[test]
fn large_families_go_in_steps() {
    let dir = temporary();
    let store = open(&dir);
    old_versions(&store, 9_000, 9_000);
    store.current().compact(Family::Versions, &(None, None)).unwrap();
    let ranges = store.current().ranges(Family::Versions).unwrap();
    assert!(ranges.len() > 1, "{ranges:?}");
    assert_eq!(ranges[0].0, None);
    assert_eq!(ranges[ranges.len() - 1].1, None);
    for pair in ranges.windows(2) {
        assert!(pair[0].1.is_some());
        assert_eq!(pair[0].1, pair[1].0);
    }

    compact_to(&store, 9_000, 1);
    let mut steps = 0;
    let stopped = store.reclaim(Reclaim::History, &mut || {
        steps += 1;
        ControlFlow::Break(())
    });
    assert_eq!((stopped, steps), (Ok(None), 1));
    assert!(used(&store) > 1_000 * VALUE_BYTES as u64, "one step did not do it all");
    store.reclaim(Reclaim::History, &mut go_on).unwrap();
    assert!(used(&store) < 100 * VALUE_BYTES as u64, "{} are left", used(&store));
}

/// Ranges of old versions without garbage are read and not rewritten.
#[test]
fn what_holds_no_garbage_is_not_rewritten() {
    let dir = temporary();
    let store = open(&dir);
    old_versions(&store, 20, 120);
    store.current().compact(Family::Versions, &(None, None)).unwrap();
    compact_to(&store, 100, 1);
    let files = || {
        let files = store.current().db().live_files().unwrap().into_iter();
        files
            .filter(|file| file.column_family_name == Family::Versions.name())
            .map(|file| file.name)
            .collect::<Vec<_>>()
    };
    let before = files();

    assert_eq!(store.reclaim(Reclaim::History, &mut go_on), Ok(Some(Revision(100))));
    assert_eq!(files(), before);
}

/// The file system of the data directory has some room, and not more than it is large.
#[test]
fn the_disk_is_measured() {
    let dir = temporary();
    let DiskSpace { free, total, .. } = open(&dir).disk_space().unwrap();
    assert!(0 < free && free <= total);
}
