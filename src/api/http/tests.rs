//! The pages, asked through the router.

use axum::{body::Body, http::Request};
use http_body_util::BodyExt;
use tonic::Code::Unimplemented;
use tower::ServiceExt;

use super::*;
use crate::{
    state::{Alarm, AlarmKind, Level},
    types::MemberId,
};

/// A member in some condition.
#[derive(Clone, Debug)]
struct Patient {
    alarms: Vec<AlarmKind>,
    leader: bool,
    learner: bool,
    observer: bool,
    quorum: bool,
    disk: bool,
}

const WELL: Patient = Patient {
    alarms: Vec::new(),
    leader: true,
    learner: false,
    observer: false,
    quorum: true,
    disk: true,
};

impl Vitals for Patient {
    fn alarms(&self) -> Result<Vec<Alarm>, String> {
        Ok(self.alarms.iter().map(|kind| Alarm { member: MemberId(1), kind: *kind }).collect())
    }

    fn has_leader(&self) -> bool {
        self.leader
    }

    fn cluster_version(&self) -> Option<Level> {
        self.leader.then_some(Level::FIRST)
    }

    fn is_learner(&self) -> Result<bool, String> {
        Ok(self.learner)
    }

    async fn read(&self, linearizable: bool) -> Result<(), String> {
        if linearizable && !self.quorum {
            return Err("etcdserver: request timed out".to_owned());
        }
        if self.disk { Ok(()) } else { Err("etcdserver: server stopped".to_owned()) }
    }
}

async fn ask(patient: &Patient, request: Request<Body>) -> (u16, HeaderMap, String) {
    let routes = routes(patient.clone(), Metrics::new(), patient.observer);
    let response = routes.oneshot(request).await.expect("infallible");
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (head.status.as_u16(), head.headers, String::from_utf8(body.to_vec()).unwrap())
}

async fn get(patient: &Patient, path: &str) -> (u16, String) {
    let (code, _, page) = ask(patient, Request::get(path).body(Body::empty()).unwrap()).await;
    (code, page)
}

fn page(code: u16, page: &str) -> (u16, String) {
    (code, page.to_owned())
}

/// A member that is well says so everywhere.
#[tokio::test]
async fn a_member_that_is_well() {
    let healthy = r#"{"health":"true","reason":""}"#;
    assert_eq!(get(&WELL, "/health").await, page(200, healthy));
    for path in [
        "/livez",
        "/livez/serializable_read",
        "/readyz",
        "/readyz/data_corruption",
        "/readyz/serializable_read",
        "/readyz/linearizable_read",
        "/readyz/non_learner",
    ] {
        assert_eq!(get(&WELL, path).await, page(200, "ok\n"), "{path}");
    }
}

/// `verbose` lists what was looked at; `exclude` takes a check out of it.
#[tokio::test]
async fn verbose_lists_the_checks() {
    assert_eq!(get(&WELL, "/livez?verbose").await, page(200, "[+]serializable_read ok\nok\n"));
    let all = "[+]data_corruption ok\n[+]serializable_read ok\n\
               [+]linearizable_read ok\n[+]non_learner ok\nok\n";
    assert_eq!(get(&WELL, "/readyz?verbose").await, page(200, all));
    let some = "[+]data_corruption ok\n[+]serializable_read ok\nok\n";
    let path = "/readyz?verbose&exclude=linearizable_read&exclude=non_learner&exclude=unknown";
    assert_eq!(get(&WELL, path).await, page(200, some));
}

/// Lack of space fails `/health` unless it is excluded, and leaves the member ready.
#[tokio::test]
async fn out_of_space() {
    let patient = Patient { alarms: vec![AlarmKind::NoSpace], ..WELL };
    let ill = r#"{"health":"false","reason":"ALARM NOSPACE"}"#;
    assert_eq!(get(&patient, "/health").await, page(503, ill));
    assert_eq!(get(&patient, "/health?exclude=CORRUPT").await, page(503, ill));
    assert_eq!(get(&patient, "/health?exclude=NOSPACE").await.0, 200);
    assert_eq!(get(&patient, "/readyz").await, page(200, "ok\n"));
}

/// Corruption fails readiness, says why without being asked, and leaves the member alive.
#[tokio::test]
async fn corrupt() {
    let patient = Patient { alarms: vec![AlarmKind::Corrupt], ..WELL };
    let ill = r#"{"health":"false","reason":"ALARM CORRUPT"}"#;
    assert_eq!(get(&patient, "/health").await, page(503, ill));
    let (code, text) = get(&patient, "/readyz").await;
    assert_eq!(code, 503);
    assert!(text.starts_with("[-]data_corruption failed: alarm activated: CORRUPT\n"), "{text}");
    assert!(text.contains("[+]linearizable_read ok\n"), "{text}");
    assert_eq!(get(&patient, "/readyz?exclude=data_corruption").await.0, 200);
    assert_eq!(get(&patient, "/livez").await.0, 200);
}

/// Without a leader or a quorum a member is alive and not ready; asked about itself it is well.
#[tokio::test]
async fn without_a_quorum() {
    let patient = Patient { leader: false, quorum: false, ..WELL };
    let no_leader = r#"{"health":"false","reason":"RAFT NO LEADER"}"#;
    assert_eq!(get(&patient, "/health").await, page(503, no_leader));
    assert_eq!(get(&patient, "/health?serializable=true").await.0, 200);
    assert_eq!(get(&patient, "/livez").await.0, 200);
    assert_eq!(
        get(&patient, "/readyz/linearizable_read").await,
        page(503, "[-]linearizable_read failed: etcdserver: request timed out\n\n")
    );

    let patient = Patient { quorum: false, ..WELL };
    let timed_out = r#"{"health":"false","reason":"RANGE ERROR:etcdserver: request timed out"}"#;
    assert_eq!(get(&patient, "/health").await, page(503, timed_out));
}

/// A member that cannot read its own state is not alive.
#[tokio::test]
async fn without_a_disk() {
    let patient = Patient { disk: false, ..WELL };
    assert_eq!(get(&patient, "/livez").await.0, 503);
    assert_eq!(get(&patient, "/health?serializable=true").await.0, 503);
}

/// A learner is not ready.
#[tokio::test]
async fn a_learner() {
    let patient = Patient { learner: true, ..WELL };
    assert_eq!(
        get(&patient, "/readyz/non_learner").await,
        page(503, "[-]non_learner failed: not supported for learner\n\n")
    );
    assert_eq!(get(&patient, "/readyz").await.0, 503);
    assert_eq!(get(&patient, "/livez").await.0, 200);
}

/// One that serves reads is.
#[tokio::test]
async fn an_observer() {
    let patient = Patient { learner: true, observer: true, ..WELL };
    assert_eq!(get(&patient, "/readyz/non_learner").await, page(200, "ok\n"));
    assert_eq!(get(&patient, "/readyz").await, page(200, "ok\n"));
}

/// Health and version are read, with GET.
#[tokio::test]
async fn only_get_is_allowed() {
    for path in ["/health", "/livez", "/readyz", "/readyz/non_learner", "/version"] {
        for method in [Method::POST, Method::HEAD, Method::PUT] {
            let request = Request::builder().method(&method).uri(path).body(Body::empty()).unwrap();
            let (code, headers, _) = ask(&WELL, request).await;
            assert_eq!(
                (code, headers.get("allow").unwrap().as_bytes()),
                (405, &b"GET"[..]),
                "{method} {path}"
            );
        }
    }
}

/// The version is that of the API, with our own beside it.
#[tokio::test]
async fn versions() {
    let (code, text) = get(&WELL, "/version").await;
    let ours = env!("CARGO_PKG_VERSION");
    let expected = format!(
        r#"{{"etcdserver":"3.7.1","etcdcluster":"3.7.0","storage":"3.7.0","quorate":"{ours}"}}"#
    );
    assert_eq!((code, text), (200, expected));
}

/// Metrics come in the form that Prometheus reads.
#[tokio::test]
async fn metrics() {
    let (code, headers, text) =
        ask(&WELL, Request::get("/metrics").body(Body::empty()).unwrap()).await;
    assert_eq!(code, 200);
    assert_eq!(headers.get("content-type").unwrap(), Metrics::CONTENT_TYPE);
    assert!(text.contains("etcd_server_has_leader 0"), "{text}");
}

/// What is not there is 404, and UNIMPLEMENTED for a gRPC client.
#[tokio::test]
async fn unknown_paths() {
    for path in ["/", "/v3/kv/range", "/livez/linearizable_read", "/readyz/x"] {
        assert_eq!(get(&WELL, path).await, page(404, "404 page not found\n"), "{path}");
    }
    let call = Request::post("/a.B/C")
        .header("content-type", "application/grpc+proto")
        .body(Body::empty())
        .unwrap();
    let (code, headers, _) = ask(&WELL, call).await;
    let status = tonic::Status::from_header_map(&headers).unwrap();
    assert_eq!(
        (code, status.code(), status.message()),
        (200, Unimplemented, "unknown service a.B")
    );
}
