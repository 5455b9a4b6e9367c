//! Our gRPC services as JSON over HTTP.
//!
//! The gateway is a client of the services in this process: it makes a request of the JSON, calls the
//! service as a connection would, and makes JSON of the answer. So guards, limits and errors are those
//! of gRPC, and a method needs no code here: a row in a table of [`Route`]s is enough, and messages are
//! converted by their descriptors ([`json`]).
//!
//! The conventions are those of grpc-gateway, which etcd's clients know. A message is a JSON object;
//! its fields have the names of the `.proto` file in answers, and those or the camel-case ones in
//! requests; 64-bit integers are strings, bytes are base64, and what has its default is left out. A
//! stream is a row of lines `{"result":{...}}`, with `{"error":{...}}` for the last one if it fails. An
//! error is an HTTP status and `{"code":...,"message":...,"details":[]}` with the code of gRPC.
//!
//! Absent: a body that is written while its answer is read. It is read to its end first, whatever
//! the method.

mod answer;
mod client;
mod json;
#[cfg(test)]
mod tests;

use std::{future::Future, sync::Arc};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::Request,
    http::{HeaderMap, Method as HttpMethod, Uri, header, uri::PathAndQuery},
    response::Response,
    routing::{MethodFilter, on},
};
use futures_util::future::BoxFuture;
use http_body_util::BodyExt;
use hyper::body::Body as HttpBody;
use prost_reflect::{MessageDescriptor, MethodDescriptor};
use tonic::Status;

pub(in crate::api) use self::{
    answer::{json as json_answer, refusal},
    json::{descriptors, write},
};

use self::client::Service;
use crate::{api::status, types::limits::GATEWAY_PASSED_OVER_BYTES_MAX};

/// What is served where: an HTTP method, a path, and the method of a service as
/// `package.Service/Method`.
pub type Route = (HttpMethod, &'static str, &'static str);

/// The registry.
pub const REGISTRY: &[Route] = &[
    (HttpMethod::POST, "/v1/registry/register", "quorate.registry.v1.Registry/Register"),
    (HttpMethod::POST, "/v1/registry/deregister", "quorate.registry.v1.Registry/Deregister"),
    (HttpMethod::POST, "/v1/registry/resolve", "quorate.registry.v1.Registry/Resolve"),
    (HttpMethod::POST, "/v1/registry/list-services", "quorate.registry.v1.Registry/ListServices"),
    (HttpMethod::POST, "/v1/registry/set-override", "quorate.registry.v1.Registry/SetOverride"),
    (HttpMethod::POST, "/v1/registry/clear-override", "quorate.registry.v1.Registry/ClearOverride"),
    (HttpMethod::POST, "/v1/registry/watch", "quorate.registry.v1.Registry/Watch"),
];

/// JSON to the services of `S`. Cheap to clone.
#[derive(Clone)]
pub struct Gateway<S> {
    services: S,
    message_bytes_max: usize,
    stopping: Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>,
}

/// A method that is called.
#[derive(Clone, Debug)]
struct Method {
    path: PathAndQuery,
    takes: MessageDescriptor,
    gives: MessageDescriptor,
    takes_many: bool,
    gives_many: bool,
}

impl<S: Service> Gateway<S> {
    /// A gateway to services that take messages of so many bytes. Its streams end when what
    /// `stopping` gives comes to an end.
    pub fn new<F>(
        services: S,
        message_bytes_max: usize,
        stopping: impl Fn() -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stopping = Arc::new(move || -> BoxFuture<'static, ()> { Box::pin(stopping()) });
        Self { services, message_bytes_max, stopping }
    }

    /// The routes of a table. Another HTTP method than theirs is refused.
    ///
    /// # Panics
    ///
    /// When the table names a method that is in no `.proto` file.
    pub fn routes(&self, table: &[Route]) -> Router {
        let router = table.iter().fold(Router::new(), |router, (http, path, method)| {
            let filter = MethodFilter::try_from(http.clone()).expect("the table has usual methods");
            let method = Arc::new(Method::named(method));
            let gateway = self.clone();
            let handler = move |request| gateway.clone().answer(Arc::clone(&method), request);
            router.route(path, on(filter, handler))
        });
        router.method_not_allowed_fallback(async || answer::method_not_allowed())
    }

    /// The bytes of JSON in which a message of the largest size fits, even if it is in base64.
    fn body_bytes_max(&self) -> usize {
        self.message_bytes_max.div_ceil(3).saturating_mul(4)
    }

    async fn answer(self, method: Arc<Method>, request: Request) -> Response {
        let (head, body) = request.into_parts();
        let messages = match self.take(&method, &head.headers, body).await {
            Ok(messages) => messages,
            Err(refused) => return refused,
        };
        let metadata = client::metadata(&head.headers);
        let request = tonic::Request::from_parts(metadata, head.extensions, messages);
        match self.call(&method, request).await {
            Ok(answer) => answer,
            // What a stream says, it says in lines, also when it is an error alone.
            Err(status) if method.gives_many => answer::failed_stream(&status),
            Err(status) => refusal(&status),
        }
    }

    /// The messages in a body, or the refusal of it.
    async fn take(
        &self,
        method: &Method,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Vec<Bytes>, Response> {
        let body = self.read(headers, body).await?;
        let messages = json::read(&method.takes, method.takes_many, &body);
        let messages = messages.map_err(|error| refusal(&status::bad_json(&error)))?;
        match messages.iter().map(Bytes::len).find(|len| *len > self.message_bytes_max) {
            Some(len) => Err(answer::too_large(len, self.message_bytes_max)),
            None => Ok(messages),
        }
    }

    /// The bytes of a body, or the refusal of one that is too large. That is read as well, within
    /// reason: a client that is still writing might see its connection fail instead of the answer.
    async fn read(&self, headers: &HeaderMap, mut body: Body) -> Result<Vec<u8>, Response> {
        let max = self.body_bytes_max();
        let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        let waits = headers.contains_key(header::EXPECT);
        if announced > if waits { max } else { GATEWAY_PASSED_OVER_BYTES_MAX } {
            return Err(answer::too_large(announced, max));
        }
        let (mut bytes, mut len) = (Vec::new(), 0_usize);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| refusal(&status::bad_json(&error)))?;
            let Ok(data) = frame.into_data() else { break };
            len = len.saturating_add(data.len());
            if len <= max {
                bytes.extend_from_slice(&data);
            } else if len > GATEWAY_PASSED_OVER_BYTES_MAX {
                break;
            }
        }
        if len > max { Err(answer::too_large(len, max)) } else { Ok(bytes) }
    }

    async fn call(
        &self,
        method: &Method,
        request: tonic::Request<Vec<Bytes>>,
    ) -> Result<Response, Status> {
        let services = self.services.clone();
        let path = method.path.clone();
        if method.gives_many {
            let messages = client::streaming(services, path, request).await?;
            return Ok(answer::lines(method.gives.clone(), messages, (self.stopping)()));
        }
        let message = client::unary(services, path, request).await?;
        Ok(json_answer(&write(&method.gives, message)?))
    }
}

impl Method {
    fn named(name: &str) -> Self {
        let (service, method) = name.split_once('/').expect("a method is named with its service");
        let service = descriptors().get_service_by_name(service);
        let service = service.unwrap_or_else(|| panic!("there is no service of {name}"));
        let method: Option<MethodDescriptor> = service.methods().find(|it| it.name() == method);
        let method = method.unwrap_or_else(|| panic!("there is no method {name}"));
        let path =
            format!("/{name}").parse::<Uri>().ok().and_then(|uri| uri.into_parts().path_and_query);
        Self {
            path: path.expect("names of methods make paths"),
            takes: method.input(),
            gives: method.output(),
            takes_many: method.is_client_streaming(),
            gives_many: method.is_server_streaming(),
        }
    }
}
