//! [`SimClock`]: the world's time, as the clock of one member shows it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::node::Clock;

/// The world's time, as the monotonic clock of one member shows it: some run a little fast or slow,
/// and each start of a process begins at another number. There is no wall clock: the node's only
/// clock is this one, so nothing that is simulated could read another.
#[derive(Clone, Debug)]
pub struct SimClock {
    /// The world's time.
    pub micros: Arc<AtomicU64>,
    /// How many thousandths of the time that passes it shows.
    pub per_mille: u64,
    /// What it shows when the world begins.
    pub origin: u64,
    /// When it jumps ahead by an hour, which a monotonic clock does not.
    pub jumps_at: Option<u64>,
}

/// How far a clock jumps, in microseconds.
const JUMP: u64 = 3_600_000_000;

impl Clock for SimClock {
    fn now_micros(&self) -> u64 {
        let now = self.micros.load(Ordering::Relaxed);
        let jumped = self.jumps_at.filter(|at| now >= *at).map_or(0, |_| JUMP);
        self.origin + now * self.per_mille / 1_000 + jumped
    }
}
