//! `/health`: one answer for everything, as older probes want it.

use std::{fmt::Write, sync::Arc};

use axum::{
    extract::State,
    http::{Method, StatusCode, Uri},
    response::Response,
};

use super::{Pages, Vitals, json, query::Query, refuse_unless_get};
use crate::api::convert;

/// Whether the member is well, and why not.
pub(super) async fn page<V: Vitals>(
    State(pages): State<Arc<Pages<V>>>,
    method: Method,
    uri: Uri,
) -> Response {
    if let Some(refusal) = refuse_unless_get(&method) {
        return refusal;
    }
    let probes = &pages.metrics.probes;
    let (code, health, reason) = match look(&pages.vitals, &Query::parse(uri.query())).await {
        Ok(()) => {
            probes.healthy.inc();
            (StatusCode::OK, "true", String::new())
        }
        Err(reason) => {
            probes.unhealthy.inc();
            (StatusCode::SERVICE_UNAVAILABLE, "false", reason)
        }
    };
    json(code, format!(r#"{{"health":"{health}","reason":"{}"}}"#, escape(&reason)))
}

/// Looks at the fence, at the alarms, then for a leader, then reads.
async fn look(vitals: &impl Vitals, query: &Query<'_>) -> Result<(), String> {
    if vitals.is_fenced() {
        return Err("FENCED".to_owned());
    }
    let alarms = vitals.alarms().map_err(|error| format!("RANGE ERROR:{error}"))?;
    let names = alarms.iter().map(|alarm| convert::maintenance::alarm_name(alarm.kind));
    if let Some(name) = names.into_iter().find(|name| !query.exclude.contains(name)) {
        return Err(format!("ALARM {name}"));
    }
    if !query.serializable && !vitals.has_leader() {
        return Err("RAFT NO LEADER".to_owned());
    }
    let read = vitals.read(!query.serializable).await;
    read.map_err(|error| format!("RANGE ERROR:{error}"))
}

/// `text` as the inside of a JSON string.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '"' | '\\' => escaped.extend(['\\', char]),
            control if control.is_control() && control.is_ascii() => {
                // Writing to a string cannot fail.
                let _ = write!(escaped, "\\u{:04x}", u32::from(control));
            }
            plain => escaped.push(plain),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Quotes, backslashes and control characters are escaped, everything else stays.
    #[test]
    fn reasons_are_escaped() {
        assert_eq!(escape("a \"b\" \\ \n é"), "a \\\"b\\\" \\\\ \\u000a é");
    }
}
