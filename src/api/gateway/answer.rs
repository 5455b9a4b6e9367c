//! Answers over HTTP: JSON, lines of it, and errors.

use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::{Stream, StreamExt, future::BoxFuture, stream};
use serde_json::{Value, json};
use tokio::{select, sync::oneshot};
use tonic::{Code, Status};

use super::{Manners, Method, json::text};
use crate::api::{http, status};

/// An answer in JSON.
pub(in crate::api) fn json(value: &Value) -> Response {
    with_json(StatusCode::OK, value)
}

/// The answer to a call that came to nothing, with our manners.
pub(in crate::api) fn refusal(status: &Status) -> Response {
    refused(Manners::Own, status)
}

/// The answer to a call with one answer.
pub(super) fn message(manners: Manners, text: String) -> Response {
    as_of_grpc(manners, (JSON, text).into_response())
}

/// The answer to a call that came to nothing.
pub(super) fn refused(manners: Manners, status: &Status) -> Response {
    let mut response = with_json(http_status(status.code()), &error(manners, status));
    if status.code() == Code::Unauthenticated
        && let Ok(message) = HeaderValue::from_str(status.message())
    {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, message);
    }
    response
}

/// The same for a stream that did not begin.
pub(super) fn failed_stream(manners: Manners, status: &Status) -> Response {
    let line = Body::from(line(&json!({ "error": error(manners, status) }).to_string()));
    (http_status(status.code()), JSON, line).into_response()
}

/// The refusal of what is larger than `bytes_max`.
pub(super) fn too_large(manners: Manners, found: usize, bytes_max: usize) -> Response {
    let status = status::message_too_large(&found.to_string(), bytes_max);
    match manners {
        Manners::Own => with_json(StatusCode::PAYLOAD_TOO_LARGE, &error(manners, &status)),
        Manners::Etcd => refused(manners, &status),
    }
}

/// The refusal of another HTTP method than that of the route.
pub(super) async fn method_not_allowed(manners: Manners, request: Request) -> Response {
    pass_over(request).await;
    let status = status::method_not_allowed();
    match manners {
        Manners::Own => with_json(StatusCode::METHOD_NOT_ALLOWED, &error(manners, &status)),
        Manners::Etcd => refused(manners, &status),
    }
}

/// There is nothing in etcd's API under this path.
pub(super) async fn no_such_path(request: Request) -> Response {
    pass_over(request).await;
    refused(Manners::Etcd, &status::no_such_path())
}

/// The path of etcd's API ends with a slash.
pub(super) async fn moved_to_v3(request: Request) -> Response {
    pass_over(request).await;
    (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, "/v3/")]).into_response()
}

async fn pass_over(request: Request) {
    let (head, body) = request.into_parts();
    http::pass_over(&head.headers, body).await;
}

/// An answer of many messages, a line each, until they end or `ending` comes to an end. At the end
/// there may be a `problem` with what was asked.
pub(super) fn lines(
    method: &Method,
    messages: impl Stream<Item = Result<Bytes, Status>> + Send + Unpin + 'static,
    ending: BoxFuture<'static, Status>,
    problem: Option<oneshot::Receiver<Status>>,
) -> Response {
    let (kind, manners) = (method.gives.clone(), method.manners);
    let lines = stream::unfold(Some((messages, ending, problem)), move |course| {
        let kind = kind.clone();
        async move {
            let (mut messages, mut ending, mut problem) = course?;
            let message = select! {
                biased;
                status = &mut ending => Err(status),
                message = messages.next() => match message {
                    Some(message) => message,
                    None => Err(problem.as_mut()?.try_recv().ok()?),
                },
            };
            let result = message.and_then(|message| text(&kind, manners, message));
            let (said, course) = match result {
                Ok(text) => (format!(r#"{{"result":{text}}}"#), Some((messages, ending, problem))),
                Err(status) => (json!({ "error": error(manners, &status) }).to_string(), None),
            };
            Some((Ok::<_, Status>(line(&said)), course))
        }
    });
    as_of_grpc(manners, (JSON, Body::from_stream(lines)).into_response())
}

const JSON: [(HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];

/// An answer that has passed on the metadata of a call, which etcd's gateway does.
fn as_of_grpc(manners: Manners, mut response: Response) -> Response {
    match manners {
        Manners::Own => {}
        Manners::Etcd => {
            let name = HeaderName::from_static("grpc-metadata-content-type");
            let value = HeaderValue::from_static("application/grpc");
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn with_json(code: StatusCode, value: &Value) -> Response {
    (code, JSON, value.to_string()).into_response()
}

fn line(text: &str) -> Bytes {
    format!("{text}\n").into()
}

fn error(manners: Manners, status: &Status) -> Value {
    let (code, message) = (i32::from(status.code()), status.message());
    match manners {
        Manners::Own => json!({ "code": code, "message": message, "details": [] }),
        // What is empty is left out here as in any message.
        Manners::Etcd if message.is_empty() => json!({ "code": code }),
        Manners::Etcd => json!({ "code": code, "message": message }),
    }
}
/// The HTTP status for a code, as grpc-gateway chooses it.
fn http_status(code: Code) -> StatusCode {
    let number = match code {
        Code::Ok => 200,
        // nginx's name for it: the client has closed its request.
        Code::Cancelled => 499,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => 400,
        Code::Unauthenticated => 401,
        Code::PermissionDenied => 403,
        Code::NotFound => 404,
        Code::AlreadyExists | Code::Aborted => 409,
        Code::ResourceExhausted => 429,
        Code::Unknown | Code::Internal | Code::DataLoss => 500,
        Code::Unimplemented => 501,
        Code::Unavailable => 503,
        Code::DeadlineExceeded => 504,
    };
    StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
