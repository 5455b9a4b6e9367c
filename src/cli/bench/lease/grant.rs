//! Leases as fast as clients get them granted, each client one at a time.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use clap::Args;
use tonic::Status;

use super::{LoadArgs, PREFIX, all_of, seconds};
use crate::{
    cli::{
        Client, Error,
        bench::{
            call::Caller,
            load::{self, Operation},
            measure, over,
            pace::Ticket,
            report::Report,
            wire::{Field, Fields, Malformed},
        },
    },
    proto::etcdserverpb::{LeaseGrantRequest, PutRequest},
};

/// Clients that grant what another measurement needs.
const SETUP_CLIENTS: usize = 256;
// Fields of `LeaseGrantResponse`.
const ID: u64 = 2;
const TTL: u64 = 3;

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
    let callers = load.callers(clients, client).await?;
    let (ttl, _) = seconds(args.ttl);
    let grants = over(clients, &callers, |caller| Grant::new(caller, ttl));
    measure("lease grant", load, callers.len(), client, grants).await
}

/// Grants leases.
pub(super) struct Grant {
    caller: Caller,
    ttl: i64,
}

impl Grant {
    pub(super) fn new(caller: Caller, ttl: i64) -> Self {
        Self { caller, ttl }
    }

    /// The id of one more lease.
    pub(super) async fn next(&mut self) -> Result<i64, Status> {
        let request = LeaseGrantRequest { ttl: self.ttl, id: 0 };
        let granted = self.caller.call(&request, Granted::read).await?;
        if granted.ttl == self.ttl {
            return Ok(granted.id);
        }
        // Deadlines are reckoned with the time to live that was asked for.
        let (given, wanted) = (granted.ttl, self.ttl);
        Err(Status::failed_precondition(format!("a lease lives {given} s, not {wanted} s")))
    }

    /// Sets the key with this number, on this lease.
    pub(super) async fn put_key(&mut self, number: u64, lease: i64) -> Result<(), Status> {
        let value = Bytes::from_static(b"leased");
        let request = PutRequest { key: key(number), value, lease, ..PutRequest::default() };
        self.caller.call(&request, |_| Ok(())).await
    }
}

impl Operation for Grant {
    async fn perform(&mut self, _: &Ticket) -> Result<(), Status> {
        self.next().await.map(drop)
    }
}

/// What an answer says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Granted {
    id: i64,
    ttl: i64,
}

impl Granted {
    fn read(message: &[u8]) -> Result<Self, Malformed> {
        let mut granted = Self::default();
        let mut fields = Fields(message);
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (ID, Field::Number(number)) => granted.id = number.cast_signed(),
                (TTL, Field::Number(number)) => granted.ttl = number.cast_signed(),
                (_, Field::Number(_) | Field::Bytes(_)) => {}
            }
        }
        Ok(granted)
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
    callers: &[Caller],
    count: u64,
    ttl: i64,
    with_keys: bool,
    limit: Duration,
) -> Result<Vec<i64>, Error> {
    let len = usize::try_from(count).map_err(Error::input)?;
    let ids = Arc::new(Mutex::new(vec![0; len]));
    let grants = over(SETUP_CLIENTS.min(len), callers, |caller| Setup {
        with_keys,
        grant: Grant::new(caller, ttl),
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
    with_keys: bool,
    ids: Arc<Mutex<Vec<i64>>>,
}

impl Operation for Setup {
    async fn perform(&mut self, ticket: &Ticket) -> Result<(), Status> {
        let id = self.grant.next().await?;
        if self.with_keys {
            self.grant.put_key(ticket.number, id).await?;
        }
        let place = usize::try_from(ticket.number).unwrap_or(usize::MAX);
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        *ids.get_mut(place).expect("tickets are numbered from 0 to the total") = id;
        Ok(())
    }
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
