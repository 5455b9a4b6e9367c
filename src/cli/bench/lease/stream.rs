//! One keep-alive stream of a client that spends as little as it can.
//!
//! Requests are sent without waiting for the answers to those before them, up to a window. Answers
//! come in the order of the requests, and each is held against its own.

use std::collections::VecDeque;

use bytes::BytesMut;
use futures_util::FutureExt;
use tokio::time::Instant;
use tonic::transport::Channel;

use crate::{
    cli::{
        Error,
        bench::{
            grpc::RawStream,
            wire::{Field, Fields, Malformed, put_message},
        },
    },
    proto::etcdserverpb::LeaseKeepAliveRequest,
};

const METHOD: &str = "/etcdserverpb.Lease/LeaseKeepAlive";
// Fields of `LeaseKeepAliveResponse`.
const ID: u64 = 2;
const TTL: u64 = 3;

/// A lease, and its number in this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) number: u64,
    pub(super) id: i64,
}

/// A renewal that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) lease: Lease,
    pub(super) sent: Instant,
    pub(super) answered: Instant,
    /// Whether the lease was still there.
    pub(super) alive: bool,
}

/// How requests are sent on a stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sending {
    /// So many are on their way at most.
    pub(super) window: usize,
    /// Whether each has a frame of its own, instead of one for all that are sent at once.
    pub(super) apart: bool,
}

impl Sending {
    /// So many at a time, in as few frames as possible.
    pub(super) fn together(window: usize) -> Self {
        Self { window, apart: false }
    }
}

/// A stream, and what is on its way.
pub(super) struct KeepAlive {
    stream: RawStream,
    window: Window,
    apart: bool,
}

impl KeepAlive {
    /// Opens a stream by renewing this lease.
    pub(super) async fn open(
        channel: Channel,
        sending: Sending,
        first: Lease,
    ) -> Result<Self, Error> {
        let mut window = Window::new(sending.window);
        let mut requests = BytesMut::new();
        window.renew(&mut requests, first, Instant::now());
        // As many chunks may wait as requests are on their way, so that sending never waits.
        let chunks_max = sending.window.max(1);
        let stream = RawStream::open(channel, METHOD, requests.freeze(), chunks_max).await?;
        Ok(Self { stream, window, apart: sending.apart })
    }

    /// Requests without an answer.
    pub(super) fn outstanding(&self) -> usize {
        self.window.sent.len()
    }

    /// How many more may be sent now.
    pub(super) fn room(&self) -> usize {
        self.window.size.saturating_sub(self.outstanding())
    }

    /// Renews these leases, as far as there is room for them.
    pub(super) async fn renew(&mut self, leases: impl Iterator<Item = Lease>) -> Result<(), Error> {
        let (mut requests, now) = (BytesMut::new(), Instant::now());
        for lease in leases.take(self.room()) {
            self.window.renew(&mut requests, lease, now);
            if self.apart {
                self.stream.send(requests.split().freeze()).await?;
            }
        }
        if requests.is_empty() {
            return Ok(());
        }
        self.stream.send(requests.freeze()).await
    }

    /// Waits for answers, and shows all that have arrived. Nothing is lost when it is dropped while
    /// it waits.
    pub(super) async fn receive(&mut self, mut each: impl FnMut(Answer)) -> Result<(), Error> {
        self.receive_chunk(&mut each).await?;
        while self.outstanding() > 0 {
            match self.receive_chunk(&mut each).now_or_never() {
                Some(received) => received?,
                None => break,
            }
        }
        Ok(())
    }

    async fn receive_chunk(&mut self, each: &mut impl FnMut(Answer)) -> Result<(), Error> {
        let (window, mut unexpected, mut now) = (&mut self.window, None, None);
        let take = |message: &[u8]| {
            let told = Told::read(message)?;
            match window.answer(told, *now.get_or_insert_with(Instant::now)) {
                Ok(answer) => each(answer),
                Err(reason) => unexpected = Some(reason),
            }
            Ok(())
        };
        self.stream.receive(take).await?;
        unexpected.map_or(Ok(()), |reason| Err(Error::failed(reason)))
    }
}

/// Renews each of these leases once; returns the answers in their order.
pub(super) async fn renew_once(
    channel: Channel,
    sending: Sending,
    leases: Vec<Lease>,
) -> Result<Vec<Answer>, Error> {
    let mut answers = Vec::with_capacity(leases.len());
    let mut leases = leases.into_iter();
    let Some(first) = leases.next() else { return Ok(answers) };
    let mut stream = KeepAlive::open(channel, sending, first).await?;
    loop {
        let room = stream.room();
        stream.renew(leases.by_ref().take(room)).await?;
        if stream.outstanding() == 0 {
            return Ok(answers);
        }
        stream.receive(|answer| answers.push(answer)).await?;
    }
}

/// The renewals on their way.
#[derive(Debug)]
struct Window {
    size: usize,
    sent: VecDeque<(Lease, Instant)>,
}

impl Window {
    fn new(size: usize) -> Self {
        Self { size, sent: VecDeque::new() }
    }

    fn renew(&mut self, requests: &mut BytesMut, lease: Lease, now: Instant) {
        put_message(requests, &LeaseKeepAliveRequest { id: lease.id });
        self.sent.push_back((lease, now));
    }

    /// Matches an answer with the oldest request.
    fn answer(&mut self, told: Told, answered: Instant) -> Result<Answer, String> {
        let (lease, sent) =
            self.sent.pop_front().ok_or("a renewal was answered that nobody asked for")?;
        if told.id != lease.id {
            return Err(format!("lease {:x} was answered in place of {:x}", told.id, lease.id));
        }
        Ok(Answer { lease, sent, answered, alive: told.ttl > 0 })
    }
}

/// What an answer says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Told {
    id: i64,
    ttl: i64,
}

impl Told {
    fn read(message: &[u8]) -> Result<Self, Malformed> {
        let mut told = Self::default();
        let mut fields = Fields(message);
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (ID, Field::Number(number)) => told.id = number.cast_signed(),
                (TTL, Field::Number(number)) => told.ttl = number.cast_signed(),
                (_, Field::Number(_) | Field::Bytes(_)) => {}
            }
        }
        Ok(told)
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::proto::etcdserverpb::{LeaseKeepAliveResponse, ResponseHeader};

    const LEASES: [Lease; 2] = [Lease { number: 0, id: 7 }, Lease { number: 1, id: -1 }];

    fn told(id: i64, ttl: i64) -> Told {
        let header = ResponseHeader { revision: 300, member_id: u64::MAX, ..Default::default() };
        let response = LeaseKeepAliveResponse { header: Some(header), id, ttl };
        Told::read(&response.encode_to_vec()).unwrap()
    }

    fn window() -> Window {
        let mut window = Window::new(2);
        let now = Instant::now();
        LEASES.iter().for_each(|lease| window.renew(&mut BytesMut::new(), *lease, now));
        window
    }

    /// Answers belong to the requests in their order, and say whether the lease is alive.
    #[test]
    fn answers_follow_the_requests() {
        let (mut window, now) = (window(), Instant::now());

        let answers = [told(7, 60), told(-1, 0)].map(|told| window.answer(told, now).unwrap());

        assert_eq!(answers.map(|answer| answer.lease), LEASES);
        assert_eq!(answers.map(|answer| answer.alive), [true, false]);
        assert!(window.answer(told(7, 60), now).is_err(), "nothing is on its way");
    }

    /// An answer to another request than the oldest is none.
    #[test]
    fn answers_out_of_order_are_refused() {
        let refused = window().answer(told(-1, 60), Instant::now()).unwrap_err();

        assert_eq!(refused, "lease ffffffffffffffff was answered in place of 7");
    }
}
