//! The least that a server of watches does: what is put goes to all watchers, through tonic's
//! ordinary streaming, and nothing is kept.
//!
//! It is what a store is compared with, and no store: keys are not looked at, a put has a revision
//! and no more, and a watcher that does not read holds everybody up.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::{Mutex, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, async_trait, transport::Server};

use crate::{
    cli::Error,
    proto::{
        etcdserverpb::{
            CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse,
            PutRequest, PutResponse, RangeRequest, RangeResponse, RangeStreamResponse,
            ResponseHeader, TxnRequest, TxnResponse, WatchRequest, WatchResponse,
            kv_server::{Kv, KvServer},
            watch_request::RequestUnion,
            watch_server::{Watch, WatchServer},
        },
        mvccpb::{Event, KeyValue},
    },
};

/// Responses that a stream has not taken, before a put waits for it.
const QUEUE_MAX: usize = 128;
/// Watchers of all streams together.
const WATCHERS_MAX: usize = 1_000_000;

type Outgoing<T> = ReceiverStream<Result<T, Status>>;

/// Serves until the process ends.
pub(in crate::cli::bench) async fn serve(listen: SocketAddr) -> Result<(), Error> {
    let broadcast = Arc::new(Broadcast::default());
    Server::builder()
        .tcp_nodelay(true)
        .add_service(KvServer::from_arc(Arc::clone(&broadcast)))
        .add_service(WatchServer::from_arc(broadcast))
        .serve(listen)
        .await
        .map_err(Error::failed)
}

#[derive(Default)]
struct Broadcast {
    present: Arc<Mutex<Present>>,
    watchers: Arc<AtomicUsize>,
}

/// The revision, and who is to hear of the next one.
#[derive(Default)]
struct Present {
    revision: i64,
    streams: Vec<Stream>,
}

struct Stream {
    queue: mpsc::Sender<Result<WatchResponse, Status>>,
    watch_ids: Vec<i64>,
}

impl Present {
    fn header(&self) -> Option<ResponseHeader> {
        Some(ResponseHeader {
            cluster_id: u64::MAX,
            member_id: u64::MAX,
            revision: self.revision,
            raft_term: 2,
        })
    }

    /// Sends a response to every watcher; a stream that is gone is forgotten.
    async fn send(&mut self, response: &WatchResponse) {
        let mut gone = false;
        for stream in &mut self.streams {
            for watch_id in &stream.watch_ids {
                let response = WatchResponse { watch_id: *watch_id, ..response.clone() };
                gone |= stream.queue.send(Ok(response)).await.is_err();
            }
        }
        if gone {
            self.streams.retain(|stream| !stream.queue.is_closed());
        }
    }
}

#[async_trait]
impl Watch for Broadcast {
    type WatchStream = Outgoing<WatchResponse>;

    async fn watch(
        &self,
        request: Request<Streaming<WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (queue, responses) = mpsc::channel(QUEUE_MAX);
        let (present, watchers) = (Arc::clone(&self.present), Arc::clone(&self.watchers));
        tokio::spawn(register(request.into_inner(), queue, present, watchers));
        Ok(Response::new(ReceiverStream::new(responses)))
    }
}

/// Makes watchers as they are asked for, and forgets them with their stream.
async fn register(
    mut requests: Streaming<WatchRequest>,
    queue: mpsc::Sender<Result<WatchResponse, Status>>,
    present: Arc<Mutex<Present>>,
    watchers: Arc<AtomicUsize>,
) {
    let mut created = 0_usize;
    while let Ok(Some(request)) = requests.message().await {
        let Some(RequestUnion::CreateRequest(_)) = request.request_union else { continue };
        if watchers.fetch_add(1, Ordering::Relaxed) >= WATCHERS_MAX {
            watchers.fetch_sub(1, Ordering::Relaxed);
            break;
        }
        let watch_id = i64::try_from(created).expect("watchers are bounded");
        created += 1;
        let mut present = present.lock().await;
        let header = present.header();
        let response = WatchResponse { header, watch_id, created: true, ..Default::default() };
        if queue.send(Ok(response)).await.is_err() {
            break;
        }
        match present.streams.iter_mut().find(|stream| stream.queue.same_channel(&queue)) {
            Some(stream) => stream.watch_ids.push(watch_id),
            None => {
                present.streams.push(Stream { queue: queue.clone(), watch_ids: vec![watch_id] });
            }
        }
    }
    watchers.fetch_sub(created, Ordering::Relaxed);
    present.lock().await.streams.retain(|stream| !stream.queue.same_channel(&queue));
}

#[async_trait]
impl Kv for Broadcast {
    type RangeStreamStream = Outgoing<RangeStreamResponse>;

    /// There never is a key; it is how one asks whether the server is up.
    async fn range(&self, _: Request<RangeRequest>) -> Result<Response<RangeResponse>, Status> {
        let header = self.present.lock().await.header();
        Ok(Response::new(RangeResponse { header, ..Default::default() }))
    }

    /// Answers when every stream has queued the event. There is no pair before: who asks for it gets
    /// its own back, which makes an echo of this.
    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let PutRequest { key, value, prev_kv, .. } = request.into_inner();
        let mut present = self.present.lock().await;
        present.revision += 1;
        let revision = present.revision;
        let kv = KeyValue {
            key,
            value,
            create_revision: 1,
            mod_revision: revision,
            version: revision,
            lease: 0,
        };
        let header = present.header();
        let echo = prev_kv.then(|| kv.clone());
        let events = vec![Event { kv: Some(kv), ..Event::default() }];
        present.send(&WatchResponse { header, events, ..Default::default() }).await;
        Ok(Response::new(PutResponse { header, prev_kv: echo }))
    }

    async fn range_stream(
        &self,
        _: Request<RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        Err(Status::unimplemented("nothing is kept"))
    }

    async fn delete_range(
        &self,
        _: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        Err(Status::unimplemented("nothing is kept"))
    }

    async fn txn(&self, _: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        Err(Status::unimplemented("nothing is kept"))
    }

    async fn compact(
        &self,
        _: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        Err(Status::unimplemented("nothing is kept"))
    }
}
