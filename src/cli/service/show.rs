//! `list`, `show` and `resolve`: what is registered.

use clap::Args;
use tonic::{Status, transport::Channel};

use super::{
    ServiceName,
    form::{Form, Table},
    instance::{parse_pair, target, to_map},
    remark,
};
use crate::{
    cli::{Client, Error, Output, client::RESPONSE_BYTES_MAX},
    proto::registry::{
        Instance, ListServicesRequest, ListServicesResponse, ResolveRequest, ResolveResponse,
        Selector, ServiceSummary, registry_client::RegistryClient,
    },
};

/// Services asked for at a time when all are wanted; more are refused.
const PAGE_SIZE: i32 = 1000;

#[derive(Args, Clone, Debug)]
pub(super) struct ListArgs {
    /// Only the services of this namespace
    #[arg(long, default_value = "", hide_default_value = true)]
    namespace: String,
    /// Only services whose names begin so
    #[arg(long, default_value = "", hide_default_value = true)]
    prefix: String,
    /// Show all services, not just the first hundred
    #[arg(long)]
    all_pages: bool,
    /// Show what is so now, not what the member has heard of
    #[arg(long)]
    linearizable: bool,
}

#[derive(Args, Clone, Debug)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    service: ServiceName,
    /// Show what is so now, not what the member has heard of
    #[arg(long)]
    linearizable: bool,
}

#[derive(Args, Clone, Debug)]
pub(super) struct ResolveArgs {
    #[command(flatten)]
    service: ServiceName,
    /// Only instances with this tag; repeated, with all of them
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Only instances of this version
    #[arg(long, default_value = "", hide_default_value = true)]
    version: String,
    /// Only instances of this zone
    #[arg(long, default_value = "", hide_default_value = true)]
    zone: String,
    /// Only instances of this zone, if it has any
    #[arg(long, value_name = "ZONE", default_value = "", hide_default_value = true)]
    prefer_zone: String,
    /// Only instances with this metadata; repeated, with all of it
    #[arg(long = "meta", value_name = "KEY=VALUE", value_parser = parse_pair)]
    metadata: Vec<(String, String)>,
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = 0, hide_default_value = true)]
    limit: u32,
    /// Show what is so now, not what the member has heard of
    #[arg(long)]
    linearizable: bool,
}

/// Shows services.
pub(super) async fn list(
    args: ListArgs,
    form: Form,
    client: &Client,
    output: &mut Output,
) -> Result<(), Error> {
    let mut answer = ListServicesResponse::default();
    loop {
        let request = ListServicesRequest {
            namespace: args.namespace.clone(),
            prefix: args.prefix.clone(),
            page_size: if args.all_pages { PAGE_SIZE } else { 0 },
            page_token: answer.next_page_token.clone(),
            linearizable: args.linearizable,
        };
        let call = async |channel| registry(channel).list_services(request.clone()).await;
        let page = client.read(call).await?.into_inner();
        answer.revision = page.revision;
        answer.services.extend(page.services);
        answer.next_page_token = page.next_page_token;
        if !args.all_pages || answer.next_page_token.is_empty() {
            break;
        }
    }
    let row = |summary: &ServiceSummary| {
        let name = format!("{}/{}", summary.namespace, summary.service);
        [name, summary.total.to_string(), summary.enabled.to_string()]
    };
    let rows = answer.services.iter().map(row).collect();
    Table { head: ["SERVICE", "INSTANCES", "ENABLED"], rows }.write(form, &answer, output)?;
    if !answer.next_page_token.is_empty() && form != Form::Json {
        remark("there are more services: --all-pages shows them");
    }
    Ok(())
}

/// Shows all that is known of a service's instances.
pub(super) async fn show(
    args: ShowArgs,
    form: Form,
    client: &Client,
    output: &mut Output,
) -> Result<(), Error> {
    let request = ResolveRequest {
        namespace: args.service.namespace,
        service: args.service.name,
        linearizable: args.linearizable,
        include_disabled: true,
        ..ResolveRequest::default()
    };
    let answer = client.read(async |channel| ask(channel, &request).await).await?;
    let head =
        ["ID", "ADDRESS", "STATE", "OVERRIDDEN", "WEIGHT", "VERSION", "ZONE", "TAGS", "HOLDER"];
    let rows = answer.instances.iter().map(row).collect();
    Table { head, rows }.write(form, &answer, output)
}

fn row(instance: &Instance) -> [String; 9] {
    // `-` keeps the fields apart where a line is read by its words.
    let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let holder = match (instance.session.as_str(), instance.lease_id) {
        ("", 0) => "-".to_owned(),
        ("", lease) => format!("lease {lease:016x}"),
        (session, _) => format!("session {session}"),
    };
    [
        instance.id.clone(),
        target(instance),
        if instance.enabled.unwrap_or(true) { "enabled" } else { "disabled" }.to_owned(),
        if instance.overridden { "overridden" } else { "-" }.to_owned(),
        instance.weight.map_or_else(|| "-".to_owned(), |weight| weight.to_string()),
        or_dash(&instance.version),
        or_dash(&instance.zone),
        or_dash(&instance.tags.join(" ")),
        holder,
    ]
}

/// Shows where a service can be called.
pub(super) async fn resolve(
    args: ResolveArgs,
    form: Form,
    client: &Client,
    output: &mut Output,
) -> Result<(), Error> {
    let selector = Selector {
        tags: args.tags,
        version: args.version,
        zone: args.zone,
        metadata: to_map(&args.metadata)
            .map_err(|error| Error::input(format!("--meta: {error}")))?,
    };
    let request = ResolveRequest {
        namespace: args.service.namespace,
        service: args.service.name,
        selector: Some(selector),
        prefer_zone: args.prefer_zone,
        limit: args.limit,
        linearizable: args.linearizable,
        ..ResolveRequest::default()
    };
    let answer = client.read(async |channel| ask(channel, &request).await).await?;
    let rows = answer.instances.iter().map(|instance| [target(instance)]).collect();
    Table { head: ["ADDRESS"], rows }.write(form, &answer, output)
}

async fn ask(channel: Channel, request: &ResolveRequest) -> Result<ResolveResponse, Status> {
    Ok(registry(channel).resolve(request.clone()).await?.into_inner())
}

fn registry(channel: Channel) -> RegistryClient<Channel> {
    RegistryClient::new(channel).max_decoding_message_size(RESPONSE_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever is not said is a dash, so that each line has the same fields.
    #[test]
    fn a_row_has_all_fields() {
        let row = |instance: Instance| row(&instance).join(", ");
        let plain = Instance { id: "a".to_owned(), ..Instance::default() };
        assert_eq!(row(plain), "a, -, enabled, -, -, -, -, -, -");

        let full = Instance {
            id: "b".to_owned(),
            address: "::1".to_owned(),
            port: 80,
            enabled: Some(false),
            overridden: true,
            weight: Some(7),
            version: "v1".to_owned(),
            zone: "z".to_owned(),
            tags: vec!["x".to_owned(), "y".to_owned()],
            session: "s".to_owned(),
            lease_id: 3,
            ..Instance::default()
        };
        assert_eq!(row(full), "b, [::1]:80, disabled, overridden, 7, v1, z, x y, session s");
    }
}
