//! The runtimes and tasks of a member: all are started here and all are waited for.

use std::{
    any::Any,
    backtrace::{Backtrace, BacktraceStatus},
    future::Future,
    panic, process, thread,
    time::Duration,
};

use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::JoinSet,
    time::timeout,
};
use tracing::error;

use super::Error;
use crate::storage;

/// The name of the threads that run handlers of requests.
const CLIENT_THREADS: &str = "quorate-rpc";
/// The name of the threads that talk to other members.
const PEER_THREADS: &str = "quorate-peer";

/// Client threads at most: reads and conversions are short, and more threads than that only
/// compete with the raft and apply threads.
const CLIENT_THREADS_MAX: usize = 16;
/// Threads of the peer runtime that may wait for the disk, for snapshots.
const PEER_BLOCKING_THREADS_MAX: usize = 8;

/// How long tasks may take to notice that they are over.
const RUNTIME_ENDS_WITHIN: Duration = Duration::from_secs(1);

/// The two runtimes: members must hear each other however busy clients keep this one.
pub(super) struct Runtimes {
    pub(super) clients: Runtime,
    pub(super) peers: Runtime,
}

impl Runtimes {
    pub(super) fn start() -> Result<Self, Error> {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let clients = Builder::new_multi_thread()
            .enable_all()
            .thread_name(CLIENT_THREADS)
            .worker_threads(processors.min(CLIENT_THREADS_MAX))
            .build()
            .map_err(Error::Runtime)?;
        let peers = Builder::new_multi_thread()
            .enable_all()
            .thread_name(PEER_THREADS)
            .worker_threads(if processors > 2 { 2 } else { 1 })
            .max_blocking_threads(PEER_BLOCKING_THREADS_MAX)
            .build()
            .map_err(Error::Runtime)?;
        Ok(Self { clients, peers })
    }

    /// Ends what still runs; whatever waits for the disk or for standard input is left behind.
    pub(super) fn stop(self) {
        self.clients.shutdown_timeout(RUNTIME_ENDS_WITHIN);
        self.peers.shutdown_timeout(RUNTIME_ENDS_WITHIN);
    }
}

/// Tasks that run as long as the member does.
#[derive(Default)]
pub(super) struct Tasks {
    running: JoinSet<&'static str>,
}

impl Tasks {
    /// Starts a task on a runtime. When it ends before [`Tasks::end`], the member does too.
    pub(super) fn start(
        &mut self,
        name: &'static str,
        runtime: &Handle,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.running.spawn_on(
            async move {
                task.await;
                name
            },
            runtime,
        );
    }

    /// Waits until one of the tasks ends, and names it.
    pub(super) async fn ended(&mut self) -> &'static str {
        match self.running.join_next().await {
            Some(Ok(name)) => name,
            Some(Err(_)) | None => "a task",
        }
    }

    /// Waits for all tasks, and cuts off those that take too long. Returns whether none did.
    pub(super) async fn end(mut self, patience: Duration) -> bool {
        let all = async { while self.running.join_next().await.is_some() {} };
        let in_time = timeout(patience, all).await.is_ok();
        self.running.shutdown().await;
        in_time
    }
}

/// Makes a panic end the process, with a line on the log: a member that goes on without one of its
/// parts would be worse than one that is gone. Except in the handler of a request, and where the
/// storage turns it into a fault.
pub(super) fn end_on_panic() {
    panic::set_hook(Box::new(|info| {
        if storage::catches_panic() {
            return; // the fault that is made of it says why, and where
        }
        let current = thread::current();
        let thread = current.name().unwrap_or("unnamed");
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let backtrace = Backtrace::capture();
        let backtrace = if backtrace.status() == BacktraceStatus::Captured {
            format!("\n{backtrace}")
        } else {
            String::new()
        };
        error!(thread, place, "panic: {}{backtrace}", text(info.payload()));
        if thread != CLIENT_THREADS {
            process::abort();
        }
    }));
}

fn text(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a text")
}
