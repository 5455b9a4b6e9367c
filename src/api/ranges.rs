//! `Range` and `RangeStream` of `etcdserverpb.KV`, which answer with bytes. The other methods are in
//! [`kv`](crate::api::kv), and most are reached from here without the library.

use std::{convert::Infallible, sync::Arc};

use axum::http::{Request, Response};
use bytes::Bytes;
use hyper::body::Body as HttpBody;
use tonic::{Status, body::Body};
use tower::BoxError;

use crate::{
    api::{
        Config, convert,
        header::header,
        kv::KvService,
        range_answer::{self, Rest},
        range_stream, raw,
        slow::SlowCalls,
        status,
        unary::{self, Answer, Answering},
    },
    node::Handle,
    proto::etcdserverpb::{
        RangeRequest,
        kv_server::{Kv, KvServer},
    },
    types::KeyRange,
};

/// The whole KV service: answers reads of ranges, and hands all other calls on.
#[derive(Clone, Debug)]
pub struct Ranges {
    reader: Reader,
    kv: Arc<KvService>,
    others: KvServer<KvService>,
}

impl Ranges {
    /// The service of this member, with `kv` for all that is not a read of a range; `others` is it
    /// as the library serves it.
    #[must_use]
    pub fn new(
        node: Handle,
        config: Config,
        slow: SlowCalls,
        kv: Arc<KvService>,
        others: KvServer<KvService>,
    ) -> Self {
        Self { reader: Reader { node, config, slow }, kv, others }
    }

    /// Answers a call of the service.
    pub(super) fn call<B>(&self, request: Request<B>) -> Answering
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError> + Send + 'static,
    {
        let (kv, bytes_max) = (Arc::clone(&self.kv), self.reader.config.message_bytes_max());
        match request.uri().path() {
            "/etcdserverpb.KV/Range" => Box::pin(self.reader.clone().answer(request)),
            "/etcdserverpb.KV/RangeStream" => {
                let reader = self.reader.clone();
                Box::pin(async move {
                    let method = |request| reader.range_stream(request);
                    Ok(raw::call(request, bytes_max, method).await.map(Answer::of_library))
                })
            }
            "/etcdserverpb.KV/Put" => {
                let method = async move |put| kv.put(put).await;
                unary::call(request, bytes_max, self.others.clone(), method)
            }
            "/etcdserverpb.KV/DeleteRange" => {
                let method = async move |delete| kv.delete_range(delete).await;
                unary::call(request, bytes_max, self.others.clone(), method)
            }
            "/etcdserverpb.KV/Txn" => {
                let method = async move |txn| kv.txn(txn).await;
                unary::call(request, bytes_max, self.others.clone(), method)
            }
            _ => unary::by_library(self.others.clone(), request),
        }
    }
}

#[derive(Clone, Debug)]
struct Reader {
    node: Handle,
    config: Config,
    slow: SlowCalls,
}

impl Reader {
    async fn answer<B>(self, request: Request<B>) -> Result<Response<Answer>, Infallible>
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError> + Send + 'static,
    {
        let bytes_max = self.config.message_bytes_max();
        match unary::take(request, bytes_max).await {
            Ok(request) => Ok(unary::respond(self.range(request.into_inner()).await)),
            Err(request) => {
                let method = async |request| self.range(request).await.map(raw::one);
                Ok(raw::call(request, bytes_max, method).await.map(Answer::of_library))
            }
        }
    }

    async fn range(&self, request: RangeRequest) -> Result<raw::Message, Status> {
        let watched = self.slow.watch(&request);
        let answer = self.range_now(request).await;
        watched.ended_with(&answer, |(message, count)| (*count, message.bytes()));
        answer.map(|(message, _)| message)
    }

    /// The answer, and how many keys the range has.
    async fn range_now(&self, request: RangeRequest) -> Result<(raw::Message, i64), Status> {
        let serializable = request.serializable;
        self.allow(serializable)?;
        let range = convert::kv::range(request).map_err(status::of_invalid)?;

        let new = match range.range {
            KeyRange::One(_) => range_answer::Answer::of_one,
            KeyRange::HalfOpen(..) | KeyRange::From(_) => range_answer::Answer::of_many,
        };
        let listing = self.node.list(range, serializable, new).await.map_err(status::of_request)?;
        let header = header(&self.node, listing.revision);
        let (more, count) = (listing.more, listing.count);
        let message = listing.sink.whole(Rest { header, more, count })?;
        Ok((raw::Message { slot: listing.slot, ..message }, count))
    }

    /// A learner answers from its own state only.
    fn allow(&self, serializable: bool) -> Result<(), Status> {
        if !serializable && self.node.is_learner() {
            return Err(status::not_supported_for_learner());
        }
        Ok(())
    }

    async fn range_stream(&self, request: RangeRequest) -> Result<Body, Status> {
        let serializable = request.serializable;
        self.allow(serializable)?;
        let range = convert::kv::range_stream(request).map_err(status::of_invalid)?;

        self.node.figures().done.ranges.inc();
        let chunk_bytes = self.config.request_bytes_max;
        Ok(raw::many(range_stream::chunks(self.node.clone(), range, serializable, chunk_bytes)))
    }
}
