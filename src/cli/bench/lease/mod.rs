//! Leases: granted, renewed, held and left to run out, many at a time.
//!
//! Renewals go over streams of which each carries many leases, and no request waits for the answer
//! to the one before: so do clients that keep leases alive for others, and one that waited would
//! measure its own round trips. What is told of deadlines is told by the client's clock.

use std::time::Duration;

use clap::Subcommand;

use super::{
    LoadArgs,
    pace::{Extent, Pace},
    report::Report,
};
use crate::cli::{Client, Error};

mod deletions;
mod expire;
mod grant;
mod hold;
mod lag;
mod members;
mod puts;
mod renew;
mod stream;

/// What the keys start with that hang on leases.
const PREFIX: &str = "bench/leased/";

#[derive(Subcommand, Clone, Debug)]
pub(in crate::cli) enum LeaseCommand {
    /// Grant leases, and leave them to run out
    Grant {
        #[command(flatten)]
        load: LoadArgs,
        #[command(flatten)]
        grant: grant::GrantArgs,
    },
    /// Renew leases over and over, many on each stream
    Renew {
        #[command(flatten)]
        load: LoadArgs,
        #[command(flatten)]
        renew: renew::RenewArgs,
    },
    /// Hold many leases, each renewed now and then, and say what that costs
    Hold {
        #[command(flatten)]
        hold: hold::HoldArgs,
    },
    /// Let many leases with a key each run out at once, and wait until the keys are gone
    Expire {
        #[command(flatten)]
        expire: expire::ExpireArgs,
    },
    /// Let leases with a key each run out one by one, and see how late the keys go
    Lag {
        #[command(flatten)]
        lag: lag::LagArgs,
    },
}

impl LeaseCommand {
    pub(super) fn json(&self) -> bool {
        match self {
            Self::Grant { load, .. } | Self::Renew { load, .. } => load.json,
            Self::Hold { hold } => hold.json,
            Self::Expire { expire } => expire.json,
            Self::Lag { lag } => lag.json,
        }
    }
}

pub(super) async fn run(command: &LeaseCommand, client: &Client) -> Result<Report, Error> {
    match command {
        LeaseCommand::Grant { load, grant } => grant::run(load, grant, client).await,
        LeaseCommand::Renew { load, renew } => renew::run(load, renew, client).await,
        LeaseCommand::Hold { hold } => hold::run(hold, client).await,
        LeaseCommand::Expire { expire } => expire::run(expire, client).await,
        LeaseCommand::Lag { lag } => lag::run(lag, client).await,
    }
}

/// So many operations, as fast as they go.
fn all_of(total: u64) -> Pace {
    Pace::start(Extent { total: Some(total), duration: None, warm_up: Duration::ZERO, rate: 0 })
}

fn size(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// A time to live, as the API and as a clock has it.
fn seconds(ttl: u32) -> (i64, Duration) {
    (i64::from(ttl), Duration::from_secs(u64::from(ttl)))
}
