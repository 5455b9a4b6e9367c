//! One member's process: started, listened to, stopped.

use std::{
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    process::{Child, Command},
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout},
};

use super::{
    log::{DRAIN_TIMEOUT, LogWriter},
    plan::MemberSpec,
};

/// The first pause before a member is started again; it doubles each time.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// After so long a run the pause is short again: the member did come up.
const STEADY: Duration = Duration::from_secs(60);

/// Whether the members are to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// They run.
    No,
    /// Each hands over what it has and ends.
    InOrder,
    /// Each is killed.
    ByForce,
}

/// What happened to a member by itself.
#[derive(Debug)]
pub(super) enum Event {
    /// Its process ended, or could not be started.
    Ended {
        name: String,
        status: String,
        /// The pause until it is started again, if it is.
        again: Option<Duration>,
    },
}

/// A member to run, and all that it takes.
pub(super) struct Run {
    pub(super) spec: MemberSpec,
    pub(super) executable: PathBuf,
    /// Variables that it must not see.
    pub(super) forget: Vec<String>,
    pub(super) restart: bool,
    pub(super) log: LogWriter,
}

impl Run {
    /// Runs the member, again and again if it is to be restarted, until it is told to stop.
    pub(super) async fn until_stopped(
        self,
        mut stopping: watch::Receiver<Stop>,
        events: mpsc::Sender<Event>,
    ) {
        let mut backoff = BACKOFF_MIN;
        loop {
            let started = Instant::now();
            let status = match self.once(&mut stopping).await {
                Ok(Outcome::Stopped) => return,
                Ok(Outcome::Ended(status)) => status.to_string(),
                Err(error) => format!("cannot be run: {error}"),
            };
            if started.elapsed() >= STEADY {
                backoff = BACKOFF_MIN;
            }
            let again = self.restart.then_some(backoff);
            let ended = Event::Ended { name: self.spec.name.clone(), status, again };
            if events.send(ended).await.is_err() || again.is_none() {
                return;
            }
            tokio::select! {
                () = sleep(backoff) => backoff = (backoff * 2).min(BACKOFF_MAX),
                _ = stopping.wait_for(|stop| *stop != Stop::No) => return,
            }
        }
    }

    async fn once(&self, stopping: &mut watch::Receiver<Stop>) -> std::io::Result<Outcome> {
        let mut child = self.spawn()?;
        // Closing it is how the member hears that it is to stop, also when we are gone.
        let lifeline = child.stdin.take();
        let stdout = child.stdout.take().map(|stream| self.log.forward(stream));
        let stderr = child.stderr.take().map(|stream| self.log.forward(stream));

        let ended = tokio::select! {
            status = child.wait() => Some(status?),
            _ = stopping.wait_for(|stop| *stop != Stop::No) => None,
        };
        let outcome = match ended {
            Some(status) => Outcome::Ended(status),
            None => {
                drop(lifeline);
                stop(&mut child, stopping).await?;
                Outcome::Stopped
            }
        };
        // The process is gone, so its streams end; what it said last is what one wants to read.
        for forwarded in [stdout, stderr].into_iter().flatten() {
            let _ = timeout(DRAIN_TIMEOUT, forwarded).await;
        }
        Ok(outcome)
    }

    fn spawn(&self) -> std::io::Result<Child> {
        let mut command = Command::new(&self.executable);
        for variable in &self.forget {
            command.env_remove(variable);
        }
        command
            .args(&self.spec.arguments)
            .arg("--exit-with-parent")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A ctrl-c in the terminal is for us; a group of its own keeps it from the member.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }
}

/// Waits until the process has ended, which it has been told to, or kills it when that is wanted.
async fn stop(child: &mut Child, stopping: &mut watch::Receiver<Stop>) -> std::io::Result<()> {
    tokio::select! {
        status = child.wait() => return status.map(drop),
        _ = stopping.wait_for(|stop| *stop == Stop::ByForce) => {}
    }
    child.kill().await
}

/// How one run of a process came to its end.
enum Outcome {
    /// We wanted it.
    Stopped,
    /// It did so by itself.
    Ended(ExitStatus),
}
