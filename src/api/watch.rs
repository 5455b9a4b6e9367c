//! `etcdserverpb.Watch`: streams of what happens to keys.
//!
//! The service beside the generated one: its answer is a body of our own, [`Session`], which puts
//! events that were encoded once for all streams behind heads of its own. Requests, the head of the
//! answer and statuses stay the library's. What ends a stream that asked for a leader, when there is
//! none, is not here but in [`layers`](crate::api::layers).

mod bell;
mod frames;
mod session;
#[cfg(test)]
mod tests;

use std::{
    convert::Infallible,
    future::{Future, ready},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use axum::http::{Request, Response};
use hyper::body::Body as HttpBody;
use tonic::{Streaming, body::Body, server::NamedService};
use tower::{BoxError, Service};

use crate::{
    api::{Config, header::without_revision, raw, status},
    node::Handle,
    proto::etcdserverpb::{ResponseHeader, WatchRequest, watch_server},
    types::Millis,
    watch::Hub,
};

use self::session::Session;

/// The shortest interval between two progress notifications.
const PROGRESS_INTERVAL_MIN: Millis = Millis(100);

/// Where the streams of a member get what they show.
pub trait Source: Clone + Send + Sync + Unpin + 'static {
    /// The hub of their watchers.
    fn hub(&self) -> &Arc<Hub>;

    /// The header of what they say now, but for the revision.
    fn header(&self) -> ResponseHeader;

    /// Returns when the member stops.
    fn stopped(&self) -> impl Future<Output = ()> + Send + 'static;
}

impl Source for Handle {
    fn hub(&self) -> &Arc<Hub> {
        self.watch_hub()
    }

    fn header(&self) -> ResponseHeader {
        without_revision(self)
    }

    fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        let node = self.clone();
        async move {
            Handle::stopped(&node).await;
        }
    }
}

/// The service.
#[derive(Clone, Debug)]
pub struct Watches<S = Handle> {
    source: S,
    config: Config,
    /// Counts the streams, to spread their tickers.
    opened: Arc<AtomicU64>,
}

impl<S: Source> Watches<S> {
    /// The service of this member.
    #[must_use]
    pub fn new(source: S, config: Config) -> Self {
        Self { source, config, opened: Arc::default() }
    }

    fn open(self, requests: Streaming<WatchRequest>) -> Body {
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        let tick_period = ticker_period(self.config.progress_interval, number);
        let message_bytes_max = self.config.message_bytes_max();
        Body::new(Session::new(self.source, requests, tick_period, message_bytes_max))
    }
}

impl<S> NamedService for Watches<S> {
    const NAME: &'static str = watch_server::SERVICE_NAME;
}

impl<S, B> Service<Request<B>> for Watches<S>
where
    S: Source,
    B: HttpBody + Send + 'static,
    B::Error: Into<BoxError> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match request.uri().path() {
            "/etcdserverpb.Watch/Watch" => {
                let service = self.clone();
                Box::pin(async move {
                    let bytes_max = service.config.message_bytes_max();
                    Ok(raw::streaming(request, bytes_max, |requests| service.open(requests)).await)
                })
            }
            path => Box::pin(ready(Ok(status::unknown_method(path).into_http()))),
        }
    }
}

/// The interval and up to a tenth of it more, so that streams which were opened together do not
/// tick together.
fn ticker_period(interval: Millis, stream: u64) -> Millis {
    /// The fraction of the golden ratio, in 64 bits: its multiples spread evenly.
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    let interval = interval.max(PROGRESS_INTERVAL_MIN);
    let share = stream.wrapping_mul(SPREAD) >> 32;
    let span = (u128::from(interval.0 / 10) * u128::from(share)) >> 32;
    interval + Millis(u64::try_from(span).unwrap_or(0))
}
