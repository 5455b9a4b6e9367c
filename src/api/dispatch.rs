//! [`Dispatch`]: which service a call goes to.
//!
//! The services that are called all the time are asked first, by the beginning of the path. All
//! others, and plain HTTP, are on a router, which takes a path apart and boxes what it hands on.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{Router, body::Body as RouterBody};
use bytes::Bytes;
use futures_util::{TryFutureExt, future::BoxFuture};
use hyper::{Request, Response, body::Body as HttpBody};
use tonic::body::Body;
use tower::{BoxError, Service};

use crate::api::{
    layers::{Guard, GuardedBody},
    lease::keep_alive::KeepAlives,
    ranges::Ranges,
    registry::Registry,
    unary::Answer,
};

/// Everything that clients reach. Cheap to clone.
#[derive(Clone)]
pub struct Dispatch {
    services: Arc<Services>,
}

struct Services {
    guard: Guard,
    kv: Ranges,
    leases: KeepAlives,
    registry: Registry,
    others: Router,
}

impl Dispatch {
    /// Behind `guard` the services that are asked first, and `others`, which are guarded already.
    #[must_use]
    pub fn new(
        guard: Guard,
        kv: Ranges,
        leases: KeepAlives,
        registry: Registry,
        others: Router,
    ) -> Self {
        Self { services: Arc::new(Services { guard, kv, leases, registry, others }) }
    }

    /// The same with other services on the router.
    #[must_use]
    pub fn with(&self, change: impl FnOnce(Router) -> Router) -> Self {
        let Services { guard, kv, leases, registry, others } = &*self.services;
        let others = change(others.clone());
        Self::new(guard.clone(), kv.clone(), leases.clone(), registry.clone(), others)
    }
}

impl<B> Service<Request<B>> for Dispatch
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError> + Send + 'static,
{
    type Response = Response<GuardedBody<Answer>>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    /// All services are always ready.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Services { guard, kv, leases, registry, others } = &*self.services;
        let path = request.uri().path();
        if path.starts_with("/etcdserverpb.KV/") {
            guard.call(request, |request| kv.call(request))
        } else if path.starts_with("/etcdserverpb.Lease/") {
            guard.call(request, |request| leases.call(request))
        } else if path.starts_with("/quorate.registry.v1.Registry/") {
            guard.call(request, |request| registry.call(request))
        } else {
            let response = Service::<Request<B>>::call(&mut others.clone(), request);
            Box::pin(response.map_ok(|response| response.map(unguarded)))
        }
    }
}

/// What comes from the router was guarded there, or is plain HTTP.
fn unguarded(body: RouterBody) -> GuardedBody<Answer> {
    GuardedBody::unwatched(Some(Answer::of_library(Body::new(body))))
}
