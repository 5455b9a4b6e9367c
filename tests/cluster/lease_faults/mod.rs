//! Leases while things go wrong: a leader that is paused, leaders that die as leases run out, wall
//! clocks that jump, requests that cross each other, more puts than there is room for. The numbers
//! after `rr` are those under which failures of this kind of store are listed.

mod jumps;
mod leaders;
mod load;
mod renewer;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use etcd_client::{Client, PutOptions};
use quorate::proto::etcdserverpb::WatchResponse;
use tokio::time::Instant;

use crate::harness::{
    leasing::Leasing,
    streams::{WatchStream, channel, watcher, watcher_of_all},
};

/// How long things may take on a busy machine.
const SOON: Duration = Duration::from_secs(90);

/// The key that hangs on a lease in these tests.
fn key(id: i64) -> String {
    format!("k{id}")
}

/// Grants leases with a key each, many at a time; when each was granted at the latest.
async fn grant(url: &str, ids: impl Iterator<Item = i64>, ttl: i64) -> BTreeMap<i64, Instant> {
    const AT_ONCE: usize = 32;
    let ids: Vec<i64> = ids.collect();
    let client = crate::harness::connect(&[url.to_owned()]).await;
    let leasing = Leasing::at(url);
    let mut granted = BTreeMap::new();
    for some in ids.chunks(AT_ONCE) {
        let each = some.iter().map(|id| grant_one(client.clone(), leasing.clone(), *id, ttl));
        granted.extend(futures_util::future::join_all(each).await);
    }
    granted
}

async fn grant_one(mut client: Client, mut leasing: Leasing, id: i64, ttl: i64) -> (i64, Instant) {
    leasing.grant(id, ttl).await.unwrap();
    let granted = Instant::now();
    client.put(key(id), "v", Some(PutOptions::new().with_lease(id))).await.unwrap();
    (id, granted)
}

/// All that was deleted since the first revision, as one member tells it.
struct Deletions {
    stream: WatchStream,
    seen: BTreeMap<i64, Instant>,
}

impl Deletions {
    async fn watch(url: &str) -> Self {
        let mut stream = WatchStream::open(&channel(url)).await.unwrap();
        stream.created(watcher_of_all(1)).await;
        Self { stream, seen: BTreeMap::new() }
    }

    /// The same without what else is written, from now on.
    async fn watch_prefix(url: &str) -> Self {
        let mut stream = WatchStream::open(&channel(url)).await.unwrap();
        stream.created(watcher("k", "l")).await;
        Self { stream, seen: BTreeMap::new() }
    }

    fn take(&mut self, response: &WatchResponse) {
        for event in &response.events {
            let pair = event.kv.as_ref().expect("every event has a pair");
            let name = String::from_utf8_lossy(&pair.key);
            let Some(id) = name.strip_prefix('k') else { continue };
            let id = id.parse().unwrap();
            if event.r#type().as_str_name() == "DELETE" {
                let before = self.seen.insert(id, Instant::now());
                assert!(before.is_none(), "{name} was deleted twice");
            }
        }
    }

    /// Takes what comes until then.
    async fn until(&mut self, end: Instant) {
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            if let Some(response) = self.stream.message_within(left).await {
                self.take(&response.unwrap());
            }
        }
    }

    /// Takes what comes until so many keys were deleted.
    async fn count(&mut self, count: usize) {
        let deadline = Instant::now() + SOON;
        while self.seen.len() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            let response = self.stream.message_within(left).await;
            let seen = self.seen.len();
            self.take(&response.unwrap_or_else(|| panic!("{seen} of {count} deletions")).unwrap());
        }
    }

    fn ids(&self) -> BTreeSet<i64> {
        self.seen.keys().copied().collect()
    }
}
