//! Runs the scripts in `testdata/`: three cores, their disks, and the network between them, moved by
//! hand; below each command stands what the cores ask for, in the order in which they ask.
//!
//! A script tells a story and is read as one. [`Step`] lists what it can say. Run with
//! `UPDATE_GOLDENFILES=1`, the tests write down what comes out now; what changed is then reviewed
//! like code. `3@2` is the entry with index 3 and term 2.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    error::Error,
    fmt::Write as _,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use goldenscript::Context;
use raft_rs::eraftpb::{Entry, Message};

use super::{message::decode, *};
use crate::types::{Fault, Index, MemberId, Term};

macro_rules! scripts {
    ($($name:ident)+) => {
        $(#[test]
        fn $name() {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/raft/testdata/");
            let path = format!("{folder}{}", stringify!($name));
            goldenscript::run(&mut Script::new(), path).unwrap();
        })+
    };
}

scripts! { election replication reads deposed snapshot }

/// What a script can say. Numbers of members are 1 to 3.
#[derive(goldenscript::Command)]
enum Step {
    /// Lets ticks pass on a member, one if it is not said how many.
    Tick {
        id: u64,
        times: Option<u32>,
    },
    /// Lets ticks pass on a member until it stands for election.
    Campaign(u64),
    Propose {
        id: u64,
        data: String,
    },
    /// Asks up to which index a read must wait.
    Read {
        id: u64,
        context: String,
    },
    /// Takes a round of work out of a member: what may leave at once leaves, the rest waits for the
    /// sync; what is committed is applied.
    Ready(u64),
    /// Syncs what a member has written.
    Sync(u64),
    /// Delivers the messages that are under way now.
    Deliver {
        #[arg(key)]
        from: Option<u64>,
        #[arg(key)]
        to: Option<u64>,
    },
    /// Loses the messages that are under way now.
    Lose {
        #[arg(key)]
        from: Option<u64>,
        #[arg(key)]
        to: Option<u64>,
    },
    /// Works, syncs and delivers until nobody has anything to say.
    Settle,
    /// From now on all messages from and to a member get lost.
    Cut(u64),
    /// Ends all cuts.
    Heal,
    /// Drops the front of a member's log up to an index.
    Truncate {
        id: u64,
        index: u64,
    },
    /// Makes a snapshot of a member's state if it wants one.
    Snapshot(u64),
    /// What the members are, and how far their logs go.
    Status,
}

type Output = Result<String, Box<dyn Error>>;

/// The entries of a log that are synced.
#[derive(Default)]
struct Disk(Mutex<BTreeMap<u64, LogEntry>>);

impl ReadLog for Disk {
    fn entries(&self, low: Index, high: Index, _: u64) -> Result<Vec<LogEntry>, Fault> {
        Ok(self.0.lock().unwrap().range(low.0..high.0).map(|(_, entry)| entry.clone()).collect())
    }
}

/// A round of work that is written, and not synced.
struct Round {
    number: u64,
    entries: Vec<LogEntry>,
    after_sync: Vec<Outgoing>,
    installed: Option<Position>,
}

struct Member {
    core: RaftCore,
    disk: Arc<Disk>,
    unsynced: VecDeque<Round>,
    applied: Position,
    /// What was last said about it.
    told: (Role, Term, Option<MemberId>),
}

struct Script {
    members: BTreeMap<u64, Member>,
    /// Messages under way, with their senders.
    network: Vec<(u64, Outgoing)>,
    cut: BTreeSet<u64>,
}

impl goldenscript::Runner for Script {
    type Command = Step;

    fn run(&mut self, step: &Step, _: &Context) -> Output {
        let mut out = String::new();
        match step {
            Step::Tick { id, times } => {
                for _ in 0..times.unwrap_or(1) {
                    self.core(*id)?.tick(false);
                }
            }
            Step::Campaign(id) => {
                let core = self.core(*id)?;
                if core.role() == Role::Candidate {
                    return Err("it does already".into());
                }
                let ticks = (1..100).find(|_| {
                    core.tick(false);
                    core.role() == Role::Candidate
                });
                writeln!(out, "after {} ticks", ticks.ok_or("it never campaigns")?)?;
            }
            Step::Propose { id, data } => {
                if let Err(error) = self.core(*id)?.propose(Bytes::from(data.clone())) {
                    writeln!(out, "refused: {error}")?;
                }
            }
            Step::Read { id, context } => {
                self.core(*id)?.read_index(Bytes::from(context.clone()));
            }
            Step::Ready(id) => out = self.ready(*id)?.unwrap_or("nothing to do\n".to_owned()),
            Step::Sync(id) => out = self.sync(*id)?,
            Step::Deliver { from, to } => {
                for (from, message) in self.take_messages(*from, *to) {
                    out += &self.deliver(from, &message)?;
                }
            }
            Step::Lose { from, to } => {
                for (from, message) in self.take_messages(*from, *to) {
                    out += &self.lose(from, &message)?;
                }
            }
            Step::Settle => out = self.settle()?,
            Step::Cut(id) => _ = self.cut.insert(*id),
            Step::Heal => self.cut.clear(),
            Step::Truncate { id, index } => {
                let core = self.core(*id)?;
                let term = core.term_of(Index(*index)).ok_or("no such entry")?;
                core.truncate(Position { index: Index(*index), term });
            }
            Step::Snapshot(id) => out = self.snapshot(*id)?,
            Step::Status => out = self.status(),
        }
        Ok(out + &self.changes())
    }
}

impl Script {
    fn new() -> Self {
        Self {
            members: (1..=3).map(|id| (id, Member::new(id))).collect(),
            network: Vec::new(),
            cut: BTreeSet::new(),
        }
    }

    fn member(&mut self, id: u64) -> Result<&mut Member, Box<dyn Error>> {
        self.members.get_mut(&id).ok_or_else(|| format!("there is no member {id}").into())
    }

    fn core(&mut self, id: u64) -> Result<&mut RaftCore, Box<dyn Error>> {
        Ok(&mut self.member(id)?.core)
    }

    /// A round of work, or nothing when there is none.
    fn ready(&mut self, id: u64) -> Result<Option<String>, Box<dyn Error>> {
        let member = self.member(id)?;
        let Some(ready) = member.core.ready() else { return Ok(None) };
        let mut out = String::new();
        for message in &ready.messages {
            writeln!(out, "send {}", message_text(id, message)?)?;
        }
        if let Some(position) = ready.snapshot {
            writeln!(out, "install {}", at(position.index.0, position.term.0))?;
        }
        if let Some(hard_state) = ready.write.hard_state {
            let HardState { term, vote, commit } = hard_state;
            let vote = vote.map(|id| format!(", vote for {id}")).unwrap_or_default();
            writeln!(out, "write term {term}{vote}, commit {commit}")?;
        }
        for entry in &ready.write.entries {
            writeln!(out, "write {}", entry_text(entry))?;
        }
        if ready.must_sync {
            writeln!(out, "sync")?;
        }
        for message in &ready.after_sync {
            writeln!(out, "then send {}", message_text(id, message)?)?;
        }
        for entry in &ready.committed {
            writeln!(out, "apply {}", entry_text(entry))?;
            member.applied = Position { index: Index(entry.index), term: Term(entry.term) };
            member.core.applied(Index(entry.index));
        }
        for read in &ready.reads {
            writeln!(out, "read {:?} at {}", read.context, read.index)?;
        }

        member.unsynced.push_back(Round {
            number: ready.number,
            entries: ready.write.entries,
            after_sync: ready.after_sync,
            installed: ready.snapshot,
        });
        self.network.extend(ready.messages.into_iter().map(|message| (id, message)));
        Ok(Some(out))
    }

    fn sync(&mut self, id: u64) -> Output {
        let mut out = String::new();
        let member = self.member(id)?;
        let mut sent = Vec::new();
        for round in std::mem::take(&mut member.unsynced) {
            let mut entries = member.disk.0.lock().unwrap();
            if round.installed.is_some() {
                entries.clear();
            }
            if let Some(first) = round.entries.first() {
                entries.split_off(&first.index);
            }
            entries.extend(round.entries.into_iter().map(|entry| (entry.index, entry)));
            drop(entries);
            member.core.persisted(round.number);
            if let Some(position) = round.installed {
                member.applied = position;
                member.core.applied(position.index);
            }
            sent.extend(round.after_sync);
        }
        for message in sent {
            writeln!(out, "send {}", message_text(id, &message)?)?;
            self.network.push((id, message));
        }
        Ok(out)
    }

    fn take_messages(&mut self, from: Option<u64>, to: Option<u64>) -> Vec<(u64, Outgoing)> {
        let wanted = |sender: &u64, message: &Outgoing| {
            from.is_none_or(|id| id == *sender) && to.is_none_or(|id| id == message.to.0)
        };
        self.network.extract_if(.., |(sender, message)| wanted(sender, message)).collect()
    }

    fn deliver(&mut self, from: u64, message: &Outgoing) -> Output {
        let to = message.to.0;
        if self.cut.contains(&from) || self.cut.contains(&to) {
            return self.lose(from, message);
        }
        let core = self.core(to)?;
        let stepped = match &message.snapshot {
            Some(_) => core.step_snapshot(MemberId(from), &message.bytes),
            None => core.step(MemberId(from), &message.bytes),
        };
        if message.snapshot.is_some() {
            self.core(from)?.report_snapshot(message.to, stepped.is_ok());
        }
        let refused = stepped.err().map(|error| format!(", refused: {error}"));
        Ok(format!("{}{}\n", message_text(from, message)?, refused.unwrap_or_default()))
    }

    fn lose(&mut self, from: u64, message: &Outgoing) -> Output {
        if message.snapshot.is_some() {
            self.core(from)?.report_snapshot(message.to, false);
        }
        Ok(format!("lost {}\n", message_text(from, message)?))
    }

    fn settle(&mut self) -> Output {
        let mut out = String::new();
        for _ in 0..100 {
            for id in 1..=3 {
                while let Some(work) = self.ready(id)? {
                    out += &work;
                    out += &self.sync(id)?;
                }
            }
            let messages = self.take_messages(None, None);
            if messages.is_empty() {
                return Ok(out);
            }
            for (from, message) in messages {
                out += &self.deliver(from, &message)?;
            }
        }
        Err("they never come to rest".into())
    }

    fn snapshot(&mut self, id: u64) -> Output {
        let member = self.member(id)?;
        if !member.core.wants_snapshot() {
            return Ok("none is wanted\n".to_owned());
        }
        let position = member.applied;
        let voters = member.core.log().voters();
        member.core.put_snapshot(Some((position, &voters, Bytes::from_static(b"state"))));
        Ok(format!("made of {}\n", at(position.index.0, position.term.0)))
    }

    fn status(&self) -> String {
        let line = |(id, member): (&u64, &Member)| {
            let Member { core, disk, applied, .. } = member;
            let entries = disk.0.lock().unwrap();
            let entries: Vec<_> = entries.values().map(entry_text).collect();
            let entries = if entries.is_empty() { "nothing".into() } else { entries.join(" ") };
            let (role, term, commit) = (core.role(), core.term(), core.committed());
            format!(
                "{id}: {role:?} in term {term}, commit {commit}, applied {}, on disk {entries}\n",
                applied.index
            )
        };
        self.members.iter().map(line).collect()
    }

    /// What has become of the members since this was asked last.
    fn changes(&mut self) -> String {
        let mut out = String::new();
        for (id, member) in &mut self.members {
            let now = (member.core.role(), member.core.term(), member.core.leader());
            if now != member.told {
                let leader = now.2.map_or("nobody".to_owned(), |leader| leader.to_string());
                out += &format!("{id} is now {:?} in term {}, led by {leader}\n", now.0, now.1);
                member.told = now;
            }
        }
        out
    }
}

impl Member {
    fn new(id: u64) -> Self {
        let origin = Position { index: Index(1), term: Term(1) };
        let log = LogState {
            hard_state: HardState { term: Term(1), vote: None, commit: Index(1) },
            truncated: origin,
            last: origin,
            term_runs: Vec::new(),
            bytes: 0,
        };
        let voters = Voters { voters: (1..=3).map(MemberId).collect(), ..Voters::default() };
        let config = CoreConfig {
            id: MemberId(id),
            heartbeat_ticks: 1,
            election_ticks: 10,
            applied: origin.index,
            seed: 7,
        };
        let disk = Arc::new(Disk::default());
        let reader: Arc<dyn ReadLog> = disk.clone();
        let core = RaftCore::new(config, &log, &voters, reader).unwrap();
        let told = (core.role(), core.term(), core.leader());
        Self { core, disk, unsynced: VecDeque::new(), applied: origin, told }
    }
}

fn at(index: u64, term: u64) -> String {
    format!("{index}@{term}")
}

fn entry_text(entry: &Entry) -> String {
    let place = (entry.index > 0).then(|| at(entry.index, entry.term));
    let data = (!entry.data.is_empty()).then(|| format!("{:?}", entry.data));
    place.into_iter().chain(data).collect::<Vec<_>>().join(" ")
}

/// Who tells whom what; only what is said, for zero means nothing in most places.
fn message_text(from: u64, message: &Outgoing) -> Output {
    let Message { to, term, index, log_term, commit, reject, reject_hint, .. } =
        decode(&message.bytes)?;
    let decoded = decode(&message.bytes)?;
    let mut out = format!("{from}->{to} {:?} term {term}", decoded.get_msg_type());
    if log_term > 0 {
        write!(out, ", {}", at(index, log_term))?;
    } else if index > 0 {
        write!(out, ", index {index}")?;
    }
    if !decoded.get_entries().is_empty() {
        let entries: Vec<_> = decoded.get_entries().iter().map(entry_text).collect();
        write!(out, ", entries {}", entries.join(" "))?;
    }
    if commit > 0 {
        write!(out, ", commit {commit}")?;
    }
    if reject {
        write!(out, ", rejected, hint {reject_hint}")?;
    }
    if !decoded.get_context().is_empty() {
        write!(out, ", context \"{}\"", decoded.get_context().escape_ascii())?;
    }
    if let Some(snapshot) = &message.snapshot {
        let Position { index, term } = snapshot.position;
        write!(out, ", snapshot {}", at(index.0, term.0))?;
    }
    Ok(out)
}
