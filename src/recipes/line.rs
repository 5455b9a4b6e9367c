//! [`Line`]: contenders in the order in which they came, each with a key of its own.

use bytes::Bytes;

use crate::{
    node::{self, Handle, RequestError, Sink},
    recipes::{
        Error,
        session::{OwnLease, Session, see_through},
    },
    state::{
        Answer, Command, Compare, Op, OpResponse, Operand, Put, Range, Relation, Response,
        RevisionFilter, Sort, SortOrder, SortTarget, Txn, TxnResponse, schema::cur,
    },
    types::{
        EventKind, Identity, Key, KeyRange, KeyValue, LeaseId, Revision, limits::PUT_COST_BASE,
    },
};

/// The line of a name: the keys `<name>/<lease>`, in the order of their creation. The first of them
/// has what the line is for.
#[derive(Clone, Debug)]
pub(super) struct Line {
    node: Handle,
    identity: Identity,
    prefix: Key,
}

/// A contender that has its key.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) session: Session,
    pub(super) key: Key,
    /// The revision that created the key.
    pub(super) created: Revision,
    /// The store's revision when it joined.
    pub(super) revision: Revision,
    /// It was the first then.
    pub(super) is_first: bool,
    /// What stood under the key when it was there already.
    pub(super) found: Option<KeyValue>,
}

impl Line {
    pub(super) fn new(node: &Handle, identity: &Identity, name: &[u8]) -> Self {
        let prefix = Key::new([name, b"/"].concat()).expect("there is a slash");
        Self { node: node.clone(), identity: identity.clone(), prefix }
    }

    /// Whom the line is about: all keys below the name.
    pub(super) fn range(&self) -> KeyRange {
        KeyRange::prefix(self.prefix.clone())
    }

    /// Joins the line with a value, on a lease; 0 stands for one of its own. Who stands there
    /// already with this lease keeps place and value.
    pub(super) async fn join(
        &self,
        lease: LeaseId,
        own: OwnLease,
        value: Bytes,
    ) -> Result<Joined, Error> {
        let line = self.clone();
        // When the caller leaves meanwhile, it is still certain what is there, and the answer, which
        // nobody takes, takes it away.
        see_through(async move {
            let session = Session::open(&line.node, line.identity.clone(), lease, own).await?;
            line.take_place(session, value).await
        })
        .await
    }

    async fn take_place(&self, mut session: Session, value: Bytes) -> Result<Joined, Error> {
        let lease = session.lease();
        let key = self.key(lease);
        let txn = self.entry(key.clone(), value, lease);
        let Answer { revision, response } = propose(&self.node, &self.identity, txn).await?;
        let (created, is_first, found) = match entered(response) {
            Entered::New { is_first } => {
                session.note_place(&key, revision);
                (revision, is_first, None)
            }
            Entered::Before { found, first } => {
                let created = found.create_revision;
                (created, created == first, Some(found))
            }
        };
        Ok(Joined { session, key, created, revision, is_first, found })
    }

    /// The key of a lease in this line. Negative ids are written as the numbers they are.
    fn key(&self, lease: LeaseId) -> Key {
        let sign = if lease.0 < 0 { "-" } else { "" };
        let name = format!("{sign}{:x}", lease.0.unsigned_abs());
        let bytes = [self.prefix.as_bytes(), name.as_bytes()].concat();
        Key::new(bytes).expect("the prefix has a slash")
    }

    /// Puts the key unless it is there. A new key is the last of the line, so it is the first only
    /// if there was none; that is one look, however long the line. A key that is there asks who is
    /// first.
    fn entry(&self, key: Key, value: Bytes, lease: LeaseId) -> Txn {
        let own = KeyRange::One(key.clone());
        let absent =
            |range| Compare { range, relation: Relation::Equal, operand: Operand::Create(0) };
        let put = Put {
            key,
            value,
            lease: Some(lease),
            prev_kv: false,
            ignore_value: false,
            ignore_lease: false,
        };
        let empty = Txn { compares: vec![absent(self.range())], ..Txn::default() };
        Txn {
            compares: vec![absent(own.clone())],
            success: vec![Op::Put(put), Op::Txn(empty)],
            failure: vec![Op::Range(one(own)), Op::Range(first_of(self.range()))],
        }
    }

    /// Waits until nobody is left who was created before.
    pub(super) async fn wait_for_turn(&self, created: Revision) -> Result<(), Error> {
        loop {
            let (revision, before) = self.find(last_before(self.range(), created)).await?;
            let Some(before) = before else { return Ok(()) };
            self.wait_until_gone(before.key, revision).await;
        }
    }

    /// Waits until a key that lived at a revision is deleted, or history does not tell any more.
    async fn wait_until_gone(&self, key: Key, seen: Revision) {
        let mut changes = self.node.changes(KeyRange::One(key), seen.next());
        while let Some(happened) = changes.next().await {
            if happened.events.iter().any(|event| matches!(event.kind, EventKind::Delete(..))) {
                return;
            }
        }
    }

    /// The revision of now, if the key is still the one of that creation.
    pub(super) async fn still_there(
        &self,
        key: Key,
        created: Revision,
    ) -> Result<Option<Revision>, Error> {
        let (revision, found) = self.find(one(KeyRange::One(key))).await?;
        Ok(found.filter(|found| found.create_revision == created).map(|_| revision))
    }

    /// Who is first, and as of when.
    pub(super) async fn first(&self) -> Result<(Revision, Option<KeyValue>), Error> {
        self.find(first_of(self.range())).await
    }

    /// Reads the one pair that a range asks for.
    async fn find(&self, range: Range) -> Result<(Revision, Option<KeyValue>), Error> {
        let listing = self.node.list(range, false, Found::default).await?;
        let pair = listing.sink.0.map(|record| cur::decode(&record)).transpose();
        let pair = pair.map_err(|fault| {
            self.node.stop_for(&fault);
            RequestError::from(node::Error::Fault(fault))
        })?;
        Ok((listing.revision, pair))
    }
}

/// Takes one record.
#[derive(Debug, Default)]
struct Found(Option<Bytes>);

impl Sink for Found {
    fn take(&mut self, record: &[u8]) {
        self.0 = Some(Bytes::copy_from_slice(record));
    }
}

/// What an [entry](Line::entry) has found.
enum Entered {
    New { is_first: bool },
    Before { found: KeyValue, first: Revision },
}

fn entered(response: Response) -> Entered {
    let Response::Txn(TxnResponse { results, .. }) = response else {
        unreachable!("a transaction got the answer of another command");
    };
    let mut results = results.into_iter();
    match (results.next(), results.next()) {
        (Some(OpResponse::Put(..)), Some(OpResponse::Txn(empty))) => {
            Entered::New { is_first: empty.succeeded }
        }
        (Some(OpResponse::Range(_, own)), Some(OpResponse::Range(_, line))) => {
            let found = own.kvs.into_iter().next().expect("the key was there");
            let first = line.kvs.first().map_or(found.create_revision, |kv| kv.create_revision);
            Entered::Before { found, first }
        }
        other => unreachable!("an entry was answered by {other:?}"),
    }
}

/// Has a transaction carried out that puts something only when its comparisons hold.
pub(crate) async fn propose(
    node: &Handle,
    identity: &Identity,
    txn: Txn,
) -> Result<Answer, RequestError> {
    node.ensure_room(txn.success.iter().map(cost).sum())?;
    node.propose(identity.clone(), Command::Txn(txn)).await
}

fn cost(op: &Op) -> u64 {
    match op {
        Op::Put(put) => {
            let bytes = put.key.as_bytes().len().saturating_add(put.value.len());
            PUT_COST_BASE.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX))
        }
        Op::Range(_) | Op::DeleteRange(_) | Op::Txn(_) => 0,
    }
}

/// Reads one pair of a range.
fn one(range: KeyRange) -> Range {
    Range {
        range,
        revision: 0,
        limit: 1,
        sort: Sort::default(),
        keys_only: false,
        count_only: false,
        filter: RevisionFilter::default(),
    }
}

/// Reads the pair that was created first.
fn first_of(range: KeyRange) -> Range {
    let sort = Sort { order: SortOrder::Ascend, target: SortTarget::Create };
    Range { sort, ..one(range) }
}

/// Reads the key that was created last before a revision.
fn last_before(range: KeyRange, created: Revision) -> Range {
    let sort = Sort { order: SortOrder::Descend, target: SortTarget::Create };
    let filter = RevisionFilter { max_create: created.0 - 1, ..RevisionFilter::default() };
    Range { sort, filter, keys_only: true, ..one(range) }
}
