//! Watches while things go wrong: slow clients, compactions that pass by, members that fall behind,
//! are cut off or crash, clients that come and go by the thousands. The numbers after `rr` are those
//! under which failures of this kind of store are listed; each has a test.

mod behind;
mod clients;
mod leaders;
mod slow;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use etcd_client::Client;
use quorate::proto::etcdserverpb::WatchResponse;
use tokio::task::JoinHandle;

use crate::harness::{eventually, within};

/// How long things may take on a busy machine.
const SOON: Duration = Duration::from_secs(90);

/// A client that changes one key again and again, so that every revision is about it.
struct Writer {
    stop: Arc<AtomicBool>,
    revision: Arc<AtomicI64>,
    task: JoinHandle<()>,
}

impl Writer {
    /// Puts values of this length, and deletes now and then. What fails is done again.
    fn start(mut client: Client, key: &'static str, value_len: usize) -> Self {
        let (stop, revision) = (Arc::<AtomicBool>::default(), Arc::<AtomicI64>::default());
        let (stopped, told) = (Arc::clone(&stop), Arc::clone(&revision));
        let task = tokio::spawn(async move {
            for number in 0_u64.. {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let header = if number % 8 == 7 {
                    let answer = client.delete(key, None).await;
                    answer.ok().and_then(|answer| answer.header().map(|header| header.revision()))
                } else {
                    let answer = client.put(key, vec![b'v'; value_len], None).await;
                    answer.ok().and_then(|answer| answer.header().map(|header| header.revision()))
                };
                told.fetch_max(header.unwrap_or(0), Ordering::SeqCst);
            }
        });
        Self { stop, revision, task }
    }

    /// The newest revision that was acknowledged.
    fn revision(&self) -> i64 {
        self.revision.load(Ordering::SeqCst)
    }

    /// Waits until so many more revisions are acknowledged.
    async fn advance(&self, revisions: i64) {
        let goal = self.revision() + revisions;
        eventually("the writer to get on", SOON, async || (self.revision() >= goal).then_some(()))
            .await;
    }

    /// Ends it, and returns the newest revision.
    async fn stop(self) -> i64 {
        self.stop.store(true, Ordering::SeqCst);
        within("the writer to end", SOON, self.task).await.unwrap();
        self.revision.load(Ordering::SeqCst)
    }
}

/// Takes events of which every revision has one, and complains about a gap or a repetition.
fn follow(next: &mut i64, response: &WatchResponse) {
    for event in &response.events {
        let revision = event.kv.as_ref().expect("every event has a pair").mod_revision;
        assert_eq!(revision, *next, "watcher {}", response.watch_id);
        *next += 1;
    }
}
