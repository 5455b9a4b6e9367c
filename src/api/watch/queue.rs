//! What a watch stream has sent and its connection has not taken yet.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_util::Stream;
use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tonic::Status;

use crate::proto::etcdserverpb::WatchResponse;

/// A queue of at most `len_max` responses, and of at most `bytes_max` bytes unless it is a single
/// one that is larger.
pub(super) fn bounded(len_max: usize, bytes_max: usize) -> (Sender, Receiver) {
    let weight_max = u32::try_from(bytes_max).unwrap_or(u32::MAX).max(1);
    let weight_min = (bytes_max / len_max.max(1)).max(1);
    let room = Arc::new(Semaphore::new(bytes_max.max(1)));
    // It has no bound of its own: each response holds its share of the room while it is in there.
    let (queue, queued) = mpsc::unbounded_channel();
    (Sender { room, queue, weight_min, weight_max }, Receiver { queued })
}

/// A response with its share of the room; the last word of a stream needs none.
type Queued = (Result<WatchResponse, Status>, Option<OwnedSemaphorePermit>);

/// The end of the stream's task.
pub(super) struct Sender {
    room: Arc<Semaphore>,
    queue: mpsc::UnboundedSender<Queued>,
    weight_min: usize,
    weight_max: u32,
}

/// Room for one response.
pub(super) struct Room(OwnedSemaphorePermit);

/// The end of the connection.
pub(super) struct Receiver {
    queued: mpsc::UnboundedReceiver<Queued>,
}

impl Sender {
    /// Waits for room for this response. It can be given up and asked for anew.
    pub(super) async fn room_for(&self, response: &WatchResponse) -> Room {
        let weight = response.encoded_len().max(self.weight_min);
        let weight = u32::try_from(weight).unwrap_or(u32::MAX).min(self.weight_max);
        let room = Arc::clone(&self.room).acquire_many_owned(weight).await;
        Room(room.expect("the semaphore is never closed"))
    }

    /// Puts a response where there is room for it. When the connection is gone so is the response.
    pub(super) fn send(&self, response: WatchResponse, room: Room) {
        let _ = self.queue.send((Ok(response), Some(room.0)));
    }

    /// Ends the stream.
    pub(super) fn end(self, status: Status) {
        let _ = self.queue.send((Err(status), None));
    }

    /// Returns when the connection is gone.
    pub(super) async fn closed(&self) {
        self.queue.closed().await;
    }
}

impl Stream for Receiver {
    type Item = Result<WatchResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let queued = ready!(self.queued.poll_recv(context));
        Poll::Ready(queued.map(|(response, _room)| response))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, StreamExt};

    use super::*;

    fn response(reason_len: usize) -> WatchResponse {
        WatchResponse { cancel_reason: "x".repeat(reason_len), ..WatchResponse::default() }
    }

    fn has_room(sender: &Sender, response: &WatchResponse) -> bool {
        sender.room_for(response).now_or_never().is_some()
    }

    /// Responses come out in order, and each gives its room back.
    #[tokio::test]
    async fn holds_a_number_of_small_responses() {
        let (sender, mut receiver) = bounded(2, 1_000);
        for len in [1, 2] {
            let response = response(len);
            let room = sender.room_for(&response).await;
            sender.send(response, room);
        }

        assert!(!has_room(&sender, &response(3)));
        assert_eq!(receiver.next().await.unwrap().unwrap(), response(1));
        assert!(has_room(&sender, &response(3)));
        assert_eq!(receiver.next().await.unwrap().unwrap(), response(2));
    }

    /// A response above the bound is let through when it is alone.
    #[tokio::test]
    async fn lets_a_large_response_through_alone() {
        let (sender, mut receiver) = bounded(10, 1_000);
        let room = sender.room_for(&response(5_000)).await;
        sender.send(response(5_000), room);

        assert!(!has_room(&sender, &response(1)));
        sender.end(Status::cancelled("end"));
        assert!(receiver.next().await.unwrap().is_ok());
        assert!(receiver.next().await.unwrap().is_err());
        assert!(receiver.next().await.is_none());
    }
}
