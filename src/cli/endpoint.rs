//! `quorate endpoint`: asks each endpoint by itself, and says what each answers.

use std::io::{self, Write};

use clap::{Args, Subcommand};
use tokio::time::Instant;
use tonic::{Code, Response, Status, transport::Channel};

use super::{
    Client, Error,
    client::{Endpoint, Failure},
    member,
    print::{
        EndpointHash, EndpointHealth, EndpointStatus, Endpoints, Format, Printer, go_duration,
    },
};
use crate::proto::etcdserverpb::{
    AlarmRequest, HashKvRequest, RangeRequest, StatusRequest, kv_client::KvClient,
    maintenance_client::MaintenanceClient,
};

/// The key that health checks read. Whether it is there makes no difference.
const HEALTH_KEY: &[u8] = b"health";

#[derive(Subcommand, Clone, Debug)]
pub(super) enum EndpointCommand {
    /// Show version, sizes, leader and log position
    Status(Scope),
    /// Check that the endpoint serves linearizable reads and has no alarm
    Health(Scope),
    /// Show a checksum of all keys, which is the same on every member
    #[command(name = "hashkv")]
    HashKv {
        #[command(flatten)]
        scope: Scope,
        /// As of this revision; 0: as of now, which may differ from member to member
        #[arg(long, value_name = "REVISION", default_value_t = 0)]
        rev: i64,
    },
}

/// Which endpoints are asked.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct Scope {
    /// Ask all members of the cluster
    #[arg(long)]
    cluster: bool,
}

impl Scope {
    /// Whether all members are asked.
    pub(super) fn is_cluster(self) -> bool {
        self.cluster
    }
}

pub(super) async fn run(
    command: &EndpointCommand,
    client: &Client,
    printer: &mut Printer,
) -> Result<(), Error> {
    match *command {
        EndpointCommand::Status(it) => status(&scope(client, it.cluster).await?, printer).await,
        EndpointCommand::Health(it) => health(&scope(client, it.cluster).await?, printer).await,
        EndpointCommand::HashKv { scope: it, rev } => {
            hash(&scope(client, it.cluster).await?, rev, printer).await
        }
    }
}

/// The endpoints given, or those that the members publish.
pub(super) async fn scope(client: &Client, cluster: bool) -> Result<Client, Error> {
    if !cluster {
        return Ok(client.clone());
    }
    let members = member::members(client, false).await?;
    let urls: Vec<String> = members.into_iter().flat_map(|member| member.client_ur_ls).collect();
    client.with_endpoints(&urls)
}

async fn status(client: &Client, printer: &mut Printer) -> Result<(), Error> {
    let call = async |channel| MaintenanceClient::new(channel).status(StatusRequest {}).await;
    let (answers, failed) = each(client, "failed to get the status of endpoint", call).await?;
    let status = |(endpoint, status)| EndpointStatus { endpoint, status };
    printer.show(&Endpoints(answers.into_iter().map(status).collect()))?;
    if failed { Err(Error::failed("failed to get the status of some endpoints")) } else { Ok(()) }
}

async fn hash(client: &Client, revision: i64, printer: &mut Printer) -> Result<(), Error> {
    let request = HashKvRequest { revision };
    let call = async |channel| MaintenanceClient::new(channel).hash_kv(request).await;
    let (answers, failed) = each(client, "failed to get the hash of endpoint", call).await?;
    let hash = |(endpoint, hash)| EndpointHash { endpoint, hash };
    printer.show(&Endpoints(answers.into_iter().map(hash).collect()))?;
    if failed { Err(Error::failed("failed to get the hash of some endpoints")) } else { Ok(()) }
}

/// Asks every endpoint. Complains of those that do not answer, and tells whether there were such.
pub(super) async fn each<T>(
    client: &Client,
    failed: &str,
    call: impl AsyncFn(Channel) -> Result<Response<T>, Status>,
) -> Result<(Vec<(String, T)>, bool), Error> {
    let mut answers = Vec::new();
    for endpoint in client.endpoints() {
        match endpoint.call(&call, Instant::now() + client.timeout()).await {
            Ok(response) => answers.push((endpoint.text.clone(), response.into_inner())),
            Err(failure) => complain(&format!("{failed} {} ({})", endpoint.text, text(failure)))?,
        }
    }
    let missed = answers.len() < client.endpoints().len();
    Ok((answers, missed))
}

async fn health(client: &Client, printer: &mut Printer) -> Result<(), Error> {
    let mut all = Vec::new();
    for endpoint in client.endpoints() {
        let start = Instant::now();
        let error = check(endpoint, start + client.timeout()).await.err();
        let (endpoint, took) = (endpoint.text.clone(), go_duration(start.elapsed()));
        if let (Format::Simple, Some(reason)) = (printer.format, &error) {
            complain(&format!("{endpoint} is unhealthy: failed to commit proposal: {reason}"))?;
        }
        all.push(EndpointHealth { endpoint, took, error });
    }
    let unhealthy = all.iter().any(|it| it.error.is_some());
    printer.show(&Endpoints(all))?;
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

pub(super) fn complain(line: &str) -> Result<(), Error> {
    Ok(writeln!(io::stderr(), "{line}")?)
}
