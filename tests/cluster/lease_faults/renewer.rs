//! Somebody who keeps leases alive, whatever happens to the members.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};
use tonic::Status;

use super::SOON;
use crate::harness::{leasing::Leasing, within};

/// How long an answer may take before another member is asked.
const PATIENCE: Duration = Duration::from_secs(2);
/// The pause after a failure.
const PAUSE: Duration = Duration::from_millis(50);

/// What a renewer was told.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// When each lease was renewed last, by the time at which that was asked for.
    pub(super) renewed: BTreeMap<i64, Instant>,
    /// Those of which somebody said that they are gone.
    pub(super) gone: Vec<i64>,
    pub(super) renewals: usize,
    pub(super) failures: usize,
}

/// A task that renews leases at several members, one member at a time.
pub(super) struct Renewer {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Told>,
}

impl Renewer {
    pub(super) fn start(urls: Vec<String>, ids: Vec<i64>, every: Duration) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut told = Told::default();
            for url in urls.iter().cycle() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                if renew(url, &ids, every, &stopped, &mut told).await.is_err() {
                    told.failures += 1;
                    sleep(PAUSE).await;
                }
            }
            told
        });
        Self { stop, task }
    }

    /// Ends it after its round.
    pub(super) async fn stop(self) -> Told {
        self.stop.store(true, Ordering::SeqCst);
        within("the renewer to end", SOON, self.task).await.unwrap()
    }
}

/// Renews all leases in rounds on one stream until it fails or is to stop.
async fn renew(
    url: &str,
    ids: &[i64],
    every: Duration,
    stopped: &AtomicBool,
    told: &mut Told,
) -> Result<(), Status> {
    let late = |_| Status::deadline_exceeded("no answer");
    let mut leasing = Leasing::at(url);
    let mut stream = tokio::time::timeout(PATIENCE, leasing.keep_alive()).await.map_err(late)??;
    while !stopped.load(Ordering::SeqCst) {
        let asked = Instant::now();
        for some in ids.chunks(256) {
            for id in some {
                stream.ask(*id).await;
            }
            for id in some {
                let answer = stream.answer_within(PATIENCE).await;
                let answer = answer.ok_or_else(|| Status::deadline_exceeded("no answer"))??;
                assert_eq!(answer.id, *id, "answers are in order");
                if answer.ttl > 0 {
                    told.renewed.insert(*id, asked);
                    told.renewals += 1;
                } else {
                    told.gone.push(*id);
                }
            }
        }
        sleep(every.saturating_sub(asked.elapsed())).await;
    }
    Ok(())
}
