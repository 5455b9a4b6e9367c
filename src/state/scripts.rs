//! Runs the scripts in `testdata/`: commands to a state machine, and below them what came of each.
//!
//! A script tells a story and is read as one. [`Step`] lists what it can say. Run with
//! `UPDATE_GOLDENFILES=1`, the tests write down what comes out now; what changed is then reviewed
//! like code. After every command the state must be sound.
//!
//! Tags: `[prev]` asks for the pairs before, `[keep-value]` and `[keep-lease]` are a put's flags,
//! `[count]` and `[keys]` a read's. `[writes]` shows the records a command writes, `[bytes]` also as
//! they are on disk, in hex: those lines must never change without a new format version.

mod records;

use std::{error::Error, fmt::Write as _};

use bytes::Bytes;
use goldenscript::Context;

use self::records::{key_text, pair_text, record_text};
use crate::{
    state::{
        Alarm, AlarmKind, Answer, Command, Family, LeaseChange, Op, OpResponse, Operand,
        RangeResponse, Relation, Response, RevokeCause, TxnResponse, lease, meta,
        testing::{self, DeleteWords, GetWords, Machine, PutWords, TxnWords, text},
    },
    types::{Event, EventKind, Index, KeyValue, LeaseId, MemberId, Seconds, Term},
};

macro_rules! scripts {
    ($($name:ident)+) => {
        $(#[test]
        fn $name() {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/state/testdata/");
            let mut script = Script { machine: Machine::new() };
            goldenscript::run(&mut script, format!("{folder}{}", stringify!($name))).unwrap();
        })+
    };
}

scripts! { pairs transactions compaction leases members formats }

/// What a script can say. Keys and values are words; `to` is the end of a range.
#[derive(goldenscript::Command)]
enum Step {
    Put {
        key: String,
        value: String,
        #[arg(key)]
        lease: Option<i64>,
    },
    Delete {
        key: String,
        #[arg(key)]
        to: Option<String>,
    },
    Get {
        key: String,
        #[arg(key)]
        to: Option<String>,
        #[arg(key)]
        at: Option<i64>,
        #[arg(key)]
        limit: Option<i64>,
    },
    /// Comparisons as `mod a = 3`, operations as `put a 1`, with `;` between them.
    Txn {
        #[arg(key = "if", optional)]
        compares: String,
        #[arg(key, optional)]
        then: String,
        #[arg(key = "else", optional)]
        or_else: String,
    },
    Compact(i64),
    /// Lets the storage drop what no reader can ask for.
    Collect,
    /// The events from a revision on, as a watcher reads them.
    Events(i64),
    Grant {
        id: i64,
        #[arg(optional)]
        ttl: Option<i64>,
    },
    Revoke(i64),
    /// The leader of a term says that a lease has run out; entries have term 5.
    Expire {
        id: i64,
        term: u64,
    },
    /// A lease had so many seconds left.
    Checkpoint {
        id: i64,
        left: i64,
    },
    Leases,
    Publish {
        id: u64,
        name: String,
        url: String,
    },
    Members,
    Raise {
        alarm: String,
        member: u64,
    },
    Clear {
        alarm: String,
        member: u64,
    },
    /// Puts so many keys in one entry.
    Fill {
        prefix: String,
        count: usize,
    },
    /// All records of families.
    Records(Vec<String>),
}

/// The tags there are.
const TAGS: [&str; 7] = ["prev", "keep-value", "keep-lease", "count", "keys", "writes", "bytes"];

type Output = Result<String, Box<dyn Error>>;

struct Script {
    machine: Machine,
}

impl goldenscript::Runner for Script {
    type Command = Step;

    fn run(&mut self, step: &Step, context: &Context) -> Output {
        if let Some(tag) = context.tags.iter().find(|tag| !TAGS.contains(&tag.as_str())) {
            return Err(format!("there is no tag {tag}").into());
        }
        match step {
            Step::Put { key, value, lease } => {
                let words = put_words(key, value, *lease, context);
                self.apply(words, context)
            }
            Step::Delete { key, to } => self.apply(delete_words(key, to, context), context),
            Step::Get { key, to, at, limit } => {
                let mut words = get_words(key, to, context);
                words.0.revision = at.unwrap_or_default();
                words.0.limit = limit.unwrap_or_default();
                match self.machine.range(words) {
                    Ok(found) => Ok(range_text(&found)),
                    Err(error) => Ok(format!("refused: {error}")),
                }
            }
            Step::Txn { compares, then, or_else } => {
                self.apply(txn_words(compares, then, or_else)?, context)
            }
            Step::Compact(to) => self.apply(testing::compact(*to), context),
            Step::Collect => {
                self.machine.collect_garbage();
                Ok(String::new())
            }
            Step::Events(from) => match self.machine.events(*from) {
                Ok(events) => Ok(events.iter().map(event_line).collect()),
                Err(error) => Ok(format!("refused: {error}")),
            },
            Step::Grant { id, ttl } => {
                let (id, ttl) = (LeaseId(*id), Seconds(ttl.unwrap_or(60)));
                self.apply(Command::LeaseGrant { id, ttl }, context)
            }
            Step::Revoke(id) => self.apply(testing::revoke(*id), context),
            Step::Expire { id, term } => {
                let cause = RevokeCause::Expiry { term: Term(*term), known: Index(u64::MAX) };
                self.apply(Command::LeaseRevoke { id: LeaseId(*id), cause }, context)
            }
            Step::Checkpoint { id, left } => {
                let leases = vec![(LeaseId(*id), Seconds(*left))];
                self.apply(Command::LeaseCheckpoint { leases, known: Index(u64::MAX) }, context)
            }
            Step::Leases => self.leases(),
            Step::Publish { id, name, url } => {
                self.apply(testing::publish(*id, name, url), context)
            }
            Step::Members => self.members(),
            Step::Raise { alarm, member } => {
                self.apply(testing::alarm(true, alarm_words(alarm, *member)?), context)
            }
            Step::Clear { alarm, member } => {
                self.apply(testing::alarm(false, alarm_words(alarm, *member)?), context)
            }
            Step::Fill { prefix, count } => {
                let keys = (0..*count).map(|n| testing::put(&format!("{prefix}{n:04}")).into());
                let applied = self.machine.apply_together(keys);
                Ok(format!("revision {} after {} puts", self.machine.revision(), applied.len()))
            }
            Step::Records(families) => self.records(families, context),
        }
    }
}

impl Script {
    /// Applies a command, and says what came of it.
    fn apply(&mut self, command: impl Into<Command>, context: &Context) -> Output {
        let applied = self.machine.apply(command);
        let mut out = match &applied.outcome {
            Ok(answer) => answer_text(answer),
            Err(refused) => format!("refused: {refused}\n"),
        };
        out.extend(applied.events.iter().map(event_line));
        for change in &applied.leases {
            match change {
                LeaseChange::Granted(id, ttl) => writeln!(out, "lease {id} granted {} s", ttl.0)?,
                LeaseChange::Gone(id) => writeln!(out, "lease {id} gone")?,
                LeaseChange::Attached(id) => writeln!(out, "lease {id} has a key more")?,
                LeaseChange::Detached(id) => writeln!(out, "lease {id} has a key less")?,
                LeaseChange::Checkpointed(id, left) => {
                    writeln!(out, "lease {id} has {} s left", left.0)?;
                }
            }
        }
        if !context.tags.contains("writes") && !context.tags.contains("bytes") {
            return Ok(out);
        }
        for (family, start, end) in &applied.writes.dropped_ranges {
            let (start, end) = (key_text(*family, start)?, key_text(*family, end)?);
            writeln!(out, "drop {} {start} to {end}", family.name())?;
        }
        for ((family, key), value) in &applied.writes.records {
            out += &record_text(*family, key, value.as_ref(), context)?;
        }
        Ok(out)
    }

    fn leases(&self) -> Output {
        let mut out = String::new();
        for record in lease::list(self.machine.view())? {
            let keys = lease::attached_keys(self.machine.view(), record.id)?;
            let keys: Vec<_> = keys.iter().map(|key| text(key.as_bytes())).collect();
            let left = record.remaining.map(|left| format!(", {} s left", left.0));
            let (granted, left) = (record.granted.0, left.unwrap_or_default());
            writeln!(out, "lease {}: {granted} s{left}, keys {keys:?}", record.id)?;
        }
        Ok(out)
    }

    fn members(&self) -> Output {
        let mut out = String::new();
        for member in meta::members(self.machine.view())? {
            let (name, peers, clients) = (member.name, member.peer_urls, member.client_urls);
            writeln!(out, "member {} {name:?} peers {peers:?} clients {clients:?}", member.id)?;
        }
        for alarm in meta::alarms(self.machine.view())? {
            writeln!(out, "alarm {:?} of member {}", alarm.kind, alarm.member)?;
        }
        Ok(out)
    }

    fn records(&self, names: &[String], context: &Context) -> Output {
        let mut out = String::new();
        for name in names {
            let family = Family::ALL.into_iter().find(|family| family.name() == name);
            let family = family.ok_or_else(|| format!("there is no family {name}"))?;
            for (key, value) in self.machine.view().records(family) {
                out += &record_text(family, key, Some(value), context)?;
            }
        }
        Ok(out)
    }
}

fn put_words(key: &str, value: &str, lease: Option<i64>, context: &Context) -> PutWords {
    let mut words = testing::put(key).value(value);
    words.0.lease = lease.map(LeaseId);
    words.0.prev_kv = context.tags.contains("prev");
    if context.tags.contains("keep-value") {
        words = words.keep_value();
    }
    if context.tags.contains("keep-lease") {
        words = words.keep_lease();
    }
    words
}

fn delete_words(key: &str, to: &Option<String>, context: &Context) -> DeleteWords {
    let words = testing::delete(key).to(to.as_deref().unwrap_or_default());
    if context.tags.contains("prev") { words.prev() } else { words }
}

fn get_words(key: &str, to: &Option<String>, context: &Context) -> GetWords {
    let mut words = testing::get(key).to(to.as_deref().unwrap_or_default());
    words.0.count_only = context.tags.contains("count");
    words.0.keys_only = context.tags.contains("keys");
    words
}

fn txn_words(compares: &str, then: &str, or_else: &str) -> Result<TxnWords, Box<dyn Error>> {
    let parts = |list: &str| {
        let parts = list.split(';').map(|part| part.split_whitespace().map(str::to_owned));
        parts.map(Iterator::collect).filter(|words: &Vec<_>| !words.is_empty()).collect::<Vec<_>>()
    };
    let mut txn = testing::txn();
    for words in parts(compares) {
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let [what, key, relation, operand] = words[..] else {
            return Err(format!("{words:?} is no comparison").into());
        };
        let relation = match relation {
            "=" => Relation::Equal,
            ">" => Relation::Greater,
            "<" => Relation::Less,
            "!=" => Relation::NotEqual,
            other => return Err(format!("{other} does not compare").into()),
        };
        let operand = match what {
            "version" => Operand::Version(operand.parse()?),
            "create" => Operand::Create(operand.parse()?),
            "mod" => Operand::Mod(operand.parse()?),
            "lease" => Operand::Lease(operand.parse()?),
            "value" => Operand::Value(Bytes::copy_from_slice(operand.as_bytes())),
            other => return Err(format!("a pair has no {other}").into()),
        };
        txn = txn.when(key, relation, operand);
    }
    for words in parts(then) {
        txn = txn.then(op(&words)?);
    }
    for words in parts(or_else) {
        txn = txn.or_else(op(&words)?);
    }
    Ok(txn)
}

fn op(words: &[String]) -> Result<Op, Box<dyn Error>> {
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    Ok(match words[..] {
        ["put", key, value] => testing::put(key).value(value).into(),
        ["put", key, value, lease] => {
            testing::put(key).value(value).attached_to(lease.parse()?).into()
        }
        ["delete", key] => testing::delete(key).into(),
        ["delete", key, to] => testing::delete(key).to(to).into(),
        ["get", key] => testing::get(key).into(),
        ["get", key, to] => testing::get(key).to(to).into(),
        _ => return Err(format!("{words:?} is no operation").into()),
    })
}

fn alarm_words(kind: &str, member: u64) -> Result<Alarm, Box<dyn Error>> {
    let kind = match kind {
        "nospace" => AlarmKind::NoSpace,
        "corrupt" => AlarmKind::Corrupt,
        other => return Err(format!("there is no alarm {other}").into()),
    };
    Ok(Alarm { member: MemberId(member), kind })
}

/// The answer to a command: its revision, and line by line what it gives back.
fn answer_text(answer: &Answer) -> String {
    let found = match &answer.response {
        Response::Put(put) => put.prev.iter().map(prev_line).collect(),
        Response::DeleteRange(deleted) => {
            let prevs: String = deleted.prevs.iter().map(prev_line).collect();
            format!("deleted {}\n{prevs}", deleted.deleted)
        }
        Response::Txn(txn) => txn_text(txn),
        Response::Alarm(alarms) => format!("{} alarm(s)\n", alarms.len()),
        Response::Compact
        | Response::LeaseGrant(..)
        | Response::LeaseRevoke
        | Response::LeaseCheckpoint
        | Response::PublishMember
        | Response::Members(_) => String::new(),
    };
    format!("revision {}\n{found}", answer.revision)
}

fn txn_text(txn: &TxnResponse) -> String {
    let result = |result: &OpResponse| match result {
        OpResponse::Range(at, found) => format!("at {at}: {}", range_text(found)),
        OpResponse::Put(at, _) => format!("at {at}: put\n"),
        OpResponse::DeleteRange(at, deleted) => format!("at {at}: deleted {}\n", deleted.deleted),
        OpResponse::Txn(within) => txn_text(within),
    };
    let results: String = txn.results.iter().map(result).collect();
    format!("{}\n{results}", if txn.succeeded { "then" } else { "else" })
}

fn range_text(found: &RangeResponse) -> String {
    let more = if found.more { " and more" } else { "" };
    let kvs: String = found.kvs.iter().map(|kv| format!("  {}\n", pair_text(kv))).collect();
    format!("count {}{more}\n{kvs}", found.count)
}

fn prev_line(kv: &KeyValue) -> String {
    format!("before: {}\n", pair_text(kv))
}

/// An event, its pair, and what stood there before it.
fn event_line(event: &Event) -> String {
    let [words] = &testing::events_text(std::slice::from_ref(event))[..] else { unreachable!() };
    let value = match &event.kind {
        EventKind::Put(kv) => format!(": {}", pair_text(kv)),
        EventKind::Delete(..) => String::new(),
    };
    let was = event.prev.as_ref().map(|kv| format!(", was {}", text(&kv.value)));
    format!("event {words}{value}{}\n", was.unwrap_or_default())
}
