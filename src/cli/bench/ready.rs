//! How long it takes until a linearizable read is served: started before a member is, it notices
//! within about a millisecond.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::Status;

use super::{
    Meter,
    report::{Detail, Report, Tally},
};
use crate::{
    cli::{Client, Error, client::RESPONSE_BYTES_MAX},
    proto::etcdserverpb::{RangeRequest, kv_client::KvClient},
};

/// The pause between attempts, which is the error of the result.
const ATTEMPT_PAUSE: Duration = Duration::from_millis(1);

pub(super) async fn run(client: &Client) -> Result<Report, Error> {
    let meter = Meter::start();
    let start = Instant::now();
    let deadline = start + client.timeout();
    let mut attempts = 1;
    loop {
        let failure = match timeout_at(deadline, attempt(client)).await {
            Ok(Ok(())) => break,
            Ok(Err(failure)) => failure,
            Err(_) => return Err(Error::failed("the read was not served in time")),
        };
        if Instant::now() + ATTEMPT_PAUSE >= deadline {
            return Err(failure);
        }
        sleep(ATTEMPT_PAUSE).await;
        attempts += 1;
    }
    let elapsed = start.elapsed();
    let mut tally = Tally::new();
    tally.latencies.record(elapsed);
    Ok(meter.report("ready", (1, 1), elapsed, tally).with("attempts", Detail::Count(attempts)))
}

async fn attempt(client: &Client) -> Result<(), Error> {
    let channel = client.connect(0).await?;
    let mut kv = KvClient::new(channel).max_decoding_message_size(RESPONSE_BYTES_MAX);
    let request =
        RangeRequest { key: Bytes::from_static(b"bench/ready"), ..RangeRequest::default() };
    let served: Result<_, Status> = kv.range(request).await;
    served?;
    Ok(())
}
