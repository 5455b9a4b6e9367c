//! Fills a cluster: every key of a set once or more, many puts to a transaction.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use clap::Args;
use tonic::Status;

use super::{
    LoadArgs, Meter,
    call::Caller,
    keys::{KeyArgs, Keys},
    load::{self, Operation},
    over,
    pace::{Extent, Pace, Ticket},
    report::{Detail, Report},
};
use crate::{
    cli::{Client, Error},
    proto::etcdserverpb::{PutRequest, RequestOp, TxnRequest, request_op::Request},
};

/// So many clients keep a cluster busy with large transactions.
const CLIENTS_DEFAULT: u32 = 16;

/// The arguments of this benchmark alone.
#[derive(Args, Clone, Debug)]
pub(in crate::cli) struct FillArgs {
    /// Puts in a transaction; 1 for plain puts, each with a revision of its own
    #[arg(long, value_name = "COUNT", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    txn_size: u32,
    /// How often every key is set
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Jump about between the keys instead of following their order
    #[arg(long)]
    shuffled: bool,
}

pub(super) async fn run(
    load: &LoadArgs,
    keys: &KeyArgs,
    fill: &FillArgs,
    client: &Client,
) -> Result<Report, Error> {
    let keys = Arc::new(Keys::new(keys)?);
    let puts = keys
        .count()
        .checked_mul(u64::from(fill.rounds))
        .ok_or_else(|| Error::input("keys times rounds is too many"))?;
    // No more puts than keys, because a transaction sets a key only once.
    let txn_size = u64::from(fill.txn_size).min(keys.count());
    let transactions = puts.div_ceil(txn_size);
    // All keys, unless less is asked for: no time is up by default.
    let total = Some(load.total.unwrap_or(transactions).min(transactions));
    let extent = Extent { total, duration: load.duration, ..load.extent() };
    let clients = load.clients(CLIENTS_DEFAULT);
    let callers = load.callers(clients, client).await?;
    let done = Arc::new(AtomicU64::new(0));
    let operations = over(clients, &callers, |caller| Fill {
        caller,
        keys: Arc::clone(&keys),
        shuffled: fill.shuffled,
        puts,
        txn_size,
        done: Arc::clone(&done),
    });
    let meter = Meter::start();
    let pace = Arc::new(Pace::start(extent));
    let tally = load::run(Arc::clone(&pace), operations, client.timeout()).await;
    if let Some((message, count)) = tally.errors.first_key_value() {
        return Err(Error::failed(format!("{count} transactions failed: {message}")));
    }
    let report = meter.report("load", (clients, callers.len()), pace.measured_time(), tally);
    Ok(report.with("puts", Detail::Count(done.load(Ordering::Relaxed))))
}

/// Sets the next few keys.
struct Fill {
    caller: Caller,
    keys: Arc<Keys>,
    shuffled: bool,
    /// Puts of all transactions together.
    puts: u64,
    txn_size: u64,
    /// Puts acknowledged, of all clients.
    done: Arc<AtomicU64>,
}

impl Fill {
    fn request(&self, number: u64) -> PutRequest {
        let key =
            if self.shuffled { self.keys.shuffled_key(number) } else { self.keys.key(number) };
        PutRequest { key, value: self.keys.value(number), ..PutRequest::default() }
    }
}

impl Operation for Fill {
    async fn perform(&mut self, ticket: &Ticket) -> Result<(), Status> {
        let first = ticket.number * self.txn_size;
        let end = (first + self.txn_size).min(self.puts);
        if self.txn_size == 1 {
            self.caller.call(&self.request(first), |_| Ok(())).await?;
        } else {
            let put =
                |number| RequestOp { request: Some(Request::RequestPut(self.request(number))) };
            let success = (first..end).map(put).collect();
            let request = TxnRequest { success, ..TxnRequest::default() };
            self.caller.call(&request, |_| Ok(())).await?;
        }
        self.done.fetch_add(end - first, Ordering::Relaxed);
        Ok(())
    }
}
