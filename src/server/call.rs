//! One call: where the HTTP library meets the services.
//!
//! Two things happen to every call here and nowhere else. A handler that panics costs its caller an
//! internal error and nobody else anything. A stream that would last for ever is ended when the
//! member drains, with a status that tells its client to go to another member.

use std::{
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    panic::AssertUnwindSafe,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::{FutureExt, future::CatchUnwind};
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::{Body, Frame, Incoming, SizeHint},
    header::{CONTENT_TYPE, HeaderValue},
    service::Service as HyperService,
};
use tonic::{Status, transport::server::TcpConnectInfo};
use tower::{BoxError, Service, ServiceExt, util::Oneshot};

use super::phase::{Phase, Phases};
use crate::{
    api::{http::Encrypted, layers::Ending, slow},
    telemetry::Counter,
};

/// Streams that end only when one side wants it. All others end by themselves.
const LASTING: [&str; 9] = [
    "/etcdserverpb.Watch/Watch",
    "/etcdserverpb.Lease/LeaseKeepAlive",
    "/v3electionpb.Election/Observe",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    "/quorate.registry.v1.Registry/KeepAlive",
    "/quorate.registry.v1.Registry/Session",
    "/quorate.registry.v1.Registry/Watch",
];

/// Which calls a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Traffic {
    /// All.
    Both,
    /// Those of gRPC: there is another listener for all others.
    Grpc,
    /// All others.
    Http,
}

impl Traffic {
    fn takes(self, is_grpc: bool) -> bool {
        match self {
            Self::Both => true,
            Self::Grpc => is_grpc,
            Self::Http => !is_grpc,
        }
    }
}

/// The service as one connection calls it.
pub(super) struct Caller<S> {
    pub(super) service: S,
    pub(super) phases: Phases,
    pub(super) panics: Counter,
    pub(super) traffic: Traffic,
    /// Who has opened the connection, if it has an address.
    pub(super) remote: Option<SocketAddr>,
    /// Whether nobody else can read or change what goes over it.
    pub(super) is_encrypted: bool,
}

impl<S, B> HyperService<Request<Incoming>> for Caller<S>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Unpin,
    S::Future: Unpin,
    B: Body<Data = Bytes> + Unpin,
{
    type Response = Response<Lasting<B>>;
    type Error = Infallible;
    type Future = Calling<S>;

    fn call(&self, mut request: Request<Incoming>) -> Calling<S> {
        let is_grpc = request
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
        let draining = LASTING.contains(&request.uri().path()).then(|| {
            let mut phases = self.phases.clone();
            Ending::new(Box::pin(async move { phases.reached(Phase::Draining).await }))
        });
        // Nothing of etcd's API depends on who calls, and most calls are of it.
        if !request.uri().path().starts_with("/etcdserverpb.") {
            let remote_addr = self.remote;
            request.extensions_mut().insert(TcpConnectInfo { local_addr: None, remote_addr });
            if self.is_encrypted {
                request.extensions_mut().insert(Encrypted);
            }
        }
        let running = self
            .traffic
            .takes(is_grpc)
            .then(|| AssertUnwindSafe(self.service.clone().oneshot(request)).catch_unwind());
        let remote = self.remote;
        Calling { running, is_grpc, draining, panics: self.panics.clone(), remote }
    }
}

/// The handler of a call, whose panic is its own.
type Running<S> = CatchUnwind<AssertUnwindSafe<Oneshot<S, Request<Incoming>>>>;

/// A call that runs.
pub(super) struct Calling<S: Service<Request<Incoming>>> {
    /// None: it is not served here.
    running: Option<Running<S>>,
    is_grpc: bool,
    draining: Option<Ending>,
    panics: Counter,
    remote: Option<SocketAddr>,
}

impl<S, B> Future for Calling<S>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Unpin,
    S::Future: Unpin,
{
    type Output = Result<Response<Lasting<B>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some(running) = &mut this.running else {
            return Poll::Ready(Ok(elsewhere(this.is_grpc)));
        };
        let running = Pin::new(running);
        Poll::Ready(match ready!(slow::on_behalf_of(this.remote, || running.poll(context))) {
            Ok(response) => response.map(|response| {
                response.map(|body| Lasting { body: Some(body), draining: this.draining.take() })
            }),
            Err(_) => {
                // The panic itself was logged by the hook.
                this.panics.inc();
                Ok(internal_error(this.is_grpc))
            }
        })
    }
}

/// The answer to a call that another listener serves.
fn elsewhere<B>(is_grpc: bool) -> Response<Lasting<B>> {
    let empty = Lasting { body: None, draining: None };
    if is_grpc {
        let status = Status::unimplemented("gRPC is not served here, but on listen-client-urls");
        return status.into_http::<()>().map(|()| empty);
    }
    let mut response = Response::new(empty);
    *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    response
}

fn internal_error<B>(is_grpc: bool) -> Response<Lasting<B>> {
    let empty = Lasting { body: None, draining: None };
    if is_grpc {
        return Status::internal("internal error").into_http::<()>().map(|()| empty);
    }
    let mut response = Response::new(empty);
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
}

/// The body of an answer. One that lasts ends when the member drains, between two messages. A client
/// that takes no more in the midst of one has the time that draining may take.
pub(super) struct Lasting<B> {
    /// Gone when the answer is over.
    body: Option<B>,
    draining: Option<Ending>,
}

impl<B> Body for Lasting<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        if let Some(draining) = &mut this.draining
            && this.body.is_some()
            && draining.poll(context).is_ready()
        {
            this.draining = None;
            this.body = None;
            return Poll::Ready(Some(Ok(Frame::trailers(stopping()))));
        }
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(context);
        match &mut this.draining {
            Some(draining) => polled.map_ok(|frame| draining.pass(frame)),
            None => polled,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Some(body) if self.draining.is_none() => body.size_hint(),
            Some(_) => SizeHint::default(),
            None => SizeHint::with_exact(0),
        }
    }
}

/// What ends a stream of a member that stops, in etcd's words: code 14, so that clients go elsewhere.
fn stopping() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert(Status::GRPC_STATUS, HeaderValue::from_static("14"));
    trailers.insert(Status::GRPC_MESSAGE, HeaderValue::from_static("etcdserver: server stopped"));
    trailers
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::{StreamExt, stream};
    use http_body_util::{BodyExt, StreamBody};
    use tokio::sync::oneshot;

    use super::*;

    /// Draining does not cut a message: what is left of it passes first, and nothing after it.
    #[tokio::test]
    async fn a_message_under_way_passes_before_the_end() {
        let parts: [&[u8]; 3] = [b"\0\0\0", b"\0\x04wo", b"rd\0\0\0\0\x01."];
        let frames = parts.map(|part| Ok::<_, Infallible>(Frame::data(Bytes::from_static(part))));
        let body = StreamBody::new(stream::iter(frames).chain(stream::pending()));
        let (drain, drained) = oneshot::channel::<()>();
        let draining = Box::pin(async move { drained.await.expect("the member drains") });
        let mut body = Lasting { body: Some(body), draining: Some(Ending::new(draining)) };
        let mut frame = async || body.frame().await.map(Result::unwrap);
        assert_eq!(frame().await.unwrap().into_data().unwrap(), parts[0]);

        drain.send(()).unwrap();

        assert_eq!(frame().await.unwrap().into_data().unwrap(), parts[1]);
        assert_eq!(frame().await.unwrap().into_data().unwrap(), "rd");
        let trailers = frame().await.unwrap().into_trailers().unwrap();
        assert_eq!(trailers.get("grpc-status").unwrap(), "14");
        assert!(frame().await.is_none());
    }
}
