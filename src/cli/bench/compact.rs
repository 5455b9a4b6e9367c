//! Puts before and during a compaction: what giving up history costs those who write meanwhile.
//!
//! The same load runs twice. The second time begins with a compaction at the newest revision, and
//! goes on until the server has answered: a physical one when its storage has let go of the history,
//! another one at once, and what storage does later is seen as far as the second time reaches.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout},
};
use tonic::{Status, transport::Channel};

use super::{
    LoadArgs, Meter,
    histogram::Histogram,
    keys::{KeyArgs, Keys},
    load::{self, Put},
    over,
    pace::{Extent, Pace},
    report::{Detail, Report, Tally},
};
use crate::{
    cli::{Client, Error},
    proto::etcdserverpb::{CompactionRequest, RangeRequest, kv_client::KvClient},
};

/// No compaction may take longer.
const COMPACTION_TIMEOUT: Duration = Duration::from_secs(600);

pub(super) async fn run(
    load: &LoadArgs,
    keys: &KeyArgs,
    physical: bool,
    client: &Client,
) -> Result<Report, Error> {
    let keys = Arc::new(Keys::new(keys)?);
    let clients = load.clients(100);
    let callers = load.callers(clients, client).await?;
    let compactor = client.connect(0).await?;
    let writers = || over(clients, &callers, |caller| Put::random(caller, &keys));
    let extent = load.extent();
    if extent.rate == 0 {
        return Err(Error::input("a rate is needed: latencies under full load say nothing"));
    }

    let meter = Meter::start();
    let before = load::run(Arc::new(Pace::start(extent)), writers(), client.timeout()).await;
    let start = Instant::now();
    let compaction = tokio::spawn(timeout(COMPACTION_TIMEOUT, compact(compactor, physical)));
    let mut during = Tally::new();
    let extent = Extent { warm_up: Duration::ZERO, ..extent };
    // Once at least, so that work which the answer does not wait for is seen as well.
    loop {
        let pace = Arc::new(Pace::start(extent));
        during.merge(load::run(pace, writers(), client.timeout()).await);
        if compaction.is_finished() {
            break;
        }
    }
    let elapsed = start.elapsed();
    let compacted = answer(compaction).await?;
    for (message, count) in before.errors {
        during.count_errors(message, count);
    }
    let report = meter.report("put, compacting", (clients, callers.len()), elapsed, during);
    Ok(with_percentiles(report, &before.latencies)
        .with("compaction", Detail::Latency(compacted.took))
        .with("compacted at", Detail::Count(compacted.revision)))
}

fn with_percentiles(report: Report, before: &Histogram) -> Report {
    report
        .with("before p50", Detail::Latency(before.per_mille(500)))
        .with("before p99", Detail::Latency(before.per_mille(990)))
        .with("before p999", Detail::Latency(before.per_mille(999)))
}

/// A compaction that was answered.
struct Compacted {
    took: Duration,
    revision: u64,
}

/// Gives up all history but the newest revision; a physical compaction waits for the storage.
async fn compact(channel: Channel, physical: bool) -> Result<Compacted, Status> {
    let mut kv = KvClient::new(channel);
    let newest = RangeRequest {
        key: Bytes::from_static(b"bench/"),
        count_only: true,
        ..RangeRequest::default()
    };
    let revision = kv.range(newest).await?.into_inner().header.map_or(0, |header| header.revision);
    let start = Instant::now();
    kv.compact(CompactionRequest { revision, physical }).await?;
    Ok(Compacted { took: start.elapsed(), revision: u64::try_from(revision).unwrap_or_default() })
}

type Compaction = JoinHandle<Result<Result<Compacted, Status>, tokio::time::error::Elapsed>>;

async fn answer(compaction: Compaction) -> Result<Compacted, Error> {
    match compaction.await.map_err(Error::failed)? {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Error::failed("the compaction was not answered in time")),
    }
}
