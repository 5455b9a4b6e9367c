//! `quorate lease`: grant, revoke, keep alive, show.

use std::time::Duration;

use clap::{Args, Subcommand};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, transport::Channel};

use super::{Client, Error, Output, client::RESPONSE_BYTES_MAX};
use crate::proto::etcdserverpb::{
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseLeasesRequest, LeaseRevokeRequest,
    LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, lease_client::LeaseClient,
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
    output: &mut Output,
) -> Result<(), Error> {
    match command {
        LeaseCommand::Grant { ttl } => grant(ttl, client, output).await,
        LeaseCommand::Revoke(lease) => {
            let request = LeaseRevokeRequest { id: lease.id };
            client
                .write(async |channel| LeaseClient::new(channel).lease_revoke(request).await)
                .await?;
            output.line(format!("lease {:016x} revoked", lease.id))
        }
        LeaseCommand::KeepAlive { lease, once: true } => {
            let ttl = client.read(async |channel| renew(channel, lease.id).await).await?;
            show_renewal(lease.id, ttl, output).map(drop)
        }
        LeaseCommand::KeepAlive { lease, once: false } => {
            keep_alive(lease.id, client, output).await
        }
        LeaseCommand::TimeToLive { lease, keys } => {
            let request = LeaseTimeToLiveRequest { id: lease.id, keys };
            let call = async |channel| {
                let mut leases =
                    LeaseClient::new(channel).max_decoding_message_size(RESPONSE_BYTES_MAX);
                leases.lease_time_to_live(request).await
            };
            let response = client.read(call).await?.into_inner();
            output.line(time_to_live(&response, keys))
        }
        LeaseCommand::List => list(client, output).await,
    }
}

async fn grant(ttl: i64, client: &Client, output: &mut Output) -> Result<(), Error> {
    let request = LeaseGrantRequest { ttl, id: 0 };
    let call = async |channel| LeaseClient::new(channel).lease_grant(request).await;
    let response = client.write(call).await?.into_inner();
    output.line(format!("lease {:016x} granted with TTL({}s)", response.id, response.ttl))
}

async fn list(client: &Client, output: &mut Output) -> Result<(), Error> {
    let call = async |channel| {
        let mut leases = LeaseClient::new(channel).max_decoding_message_size(RESPONSE_BYTES_MAX);
        leases.lease_leases(LeaseLeasesRequest {}).await
    };
    let response = client.read(call).await?.into_inner();
    output.line(format!("found {} leases", response.leases.len()))?;
    for lease in response.leases {
        output.line(format!("{:016x}", lease.id))?;
    }
    Ok(())
}

/// Renews once, and tells the seconds that the lease has left: none when it has ended.
async fn renew(channel: Channel, id: i64) -> Result<i64, Status> {
    // The stream stays open until the answer is there.
    let (requests, receiver) = mpsc::channel(1);
    let sent = requests.try_send(LeaseKeepAliveRequest { id });
    sent.expect("a new channel has room for one request");
    let response =
        LeaseClient::new(channel).lease_keep_alive(ReceiverStream::new(receiver)).await?;
    let answer = response.into_inner().message().await?;
    answer.map(|answer| answer.ttl).ok_or_else(|| Status::unavailable("keep-alive stream ended"))
}

/// Renews a third of the way to the end, which leaves time for two more tries.
async fn keep_alive(id: i64, client: &Client, output: &mut Output) -> Result<(), Error> {
    // Once granted, a lease must survive the loss of an endpoint for as long as it lives.
    let mut patience = client.timeout();
    let mut endpoint = 0;
    loop {
        let renewal = timeout(patience, renew_anywhere(id, client, &mut endpoint)).await;
        let ttl = renewal.map_err(|_| Error::failed("context deadline exceeded"))??;
        let Some(ttl) = show_renewal(id, ttl, output)? else { return Ok(()) };
        patience = Duration::from_secs(ttl);
        sleep(patience / 3).await;
    }
}

/// Renews at the endpoint that answered last, else at the others in turn, for as long as it is let.
async fn renew_anywhere(id: i64, client: &Client, endpoint: &mut usize) -> Result<i64, Error> {
    loop {
        let renewal = match client.connect(*endpoint).await {
            Ok(channel) => timeout(client.timeout(), renew(channel, id)).await,
            Err(error) if client.endpoints().len() == 1 => return Err(error),
            Err(_) => Ok(Err(Status::unavailable("no endpoint can be reached"))),
        };
        match renewal {
            Ok(Ok(ttl)) => return Ok(ttl),
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

/// Shows a renewal, and returns the time to live, if the lease lives.
fn show_renewal(id: i64, ttl: i64, output: &mut Output) -> Result<Option<u64>, Error> {
    match u64::try_from(ttl) {
        Ok(ttl) if ttl > 0 => {
            output.line(format!("lease {id:016x} keepalived with TTL({ttl})"))?;
            Ok(Some(ttl))
        }
        Ok(_) | Err(_) => {
            output.line(format!("lease {id:016x} expired or revoked."))?;
            Ok(None)
        }
    }
}

fn time_to_live(response: &LeaseTimeToLiveResponse, keys: bool) -> String {
    let id = response.id;
    if response.granted_ttl == 0 && response.ttl == -1 {
        return format!("lease {id:016x} already expired");
    }
    let mut text = format!(
        "lease {id:016x} granted with TTL({}s), remaining({}s)",
        response.granted_ttl, response.ttl
    );
    if keys {
        let keys: Vec<_> = response.keys.iter().map(|key| String::from_utf8_lossy(key)).collect();
        text.push_str(&format!(", attached keys([{}])", keys.join(" ")));
    }
    text
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

    /// In etcdctl's words.
    #[test]
    fn time_to_live_reads_as_etcdctls() {
        let mut response = LeaseTimeToLiveResponse {
            id: 0x1234,
            ttl: 7,
            granted_ttl: 10,
            keys: vec!["a".into(), "b".into()],
            ..LeaseTimeToLiveResponse::default()
        };
        assert_eq!(
            time_to_live(&response, true),
            "lease 0000000000001234 granted with TTL(10s), remaining(7s), attached keys([a b])"
        );

        response.ttl = -1;
        response.granted_ttl = 0;
        assert_eq!(time_to_live(&response, true), "lease 0000000000001234 already expired");
    }
}
