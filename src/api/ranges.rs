//! `Range` and `RangeStream` of `etcdserverpb.KV`, which answer with bytes; the other methods of the
//! service are in [`kv`](crate::api::kv).

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::http::{Request, Response};
use hyper::body::Body as HttpBody;
use tonic::{Status, body::Body, server::NamedService};
use tower::{BoxError, Service};

use crate::{
    api::{
        Config, convert,
        header::header,
        kv::KvService,
        range_answer::{Answer, Rest},
        range_stream, raw, status,
    },
    node::Handle,
    proto::etcdserverpb::{RangeRequest, kv_server::KvServer},
    telemetry::Metrics,
    types::KeyRange,
};

/// The whole KV service: answers reads of ranges, and hands all other calls on.
#[derive(Clone, Debug)]
pub struct Ranges {
    reader: Reader,
    others: KvServer<KvService>,
}

impl Ranges {
    /// The service of this member, with `others` for all that is not a read of a range.
    #[must_use]
    pub fn new(
        node: Handle,
        metrics: Arc<Metrics>,
        config: Config,
        others: KvServer<KvService>,
    ) -> Self {
        Self { reader: Reader { node, metrics, config }, others }
    }
}

impl NamedService for Ranges {
    const NAME: &'static str = <KvServer<KvService> as NamedService>::NAME;
}

impl<B> Service<Request<B>> for Ranges
where
    B: HttpBody + Send + 'static,
    B::Error: Into<BoxError> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<B>>::poll_ready(&mut self.others, context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match request.uri().path() {
            "/etcdserverpb.KV/Range" => {
                let reader = self.reader.clone();
                Box::pin(async move {
                    let bytes_max = reader.config.message_bytes_max();
                    Ok(raw::call(request, bytes_max, |request| reader.range(request)).await)
                })
            }
            "/etcdserverpb.KV/RangeStream" => {
                let reader = self.reader.clone();
                Box::pin(async move {
                    let bytes_max = reader.config.message_bytes_max();
                    Ok(raw::call(request, bytes_max, |request| reader.range_stream(request)).await)
                })
            }
            _ => self.others.call(request),
        }
    }
}

#[derive(Clone, Debug)]
struct Reader {
    node: Handle,
    metrics: Arc<Metrics>,
    config: Config,
}

impl Reader {
    async fn range(&self, request: RangeRequest) -> Result<Body, Status> {
        let serializable = request.serializable;
        let range = convert::kv::range(request).map_err(status::of_invalid)?;

        self.metrics.ranges.inc();
        let new = match range.range {
            KeyRange::One(_) => Answer::of_one,
            KeyRange::HalfOpen(..) | KeyRange::From(_) => Answer::of_many,
        };
        let listing = self.node.list(range, serializable, new).await.map_err(status::of_request)?;
        let header = header(&self.node, listing.revision);
        let rest = Rest { header, more: listing.more, count: listing.count };
        let message = listing.sink.whole(rest)?;
        Ok(raw::one(raw::Message { slot: listing.slot, ..message }))
    }

    async fn range_stream(&self, request: RangeRequest) -> Result<Body, Status> {
        let serializable = request.serializable;
        let range = convert::kv::range_stream(request).map_err(status::of_invalid)?;

        self.metrics.ranges.inc();
        let chunk_bytes = self.config.request_bytes_max;
        Ok(raw::many(range_stream::chunks(self.node.clone(), range, serializable, chunk_bytes)))
    }
}
