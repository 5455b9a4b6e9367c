//! Resolves of one service, each client one at a time, and the echo that they are compared with.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use clap::Args;
use prost::Message;
use tonic::Status;

use super::{
    super::{
        LoadArgs,
        call::{Caller, Unary},
        load::Operation,
        measure, over,
        pace::Ticket,
        report::{Detail, Report},
    },
    NAMESPACE, register,
};
use crate::{
    cli::{Client, Error},
    proto::{
        etcdserverpb::{LeaseRevokeRequest, PutRequest, lease_client::LeaseClient},
        registry::{ResolveRequest, ResolveResponse},
    },
};

const SERVICE: &str = "resolved";
/// The instances must outlive the run, which cannot be known; nobody renews them.
const TTL: i64 = 3_600;

/// The arguments of this benchmark alone.
#[derive(Args, Clone, Debug)]
pub(in crate::cli) struct ResolveArgs {
    /// Instances of the service
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    instances: u32,
    /// With everything in the answer that was acknowledged before
    #[arg(long)]
    linearizable: bool,
}

impl Unary for ResolveRequest {
    const METHOD: &'static str = "/quorate.registry.v1.Registry/Resolve";
}

pub(super) async fn run(
    load: &LoadArgs,
    args: &ResolveArgs,
    client: &Client,
) -> Result<Report, Error> {
    let clients = load.clients(100);
    let callers = load.callers(clients, client).await?;
    let mut leases = Vec::new();
    let mut registrar = Caller::connect(client, 0).await?;
    for number in 0..u64::from(args.instances) {
        leases.push(register(&mut registrar, SERVICE, number, TTL).await?);
    }
    let request = ResolveRequest {
        namespace: NAMESPACE.to_owned(),
        service: SERVICE.to_owned(),
        linearizable: true,
        ..ResolveRequest::default()
    };
    // A linearizable answer of each member, so that none is behind when it is measured.
    let mut len = 0;
    for caller in &callers {
        let expected = usize::try_from(args.instances).unwrap_or(usize::MAX);
        len = caller.clone().call(&request, |message| Ok(counted(message, expected))).await??;
    }
    let request = ResolveRequest { linearizable: args.linearizable, ..request };
    let resolves =
        over(clients, &callers, |caller| Resolve { caller, request: request.clone(), len });
    let name = if args.linearizable { "resolve, linearizable" } else { "resolve" };
    let report = measure(name, load, callers.len(), client, resolves).await;

    let mut revoker = LeaseClient::new(client.connect(0).await?);
    for id in leases {
        revoker.lease_revoke(LeaseRevokeRequest { id }).await?;
    }
    let len = u64::try_from(len).unwrap_or(u64::MAX);
    Ok(report?.with("answer bytes", Detail::Count(len)))
}

/// The length of an answer with as many instances as there are.
fn counted(message: &[u8], expected: usize) -> Result<usize, Status> {
    let answer = ResolveResponse::decode(message)
        .map_err(|error| Status::internal(format!("an answer cannot be read: {error}")))?;
    match answer.instances.len() {
        found if found == expected => Ok(message.len()),
        found => Err(Status::data_loss(format!("a service of {expected} instances has {found}"))),
    }
}

struct Resolve {
    caller: Caller,
    request: ResolveRequest,
    /// Bytes of the answer, but for its revision.
    len: usize,
}

impl Operation for Resolve {
    async fn perform(&mut self, _: &Ticket) -> Result<(), Status> {
        let len = self.caller.call(&self.request, |message| Ok(message.len())).await?;
        // Revisions have few bytes.
        if len.abs_diff(self.len) <= 9 {
            return Ok(());
        }
        Err(Status::data_loss(format!("an answer has {len} bytes instead of {}", self.len)))
    }
}

pub(super) async fn echo(load: &LoadArgs, bytes: u32, client: &Client) -> Result<Report, Error> {
    let clients = load.clients(100);
    let callers = load.callers(clients, client).await?;
    let value = Bytes::from(vec![b'e'; usize::try_from(bytes).map_err(Error::input)?]);
    let received = Arc::new(AtomicU64::new(0));
    let echoes = over(clients, &callers, |caller| Echo {
        caller,
        request: PutRequest {
            key: Bytes::from_static(b"echo"),
            value: value.clone(),
            prev_kv: true,
            ..PutRequest::default()
        },
        received: Arc::clone(&received),
    });
    let report = measure("echo", load, callers.len(), client, echoes).await?;
    Ok(report.with("answer bytes", Detail::Count(received.load(Ordering::Relaxed))))
}

struct Echo {
    caller: Caller,
    request: PutRequest,
    /// Bytes of an answer.
    received: Arc<AtomicU64>,
}

impl Operation for Echo {
    async fn perform(&mut self, _: &Ticket) -> Result<(), Status> {
        let len = self.caller.call(&self.request, |message| Ok(message.len())).await?;
        self.received.store(u64::try_from(len).unwrap_or(u64::MAX), Ordering::Relaxed);
        if len > self.request.value.len() {
            return Ok(());
        }
        Err(Status::unimplemented("nothing came back: this is not `bench broadcast`"))
    }
}
