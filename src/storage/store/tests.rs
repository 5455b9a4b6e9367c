use std::{fs, ops::ControlFlow, path::Path};

use tempfile::TempDir;

use super::*;
use crate::{
    state::{
        Direction, Family, View, meta,
        schema::{self, ver},
    },
    storage::{
        store::{options::full_compaction, view::handle},
        testing::{crash, data_dir, temporary},
    },
    types::{Index, Term},
};

fn open(dir: &TempDir) -> Store {
    Store::open(&data_dir(dir), StoreOptions::default()).unwrap()
}

fn open_fault(dir: &TempDir) -> String {
    match Store::open(&data_dir(dir), StoreOptions::default()) {
        Ok(_) => panic!("a state that is not whole was opened"),
        Err(fault) => fault.to_string(),
    }
}

/// Writes of one commit: the same key and value in every family, and the applied index.
fn writes(key: &'static str, value: &'static str, applied: u64) -> Writes {
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

fn position(index: u64) -> Position {
    Position { index: Index(index), term: Term(u64::from(index > 0)) }
}

/// What every family has under `key`; all must have the same.
fn everywhere(view: &dyn View, key: &str) -> Option<String> {
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

/// Sends a checkpoint of one store to another, in chunks of odd size.
fn send(from: &Store, checkpoint: Checkpoint, to: &Store) -> StageId {
    let stage = to.stage().unwrap();
    for file in from.checkpoint_files(checkpoint.id).unwrap() {
        let mut offset = 0;
        loop {
            let data = from.checkpoint_read(checkpoint.id, &file.name, offset, 777).unwrap();
            to.stage_write(stage, &file.name, offset, &data).unwrap();
            offset += data.len() as u64;
            if data.is_empty() {
                break;
            }
        }
        assert_eq!(offset, file.len);
    }
    stage
}

fn states(dir: &Path) -> Vec<String> {
    let list = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> =
        list.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.starts_with("state-"));
    names.sort();
    names
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

/// Files that lie within a dropped range are deleted at the next flush, and no record outside of
/// the range with them.
#[test]
fn files_of_a_dropped_range_are_freed() {
    let dir = temporary();
    let store = open(&dir);
    let key = |number: u32| Bytes::copy_from_slice(&number.to_be_bytes());
    let mut fill = Writes::default();
    for number in 0..20_000 {
        fill.records.insert((Family::Events, key(number)), Some(vec![7; 20].into()));
    }
    store.commit(fill).unwrap();
    store.flush().unwrap();
    let database = store.current();
    let events = handle(database.db(), Family::Events);
    let all = (None::<&[u8]>, None::<&[u8]>);
    database.db().compact_range_cf_opt(events, all.0, all.1, &full_compaction());
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
    assert!(files().contains(&full));
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
    let database = store.current();
    let versions = handle(database.db(), Family::Versions);
    let all = (None::<&[u8]>, None::<&[u8]>);
    database.db().compact_range_cf_opt(versions, all.0, all.1, &full_compaction());
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

/// A checkpoint holds the state with the index it says, whatever is committed meanwhile, and
/// becomes another member's state, for good.
#[test]
fn a_checkpoint_becomes_the_state_elsewhere() {
    let (leader_dir, follower_dir) = (temporary(), temporary());
    let (leader, follower) = (open(&leader_dir), open(&follower_dir));
    leader.commit(writes("a", "1", 7)).unwrap();
    let checkpoint = leader.checkpoint().unwrap();
    leader.commit(writes("a", "2", 8)).unwrap();
    leader.flush().unwrap();
    assert_eq!(checkpoint.applied, position(7));

    follower.commit(writes("a", "old", 2)).unwrap();
    let before = follower.view().unwrap();
    let stage = send(&leader, checkpoint, &follower);
    assert_eq!(follower.install(stage).unwrap(), position(7));

    assert_eq!(everywhere(&*before, "a").as_deref(), Some("old"));
    assert_eq!(everywhere(&*follower.view().unwrap(), "a").as_deref(), Some("1"));
    assert_eq!(follower.flushed().unwrap(), position(7));
    assert_eq!(states(follower_dir.path()), ["state-1", "state-2"], "a view reads the old one");
    drop(before);
    assert_eq!(states(follower_dir.path()), ["state-2"]);

    follower.commit(writes("b", "3", 9)).unwrap();
    let killed = crash(&follower_dir);
    drop(follower);
    let store = open(&follower_dir);
    assert_eq!(everywhere(&*store.view().unwrap(), "b").as_deref(), Some("3"));
    assert_eq!(open(&killed).flushed().unwrap(), position(7));

    leader.checkpoint_release(checkpoint.id);
    leader.checkpoint_release(checkpoint.id);
    assert!(leader.checkpoint_files(checkpoint.id).is_err());
}

/// Two members can be sent the same checkpoint, and a member can install one after the other.
#[test]
fn installs_follow_each_other() {
    let (leader_dir, follower_dir) = (temporary(), temporary());
    let (leader, follower) = (open(&leader_dir), open(&follower_dir));
    for index in 1..=3 {
        leader.commit(writes("a", "1", index)).unwrap();
        let checkpoint = leader.checkpoint().unwrap();
        let stage = send(&leader, checkpoint, &follower);
        assert_eq!(follower.install(stage).unwrap(), position(index));
        leader.checkpoint_release(checkpoint.id);
    }
    assert_eq!(states(follower_dir.path()), ["state-4"]);
}

/// A crash at any point of an install leaves the old state or the new one, and the next start
/// removes the other.
#[test]
fn a_crash_within_an_install_leaves_one_state() {
    let (leader_dir, follower_dir) = (temporary(), temporary());
    let (leader, follower) = (open(&leader_dir), open(&follower_dir));
    follower.commit(writes("a", "old", 2)).unwrap();
    follower.flush().unwrap();
    leader.commit(writes("a", "new", 7)).unwrap();
    let checkpoint = leader.checkpoint().unwrap();
    let stage = send(&leader, checkpoint, &follower);
    let received = crash(&follower_dir);
    let _reader = follower.view().unwrap();
    follower.install(stage).unwrap();
    let installed = crash(&follower_dir);

    // Received, but not renamed.
    let store = open(&received);
    assert_eq!(everywhere(&*store.view().unwrap(), "a").as_deref(), Some("old"));
    assert_eq!(fs::read_dir(received.path().join("staging")).unwrap().count(), 0);
    drop(store);

    // Renamed, and pointed at or not: the image has both states, because a view still reads the old.
    for (pointer, value) in [("state-1\n", "old"), ("state-2\n", "new")] {
        let both = crash(&installed);
        fs::write(both.path().join("state"), pointer).unwrap();
        assert_eq!(states(both.path()), ["state-1", "state-2"]);
        let store = open(&both);
        assert_eq!(everywhere(&*store.view().unwrap(), "a").as_deref(), Some(value));
        assert_eq!(states(both.path()), [pointer.trim()]);
    }
}

/// Names that leave the stage's directory, gaps and overlaps are refused, and leave the stage as it
/// was.
#[test]
fn a_stage_takes_plain_files_in_order() {
    let dir = temporary();
    let store = open(&dir);
    let stage = store.stage().unwrap();
    let long = "x".repeat(65);
    for name in ["", ".", "..", "a/b", "../a", "/a", ".a", "a\0", "a b", "a\\b", &long] {
        let fault = store.stage_write(stage, name, 0, b"x").unwrap_err().to_string();
        assert!(fault.contains("is not a checkpoint's file"), "{fault}");
    }
    store.stage_write(stage, "000007.sst", 0, b"abc").unwrap();
    assert!(store.stage_write(stage, "000007.sst", 0, b"abc").is_err());
    assert!(store.stage_write(stage, "000007.sst", 4, b"e").is_err());
    store.stage_write(stage, "000007.sst", 3, b"d").unwrap();
    let staged = dir.path().join("staging").join(stage.0.to_string());
    assert_eq!(fs::read(staged.join("000007.sst")).unwrap(), b"abcd");
    assert_eq!(fs::read_dir(&staged).unwrap().count(), 1);

    store.stage_drop(stage);
    store.stage_drop(stage);
    assert!(!staged.exists());
    assert!(store.stage_write(stage, "CURRENT", 0, b"x").is_err());
    assert!(store.install(stage).is_err());
}

/// Only so many checkpoints are received at once.
#[test]
fn stages_are_bounded() {
    let dir = temporary();
    let store = open(&dir);
    let stages: Vec<_> = (0..4).map(|_| store.stage().unwrap()).collect();
    assert!(store.stage().is_err());
    store.stage_drop(stages[0]);
    store.stage().unwrap();
}

/// What cannot be opened does not become the state.
#[test]
fn a_broken_checkpoint_is_not_installed() {
    let (leader_dir, follower_dir) = (temporary(), temporary());
    let (leader, follower) = (open(&leader_dir), open(&follower_dir));
    follower.commit(writes("a", "old", 2)).unwrap();
    leader.commit(writes("a", "new", 7)).unwrap();
    let checkpoint = leader.checkpoint().unwrap();
    let stage = send(&leader, checkpoint, &follower);
    let staged = follower_dir.path().join("staging").join(stage.0.to_string());
    let table = leader.checkpoint_files(checkpoint.id).unwrap();
    let table = table.iter().find(|file| file.name.ends_with(".sst")).unwrap();
    fs::remove_file(staged.join(&table.name)).unwrap();

    assert!(follower.install(stage).is_err());
    assert_eq!(everywhere(&*follower.view().unwrap(), "a").as_deref(), Some("old"));
    follower.flush().unwrap();
    drop(follower);
    let follower = open(&follower_dir);
    assert_eq!(everywhere(&*follower.view().unwrap(), "a").as_deref(), Some("old"));
    assert_eq!(states(follower_dir.path()), ["state-1"]);

    // A whole one is installed after the broken one.
    let stage = send(&leader, checkpoint, &follower);
    assert_eq!(follower.install(stage).unwrap(), position(7));
}

/// A start removes copies that were being sent or received.
#[test]
fn copies_do_not_outlive_the_process() {
    let dir = temporary();
    let store = open(&dir);
    store.commit(writes("a", "1", 1)).unwrap();
    store.checkpoint().unwrap();
    store.stage().unwrap();
    drop(store);
    let store = open(&dir);
    for folder in ["checkpoints", "staging"] {
        assert_eq!(fs::read_dir(dir.path().join(folder)).unwrap().count(), 0);
    }
    assert_eq!(everywhere(&*store.view().unwrap(), "a").as_deref(), Some("1"));
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
