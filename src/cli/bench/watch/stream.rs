//! One watch stream of a client that spends as little as it can.

use bytes::{Bytes, BytesMut};
use tonic::transport::Channel;

use super::wire::{deleted_key, value_of, walk};
use crate::{
    cli::{
        Error,
        bench::{
            grpc::RawStream,
            wire::{Malformed, put_message},
        },
    },
    proto::etcdserverpb::{WatchCreateRequest, WatchRequest, watch_request::RequestUnion},
};

const METHOD: &str = "/etcdserverpb.Watch/Watch";
/// Chunks of requests that wait for the connection; each is answered before the next is sent.
const REQUESTS_MAX: usize = 1;

/// A stream whose first watchers are registered.
pub(in crate::cli::bench) struct OpenStream(RawStream);

/// What has arrived in one chunk.
#[derive(Debug, Default)]
pub(in crate::cli::bench) struct Received {
    /// Watchers that were registered.
    pub(in crate::cli::bench) created: usize,
    /// Events of all watchers.
    pub(in crate::cli::bench) events: u64,
}

impl OpenStream {
    /// Opens a stream and asks for these watchers. Nothing is received yet.
    pub(in crate::cli::bench) async fn start(
        channel: Channel,
        watchers: impl IntoIterator<Item = WatchCreateRequest>,
    ) -> Result<Self, Error> {
        RawStream::open(channel, METHOD, encode(watchers), REQUESTS_MAX).await.map(Self)
    }

    /// The same, and waits until all of these watchers are registered. Events that come between are
    /// dropped.
    pub(in crate::cli::bench) async fn open(
        channel: Channel,
        watchers: Vec<WatchCreateRequest>,
    ) -> Result<Self, Error> {
        let count = watchers.len();
        let mut stream = Self::start(channel, watchers).await?;
        stream.registered(count).await?;
        Ok(stream)
    }

    /// Registers further watchers.
    pub(in crate::cli::bench) async fn add(
        &mut self,
        watchers: Vec<WatchCreateRequest>,
    ) -> Result<(), Error> {
        let count = watchers.len();
        self.0.send(encode(watchers)).await?;
        self.registered(count).await
    }

    async fn registered(&mut self, mut missing: usize) -> Result<(), Error> {
        while missing > 0 {
            missing = missing.saturating_sub(self.receive(|_| {}).await?.created);
        }
        Ok(())
    }

    /// Waits for the next chunk, and shows the value of each event in it.
    pub(in crate::cli::bench) async fn receive(
        &mut self,
        mut value: impl FnMut(&[u8]),
    ) -> Result<Received, Error> {
        self.receive_events(|event| value_of(event).map(&mut value)).await
    }

    /// Waits for the next chunk, and shows the key of each DELETE in it.
    pub(in crate::cli::bench) async fn receive_deletions(
        &mut self,
        mut key: impl FnMut(&[u8]),
    ) -> Result<Received, Error> {
        self.receive_events(|event| {
            deleted_key(event).map(|deleted| deleted.into_iter().for_each(&mut key))
        })
        .await
    }

    async fn receive_events(
        &mut self,
        mut event: impl FnMut(&[u8]) -> Result<(), Malformed>,
    ) -> Result<Received, Error> {
        let (mut received, mut canceled) = (Received::default(), None);
        let each = |message: &[u8]| {
            let head = walk(message, |bytes| {
                received.events += 1;
                event(bytes)
            })?;
            received.created += usize::from(head.created);
            if head.canceled {
                canceled = Some(head.reason);
            }
            Ok(())
        };
        self.0.receive(each).await?;
        match canceled {
            None => Ok(received),
            Some(reason) => Err(Error::failed(format!("a watch was canceled: {reason}"))),
        }
    }
}

/// Requests as the bytes of a stream.
fn encode(watchers: impl IntoIterator<Item = WatchCreateRequest>) -> Bytes {
    let mut bytes = BytesMut::new();
    for create in watchers {
        let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        put_message(&mut bytes, &request);
    }
    bytes.freeze()
}
