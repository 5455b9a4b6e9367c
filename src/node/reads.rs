//! Reads: where they are done, how many large ones at once, and what makes their answers true.
//!
//! A small read is done by the task that asks. One that takes long, or whose answer is large, is
//! done on a thread that may wait, and ends early when nobody waits for it any more. An answer is
//! read into memory once, as the records lie in the state; so only a few large ones may be there at
//! a time.
//!
//! A view does not keep history alive. So a read of history counts only if that revision was not
//! compacted by the time the read was done.

use std::{convert::Infallible, ops::ControlFlow, panic, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    task::spawn_blocking,
};

use crate::{
    node::{Error, Handle, RequestError, leash::Leash},
    state::{
        self, ApplyError, Op, Range, Refused, RevisionFilter, SortTarget, Txn, TxnResponse, View,
        meta, mvcc, schema::cur,
    },
    types::{
        Fault, Key, KeyRange, Revision,
        limits::{self, SMALL_READ_BYTES_MAX, SMALL_READ_KEYS_MAX},
    },
};

/// Where the records of a range go, in the order of the answer.
pub trait Sink: Send + 'static {
    /// Takes the next record: a pair in etcd's wire form.
    fn take(&mut self, record: &[u8]);
}

/// How much to read at once. At least one record is read, whatever its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Records at most.
    pub keys: usize,
    /// Their bytes at most.
    pub bytes: usize,
}

impl Bounds {
    /// What a small read may bring.
    const SMALL: Self = Self { keys: SMALL_READ_KEYS_MAX, bytes: SMALL_READ_BYTES_MAX };
    /// Whatever there is.
    const NONE: Self = Self { keys: usize::MAX, bytes: usize::MAX };
}

/// A range that was read as a whole.
#[derive(Debug)]
pub struct Listing<S> {
    /// It has taken the records.
    pub sink: S,
    /// The store's revision.
    pub revision: Revision,
    /// The limit left keys out.
    pub more: bool,
    /// Keys of the range, whatever the limit and the filter.
    pub count: i64,
    /// To be kept as long as the answer is in memory, if it may be a large one.
    pub slot: Option<Slot>,
}

/// A range, or the beginning of one.
#[derive(Debug)]
pub struct Part<S> {
    /// It has taken the records.
    pub sink: S,
    /// The store's revision.
    pub revision: Revision,
    /// How many records it has taken.
    pub taken: i64,
    /// The first key that the bounds left out.
    pub next: Option<Key>,
    /// The limit of the range left keys out.
    pub more: bool,
    /// Keys of the range, whatever bounds, limit and filter; 0 when not asked for.
    pub count: i64,
}

impl<S> Part<S> {
    fn whole(self, slot: Option<Slot>) -> Listing<S> {
        let Self { sink, revision, more, count, .. } = self;
        Listing { sink, revision, more, count, slot }
    }
}

/// A place among the large answers that a member has in memory. It is free again when this is
/// dropped; after a request timeout it is so in any case, because a client that does not take its
/// answer must not keep others from reading.
#[derive(Debug)]
pub struct Slot {
    _held: oneshot::Sender<Infallible>,
}

impl Slot {
    pub(super) fn new(permit: OwnedSemaphorePermit, timeout: Duration) -> Self {
        let (held, dropped) = oneshot::channel();
        tokio::spawn(async move {
            // Both ends mean the same: the place is free.
            let _ = tokio::time::timeout(timeout, dropped).await;
            drop(permit);
        });
        Self { _held: held }
    }
}

/// Whether the keys of a range are counted, beside those that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counted {
    Yes,
    /// Only when the bounds left nothing out.
    IfWhole,
    No,
}

/// How much work a read is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weight {
    /// Little, unless the records turn out to be many or large.
    Small,
    /// A small answer, for which much may have to be looked at.
    Slow,
    /// Many records, or it cannot be known.
    Large,
}

impl Handle {
    /// Reads a range; `serializable` answers from the state here, however old it may be. `new`
    /// makes an empty sink; it is called again when a read turns out to be large.
    ///
    /// # Errors
    ///
    /// A refusal because of the revision asked for, or what keeps the member from answering.
    pub async fn list<S: Sink>(
        &self,
        range: Range,
        serializable: bool,
        new: impl Fn() -> S + Send,
    ) -> Result<Listing<S>, RequestError> {
        let (figures, begun) = (self.figures(), self.micros());
        let listed = async {
            if !serializable {
                self.read_barrier().await?;
            }
            let confirmed = self.micros();
            let listed = self.list_now(range, new).await;
            figures.ranged.observe(listed.is_ok(), self.micros_since(confirmed));
            listed
        };
        let listed = listed.await;
        figures.done.ranges.inc();
        figures.read.observe(listed.is_ok(), self.micros_since(begun));
        listed
    }

    /// Reads a range from the state here.
    async fn list_now<S: Sink>(
        &self,
        range: Range,
        new: impl Fn() -> S + Send,
    ) -> Result<Listing<S>, RequestError> {
        if let Some(part) = self.list_small(&range, new()).await? {
            return Ok(part.whole(None));
        }
        let revision = range.revision;
        let sink = new();
        let large = self.large_reads();
        let work = move |view: &dyn View| read(view, &range, Counted::Yes, Bounds::NONE, sink);
        let (part, permit) = self.aside(large, work).await?;
        let part = self.judge(revision, part)?;
        Ok(part.whole(Some(Slot::new(permit, self.slot_timeout()))))
    }

    /// Reads a range, if that is a small read. Nothing of it is left behind if it is not.
    async fn list_small<S: Sink>(
        &self,
        range: &Range,
        sink: S,
    ) -> Result<Option<Part<S>>, RequestError> {
        let view = self.view()?;
        let (counted, bounds) = (Counted::IfWhole, Bounds::SMALL);
        let part = match self.judge(range.revision, weigh(&*view, range))? {
            Weight::Small => self.read_here(&*view, range, counted, bounds, sink)?,
            Weight::Slow => {
                drop(view); // the wait may be long
                self.read_aside(range.clone(), counted, bounds, sink).await?
            }
            Weight::Large => return Ok(None),
        };
        Ok(part.next.is_none().then_some(part))
    }

    /// Reads the beginning of a range from the state here; `counted` tells whether the keys of the
    /// range are to be counted.
    ///
    /// # Errors
    ///
    /// As for [`Handle::list`].
    pub async fn list_part<S: Sink>(
        &self,
        range: Range,
        counted: bool,
        bounds: Bounds,
        sink: S,
    ) -> Result<Part<S>, RequestError> {
        let view = self.view()?;
        let small = bounds.keys <= SMALL_READ_KEYS_MAX && bounds.bytes <= SMALL_READ_BYTES_MAX;
        let counted = if counted { Counted::Yes } else { Counted::No };
        match self.judge(range.revision, weigh(&*view, &range))? {
            Weight::Small if small => self.read_here(&*view, &range, counted, bounds, sink),
            Weight::Small | Weight::Slow | Weight::Large => {
                drop(view); // the wait may be long
                self.read_aside(range, counted, bounds, sink).await
            }
        }
    }

    /// Carries out a transaction that only reads; `serializable` as for [`Handle::list`].
    ///
    /// # Errors
    ///
    /// A refusal because of a revision asked for, or what keeps the member from answering.
    pub async fn read_txn(
        &self,
        txn: Txn,
        serializable: bool,
    ) -> Result<(Revision, TxnResponse), RequestError> {
        let begun = self.micros();
        let read = async {
            if !serializable {
                self.read_barrier().await?;
            }
            self.read_txn_now(txn).await
        };
        let read = read.await;
        self.figures().read_txn.observe(read.is_ok(), self.micros_since(begun));
        read
    }

    async fn read_txn_now(&self, txn: Txn) -> Result<(Revision, TxnResponse), RequestError> {
        let read = |view: &dyn View, txn: &Txn| -> Result<_, ApplyError> {
            Ok((meta::revision(view)?, state::txn::read_only(view, txn)?))
        };
        if is_light(&txn) {
            let read = read(&*self.view()?, &txn);
            return self.judge_txn(&txn, read);
        }
        let txn = Arc::new(txn);
        let shared = Arc::clone(&txn);
        let large = self.large_reads();
        let (read, _permit) = self.aside(large, move |view| read(view, &shared)).await?;
        self.judge_txn(&txn, read)
    }

    /// The same as [`Handle::judge`], for all that a transaction reads.
    fn judge_txn(
        &self,
        txn: &Txn,
        read: Result<(Revision, TxnResponse), ApplyError>,
    ) -> Result<(Revision, TxnResponse), RequestError> {
        let taken = |of_success: bool| match &read {
            Ok((_, response)) => response.succeeded == of_success,
            Err(ApplyError::Refused(_)) => false, // by numbers, whatever is on disk
            Err(ApplyError::Fault(_)) => true,    // whichever it was
        };
        for (ops, of_success) in [(&txn.success, true), (&txn.failure, false)] {
            for op in ops.iter().filter(|_| taken(of_success)) {
                if let Op::Range(range) = op {
                    self.check_not_compacted(range.revision)?;
                }
            }
        }
        self.judge(0, read)
    }

    fn read_here<S: Sink>(
        &self,
        view: &dyn View,
        range: &Range,
        counted: Counted,
        bounds: Bounds,
        sink: S,
    ) -> Result<Part<S>, RequestError> {
        let part = read(view, range, counted, bounds, sink);
        self.judge(range.revision, part)
    }

    async fn read_aside<S: Sink>(
        &self,
        range: Range,
        counted: Counted,
        bounds: Bounds,
        sink: S,
    ) -> Result<Part<S>, RequestError> {
        let revision = range.revision;
        let slow = self.slow_reads();
        let work = move |view: &dyn View| read(view, &range, counted, bounds, sink);
        let (part, _permit) = self.aside(slow, work).await?;
        self.judge(revision, part)
    }

    /// Does work on a thread that may wait, when `places` has one for it. The place is the work's
    /// as long as it goes on, and then the caller's. It ends soon when nobody waits for it.
    async fn aside<T: Send + 'static>(
        &self,
        places: &Arc<Semaphore>,
        work: impl FnOnce(&dyn View) -> T + Send + 'static,
    ) -> Result<(T, OwnedSemaphorePermit), Error> {
        let places = Arc::clone(places);
        let permit = self
            .in_time(async { Ok(places.acquire_owned().await.expect("nobody closes the places")) })
            .await?;
        let (caller, _waits) = oneshot::channel();
        let leash = Leash::new(self.bulk_view()?, caller);
        match spawn_blocking(move || (work(&leash), permit)).await {
            Ok(done) => Ok(done),
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => panic::resume_unwind(panic),
                Err(_) => Err(Error::Stopped),
            },
        }
    }

    /// How long a client may take over a large answer before its place is given away.
    fn slot_timeout(&self) -> Duration {
        Duration::from_millis(self.settings().request_timeout().0)
    }

    /// What came of a read as of `revision`. Nothing counts, not even a fault, if that is compacted
    /// by now; else a record that makes no sense stops the member.
    fn judge<T>(&self, revision: i64, read: Result<T, ApplyError>) -> Result<T, RequestError> {
        self.check_not_compacted(revision)?;
        read.map_err(|error| match error {
            ApplyError::Refused(refused) => refused.into(),
            ApplyError::Fault(fault) => {
                self.stop_for(&fault);
                Error::Fault(fault).into()
            }
        })
    }

    /// A view does not keep garbage alive, so a read of history counts only if it was none by the
    /// time it was done.
    fn check_not_compacted(&self, revision: i64) -> Result<(), RequestError> {
        let compacted = self.shared().compacted();
        if revision > 0 && Revision(revision) < compacted {
            return Err(Refused::Compacted(Revision(revision)).into());
        }
        Ok(())
    }
}

/// How much work it is to read a range.
fn weigh(view: &dyn View, range: &Range) -> Result<Weight, ApplyError> {
    if matches!(range.range, KeyRange::One(_)) {
        return Ok(Weight::Small);
    }
    let few = i64::try_from(SMALL_READ_KEYS_MAX).unwrap_or(i64::MAX);
    // With these, all keys of the range are looked at, whatever the limit.
    let all = range.sort.target != SortTarget::Key || range.filter != RevisionFilter::default();
    if range.revision > 0 && Revision(range.revision) < meta::revision(view)? {
        let small = range.count_only || (!all && (1..=few).contains(&range.limit));
        return Ok(if small { Weight::Slow } else { Weight::Large });
    }
    if all && !range.count_only && mvcc::count(view, range)? > few {
        return Ok(Weight::Large);
    }
    Ok(Weight::Small)
}

/// Whether a transaction that only reads is little work: a few keys by name, or a few of a range.
fn is_light(txn: &Txn) -> bool {
    let few = i64::try_from(SMALL_READ_KEYS_MAX / limits::TXN_OPS_MAX).unwrap_or(1);
    let is_one = |range: &KeyRange| matches!(range, KeyRange::One(_));
    let is_short = |range: &Range| {
        (1..=few).contains(&range.limit)
            && range.revision == 0
            && range.sort.target == SortTarget::Key
            && range.filter == RevisionFilter::default()
    };
    txn.compares.iter().all(|compare| is_one(&compare.range))
        && txn.success.iter().chain(&txn.failure).all(|op| match op {
            Op::Range(range) => is_one(&range.range) || is_short(range),
            Op::Put(_) | Op::DeleteRange(_) | Op::Txn(_) => false,
        })
}

/// Reads a range, or as much of it as the bounds allow.
fn read<S: Sink>(
    view: &dyn View,
    range: &Range,
    counted: Counted,
    bounds: Bounds,
    mut sink: S,
) -> Result<Part<S>, ApplyError> {
    if range.count_only {
        let (count, revision) = (mvcc::count(view, range)?, meta::revision(view)?);
        return Ok(Part { sink, revision, taken: 0, next: None, more: false, count });
    }
    let (mut keys, mut bytes, mut next) = (0_usize, 0_usize, Ok(None));
    let listed = mvcc::list(view, range, &mut |record| {
        if keys >= bounds.keys || (keys > 0 && bytes.saturating_add(record.len()) > bounds.bytes) {
            next = key_of(record).map(Some);
            return ControlFlow::Break(());
        }
        keys += 1;
        bytes = bytes.saturating_add(record.len());
        sink.take(record);
        ControlFlow::Continue(())
    })?;
    let next = next?;
    let taken = i64::try_from(keys).unwrap_or(i64::MAX);
    let counted = match counted {
        Counted::Yes => true,
        Counted::IfWhole => next.is_none(),
        Counted::No => false,
    };
    let count = match listed.count {
        _ if !counted => 0,
        Some(count) => count,
        None => mvcc::count(view, range)?,
    };
    Ok(Part { sink, revision: listed.revision, taken, next, more: listed.more, count })
}

fn key_of(record: &[u8]) -> Result<Key, Fault> {
    Ok(cur::decode(&Bytes::copy_from_slice(record))?.key)
}
