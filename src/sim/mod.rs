//! A whole cluster on one thread, in virtual time, from a seed.
//!
//! The replicas, appliers and log steps are those of real members; the disks, the network, the
//! clock and chance are the world's. Frames are delayed, lost, doubled and overtaken, links are cut
//! in one direction or both, members and whole clusters crash and lose what they had not synced. In some
//! worlds a member's log loses what it had synced, or is an older copy of itself.
//! Then everything is repaired, and the world [demands](checks) that a leader is found, that members
//! agree, that no acknowledged write is lost, that what clients saw can be explained, and that every
//! watcher was shown what it asked for.
//!
//! The seed is the whole report: the same seed gives the same run, event for event. Nothing here
//! reads a clock, starts a thread, or draws from anything but the seed.
//!
//! Absent on purpose: sockets, engines and what clients speak, which other tests cover; and threads,
//! so that races inside of one member are not found here.

pub mod checks;
pub mod chronicle;
pub mod clock;
pub mod config;
pub mod disk;
mod ending;
pub mod faults;
pub mod flood;
pub mod frames;
pub mod history;
pub mod holders;
pub mod judge;
pub mod links;
pub mod member;
pub mod network;
pub mod observers;
pub mod operator;
pub mod plan;
pub mod process;
pub mod rng;
pub mod rollback;
pub mod scene;
pub mod schedule;
pub mod start;
pub mod stream;
pub mod trace;
pub mod turnover;
mod work;
pub mod workload;
pub mod world;

use crate::types::Millis;

use self::{
    checks::Violation, config::Planted, judge::Ended, observers::Delivered, rollback::Rollbacks,
    scene::Scene, turnover::Turnover, world::World,
};

/// Which world to run, and how.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Decides everything.
    pub seed: u64,
    /// What the world is about.
    pub scene: Scene,
    /// What is broken on purpose.
    pub planted: Planted,
    /// Whether to keep lines of what happened.
    pub with_lines: bool,
}

/// What came of a run.
#[derive(Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Whether everything that must hold held.
    pub verdict: Result<(), Violation>,
    /// Differs when anything in the run differed.
    pub trace_hash: u64,
    /// Events noted in the trace.
    pub events: u64,
    /// Calls that clients made.
    pub asked: usize,
    /// Calls that were answered.
    pub answered: usize,
    /// Terms that had a leader.
    pub elections: usize,
    /// Crashes of members.
    pub crashes: u64,
    /// Checkpoints that members installed because they had fallen behind the log.
    pub installed_checkpoints: u64,
    /// What came of members that came, went and fell behind.
    pub turnover: Turnover,
    /// What came of logs that lost something.
    pub rollbacks: Rollbacks,
    /// What came of watching.
    pub delivered: Delivered,
    /// Pauses of members, or of threads of them.
    pub pauses: u64,
    /// Proposals of expiries that were lost.
    pub lost_expiries: u64,
    /// Renewals that were acknowledged.
    pub renewals: u64,
    /// What came of leases.
    pub ended: Ended,
    /// How long the run took in its own time.
    pub virtual_time: Millis,
    /// What happened last, when asked for.
    pub lines: Vec<String>,
}

/// Runs a world to its end.
#[must_use]
pub fn run(options: &Options) -> Report {
    World::run(options)
}
