//! A lease that a command stands on for as long as it runs.

use std::time::Duration;

use tokio::{
    select,
    signal::unix::{SignalKind, signal},
    time::{sleep, timeout},
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
    ttl: Duration,
}

impl Session {
    /// Has a lease granted that lives for so many seconds after each renewal.
    pub(super) async fn open(client: &Client, seconds: i64) -> Result<Self, Error> {
        let request = LeaseGrantRequest { ttl: seconds, id: 0 };
        let call = async |channel| LeaseClient::new(channel).lease_grant(request).await;
        let granted = client.write(call).await?.into_inner();
        let ttl = Duration::from_secs(u64::try_from(granted.ttl).unwrap_or(1).max(1));
        Ok(Self { lease: granted.id, ttl })
    }

    /// Renews the lease, at any endpoint, until it is lost; then it tells that.
    pub(super) async fn lost(&self, client: &Client) -> Error {
        let (mut endpoint, mut ttl) = (0, self.ttl);
        loop {
            sleep(ttl / 3).await;
            let left = ttl * 2 / 3;
            match timeout(left, renew_anywhere(self.lease, client, &mut endpoint)).await {
                Ok(Ok(renewed)) if renewed.ttl > 0 => {
                    ttl = Duration::from_secs(u64::try_from(renewed.ttl).unwrap_or(1));
                }
                Ok(_) | Err(_) => return Error::failed("session expired"),
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
pub(super) async fn wait_for<T>(
    client: &Client,
    call: impl AsyncFn(Channel) -> Result<Response<T>, Status>,
) -> Result<T, Error> {
    let mut attempt: usize = 0;
    loop {
        match client.connect(attempt).await {
            Ok(channel) => match call(channel).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) if is_transient(&status) => {}
                Err(status) => return Err(status.into()),
            },
            Err(error) if attempt == 0 => return Err(error),
            Err(_) => {}
        }
        attempt = attempt.wrapping_add(1);
        sleep(RETRY_PAUSE).await;
    }
}

/// Waits until this process is asked to end.
pub(super) async fn asked_to_end() -> Result<(), Error> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
