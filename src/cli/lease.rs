//! `quorate lease`: grant, revoke, keep alive, show.

use std::time::Duration;

use clap::{Args, Subcommand};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, transport::Channel};

use super::{
    Client, Error,
    client::RESPONSE_BYTES_MAX,
    error::Exit,
    print::{Printer, Revoked, TimeToLive},
};
use crate::proto::etcdserverpb::{
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseLeasesRequest,
    LeaseRevokeRequest, LeaseTimeToLiveRequest, lease_client::LeaseClient,
};

/// The pause before a renewal is tried elsewhere; far below any time to live.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

#[derive(Subcommand, Clone, Debug)]
pub(super) enum LeaseCommand {
    /// Make a lease that lives for TTL seconds after each renewal
    Grant {
        /// Seconds
        ttl: i64,
    },
    /// End a lease, and delete the keys attached to it
    Revoke(LeaseId),
    /// Renew a lease again and again, until it ends
    #[command(name = "keep-alive")]
    KeepAlive {
        #[command(flatten)]
        lease: LeaseId,
        /// Renew once
        #[arg(long)]
        once: bool,
    },
    /// Show how long a lease has left
    #[command(name = "timetolive")]
    TimeToLive {
        #[command(flatten)]
        lease: LeaseId,
        /// Show the keys attached to it
        #[arg(long)]
        keys: bool,
    },
    /// Show all leases
    List,
}

#[derive(Args, Clone, Copy, Debug)]
pub(super) struct LeaseId {
    /// The lease, in hex
    #[arg(value_name = "ID", value_parser = parse_id)]
    id: i64,
}

/// Reads a lease id, which is shown unsigned and in hex.
pub(super) fn parse_id(text: &str) -> Result<i64, String> {
    let id =
        u64::from_str_radix(text, 16).map_err(|error| format!("bad lease id {text:?}: {error}"))?;
    Ok(id.cast_signed())
}

pub(super) async fn run(
    command: LeaseCommand,
    client: &Client,
    printer: &mut Printer,
) -> Result<(), Error> {
    match command {
        LeaseCommand::Grant { ttl } => {
            let request = LeaseGrantRequest { ttl, id: 0 };
            let call = async |channel| LeaseClient::new(channel).lease_grant(request).await;
            let granted = client.write(call).await;
            let granted = granted.map_err(|error| error.within("failed to grant lease"))?;
            printer.show(&granted.into_inner())
        }
        LeaseCommand::Revoke(LeaseId { id }) => {
            let request = LeaseRevokeRequest { id };
            let call = async |channel| LeaseClient::new(channel).lease_revoke(request).await;
            let revoked = client.write(call).await;
            let revoked = revoked.map_err(|error| error.within("failed to revoke lease"))?;
            printer.show(&Revoked { id, response: revoked.into_inner() })
        }
        LeaseCommand::KeepAlive { lease, once: true } => {
            let renewed = client.read(async |channel| renew(channel, lease.id).await).await?;
            if renewed.ttl > 0 {
                return printer.show(&renewed);
            }
            Err(Error::new(Exit::Connection, "etcdserver: requested lease not found"))
        }
        LeaseCommand::KeepAlive { lease, once: false } => {
            keep_alive(lease.id, client, printer).await
        }
        LeaseCommand::TimeToLive { lease, keys } => {
            let request = LeaseTimeToLiveRequest { id: lease.id, keys };
            let call = async |channel| {
                let mut leases =
                    LeaseClient::new(channel).max_decoding_message_size(RESPONSE_BYTES_MAX);
                leases.lease_time_to_live(request).await
            };
            let response = client.read(call).await?.into_inner();
            printer.show(&TimeToLive { response, keys })
        }
        LeaseCommand::List => {
            let call = async |channel| {
                let mut leases =
                    LeaseClient::new(channel).max_decoding_message_size(RESPONSE_BYTES_MAX);
                leases.lease_leases(LeaseLeasesRequest {}).await
            };
            printer.show(&client.read(call).await?.into_inner())
        }
    }
}

/// Renews once. No seconds are left when the lease has ended.
async fn renew(channel: Channel, id: i64) -> Result<LeaseKeepAliveResponse, Status> {
    // The stream stays open until the answer is there.
    let (requests, receiver) = mpsc::channel(1);
    let sent = requests.try_send(LeaseKeepAliveRequest { id });
    sent.expect("a new channel has room for one request");
    let response =
        LeaseClient::new(channel).lease_keep_alive(ReceiverStream::new(receiver)).await?;
    let answer = response.into_inner().message().await?;
    answer.ok_or_else(|| Status::unavailable("keep-alive stream ended"))
}

/// Renews a third of the way to the end, which leaves time for two more tries.
async fn keep_alive(id: i64, client: &Client, printer: &mut Printer) -> Result<(), Error> {
    // Once granted, a lease must survive the loss of an endpoint for as long as it lives.
    let mut patience = client.timeout();
    let mut endpoint = 0;
    loop {
        let renewal = timeout(patience, renew_anywhere(id, client, &mut endpoint)).await;
        let renewal = renewal.map_err(|_| Error::failed("context deadline exceeded"))??;
        let Some(ttl) = u64::try_from(renewal.ttl).ok().filter(|ttl| *ttl > 0) else {
            return printer.output.line(format!("lease {id:016x} expired or revoked."));
        };
        printer.show(&renewal)?;
        patience = Duration::from_secs(ttl);
        sleep(patience / 3).await;
    }
}

/// Renews at the endpoint that answered last, else at the others in turn, for as long as it is let.
pub(super) async fn renew_anywhere(
    id: i64,
    client: &Client,
    endpoint: &mut usize,
) -> Result<LeaseKeepAliveResponse, Error> {
    loop {
        let renewal = match client.connect(*endpoint).await {
            Ok(channel) => timeout(client.timeout(), renew(channel, id)).await,
            Err(error) if client.endpoints().len() == 1 => return Err(error),
            Err(_) => Ok(Err(Status::unavailable("no endpoint can be reached"))),
        };
        match renewal {
            Ok(Ok(renewed)) => return Ok(renewed),
            Ok(Err(status))
                if matches!(status.code(), Code::InvalidArgument | Code::PermissionDenied) =>
            {
                return Err(status.into());
            }
            Ok(Err(_)) | Err(_) => *endpoint = endpoint.wrapping_add(1),
        }
        sleep(RETRY_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An id beyond the signed range is the negative id of the API.
    #[test]
    fn ids_are_unsigned_hex() {
        assert_eq!(parse_id("32695410dcc0ca06"), Ok(0x3269_5410_dcc0_ca06));
        assert_eq!(parse_id("ffffffffffffffff"), Ok(-1));
        assert!(parse_id("xyz").is_err());
    }
}
