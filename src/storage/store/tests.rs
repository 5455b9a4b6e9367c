mod damage;
mod history;

use std::{fs, ops::ControlFlow};

use rocksdb::{BottommostLevelCompaction, CompactOptions};
use tempfile::TempDir;

use super::*;
use crate::{
    state::{
        Direction, Family, View, meta,
        schema::{self, evt, ver},
    },
    storage::{
        store::view::handle,
        testing::{crash, data_dir, temporary},
    },
    types::{Index, Term},
};

pub(super) fn open(dir: &TempDir) -> Store {
    Store::open(&data_dir(dir), StoreOptions::default()).unwrap()
}

fn open_fault(dir: &TempDir) -> String {
    match Store::open(&data_dir(dir), StoreOptions::default()) {
        Ok(_) => panic!("a state that is not whole was opened"),
        Err(fault) => fault.to_string(),
    }
}

/// Writes of one commit: the same key and value in every family, and the applied index.
pub(super) fn writes(key: &'static str, value: &'static str, applied: u64) -> Writes {
    let mut writes = Writes::default();
    for family in Family::ALL {
        writes.records.insert((family, key.into()), Some(value.into()));
    }
    let (key, value) = meta::applied_record(Index(applied), Term(1));
    writes.records.insert((Family::Meta, key), Some(value));
    writes
}

fn compacted(to: i64) -> Writes {
    let record = schema::meta::Store { compacted: Revision(to), ..schema::meta::Store::default() };
    let value = schema::meta::encode_store(&record);
    let mut writes = Writes::default();
    writes.records.insert((Family::Meta, schema::meta::STORE_KEY.into()), Some(value));
    writes
}

pub(super) fn position(index: u64) -> Position {
    Position { index: Index(index), term: Term(u64::from(index > 0)) }
}

/// What every family has under `key`; all must have the same.
pub(super) fn everywhere(view: &dyn View, key: &str) -> Option<String> {
    let mut values = Family::ALL.map(|family| {
        let value = view.get(family, key.as_bytes()).unwrap();
        value.map(|value| String::from_utf8(value.to_vec()).unwrap())
    });
    assert!(values.iter().all(|value| *value == values[0]), "{key}: {values:?}");
    values[0].take()
}

fn keys(view: &dyn View, start: &str, end: Option<&str>, direction: Direction) -> Vec<String> {
    let mut keys = Vec::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        assert!(!value.is_empty());
        keys.push(String::from_utf8(key.to_vec()).unwrap());
        Ok(ControlFlow::Continue(()))
    };
    let end = end.map(str::as_bytes);
    view.scan(Family::Current, start.as_bytes(), end, direction, &mut visit).unwrap();
    keys
}

/// Visits every file of a family.
fn compact(database: &Database, family: Family) {
    let mut options = CompactOptions::default();
    options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
    let (db, all) = (database.db(), None::<&[u8]>);
    db.compact_range_cf_opt(handle(db, family), all, all, &options);
}

/// A view shows the commits before it and none after it, in all families alike.
#[test]
fn a_view_does_not_change() {
    let dir = temporary();
    let store = open(&dir);
    store.commit(writes("a", "1", 1)).unwrap();
    let view = store.view().unwrap();
    store.commit(writes("a", "2", 2)).unwrap();
    store.commit(writes("b", "2", 3)).unwrap();
    store.flush().unwrap();

    assert_eq!(everywhere(&*view, "a").as_deref(), Some("1"));
    assert_eq!(everywhere(&*view, "b"), None);
    assert_eq!(keys(&*view, "", None, Direction::Forward), ["a"]);
    let now = store.view().unwrap();
    assert_eq!(everywhere(&*now, "a").as_deref(), Some("2"));
    drop(store);
    assert_eq!(everywhere(&*now, "b").as_deref(), Some("2"));
}

/// A scan visits a half-open range in either direction, and ends when told to.
#[test]
fn scans_have_bounds_and_directions() {
    let dir = temporary();
    let store = open(&dir);
    for key in ["a", "b", "c", "d"] {
        store.commit(writes(key, "x", 1)).unwrap();
    }
    let view = store.view().unwrap();
    assert_eq!(keys(&*view, "b", Some("d"), Direction::Forward), ["b", "c"]);
    assert_eq!(keys(&*view, "b", Some("d"), Direction::Backward), ["c", "b"]);
    assert_eq!(keys(&*view, "b", None, Direction::Backward), ["d", "c", "b"]);
    assert_eq!(keys(&*view, "bb", None, Direction::Forward), ["c", "d"]);
    assert!(keys(&*view, "c", Some("c"), Direction::Forward).is_empty());
    assert!(keys(&*view, "d", Some("a"), Direction::Backward).is_empty());

    let mut visited = 0;
    let mut visit = |_: &[u8], _: &[u8]| {
        visited += 1;
        Ok(ControlFlow::Break(()))
    };
    view.scan(Family::Current, b"", None, Direction::Forward, &mut visit).unwrap();
    assert_eq!(visited, 1);
    let mut visit = |_: &[u8], _: &[u8]| Err(Fault::new("enough"));
    let fault = view.scan(Family::Current, b"", None, Direction::Forward, &mut visit);
    assert_eq!(fault, Err(Fault::new("enough")));
}

/// A cursor goes to either side of the gap before a key, never out of its bounds, and may turn; at
/// its end it stays there.
#[test]
fn cursors_seek_both_ways() {
    let dir = temporary();
    let store = open(&dir);
    for key in ["a", "c", "e", "g"] {
        store.commit(writes(key, "x", 1)).unwrap();
    }
    let view = store.view().unwrap();
    let mut cursor = view.cursor(Family::Current, b"b", Some(b"g")).unwrap();
    assert_eq!(cursor.item(), None, "a new cursor stands nowhere");
    let places = [("", "c", ""), ("c", "c", ""), ("d", "e", "c"), ("e", "e", "c"), ("z", "", "e")];
    for (key, above, below) in places {
        for (direction, expected) in [(Direction::Forward, above), (Direction::Backward, below)] {
            cursor.seek(key.as_bytes(), direction).unwrap();
            let found = cursor.item().map_or(&b""[..], |(key, _)| key);
            assert_eq!(found, expected.as_bytes(), "{key} {direction:?}");
        }
    }
    cursor.seek(b"e", Direction::Forward).unwrap();
    for _ in 0..2 {
        cursor.step().unwrap();
        assert_eq!(cursor.item(), None);
    }
    cursor.begin(Direction::Backward).unwrap();
    cursor.step().unwrap();
    assert_eq!(cursor.item(), Some((&b"c"[..], &b"x"[..])));
}

/// A dropped range goes before the records of the same commit are written, and a deleted record is
/// gone.
#[test]
fn ranges_are_dropped_before_records_are_written() {
    let dir = temporary();
    let store = open(&dir);
    for key in ["a", "b", "c", "d"] {
        store.commit(writes(key, "x", 1)).unwrap();
    }
    let mut drop = writes("b", "y", 2);
    drop.dropped_ranges.push((Family::Current, "a".into(), "d".into()));
    drop.records.insert((Family::Auth, "a".into()), None);
    store.commit(drop).unwrap();
    store.flush().unwrap();

    let view = store.view().unwrap();
    assert_eq!(keys(&*view, "", None, Direction::Forward), ["b", "d"]);
    assert_eq!(view.get(Family::Auth, b"a").unwrap(), None);
    assert_eq!(view.get(Family::Events, b"a").unwrap().as_deref(), Some(&b"x"[..]));
}

/// Files that lie within a dropped range are deleted at the next flush after readers have heard that
/// it is gone, and no record outside of the range with them.
#[test]
fn files_of_a_dropped_range_are_freed() {
    let dir = temporary();
    let store = open(&dir);
    let key = |number| evt::first_of(Revision(number));
    let mut fill = Writes::default();
    for number in 0..20_000 {
        fill.records.insert((Family::Events, key(number)), Some(vec![7; 20].into()));
    }
    store.commit(fill).unwrap();
    store.flush().unwrap();
    let database = store.current();
    compact(&database, Family::Events);
    let files = || {
        let files = database.db().live_files().unwrap().into_iter();
        let files = files.filter(|file| file.column_family_name == "evt");
        files.map(|file| file.name).collect::<Vec<_>>()
    };
    let full = files().pop().unwrap();

    // The last key stays: the range ends before it.
    let mut drop = Writes::default();
    drop.dropped_ranges.push((Family::Events, key(0), key(19_999)));
    store.commit(drop).unwrap();
    store.flush().unwrap();
    let view = store.view().unwrap();
    assert!(view.get(Family::Events, &key(19_999)).unwrap().is_some());
    assert!(view.get(Family::Events, &key(19_998)).unwrap().is_none());

    let mut drop = Writes::default();
    drop.dropped_ranges.push((Family::Events, key(0), key(20_000)));
    store.commit(drop).unwrap();
    store.flush().unwrap();
    assert!(files().contains(&full), "a reader may still look into it");
    // Readers are told before the store is.
    store.set_compacted(Revision(20_000));
    store.flush().unwrap();
    assert!(!files().contains(&full));
    let view = store.view().unwrap();
    assert!(view.get(Family::Events, &key(19_999)).unwrap().is_none());
}

/// Until they are flushed, commits are known not to be on disk.
#[test]
fn flushed_trails_applied() {
    let dir = temporary();
    let store = open(&dir);
    assert_eq!(store.flushed().unwrap(), position(0));
    store.commit(writes("a", "1", 5)).unwrap();
    assert_eq!(store.flushed().unwrap(), position(0));
    store.flush().unwrap();
    assert_eq!(store.flushed().unwrap(), position(5));
    store.commit(writes("a", "2", 6)).unwrap();
    assert_eq!(store.flushed().unwrap(), position(5));
}

/// A kill loses what was not flushed, wholly and in all families alike; `flushed` told which.
#[test]
fn a_kill_loses_whole_commits() {
    let dir = temporary();
    let store = open(&dir);
    store.commit(writes("a", "1", 1)).unwrap();
    store.flush().unwrap();
    store.commit(writes("a", "2", 2)).unwrap();
    store.commit(writes("b", "2", 3)).unwrap();
    let flushed = store.flushed().unwrap();
    let killed = crash(&dir);

    let store = open(&killed);
    assert_eq!(store.flushed().unwrap(), flushed);
    let view = store.view().unwrap();
    assert_eq!(everywhere(&*view, "a").as_deref(), Some("1"));
    assert_eq!(everywhere(&*view, "b"), None);
}

/// Writes that outgrow the memory for them flush by themselves, in all families alike.
#[test]
fn a_flush_by_itself_is_of_all_families() {
    let dir = temporary();
    let options = StoreOptions { write_buffer_bytes: 1024 * 1024, ..StoreOptions::default() };
    let store = Store::open(&data_dir(&dir), options).unwrap();
    let mut index = 0;
    while store.flushed().unwrap() == position(0) {
        index += 1;
        assert!(index < 10_000, "{index} commits and no flush");
        let mut writes = writes("a", "", index);
        let value = Bytes::from(format!("{index}"));
        for family in Family::ALL {
            writes.records.insert((family, "a".into()), Some(value.clone()));
        }
        // Only one family grows.
        let filler = vec![u8::try_from(index % 251).unwrap(); 16 * 1024];
        writes.records.insert((Family::Current, format!("f{index}").into()), Some(filler.into()));
        store.commit(writes).unwrap();
    }
    let killed = crash(&dir);
    let store = open(&killed);
    let flushed = store.flushed().unwrap().index.to_string();
    assert_eq!(everywhere(&*store.view().unwrap(), "a"), Some(flushed));
}

/// A state that was closed in order has everything.
#[test]
fn closing_flushes() {
    let dir = temporary();
    let store = open(&dir);
    store.commit(writes("a", "1", 4)).unwrap();
    drop(store);
    let store = open(&dir);
    assert_eq!(store.flushed().unwrap(), position(4));
    assert_eq!(everywhere(&*store.view().unwrap(), "a").as_deref(), Some("1"));
}

/// The records of `ver` that the test is about: the revision that ended each.
const ENDS: [i64; 4] = [3, 5, 6, 9];

fn history(store: &Store) {
    let mut writes = Writes::default();
    for end in ENDS {
        let value = ver::encode(Revision(end), &Bytes::from_static(b"pair"));
        writes.records.insert((Family::Versions, format!("key{end}").into()), Some(value));
    }
    store.commit(writes).unwrap();
    store.flush().unwrap();
}

/// The ends of the records left after a compaction of all files.
fn left(store: &Store) -> Vec<i64> {
    compact(&store.current(), Family::Versions);
    let view = store.view().unwrap();
    let lives = |end: &i64| view.get(Family::Versions, format!("key{end}").as_bytes());
    ENDS.into_iter().filter(|end| lives(end).unwrap().is_some()).collect()
}

/// Compactions drop the records that ended at or before the mark, and no others.
#[test]
fn exactly_garbage_is_dropped() {
    let dir = temporary();
    let store = open(&dir);
    history(&store);
    assert_eq!(left(&store), [3, 5, 6, 9]);
    store.commit(compacted(5)).unwrap();
    store.flush().unwrap();
    assert_eq!(left(&store), [3, 5, 6, 9], "readers were not told yet");
    store.set_compacted(Revision(5));
    assert_eq!(left(&store), [6, 9]);
    drop(store);

    let store = open(&dir);
    assert_eq!(left(&store), [6, 9]);
}

/// Nothing is dropped on the strength of a commit that a crash could undo: what is applied again
/// may read that history.
#[test]
fn garbage_waits_for_the_flush() {
    let dir = temporary();
    let store = open(&dir);
    history(&store);
    store.commit(compacted(5)).unwrap();
    store.set_compacted(Revision(5));
    // A compaction by hand would flush.
    assert_eq!(store.current().dropping_up_to(), Revision::NEVER_COMPACTED);
    store.flush().unwrap();
    assert_eq!(store.current().dropping_up_to(), Revision(5));
    assert_eq!(left(&store), [6, 9]);
}

/// A new start knows the mark of the state it finds.
#[test]
fn the_mark_is_known_at_start() {
    let dir = temporary();
    let store = open(&dir);
    history(&store);
    store.commit(compacted(5)).unwrap();
    drop(store);
    assert_eq!(left(&open(&dir)), [6, 9]);
}

/// A state without its pointer, and a pointer without its state, are refused instead of beginning
/// with an empty state.
#[test]
fn a_lost_pointer_or_state_is_refused() {
    let dir = temporary();
    drop(open(&dir));
    let pointer = dir.path().join("state");
    for text in ["state-7\n", "state-1", "nonsense\n", ""] {
        fs::write(&pointer, text).unwrap();
        open_fault(&dir);
    }
    fs::remove_file(&pointer).unwrap();
    let fault = open_fault(&dir);
    assert!(fault.contains("state-1 holds a state"), "{fault}");
}

/// A first start that crashed before the pointer was written is repeated.
#[test]
fn an_interrupted_first_start_is_repeated() {
    let dir = temporary();
    fs::create_dir(dir.path().join("state-1")).unwrap();
    fs::write(dir.path().join("state.draft"), "sta").unwrap();
    let store = Store::open(&begun(&dir), StoreOptions::default()).unwrap();
    assert_eq!(store.flushed().unwrap(), position(0));
}

/// A data directory whose identity is written already, as at a first start.
fn begun(dir: &TempDir) -> Arc<DataDir> {
    let elsewhere = temporary();
    drop(data_dir(&elsewhere));
    fs::copy(elsewhere.path().join("identity"), dir.path().join("identity")).unwrap();
    data_dir(dir)
}

/// A healthy state passes its check.
#[test]
fn a_healthy_state_passes() {
    let dir = temporary();
    let store = open(&dir);
    store.commit(writes("a", "1", 1)).unwrap();
    store.flush().unwrap();
    store.check().unwrap();
}
