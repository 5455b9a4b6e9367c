//! `LeaseKeepAlive` of `etcdserverpb.Lease`, which answers with bytes.
//!
//! A stream takes all requests that have come, has their leases renewed as one batch, and sends the
//! answers as one piece; a lease that cannot be answered for yet holds up those after it. It reads no further meanwhile, so that what comes is the next batch, and a
//! client that does not read its answers is not read from. There is no task behind a stream and no
//! queue: the connection polls it when there is room.

use std::{
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::http::{HeaderMap, Request};
use bytes::{BufMut, Bytes};
use futures_util::{Stream, StreamExt, future::BoxFuture};
use hyper::body::{Body as HttpBody, Frame};
use prost::Message;
use tonic::{Status, body::Body};
use tower::BoxError;

use super::LeaseService;
use crate::{
    api::{
        convert::lease::kept_alive,
        header::header,
        raw::{self, PREFIX_BYTES},
        status,
        unary::{self, Answer, Answering},
    },
    node::{Error, Handle, KeptAlive},
    proto::etcdserverpb::{
        LeaseKeepAliveRequest, LeaseKeepAliveResponse, ResponseHeader,
        lease_server::{Lease, LeaseServer},
    },
    types::{LeaseId, limits::RENEWALS_PER_BATCH_MAX},
};

/// The room that a stream keeps between two batches, in leases: most have one.
const BATCH_KEPT: usize = 16;

/// The whole lease service: answers streams of renewals, and hands all other calls on.
#[derive(Clone, Debug)]
pub struct KeepAlives {
    node: Handle,
    message_bytes_max: usize,
    leases: Arc<LeaseService>,
    others: LeaseServer<LeaseService>,
}

impl KeepAlives {
    /// The service of this member, with `leases` for all that is not a renewal; `others` is it as
    /// the library serves it.
    #[must_use]
    pub fn new(
        node: Handle,
        message_bytes_max: usize,
        leases: Arc<LeaseService>,
        others: LeaseServer<LeaseService>,
    ) -> Self {
        Self { node, message_bytes_max, leases, others }
    }

    /// Answers a call of the service.
    pub(in crate::api) fn call<B>(&self, request: Request<B>) -> Answering
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError> + Send + 'static,
    {
        let (leases, bytes_max) = (Arc::clone(&self.leases), self.message_bytes_max);
        match request.uri().path() {
            "/etcdserverpb.Lease/LeaseKeepAlive" => {
                let node = self.node.clone();
                Box::pin(async move {
                    let open = |requests| Body::new(Session::new(node, requests));
                    let response = raw::streaming(request, bytes_max, open).await;
                    Ok(response.map(Answer::of_library))
                })
            }
            "/etcdserverpb.Lease/LeaseGrant" => {
                let method = async move |grant| leases.lease_grant(grant).await;
                unary::call(request, bytes_max, self.others.clone(), method)
            }
            "/etcdserverpb.Lease/LeaseRevoke" => {
                let method = async move |revoke| leases.lease_revoke(revoke).await;
                unary::call(request, bytes_max, self.others.clone(), method)
            }
            _ => unary::by_library(self.others.clone(), request),
        }
    }
}

/// Who renews the leases of a stream.
trait Renews: Send + Unpin {
    /// What comes of a batch.
    type Renewing: Future<Output = Result<Vec<KeptAlive>, Error>> + Send + Unpin;

    fn renew(&self, batch: Vec<KeptAlive>) -> Self::Renewing;

    /// The header of what is said now.
    fn header(&self) -> ResponseHeader;

    /// Returns when the member stops.
    fn stopped(&self) -> BoxFuture<'static, ()>;
}

impl Renews for Handle {
    type Renewing = crate::node::Renewing;

    fn renew(&self, batch: Vec<KeptAlive>) -> Self::Renewing {
        Handle::renew(self, batch)
    }

    fn header(&self) -> ResponseHeader {
        header(self, self.revision())
    }

    fn stopped(&self) -> BoxFuture<'static, ()> {
        let node = self.clone();
        Box::pin(async move { drop(Handle::stopped(&node).await) })
    }
}

/// One stream, with `R` for what its client sends.
struct Session<N: Renews, R> {
    node: N,
    requests: R,
    stopped: BoxFuture<'static, ()>,
    /// The leases that were asked for and are not being renewed yet.
    batch: Vec<KeptAlive>,
    /// How the stream ends once what was asked for is answered: the client asks for no more, or has
    /// sent what is no request.
    end: Option<Status>,
    course: Course<N::Renewing>,
}

enum Course<F> {
    /// Waits for requests.
    Reads,
    /// Waits for what comes of a batch. The header is from before: its revision must not be above
    /// one at which a lease of the batch ends.
    Renews(F, ResponseHeader),
    /// Nothing is left but the trailers.
    Ends(Status),
    Over,
}

impl<N, R> Session<N, R>
where
    N: Renews,
    R: Stream<Item = Result<LeaseKeepAliveRequest, Status>> + Unpin,
{
    fn new(node: N, requests: R) -> Self {
        let stopped = node.stopped();
        Self { node, requests, stopped, batch: Vec::new(), end: None, course: Course::Reads }
    }

    /// Takes the requests that have come.
    fn take_requests(&mut self, context: &mut Context<'_>) {
        while self.end.is_none() && self.batch.len() < RENEWALS_PER_BATCH_MAX {
            match self.requests.poll_next_unpin(context) {
                Poll::Ready(Some(Ok(LeaseKeepAliveRequest { id }))) => {
                    self.batch.push(KeptAlive::new(LeaseId(id)));
                }
                Poll::Ready(Some(Err(status))) => self.end = Some(status),
                Poll::Ready(None) => self.end = Some(Status::ok("")),
                Poll::Pending => return,
            }
        }
    }

    /// What to do with the requests that were taken.
    fn next_course(&mut self, context: &mut Context<'_>) -> Poll<Course<N::Renewing>> {
        if !self.batch.is_empty() {
            let header = self.node.header();
            let batch = mem::take(&mut self.batch);
            return Poll::Ready(Course::Renews(self.node.renew(batch), header));
        }
        if let Some(status) = self.end.take() {
            return Poll::Ready(Course::Ends(status));
        }
        ready!(self.stopped.as_mut().poll(context));
        Poll::Ready(Course::Ends(status::of_node(Error::Stopped)))
    }

    /// Goes back to reading, with the room that a small batch has taken. What is not answered yet is
    /// asked for again, before what comes.
    fn read_on(&mut self, mut batch: Vec<KeptAlive>, answered: usize) {
        batch.drain(..answered);
        batch.iter_mut().for_each(|kept| *kept = KeptAlive::new(kept.lease));
        batch.shrink_to(BATCH_KEPT);
        self.batch = batch;
        self.course = Course::Reads;
    }
}

impl<N, R> HttpBody for Session<N, R>
where
    N: Renews,
    R: Stream<Item = Result<LeaseKeepAliveRequest, Status>> + Unpin,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        loop {
            match &mut this.course {
                Course::Reads => {
                    this.take_requests(context);
                    this.course = ready!(this.next_course(context));
                }
                Course::Renews(renewing, header) => {
                    match ready!(Pin::new(renewing).poll(context)) {
                        Ok(batch) => {
                            let answered = batch.iter().take_while(|kept| !kept.is_open());
                            let count = answered.clone().count();
                            let answers = encode(*header, answered);
                            this.read_on(batch, count);
                            return Poll::Ready(Some(Ok(Frame::data(answers))));
                        }
                        Err(error) => this.course = Course::Ends(status::of_node(error)),
                    }
                }
                Course::Ends(status) => {
                    let mut trailers = HeaderMap::new();
                    status.add_header(&mut trailers)?;
                    this.course = Course::Over;
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Course::Over => return Poll::Ready(None),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.course, Course::Over)
    }
}

/// Answers, one gRPC message for each lease. They share the header, which is encoded once.
fn encode<'a>(
    header: ResponseHeader,
    answered: impl Iterator<Item = &'a KeptAlive> + Clone,
) -> Bytes {
    let head = LeaseKeepAliveResponse { header: Some(header), id: 0, ttl: 0 }.encode_to_vec();
    let answers = answered.map(|kept| kept_alive(None, kept));
    let len: usize =
        answers.clone().map(|answer| PREFIX_BYTES + head.len() + answer.encoded_len()).sum();
    let mut bytes = Vec::with_capacity(len);
    for answer in answers {
        let len = head.len() + answer.encoded_len();
        bytes.put_u8(0); // not compressed
        bytes.put_u32(u32::try_from(len).expect("a few numbers are short"));
        bytes.put_slice(&head);
        answer.encode(&mut bytes).expect("a vector grows as needed");
    }
    bytes.into()
}

#[cfg(test)]
#[path = "keep_alive_tests.rs"]
mod tests;
