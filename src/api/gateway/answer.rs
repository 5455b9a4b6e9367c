//! Answers over HTTP: JSON, lines of it, and errors.

use axum::{
    body::{Body, Bytes},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::{Stream, StreamExt, future::BoxFuture, stream};
use prost_reflect::MessageDescriptor;
use serde_json::{Value, json};
use tokio::select;
use tonic::{Code, Status};

use super::json::write;
use crate::{api::status, node::Error};

/// An answer in JSON.
pub(in crate::api) fn json(value: &Value) -> Response {
    with_json(StatusCode::OK, value)
}

/// The answer to a call that came to nothing.
pub(in crate::api) fn refusal(status: &Status) -> Response {
    with_json(http_status(status.code()), &error(status))
}

/// The same for a stream that did not begin.
pub(super) fn failed_stream(status: &Status) -> Response {
    let line = Body::from(line(&json!({ "error": error(status) })));
    (http_status(status.code()), JSON, line).into_response()
}

/// The refusal of what is larger than `bytes_max`.
pub(super) fn too_large(found: usize, bytes_max: usize) -> Response {
    let status = status::message_too_large(&found.to_string(), bytes_max);
    with_json(StatusCode::PAYLOAD_TOO_LARGE, &error(&status))
}

/// The refusal of another HTTP method than that of the route.
pub(super) fn method_not_allowed() -> Response {
    with_json(StatusCode::METHOD_NOT_ALLOWED, &error(&status::method_not_allowed()))
}

/// An answer of many messages, a line each, until they end or `stopping` comes to an end.
pub(super) fn lines(
    kind: MessageDescriptor,
    messages: impl Stream<Item = Result<Bytes, Status>> + Send + Unpin + 'static,
    stopping: BoxFuture<'static, ()>,
) -> Response {
    let lines = stream::unfold(Some((messages, stopping)), move |course| {
        let kind = kind.clone();
        async move {
            let (mut messages, mut stopping) = course?;
            let message = select! {
                biased;
                () = &mut stopping => Err(status::of_node(Error::Stopped)),
                message = messages.next() => message?,
            };
            let result = message.and_then(|message| write(&kind, message));
            let (said, course) = match result {
                Ok(result) => (json!({ "result": result }), Some((messages, stopping))),
                Err(status) => (json!({ "error": error(&status) }), None),
            };
            Some((Ok::<_, Status>(line(&said)), course))
        }
    });
    (JSON, Body::from_stream(lines)).into_response()
}

const JSON: [(header::HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];

fn with_json(code: StatusCode, value: &Value) -> Response {
    (code, JSON, value.to_string()).into_response()
}

fn line(value: &Value) -> Bytes {
    format!("{value}\n").into()
}

fn error(status: &Status) -> Value {
    json!({ "code": i32::from(status.code()), "message": status.message(), "details": [] })
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
