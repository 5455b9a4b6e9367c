//! One call: counted when it begins, and once more under the code with which it ends.

use std::sync::Arc;

use axum::http::HeaderMap;
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::{
    api::status,
    telemetry::{CallKind, CallSpan, Callers, GrpcMethod, Metrics, TraceParent},
};

/// A call that has begun. Dropped without an end it counts as cancelled: the client went away.
pub(super) struct Call {
    /// Taken when the call has ended. Methods that are not known are not counted.
    method: Option<Arc<GrpcMethod>>,
    /// Only when it is of use.
    begun: Option<Instant>,
    /// Only when traces are wanted.
    span: Option<CallSpan>,
}

impl Call {
    pub(super) fn begin(metrics: &Metrics, path: &str, headers: &HeaderMap) -> Self {
        let method = metrics.grpc(path).cloned();
        let mut begun = None;
        if let Some(method) = &method {
            method.started();
            if method.kind != CallKind::BidiStream {
                method.received(1);
            }
            begun = method.is_timed().then(Instant::now);
        }
        let span = metrics.spans.get().filter(|_| method.is_some()).map(|spans| {
            spans.call(path, |name| headers.get(name).and_then(|value| value.to_str().ok()))
        });
        Self { method, begun, span }
    }

    /// For what is done on the call's behalf, if it is traced.
    pub(super) fn trace_parent(&self) -> Option<TraceParent> {
        self.span.as_ref().and_then(CallSpan::parent)
    }

    /// Counts the call for the version of its client's library.
    pub(super) fn counts_for(&self, callers: &Callers, version: Option<&str>) {
        if let (Some(method), Some(version)) = (&self.method, version) {
            callers.count(method.kind, version);
        }
    }

    /// The method, if clients send as many messages in a call as they like.
    pub(super) fn of_many_requests(&self) -> Option<Arc<GrpcMethod>> {
        self.method.clone().filter(|method| method.kind == CallKind::BidiStream)
    }

    /// Counts messages to the client of a stream.
    pub(super) fn sent(&self, messages: u64) {
        if let Some(method) = &self.method {
            method.sent(messages);
        }
    }

    /// Whether there is such a method.
    pub(super) fn is_known(&self) -> bool {
        self.method.is_some()
    }

    /// Whether there is such a method, with one message in each direction.
    pub(super) fn is_unary(&self) -> bool {
        self.is_known() && !self.is_stream()
    }

    /// Whether more than one message may go in a direction.
    pub(super) fn is_stream(&self) -> bool {
        self.method.as_ref().is_some_and(|method| match method.kind {
            CallKind::Unary => false,
            CallKind::ServerStream | CallKind::BidiStream => true,
        })
    }

    pub(super) fn end(mut self, code: Code) {
        self.record(code);
    }

    fn record(&mut self, code: Code) {
        if let Some(method) = self.method.take() {
            method.handled(code.into());
            if let Some(span) = self.span.take() {
                span.end(code.into());
            }
            if method.kind == CallKind::Unary && code == Code::Ok {
                method.sent(1);
            }
            if let Some(begun) = self.begun {
                method.took(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
            }
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.record(Code::Cancelled);
    }
}

/// The code in a response's head or trailers.
pub(super) fn code(headers: &HeaderMap) -> Option<Code> {
    headers.get(Status::GRPC_STATUS).map(|code| Code::from_bytes(code.as_bytes()))
}

/// Says what the transport library has to say in the head of a response in the words and with the
/// code that clients of etcd know. Everything else there stays as it is.
pub(super) fn reword(head: &mut HeaderMap, path: &str, message_bytes_max: usize) {
    reword_too_large(head, message_bytes_max);
    if code(head) == Some(Code::Unimplemented) && !head.contains_key(MESSAGE) {
        replace(head, &status::unknown_method(path));
    }
}

/// The same for what stands in the trailers as well.
pub(super) fn reword_too_large(headers: &mut HeaderMap, message_bytes_max: usize) {
    if code(headers) == Some(Code::OutOfRange)
        && let Some(status) = too_large(headers, message_bytes_max)
    {
        replace(headers, &status);
    }
}

fn replace(headers: &mut HeaderMap, status: &Status) {
    // It can only fail for a message that no header can carry; ours are plain text.
    let _ = status.add_header(headers);
}

/// Where the message of a status stands.
const MESSAGE: &str = "grpc-message";

/// What the transport library says about a message that is too large.
const TOO_LARGE: &str = "Error, decoded message length too large: found ";

fn too_large(headers: &HeaderMap, message_bytes_max: usize) -> Option<Status> {
    let said = Status::from_header_map(headers)?;
    let rest = said.message().strip_prefix(TOO_LARGE)?;
    let received = rest.split(' ').next()?;
    Some(status::message_too_large(received, message_bytes_max))
}
