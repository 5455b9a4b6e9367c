//! `quorate endpoint`: asks each endpoint by itself, and says what each answers.

use std::io::{self, Write};

use clap::Subcommand;
use tokio::time::Instant;
use tonic::{Code, Status, transport::Channel};

use super::{
    Client, Error, Output,
    client::{Endpoint, Failure},
    member,
};
use crate::proto::etcdserverpb::{
    AlarmRequest, RangeRequest, StatusRequest, StatusResponse, kv_client::KvClient,
    maintenance_client::MaintenanceClient,
};

/// The key that health checks read. Whether it is there makes no difference.
const HEALTH_KEY: &[u8] = b"health";

#[derive(Subcommand, Clone, Debug)]
pub(super) enum EndpointCommand {
    /// Show version, sizes, leader and log position
    Status {
        /// Ask all members of the cluster
        #[arg(long)]
        cluster: bool,
    },
    /// Check that the endpoint serves linearizable reads and has no alarm
    Health {
        /// Ask all members of the cluster
        #[arg(long)]
        cluster: bool,
    },
}

pub(super) async fn run(
    command: &EndpointCommand,
    client: &Client,
    output: &mut Output,
) -> Result<(), Error> {
    match *command {
        EndpointCommand::Status { cluster } => status(&scope(client, cluster).await?, output).await,
        EndpointCommand::Health { cluster } => health(&scope(client, cluster).await?, output).await,
    }
}

/// The endpoints given, or those that the members publish.
async fn scope(client: &Client, cluster: bool) -> Result<Client, Error> {
    if !cluster {
        return Ok(client.clone());
    }
    let members = member::members(client, false).await?;
    let urls: Vec<String> = members.into_iter().flat_map(|member| member.client_ur_ls).collect();
    client.with_endpoints(&urls)
}

async fn status(client: &Client, output: &mut Output) -> Result<(), Error> {
    let mut failed = false;
    for endpoint in client.endpoints() {
        let deadline = Instant::now() + client.timeout();
        let call = async |channel| MaintenanceClient::new(channel).status(StatusRequest {}).await;
        match endpoint.call(call, deadline).await {
            Ok(response) => output.line(status_line(&endpoint.text, &response.into_inner()))?,
            Err(failure) => {
                failed = true;
                complain(&format!(
                    "failed to get the status of endpoint {} ({})",
                    endpoint.text,
                    text(failure)
                ))?;
            }
        }
    }
    if failed { Err(Error::failed("failed to get the status of some endpoints")) } else { Ok(()) }
}

/// The columns of etcdctl.
fn status_line(endpoint: &str, status: &StatusResponse) -> String {
    let leader = status.header.as_ref().is_some_and(|header| header.member_id == status.leader);
    let downgrade = status.downgrade_info.clone().unwrap_or_default();
    let not_in_use = match status.db_size_in_use.saturating_mul(100).checked_div(status.db_size) {
        Some(in_use) => 100 - in_use,
        None => 0,
    };
    [
        endpoint.to_owned(),
        format!("{:x}", status.header.as_ref().map_or(0, |header| header.member_id)),
        status.version.clone(),
        status.storage_version.clone(),
        size(status.db_size),
        size(status.db_size_in_use),
        format!("{not_in_use}%"),
        size(status.db_size_quota),
        leader.to_string(),
        status.is_learner.to_string(),
        status.raft_term.to_string(),
        status.raft_index.to_string(),
        status.raft_applied_index.to_string(),
        status.errors.join(", "),
        downgrade.target_version,
        downgrade.enabled.to_string(),
    ]
    .join(", ")
}

/// A size in thousands, with a decimal while the number is small: `20 kB`, `1.5 MB`.
fn size(bytes: i64) -> String {
    let bytes = u64::try_from(bytes).unwrap_or(0);
    let mut unit: u64 = 1;
    let mut names = ["B", "kB", "MB", "GB", "TB", "PB"].into_iter();
    let mut name = names.next().unwrap_or_default();
    for next in names {
        if bytes / unit < 1000 {
            break;
        }
        (unit, name) = (unit * 1000, next);
    }
    let tenths = u128::from(bytes) * 10 / u128::from(unit);
    if unit > 1 && tenths < 100 {
        format!("{}.{} {name}", tenths / 10, tenths % 10)
    } else {
        format!("{} {name}", tenths / 10)
    }
}

async fn health(client: &Client, output: &mut Output) -> Result<(), Error> {
    let mut unhealthy = false;
    for endpoint in client.endpoints() {
        let start = Instant::now();
        match check(endpoint, start + client.timeout()).await {
            Ok(()) => output.line(format!(
                "{} is healthy: successfully committed proposal: took = {:?}",
                endpoint.text,
                start.elapsed()
            ))?,
            Err(reason) => {
                unhealthy = true;
                complain(&format!(
                    "{} is unhealthy: failed to commit proposal: {reason}",
                    endpoint.text
                ))?;
            }
        }
    }
    if unhealthy { Err(Error::failed("unhealthy cluster")) } else { Ok(()) }
}

async fn check(endpoint: &Endpoint, deadline: Instant) -> Result<(), String> {
    let alarms = endpoint.call(probe, deadline).await.map_err(text)?;
    if alarms.is_empty() { Ok(()) } else { Err(format!("active alarm(s): {}", alarms.join(", "))) }
}

/// A linearizable read, then the alarms. A read that is not permitted has passed the quorum, too.
async fn probe(channel: Channel) -> Result<Vec<String>, Status> {
    let request = RangeRequest { key: HEALTH_KEY.into(), ..RangeRequest::default() };
    match KvClient::new(channel.clone()).range(request).await {
        Ok(_) => {}
        Err(status) if status.code() == Code::PermissionDenied => {}
        Err(status) => return Err(status),
    }
    let response =
        MaintenanceClient::new(channel).alarm(AlarmRequest::default()).await?.into_inner();
    let name =
        |alarm: &crate::proto::etcdserverpb::AlarmMember| alarm.alarm().as_str_name().to_owned();
    Ok(response.alarms.iter().map(name).collect())
}

fn text(failure: Failure) -> String {
    Error::from(failure).to_string()
}

fn complain(line: &str) -> Result<(), Error> {
    Ok(writeln!(io::stderr(), "{line}")?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::etcdserverpb::ResponseHeader;

    /// Sizes read as those of etcdctl.
    #[test]
    fn sizes_are_in_thousands() {
        for (bytes, text) in [
            (-1, "0 B"),
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (20_480, "20 kB"),
            (1_572_864, "1.5 MB"),
            (2_147_483_648, "2.1 GB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    /// The columns are those of etcdctl, and a size of nothing does no harm.
    #[test]
    fn a_status_reads_as_etcdctls() {
        let status = StatusResponse {
            header: Some(ResponseHeader { member_id: 0x1f, ..ResponseHeader::default() }),
            version: "3.7.1".to_owned(),
            leader: 0x1f,
            raft_term: 2,
            raft_index: 9,
            raft_applied_index: 8,
            ..StatusResponse::default()
        };
        assert_eq!(
            status_line("a:1", &status),
            "a:1, 1f, 3.7.1, , 0 B, 0 B, 0%, 0 B, true, false, 2, 9, 8, , , false"
        );
    }
}
