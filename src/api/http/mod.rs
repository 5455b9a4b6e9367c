//! Plain HTTP on the client port: health, version and metrics.
//!
//! Probes of load balancers and of Kubernetes, and Prometheus, ask here. Paths, codes and bodies are
//! etcd's. A path that is not there is answered 404, and a gRPC call of a service that is not there
//! with UNIMPLEMENTED.
//!
//! What is found in the registry is here, too, for clients that wait for changes and for Prometheus.
//!
//! Who may ask from a browser, and under which names of hosts, is in [`Access`].
//!
//! Absent: the JSON gateway, which is [`gateway`](crate::api::gateway).

mod access;
mod checks;
mod debug;
mod form;
mod health;
mod prometheus;
mod query;
mod registry;
#[cfg(test)]
mod tests;
mod vitals;

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::any,
};
use http_body_util::BodyExt;
use hyper::body::Body as HttpBody;

pub use self::{
    access::{Access, Encrypted},
    vitals::Vitals,
};

pub(super) use self::registry::Discovery;

use crate::{
    api::{status, version},
    telemetry::Metrics,
    types::limits::GATEWAY_PASSED_OVER_BYTES_MAX,
};

/// What the pages are made of.
struct Pages<V> {
    vitals: V,
    metrics: Arc<Metrics>,
    /// Whether a learner is ready, too: it is an observer.
    learner_is_ready: bool,
}

/// The pages under their paths. `learner_serves_reads` makes a learner ready for requests.
pub fn routes<V: Vitals>(vitals: V, metrics: Arc<Metrics>, learner_serves_reads: bool) -> Router {
    Router::new()
        .route("/version", any(version_page::<V>))
        .route("/metrics", any(metrics_page::<V>))
        .route("/debug/vars", any(debug::vars::<V>))
        .route("/health", any(health::page::<V>))
        .route("/livez", any(checks::livez::<V>))
        .route("/livez/{check}", any(checks::livez_one::<V>))
        .route("/readyz", any(checks::readyz::<V>))
        .route("/readyz/{check}", any(checks::readyz_one::<V>))
        .fallback(not_found)
        .with_state(Arc::new(Pages { vitals, metrics, learner_is_ready: learner_serves_reads }))
}

async fn version_page<V: Vitals>(State(pages): State<Arc<Pages<V>>>, method: Method) -> Response {
    if let Some(refusal) = refuse_unless_get(&method) {
        return refusal;
    }
    let page = format!(
        r#"{{"etcdserver":"{}","etcdcluster":"{}","storage":"{}","quorate":"{}"}}"#,
        version::SERVER,
        version::cluster(pages.vitals.cluster_version()),
        version::STORAGE,
        version::QUORATE,
    );
    json(StatusCode::OK, page)
}

/// Answers every method, as etcd does.
async fn metrics_page<V: Vitals>(State(pages): State<Arc<Pages<V>>>) -> Response {
    let _under_way = pages.metrics.probes.scrape();
    let text = pages.metrics.encode();
    pages.metrics.probes.scraped();
    ([(header::CONTENT_TYPE, Metrics::CONTENT_TYPE)], text).into_response()
}

/// The refusal of every method but GET. HEAD too: etcd does not answer it either.
fn refuse_unless_get(method: &Method) -> Option<Response> {
    let allow = [(header::ALLOW, "GET")];
    let refusal = (StatusCode::METHOD_NOT_ALLOWED, allow, "Method Not Allowed\n");
    (method != Method::GET).then(|| no_sniffing(refusal.into_response()))
}

async fn not_found(uri: Uri, headers: HeaderMap, body: Body) -> Response {
    let grpc = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if grpc {
        return status::unknown_service(uri.path()).into_http();
    }
    pass_over(&headers, body).await;
    no_page()
}

/// Reads the body of a request that is answered without it, within reason: a client that is still
/// writing might see its connection fail instead of the answer. One that waits to be asked for the
/// body is not asked.
pub(super) async fn pass_over<B>(headers: &HeaderMap, mut body: B)
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let max = GATEWAY_PASSED_OVER_BYTES_MAX;
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if headers.contains_key(header::EXPECT) || announced > max {
        return;
    }
    let mut len = 0_usize;
    while len <= max
        && let Some(Ok(frame)) = body.frame().await
    {
        len = len.saturating_add(frame.data_ref().map_or(0, Bytes::len));
    }
}

fn no_page() -> Response {
    no_sniffing((StatusCode::NOT_FOUND, "404 page not found\n").into_response())
}

/// Tells browsers to take a text for no more than a text.
fn no_sniffing(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, text);
    response
}

fn json(code: StatusCode, page: String) -> Response {
    (code, [(header::CONTENT_TYPE, "application/json")], page).into_response()
}
