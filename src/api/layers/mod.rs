//! What every gRPC call goes through before and after its service.
//!
//! [`Guard`] refuses what a learner does not serve, keeps a member from serving data that are known to
//! be wrong, applies the rules about metadata, counts the call under its method and its code, and puts
//! what the transport itself says into etcd's words. It wraps each service by itself, so the plain
//! HTTP paths on the same port know nothing of it.
//!
//! Absent: identities (authentication is off), and timeouts, which the node keeps.

mod body;
mod call;
mod corrupt;
mod ending;
mod leadership;
mod learner;
mod messages;
mod metadata;
#[cfg(test)]
mod tests;

use std::{
    convert::Infallible,
    future::{self, Future},
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    body::{Bytes, HttpBody},
    http::{Request, Response},
};
use futures_util::future::BoxFuture;
use tonic::{Code, server::NamedService};
use tower::{Layer, Service};

pub use self::{
    body::GuardedBody,
    ending::Ending,
    leadership::{Leadership, Lost},
    learner::LearnerGate,
    messages::Heard,
};

use self::{call::Call, learner::Served, messages::Counted};
use crate::{
    api::{slow::SlowCalls, status},
    telemetry::Metrics,
};

/// A layer around a gRPC service.
#[derive(Clone)]
pub struct Guard {
    shared: Arc<Shared>,
    slow: Option<SlowCalls>,
}

struct Shared {
    leadership: Box<dyn Leadership>,
    learner: LearnerGate,
    metrics: Arc<Metrics>,
    message_bytes_max: usize,
}

impl Guard {
    /// A guard that asks `leadership` about the leader, and whether `learner` applies.
    /// `message_bytes_max` is what the services behind it take at most; it is only told, not
    /// enforced, here.
    #[must_use]
    pub fn new(
        leadership: impl Leadership,
        learner: LearnerGate,
        metrics: Arc<Metrics>,
        message_bytes_max: usize,
    ) -> Self {
        let leadership = Box::new(leadership);
        let shared = Shared { leadership, learner, metrics, message_bytes_max };
        Self { shared: Arc::new(shared), slow: None }
    }

    /// The same, which also tells of calls that took too long.
    #[must_use]
    pub fn telling_slow_calls(self, calls: SlowCalls) -> Self {
        Self { slow: Some(calls), ..self }
    }
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { inner, guard: self.clone() }
    }
}

impl Guard {
    /// Has `service` answer a call, if its metadata allow it.
    pub fn call<B, R, F>(
        &self,
        mut request: Request<B>,
        service: impl FnOnce(Request<B>) -> F,
    ) -> BoxFuture<'static, Result<Response<GuardedBody<R>>, Infallible>>
    where
        R: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        F: Future<Output = Result<Response<R>, Infallible>> + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        let path = request.uri().path();
        let call = Call::begin(&shared.metrics, path, request.headers());
        // A method that is not known is for its service to name, also on a learner.
        let refused = call.is_known()
            && shared.leadership.is_learner()
            && shared.learner.of(path) == Served::Never;
        let rules = if refused {
            Err(status::not_supported_for_learner())
        } else if shared.leadership.is_corrupt() && corrupt::concerns(path) {
            Err(corrupt::refusal())
        } else {
            call.counts_for(&shared.metrics.callers, metadata::caller(request.headers()));
            metadata::check(path, request.headers(), &*shared.leadership)
        };
        let rules = match rules {
            Ok(rules) => rules,
            Err(status) => {
                call.end(status.code());
                let refusal = status.into_http::<()>().map(|()| GuardedBody::unwatched(None));
                return Box::pin(future::ready(Ok(refusal)));
            }
        };
        // A unary call is over sooner than a leader is given up for lost.
        let leader_lost =
            (rules.needs_leader && call.is_stream()).then(|| Ending::new(shared.leadership.lost()));
        let streams_data = call.is_stream() && corrupt::concerns(path);
        let uri = request.uri().clone();
        let slow = self.slow.as_ref().filter(|_| call.is_unary());
        let slow = slow.and_then(|slow| Some((slow.begin(uri.path())?, slow.clone())));
        if let Some(method) = call.of_many_requests() {
            request.extensions_mut().insert(Counted(method));
        }
        if let Some(parent) = call.trace_parent() {
            request.extensions_mut().insert(parent);
        }
        let response = service(request);
        Box::pin(async move {
            let (mut head, body) = response.await?.into_parts();
            call::reword(&mut head.headers, uri.path(), shared.message_bytes_max);
            // A code in the head means that there is no body to wait for.
            let code = call::code(&head.headers);
            if let Some((began, slow)) = slow {
                slow.end(uri.path(), began, code.unwrap_or(Code::Ok));
            }
            let body = match code {
                Some(code) => {
                    call.end(code);
                    GuardedBody::unwatched(Some(body))
                }
                None => GuardedBody::new(body, call, leader_lost, streams_data, shared),
            };
            Ok(Response::from_parts(head, body))
        })
    }
}

/// A gRPC service behind a [`Guard`].
#[derive(Clone)]
pub struct Guarded<S> {
    inner: S,
    guard: Guard,
}

impl<S: NamedService> NamedService for Guarded<S> {
    const NAME: &'static str = S::NAME;
}

impl<S, B, R> Service<Request<B>> for Guarded<S>
where
    S: Service<Request<B>, Response = Response<R>, Error = Infallible>,
    S::Future: Send + 'static,
    R: HttpBody<Data = Bytes> + Send + Unpin + 'static,
{
    type Response = Response<GuardedBody<R>>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.guard.call(request, |request| self.inner.call(request))
    }
}
