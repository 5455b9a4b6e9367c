//! [`Scene`]: what a world is about, and so how its leases are held and what breaks in it.

use crate::{
    sim::{config::Config, network::Quality, rng::Rng},
    types::{MemberId, Millis},
};

const SECOND: u64 = 1_000_000;

/// What a world is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scene {
    /// A bit of everything.
    #[default]
    Everyday,
    /// Members are paused, often for longer than leases live without a renewal.
    Pauses,
    /// The leader changes twice in the time to live of a lease.
    LeaderChanges,
    /// Proposals that would end leases get lost.
    LostExpiries,
    /// Leases live for twenty minutes, and the leader changes every ten.
    LongLives,
    /// Renewals, grants, attachments and revocations of a few leases race.
    Races,
    /// Hundreds of leases run out together, and the leader dies in the middle.
    BulkExpiry,
    /// The log has more to take than it can while leases run out.
    Overload,
    /// Members come, are given votes and go, and crash at every step of it.
    Members,
    /// The log keeps few entries, so that members fall behind it again and again.
    Checkpoints,
    /// Members lose their disks for good, and others take their places.
    Losses,
    /// Logs lose what they had synced, and their members become whole again.
    Rollbacks,
}

/// How leases are held in a world. Times are microseconds.
#[derive(Clone, Debug)]
pub struct Holding {
    /// Clients that hold leases.
    pub holders: u64,
    /// Keys that belong to each.
    pub keys: u64,
    /// Shortest and longest time to live, in seconds.
    pub ttl: (u64, u64),
    /// Shortest and longest time from one turn of a holder to its next.
    pub turn: (u64, u64),
    /// How often a lease is renewed before it is left to itself, at least and at most.
    pub renewals: (u64, u64),
    /// Of a thousand turns, in how many a holder also moves keys about.
    pub moves: u64,
    /// Whether a holder takes another lease after its last one.
    pub again: bool,
    /// Calls of a holder under way at the same time, at most.
    pub calls_max: usize,
}

/// Something that breaks, or is repaired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breakage {
    /// Any member crashes.
    Crash,
    /// The leader crashes.
    CrashLeader,
    /// All members crash.
    CrashAll,
    /// Any member is cut off.
    Isolate,
    /// The leader is cut off.
    IsolateLeader,
    /// Some directions of some links are cut.
    CutSome,
    /// The leader hands over.
    HandOver,
    /// Any member, or some of its threads, stand still.
    Pause,
    /// The leader, or some of its threads, stand still.
    PauseLeader,
    /// All members stand still.
    PauseAll,
    /// What the leader proposes of leases that ran out is lost for a while.
    LoseExpiries,
    /// The network is whole again.
    Heal,
}

/// What breaks in a world, and when.
#[derive(Clone, Debug)]
pub struct Breaking {
    /// Shortest and longest time from one fault to the next, in microseconds.
    pub interval: (u64, u64),
    /// What, and how often as against the others.
    pub odds: &'static [(Breakage, u64)],
}

impl Breaking {
    /// What breaks next.
    pub fn draw(&self, rng: &mut Rng) -> Breakage {
        let sum = self.odds.iter().map(|(_, weight)| weight).sum();
        let mut drawn = rng.below(sum);
        for (breakage, weight) in self.odds {
            match drawn.checked_sub(*weight) {
                Some(left) => drawn = left,
                None => return *breakage,
            }
        }
        unreachable!("what is drawn lies below the sum of the weights")
    }
}

const EVERYDAY: &[(Breakage, u64)] = &[
    (Breakage::Crash, 25),
    (Breakage::CrashLeader, 20),
    (Breakage::CrashAll, 7),
    (Breakage::Isolate, 15),
    (Breakage::IsolateLeader, 8),
    (Breakage::CutSome, 10),
    (Breakage::HandOver, 5),
    (Breakage::Pause, 8),
    (Breakage::PauseLeader, 5),
    (Breakage::LoseExpiries, 3),
    (Breakage::Heal, 10),
];
const PAUSES: &[(Breakage, u64)] = &[
    (Breakage::Pause, 20),
    (Breakage::PauseLeader, 40),
    (Breakage::PauseAll, 10),
    (Breakage::HandOver, 5),
    (Breakage::CrashLeader, 5),
    (Breakage::IsolateLeader, 10),
    (Breakage::Heal, 10),
];
const LEADER_CHANGES: &[(Breakage, u64)] =
    &[(Breakage::HandOver, 50), (Breakage::CrashLeader, 40), (Breakage::Heal, 10)];
const LOST_EXPIRIES: &[(Breakage, u64)] = &[
    (Breakage::LoseExpiries, 40),
    (Breakage::HandOver, 20),
    (Breakage::IsolateLeader, 15),
    (Breakage::CrashLeader, 10),
    (Breakage::Heal, 15),
];
const CHECKPOINTS: &[(Breakage, u64)] = &[
    (Breakage::Crash, 25),
    (Breakage::CrashLeader, 15),
    (Breakage::Isolate, 25),
    (Breakage::CutSome, 5),
    (Breakage::HandOver, 5),
    (Breakage::Pause, 10),
    (Breakage::Heal, 30),
];
const ROLLBACKS: &[(Breakage, u64)] = &[
    (Breakage::Crash, 35),
    (Breakage::CrashLeader, 20),
    (Breakage::CrashAll, 4),
    (Breakage::Isolate, 8),
    (Breakage::IsolateLeader, 5),
    (Breakage::CutSome, 8),
    (Breakage::HandOver, 5),
    (Breakage::Pause, 5),
    (Breakage::Heal, 30),
];
const NOTHING: &[(Breakage, u64)] = &[(Breakage::Heal, 1)];

impl Holding {
    /// As in worlds that are not about leases.
    #[must_use]
    pub fn everyday(holders: u64) -> Self {
        Self {
            holders,
            keys: 2,
            ttl: (3, 5),
            turn: (300_000, 500_000),
            renewals: (0, 20),
            moves: 200,
            again: true,
            calls_max: 3,
        }
    }
}

impl Breaking {
    /// As in worlds that are not about leases.
    #[must_use]
    pub fn everyday(election_timeout: Millis, interval_max: u64) -> Self {
        Self { interval: (election_timeout.0 * 250, interval_max), odds: EVERYDAY }
    }
}

impl Scene {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Everyday,
        Self::Pauses,
        Self::LeaderChanges,
        Self::LostExpiries,
        Self::LongLives,
        Self::Races,
        Self::BulkExpiry,
        Self::Overload,
        Self::Members,
        Self::Checkpoints,
        Self::Losses,
        Self::Rollbacks,
    ];

    /// Whether it is about the life of a cluster.
    #[must_use]
    pub fn is_about_members(self) -> bool {
        match self {
            Self::Members | Self::Checkpoints | Self::Losses => true,
            Self::Everyday
            | Self::Pauses
            | Self::LeaderChanges
            | Self::LostExpiries
            | Self::LongLives
            | Self::Races
            | Self::BulkExpiry
            | Self::Overload
            | Self::Rollbacks => false,
        }
    }

    /// Turns a world of every day into one of this scene.
    pub fn set(self, config: &mut Config, rng: &mut Rng) {
        if self == Self::Everyday {
            return;
        }
        if self.is_about_members() {
            self.set_life(config, rng);
            return;
        }
        if self == Self::Rollbacks {
            rollbacks(config, rng);
            return;
        }
        // What is not about leases is kept small.
        config.clients = 2;
        config.observers = 0;
        config.value_bytes = 0;
        config.log_kept_bytes = 16 * 1024 * 1024;
        config.compaction_interval_max = 0;
        config.holding.holders = 8;
        match self {
            Self::Everyday => {}
            Self::Pauses => {
                quick(config, rng, 30);
                config.holding.ttl = (2, 4);
                config.breaking = Breaking { interval: (200_000, 3 * SECOND), odds: PAUSES };
            }
            Self::LeaderChanges => {
                quick(config, rng, 40);
                config.holding.ttl = (4, 4);
                config.breaking =
                    Breaking { interval: (1_800_000, 2_200_000), odds: LEADER_CHANGES };
            }
            Self::LostExpiries => {
                quick(config, rng, 30);
                config.holding.ttl = (2, 4);
                config.holding.renewals = (0, 4);
                config.breaking = Breaking { interval: (500_000, 4 * SECOND), odds: LOST_EXPIRIES };
            }
            Self::LongLives => long_lives(config, rng),
            Self::Races => {
                config.holding = Holding {
                    holders: 5,
                    keys: 3,
                    ttl: (2, 3),
                    turn: (20_000, 200_000),
                    renewals: (0, 30),
                    moves: 700,
                    again: true,
                    calls_max: 6,
                };
            }
            Self::BulkExpiry => bulk_expiry(config, rng),
            Self::Overload => overload(config),
            Self::Members | Self::Checkpoints | Self::Losses | Self::Rollbacks => {}
        }
    }

    /// A world of every day in which members come and go, and the log keeps few entries.
    fn set_life(self, config: &mut Config, rng: &mut Rng) {
        let founders =
            if self == Self::Members { rng.between(1, 5) } else { *rng.pick(&[3, 3, 5]) };
        config.members = (1..=founders).map(MemberId).collect();
        config.election_timeout = Millis(*rng.pick(&[300, 500, 1_000]));
        let timeout = config.election_timeout.0 * 1_000;
        config.chaos = timeout * rng.between(10, 20) + 8 * SECOND;
        config.breaking = Breaking { interval: (timeout / 4, timeout * 3), odds: EVERYDAY };
        config.quality.lost = config.quality.lost.min(30);
        config.clients = rng.between(3, 5);
        config.holding = Holding::everyday(rng.below(3));
        config.observers = 2;
        config.leaves_some_away = true;
        config.step_crashes = *rng.pick(&[0, 30, 100]);
        config.log_kept_bytes = 16 * 1024 * 1024;
        config.value_bytes = 0;
        // The log is cut in pieces of 64 KiB: this is 10 to 1,000 entries.
        if self == Self::Checkpoints || rng.chance(600) {
            config.log_kept_bytes = 1;
            config.value_bytes = *rng.pick(&[64, 600, 3_000, 6_500, 6_500]);
            config.think_max = config.think_max.min(30_000);
        }
        match self {
            Self::Checkpoints => {
                config.breaking =
                    Breaking { interval: (timeout / 4, timeout * 2), odds: CHECKPOINTS };
                config.step_crashes = *rng.pick(&[0, 100, 300]);
            }
            Self::Members => config.operator_turn = (50_000, rng.between(100_000, 800_000)),
            Self::Losses => {
                config.operator_turn = (50_000, rng.between(100_000, 500_000));
                config.wipes = 300;
            }
            Self::Everyday
            | Self::Pauses
            | Self::LeaderChanges
            | Self::LostExpiries
            | Self::LongLives
            | Self::Races
            | Self::BulkExpiry
            | Self::Overload
            | Self::Rollbacks => {}
        }
    }
}

/// A world of every day with many crashes, after which logs have lost something. In half of them the
/// others no longer have the entries that are missing, but a checkpoint.
fn rollbacks(config: &mut Config, rng: &mut Rng) {
    let members = *rng.pick(&[3, 3, 5]);
    config.members = (1..=members).map(MemberId).collect();
    config.election_timeout = Millis(*rng.pick(&[300, 500, 1_000]));
    let timeout = config.election_timeout.0 * 1_000;
    config.chaos = timeout * rng.between(15, 30) + 8 * SECOND;
    config.breaking = Breaking { interval: (timeout / 4, timeout * 3), odds: ROLLBACKS };
    config.rollbacks = *rng.pick(&[200, 400, 700]);
    config.quality.lost = config.quality.lost.min(30);
    config.clients = rng.between(3, 5);
    config.holding = Holding::everyday(rng.below(3));
    config.observers = 2;
    config.log_kept_bytes = 16 * 1024 * 1024;
    config.value_bytes = 0;
    if rng.chance(500) {
        config.log_kept_bytes = 1;
        config.value_bytes = *rng.pick(&[600, 3_000, 6_500]);
        config.think_max = config.think_max.min(50_000);
    }
}

/// Elections that take a fraction of a lease's time to live.
fn quick(config: &mut Config, rng: &mut Rng, seconds: u64) {
    config.election_timeout = Millis(*rng.pick(&[300, 500, 800]));
    config.chaos = seconds * SECOND;
    config.quality.lost = config.quality.lost.min(10);
}

/// Two hours, with ticks and turns so far apart that they are cheap.
fn long_lives(config: &mut Config, rng: &mut Rng) {
    config.election_timeout = Millis(5_000);
    config.chaos = 2 * 3_600 * SECOND;
    config.quality = Quality::GOOD;
    config.think_max = 60 * SECOND;
    config.housekeeping = 30 * SECOND;
    config.holding = Holding {
        holders: 8,
        keys: 2,
        ttl: (1_200, 1_200),
        turn: (rng.between(20, 200) * SECOND, rng.between(300, 900) * SECOND),
        renewals: (0, 6),
        moves: 200,
        again: true,
        calls_max: 2,
    };
    config.breaking = Breaking { interval: (590 * SECOND, 610 * SECOND), odds: LEADER_CHANGES };
}

/// Leases that were all renewed at the same moments, for the last time at the same one.
fn bulk_expiry(config: &mut Config, rng: &mut Rng) {
    quick(config, rng, 12);
    config.quality.lost = 0;
    config.think_max = SECOND;
    config.holding = Holding {
        holders: rng.between(300, 500),
        keys: 4,
        ttl: (4, 4),
        turn: (SECOND, SECOND),
        renewals: (2, 2),
        moves: 0,
        again: false,
        calls_max: 2,
    };
    config.breaking = Breaking { interval: (60 * SECOND, 60 * SECOND), odds: NOTHING };
    config.crashes_amid_ends = true;
}

/// A slow disk, and far more to be written than it takes.
fn overload(config: &mut Config) {
    config.election_timeout = Millis(1_000);
    config.chaos = 9 * SECOND;
    // As on a connection, no frame overtakes another.
    config.quality = Quality { delay_min: 500, delay_max: 500, ..Quality::GOOD };
    config.disk_delay_max = 300_000;
    config.disk_stalls = 0;
    config.flood_bytes = 12 * 1024 * 1024;
    config.log_kept_bytes = 1024 * 1024 * 1024;
    config.holding = Holding {
        holders: 60,
        keys: 2,
        ttl: (2, 3),
        turn: (400_000, 600_000),
        renewals: (1, 6),
        moves: 0,
        again: false,
        calls_max: 2,
    };
    config.breaking = Breaking { interval: (60 * SECOND, 60 * SECOND), odds: NOTHING };
}
