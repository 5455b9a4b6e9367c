use crate::{
    node::ports::StateStore,
    state::{FORMAT_VERSION, Family},
    storage::{
        Store,
        store::tests::{everywhere, open, position, writes},
        testing::{crash, temporary},
    },
};

use super::*;

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

/// A checkpoint holds the state with the index it says, whatever is committed meanwhile, and
/// becomes another member's state, for good.
#[test]
fn a_checkpoint_becomes_the_state_elsewhere() {
    let (leader_dir, follower_dir) = (temporary(), temporary());
    let (leader, follower) = (open(&leader_dir), open(&follower_dir));
    leader.commit(writes("a", "1", 7)).unwrap();
    let (checkpoint, _) = leader.checkpoint().unwrap();
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
        let (checkpoint, _) = leader.checkpoint().unwrap();
        let stage = send(&leader, checkpoint, &follower);
        assert_eq!(follower.install(stage).unwrap(), position(index));
        leader.checkpoint_release(checkpoint.id);
    }
    assert_eq!(states(follower_dir.path()), ["state-4"]);
}

/// A checkpoint of a later format is refused before it becomes the state: an older program goes on with
/// what it has.
#[test]
fn a_checkpoint_of_a_later_format_is_refused() {
    let (leader_dir, follower_dir) = (temporary(), temporary());
    let (leader, follower) = (open(&leader_dir), open(&follower_dir));
    follower.commit(writes("a", "old", 2)).unwrap();
    let mut later = writes("a", "new", 7);
    let format = Bytes::copy_from_slice(&(FORMAT_VERSION + 1).to_be_bytes());
    later.records.insert((Family::Meta, Bytes::from_static(b"format")), Some(format));
    leader.commit(later).unwrap();
    let (checkpoint, _) = leader.checkpoint().unwrap();
    let stage = send(&leader, checkpoint, &follower);

    let fault = follower.install(stage).unwrap_err().to_string();

    let expected = format!("the checkpoint has format {}, this version reads", FORMAT_VERSION + 1);
    assert!(fault.starts_with(&expected), "{fault}");
    assert_eq!(everywhere(&*follower.view().unwrap(), "a").as_deref(), Some("old"));
    follower.flush().unwrap();
    drop(follower);
    assert_eq!(everywhere(&*open(&follower_dir).view().unwrap(), "a").as_deref(), Some("old"));
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
    let (checkpoint, _) = leader.checkpoint().unwrap();
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
    let (checkpoint, _) = leader.checkpoint().unwrap();
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

/// rr_52: checkpoints that are received one after the other, each before the one before is
/// installed, keep their files apart, and each is whole when its turn comes.
#[test]
fn rr_52_a_second_checkpoint_leaves_the_first_alone() {
    let (leader_dir, follower_dir) = (temporary(), temporary());
    let (leader, follower) = (open(&leader_dir), open(&follower_dir));
    let mut before: Option<StageId> = None;
    let values = ["10", "20", "30", "40", "50", "60", "70", "80", "90", "100"];
    for (index, value) in (10..).step_by(10).zip(values) {
        leader.commit(writes("a", value, index)).unwrap();
        let (checkpoint, _) = leader.checkpoint().unwrap();
        let stage = send(&leader, checkpoint, &follower);
        leader.checkpoint_release(checkpoint.id);
        if let Some(before) = before.replace(stage) {
            assert_eq!(follower.install(before).unwrap(), position(index - 10));
            let held = everywhere(&*follower.view().unwrap(), "a");
            assert_eq!(held, Some((index - 10).to_string()));
        }
    }
    let last = before.unwrap();
    assert_eq!(follower.install(last).unwrap(), position(100));
    assert_eq!(fs::read_dir(follower_dir.path().join("staging")).unwrap().count(), 0);
    drop(follower);
    assert_eq!(open(&follower_dir).flushed().unwrap(), position(100));
}

/// A stage that is large is brought to disk as it comes, and its files can be gone on with after
/// others: what is installed is what was written.
#[test]
fn a_large_stage_is_synced_as_it_comes() {
    let dir = temporary();
    let store = open(&dir);
    let stage = store.stage().unwrap();
    let data = vec![7; 1 << 20];
    let len = SYNC_EVERY_BYTES + (1 << 20);
    for offset in (0..len).step_by(1 << 20) {
        store.stage_write(stage, "large", offset, &data).unwrap();
    }
    store.stage_write(stage, "small", 0, b"x").unwrap();
    store.stage_write(stage, "large", len, b"y").unwrap();
    let staged = dir.path().join("staging").join(stage.0.to_string());
    assert_eq!(fs::metadata(staged.join("large")).unwrap().len(), len + 1);
    assert_eq!(fs::read(staged.join("small")).unwrap(), b"x");
    let unsynced = |store: &Store| {
        let stage = store.staging.lock().open[&stage].clone();
        stage.lock().unwrap().unsynced
    };
    assert_eq!(unsynced(&store), 1);
    store.stage_drop(stage);
    assert!(!staged.exists());
}
