//! A state machine to drive by hand, and short words for what to tell it.

use bytes::Bytes;

use super::{MapView, inconsistencies};
use crate::{
    state::{
        Alarm, AlarmCommand, Answer, Applied, ApplyError, Command, Compare, DeleteRange, Family,
        Level, Member, Op, OpResponse, Operand, Overlay, Put, Range, RangeResponse, Refused,
        Relation, Request, Response, RevisionFilter, RevokeCause, Sort, SortOrder, SortTarget, Txn,
        TxnResponse, View, Writes, apply, bootstrap, meta, mvcc, schema::cur,
    },
    types::{
        ClusterId, DeleteReason, Event, EventKind, Identity, Index, Key, KeyRange, KeyValue,
        LeaseId, MemberId, Position, RequestId, Revision, Seconds, Term,
    },
};

/// The term of every entry a [`Machine`] applies.
pub(crate) const TERM: Term = Term(5);

/// A state machine on a state in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    state: MapView,
    /// Of the entry that is applied next.
    pub(crate) index: Index,
}

impl Machine {
    /// Of a cluster of one member, with nothing in it.
    pub(crate) fn new() -> Self {
        let member = Member {
            id: MemberId(1),
            peer_urls: vec!["http://127.0.0.1:2380".to_owned()],
            ..Member::default()
        };
        Self::on(bootstrap(ClusterId(0xc1), &[member]))
    }

    /// With this first state.
    pub(crate) fn on(first: Writes) -> Self {
        let mut state = MapView::default();
        state.commit(first);
        Self::of_view(state)
    }

    /// On this state.
    pub(crate) fn of_view(state: MapView) -> Self {
        Self { state, index: Index(10) }
    }

    /// After these commands, none of which was refused.
    pub(crate) fn after<C: Into<Command>>(commands: impl IntoIterator<Item = C>) -> Self {
        let mut machine = Self::new();
        for command in commands {
            machine.apply(command).outcome.unwrap();
        }
        machine
    }

    /// Applies one command, stores its writes, and checks that the state is sound.
    pub(crate) fn apply(&mut self, command: impl Into<Command>) -> Applied {
        let applied = self.apply_unchecked(command);
        assert_eq!(inconsistencies(&self.state).unwrap(), Vec::<String>::new());
        applied
    }

    /// The same for a state that a test has made unsound.
    pub(crate) fn apply_unchecked(&mut self, command: impl Into<Command>) -> Applied {
        let applied = apply(&self.state, self.at(), &request(command)).unwrap();
        self.state.commit(applied.writes.clone());
        applied
    }

    /// Loses a record.
    pub(crate) fn forget(&mut self, family: Family, key: Bytes) {
        let records = [((family, key), None)].into();
        self.state.commit(Writes { records, dropped_ranges: Vec::new() });
    }

    /// Applies commands as one entry does: each sees the writes of those before it, and all are
    /// stored as one unit.
    pub(crate) fn apply_together(
        &mut self,
        commands: impl IntoIterator<Item = Command>,
    ) -> Vec<Applied> {
        let mut overlay = Overlay::new(&self.state);
        let mut all = Vec::new();
        for command in commands {
            let applied = apply(&overlay, self.at(), &request(command)).unwrap();
            overlay.absorb(applied.writes.clone());
            all.push(applied);
        }
        let writes = overlay.into_writes();
        self.state.commit(writes);
        assert_eq!(inconsistencies(&self.state).unwrap(), Vec::<String>::new());
        all
    }

    fn at(&self) -> Position {
        Position { index: self.index, term: TERM }
    }

    pub(crate) fn view(&self) -> &MapView {
        &self.state
    }

    pub(crate) fn revision(&self) -> i64 {
        meta::revision(&self.state).unwrap().0
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        self.state.records(Family::Current).map(|(key, _)| text(key)).collect()
    }

    pub(crate) fn pair(&self, name: &str) -> Option<KeyValue> {
        let record = self.state.get(Family::Current, name.as_bytes()).unwrap();
        record.map(|record| cur::decode(&record).unwrap())
    }

    pub(crate) fn range(&self, range: GetWords) -> Result<RangeResponse, ApplyError> {
        mvcc::range(&self.state, &range.0)
    }

    pub(crate) fn collect_garbage(&mut self) {
        self.state.collect_garbage().unwrap();
    }

    /// All events from a revision on.
    pub(crate) fn events(&self, from: i64) -> Result<Vec<Event>, ApplyError> {
        let to = Revision(self.revision());
        mvcc::events(&self.state, Revision(from), to, usize::MAX, usize::MAX)
            .map(|history| history.events)
    }
}

pub(crate) fn request(command: impl Into<Command>) -> Request {
    Request { id: RequestId::default(), identity: Identity::anonymous(), command: command.into() }
}

impl Applied {
    /// The events in words: what, which key, at which revision and place.
    pub(crate) fn events_text(&self) -> Vec<String> {
        events_text(&self.events)
    }

    /// The answer to a transaction.
    pub(crate) fn txn(self) -> TxnResponse {
        let response = self.outcome.unwrap().response;
        let Response::Txn(response) = response else {
            panic!("{response:?} answers no transaction")
        };
        response
    }

    /// Why it was refused.
    pub(crate) fn refused(self) -> Refused {
        self.outcome.unwrap_err()
    }

    /// The answer.
    pub(crate) fn answer(self) -> Answer {
        self.outcome.unwrap()
    }
}

impl TxnResponse {
    /// The revisions in the inner headers, nested ones in order.
    pub(crate) fn revisions(&self) -> Vec<i64> {
        let of = |result: &OpResponse| match result {
            OpResponse::Range(revision, _)
            | OpResponse::Put(revision, _)
            | OpResponse::DeleteRange(revision, _) => {
                vec![revision.0]
            }
            OpResponse::Txn(within) => within.revisions(),
        };
        self.results.iter().flat_map(of).collect()
    }
}

pub(crate) fn events_text(events: &[Event]) -> Vec<String> {
    let in_words = |event: &Event| {
        let what = match event.kind {
            EventKind::Put(_) => "put",
            EventKind::Delete(_, DeleteReason::Client) => "delete",
            EventKind::Delete(_, DeleteReason::Revoked) => "revoke",
            EventKind::Delete(_, DeleteReason::Expired) => "expire",
        };
        format!("{what} {} {}", text(event.key().as_bytes()), event.id)
    };
    events.iter().map(in_words).collect()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

pub(crate) fn key(name: &str) -> Key {
    Key::new(name.as_bytes().to_vec()).unwrap()
}

/// A put in the making.
#[derive(Clone, Debug)]
pub(crate) struct PutWords(pub(crate) Put);

pub(crate) fn put(name: &str) -> PutWords {
    PutWords(Put {
        key: key(name),
        value: Bytes::from_static(b"v"),
        lease: None,
        prev_kv: false,
        ignore_value: false,
        ignore_lease: false,
    })
}

impl PutWords {
    pub(crate) fn value(mut self, value: &str) -> Self {
        self.0.value = Bytes::copy_from_slice(value.as_bytes());
        self
    }

    pub(crate) fn attached_to(mut self, lease: i64) -> Self {
        self.0.lease = Some(LeaseId(lease));
        self
    }

    pub(crate) fn prev(mut self) -> Self {
        self.0.prev_kv = true;
        self
    }

    pub(crate) fn keep_value(mut self) -> Self {
        self.0.ignore_value = true;
        self.0.value = Bytes::new();
        self
    }

    pub(crate) fn keep_lease(mut self) -> Self {
        self.0.ignore_lease = true;
        self
    }
}

/// A delete in the making.
#[derive(Clone, Debug)]
pub(crate) struct DeleteWords(pub(crate) DeleteRange);

pub(crate) fn delete(name: &str) -> DeleteWords {
    DeleteWords(DeleteRange { range: KeyRange::One(key(name)), prev_kv: false })
}

impl DeleteWords {
    /// Up to, and without, `end`; `"\0"` for all keys from the first one on.
    pub(crate) fn to(mut self, end: &str) -> Self {
        self.0.range = KeyRange::from_wire(
            self.0.range.start().clone(),
            Bytes::copy_from_slice(end.as_bytes()),
        );
        self
    }

    pub(crate) fn prev(mut self) -> Self {
        self.0.prev_kv = true;
        self
    }
}

/// A read in the making.
#[derive(Clone, Debug)]
pub(crate) struct GetWords(pub(crate) Range);

pub(crate) fn get(name: &str) -> GetWords {
    GetWords(Range {
        range: KeyRange::One(key(name)),
        revision: 0,
        limit: 0,
        sort: Sort::default(),
        keys_only: false,
        count_only: false,
        filter: RevisionFilter::default(),
    })
}

impl GetWords {
    /// Up to, and without, `end`; `"\0"` for all keys from the first one on.
    pub(crate) fn to(mut self, end: &str) -> Self {
        self.0.range = KeyRange::from_wire(
            self.0.range.start().clone(),
            Bytes::copy_from_slice(end.as_bytes()),
        );
        self
    }

    pub(crate) fn at(mut self, revision: i64) -> Self {
        self.0.revision = revision;
        self
    }

    pub(crate) fn limit(mut self, limit: i64) -> Self {
        self.0.limit = limit;
        self
    }

    pub(crate) fn sort(mut self, order: SortOrder, target: SortTarget) -> Self {
        self.0.sort = Sort { order, target };
        self
    }

    pub(crate) fn keys_only(mut self) -> Self {
        self.0.keys_only = true;
        self
    }

    pub(crate) fn count_only(mut self) -> Self {
        self.0.count_only = true;
        self
    }

    pub(crate) fn filter(mut self, filter: RevisionFilter) -> Self {
        self.0.filter = filter;
        self
    }
}

/// A transaction in the making.
#[derive(Clone, Debug)]
pub(crate) struct TxnWords(pub(crate) Txn);

pub(crate) fn txn() -> TxnWords {
    TxnWords(Txn::default())
}

impl TxnWords {
    /// If the comparison holds (of one key).
    pub(crate) fn when(self, name: &str, relation: Relation, operand: Operand) -> Self {
        self.when_all(KeyRange::One(key(name)), relation, operand)
    }

    /// If the comparison holds for every key of a range.
    pub(crate) fn when_all(
        mut self,
        range: KeyRange,
        relation: Relation,
        operand: Operand,
    ) -> Self {
        self.0.compares.push(Compare { range, relation, operand });
        self
    }

    pub(crate) fn then(mut self, op: impl Into<Op>) -> Self {
        self.0.success.push(op.into());
        self
    }

    pub(crate) fn or_else(mut self, op: impl Into<Op>) -> Self {
        self.0.failure.push(op.into());
        self
    }
}

macro_rules! becomes {
    ($words:ident, $variant:ident, $($target:ident),+) => {
        $(impl From<$words> for $target {
            fn from(words: $words) -> Self {
                Self::$variant(words.0)
            }
        })+
    };
}

becomes!(PutWords, Put, Command, Op);
becomes!(DeleteWords, DeleteRange, Command, Op);
becomes!(GetWords, Range, Op);
becomes!(TxnWords, Txn, Command, Op);

pub(crate) fn grant(id: i64) -> Command {
    Command::LeaseGrant { id: LeaseId(id), ttl: Seconds(60) }
}

pub(crate) fn revoke(id: i64) -> Command {
    Command::LeaseRevoke { id: LeaseId(id), cause: RevokeCause::Client }
}

pub(crate) fn expire(id: i64, term: Term) -> Command {
    Command::LeaseRevoke {
        id: LeaseId(id),
        cause: RevokeCause::Expiry { term, known: Index(u64::MAX) },
    }
}

pub(crate) fn compact(to: i64) -> Command {
    Command::Compact(Revision(to))
}

pub(crate) fn alarm(active: bool, alarm: Alarm) -> Command {
    Command::Alarm(AlarmCommand { active, alarm })
}

pub(crate) fn publish(id: u64, name: &str, client_url: &str) -> Command {
    Command::PublishMember {
        id: MemberId(id),
        name: name.to_owned(),
        client_urls: vec![client_url.to_owned()],
        level: Level::FIRST,
    }
}

pub(crate) fn publish_level(id: u64, level: u32) -> Command {
    Command::PublishMember {
        id: MemberId(id),
        name: "m".to_owned(),
        client_urls: Vec::new(),
        level: Level(level),
    }
}
