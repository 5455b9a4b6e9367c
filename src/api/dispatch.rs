//! [`Dispatch`]: which service a call goes to.
//!
//! The services that are called all the time are asked first, by the beginning of the path. All
//! others, and plain HTTP, are on a router, which takes a path apart and boxes what it hands on.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use axum::{Router, body::Body as RouterBody};
use futures_util::{TryFutureExt, future::BoxFuture};
use hyper::{Request, Response, body::Incoming};
use tonic::body::Body;
use tower::Service;

use crate::api::{
    layers::{Guarded, GuardedBody},
    lease::keep_alive::KeepAlives,
    ranges::Ranges,
    unary::Answer,
};

/// Everything that clients reach.
#[derive(Clone)]
pub struct Dispatch {
    pub(super) kv: Guarded<Ranges>,
    pub(super) leases: Guarded<KeepAlives>,
    pub(super) others: Router,
}

impl Service<Request<Incoming>> for Dispatch {
    type Response = Response<GuardedBody<Answer>>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    /// All services are always ready.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let path = request.uri().path();
        if path.starts_with("/etcdserverpb.KV/") {
            self.kv.call(request)
        } else if path.starts_with("/etcdserverpb.Lease/") {
            self.leases.call(request)
        } else {
            let response = Service::<Request<Incoming>>::call(&mut self.others, request);
            Box::pin(response.map_ok(|response| response.map(unguarded)))
        }
    }
}

/// What comes from the router was guarded there, or is plain HTTP.
fn unguarded(body: RouterBody) -> GuardedBody<Answer> {
    GuardedBody::unwatched(Some(Answer::of_library(Body::new(body))))
}
