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
//! stream is a row of lines `{"result":{...}}`, with `{"error":{...}}` for the last one if it fails, and
//! requests of a stream follow one another in the body, also while it is answered. An error is an HTTP
//! status and `{"code":...,"message":...}` with the code of gRPC. What else there is to a call follows
//! the [`Manners`] of its table.
//!
//! Absent: WebSockets.

mod answer;
mod body;
mod client;
mod json;
mod routes;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_of_manners;

use std::{future::Future, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::Request,
    http::{Extensions, HeaderMap, Uri, uri::PathAndQuery},
    response::Response,
    routing::{MethodFilter, any, on},
};
use futures_util::{
    StreamExt,
    future::{BoxFuture, pending},
    stream::{self, BoxStream},
};
use prost_reflect::{MessageDescriptor, MethodDescriptor};
use tokio::{select, sync::oneshot, time::sleep};
use tonic::{Status, metadata::MetadataMap};

pub use self::routes::{ETCD, REGISTRY, Route};

pub(in crate::api) use self::{
    answer::{json as json_answer, refusal},
    json::{descriptors, write},
};

use self::{body::Intake, client::Service};
use crate::{api::status, node::Error};

/// Whose habits the calls of a table follow, where there are several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manners {
    /// Ours: what is not understood in a request is refused, and refusals are told in the most fitting
    /// status of HTTP.
    Own,
    /// etcd's: everything as its gateway does it.
    Etcd,
}

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
    manners: Manners,
    takes: MessageDescriptor,
    gives: MessageDescriptor,
    takes_many: bool,
    gives_many: bool,
}

/// What the headers of a request say about its call.
struct Terms {
    metadata: MetadataMap,
    /// What the server knows about the request beside its headers.
    extensions: Extensions,
    /// How long it may take.
    timeout: Option<Duration>,
}

/// The messages of a stream of requests, and what is wrong behind them once they are over.
struct Asked {
    messages: BoxStream<'static, Bytes>,
    problem: Option<oneshot::Receiver<Status>>,
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
    pub fn routes(&self, manners: Manners, table: &[Route]) -> Router {
        let router = table.iter().fold(Router::new(), |router, (http, path, method)| {
            let filter = MethodFilter::try_from(http.clone()).expect("the table has usual methods");
            let method = Arc::new(Method::named(method, manners));
            let gateway = self.clone();
            let handler = move |request| gateway.clone().answer(Arc::clone(&method), request);
            router.route(path, on(filter, handler))
        });
        let refuse = move |request| answer::method_not_allowed(manners, request);
        router.method_not_allowed_fallback(refuse)
    }

    /// etcd's API below `/v3`, and what etcd answers on all other paths there.
    pub fn etcd(&self) -> Router {
        self.routes(Manners::Etcd, ETCD)
            .route("/v3", any(answer::moved_to_v3))
            .route("/v3/", any(answer::no_such_path))
            .route("/v3/{*path}", any(answer::no_such_path))
    }

    async fn answer(self, method: Arc<Method>, request: Request) -> Response {
        let (head, body) = request.into_parts();
        let terms = match Terms::of(&head.headers, head.extensions) {
            Ok(terms) => terms,
            Err(status) => return answer::refused(method.manners, &status),
        };
        if method.gives_many {
            self.stream(&method, &head.headers, terms, body).await
        } else {
            self.unary(&method, &head.headers, terms, body).await
        }
    }

    async fn unary(
        &self,
        method: &Method,
        headers: &HeaderMap,
        terms: Terms,
        body: Body,
    ) -> Response {
        let message = match self.intake(method).only(headers, body).await {
            Ok(message) => message,
            Err(refused) => return refused,
        };
        let timeout = terms.timeout;
        let request = terms.request(stream::iter([message]));
        let answer = client::unary(self.services.clone(), method.path.clone(), request);
        let answer = select! {
            biased;
            status = too_late(timeout) => Err(status),
            answer = answer => answer,
        };
        let text = answer.and_then(|message| json::text(&method.gives, method.manners, message));
        match text {
            Ok(text) => answer::message(method.manners, text),
            Err(status) => answer::refused(method.manners, &status),
        }
    }

    async fn stream(
        &self,
        method: &Method,
        headers: &HeaderMap,
        terms: Terms,
        body: Body,
    ) -> Response {
        let asked = if method.takes_many {
            self.intake(method).many(body).await
        } else {
            let message = self.intake(method).only(headers, body).await;
            message
                .map(|message| Asked { messages: stream::iter([message]).boxed(), problem: None })
        };
        let Asked { messages, problem } = match asked {
            Ok(asked) => asked,
            Err(refused) => return refused,
        };
        let timeout = terms.timeout;
        let request = terms.request(messages);
        let answers = client::streaming(self.services.clone(), method.path.clone(), request);
        let stopping = (self.stopping)();
        let mut ending: BoxFuture<'static, Status> = Box::pin(async move {
            select! {
                () = stopping => status::of_node(Error::Stopped),
                status = too_late(timeout) => status,
            }
        });
        let answers = select! {
            biased;
            status = &mut ending => Err(status),
            answers = answers => answers,
        };
        let mut answers = match answers {
            Ok(answers) => answers,
            // What a stream says, it says in lines, also when it is an error alone.
            Err(status) => return answer::failed_stream(method.manners, &status),
        };
        let first = match method.manners {
            // A client hears at once that it is waiting.
            Manners::Own => None,
            // The status is that of the first answer, so it is waited for.
            Manners::Etcd => select! {
                biased;
                status = &mut ending => Some(Err(status)),
                first = answers.next() => first,
            },
        };
        if let Some(Err(status)) = &first {
            return answer::failed_stream(method.manners, status);
        }
        let answers = stream::iter(first).chain(answers);
        answer::lines(method, answers, ending, problem)
    }

    fn intake(&self, method: &Method) -> Intake {
        Intake {
            kind: method.takes.clone(),
            manners: method.manners,
            message_bytes_max: self.message_bytes_max,
        }
    }
}

impl Terms {
    fn of(headers: &HeaderMap, extensions: Extensions) -> Result<Self, Status> {
        let timeout = client::timeout(headers)?;
        Ok(Self { metadata: client::metadata(headers)?, extensions, timeout })
    }

    fn request<T>(self, messages: T) -> tonic::Request<T> {
        tonic::Request::from_parts(self.metadata, self.extensions, messages)
    }
}

/// Waits until the time of a call is over, and says so.
async fn too_late(timeout: Option<Duration>) -> Status {
    /// What timers tell apart. A shorter time is over before a call begins.
    const STEP: Duration = Duration::from_millis(1);
    match timeout {
        Some(timeout) if timeout < STEP => {}
        Some(timeout) => sleep(timeout).await,
        None => pending().await,
    }
    status::deadline_exceeded()
}

impl Method {
    fn named(name: &str, manners: Manners) -> Self {
        let (service, method) = name.split_once('/').expect("a method is named with its service");
        let service = descriptors().get_service_by_name(service);
        let service = service.unwrap_or_else(|| panic!("there is no service of {name}"));
        let method: Option<MethodDescriptor> = service.methods().find(|it| it.name() == method);
        let method = method.unwrap_or_else(|| panic!("there is no method {name}"));
        let path =
            format!("/{name}").parse::<Uri>().ok().and_then(|uri| uri.into_parts().path_and_query);
        Self {
            path: path.expect("names of methods make paths"),
            manners,
            takes: method.input(),
            gives: method.output(),
            takes_many: method.is_client_streaming(),
            gives_many: method.is_server_streaming(),
        }
    }
}
