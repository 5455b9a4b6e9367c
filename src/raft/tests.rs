//! What the door in front of the raft library keeps out, and in which order work comes out of it.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use raft_rs::eraftpb::{Entry, Message, MessageType};

use super::{message::encode, *};
use crate::types::{Fault, Index, MemberId, Term};

const ORIGIN: Position = Position { index: Index(1), term: Term(1) };

/// Nothing is on disk: everything a test needs is still in memory.
struct EmptyDisk;

impl ReadLog for EmptyDisk {
    fn entries(&self, low: Index, _: Index, _: u64) -> Result<Vec<LogEntry>, Fault> {
        Err(Fault::new(format!("entry {low} is not on disk")))
    }
}

fn core(id: u64, members: &[u64]) -> RaftCore {
    let log = LogState {
        hard_state: HardState { term: Term(1), vote: None, commit: Index(1) },
        truncated: ORIGIN,
        last: ORIGIN,
        term_runs: Vec::new(),
        bytes: 0,
    };
    let voters =
        Voters { voters: members.iter().map(|id| MemberId(*id)).collect(), ..Voters::default() };
    let config = CoreConfig {
        id: MemberId(id),
        heartbeat_ticks: 1,
        election_ticks: 10,
        applied: Index(1),
        seed: 7,
    };
    RaftCore::new(config, &log, &voters, Arc::new(EmptyDisk)).unwrap()
}

/// Takes work out of a core and does it at once; returns the messages in order of leaving.
fn work(core: &mut RaftCore) -> Vec<Outgoing> {
    let mut sent = Vec::new();
    while let Some(ready) = core.ready() {
        sent.extend(ready.messages);
        core.persisted(ready.number);
        sent.extend(ready.after_sync);
        if let Some(last) = ready.committed.last() {
            core.applied(Index(last.index));
        }
    }
    sent
}

/// Three cores that hear each other until nobody has anything to say.
struct Trio(BTreeMap<u64, RaftCore>);

impl Trio {
    fn with_leader() -> Self {
        let mut trio = Self((1..=3).map(|id| (id, core(id, &[1, 2, 3]))).collect());
        for _ in 0..40 {
            trio.core(1).tick(false);
            trio.settle();
        }
        assert_eq!(trio.core(1).role(), Role::Leader);
        trio
    }

    fn core(&mut self, id: u64) -> &mut RaftCore {
        self.0.get_mut(&id).unwrap()
    }

    fn settle(&mut self) {
        loop {
            let mut sent = Vec::new();
            for (id, core) in &mut self.0 {
                sent.extend(work(core).into_iter().map(|message| (MemberId(*id), message)));
            }
            if sent.is_empty() {
                return;
            }
            for (from, message) in sent {
                self.core(message.to.0).step(from, &message.bytes).unwrap();
            }
        }
    }
}

fn message(kind: MessageType, from: u64, term: u64) -> Message {
    let mut message = Message::default();
    message.set_msg_type(kind);
    message.from = from;
    message.to = 1;
    message.term = term;
    message
}

fn step(core: &mut RaftCore, message: &Message) -> Result<(), StepError> {
    core.step(MemberId(message.from), &encode(message))
}

fn entry(index: u64, term: u64) -> Entry {
    Entry { index, term, ..Entry::default() }
}

/// A proposal is committed and applied on all three.
#[test]
fn what_a_leader_proposes_is_committed_everywhere() {
    let mut trio = Trio::with_leader();
    trio.core(1).propose(Bytes::from_static(b"x")).unwrap();
    trio.settle();
    trio.core(1).tick(false);
    trio.settle();
    let committed: Vec<_> = (1..=3).map(|id| trio.core(id).committed()).collect();
    assert_eq!(committed, [Index(3); 3]);
}

/// A follower's acknowledgement rests on its sync; a leader's entries leave before its own.
#[test]
fn acknowledgements_wait_for_the_sync() {
    let mut trio = Trio::with_leader();
    trio.core(1).propose(Bytes::from_static(b"x")).unwrap();
    let ready = trio.core(1).ready().unwrap();
    assert_eq!(ready.messages.len(), 2);
    assert!(ready.after_sync.is_empty());

    let append = ready.messages.into_iter().find(|message| message.to == MemberId(2)).unwrap();
    trio.core(2).step(MemberId(1), &append.bytes).unwrap();
    let ready = trio.core(2).ready().unwrap();
    assert!(ready.must_sync);
    assert!(ready.messages.is_empty());
    assert_eq!(ready.after_sync.len(), 1);
}

/// A heartbeat's answer promises nothing that is being written, so it does not wait for it.
#[test]
fn heartbeats_are_answered_while_a_write_is_under_way() {
    let mut trio = Trio::with_leader();
    trio.core(1).tick(false);
    let sent = work(trio.core(1));
    let heartbeat = sent.iter().find(|message| message.to == MemberId(2)).unwrap();
    trio.core(2).step(MemberId(1), &heartbeat.bytes).unwrap();
    assert_eq!(trio.core(2).ready().unwrap().messages.len(), 1);
}

/// Kinds of messages that only a member itself makes are refused from the network.
#[test]
fn local_messages_do_not_travel() {
    let mut core = core(1, &[1, 2, 3]);
    for kind in [
        MessageType::MsgHup,
        MessageType::MsgBeat,
        MessageType::MsgPropose,
        MessageType::MsgUnreachable,
        MessageType::MsgSnapStatus,
        MessageType::MsgCheckQuorum,
        MessageType::MsgTransferLeader,
    ] {
        assert_eq!(step(&mut core, &message(kind, 2, 1)), Err(StepError::Unexpected), "{kind:?}");
    }
}

/// A message to somebody else is not heard. Its sender need not be known.
#[test]
fn astray_messages_are_not_heard() {
    let mut core = core(1, &[1, 2, 3]);
    let vote = message(MessageType::MsgRequestVote, 9, 5);
    assert_eq!(step(&mut core, &vote), Ok(()));
    let mut astray = message(MessageType::MsgRequestVote, 2, 5);
    astray.to = 3;
    assert_eq!(step(&mut core, &astray), Err(StepError::NotForUs(MemberId(3))));
    let bytes = encode(&message(MessageType::MsgRequestVote, 2, 5));
    assert_eq!(core.step(MemberId(3), &bytes), Err(StepError::NotForUs(MemberId(1))));
}

/// A leader tells a member to commit only what that member has acknowledged, so a commit index
/// beyond the log proves that acknowledged entries are lost. The library would abort.
#[test]
fn rr_54_a_commit_index_beyond_the_log_is_a_fault() {
    let mut core = core(1, &[1, 2, 3]);
    let mut heartbeat = message(MessageType::MsgHeartbeat, 2, 2);
    heartbeat.commit = 100;
    assert!(matches!(step(&mut core, &heartbeat), Err(StepError::Fault(_))));
}

/// A read request must carry its context, or the library indexes into nothing.
#[test]
fn read_requests_without_a_context_are_refused() {
    let mut trio = Trio::with_leader();
    let term = trio.core(1).term().0;
    for kind in [MessageType::MsgReadIndex, MessageType::MsgReadIndexResp] {
        let read = message(kind, 2, term);
        assert_eq!(step(trio.core(1), &read), Err(StepError::Malformed));
    }
}

/// Entries with gaps, with terms that go back, or that differ from committed ones never get in.
#[test]
fn impossible_entries_are_refused() {
    let mut trio = Trio::with_leader();
    trio.core(1).propose(Bytes::from_static(b"x")).unwrap();
    trio.settle();
    trio.core(1).tick(false);
    trio.settle();
    let mut core = trio.0.remove(&2).unwrap();
    let term = core.term().0 + 1;

    let mut append = message(MessageType::MsgAppend, 1, term);
    append.to = 2;
    append.index = 1;
    append.log_term = 1;
    for (entries, why) in [
        (vec![entry(3, term)], "entries are not contiguous"),
        (vec![entry(2, 0)], "terms of entries go back"),
        (vec![entry(2, term + 1)], "terms of entries go back"),
        (vec![entry(2, term)], "an entry differs from a committed one"),
    ] {
        append.set_entries(entries.into());
        assert_eq!(step(&mut core, &append), Err(StepError::Contradiction(why)));
    }
}

/// An acknowledgement of entries that do not exist would make a leader commit too much.
#[test]
fn acknowledgements_of_nothing_are_refused() {
    let mut trio = Trio::with_leader();
    let term = trio.core(1).term().0;
    let mut response = message(MessageType::MsgAppendResponse, 2, term);
    response.index = 1_000;
    assert!(matches!(step(trio.core(1), &response), Err(StepError::Contradiction(_))));
}

/// A snapshot names the members; without them the library aborts.
#[test]
fn a_snapshot_without_members_is_refused() {
    let mut core = core(1, &[1, 2, 3]);
    let mut snapshot = message(MessageType::MsgSnapshot, 2, 5);
    snapshot.mut_snapshot().mut_metadata().index = 9;
    snapshot.mut_snapshot().mut_metadata().term = 5;
    let stepped = core.step_snapshot(MemberId(2), &encode(&snapshot));
    assert!(matches!(stepped, Err(StepError::Contradiction(_))));
    assert_eq!(step(&mut core, &snapshot), Err(StepError::Unexpected));
}

/// Numbers that would overflow in the library's sums, and terms that it would believe blindly.
#[test]
fn impossible_numbers_are_refused() {
    let mut trio = Trio::with_leader();
    let term = trio.core(1).term().0;
    let mut response = message(MessageType::MsgAppendResponse, 2, term);
    response.reject = true;
    response.reject_hint = u64::MAX;
    assert_eq!(step(trio.core(1), &response), Err(StepError::Malformed));
    let heartbeat = message(MessageType::MsgHeartbeat, 2, 0);
    assert_eq!(step(trio.core(1), &heartbeat), Err(StepError::Malformed));
    let mut read = message(MessageType::MsgReadIndex, 2, term);
    read.set_entries(vec![entry(0, 0)].into());
    assert_eq!(step(trio.core(1), &read), Err(StepError::Malformed));
}

/// A member that has not applied what it knew to be committed stands for no election.
#[test]
fn a_replaying_member_does_not_campaign() {
    let log = LogState {
        hard_state: HardState { term: Term(1), vote: None, commit: Index(2) },
        truncated: ORIGIN,
        last: Position { index: Index(2), term: Term(1) },
        term_runs: vec![Position { index: Index(2), term: Term(1) }],
        bytes: 0,
    };
    let voters = Voters { voters: vec![MemberId(1)], ..Voters::default() };
    let config = CoreConfig {
        id: MemberId(1),
        heartbeat_ticks: 1,
        election_ticks: 10,
        applied: Index(1),
        seed: 7,
    };
    struct OneEntry;
    impl ReadLog for OneEntry {
        fn entries(&self, _: Index, _: Index, _: u64) -> Result<Vec<LogEntry>, Fault> {
            Ok(vec![entry(2, 1)])
        }
    }
    let mut core = RaftCore::new(config, &log, &voters, Arc::new(OneEntry)).unwrap();
    for _ in 0..50 {
        core.tick(false);
    }
    assert_eq!(core.role(), Role::Follower);
    work(&mut core);
    for _ in 0..50 {
        core.tick(false);
        work(&mut core);
    }
    assert_eq!(core.role(), Role::Leader);
}

/// Election timeouts repeat with the seed, and differ between members.
#[test]
fn runs_repeat_with_the_seed() {
    let campaign_tick = |id| {
        let mut core = core(id, &[1, 2, 3]);
        (1..100).find(|_| {
            core.tick(false);
            core.role() == Role::Candidate
        })
    };
    let ticks: Vec<_> = (1..=3).map(campaign_tick).collect();
    assert_eq!(ticks, (1..=3).map(campaign_tick).collect::<Vec<_>>());
    assert!(ticks.iter().any(|tick| *tick != ticks[0]));
}

/// Bytes that are no message, or the wrong one, never reach the library.
#[test]
fn rr_61_noise_is_refused() {
    let mut core = core(1, &[1, 2, 3]);
    for noise in [&b"\xff\xff\xff"[..], b"", b"\x0b\x0c", b"hello"] {
        assert!(core.step(MemberId(2), &Bytes::copy_from_slice(noise)).is_err());
    }
}
