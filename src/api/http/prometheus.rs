//! Service discovery for Prometheus: `http_sd` over the registry.
//!
//! Answers are 200 with a list of targets, empty when there are none, as for a name that no service
//! can have. Only a member that cannot answer says so: an empty list would have Prometheus forget its
//! targets, and after an error it keeps them. An instance that is disabled is listed all the same,
//! for it runs and has figures.

use std::collections::BTreeMap;

use axum::{
    extract::State,
    http::{Method, Uri},
    response::Response,
};
use serde_json::{Value, json};
use tonic::Status;

use super::{form, refuse_unless_get, registry::Discovery};
use crate::{
    api::gateway,
    proto::registry::{Instance, WatchRequest, watch_response::Kind},
};

/// What is begun by every label that we make.
const PREFIX: &str = "__meta_quorate_";
/// The port that has the figures, if an instance names one so.
const PORT: &str = "metrics";
/// Metadata with the path of the figures.
const PATH: &str = "metrics_path";
/// Metadata that keeps Prometheus away, when it is `false`.
const SCRAPE: &str = "prometheus_scrape";

/// The targets of a service, of a namespace, or all of them.
pub(super) async fn page(State(discovery): State<Discovery>, method: Method, uri: Uri) -> Response {
    if let Some(refusal) = refuse_unless_get(&method) {
        return refusal;
    }
    // What is no text names nothing.
    let Some(pairs) = form::parse(uri.query()) else { return gateway::json_answer(&json!([])) };
    let mut request = WatchRequest::default();
    let mut tags = Vec::new();
    for (name, value) in pairs {
        match name.as_str() {
            "namespace" => request.namespace = value,
            "service" => request.service = value,
            "tag" => tags.push(value),
            _ => {}
        }
    }
    match instances(&discovery, request).await {
        Ok(mut instances) => {
            instances.retain(|instance| tags.iter().all(|tag| instance.tags.contains(tag)));
            let targets = instances.iter().filter_map(target).collect();
            gateway::json_answer(&Value::Array(targets))
        }
        Err(status) if status.code() == tonic::Code::InvalidArgument => {
            gateway::json_answer(&json!([]))
        }
        Err(status) => gateway::refusal(&status),
    }
}

/// All instances within a scope: the snapshot that a watch begins with.
async fn instances(discovery: &Discovery, request: WatchRequest) -> Result<Vec<Instance>, Status> {
    let mut answers = discovery.client().watch(request).await?.into_inner();
    let mut instances = Vec::new();
    while let Some(answer) = answers.message().await? {
        if let Some(Kind::Snapshot(snapshot)) = answer.kind {
            instances.extend(snapshot.instances);
        }
        if !answer.more {
            break;
        }
    }
    Ok(instances)
}

/// An instance as a group of one target, if it has an address and wants to be looked at.
fn target(instance: &Instance) -> Option<Value> {
    let metadata = &instance.metadata;
    if instance.address.is_empty() || metadata.get(SCRAPE).is_some_and(|it| it == "false") {
        return None;
    }
    let port = instance.ports.get(PORT).unwrap_or(&instance.port);
    let address = match instance.address.as_str() {
        address if address.contains(':') && !address.starts_with('[') => format!("[{address}]"),
        address => address.to_owned(),
    };
    Some(json!({ "targets": [format!("{address}:{port}")], "labels": labels(instance) }))
}

/// What is known of an instance. Of two names that come to the same label the first counts.
fn labels(instance: &Instance) -> BTreeMap<String, &str> {
    let mut labels = BTreeMap::new();
    for (name, value) in [
        ("namespace", &instance.namespace),
        ("service", &instance.service),
        ("id", &instance.id),
        ("version", &instance.version),
        ("zone", &instance.zone),
    ] {
        labels.insert(format!("{PREFIX}{name}"), value.as_str());
    }
    for tag in &instance.tags {
        labels.entry(format!("{PREFIX}tag_{}", sanitized(tag))).or_insert("true");
    }
    for (name, value) in &instance.metadata {
        labels.entry(format!("{PREFIX}metadata_{}", sanitized(name))).or_insert(value);
    }
    if let Some(path) = instance.metadata.get(PATH).filter(|path| !path.is_empty()) {
        labels.insert("__metrics_path__".to_owned(), path);
    }
    labels
}

/// A name with `_` for every character that no label may have.
fn sanitized(name: &str) -> String {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.chars().map(|c| if is_allowed(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance() -> Instance {
        Instance {
            namespace: "prod".to_owned(),
            service: "user".to_owned(),
            id: "u-1".to_owned(),
            address: "10.0.0.7".to_owned(),
            port: 8080,
            zone: "eu".to_owned(),
            ..Instance::default()
        }
    }

    fn with(metadata: &[(&str, &str)]) -> Instance {
        let metadata = metadata.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        Instance { metadata: metadata.collect(), ..instance() }
    }

    fn called(instance: &Instance) -> Value {
        target(instance).unwrap()["targets"][0].clone()
    }

    /// A target with all its labels, as Prometheus reads them.
    #[test]
    fn an_instance_is_a_target() {
        let full = Instance {
            tags: vec!["canary".to_owned(), "größe 1".to_owned()],
            ..with(&[("team", "core"), ("metrics_path", "/m"), ("a.b-c", "x"), ("a_b_c", "y")])
        };
        let expected = json!({
            "targets": ["10.0.0.7:8080"],
            "labels": {
                "__meta_quorate_namespace": "prod",
                "__meta_quorate_service": "user",
                "__meta_quorate_id": "u-1",
                "__meta_quorate_version": "",
                "__meta_quorate_zone": "eu",
                "__meta_quorate_tag_canary": "true",
                "__meta_quorate_tag_gr__e_1": "true",
                "__meta_quorate_metadata_team": "core",
                "__meta_quorate_metadata_metrics_path": "/m",
                "__meta_quorate_metadata_a_b_c": "x",
                "__metrics_path__": "/m",
            },
        });
        assert_eq!(target(&full), Some(expected));
    }

    /// A port of its own for the figures goes before the main one; IPv6 stands in brackets.
    #[test]
    fn the_port_for_figures_is_preferred() {
        assert_eq!(called(&instance()), "10.0.0.7:8080");
        let ports = [("http".to_owned(), 80), ("metrics".to_owned(), 9100)].into();
        assert_eq!(called(&Instance { ports, ..instance() }), "10.0.0.7:9100");
        let address = "::1".to_owned();
        assert_eq!(called(&Instance { address, ..instance() }), "[::1]:8080");
    }

    /// Some are left out; a disabled one is not, for it has figures.
    #[test]
    fn who_wants_no_visit_is_left_out() {
        assert_eq!(target(&with(&[("prometheus_scrape", "false")])), None);
        assert!(target(&with(&[("prometheus_scrape", "true")])).is_some());
        assert_eq!(target(&Instance { address: String::new(), ..instance() }), None);
        assert!(target(&Instance { enabled: Some(false), ..instance() }).is_some());
    }
}
