//! Where the gateway differs from etcd's on purpose.

use super::case::Case;

/// A request, and what we answer to it.
pub(super) struct Known {
    pub(super) case: Case,
    pub(super) status: u16,
    pub(super) reason: &'static str,
}

/// All of them that etcd answers at all: a watch whose first request is broken it never does.
pub(super) fn cases() -> Vec<Known> {
    let known = |case, status, reason| Known { case, status, reason };
    let told = "a broken request of a stream is told, where etcd ends the stream without a word";
    vec![
        known(Case::post("/v3/lease/keepalive", r#"{"ID":"x"}"#), 400, told),
        known(Case::post("/v3/lease/keepalive", r#"{"ID":"404"}[]"#), 200, told),
        known(Case::post("/v3/kv/txn", deep(9)), 400, "transactions nest at most 8 deep"),
        known(Case::post("//v3/kv/range", "{}"), 404, "a path is taken as it is, and not cleaned"),
    ]
}

fn deep(depth: usize) -> String {
    let (open, close) = (r#"{"success":[{"request_txn":"#, "}]}");
    format!("{}{{}}{}", open.repeat(depth), close.repeat(depth))
}
