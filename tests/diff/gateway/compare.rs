//! Answers of the gateway, without what no server promises.
//!
//! Masked, each for its reason:
//!
//! - Ids of cluster and member, the raft term and index, sizes and hashes: they are each cluster's own.
//!   That they are there, or not, is compared.
//! - The members themselves, ids of leases that the server draws, the order of the leases, and the
//!   seconds that a lease has left.
//! - A space in the texts of Go's `protojson`, which it makes another one in every second build, so that
//!   nobody depends on the texts.
//! - The order of the checks of health, and how large a request is that is too large.
//! - Which method is allowed, where another one is refused with 501: we say it.
//! - The content type of `/health`, and our own field in `/version`: see `docs/differences.md`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// Headers that clients may depend on.
const HEADERS: [&str; 9] = [
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "allow",
    "content-type",
    "grpc-metadata-content-type",
    "location",
    "www-authenticate",
    "x-content-type-options",
];

/// Numbers that are each cluster's own.
const OWN: [&str; 11] = [
    "cluster_id",
    "member_id",
    "raft_term",
    "raftTerm",
    "raftIndex",
    "raftAppliedIndex",
    "leader",
    "dbSize",
    "dbSizeInUse",
    "dbSizeQuota",
    "hash",
];

/// Ids above it were drawn.
const CHOSEN_MAX: u64 = 1 << 32;

/// What is compared of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen {
    pub(super) status: u16,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Vec<Value>,
}

impl Seen {
    /// What is compared of a whole answer to a request for a path.
    pub(super) fn of(
        path: &str,
        status: u16,
        headers: BTreeMap<String, String>,
        body: &str,
    ) -> Self {
        // Lines of JSON, or one text.
        let lines: Option<Vec<Value>> =
            body.lines().map(|line| serde_json::from_str(line).ok()).collect();
        let text = || {
            // Checks are listed in any order.
            let mut lines: Vec<&str> = body.lines().collect();
            lines.sort_unstable();
            vec![json!(lines)]
        };
        let lines = lines.unwrap_or_else(text);
        Self::of_lines(path, status, headers, lines)
    }

    /// The same for lines that were read.
    pub(super) fn of_lines(
        path: &str,
        status: u16,
        mut headers: BTreeMap<String, String>,
        mut lines: Vec<Value>,
    ) -> Self {
        headers.retain(|name, _| HEADERS.contains(&name.as_str()));
        if status == 501 {
            headers.remove("allow");
        }
        if path.starts_with("/health") || lines.is_empty() {
            headers.remove("content-type");
        }
        if lines.is_empty() {
            headers.remove("grpc-metadata-content-type");
        }
        lines.iter_mut().for_each(mask);
        Self { status, headers, body: lines }
    }

    /// The revision of the store that the answer tells.
    pub(super) fn revision(&self) -> Option<i64> {
        self.body.first()?["header"]["revision"].as_str()?.parse().ok()
    }
}

fn mask(value: &mut Value) {
    match value {
        Value::Object(fields) => mask_fields(fields),
        Value::Array(items) => items.iter_mut().for_each(mask),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn mask_fields(fields: &mut Map<String, Value>) {
    fields.remove("quorate");
    let granted = fields.get("grantedTTL").and_then(number);
    for (name, value) in fields.iter_mut() {
        if OWN.contains(&name.as_str()) && (value.is_string() || value.is_number()) {
            *value = json!("its own");
        } else if name == "members" {
            *value = json!(value.as_array().map(Vec::len));
        } else if name == "leases" {
            *value = json!(chosen(value));
        } else if (name == "ID" || name == "lease") && number(value) > Some(CHOSEN_MAX) {
            *value = json!("drawn");
        } else if name == "TTL"
            && number(value).is_some_and(|left| (1..=granted.unwrap_or(0)).contains(&left))
        {
            *value = json!(granted);
        } else if name == "message" {
            let text = value.as_str().unwrap_or_default().replace('\u{a0}', " ");
            // We say how large the JSON is where it is too large to be looked at.
            let text = text.split(" larger than max (").next().unwrap_or_default();
            *value = json!(text);
        } else {
            mask(value);
        }
    }
}

fn number(value: &Value) -> Option<u64> {
    value.as_str()?.parse().ok()
}

/// The ids in a list of leases that somebody chose.
fn chosen(leases: &Value) -> Vec<u64> {
    let ids = leases.as_array().into_iter().flatten().filter_map(|lease| number(&lease["ID"]));
    let mut ids: Vec<u64> = ids.filter(|id| *id <= CHOSEN_MAX).collect();
    ids.sort_unstable();
    ids
}
