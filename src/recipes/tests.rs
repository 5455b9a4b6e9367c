//! Locks and elections of a member alone, whose log and state are in memory.

mod elections;
mod locks;

use std::time::Duration;

use bytes::Bytes;
use tokio::{
    task::{JoinHandle, yield_now},
    time::{Instant, timeout},
};

use crate::{
    node::Running,
    recipes::{Elections, Error, Locked, Locks, OwnLease},
    state::{Command, Range, RevisionFilter, RevokeCause, Sort, mvcc, testing::grant},
    types::{Identity, Key, KeyRange, LeaseId, Revision, Seconds},
};

/// Far longer than anything here takes.
const SOON: Duration = Duration::from_secs(30);

/// A lease that runs out while a test looks on, as the shortest that the member grants.
const SHORT: OwnLease = OwnLease { ttl: Seconds(1), renew_every: Duration::from_millis(200) };

/// A member, and what moves its events on.
struct Member {
    running: Running,
    tasks: [JoinHandle<()>; 2],
}

impl Member {
    async fn start() -> Self {
        let running = Running::with_keys(0).await;
        let node = &running.handle;
        let tasks =
            [tokio::spawn(node.clone().fan_out()), tokio::spawn(node.clone().renew_leases())];
        Self { running, tasks }
    }

    /// With these leases, which live for a minute.
    async fn with_leases(leases: impl IntoIterator<Item = i64>) -> Self {
        let member = Self::start().await;
        for lease in leases {
            member.running.propose(grant(lease)).await;
        }
        member
    }

    fn locks(&self) -> Locks {
        Locks::new(self.running.handle.clone(), SHORT)
    }

    fn elections(&self) -> Elections {
        Elections::new(self.running.handle.clone(), SHORT)
    }

    /// Waits for the lock `l` in the background.
    fn locking(&self, lease: i64) -> JoinHandle<Result<Locked, Error>> {
        let locks = self.locks();
        tokio::spawn(async move { locks.lock(nobody(), "l".into(), LeaseId(lease)).await })
    }

    async fn lock(&self, lease: i64) -> Locked {
        soon(self.locking(lease)).await.unwrap().unwrap()
    }

    async fn unlock(&self, locked: &Locked) {
        soon(self.locks().unlock(nobody(), locked.key.clone())).await.unwrap();
    }

    async fn revoke(&self, lease: i64) {
        let cause = RevokeCause::Client;
        self.running.propose(Command::LeaseRevoke { id: LeaseId(lease), cause }).await;
    }

    /// All keys, in order.
    fn keys(&self) -> Vec<String> {
        let all = Range {
            range: KeyRange::From(Key::MIN),
            revision: 0,
            limit: 0,
            sort: Sort::default(),
            keys_only: false,
            count_only: false,
            filter: RevisionFilter::default(),
        };
        let read = mvcc::range(&*self.running.handle.view().unwrap(), &all).unwrap();
        let text = |key: &Key| key.as_bytes().escape_ascii().to_string();
        read.kvs.iter().map(|kv| text(&kv.key)).collect()
    }

    fn leases(&self) -> Vec<i64> {
        let leases = crate::state::lease::list(&*self.running.handle.view().unwrap()).unwrap();
        leases.iter().map(|lease| lease.id.0).collect()
    }

    /// Waits until so many keys are there.
    async fn until_keys(&self, count: usize) {
        until(|| self.keys().len() == count).await;
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn nobody() -> Identity {
    Identity::anonymous()
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(SOON, what).await.expect("it does not take that long")
}

/// Waits for a condition, which nothing announces.
async fn until(mut holds: impl FnMut() -> bool) {
    soon(async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}
