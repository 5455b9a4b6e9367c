//! Who may use the pages from a browser, and under which names of hosts they are served.
//!
//! Everything on the client port that is not gRPC goes through here first: the JSON gateway, health,
//! metrics, the registry. A page of another origin may read answers when its origin is listed (CORS). A
//! request for a host that is not listed is refused: a name that somebody points at this member must
//! not make it part of their site. Encrypted connections need no such list, for their certificate
//! names the hosts.
//!
//! etcd's old name for its API, `/v3beta`, is taken back to `/v3` here, too.

use std::{borrow::Cow, collections::BTreeSet};

use axum::{
    body::Body,
    http::{
        HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version, header,
        uri::PathAndQuery,
    },
    response::{IntoResponse, Response},
};

use super::no_sniffing;

/// Marks a request that came on an encrypted connection, among its extensions.
#[derive(Clone, Copy, Debug)]
pub struct Encrypted;

/// The rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    origins: Listed,
    hosts: Listed,
}

/// A list of names; without any, or with `*` among them, all names are in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Listed(Option<BTreeSet<String>>);

/// The origin that may read the answer to a request.
pub(in crate::api) struct Reader(Option<HeaderValue>);

impl Access {
    /// What these origins and hosts are allowed; all of them when a list is empty or names `*`.
    #[must_use]
    pub fn new(origins: &[String], hosts: &[String]) -> Self {
        Self { origins: Listed::of(origins), hosts: Listed::of(hosts) }
    }

    /// Looks at a request that is not gRPC, and makes its path that of today. Says who may read the
    /// answer, or is the answer.
    pub(in crate::api) fn admit<B>(
        &self,
        request: &mut Request<B>,
    ) -> Result<Reader, Box<Response>> {
        let is_encrypted = request.extensions().get::<Encrypted>().is_some();
        let Some(host) = host(request) else { return Err(Box::new(no_host())) };
        if !is_encrypted && !self.hosts.has(host) {
            return Err(Box::new(unrecognized(host)));
        }
        let reader = Reader(self.reader(request.headers()));
        if request.method() == Method::OPTIONS {
            let mut answer = StatusCode::OK.into_response();
            reader.mark(answer.headers_mut());
            return Err(Box::new(answer));
        }
        if let Some(uri) = renamed(request.uri()) {
            *request.uri_mut() = uri;
        }
        Ok(reader)
    }

    fn reader(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        if self.origins.has_all() {
            return Some(HeaderValue::from_static("*"));
        }
        let origin = headers.get(header::ORIGIN)?;
        self.origins.has(origin.to_str().ok()?).then(|| origin.clone())
    }
}

impl Listed {
    fn of(names: &[String]) -> Self {
        let is_all = names.is_empty() || names.iter().any(|name| name == "*");
        Self((!is_all).then(|| names.iter().cloned().collect()))
    }

    fn has_all(&self) -> bool {
        self.0.is_none()
    }

    fn has(&self, name: &str) -> bool {
        self.0.as_ref().is_none_or(|names| names.contains(name))
    }
}

impl Reader {
    /// Says in the head of an answer who may read it.
    pub(in crate::api) fn mark(&self, headers: &mut HeaderMap) {
        let Some(origin) = &self.0 else { return };
        let fixed = HeaderValue::from_static;
        headers
            .insert(header::ACCESS_CONTROL_ALLOW_METHODS, fixed("POST, GET, OPTIONS, PUT, DELETE"));
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            fixed("accept, content-type, authorization"),
        );
    }
}

/// The host that a request is for, without its port. None for a request that must name one and does
/// not.
fn host<B>(request: &Request<B>) -> Option<&str> {
    let named = match request.uri().authority() {
        Some(authority) => authority.as_str(),
        None => match request.headers().get(header::HOST) {
            Some(host) => host.to_str().ok()?,
            None if request.version() >= Version::HTTP_11 => return None,
            None => "",
        },
    };
    Some(without_port(named))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, _)) if name.starts_with('[') => {
            name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(host)
        }
        Some((name, _)) if !name.contains(':') => name,
        Some(_) | None => host,
    }
}

/// The URI with today's path, if it has another.
fn renamed(uri: &Uri) -> Option<Uri> {
    let rest = uri.path().strip_prefix("/v3beta/")?;
    let query = uri.query().map_or(Cow::Borrowed(""), |query| format!("?{query}").into());
    let path = format!("/v3/{rest}{query}").parse::<PathAndQuery>().ok()?;
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).ok()
}

fn no_host() -> Response {
    let text = "400 Bad Request: missing required Host header";
    let head = [(header::CONNECTION, "close")];
    (StatusCode::BAD_REQUEST, head, text).into_response()
}

fn unrecognized(host: &str) -> Response {
    let text = format!(
        "\nquorate received your request, but the Host header was unrecognized.\n\n\
         To fix this, choose one of the following options:\n\
         - Enable TLS, then any HTTPS request will be allowed.\n\
         - Add the hostname you want to use to the whitelist in settings.\n  \
         - e.g. quorate serve --host-whitelist {host:?}\n\n\
         This requirement has been added to help prevent \"DNS Rebinding\" attacks.\n\n"
    );
    no_sniffing((StatusCode::MISDIRECTED_REQUEST, Body::from(text)).into_response())
}

#[cfg(test)]
mod tests {
    use axum::http::request::Builder;
    use http_body_util::BodyExt;

    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    /// What is admitted under which path, and who may read the answer; or the status of the refusal.
    fn admit(access: &Access, request: Builder) -> Result<(String, Option<String>), u16> {
        let mut request = request.body(()).unwrap();
        let reader = access.admit(&mut request).map_err(|refusal| refusal.status().as_u16())?;
        let origin = reader.0.map(|origin| origin.to_str().unwrap().to_owned());
        Ok((request.uri().to_string(), origin))
    }

    fn get(uri: &str) -> Builder {
        Request::get(uri)
    }

    /// Without lists everybody may ask for everything.
    #[test]
    fn everything_is_allowed_by_default() {
        for lists in [&[][..], &["*"], &["http://a", "*"]] {
            let access = Access::new(&names(lists), &names(lists));
            let asked = get("/health").header("host", "evil:80").header("origin", "http://b");
            assert_eq!(admit(&access, asked), Ok(("/health".to_owned(), Some("*".to_owned()))));
        }
    }

    /// Hosts are compared without their ports, and only where nobody vouches for them.
    #[test]
    fn hosts_must_be_listed() {
        let access = Access::new(&[], &names(&["localhost", "::1", "quorate.example"]));
        let status = |request| admit(&access, request).err();
        for host in ["localhost", "localhost:2379", "[::1]:2379", "quorate.example:1"] {
            assert_eq!(status(get("/v3/kv/range").header("host", host)), None, "{host}");
        }
        for host in ["evil", "evil:2379", "localhost.evil", "", "[::2]:1"] {
            assert_eq!(status(get("/v3/kv/range").header("host", host)), Some(421), "{host}");
        }
        assert_eq!(status(get("http://evil/health").header("host", "localhost")), Some(421));
        assert_eq!(status(get("http://localhost/health").version(Version::HTTP_2)), None);
        assert_eq!(status(get("/health").version(Version::HTTP_10)), Some(421));
        assert_eq!(status(get("/health").header("host", "evil").extension(Encrypted)), None);
        let asked = Request::options("/health").header("host", "evil");
        assert_eq!(status(asked), Some(421));
    }

    /// A request of HTTP/1.1 names its host.
    #[test]
    fn a_request_without_a_host_is_refused() {
        assert_eq!(admit(&Access::default(), get("/health")), Err(400));
        assert!(admit(&Access::default(), get("/health").version(Version::HTTP_10)).is_ok());
    }

    /// The refusal says how to allow the host.
    #[tokio::test]
    async fn a_refusal_says_how_to_go_on() {
        let access = Access::new(&[], &names(&["localhost"]));
        let mut request = get("/health").header("host", "a\"b:1").body(()).unwrap();
        let refusal = access.admit(&mut request).err().unwrap();
        assert!(!refusal.headers().contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
        let text = refusal.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8(text.to_vec()).unwrap();
        assert!(text.contains("--host-whitelist \"a\\\"b\""), "{text}");
    }

    /// A listed origin is named, another is not, and a request of no page has none.
    #[test]
    fn origins_may_be_listed() {
        let access = Access::new(&names(&["http://a.example:80"]), &[]);
        let origin = |origin: Option<&str>| {
            let request = get("/version").header("host", "x");
            let request = match origin {
                Some(origin) => request.header("origin", origin),
                None => request,
            };
            admit(&access, request).unwrap().1
        };
        assert_eq!(origin(Some("http://a.example:80")).as_deref(), Some("http://a.example:80"));
        assert_eq!(origin(Some("http://b.example")), None);
        assert_eq!(origin(None), None);
    }

    /// A browser that asks whether it may ask is told, whatever the path is.
    #[test]
    fn options_are_answered() {
        for path in ["/v3/kv/put", "/health", "/nowhere"] {
            let mut request = Request::options(path).header("host", "x").body(()).unwrap();
            let answer = Access::default().admit(&mut request).err().unwrap();
            assert_eq!(answer.status(), 200, "{path}");
            let headers = answer.headers();
            assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
            assert_eq!(
                headers[header::ACCESS_CONTROL_ALLOW_METHODS],
                "POST, GET, OPTIONS, PUT, DELETE"
            );
            assert_eq!(
                headers[header::ACCESS_CONTROL_ALLOW_HEADERS],
                "accept, content-type, authorization"
            );
        }
    }

    /// The old name of etcd's API is understood.
    #[test]
    fn old_paths_are_todays() {
        let path = |uri: &str| admit(&Access::default(), get(uri).header("host", "x")).unwrap().0;
        assert_eq!(path("/v3beta/kv/range?a=b"), "/v3/kv/range?a=b");
        assert_eq!(path("http://h:1/v3beta/kv/v3beta/x"), "http://h:1/v3/kv/v3beta/x");
        assert_eq!(path("/v3beta"), "/v3beta");
        assert_eq!(path("/v3/kv/range"), "/v3/kv/range");
    }
}
