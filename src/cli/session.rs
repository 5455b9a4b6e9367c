//! A lease that a command stands on for as long as it runs.

use std::time::Duration;

use tokio::{
    select,
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};
use tonic::{Response, Status, transport::Channel};

use super::{Client, Error, lease::renew_anywhere, watch::is_transient};
use crate::proto::etcdserverpb::{
    LeaseGrantRequest, LeaseRevokeRequest, lease_client::LeaseClient,
};

/// Before another endpoint is asked.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// How long an end may take to be told. The lease runs out by itself anyway.
const GOODBYE: Duration = Duration::from_secs(2);

/// A lease that was granted for this process.
pub(super) struct Session {
    pub(super) lease: i64,
    /// When it was asked for.
    since: Instant,
    ttl: Duration,
}

impl Session {
    /// Has a lease granted that lives for so many seconds after each renewal.
    pub(super) async fn open(client: &Client, seconds: i64) -> Result<Self, Error> {
        let request = LeaseGrantRequest { ttl: seconds, id: 0 };
        let call = async |channel| LeaseClient::new(channel).lease_grant(request).await;
        let since = Instant::now();
        let granted = client.write(call).await?.into_inner();
        let ttl = Duration::from_secs(u64::try_from(granted.ttl).unwrap_or(1).max(1));
        Ok(Self { lease: granted.id, since, ttl })
    }

    /// Renews the lease, at any endpoint, until it is lost; then it tells that, a little before others may
    /// have what stands on it. Endpoints that cannot be reached meanwhile are no loss.
    pub(super) async fn lost(&self, client: &Client) -> Error {
        let (mut endpoint, mut since, mut ttl) = (0, self.since, self.ttl);
        loop {
            sleep_until(since + ttl / 3).await;
            let ends = since + ttl - ttl / 20;
            let renewal = loop {
                let asked = Instant::now();
                match timeout_at(ends, renew_anywhere(self.lease, client, &mut endpoint)).await {
                    Ok(Ok(renewed)) => break Some((asked, renewed)),
                    Ok(Err(_)) if asked + RETRY_PAUSE < ends => sleep(RETRY_PAUSE).await,
                    Ok(Err(_)) | Err(_) => break None,
                }
            };
            match renewal {
                Some((asked, renewed)) if renewed.ttl > 0 => {
                    // As of when it was asked for: the cluster may have counted from then on.
                    since = asked;
                    ttl = Duration::from_secs(u64::try_from(renewed.ttl).unwrap_or(1));
                }
                Some(_) | None => return Error::failed("session expired"),
            }
        }
    }

    /// Ends the lease, and with it whatever hangs on it.
    pub(super) async fn close(self, client: &Client) {
        let request = LeaseRevokeRequest { id: self.lease };
        let call = async |channel| LeaseClient::new(channel).lease_revoke(request).await;
        // Who cannot be told now finds out when it has run out.
        let _ = timeout(GOODBYE, client.write(call)).await;
    }
}

/// Makes a call that may be answered late, and that is made anew at another endpoint when one is lost:
/// what it began hangs on a lease.
///
/// `attempt` goes on with the next call of the same kind: only the very first one gives up when nobody can
/// be reached.
pub(super) async fn wait_for<T>(
    client: &Client,
    attempt: &mut usize,
    call: impl AsyncFn(Channel) -> Result<Response<T>, Status>,
) -> Result<T, Error> {
    loop {
        match client.connect(*attempt).await {
            Ok(channel) => match call(channel).await {
                Ok(answer) => {
                    *attempt = attempt.wrapping_add(1);
                    return Ok(answer.into_inner());
                }
                Err(status) if is_transient(&status) => {}
                Err(status) => return Err(status.into()),
            },
            Err(error) if *attempt == 0 => return Err(error),
            Err(_) => {}
        }
        *attempt = attempt.wrapping_add(1).max(1);
        sleep(RETRY_PAUSE).await;
    }
}

/// What asks this process to end: once made, signals wait here until they are looked at.
pub(super) struct Ending {
    interrupt: Signal,
    terminate: Signal,
}

impl Ending {
    pub(super) fn new() -> Result<Self, Error> {
        let (interrupt, terminate) = (SignalKind::interrupt(), SignalKind::terminate());
        Ok(Self { interrupt: signal(interrupt)?, terminate: signal(terminate)? })
    }

    /// Waits until it is asked to end.
    pub(super) async fn asked(&mut self) {
        select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
