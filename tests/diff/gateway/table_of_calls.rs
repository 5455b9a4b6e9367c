//! Requests written by hand: the other services, paths, headers, and sizes.

use super::case::{Case, posts};

/// All of them, in an order in which each finds what it needs.
pub(super) fn calls() -> Vec<Case> {
    let groups = [leases(), watches(), others(), recipes(), paths(), headers(), sizes()];
    groups.into_iter().flatten().collect()
}

fn leases() -> Vec<Case> {
    [
        posts(
            "/v3/lease/grant",
            &[
                r#"{"ID":"5","TTL":"5000"}"#,
                r#"{"ID":5,"TTL":5000}"#,
                r#"{"ID":6,"TTL":"9000000001"}"#,
                r#"{"TTL":"5000"}"#,
                r#"{"ID":"x","TTL":"5000"}"#,
                r#"{"id":9,"TTL":7000}"#,
            ],
        ),
        posts(
            "/v3/kv/put",
            &[
                r#"{"key":"bGVhc2Vk","value":"MQ==","lease":"5"}"#,
                r#"{"key":"bGVhc2Vk","lease":"5","ignore_value":true}"#,
            ],
        ),
        posts(
            "/v3/lease/timetolive",
            &[
                r#"{"ID":"5"}"#,
                r#"{"ID":5,"keys":true}"#,
                r#"{"ID":404}"#,
                "{}",
                r#"{"ID":"5","keys":"yes"}"#,
            ],
        ),
        posts("/v3/kv/lease/timetolive", &[r#"{"ID":"5","keys":true}"#]),
        posts("/v3/lease/leases", &["", "{}", r#"{"nope":1}"#]),
        posts("/v3/kv/lease/leases", &["{}"]),
        posts(
            "/v3/lease/keepalive",
            &[
                r#"{"ID":"5"}"#,
                r#"{"ID":"5"}{"ID":5}"#,
                r#"{"ID":"404"}"#,
                r#"{"ID":"404"} {"ID":5}"#,
                "",
                "{}",
                " \n",
            ],
        ),
        posts("/v3/lease/revoke", &[r#"{"ID":"404"}"#, r#"{"ID":"5"}"#, r#"{"ID":"5"}"#, "{}"]),
        posts("/v3/kv/lease/revoke", &[r#"{"ID":"5"}"#, "["]),
        posts("/v3/kv/range", &[r#"{"key":"bGVhc2Vk"}"#]),
    ]
    .concat()
}

fn watches() -> Vec<Case> {
    let mut cases = posts(
        "/v3/kv/put",
        &[r#"{"key":"dw==","value":"MQ=="}"#, r#"{"key":"dw==","value":"PD4m"}"#],
    );
    cases.extend(posts("/v3/kv/deleterange", &[r#"{"key":"dw=="}"#]));
    cases.extend([
        Case::watch(r#"{"create_request":{"key":"dw=="}}"#, 1, 0),
        Case::watch(r#"{"createRequest":{"key":"dw==","startRevision":"4"}}"#, 1, 3),
        Case::watch(r#"{"create_request":{"key":"dw==","start_revision":4,"prev_kv":true}}"#, 1, 3),
        Case::watch(r#"{"create_request":{"key":"dw==","start_revision":4,"filters":["NOPUT"]}}"#, 1, 1),
        Case::watch(r#"{"create_request":{"key":"dw==","start_revision":4,"filters":[1,"NOPE"]}}"#, 1, 2),
        Case::watch(r#"{"create_request":{"key":"dw==","start_revision":4,"watch_id":"7","fragment":true}}"#, 1, 3),
        Case::watch(r#"{"create_request":{"key":"dw==","start_revision":"1000000"}}"#, 1, 0),
        Case::watch(r#"{"create_request":{"key":"dw==","start_revision":"-1"}}"#, 1, 0),
        Case::watch(r#"{"create_request":{"key":"dw==","watch_id":"-5"}}"#, 1, 0),
        Case::watch(r#"{"create_request":{}}"#, 1, 0),
        Case::watch(r#"{"create_request":{"key":"dw==","watch_id":3}} {"cancel_request":{"watch_id":3}}"#, 2, 0),
        Case::watch(r#"{"create_request":{"key":"dw==","watch_id":3}}{"create_request":{"key":"dw==","watch_id":3}}"#, 2, 0),
        Case::watch(r#"{}{"cancel_request":{"watch_id":9}}{"create_request":{"key":"dw==","watch_id":9}}"#, 1, 0),
    ]);
    cases
}

fn others() -> Vec<Case> {
    [
        posts(
            "/v3/cluster/member/list",
            &["", "{}", r#"{"linearizable":true}"#, r#"{"linearizable":1}"#],
        ),
        posts("/v3/cluster/member/remove", &["{}", r#"{"ID":"1"}"#]),
        posts("/v3/cluster/member/update", &[r#"{"ID":"1","peerURLs":["http://127.0.0.1:1"]}"#]),
        posts(
            "/v3/cluster/member/add",
            &[r#"{"peerURLs":["nope"]}"#, r#"{"peerURLs":["http://127.0.0.1:1"],"isLearner":"x"}"#],
        ),
        posts("/v3/maintenance/status", &["", "{}"]),
        posts(
            "/v3/maintenance/alarm",
            &["{}", r#"{"action":"GET"}"#, r#"{"action":"DEACTIVATE","alarm":"NOSPACE"}"#],
        ),
        posts("/v3/maintenance/defragment", &["{}"]),
        posts("/v3/maintenance/hash", &["{}"]),
        posts("/v3/maintenance/hashkv", &["{}", r#"{"revision":"9000"}"#]),
        posts("/v3/maintenance/transfer-leadership", &["{}", r#"{"targetID":"1"}"#]),
        posts(
            "/v3/maintenance/downgrade",
            &["{}", r#"{"action":"VALIDATE","version":"3.6"}"#, r#"{"action":"CANCEL"}"#],
        ),
        posts("/v3/maintenance/snapshot", &["{"]),
        posts("/v3/auth/status", &["", "{}"]),
        posts("/v3/auth/authenticate", &[r#"{"name":"a","password":"b"}"#]),
        posts("/v3/auth/user/list", &["["]),
        posts("/v3/auth/role/get", &["{"]),
    ]
    .concat()
}

/// Locks and elections, with a lease of a known id.
fn recipes() -> Vec<Case> {
    [
        posts("/v3/lease/grant", &[r#"{"ID":"17","TTL":"5000"}"#]),
        posts("/v3/lock/lock", &[r#"{"name":"bG9jaw==","lease":"17"}"#, r#"{"name":"bG9jaw==","lease":"99"}"#]),
        posts("/v3/lock/unlock", &[r#"{"key":"bG9jay8xMQ=="}"#, "{}"]),
        posts("/v3/election/leader", &[r#"{"name":"ZQ=="}"#, "{}"]),
        posts("/v3/election/campaign", &[r#"{"name":"ZQ==","value":"MQ==","lease":"17"}"#]),
        posts("/v3/election/leader", &[r#"{"name":"ZQ=="}"#]),
        posts("/v3/election/proclaim", &["{}", r#"{"leader":{"name":"ZQ==","key":"ZS8xMQ==","rev":"1","lease":"17"},"value":"Mg=="}"#]),
        posts("/v3/election/resign", &["{}"]),
    ]
    .concat()
}

fn paths() -> Vec<Case> {
    let mut cases: Vec<Case> = [
        "/v3/",
        "/v3/nope",
        "/v3/kv",
        "/v3/kv/",
        "/v3/kv/nope",
        "/v3/kv/range/",
        "/v3/kv/range/x",
        "/v3/KV/RANGE",
        "/v3/lock",
        "/v3/kv/lease/grant",
        "/v3/kv/lease/keepalive",
        "/v3beta/nope",
        "/v3beta/",
        "/v3alpha/kv/range",
        "/v2/keys",
        "/nope",
        "/",
        "/v3/kv/range?limit=1",
        "/v3/kv/range?",
        "/v3beta/kv/range",
        "/v3",
        "/v3x",
    ]
    .map(|path| Case::post(path, r#"{"key":"Zm9v"}"#))
    .into();
    for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"] {
        for path in ["/v3/kv/range", "/v3/watch", "/v3/nope", "/nope", "/v3/kv/lease/leases"] {
            cases.push(Case::post(path, "").method(method));
        }
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        for path in ["/health", "/version", "/livez", "/readyz", "/readyz/non_learner"] {
            cases.push(Case::post(path, "").method(method));
        }
    }
    for path in [
        "/health",
        "/health?serializable=true",
        "/health?exclude=NOSPACE",
        "/livez",
        "/livez?verbose",
        "/livez/serializable_read",
        "/readyz",
        "/readyz?verbose",
        "/readyz?verbose&exclude=linearizable_read",
        "/readyz/data_corruption",
        "/readyz/nope",
        "/livez/linearizable_read",
    ] {
        cases.push(Case::post(path, "").method("GET"));
    }
    cases
}

fn headers() -> Vec<Case> {
    let range = || Case::post("/v3/kv/range", r#"{"key":"Zm9v"}"#);
    let mut cases: Vec<Case> = [
        "application/json",
        "application/x-www-form-urlencoded",
        "text/plain",
        "application/xml",
        "application/json; charset=x",
        "nonsense",
        "",
    ]
    .map(|kind| range().header("content-type", kind))
    .into();
    for kind in ["text/html", "*/*", "application/grpc"] {
        cases.push(range().header("accept", kind));
    }
    for timeout in [
        "5S",
        "1H",
        "100000m",
        "0S",
        "1n",
        "-1S",
        "5x",
        "5",
        "S",
        "1.5S",
        "",
        "99999999999999999999S",
    ] {
        cases.push(range().header("grpc-timeout", timeout));
    }
    cases.push(
        Case::watch(r#"{"create_request":{"key":"dw=="}}"#, 1, 0).header("grpc-timeout", "20S"),
    );
    cases.extend([
        range().header("authorization", "Bearer x"),
        range().header("origin", "http://elsewhere"),
        range().header("grpc-metadata-hasleader", "true"),
        range().header("grpc-metadata-x-bin", "AP8="),
        range().header("grpc-metadata-x-bin", "AP8"),
        range().header("grpc-metadata-x", "é"),
        range().header("accept-encoding", "gzip"),
        range().header("x-forwarded-for", "10.0.0.1"),
    ]);
    cases
}

/// What is too large for a request, and what is nearly.
fn sizes() -> Vec<Case> {
    let put = |len: usize| format!(r#"{{"key":"YmlnLzE=","value":"{}"}}"#, "QUFB".repeat(len / 3));
    let mut cases: Vec<Case> = [1_000, 1_500_000, 1_572_861, 1_800_000, 2_100_000]
        .map(|len| Case::post("/v3/kv/put", put(len)))
        .into();
    cases.extend(posts("/v3/kv/deleterange", &[r#"{"key":"YmlnLzE="}"#]));
    let nested = |depth: usize| {
        let (open, close) = (r#"{"success":[{"request_txn":"#, "}]}");
        format!("{}{{}}{}", open.repeat(depth), close.repeat(depth))
    };
    cases.push(Case::post("/v3/kv/txn", nested(3)));
    cases.push(Case::post(
        "/v3/kv/range",
        format!(r#"{{"key":"Zm9v","nope":{}1{}}}"#, "[".repeat(500), "]".repeat(500)),
    ));
    // It ends where it becomes too deep: etcd reads no further, and what it has not read has its
    // connection fail.
    let deep = format!(r#"{{"key":"Zm9v","nope":{}"#, "[".repeat(10_000));
    cases.push(Case::post("/v3/kv/range", deep));
    cases
}
