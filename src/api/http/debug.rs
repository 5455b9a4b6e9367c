//! `/debug/vars`: what Go programs tell of themselves under this path, as far as there is the like here.
//!
//! Of the figures of memory there is what the system knows; those of a garbage collector are absent,
//! and so are profiles, which `/debug/pprof` would give.

use std::{env, fs, sync::Arc};

use axum::{extract::State, response::Response};
use serde_json::{Value, json};

use super::{Pages, Vitals, json};
use crate::telemetry::Metrics;

/// What is told. Every method is answered, as in etcd.
pub(super) async fn vars<V: Vitals>(State(pages): State<Arc<Pages<V>>>) -> Response {
    let page = json!({
        // The program alone: words behind it may hold secrets, and anybody may ask.
        "cmdline": env::args_os().take(1).map(|it| it.to_string_lossy().into_owned()).collect::<Vec<_>>(),
        "file_descriptor_limit": Metrics::open_fds_max().unwrap_or(0),
        "memstats": memory(&fs::read_to_string("/proc/self/status").unwrap_or_default()),
        "raft.status": pages.vitals.raft(),
    });
    let code = axum::http::StatusCode::OK;
    json(code, format!("{page:#}\n"))
}

/// Memory as the system counts it, in bytes; nothing where it does not tell.
fn memory(status: &str) -> Value {
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
    };
    json!({ "Sys": bytes("VmSize:"), "Resident": bytes("VmRSS:"), "Data": bytes("VmData:") })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kibibytes of the system are shown as bytes.
    #[test]
    fn memory_is_in_bytes() {
        let status = "Name:\tx\nVmSize:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(memory(status), json!({ "Sys": 2097152, "Resident": 1048576, "Data": null }));
    }
}
