//! The instances of a service over plain HTTP, with waiting for what changes.
//!
//! `GET /v1/registry/services/{namespace}/{service}` is `Resolve` as JSON. With `index`, which is the
//! `X-Quorate-Index` of an answer before, it waits until something of the service changed after that
//! revision, or for as long as `wait` says. Whoever asks again and again with the index of the last
//! answer misses nothing.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Path, State},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::any,
};
use prost::Message as _;
use tokio::select;
use tonic::Status;

use super::{form, prometheus, refuse_unless_get};
use crate::{
    api::{
        dispatch::Dispatch,
        gateway::{self, descriptors},
        registry::scope,
        status,
    },
    node::{Error as NodeError, Handle},
    proto::registry::{ResolveRequest, ResolveResponse, Selector, registry_client::RegistryClient},
    registry::{At, Error, Resolved, Scope, ServiceName, Views},
    types::{
        Revision,
        limits::{BLOCKING_QUERY_WAIT_DEFAULT, BLOCKING_QUERY_WAIT_MAX},
    },
};

/// What the pages are made of: they are clients of the services, and wait with the views.
#[derive(Clone)]
pub(in crate::api) struct Discovery {
    /// The services of this member, guarded.
    pub(in crate::api) services: Dispatch,
    /// Says what has changed.
    pub(in crate::api) views: Arc<Views>,
    /// Says when the member stops.
    pub(in crate::api) node: Handle,
}

impl Discovery {
    /// The registry as a client sees it.
    pub(super) fn client(&self) -> RegistryClient<Dispatch> {
        RegistryClient::new(self.services.clone()).max_decoding_message_size(usize::MAX)
    }

    /// The pages under their paths.
    pub(in crate::api) fn routes(self) -> Router {
        Router::new()
            .route("/v1/registry/services/{namespace}/{service}", any(service))
            .route("/v1/sd/prometheus", any(prometheus::page))
            .with_state(self)
    }

    async fn resolve(&self, request: ResolveRequest) -> Result<ResolveResponse, Status> {
        Ok(self.client().resolve(request).await?.into_inner())
    }

    /// Waits until something of a service changed after a revision, the time is over, or the member
    /// is to stop. It does not wait beyond a revision that is to come: whoever has it from another
    /// life of the cluster knows nothing of what was before it in this one.
    async fn changed(
        &self,
        service: &ServiceName,
        after: Revision,
        wait: Duration,
    ) -> Result<Ended, Status> {
        let scope = Scope::Service(service.clone());
        let is_to_come = after > self.views.revision();
        select! {
            changed = self.views.changed_after(&scope, after, wait) => {
                changed.map(|_| Ended::AsAsked).map_err(status::of_registry)
            }
            () = self.views.reached(after), if is_to_come => Ok(Ended::Reached),
            () = self.node.retiring() => Err(status::of_node(NodeError::Stopped)),
        }
    }
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// Something changed, or the time is over.
    AsAsked,
    /// A revision has come that was to come. The views may not have it yet.
    Reached,
}

/// The page of a service.
async fn service(
    State(discovery): State<Discovery>,
    Path((namespace, service)): Path<(String, String)>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    if let Some(refusal) = refuse_unless_get(&method) {
        return refusal;
    }
    let answer = async {
        let asked = Asked::parse(namespace, service, uri.query()).map_err(status::of_registry)?;
        answer(&discovery, asked, known(&headers)).await
    };
    answer.await.unwrap_or_else(|status: Status| gateway::refusal(&status))
}

async fn answer(
    discovery: &Discovery,
    asked: Asked,
    known: Vec<Revision>,
) -> Result<Response, Status> {
    let Asked { service, mut request, index, wait } = asked;
    if index.is_some() || !known.is_empty() {
        // Whatever is refused is refused first, before a wait and whatever the client knows.
        discovery.resolve(ResolveRequest { limit: 1, ..request.clone() }).await?;
    }
    if let Some(index) = index {
        let ended = discovery.changed(&service, index, wait).await?;
        request.linearizable |= ended == Ended::Reached;
    }
    if !known.is_empty() {
        let at = if request.linearizable { At::Linearizable } else { At::Here };
        let resolved = discovery.views.resolve(&service, at).await;
        let resolved = resolved.map_err(status::of_registry)?;
        if known.iter().any(|known| is_still(&resolved, *known)) {
            return Ok((StatusCode::NOT_MODIFIED, index_of(resolved.revision)).into_response());
        }
    }
    let answer = discovery.resolve(request).await?;
    let kind = descriptors().get_message_by_name("quorate.registry.v1.ResolveResponse");
    let kind = kind.expect("it is in the file that the service is in");
    let json = gateway::write(&kind, answer.encode_to_vec().into())?;
    Ok((index_of(Revision(answer.revision)), gateway::json_answer(&json)).into_response())
}

/// The head of an answer that reflects a revision.
fn index_of(revision: Revision) -> [(header::HeaderName, String); 2] {
    let index = header::HeaderName::from_static("x-quorate-index");
    [(index, revision.0.to_string()), (header::ETAG, format!("\"{}\"", revision.0))]
}

/// The revisions of the answers that the client has.
fn known(headers: &HeaderMap) -> Vec<Revision> {
    let lists = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|list| list.to_str().ok());
    let tags = lists.flat_map(|list| list.split(',')).map(str::trim);
    let revision = |tag: &str| {
        let tag = tag.strip_prefix("W/").unwrap_or(tag);
        tag.strip_prefix('"')?.strip_suffix('"')?.parse().ok().map(Revision)
    };
    tags.filter_map(revision).collect()
}

/// Whether a service is as it was at a revision. It is not known when one ended that has no
/// instances; to say so again costs little.
fn is_still(resolved: &Resolved, at: Revision) -> bool {
    let service = &resolved.service;
    at == resolved.revision
        || (at < resolved.revision && !service.instances.is_empty() && service.changed() <= at)
}

/// What a request for the page of a service asks for.
#[derive(Debug, PartialEq)]
struct Asked {
    service: ServiceName,
    request: ResolveRequest,
    /// The revision after which something must have changed.
    index: Option<Revision>,
    /// For so long, at most.
    wait: Duration,
}

impl Asked {
    fn parse(namespace: String, service: String, query: Option<&str>) -> Result<Self, Error> {
        let Scope::Service(name) = scope(&namespace, &service)? else {
            return Err(Error::invalid("service", "it is not named"));
        };
        let mut asked = Self {
            service: name,
            request: ResolveRequest { namespace, service, ..ResolveRequest::default() },
            index: None,
            wait: Duration::from_millis(BLOCKING_QUERY_WAIT_DEFAULT.0),
        };
        let mut selector = Selector::default();
        let pairs = form::parse(query).ok_or_else(|| Error::invalid("query", "it is not text"))?;
        for (name, value) in pairs {
            match name.as_str() {
                "index" => asked.index = index(&value)?,
                "wait" => asked.wait = wait(&value)?,
                "tag" => selector.tags.push(value),
                "version" => selector.version = value,
                "zone" => selector.zone = value,
                "prefer_zone" => asked.request.prefer_zone = value,
                "linearizable" => asked.request.linearizable = flag("linearizable", &value)?,
                _ => return Err(Error::invalid("query", format!("it has no {name:?}"))),
            }
        }
        asked.request.selector = Some(selector);
        Ok(asked)
    }
}

fn index(text: &str) -> Result<Option<Revision>, Error> {
    match text.parse() {
        Ok(0) => Ok(None),
        Ok(index @ 1..) => Ok(Some(Revision(index))),
        Ok(..0) | Err(_) => Err(Error::invalid("index", "it is not a revision")),
    }
}

fn wait(text: &str) -> Result<Duration, Error> {
    match humantime::parse_duration(text) {
        Ok(wait) => Ok(wait.min(Duration::from_millis(BLOCKING_QUERY_WAIT_MAX.0))),
        Err(error) => Err(Error::invalid("wait", format!("it is not a time such as 30s: {error}"))),
    }
}

fn flag(name: &str, text: &str) -> Result<bool, Error> {
    match text {
        "" | "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(Error::invalid(name, "it is neither true nor false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<Asked, String> {
        let asked = Asked::parse("prod".to_owned(), "user".to_owned(), Some(query));
        asked.map_err(|error| error.to_string())
    }

    /// Every parameter has its place.
    #[test]
    fn parameters_are_understood() {
        let query =
            "index=7&wait=1m30s&tag=a&tag=b%20c&version=v1&zone=eu&prefer_zone=us&linearizable";
        let asked = parse(query).unwrap();
        let expected = ResolveRequest {
            namespace: "prod".to_owned(),
            service: "user".to_owned(),
            selector: Some(Selector {
                tags: vec!["a".to_owned(), "b c".to_owned()],
                version: "v1".to_owned(),
                zone: "eu".to_owned(),
                ..Selector::default()
            }),
            prefer_zone: "us".to_owned(),
            linearizable: true,
            ..ResolveRequest::default()
        };
        assert_eq!(asked.request, expected);
        assert_eq!((asked.index, asked.wait), (Some(Revision(7)), Duration::from_secs(90)));

        let asked = parse("index=0").unwrap();
        assert_eq!((asked.index, asked.wait), (None, Duration::from_secs(300)));
        assert_eq!(parse("index=7&wait=2h").unwrap().wait, Duration::from_secs(600));
        assert_eq!(parse("index=7&wait=0s").unwrap().wait, Duration::ZERO);
    }

    /// What is wrong is named.
    #[test]
    fn what_is_wrong_is_named() {
        for (query, name) in [
            ("index=-1", "index"),
            ("index=x", "index"),
            ("index=", "index"),
            ("wait=30", "wait"),
            ("wait=-1s", "wait"),
            ("linearizable=yes", "linearizable"),
            ("indx=1", "query"),
            ("tag=%ff", "query"),
        ] {
            let said = parse(query).unwrap_err();
            assert!(said.starts_with(&format!("{name}: ")), "{query}: {said}");
        }
        for (namespace, service, name) in [("a b", "c", "namespace"), ("a", "b/c", "service")] {
            let asked = Asked::parse(namespace.to_owned(), service.to_owned(), None);
            let said = asked.unwrap_err().to_string();
            assert!(said.starts_with(&format!("{name}: ")), "{said}");
        }
    }

    /// Tags of entities are revisions, weak or not, in one list or several.
    #[test]
    fn tags_of_entities_are_read() {
        let mut headers = HeaderMap::new();
        headers.append(header::IF_NONE_MATCH, "\"7\", W/\"8\",*, x".parse().unwrap());
        headers.append(header::IF_NONE_MATCH, "\"9\"".parse().unwrap());
        assert_eq!(known(&headers), [7, 8, 9].map(Revision));
    }
}
