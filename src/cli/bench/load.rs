//! Clients that repeat one kind of call.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tonic::Status;

use super::{
    call::Caller,
    keys::{Keys, scramble},
    pace::{Pace, Ticket},
    report::Tally,
};
use crate::proto::etcdserverpb::{PutRequest, RangeRequest};

/// A call that fails at once, as without a connection, is not repeated at once.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// What a client does again and again.
pub(super) trait Operation: Send + 'static {
    fn perform(&mut self, ticket: &Ticket) -> impl Future<Output = Result<(), Status>> + Send;
}

/// Lets every client work until there is nothing left to do.
pub(super) async fn run<T: Operation>(
    pace: Arc<Pace>,
    operations: Vec<T>,
    limit: Duration,
) -> Tally {
    let mut clients = JoinSet::new();
    for operation in operations {
        clients.spawn(client(Arc::clone(&pace), operation, limit));
    }
    let mut tally = Tally::new();
    while let Some(joined) = clients.join_next().await {
        match joined {
            Ok(one) => tally.merge(one),
            Err(error) => tally.error(&error.to_string()),
        }
    }
    match pace.missed() {
        0 => {}
        missed => tally.count_errors("no client was free in time".to_owned(), missed),
    }
    tally
}

async fn client(pace: Arc<Pace>, mut operation: impl Operation, limit: Duration) -> Tally {
    let mut tally = Tally::new();
    while let Some(ticket) = pace.next().await {
        let outcome = timeout(limit, operation.perform(&ticket)).await;
        let latency = Instant::now().saturating_duration_since(ticket.due);
        let failure = match outcome {
            Ok(Ok(())) => {
                if ticket.measured {
                    tally.latencies.record(latency);
                }
                continue;
            }
            Ok(Err(status)) => format!("{:?}: {}", status.code(), status.message()),
            Err(_) => "no answer in time".to_owned(),
        };
        if ticket.measured {
            tally.error(&failure);
        }
        sleep(ERROR_PAUSE).await;
    }
    tally
}

/// Sets a key.
pub(super) struct Put {
    caller: Caller,
    keys: Arc<Keys>,
    in_order: bool,
}

impl Put {
    /// A random key each time.
    pub(super) fn random(caller: Caller, keys: &Arc<Keys>) -> Self {
        Self { caller, keys: Arc::clone(keys), in_order: false }
    }

    /// One key after the other.
    pub(super) fn in_order(caller: Caller, keys: &Arc<Keys>) -> Self {
        Self { in_order: true, ..Self::random(caller, keys) }
    }
}

impl Operation for Put {
    async fn perform(&mut self, ticket: &Ticket) -> Result<(), Status> {
        let number = ticket.number;
        let key = if self.in_order { self.keys.key(number) } else { self.keys.random_key(number) };
        let request = PutRequest { key, value: self.keys.value(number), ..PutRequest::default() };
        self.caller.call(&request, |_| Ok(())).await
    }
}

/// Reads a random key.
pub(super) struct Get {
    caller: Caller,
    keys: Arc<Keys>,
    serializable: bool,
}

impl Get {
    pub(super) fn random(caller: Caller, keys: &Arc<Keys>, serializable: bool) -> Self {
        Self { caller, keys: Arc::clone(keys), serializable }
    }
}

impl Operation for Get {
    async fn perform(&mut self, ticket: &Ticket) -> Result<(), Status> {
        let request = RangeRequest {
            key: self.keys.random_key(ticket.number),
            serializable: self.serializable,
            ..RangeRequest::default()
        };
        self.caller.call(&request, |_| Ok(())).await
    }
}

/// Reads so many times of a hundred, and writes the others.
pub(super) struct Mixed {
    pub(super) get: Get,
    pub(super) put: Put,
    pub(super) reads: u64,
}

impl Operation for Mixed {
    async fn perform(&mut self, ticket: &Ticket) -> Result<(), Status> {
        // Other bits than those that choose the key, or some keys would only ever be read.
        let reads = scramble(ticket.number).rotate_left(32) % 100 < self.reads;
        if reads { self.get.perform(ticket).await } else { self.put.perform(ticket).await }
    }
}
