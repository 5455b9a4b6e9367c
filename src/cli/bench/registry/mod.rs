//! The service registry: how fast a service is resolved, beside an echo of the same size, and how
//! soon all who follow it hear that an instance is gone.

use clap::Subcommand;
use tonic::{Status, transport::Channel};

use super::{
    LoadArgs,
    call::{Caller, Unary},
    report::Report,
};
use crate::{
    cli::{Client, Error},
    proto::registry::{
        Instance, ListServicesRequest, RegisterRequest, RegisterResponse,
        registry_client::RegistryClient,
    },
};

mod down;
mod resolve;

/// Where instances of benchmarks are.
const NAMESPACE: &str = "bench";

#[derive(Subcommand, Clone, Debug)]
pub(in crate::cli) enum RegistryCommand {
    /// Resolve a service over and over
    Resolve {
        #[command(flatten)]
        load: LoadArgs,
        #[command(flatten)]
        resolve: resolve::ResolveArgs,
    },
    /// Send bytes that come back, to `bench broadcast`: what a resolve of this size is compared with
    Echo {
        #[command(flatten)]
        load: LoadArgs,
        /// Bytes
        #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        bytes: u32,
    },
    /// Let instances run out one by one, and see how late those who watch the service hear of it
    Down {
        #[command(flatten)]
        down: down::DownArgs,
    },
}

impl RegistryCommand {
    pub(super) fn json(&self) -> bool {
        match self {
            Self::Resolve { load, .. } | Self::Echo { load, .. } => load.json,
            Self::Down { down } => down.json,
        }
    }
}

pub(super) async fn run(command: &RegistryCommand, client: &Client) -> Result<Report, Error> {
    match command {
        RegistryCommand::Resolve { load, resolve } => resolve::run(load, resolve, client).await,
        RegistryCommand::Echo { load, bytes } => resolve::echo(load, *bytes, client).await,
        RegistryCommand::Down { down } => down::run(down, client).await,
    }
}

impl Unary for RegisterRequest {
    const METHOD: &'static str = "/quorate.registry.v1.Registry/Register";
}

/// Registers the instance with this number of a service, and returns its lease.
pub(super) async fn register(
    caller: &mut Caller,
    service: &str,
    number: u64,
    ttl: i64,
) -> Result<i64, Status> {
    let instance = Instance {
        namespace: NAMESPACE.to_owned(),
        service: service.to_owned(),
        id: id(number),
        address: format!("10.{}.{}.{}", number >> 16 & 255, number >> 8 & 255, number & 255),
        port: 8080,
        version: "v1.2.0".to_owned(),
        zone: format!("zone-{}", number % 3),
        tags: vec!["canary".to_owned()],
        metadata: [("team".to_owned(), "core".to_owned())].into(),
        ..Instance::default()
    };
    let request = RegisterRequest { instance: Some(instance), ttl, ..RegisterRequest::default() };
    let mut answer = RegisterResponse::default();
    caller
        .call(&request, |message| {
            answer = prost::Message::decode(message).unwrap_or_default();
            Ok(())
        })
        .await?;
    match (answer.lease_id, answer.ttl) {
        (0, _) => Err(Status::internal("an instance has no lease")),
        (lease, given) if given == ttl => Ok(lease),
        // Deadlines are reckoned with the time to live that was asked for.
        (_, given) => {
            Err(Status::failed_precondition(format!("an instance lives {given} s, not {ttl} s")))
        }
    }
}

/// How many instances there are, by what the member lists at one revision.
pub(super) async fn count(channel: Channel) -> Result<u64, Error> {
    let mut registry = RegistryClient::new(channel);
    let (mut total, mut page_token) = (0, String::new());
    loop {
        let request = ListServicesRequest {
            namespace: NAMESPACE.to_owned(),
            page_size: 1_000,
            page_token,
            linearizable: true,
            ..ListServicesRequest::default()
        };
        let page = registry.list_services(request).await?.into_inner();
        total += page.services.iter().map(|service| u64::from(service.total)).sum::<u64>();
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(total);
        }
    }
}

fn id(number: u64) -> String {
    format!("instance-{number:07}")
}

/// The number of such an id.
fn number_of(id: &str) -> Option<u64> {
    id.strip_prefix("instance-")?.parse().ok()
}
