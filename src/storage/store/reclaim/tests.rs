use std::{ops::ControlFlow, sync::atomic::Ordering};

use super::*;
use crate::{
    node::ports::{DiskSpace, StateStore},
    state::{
        Alarm, Writes,
        meta::Store,
        schema::{meta as records, ver},
    },
    storage::{
        Store as Stored, StoreOptions,
        testing::{crash, data_dir, temporary},
    },
    types::MemberId,
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

    store.reclaim(Reclaim::Everything, &mut go_on).unwrap();
    assert_eq!(store.garbage().unwrap(), 0);
    compact_to(&store, 20, 1_500);
    drop(store);
    assert_eq!(open(&dir).garbage().unwrap(), 500);
}

/// When history is gone, what may be left is what the files of pairs hold beside those that live, and
/// no more than was given up. A restart knows that too.
#[test]
fn after_history_only_dead_pairs_are_garbage() {
    let dir = temporary();
    let store = open(&dir);
    let pairs =
        |seed| (0..20).map(move |key| (Family::Current, format!("key{key:06}"), noise(seed)));
    // Too few files for the engine to merge them by itself.
    for seed in 0..3 {
        commit(&store, pairs(seed));
        store.flush().unwrap();
    }
    let numbers = |live: u64, given_up: u64| {
        let numbers = Store {
            compacted: Revision(10),
            logical_size: live + 77,
            retired_bytes: given_up + 77,
            compacted_retired_bytes: given_up,
            ..Store::default()
        };
        let record = records::encode_store(&numbers);
        commit(&store, [(Family::Meta, String::from("store"), record)]);
        store.set_compacted(Revision(10));
        store.flush().unwrap();
    };
    let all = 20 * VALUE_BYTES as u64;
    numbers(all, 3 * all);
    assert_eq!(store.garbage().unwrap(), 3 * all, "nothing is known to be gone");

    store.reclaim(Reclaim::History, &mut go_on).unwrap();
    let left = store.garbage().unwrap();
    // The files need a little for themselves.
    assert!((2 * all..2 * all + all / 8).contains(&left), "{left} are left of {}", 2 * all);
    numbers(all, 5 * all);
    assert_eq!(store.garbage().unwrap(), left + 2 * all, "history was given up since");
    drop(store);
    let store = open(&dir);
    assert!(store.garbage().unwrap() >= 2 * all);
    store.reclaim(Reclaim::History, &mut go_on).unwrap();
    store.current().compact(Family::Current, &(None, None)).unwrap();
    let left = store.garbage().unwrap();
    assert!(left < all / 8, "{left} are left where only live pairs are");
    store.reclaim(Reclaim::Everything, &mut go_on).unwrap();
    assert_eq!(store.garbage().unwrap(), 0);
}

/// A rewrite that was asked for rests; the engine's own work does not, nor does one that writers wait
/// for whom it gives room.
#[test]
fn only_who_has_time_rests() {
    let dir = temporary();
    let store = open(&dir);
    old_versions(&store, 2_000, 2_000);
    let rests = |store: &Stored| store.current().pace.rests.load(Ordering::Relaxed);
    assert_eq!(rests(&store), 0, "flushes do not rest");

    compact_to(&store, 1_000, 1);
    store.reclaim(Reclaim::History, &mut go_on).unwrap();
    let before = rests(&store);
    assert!(before > 0);

    let alarm = Alarm { member: MemberId(1), kind: AlarmKind::NoSpace };
    let numbers = Store { compacted: Revision(2_000), alarms: vec![alarm], ..Store::default() };
    commit(&store, [(Family::Meta, "store".into(), records::encode_store(&numbers))]);
    store.set_compacted(Revision(2_000));
    store.reclaim(Reclaim::History, &mut go_on).unwrap();
    assert_eq!(rests(&store), before);
    assert!(used(&store) < 100 * VALUE_BYTES as u64, "{} are left", used(&store));
}

/// A record of what is gone that cannot be read, or is of another state, says nothing.
#[test]
fn what_is_gone_is_known_of_one_state_only() {
    let dir = temporary();
    let read = || Reclaimed::read(dir.path());
    let gone = |number| {
        let known = read().known(number);
        (known.everything, known.history)
    };
    read().note(3, Reclaim::Everything, 77).unwrap();
    assert_eq!((gone(3), gone(4)), ((77, 77), (0, 0)));
    read().note(3, Reclaim::History, 99).unwrap();
    assert_eq!(gone(3), (77, 99));
    read().note(4, Reclaim::History, 5).unwrap();
    assert_eq!((gone(3), gone(4)), ((0, 0), (0, 5)));
    for damaged in ["3 7 7", "3 7\n", "3 8 7\n", "3 7 x\n", ""] {
        fs::write(dir.path().join("reclaimed"), damaged).unwrap();
        assert_eq!(gone(3), (0, 0), "{damaged}");
    }
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
