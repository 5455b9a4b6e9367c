//! Clients that watch, and note every event in a few bytes.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use prost::Message;
use quorate::proto::{
    etcdserverpb::{WatchCreateRequest, WatchResponse, watch_create_request::FilterType},
    mvccpb::Event,
};
use tokio::{sync::watch, task::JoinSet, time::sleep};

use super::{Dice, SOON};
use crate::harness::{
    streams::{WatchStream, channel, header_revision, small_channel, watcher, watcher_of_all},
    within,
};

const OBSERVERS: usize = 9;
/// Watchers on the stream of each.
const WATCHERS: usize = 3;
/// After so long without a response an observer asks how far its stream has come.
const IDLE: Duration = Duration::from_millis(200);
/// So many questions without an answer, and it goes elsewhere.
const PATIENCE: usize = 15;
/// Longest pause of an observer that does not read, in milliseconds.
const STALL_MAX: usize = 400;

/// An event as it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) revision: i64,
    pub(super) hash: u64,
}

impl Seen {
    pub(super) fn of(event: &Event) -> Self {
        let mut hasher = DefaultHasher::new();
        event.encode_to_vec().hash(&mut hasher);
        let pair = event.kv.as_ref().expect("every event has a pair");
        Self { revision: pair.mod_revision, hash: hasher.finish() }
    }
}

/// What one watcher asked for and saw, over all its streams.
pub(super) struct Record {
    pub(super) request: WatchCreateRequest,
    pub(super) seen: Vec<Seen>,
    /// Told that everything up to this revision was delivered, when so much was seen.
    pub(super) bookmarks: Vec<(i64, usize)>,
    pub(super) resumes: usize,
    next: i64,
    /// Pieces of a response whose last is still to come.
    pieces: Vec<Seen>,
}

impl Record {
    /// What watchers ask for: something different for each number.
    fn new(number: usize) -> Self {
        let (no_put, no_delete) = (i32::from(FilterType::Noput), i32::from(FilterType::Nodelete));
        let request = match number % 8 {
            0 => watcher("a/", "a0"),
            1 => WatchCreateRequest { prev_kv: true, ..watcher_of_all(1) },
            2 => WatchCreateRequest { prev_kv: true, ..watcher("a/03", "") },
            3 => WatchCreateRequest { filters: vec![no_put], ..watcher("b/", "b0") },
            4 => WatchCreateRequest {
                filters: vec![no_delete],
                prev_kv: true,
                fragment: true,
                ..watcher("b/", "c/")
            },
            5 => WatchCreateRequest { fragment: true, progress_notify: true, ..watcher_of_all(1) },
            6 => WatchCreateRequest { start_revision: 100, ..watcher("c/", "c0") },
            _ => WatchCreateRequest {
                prev_kv: true,
                fragment: true,
                progress_notify: true,
                ..watcher("b/10", "\0")
            },
        };
        let next = request.start_revision.max(1);
        let request = WatchCreateRequest { start_revision: next, ..request };
        let (seen, bookmarks, pieces) = (Vec::new(), Vec::new(), Vec::new());
        Self { request, seen, bookmarks, resumes: 0, next, pieces }
    }

    /// Takes events; a response that comes in pieces counts once it is whole.
    fn take(&mut self, response: &WatchResponse) {
        self.pieces.extend(response.events.iter().map(Seen::of));
        if response.fragment {
            assert!(self.request.fragment, "a piece for a watcher that takes none");
            return;
        }
        let first = self.pieces.first().expect("a response of events has some").revision;
        let last = self.pieces.last().expect("it has a first").revision;
        assert!(self.pieces.is_sorted_by_key(|seen| seen.revision), "revisions out of order");
        assert!(first >= self.next, "shown revision {first} again, {} is next", self.next);
        assert!(last <= header_revision(response), "event {last} in {response:?}");
        self.next = last + 1;
        self.seen.append(&mut self.pieces);
    }

    /// Takes note that everything up to `revision` has come.
    fn mark(&mut self, revision: i64) {
        assert!(self.pieces.is_empty(), "progress between the pieces of a response");
        assert!(self.next <= revision + 1, "progress at {revision}, {} is next", self.next);
        self.bookmarks.push((revision, self.seen.len()));
        self.next = revision + 1;
    }
}

/// Clients that watch.
pub(super) struct Observers {
    tasks: JoinSet<Vec<Record>>,
    last: watch::Sender<Option<i64>>,
}

impl Observers {
    pub(super) fn start(endpoints: &[String], seed: u64, delivered: &Arc<AtomicUsize>) -> Self {
        let (last, known) = watch::channel(None);
        let mut tasks = JoinSet::new();
        for number in 0..OBSERVERS {
            let observer = Observer {
                records: (0..WATCHERS).map(|place| Record::new(number + 3 * place)).collect(),
                dice: Dice::new(seed ^ u64::try_from(number + 100).unwrap() << 32),
                at: number % endpoints.len(),
                endpoints: endpoints.to_vec(),
                last: known.clone(),
                delivered: Arc::clone(delivered),
            };
            tasks.spawn(observer.run());
        }
        Self { tasks, last }
    }

    /// Tells all that nothing comes after this revision, and waits until they have been told of
    /// everything up to it.
    pub(super) async fn finish(self, last: i64) -> Vec<Record> {
        self.last.send_replace(Some(last));
        let records = within("the end of all observers", SOON, self.tasks.join_all()).await;
        records.into_iter().flatten().collect()
    }
}

struct Observer {
    records: Vec<Record>,
    dice: Dice,
    at: usize,
    endpoints: Vec<String>,
    last: watch::Receiver<Option<i64>>,
    delivered: Arc<AtomicUsize>,
}

impl Observer {
    async fn run(mut self) -> Vec<Record> {
        while !self.has_all() {
            self.watch().await;
            self.at =
                (self.at + 1 + self.dice.below(self.endpoints.len() - 1)) % self.endpoints.len();
            for record in &mut self.records {
                record.pieces.clear();
                record.resumes += 1;
            }
            sleep(Duration::from_millis(20)).await;
        }
        self.records
    }

    /// Whether every watcher was told that it has everything.
    fn has_all(&self) -> bool {
        let last = *self.last.borrow();
        last.is_some_and(|last| self.records.iter().all(|record| record.next > last))
    }

    /// The life of one stream, until it breaks, is silent for long, or the observer has had enough.
    async fn watch(&mut self) {
        let url = &self.endpoints[self.at];
        let channel = if self.dice.below(3) == 0 { small_channel(url) } else { channel(url) };
        let Ok(mut stream) = WatchStream::open(&channel).await else { return };
        for (id, record) in (1..).zip(&self.records) {
            let request = WatchCreateRequest {
                watch_id: id,
                start_revision: record.next,
                ..record.request.clone()
            };
            stream.create(request).await;
        }
        let life = 100 + self.dice.below(4_000);
        let mut idle = 0;
        for responses in 0..life {
            if self.has_all() || idle > PATIENCE {
                return;
            }
            if idle > 0 || responses % 40 == 39 {
                stream.ask_progress().await;
            }
            if self.dice.below(400) == 0 {
                // A client that does not read for a while.
                sleep(Duration::from_millis(u64::try_from(self.dice.below(STALL_MAX)).unwrap()))
                    .await;
            }
            match stream.message_within(IDLE).await {
                Some(Ok(response)) => {
                    idle = 0;
                    self.take(&response);
                }
                Some(Err(_)) => return,
                None => idle += 1,
            }
        }
    }

    fn take(&mut self, response: &WatchResponse) {
        assert!(!response.canceled, "cancelled: {response:?}");
        if response.created {
            return;
        }
        if response.events.is_empty() && response.watch_id == -1 {
            let revision = header_revision(response);
            self.records.iter_mut().for_each(|record| record.mark(revision));
            return;
        }
        let place = usize::try_from(response.watch_id - 1).unwrap();
        let record = self.records.get_mut(place).expect("ids are those that were chosen");
        if response.events.is_empty() {
            assert!(record.request.progress_notify, "told of progress without asking");
            record.mark(header_revision(response));
            return;
        }
        record.take(response);
        self.delivered.fetch_add(response.events.len(), Ordering::SeqCst);
    }
}
