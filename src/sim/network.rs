//! [`Network`]: when, how often and whether at all a frame arrives.

use std::collections::BTreeSet;

use crate::{sim::rng::Rng, types::MemberId};

/// How a network treats what it is given. Times are microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Quality {
    /// Shortest time on the way.
    pub delay_min: u64,
    /// Longest time on the way, but for the stragglers.
    pub delay_max: u64,
    /// Of a thousand frames, how many are lost.
    pub lost: u64,
    /// Of a thousand frames, how many arrive twice.
    pub doubled: u64,
    /// Of a thousand frames, how many take up to a hundred times as long. Together with the
    /// spread of the delays it makes frames overtake each other.
    pub stragglers: u64,
}

impl Quality {
    /// A quick network that loses nothing.
    pub const GOOD: Self =
        Self { delay_min: 100, delay_max: 1_000, lost: 0, doubled: 0, stragglers: 0 };
}

/// The links between members, each direction by itself.
#[derive(Debug)]
pub struct Network {
    rng: Rng,
    quality: Quality,
    cut: BTreeSet<(MemberId, MemberId)>,
}

impl Network {
    /// A network without cuts.
    #[must_use]
    pub fn new(rng: Rng, quality: Quality) -> Self {
        Self { rng, quality, cut: BTreeSet::new() }
    }

    /// After how long a frame arrives, once for each time it does. `may_double` is false for
    /// frames of which a connection delivers each at most once and that rely on it.
    pub fn arrivals(&mut self, may_double: bool) -> Vec<u64> {
        if self.rng.chance(self.quality.lost) {
            return Vec::new();
        }
        let mut arrivals = vec![self.delay()];
        if may_double && self.rng.chance(self.quality.doubled) {
            arrivals.push(self.delay());
        }
        arrivals
    }

    /// Whether frames get through now. Asked when a frame leaves and again when it arrives, since
    /// a cut also loses what is on the way.
    #[must_use]
    pub fn connects(&self, from: MemberId, to: MemberId) -> bool {
        !self.cut.contains(&(from, to))
    }

    /// Cuts one direction of one link.
    pub fn cut(&mut self, from: MemberId, to: MemberId) {
        self.cut.insert((from, to));
    }

    /// Undoes all cuts.
    pub fn heal(&mut self) {
        self.cut.clear();
    }

    /// From now on the network is this good.
    pub fn set_quality(&mut self, quality: Quality) {
        self.quality = quality;
    }

    fn delay(&mut self) -> u64 {
        let delay = self.rng.between(self.quality.delay_min, self.quality.delay_max);
        if self.rng.chance(self.quality.stragglers) {
            delay * self.rng.between(2, 100)
        } else {
            delay
        }
    }
}
