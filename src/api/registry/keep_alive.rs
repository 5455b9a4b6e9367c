//! Renewals of leases on a stream, as etcd's LeaseKeepAlive has them.
//!
//! All requests that have come are renewed as one batch, and answered in their order. A lease that
//! cannot be answered for yet holds up those after it.

use std::{collections::VecDeque, pin::Pin};

use futures_util::{
    Stream, StreamExt,
    stream::{self, ReadyChunks},
};
use tokio::select;
use tonic::Status;

use crate::{
    api::status,
    node::{Error, Handle, KeptAlive},
    proto::registry::{KeepAliveRequest, KeepAliveResponse},
    types::{LeaseId, limits::RENEWALS_PER_BATCH_MAX},
};

type Requests<R> = Pin<Box<ReadyChunks<R>>>;

/// The answers to a stream of renewals.
pub(super) fn answers<R>(
    node: Handle,
    requests: R,
) -> impl Stream<Item = Result<KeepAliveResponse, Status>> + Send
where
    R: Stream<Item = Result<KeepAliveRequest, Status>> + Send + 'static,
{
    let renewals = Renewals {
        node,
        requests: Box::pin(requests.ready_chunks(RENEWALS_PER_BATCH_MAX)),
        batch: Vec::new(),
        answers: VecDeque::new(),
        end: None,
    };
    stream::unfold(Some(renewals), |renewals| async move {
        let mut renewals = renewals?;
        match renewals.next().await {
            Ok(answer) => answer.map(|answer| (Ok(answer), Some(renewals))),
            Err(status) => Some((Err(status), None)),
        }
    })
}

struct Renewals<R: Stream> {
    node: Handle,
    requests: Requests<R>,
    /// The leases that were asked for and are not answered for.
    batch: Vec<KeptAlive>,
    answers: VecDeque<KeepAliveResponse>,
    /// How the stream ends once what was asked for is answered.
    end: Option<Result<(), Status>>,
}

impl<R: Stream<Item = Result<KeepAliveRequest, Status>>> Renewals<R> {
    /// The next answer, or none when the client asks for no more.
    async fn next(&mut self) -> Result<Option<KeepAliveResponse>, Status> {
        loop {
            if let Some(answer) = self.answers.pop_front() {
                return Ok(Some(answer));
            }
            if !self.batch.is_empty() {
                self.renew().await?;
                continue;
            }
            if let Some(end) = self.end.take() {
                return end.map(|()| None);
            }
            select! {
                requests = self.requests.next() => self.take(requests),
                () = self.node.retiring() => return Err(status::of_node(Error::Stopped)),
            }
        }
    }

    fn take(&mut self, requests: Option<Vec<Result<KeepAliveRequest, Status>>>) {
        let Some(requests) = requests else {
            self.end = Some(Ok(()));
            return;
        };
        for request in requests {
            match request {
                Ok(request) => self.batch.push(KeptAlive::new(LeaseId(request.lease_id))),
                Err(status) => {
                    self.end = Some(Err(status));
                    return;
                }
            }
        }
    }

    /// Renews what was asked for. What is not answered yet is asked for again.
    async fn renew(&mut self) -> Result<(), Status> {
        // From before: it must not be above one at which a lease of the batch ends.
        let revision = self.node.revision().0;
        let batch = std::mem::take(&mut self.batch);
        let batch = self.node.renew(batch).await.map_err(status::of_node)?;
        for kept in batch {
            // Nothing passes one that is still open.
            if kept.is_open() || !self.batch.is_empty() {
                self.batch.push(KeptAlive::new(kept.lease));
            } else {
                let ttl = kept.ttl().map_or(0, |ttl| ttl.0);
                self.answers.push_back(KeepAliveResponse { revision, lease_id: kept.lease.0, ttl });
            }
        }
        Ok(())
    }
}
