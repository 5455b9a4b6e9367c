//! A cluster that starts over from the data of one member.

use crate::{
    node::{
        Fencing, Initial, Opened,
        force::{entry, force_new_cluster},
        open,
        ports::LogStore,
        tests::disk::{MemoryLog, MemoryStore},
    },
    raft::{self, HardState, LogEntry, LogWrite, Payload, Position},
    state::{Command, Member, MemberChange},
    types::{ClusterId, Index, MemberId, Term},
};

const TERM: Term = Term(3);

fn add(id: u64, learner: bool) -> Command {
    let (id, peer_urls) = (MemberId(id), vec![format!("http://{id}:2380")]);
    Command::ChangeMembers(MemberChange::Add { id, peer_urls, learner, learners_max: 1 })
}

fn remove(id: u64) -> Command {
    Command::ChangeMembers(MemberChange::Remove(MemberId(id)))
}

/// Member 1 of three, whose log goes on after its first state with these changes, so many of them
/// committed.
fn opened(commands: Vec<Command>, committed: u64) -> (MemoryLog, MemoryStore, Opened) {
    let (log, store) = (MemoryLog::default(), MemoryStore::default());
    let members = (1..=3).map(|id| Member { id: MemberId(id), ..Member::default() }).collect();
    let initial = Initial::Founding { cluster: ClusterId(7), members };
    open(&log, &store, &initial, Fencing::none(MemberId(1))).unwrap();
    let entries = (2..).zip(commands).map(|(index, command)| {
        let at = Position { index: Index(index), term: TERM };
        entry(at, MemberId(2), index, command).unwrap()
    });
    let commit = Index(1 + committed);
    let hard_state = HardState { term: TERM, vote: Some(MemberId(2)), commit };
    log.write(LogWrite { entries: entries.collect(), hard_state: Some(hard_state) }).unwrap();
    let opened = open(&log, &store, &initial, Fencing::none(MemberId(1))).unwrap();
    (log, store, opened)
}

/// The changes in a log from an entry on, all committed, as texts.
fn changes(log: &MemoryLog, opened: &Opened, from: u64) -> Vec<String> {
    let last = opened.log.last.index;
    assert_eq!(opened.log.hard_state, log.load().unwrap().hard_state);
    assert_eq!(opened.log.hard_state.commit, last);
    assert_eq!((opened.log.last.term, opened.log.hard_state.term), (TERM, TERM));
    let entries = log.entries(Index(from), last.next(), u64::MAX).unwrap();
    let text = |entry: &LogEntry| match raft::payload(entry).unwrap() {
        Payload::Change(change, _) => format!("{change:?}"),
        Payload::Requests(_) => "requests".to_owned(),
    };
    entries.iter().map(text).collect()
}

/// Everybody else goes, also who was added by entries that are not applied yet. All that stands in the
/// log is kept: it may have been acknowledged.
#[test]
fn all_others_are_removed() {
    let commands = vec![add(4, true), add(5, false)];
    let (log, store, opened) = opened(commands, 1);
    let forced = force_new_cluster(&log, &store, MemberId(1), opened).unwrap();
    let expected = [
        "AddLearner(MemberId(4))",
        "AddVoter(MemberId(5))",
        "Remove(MemberId(2))",
        "Remove(MemberId(3))",
        "Remove(MemberId(4))",
        "Remove(MemberId(5))",
    ];
    assert_eq!(changes(&log, &forced, 2), expected);
    assert_eq!(forced.applied.index, Index(1));
}

/// A second time removes nobody who is still there.
#[test]
fn it_can_be_repeated() {
    let (log, store, opened) = opened(Vec::new(), 0);
    let forced = force_new_cluster(&log, &store, MemberId(1), opened).unwrap();
    let expected = ["Remove(MemberId(2))", "Remove(MemberId(3))"];
    assert_eq!(changes(&log, &forced, 2), expected);
    let again = force_new_cluster(&log, &store, MemberId(1), forced).unwrap();
    assert_eq!(changes(&log, &again, 4), expected);
}

/// A learner gets a vote before everybody else goes.
#[test]
fn a_learner_votes_for_itself() {
    let (log, store, opened) = opened(vec![add(4, true)], 1);
    let forced = force_new_cluster(&log, &store, MemberId(4), opened).unwrap();
    let first = &changes(&log, &forced, 3)[..2];
    assert_eq!(first, ["AddVoter(MemberId(4))", "Remove(MemberId(1))"]);
}

/// Who was removed, or never had a state, cannot go on alone.
#[test]
fn a_member_that_cannot_go_on_is_refused() {
    let (log, store, opened) = opened(vec![remove(1)], 1);
    let fault = force_new_cluster(&log, &store, MemberId(1), opened).unwrap_err();
    assert!(fault.to_string().contains("was removed"), "{fault}");

    let (log, store) = (MemoryLog::default(), MemoryStore::default());
    let opened =
        open(&log, &store, &Initial::Joining { again: false }, Fencing::none(MemberId(1))).unwrap();
    let fault = force_new_cluster(&log, &store, MemberId(1), opened).unwrap_err();
    assert!(fault.to_string().contains("there is no state"), "{fault}");
}
