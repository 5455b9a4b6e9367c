//! Puts at a fixed rate beside what is measured, each with the time at which it was due.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{task::JoinHandle, time::Instant};
use tonic::Status;

use crate::{
    cli::{
        Error,
        bench::{
            call::Caller,
            histogram::Histogram,
            keys::value,
            load::{self, Operation},
            over,
            pace::{Extent, Pace, Ticket},
            report::Tally,
        },
    },
    proto::etcdserverpb::PutRequest,
};

/// Clients that share the rate: so many may wait at once.
const CLIENTS: usize = 100;
const KEYS: u64 = 10_000;
const VALUE_BYTES: usize = 256;

/// When a put was due, and how long after that it was answered.
type Done = (Instant, Duration);

/// Puts that go on until they are stopped.
pub(super) struct Puts {
    pace: Arc<Pace>,
    done: Arc<Mutex<Vec<Done>>>,
    running: JoinHandle<Tally>,
}

impl Puts {
    pub(super) fn start(callers: &[Caller], rate: u64, limit: Duration) -> Self {
        let extent = Extent { total: None, duration: None, warm_up: Duration::ZERO, rate };
        let pace = Arc::new(Pace::start(extent));
        let done = Arc::default();
        let writers = over(CLIENTS, callers, |caller| Writer { caller, done: Arc::clone(&done) });
        let running = tokio::spawn(load::run(Arc::clone(&pace), writers, limit));
        Self { pace, done, running }
    }

    /// No more puts are due from now on; all that were are done, and those that failed are told.
    pub(super) async fn stop(self) -> Result<(Latencies, Tally), Error> {
        self.pace.stop();
        let tally = self.running.await.map_err(Error::failed)?;
        Ok((Latencies(std::mem::take(&mut *lock(&self.done))), tally))
    }
}

/// All puts that were answered.
pub(super) struct Latencies(Vec<Done>);

impl Latencies {
    /// Those that were due in this time.
    pub(super) fn between(&self, from: Instant, to: Instant) -> Histogram {
        let mut found = Histogram::new();
        let due = self.0.iter().filter(|(due, _)| (from..to).contains(due));
        due.for_each(|(_, latency)| found.record(*latency));
        found
    }
}

struct Writer {
    caller: Caller,
    done: Arc<Mutex<Vec<Done>>>,
}

impl Operation for Writer {
    async fn perform(&mut self, ticket: &Ticket) -> Result<(), Status> {
        let key = Bytes::from(format!("bench/beside/{:06}", ticket.number % KEYS));
        let value = value(ticket.number, VALUE_BYTES);
        let request = PutRequest { key, value, ..PutRequest::default() };
        self.caller.call(&request, |_| Ok(())).await?;
        let latency = Instant::now().saturating_duration_since(ticket.due);
        lock(&self.done).push((ticket.due, latency));
        Ok(())
    }
}

/// The list stays readable when whoever held it has panicked: the run has failed anyway.
fn lock(done: &Mutex<Vec<Done>>) -> MutexGuard<'_, Vec<Done>> {
    done.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A put belongs to the time at which it was due, not to that of its answer.
    #[test]
    fn puts_belong_to_their_due_time() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let puts = Latencies(vec![(start, second * 9), (start + second, second)]);

        let before = puts.between(start, start + second);
        let after = puts.between(start + second, start + second * 2);

        assert_eq!((before.count(), before.max()), (1, second * 9));
        assert_eq!((after.count(), after.max()), (1, second));
    }
}
