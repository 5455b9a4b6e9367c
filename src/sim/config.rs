//! [`Config`]: what a world is like, drawn from its seed.

use crate::{
    node::{Initial, Settings},
    sim::{
        Options,
        disk::LogFault,
        network::Quality,
        rng::Rng,
        scene::{Breaking, Holding, Scene},
    },
    state::{Member, member},
    types::{ClusterId, MemberId, Millis},
};

/// What is broken on purpose, to show that the checks find it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Planted {
    /// Nothing.
    #[default]
    Nothing,
    /// Logs acknowledge writes before they are synced.
    AcknowledgedBeforeSync,
    /// Logs do not sync the hard state, so that a crash forgets votes and terms.
    ForgottenVotes,
    /// Reads do not wait until the leader is confirmed, nor for its commit index.
    UnconfirmedReads,
    /// The clocks of all members run half as fast again as time does.
    FastClocks,
    /// Watch streams swallow a response now and then.
    SwallowedResponses,
    /// The clocks of members jump ahead by an hour, as a wall clock may. To a member that is what a
    /// pause is.
    JumpingClocks,
    /// A leader that was paused has the leases ended that it takes for expired, whoever leads now.
    StaleExpiries,
    /// A leader acknowledges renewals without having its leadership confirmed.
    UnconfirmedRenewals,
    /// A renewal is acknowledged while the log still holds how long the lease had left before.
    UnclearedCheckpoints,
    /// A new leader does not know how long silent leases had left.
    ForgottenCheckpoints,
    /// What is proposed of leases that ran out is lost, as often as it is proposed.
    ExpiriesLostForGood,
    /// The ends of leases wait behind all that clients have asked for.
    ExpiriesInLine,
    /// Consensus does not hear that a member was removed.
    RemovedAreCounted,
    /// Consensus hears of a change when it is appended, before it is committed.
    EarlyChanges,
    /// A checkpoint travels with a configuration that lacks a voter.
    WrongConfiguration,
    /// Nobody makes a checkpoint for whoever needs one.
    NoCheckpoints,
    /// A member whose log lost something goes on as if nothing had happened.
    Unfenced,
    /// Consensus does not hear of its own member's removal.
    RemovedLead,
}

impl Planted {
    /// What it means for logs.
    #[must_use]
    pub fn log_fault(self) -> LogFault {
        match self {
            Self::AcknowledgedBeforeSync => LogFault::AcknowledgesBeforeSync,
            Self::ForgottenVotes => LogFault::ForgetsVotes,
            Self::Nothing
            | Self::UnconfirmedReads
            | Self::FastClocks
            | Self::SwallowedResponses
            | Self::JumpingClocks
            | Self::StaleExpiries
            | Self::UnconfirmedRenewals
            | Self::UnclearedCheckpoints
            | Self::ForgottenCheckpoints
            | Self::ExpiriesLostForGood
            | Self::ExpiriesInLine
            | Self::RemovedAreCounted
            | Self::EarlyChanges
            | Self::WrongConfiguration
            | Self::NoCheckpoints
            | Self::Unfenced
            | Self::RemovedLead => LogFault::None,
        }
    }
}

/// What a world is like. Times are microseconds.
#[derive(Clone, Debug)]
pub struct Config {
    /// The members.
    pub members: Vec<MemberId>,
    /// Time without a leader after which a member stands for election, at least.
    pub election_timeout: Millis,
    /// How the network is while things break.
    pub quality: Quality,
    /// How long a write or a flush takes, at most.
    pub disk_delay_max: u64,
    /// Of a thousand writes, how many take fifty times as long.
    pub disk_stalls: u64,
    /// How long a replica lets inputs gather, at most.
    pub round_delay_max: u64,
    /// How long applying a batch takes, at most.
    pub apply_delay_max: u64,
    /// How often in a thousand seconds the engine flushes by itself.
    pub flush_permille: u64,
    /// Bytes of log kept behind the flushed index; few, so that members need checkpoints.
    pub log_kept_bytes: u64,
    /// Clients at work.
    pub clients: u64,
    /// Keys they fight over.
    pub keys: u8,
    /// How long their values are, at least.
    pub value_bytes: usize,
    /// Longest pause of a client between two calls.
    pub think_max: u64,
    /// How long things break.
    pub chaos: u64,
    /// What breaks, and when.
    pub breaking: Breaking,
    /// How leases are held.
    pub holding: Holding,
    /// Clients that watch.
    pub observers: u64,
    /// Time from one look of a housekeeper at its store to the next.
    pub housekeeping: u64,
    /// Bytes that wait at each member, besides what clients want; 0 for none.
    pub flood_bytes: usize,
    /// Whether the leader crashes when the first lease has run out.
    pub crashes_amid_ends: bool,
    /// Shortest and longest time from one turn of the operator to the next; 0 for none at all.
    pub operator_turn: (u64, u64),
    /// Of a thousand steps of changes and installations, at how many the member crashes.
    pub step_crashes: u64,
    /// Of a thousand crashes, how many take the disk along.
    pub wipes: u64,
    /// Of a thousand crashes, after how many the log loses something.
    pub rollbacks: u64,
    /// Whether some members stay away for a while when nothing breaks any more.
    pub leaves_some_away: bool,
    /// Longest time from one compaction to the next; 0 for none at all.
    pub compaction_interval_max: u64,
    /// What the world is about.
    pub scene: Scene,
    /// What is broken on purpose.
    pub planted: Planted,
    seed: u64,
}

impl Config {
    /// The world of a seed.
    #[must_use]
    pub fn draw(options: &Options) -> Self {
        let mut rng = Rng::new(options.seed).fork(1);
        let mut config = Self::everyday(options, &mut rng);
        options.scene.set(&mut config, &mut rng);
        if config.planted == Planted::Unfenced {
            config.rollbacks = 1_000;
        }
        config
    }

    fn everyday(options: &Options, rng: &mut Rng) -> Self {
        let election_timeout = *rng.pick(&[300, 500, 1_000, 1_000, 2_000]);
        let members = *rng.pick(&[3, 3, 3, 3, 5]);
        // One world in four moves enough bytes for members that were away to need a checkpoint.
        let heavy = rng.chance(250);
        Self {
            members: (1..=members).map(MemberId).collect(),
            election_timeout: Millis(election_timeout),
            quality: Quality {
                delay_min: rng.between(50, 500),
                delay_max: rng.between(500, 20_000),
                lost: *rng.pick(&[0, 0, 10, 100]),
                doubled: *rng.pick(&[0, 10, 50]),
                stragglers: *rng.pick(&[0, 1, 10]),
            },
            disk_delay_max: rng.between(100, 10_000),
            disk_stalls: *rng.pick(&[0, 0, 5, 20]),
            round_delay_max: rng.between(10, 500),
            apply_delay_max: rng.between(10, 2_000),
            flush_permille: rng.between(50, 800),
            log_kept_bytes: if heavy { 96 * 1024 } else { 16 * 1024 * 1024 },
            clients: rng.between(3, 8),
            keys: *rng.pick(&[2, 3, 5]),
            value_bytes: if heavy { 6 * 1024 } else { 0 },
            think_max: rng.between(20_000, 200_000),
            chaos: (election_timeout * 1_000 * rng.between(10, 25)).max(8_000_000),
            breaking: Breaking::everyday(
                Millis(election_timeout),
                election_timeout * 1_000 * rng.between(1, 4),
            ),
            compaction_interval_max: *rng.pick(&[0, 500_000, 500_000, 4_000_000]),
            holding: Holding::everyday(rng.below(6)),
            observers: 3,
            housekeeping: 1_000_000,
            flood_bytes: 0,
            crashes_amid_ends: false,
            operator_turn: (0, 0),
            step_crashes: 0,
            wipes: 0,
            rollbacks: 0,
            leaves_some_away: false,
            scene: options.scene,
            planted: options.planted,
            seed: options.seed,
        }
    }

    /// Whether somebody changes who the members are.
    #[must_use]
    pub fn has_operator(&self) -> bool {
        self.operator_turn.1 > 0
    }

    /// Chance for one part of the world.
    #[must_use]
    pub fn chance(&self, part: u64) -> Rng {
        Rng::new(self.seed).fork(part)
    }

    /// The cluster's id.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        member::cluster_id(&self.members)
    }

    /// What a member that never ran begins with.
    #[must_use]
    pub fn initial(&self) -> Initial {
        let member = |id: &MemberId| Member { id: *id, name: id.to_string(), ..Member::default() };
        Initial::Founding {
            cluster: self.cluster(),
            members: self.members.iter().map(member).collect(),
        }
    }

    /// The longest time to live of a lease, in microseconds.
    #[must_use]
    pub fn ttl_max(&self) -> u64 {
        self.holding.ttl.1 * 1_000_000
    }

    /// Puts what was drawn into a member's settings.
    pub fn apply_to(&self, settings: &mut Settings) {
        settings.election_timeout = self.election_timeout;
        settings.heartbeat = Millis(self.election_timeout.0 / 10);
        settings.log_kept_bytes = self.log_kept_bytes;
        settings.log_kept_for_laggards_bytes = self.log_kept_bytes * 2;
        settings.unflushed_bytes_max = self.log_kept_bytes;
        settings.seed = self.seed ^ settings.member.0 ^ settings.boot.0 << 32;
    }
}
