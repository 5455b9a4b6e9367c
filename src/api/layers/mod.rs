//! What every gRPC call goes through before and after its service.
//!
//! [`Guard`] applies the rules about metadata, counts the call under its method and its code, and
//! puts what the transport itself says into etcd's words. It wraps each service by itself, so the
//! plain HTTP paths on the same port know nothing of it.
//!
//! Absent: identities (authentication is off), and timeouts, which the node keeps.

mod body;
mod call;
mod ending;
mod leadership;
mod metadata;
#[cfg(test)]
mod tests;

use std::{
    convert::Infallible,
    future::{self, Future},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    http::{Request, Response},
};
use tonic::server::NamedService;
use tower::{BoxError, Layer, Service};

pub use self::{
    ending::Ending,
    leadership::{Leadership, Lost},
};

use self::{body::GuardedBody, call::Call};
use crate::telemetry::Metrics;

/// A layer around a gRPC service.
#[derive(Clone)]
pub struct Guard {
    shared: Arc<Shared>,
}

struct Shared {
    leadership: Box<dyn Leadership>,
    metrics: Arc<Metrics>,
    message_bytes_max: usize,
}

impl Guard {
    /// A guard that asks `leadership` about the leader. `message_bytes_max` is what the services
    /// behind it take at most; it is only told, not enforced, here.
    #[must_use]
    pub fn new(
        leadership: impl Leadership,
        metrics: Arc<Metrics>,
        message_bytes_max: usize,
    ) -> Self {
        let leadership = Box::new(leadership);
        Self { shared: Arc::new(Shared { leadership, metrics, message_bytes_max }) }
    }
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { inner, shared: Arc::clone(&self.shared) }
    }
}

/// A gRPC service behind a [`Guard`].
#[derive(Clone)]
pub struct Guarded<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S: NamedService> NamedService for Guarded<S> {
    const NAME: &'static str = S::NAME;
}

impl<S, B, R> Service<Request<B>> for Guarded<S>
where
    S: Service<Request<B>, Response = Response<R>, Error = Infallible>,
    S::Future: Send + 'static,
    R: HttpBody<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        let call = Call::begin(Arc::clone(&shared.metrics), request.uri());
        let rules = match metadata::check(request.headers(), &*shared.leadership) {
            Ok(rules) => rules,
            Err(status) => {
                call.end(status.code());
                return Box::pin(future::ready(Ok(status.into_http())));
            }
        };
        // A unary call is over sooner than a leader is given up for lost.
        let leader_lost =
            (rules.needs_leader && call.is_stream()).then(|| Ending::new(shared.leadership.lost()));
        let response = self.inner.call(request);
        Box::pin(async move {
            let (mut head, body) = response.await?.into_parts();
            call.reword(&mut head.headers, shared.message_bytes_max);
            // A code in the head means that there is no body to wait for.
            if let Some(code) = call::code(&head.headers) {
                call.end(code);
                return Ok(Response::from_parts(head, Body::new(body)));
            }
            let body =
                GuardedBody::new(Body::new(body), call, leader_lost, shared.message_bytes_max);
            Ok(Response::from_parts(head, Body::new(body)))
        })
    }
}
