//! `deregister`, `drain`, `enable` and `weigh`: what an operator does to an instance.

use clap::Args;

use super::{
    InstanceArgs,
    form::{Form, tell},
    instance::parse_lease,
};
use crate::{
    cli::{Client, Error, Output},
    proto::registry::{
        ClearOverrideRequest, DeregisterRequest, SetOverrideRequest,
        registry_client::RegistryClient,
    },
};

#[derive(Args, Clone, Debug)]
pub(super) struct DeregisterArgs {
    #[command(flatten)]
    instance: InstanceArgs,
    /// Only if this session holds it
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    session: String,
    /// Only if it is on this lease, as `show` names it
    #[arg(long, value_name = "HEX", value_parser = parse_lease)]
    lease: Option<i64>,
}

#[derive(Args, Clone, Debug)]
pub(super) struct WeighArgs {
    #[command(flatten)]
    instance: InstanceArgs,
    /// Its share of the calls, compared with the weights of others; 100 is the weight of those that
    /// name none
    #[arg(value_name = "WEIGHT")]
    weight: u32,
}

/// Removes an instance.
pub(super) async fn deregister(
    args: DeregisterArgs,
    form: Form,
    client: &Client,
    output: &mut Output,
) -> Result<(), Error> {
    let name = args.instance.full_name();
    let request = DeregisterRequest {
        namespace: args.instance.service.namespace,
        service: args.instance.service.name,
        id: args.instance.id,
        session_id: args.session,
        lease_id: args.lease.unwrap_or_default(),
        create_revision: 0,
    };
    let call = async |channel| RegistryClient::new(channel).deregister(request.clone()).await;
    let answer = client.write(call).await?.into_inner();
    let sentence = match answer.removed {
        0 => format!("{name} was not registered"),
        _ => format!("{name} deregistered at revision {}", answer.revision),
    };
    tell(&sentence, form, &answer, output)
}

/// Says that an instance is not to be called.
pub(super) async fn drain(
    args: InstanceArgs,
    form: Form,
    client: &Client,
    output: &mut Output,
) -> Result<(), Error> {
    let said = Override { enabled: Some(false), weight: None };
    set_override(args, said, "drained", form, client, output).await
}

/// Says what share of the calls an instance is to get.
pub(super) async fn weigh(
    args: WeighArgs,
    form: Form,
    client: &Client,
    output: &mut Output,
) -> Result<(), Error> {
    let said = Override { enabled: None, weight: Some(args.weight) };
    let done = format!("weighed {}", args.weight);
    set_override(args.instance, said, &done, form, client, output).await
}

/// What is said of an instance; what is not stays as it is.
struct Override {
    enabled: Option<bool>,
    weight: Option<u32>,
}

async fn set_override(
    args: InstanceArgs,
    said: Override,
    done: &str,
    form: Form,
    client: &Client,
    output: &mut Output,
) -> Result<(), Error> {
    let name = args.full_name();
    let request = SetOverrideRequest {
        namespace: args.service.namespace,
        service: args.service.name,
        id: args.id,
        enabled: said.enabled,
        weight: said.weight,
    };
    let call = async |channel| RegistryClient::new(channel).set_override(request.clone()).await;
    let answer = client.write(call).await?.into_inner();
    let sentence = told(&name, done, answer.changed, answer.revision);
    tell(&sentence, form, &answer, output)
}

/// Lets an instance speak for itself again.
pub(super) async fn enable(
    args: InstanceArgs,
    form: Form,
    client: &Client,
    output: &mut Output,
) -> Result<(), Error> {
    let name = args.full_name();
    let request = ClearOverrideRequest {
        namespace: args.service.namespace,
        service: args.service.name,
        id: args.id,
    };
    let call = async |channel| RegistryClient::new(channel).clear_override(request.clone()).await;
    let answer = client.write(call).await?.into_inner();
    let sentence = match answer.changed {
        true => told(&name, "enabled", true, answer.revision),
        false => format!("{name} had no override"),
    };
    tell(&sentence, form, &answer, output)
}

fn told(name: &str, done: &str, changed: bool, revision: i64) -> String {
    match changed {
        true => format!("{name} {done} at revision {revision}"),
        false => format!("{name} was {done} already"),
    }
}
