//! What stands in the store, read in pieces as of one revision.

use bytes::Bytes;
use tokio::task::yield_now;

use crate::{
    node::{Bounds, Handle, RequestError, Sink},
    registry::{Catalog, Error, Name, Scope, place},
    state::{Range, Refused, RevisionFilter, Sort, schema::cur},
    types::{
        Fault, KeyRange, KeyValue, Revision,
        limits::{SMALL_READ_BYTES_MAX, SMALL_READ_KEYS_MAX},
    },
};

/// What is read at once.
const PIECE: Bounds = Bounds { keys: SMALL_READ_KEYS_MAX, bytes: SMALL_READ_BYTES_MAX };

/// How often it is begun again when a compaction overtakes what is read as of now.
pub(super) const TRIES: usize = 3;

/// Why something was not loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// It takes more memory than it may.
    TooLarge,
    /// It cannot be read.
    Error(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// Loads what is registered within a scope, at a revision or now. `fits` is told every now and then
/// how many bytes it takes so far.
pub(super) async fn load(
    node: &Handle,
    scope: &Scope,
    at: Option<Revision>,
    mut fits: impl FnMut(usize) -> bool,
) -> Result<Catalog, Failed> {
    let mut tries = 1;
    loop {
        let mut walk = Walk::new(node, ranges(scope), at);
        let mut catalog = Catalog::empty(scope.clone());
        let walked = loop {
            match walk.next().await {
                Ok(Some(pairs)) => pairs.iter().for_each(|pair| catalog.take_in(pair)),
                Ok(None) => break Ok(walk.revision()),
                Err(error) => break Err(error),
            }
            if !fits(catalog.bytes()) {
                return Err(Failed::TooLarge);
            }
        };
        match walked {
            Ok(revision) => return Ok(catalog.finished(revision)),
            Err(Error::Compacted(_)) if at.is_none() && tries < TRIES => tries += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

/// The keys that what is registered within a scope is made of, and others.
fn ranges(scope: &Scope) -> Vec<KeyRange> {
    match scope {
        Scope::All => of_namespace(None),
        Scope::Namespace(namespace) => of_namespace(Some(namespace)),
        Scope::Service(name) => {
            let (namespace, service) = (Some(&name.namespace), Some(&name.service));
            let long = [place::overrides(namespace, service), place::instances(namespace, service)];
            let short = name.namespace.is_default_namespace();
            let short = short.then(|| place::short_instances(&name.service));
            long.into_iter().chain(short).collect()
        }
    }
}

/// The same for a namespace, or for all.
pub(super) fn of_namespace(namespace: Option<&Name>) -> Vec<KeyRange> {
    // Keys in the short form stand among all the others.
    let within = namespace.filter(|namespace| !namespace.is_default_namespace());
    vec![place::overrides(namespace, None), place::instances(within, None)]
}

/// Reads ranges one after the other, all as of one revision.
pub(super) struct Walk<'a> {
    node: &'a Handle,
    /// What is left, the next last.
    ranges: Vec<KeyRange>,
    /// 0 until the first piece says what is now.
    revision: Revision,
}

impl<'a> Walk<'a> {
    pub(super) fn new(node: &'a Handle, mut ranges: Vec<KeyRange>, at: Option<Revision>) -> Self {
        ranges.reverse();
        Self { node, ranges, revision: at.unwrap_or_default() }
    }

    /// As of when it reads.
    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    /// The next piece.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<KeyValue>>, Error> {
        let Some(range) = self.ranges.pop() else { return Ok(None) };
        let end = range.end();
        let read = Range {
            range,
            revision: self.revision.0,
            limit: 0,
            sort: Sort::default(),
            keys_only: false,
            count_only: false,
            filter: RevisionFilter::default(),
        };
        let part = self.node.list_part(read, false, PIECE, Pairs::default()).await;
        let part = part.map_err(|error| match error {
            RequestError::Refused(Refused::Compacted(revision)) => Error::Compacted(revision),
            other @ (RequestError::Refused(_) | RequestError::Node(_)) => other.into(),
        })?;
        if self.revision == Revision(0) {
            self.revision = part.revision;
        }
        self.ranges.extend(part.next.map(|next| match end {
            Some(end) => KeyRange::HalfOpen(next, end),
            None => KeyRange::From(next),
        }));
        // What comes of a piece takes a while, too.
        yield_now().await;
        let pairs = part.sink.0.map_err(|fault| {
            self.node.stop_for(&fault);
            Error::Node(fault.into())
        })?;
        Ok(Some(pairs))
    }
}

/// The pairs of records.
#[derive(Debug)]
struct Pairs(Result<Vec<KeyValue>, Fault>);

impl Default for Pairs {
    fn default() -> Self {
        Self(Ok(Vec::new()))
    }
}

impl Sink for Pairs {
    fn take(&mut self, record: &[u8]) {
        let Ok(pairs) = &mut self.0 else { return };
        match cur::decode(&Bytes::copy_from_slice(record)) {
            Ok(pair) => pairs.push(pair),
            Err(fault) => self.0 = Err(fault),
        }
    }
}
