//! The registry as it is read: over gRPC and over HTTP, which has JSON, waiting for changes and
//! discovery for Prometheus; and reflection.

mod blocking;
mod grpc;
pub(crate) mod http;
mod prometheus;
mod reflection;
mod routes;
mod watching;

use std::time::Duration;

use serde_json::{Value, json};

use self::http::{Answer, ask};
use crate::harness::Cluster;

/// How long things may take on a busy machine.
const SOON: Duration = Duration::from_secs(30);

/// Asks a member with POST and JSON.
async fn post(cluster: &Cluster, member: usize, path: &str, body: &Value) -> Answer {
    ask(&authority(cluster, member), "POST", path, &[], &body.to_string()).await
}

async fn get(cluster: &Cluster, member: usize, path: &str) -> Answer {
    ask(&authority(cluster, member), "GET", path, &[], "").await
}

fn authority(cluster: &Cluster, member: usize) -> String {
    cluster.endpoint(member).trim_start_matches("http://").to_owned()
}

/// Puts an instance as any client of etcd may, and returns the revision.
async fn put(cluster: &Cluster, service: &str, id: &str, address: &str) -> i64 {
    let key = format!("/services/default/{service}/{id}");
    let value = json!({ "Addr": address }).to_string();
    let put = cluster.client(0).await.put(key, value, None).await.unwrap();
    put.header().unwrap().revision()
}

async fn delete(cluster: &Cluster, service: &str, id: &str) -> i64 {
    let key = format!("/services/default/{service}/{id}");
    let deleted = cluster.client(0).await.delete(key, None).await.unwrap();
    assert_eq!(deleted.deleted(), 1);
    deleted.header().unwrap().revision()
}

/// The ids of the instances in an answer.
fn ids(answer: &Value) -> Vec<&str> {
    let instances = answer["instances"].as_array().map(Vec::as_slice).unwrap_or_default();
    instances.iter().map(|instance| instance["id"].as_str().unwrap()).collect()
}

/// A 64-bit integer, which JSON has as a string.
fn number(value: &Value) -> i64 {
    value.as_str().unwrap_or_else(|| panic!("{value} is no string")).parse().unwrap()
}

/// A number among the figures of a member.
async fn figure(cluster: &Cluster, member: usize, series: &str) -> u64 {
    let figures = get(cluster, member, "/metrics").await.body;
    let line = figures.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("there is no {series}")).parse().unwrap()
}
