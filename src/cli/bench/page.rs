//! A long list page by page, all pages at the revision of the first, while others write.
//!
//! Reader and writers go in step, so that the writes are spread over all pages whatever each costs:
//! while a page is read, its share of the writes is under way. What is compared is the latency of
//! the first and the last pages: a store that answers old revisions by walking what came later
//! becomes slower from page to page.
//!
//! The pages are checked: keys ascend, and counts are those of the first page's revision.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use clap::Args;
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::{Instant, timeout},
};
use tonic::{Status, transport::Channel};

use super::{
    Meter,
    keys::{KeyArgs, Keys},
    report::{Detail, Report, Tally},
};
use crate::{
    cli::{Client, Error, client::RESPONSE_BYTES_MAX, range::end_of_prefix},
    proto::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest, kv_client::KvClient},
};

/// Of four writes one deletes, one creates, and two update.
const KINDS: u64 = 4;

/// The arguments of this benchmark alone.
#[derive(Args, Clone, Debug)]
pub(in crate::cli) struct PageArgs {
    /// Keys of a page
    #[arg(long, value_name = "COUNT", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    page_size: u32,
    /// Writes meanwhile, each with a revision of its own: updates, creations and deletions
    #[arg(long, value_name = "COUNT", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=100_000_000))]
    writes: u32,
    /// Clients that write
    #[arg(long, value_name = "COUNT", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    writers: u32,
    /// Report as JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) async fn run(page: &PageArgs, keys: &KeyArgs, client: &Client) -> Result<Report, Error> {
    let keys = Arc::new(Keys::new(keys)?);
    let writes = u64::from(page.writes);
    if keys.count() < writes / KINDS {
        return Err(Error::input(format!(
            "{writes} writes delete more than {} keys",
            keys.count()
        )));
    }
    let connect = || client.connect(0);
    let mut reader = Reader::new(connect().await?, keys.prefix(), page.page_size, client.timeout());
    let channel = connect().await?;
    let meter = Meter::start();
    let start = Instant::now();

    reader.page().await?;
    let mut tally = Tally::new();
    let mut pages = Steps {
        writes,
        pages: reader.count.div_ceil(u64::from(page.page_size)),
        granted: 0,
        finished: 0,
    };
    // At most one page's share is granted and not yet taken note of.
    let share = usize::try_from(pages.share_max()).map_err(Error::input)?;
    let (done, mut outcomes) = mpsc::channel(share.max(1));
    let (turns, numbers) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicU64::new(0)));
    let mut writers = JoinSet::new();
    for _ in 0..page.writers {
        let writer = Writer {
            kv: KvClient::new(channel.clone()),
            keys: Arc::clone(&keys),
            done: done.clone(),
            limit: client.timeout(),
        };
        writers.spawn(write(writer, Arc::clone(&turns), Arc::clone(&numbers)));
    }
    drop(done);
    while reader.more {
        pages.advance(reader.latencies.len() as u64, &turns, &mut outcomes, &mut tally).await;
        reader.page().await?;
    }
    pages.settle(&mut outcomes, &mut tally).await;
    turns.close();
    while writers.join_next().await.is_some() {}
    let elapsed = start.elapsed();
    let newest = reader.newest_revision().await?;
    for latency in &reader.latencies {
        tally.latencies.record(*latency);
    }
    let tenth = reader.latencies.len().div_ceil(10);
    let (firsts, lasts) =
        (reader.latencies.iter().take(tenth), reader.latencies.iter().rev().take(tenth));
    let clients = usize::try_from(page.writers).map_err(Error::input)? + 1;
    Ok(meter
        .report("page", (clients, 2), elapsed, tally)
        .with("first p50", Detail::Latency(median(firsts)))
        .with("last p50", Detail::Latency(median(lasts)))
        .with("keys", Detail::Count(reader.seen))
        .with("written", Detail::Count(newest.saturating_sub(reader.revision))))
}

/// Which writes may start, and which have ended.
struct Steps {
    writes: u64,
    pages: u64,
    granted: u64,
    finished: u64,
}

impl Steps {
    /// No page has a larger share of the writes.
    fn share_max(&self) -> u64 {
        self.writes.div_ceil(self.last_page())
    }

    /// The first page comes before all writes, and the last one sees them all granted.
    fn last_page(&self) -> u64 {
        self.pages.saturating_sub(1).max(1)
    }

    /// Waits until all writes of the page before are done, and grants those of this one.
    async fn advance(
        &mut self,
        page: u64,
        turns: &Semaphore,
        outcomes: &mut Outcomes,
        tally: &mut Tally,
    ) {
        self.settle(outcomes, tally).await;
        let last = self.last_page();
        let share = u128::from(self.writes) * u128::from(page.min(last)) / u128::from(last);
        let share = u64::try_from(share).expect("a share is no more than the whole");
        let more = share.saturating_sub(self.granted);
        turns.add_permits(usize::try_from(more).expect("a share of the writes fits in memory"));
        self.granted += more;
    }

    /// Waits until every write that was granted has ended.
    async fn settle(&mut self, outcomes: &mut Outcomes, tally: &mut Tally) {
        while self.finished < self.granted {
            match outcomes.recv().await {
                Some(Ok(())) => {}
                Some(Err(status)) => tally.error(status.message()),
                None => return tally.error("the writers ended early"),
            }
            self.finished += 1;
        }
    }
}

type Outcomes = mpsc::Receiver<Result<(), Status>>;

/// Reads the pages.
struct Reader {
    kv: KvClient<Channel>,
    /// The next page.
    request: RangeRequest,
    limit: Duration,
    /// The revision of the first page, and so of all.
    revision: u64,
    /// Keys in the list, by the first page, and keys seen.
    count: u64,
    seen: u64,
    more: bool,
    latencies: Vec<Duration>,
}

impl Reader {
    fn new(channel: Channel, prefix: &str, page_size: u32, limit: Duration) -> Self {
        let key = Bytes::copy_from_slice(prefix.as_bytes());
        let request = RangeRequest {
            range_end: end_of_prefix(&key),
            key,
            limit: i64::from(page_size),
            ..RangeRequest::default()
        };
        let kv = KvClient::new(channel).max_decoding_message_size(RESPONSE_BYTES_MAX);
        Self {
            kv,
            request,
            limit,
            revision: 0,
            count: 0,
            seen: 0,
            more: true,
            latencies: Vec::new(),
        }
    }

    /// Reads and checks the next page.
    async fn page(&mut self) -> Result<(), Error> {
        let start = Instant::now();
        let answer = timeout(self.limit, self.kv.range(self.request.clone())).await;
        self.latencies.push(start.elapsed());
        let page = answer.map_err(|_| Error::failed("a page did not come in time"))??.into_inner();
        let count = u64::try_from(page.count).unwrap_or_default();
        if self.request.revision == 0 {
            let revision = page.header.as_ref().map_or(0, |header| header.revision);
            self.request.revision = revision;
            self.revision = u64::try_from(revision).unwrap_or_default();
            self.count = count;
        }
        let left = self.count.saturating_sub(self.seen);
        if count != left {
            return Err(Error::failed(format!("a page counts {count} keys where {left} are left")));
        }
        let mut previous: &[u8] = &self.request.key;
        // The first key of a page may be what was asked for; all others are behind their neighbour.
        for (place, pair) in page.kvs.iter().enumerate() {
            if (place > 0 && *pair.key <= *previous) || *pair.key < *previous {
                return Err(Error::failed("the keys of a page are out of order"));
            }
            previous = &pair.key;
        }
        let mut next = previous.to_vec();
        next.push(0);
        self.request.key = next.into();
        self.seen += page.kvs.len() as u64;
        self.more = page.more;
        if !page.more && self.seen != self.count {
            return Err(Error::failed(format!("{} keys were listed of {}", self.seen, self.count)));
        }
        Ok(())
    }

    async fn newest_revision(&mut self) -> Result<u64, Error> {
        let request = RangeRequest { revision: 0, count_only: true, ..self.request.clone() };
        let answer = self.kv.range(request).await?.into_inner();
        let revision = answer.header.map_or(0, |header| header.revision);
        Ok(u64::try_from(revision).unwrap_or_default())
    }
}

/// One client that writes.
struct Writer {
    kv: KvClient<Channel>,
    keys: Arc<Keys>,
    done: mpsc::Sender<Result<(), Status>>,
    limit: Duration,
}

/// Writes whenever there is a turn, until there are no more.
async fn write(mut writer: Writer, turns: Arc<Semaphore>, numbers: Arc<AtomicU64>) {
    while let Ok(turn) = turns.acquire().await {
        turn.forget();
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        let outcome = match timeout(writer.limit, writer.perform(number)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Status::deadline_exceeded("no answer in time")),
        };
        if writer.done.send(outcome).await.is_err() {
            return;
        }
    }
}

impl Writer {
    /// Each write changes something, so each has a revision of its own.
    async fn perform(&mut self, number: u64) -> Result<(), Status> {
        let value = self.keys.value(number);
        match number % KINDS {
            0 => {
                // No key comes up twice, so it is there whatever was written in between.
                let key = self.keys.shuffled_key(number / KINDS);
                let request = DeleteRangeRequest { key, ..DeleteRangeRequest::default() };
                match self.kv.delete_range(request).await?.into_inner().deleted {
                    1 => Ok(()),
                    deleted => Err(Status::not_found(format!("{deleted} keys were deleted"))),
                }
            }
            1 => {
                let mut key = self.keys.random_key(number).to_vec();
                key.extend_from_slice(format!("+{number}").as_bytes());
                self.put(key.into(), value).await
            }
            _ => self.put(self.keys.random_key(number), value).await,
        }
    }

    async fn put(&mut self, key: Bytes, value: Bytes) -> Result<(), Status> {
        let request = PutRequest { key, value, ..PutRequest::default() };
        self.kv.put(request).await.map(drop)
    }
}

/// The one in the middle, or zero if there is none.
fn median<'a>(latencies: impl Iterator<Item = &'a Duration>) -> Duration {
    let mut sorted: Vec<Duration> = latencies.copied().collect();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The writes are spread over the pages behind the first, and none is left out.
    #[tokio::test]
    async fn writes_are_spread_over_the_pages() {
        let (done, mut outcomes) = mpsc::channel(16);
        let turns = Semaphore::new(0);
        let mut steps = Steps { writes: 10, pages: 5, granted: 0, finished: 0 };
        let mut tally = Tally::new();
        let mut shares = Vec::new();
        for page in 1..=5 {
            steps.advance(page, &turns, &mut outcomes, &mut tally).await;
            let share = turns.available_permits();
            turns.acquire_many(u32::try_from(share).unwrap()).await.unwrap().forget();
            for _ in 0..share {
                done.try_send(Ok(())).unwrap();
            }
            shares.push(share);
        }
        assert_eq!(shares, [2, 3, 2, 3, 0]);
        assert_eq!(tally.failed(), 0);
    }

    /// A median is a value that occurred.
    #[test]
    fn the_median_is_in_the_middle() {
        let latencies = [5, 1, 9].map(Duration::from_millis);
        assert_eq!(median(latencies.iter()), Duration::from_millis(5));
        assert_eq!(median([].iter()), Duration::ZERO);
    }
}
