//! [`Dispatch`]: which service a call goes to.
//!
//! The services that are called all the time are asked first, by the beginning of the path. All
//! others, and plain HTTP, are on a router, which takes a path apart and boxes what it hands on.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    Router,
    body::Body as RouterBody,
    http::{Version, header::CONTENT_TYPE},
};
use bytes::Bytes;
use futures_util::{TryFutureExt, future::BoxFuture};
use hyper::{Request, Response, body::Body as HttpBody};
use tonic::body::Body;
use tower::{BoxError, Service};

use crate::api::{
    http::{Access, pass_over},
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
    /// Looks at what is not gRPC; nothing does within this process.
    access: Option<Arc<Access>>,
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
        let services = Services { guard, kv, leases, registry, others };
        Self { services: Arc::new(services), access: None }
    }

    /// The same for callers of whom `access` admits some.
    #[must_use]
    pub fn open_to(&self, access: Access) -> Self {
        Self { services: Arc::clone(&self.services), access: Some(Arc::new(access)) }
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

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let Some(access) = self.access.as_ref().filter(|_| !is_grpc(&request)) else {
            return self.serve(request);
        };
        match access.admit(&mut request) {
            Ok(reader) => Box::pin(self.serve(request).map_ok(move |mut response| {
                reader.mark(response.headers_mut());
                response
            })),
            Err(refusal) => Box::pin(async {
                let (head, body) = request.into_parts();
                pass_over(&head.headers, body).await;
                Ok((*refusal).map(unguarded))
            }),
        }
    }
}

impl Dispatch {
    fn serve<B>(
        &self,
        request: Request<B>,
    ) -> BoxFuture<'static, Result<Response<GuardedBody<Answer>>, Infallible>>
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError> + Send + 'static,
    {
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

/// Whether a request is a call of gRPC. No browser can make one: they speak HTTP/2 to encrypted
/// connections alone, where hosts are known by their certificates.
fn is_grpc<B>(request: &Request<B>) -> bool {
    let kind = request.headers().get(CONTENT_TYPE);
    request.version() == Version::HTTP_2
        && kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// What comes from the router was guarded there, or is plain HTTP.
fn unguarded(body: RouterBody) -> GuardedBody<Answer> {
    GuardedBody::unwatched(Some(Answer::of_library(Body::new(body))))
}
