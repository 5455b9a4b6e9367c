//! One member: the shell around the pure core.
//!
//! Everything a member does goes through [`Handle`]: api and recipes call it from above, transport
//! delivers to it from the side. Behind it run five threads, each with one kind of work:
//!
//! - the *driver* feeds [`Replica`], which owns consensus and decides; it never waits for a disk;
//! - the *log writer* syncs entries and sends the messages that rest on them;
//! - the *applier* turns committed entries into state, wakes waiting requests, publishes events;
//! - the *housekeeper* flushes the state, makes checkpoints, and looks after engine and disk;
//! - the *compactor* rids the disk of history that was given up.
//!
//! Events go on from the applier to watchers by [`Handle::fan_out`], a task on the runtime that serves
//! them, because it wakes tasks of that runtime. So is [`Handle::renew_leases`], which gathers renewals,
//! and [`Handle::compare_states`], which finds members whose data differ.
//!
//! [`Replica`], [`Applier`] and the log writer's step are plain structs and functions over the
//! traits in [`ports`], so the simulator runs the same code on one thread in virtual time.
//!
//! Promised: a request is answered only after a majority has synced it and this member has applied
//! it; a request whose leader died is proposed again as soon as it is certain that the first attempt
//! can never take effect, so that it takes effect exactly once; a fault of the disk stops the member.
//!
//! Absent on purpose: engines, sockets, and what commands mean.

mod agreement;
mod applier;
mod auto_compaction;
mod bootstrap;
mod changes;
mod clock;
mod compactor;
#[cfg(any(test, feature = "sim"))]
mod direct;
mod driver;
mod error;
pub mod fail_points;
mod fan_out;
mod fence;
pub mod figures;
mod force;
mod forward;
mod handle;
mod hash;
mod housekeeper;
mod image;
mod lease_clock;
mod leash;
mod log_writer;
mod membership;
pub mod metrics;
mod pending;
pub mod ports;
mod quota;
mod read_index;
mod reads;
mod reconfigure;
mod renewals;
mod replica;
mod retention;
mod sentry;
mod settings;
mod shared;
mod slow;
mod start;
mod task;
#[cfg(test)]
mod tests;
mod throttle;
mod version;

#[cfg(test)]
pub(crate) use self::tests::Running;
pub use self::{
    applier::Applier,
    auto_compaction::AutoCompaction,
    bootstrap::{Initial, Opened, open, raise as raise_fence, voters_of},
    changes::{Changes, Happened},
    clock::{Clock, MonotonicClock},
    driver::{Threads, start},
    error::{Error, RequestError, TimeoutCause},
    fence::{Fencing, Greeting},
    figures::Figures,
    force::force_new_cluster,
    handle::{Handle, Status},
    hash::HashAt,
    log_writer::{LogDone, carry_out as carry_out_log},
    metrics::Metrics,
    quota::STORE_SIZE_BASE,
    reads::{Bounds, Listing, Part, Sink, Slot},
    reconfigure::MembershipError,
    renewals::{KeptAlive, Renewing},
    replica::Replica,
    settings::Settings,
    shared::{Shared, Stop},
    slow::{duration_text, key_text},
    start::{LogStart, Starts},
    task::{ApplyTask, Changed, Chore, Input, LogTask, Output, Proposed},
    throttle::Throttle,
    version::understood,
};
