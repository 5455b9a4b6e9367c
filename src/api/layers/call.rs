//! One call: counted when it begins, and once more under the code with which it ends.

use std::sync::Arc;

use axum::http::{HeaderMap, Uri};
use tonic::{Code, Status};

use crate::{
    api::status,
    telemetry::{CallKind, Metrics},
};

/// A call that has begun. Dropped without an end it counts as cancelled: the client went away.
pub(super) struct Call {
    metrics: Arc<Metrics>,
    uri: Uri,
    ended: bool,
}

impl Call {
    pub(super) fn begin(metrics: Arc<Metrics>, uri: &Uri) -> Self {
        if let Some(method) = metrics.grpc(uri.path()) {
            method.started();
        }
        Self { metrics, uri: uri.clone(), ended: false }
    }

    /// Whether more than one message may go in a direction.
    pub(super) fn is_stream(&self) -> bool {
        self.metrics.grpc(self.uri.path()).is_some_and(|method| match method.kind {
            CallKind::Unary => false,
            CallKind::ServerStream | CallKind::BidiStream => true,
        })
    }

    pub(super) fn end(mut self, code: Code) {
        self.record(code);
    }

    /// Says what the transport library has to say in the words and with the code that clients of
    /// etcd know. Everything else in the head or the trailers of a response stays as it is.
    pub(super) fn reword(&self, headers: &mut HeaderMap, message_bytes_max: usize) {
        let reworded = match code(headers) {
            Some(Code::OutOfRange) => too_large(headers, message_bytes_max),
            Some(Code::Unimplemented) => {
                (!headers.contains_key(MESSAGE)).then(|| status::unknown_method(self.uri.path()))
            }
            _ => None,
        };
        if let Some(reworded) = reworded {
            // It can only fail for a message that no header can carry; ours are plain text.
            let _ = reworded.add_header(headers);
        }
    }

    fn record(&mut self, code: Code) {
        if self.ended {
            return;
        }
        self.ended = true;
        if let Some(method) = self.metrics.grpc(self.uri.path()) {
            method.handled(code.into());
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
