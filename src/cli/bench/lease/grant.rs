//! Leases as fast as clients get them granted, each client one at a time.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use clap::Args;
use tonic::{Status, transport::Channel};

use super::{LoadArgs, PREFIX, all_of, seconds};
use crate::{
    cli::{
        Client, Error,
        bench::{
            load::{self, Operation},
            measure, over,
            pace::Ticket,
            report::Report,
        },
    },
    proto::etcdserverpb::{
        LeaseGrantRequest, PutRequest, kv_client::KvClient, lease_client::LeaseClient,
    },
};

/// Clients that grant what another measurement needs.
const SETUP_CLIENTS: usize = 256;

/// The arguments of this benchmark alone.
#[derive(Args, Clone, Debug)]
pub(in crate::cli) struct GrantArgs {
    /// Seconds that a lease lives
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    ttl: u32,
}

pub(super) async fn run(
    load: &LoadArgs,
    args: &GrantArgs,
    client: &Client,
) -> Result<Report, Error> {
    let clients = load.clients(100);
    let channels = load.channels(clients, client).await?;
    let (ttl, _) = seconds(args.ttl);
    let grants = over(clients, &channels, |channel| Grant::new(channel, ttl));
    measure("lease grant", load, channels.len(), client, grants).await
}

/// Grants leases.
pub(super) struct Grant {
    leases: LeaseClient<Channel>,
    ttl: i64,
}

impl Grant {
    pub(super) fn new(channel: Channel, ttl: i64) -> Self {
        Self { leases: LeaseClient::new(channel), ttl }
    }

    /// The id of one more lease.
    pub(super) async fn next(&mut self) -> Result<i64, Status> {
        let request = LeaseGrantRequest { ttl: self.ttl, id: 0 };
        let granted = self.leases.lease_grant(request).await?.into_inner();
        if granted.ttl == self.ttl {
            return Ok(granted.id);
        }
        // Deadlines are reckoned with the time to live that was asked for.
        let (given, wanted) = (granted.ttl, self.ttl);
        Err(Status::failed_precondition(format!("a lease lives {given} s, not {wanted} s")))
    }
}

impl Operation for Grant {
    async fn perform(&mut self, _: &Ticket) -> Result<(), Status> {
        self.next().await.map(drop)
    }
}

/// The key that hangs on the lease with this number.
pub(super) fn key(number: u64) -> Bytes {
    format!("{PREFIX}{number:010}").into()
}

/// The number of such a key.
pub(super) fn number_of(key: &[u8]) -> Option<u64> {
    std::str::from_utf8(key).ok()?.strip_prefix(PREFIX)?.parse().ok()
}

/// Grants so many leases; with a key on each, if that is wanted. Returns the ids by number.
pub(super) async fn grant_all(
    channels: &[Channel],
    count: u64,
    ttl: i64,
    with_keys: bool,
    limit: Duration,
) -> Result<Vec<i64>, Error> {
    let len = usize::try_from(count).map_err(Error::input)?;
    let ids = Arc::new(Mutex::new(vec![0; len]));
    let grants = over(SETUP_CLIENTS.min(len), channels, |channel| Setup {
        kv: with_keys.then(|| KvClient::new(channel.clone())),
        grant: Grant::new(channel, ttl),
        ids: Arc::clone(&ids),
    });
    let tally = load::run(Arc::new(all_of(count)), grants, limit).await;
    if let Some((message, count)) = tally.errors.first_key_value() {
        return Err(Error::failed(format!("{count} leases were not granted: {message}")));
    }
    let mut ids = ids.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(std::mem::take(&mut ids))
}

struct Setup {
    grant: Grant,
    kv: Option<KvClient<Channel>>,
    ids: Arc<Mutex<Vec<i64>>>,
}

impl Operation for Setup {
    async fn perform(&mut self, ticket: &Ticket) -> Result<(), Status> {
        let id = self.grant.next().await?;
        if let Some(kv) = &mut self.kv {
            put_key(kv, ticket.number, id).await?;
        }
        let place = usize::try_from(ticket.number).unwrap_or(usize::MAX);
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        *ids.get_mut(place).expect("tickets are numbered from 0 to the total") = id;
        Ok(())
    }
}

/// Sets the key with this number, on this lease.
pub(super) async fn put_key(
    kv: &mut KvClient<Channel>,
    number: u64,
    lease: i64,
) -> Result<(), Status> {
    let value = Bytes::from_static(b"leased");
    let request = PutRequest { key: key(number), value, lease, ..PutRequest::default() };
    kv.put(request).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys name their lease, and nothing else is taken for one.
    #[test]
    fn keys_carry_their_number() {
        assert_eq!(key(42), "bench/leased/0000000042");
        assert_eq!(number_of(&key(u64::MAX)), Some(u64::MAX));
        assert_eq!(number_of(b"bench/leased/"), None);
        assert_eq!(number_of(b"bench/other/0000000042"), None);
    }
}
