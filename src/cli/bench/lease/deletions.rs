//! When the keys of leases go, as a watcher sees it, and whether that was in time.

use std::time::Duration;

use bytes::Bytes;
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout},
};
use tonic::transport::Channel;

use super::{PREFIX, grant::number_of};
use crate::{
    cli::{
        Error,
        bench::{histogram::Histogram, watch::stream::OpenStream},
        client::RESPONSE_BYTES_MAX,
        range::end_of_prefix,
    },
    proto::etcdserverpb::{RangeRequest, WatchCreateRequest, kv_client::KvClient},
};

/// A watcher of all keys that hang on leases.
pub(super) struct Deletions(JoinHandle<Result<Vec<Instant>, Error>>);

impl Deletions {
    /// Watches until so many keys are gone, of which there must be none yet.
    pub(super) async fn watch(channel: Channel, count: usize) -> Result<Self, Error> {
        if keys_left(channel.clone()).await? > 0 {
            return Err(Error::failed(format!("there are keys under {PREFIX} already")));
        }
        let prefix = Bytes::from_static(PREFIX.as_bytes());
        let range_end = end_of_prefix(&prefix);
        let create = WatchCreateRequest { key: prefix, range_end, ..Default::default() };
        let stream = OpenStream::open(channel, vec![create]).await?;
        Ok(Self(tokio::spawn(read(stream, Seen::new(count)))))
    }

    /// When each key went, by number.
    pub(super) async fn all(mut self, limit: Duration) -> Result<Vec<Instant>, Error> {
        let Ok(joined) = timeout(limit, &mut self.0).await else {
            self.0.abort();
            return Err(Error::failed("not all keys are gone in time"));
        };
        joined.map_err(Error::failed)?
    }
}

/// How many keys hang on leases.
pub(super) async fn keys_left(channel: Channel) -> Result<i64, Error> {
    let key = Bytes::from_static(PREFIX.as_bytes());
    let range_end = end_of_prefix(&key);
    let request = RangeRequest { key, range_end, count_only: true, ..RangeRequest::default() };
    let mut kv = KvClient::new(channel).max_decoding_message_size(RESPONSE_BYTES_MAX);
    Ok(kv.range(request).await?.into_inner().count)
}

async fn read(mut stream: OpenStream, mut seen: Seen) -> Result<Vec<Instant>, Error> {
    while seen.missing > 0 {
        let mut gone = Vec::new();
        stream.receive_deletions(|key| gone.push(number_of(key))).await?;
        let now = Instant::now();
        gone.into_iter().try_for_each(|number| seen.note(number, now))?;
    }
    Ok(seen.times.into_iter().flatten().collect())
}

/// The keys that have gone so far.
struct Seen {
    times: Vec<Option<Instant>>,
    missing: usize,
}

impl Seen {
    fn new(count: usize) -> Self {
        Self { times: vec![None; count], missing: count }
    }

    fn note(&mut self, number: Option<u64>, now: Instant) -> Result<(), Error> {
        let place = number.and_then(|number| usize::try_from(number).ok());
        let time = place.and_then(|place| self.times.get_mut(place));
        let time = time.ok_or_else(|| Error::failed("a key went that hung on no lease"))?;
        if time.replace(now).is_some() {
            return Err(Error::failed("a key went twice"));
        }
        self.missing -= 1;
        Ok(())
    }
}

/// When a lease was last granted or renewed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Alive {
    /// The server has not begun to count before this.
    pub(super) sent: Instant,
    /// Nor has it begun after this.
    pub(super) answered: Instant,
}

/// How late keys went.
pub(super) struct Lateness {
    /// From the last moment at which the lease could end to the DELETE.
    pub(super) late: Histogram,
    /// Leases that ended before their time, whatever lay between the clocks.
    pub(super) early: u64,
    /// DELETEs seen while, for all that the client knew, the lease could have lived on: after the
    /// time counted from the request, but before that counted from the answer.
    pub(super) prompt: u64,
}

impl Lateness {
    /// Holds the time of each DELETE against the life of its lease.
    pub(super) fn of(lives: &[Alive], gone: &[Instant], ttl: Duration) -> Self {
        let mut found = Self { late: Histogram::new(), early: 0, prompt: 0 };
        for (alive, gone) in lives.iter().zip(gone) {
            if *gone < alive.sent + ttl {
                found.early += 1;
            } else if *gone < alive.answered + ttl {
                found.prompt += 1;
            }
            found.late.record(gone.saturating_duration_since(alive.answered + ttl));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(5);

    /// A DELETE is early, prompt or late.
    #[test]
    fn deletions_are_held_against_the_lives() {
        let millis = Duration::from_millis;
        let sent = Instant::now();
        let alive = Alive { sent, answered: sent + millis(10) };
        let gone = [4_999, 5_000, 5_009, 5_010, 5_310].map(|after| sent + millis(after));

        let found = Lateness::of(&[alive; 5], &gone, TTL);

        assert_eq!((found.early, found.prompt), (1, 2));
        assert_eq!((found.late.count(), found.late.max()), (5, millis(300)));
    }

    /// Each key goes once, and no other goes.
    #[test]
    fn every_key_goes_once() {
        let (mut seen, now) = (Seen::new(2), Instant::now());

        assert!(seen.note(Some(1), now).is_ok());
        assert!(seen.note(Some(1), now).is_err());
        assert!(seen.note(Some(2), now).is_err());
        assert!(seen.note(None, now).is_err());
        assert_eq!((seen.missing, seen.times), (1, vec![None, Some(now)]));
    }
}
