//! How much may be stored: the check before a request is proposed, and the alarm when it fails.
//!
//! Only the member that is asked checks, against the state it has applied so far. What is in the
//! log is applied everywhere alike, unless the replicated alarm NOSPACE forbids it; so a write that
//! passed the check is never both applied and refused. The alarm is raised in the background, once:
//! a flood of refused requests makes one proposal.
//!
//! Without a limit of its own a member goes by its disk. It looks at it twice a second, off the path
//! of requests, and counts what it lets through in between as spent. The alarm that it raised because
//! of its disk goes by itself once there is room again; one that is about the size of the store, or
//! that somebody else raised, stays until an operator clears it.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use tokio::sync::oneshot::{Receiver, error::TryRecvError};

use crate::{
    node::{
        Handle,
        pending::Outcome,
        ports::DiskSpace,
        shared::{Shared, gauge},
        task::Input,
    },
    state::{
        Alarm, AlarmCommand, AlarmKind, Command, Refused, Request, codec, schema::meta::Store,
    },
    types::{Fault, Identity, MemberId, RequestId, limits},
};

/// Added to the logical size wherever a size is shown or checked, so that an empty store has a size
/// too: clients divide by it.
pub const STORE_SIZE_BASE: u64 = 20_480;

/// What is let through takes room twice, in the log and in the state.
const COPIES: u64 = 2;

/// After so many looks that found room an alarm about the disk is over.
const ROOMY_LOOKS: u64 = 2;

/// What limits the size of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    /// Nothing.
    None,
    /// What the member's file system has left, but for a reserve.
    Disk,
    /// This many bytes of logical size.
    Bytes(u64),
}

/// How much room a disk has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    /// Too little for anything that stores something.
    None,
    /// Some.
    Some,
    /// So much that it will not be gone at once.
    Enough,
}

impl Limit {
    fn of_setting(quota_backend_bytes: i64) -> Self {
        match u64::try_from(quota_backend_bytes) {
            Ok(0) => Self::Disk,
            Ok(bytes) => Self::Bytes(bytes),
            Err(_) => Self::None,
        }
    }
}

/// What is stored, what may be, and which alarms are raised.
#[derive(Debug)]
pub(super) struct Quota {
    member: MemberId,
    limit: Limit,
    /// The logical size as shown.
    size: AtomicU64,
    /// What the file system had left above the reserve when it was last looked at.
    free: AtomicU64,
    /// The cost of what was let through since.
    admitted: AtomicU64,
    alarms: Mutex<Vec<Alarm>>,
    /// The proposal that raises or clears this member's alarm.
    changing: Mutex<Option<Receiver<Outcome>>>,
    /// Whether this member's alarm, if it is raised, is about its disk.
    for_disk: AtomicBool,
    /// How many looks in a row found enough room to clear it.
    roomy_looks: AtomicU64,
}

impl Quota {
    pub(super) fn new(member: MemberId, quota_backend_bytes: i64, space: DiskSpace) -> Self {
        Self {
            member,
            limit: Limit::of_setting(quota_backend_bytes),
            size: AtomicU64::new(STORE_SIZE_BASE),
            free: AtomicU64::new(above_reserve(space)),
            admitted: AtomicU64::new(0),
            alarms: Mutex::default(),
            changing: Mutex::default(),
            for_disk: AtomicBool::new(false),
            roomy_looks: AtomicU64::new(0),
        }
    }

    /// Takes over the numbers of the state as last committed, and says on the log which alarms are
    /// new and which are gone.
    pub(super) fn applied(&self, store: &Store) {
        self.size.store(store.logical_size.saturating_add(STORE_SIZE_BASE), Ordering::Release);
        let mut known = lock(&self.alarms);
        if *known == store.alarms {
            return;
        }
        for alarm in store.alarms.iter().filter(|alarm| !known.contains(alarm)) {
            tracing::error!("alarm {} is raised for member {}", name(alarm.kind), alarm.member);
        }
        for alarm in known.iter().filter(|alarm| !store.alarms.contains(alarm)) {
            tracing::info!("alarm {} is gone for member {}", name(alarm.kind), alarm.member);
        }
        let own = self.own_alarm();
        if known.contains(&own) && !store.alarms.contains(&own) {
            self.for_disk.store(false, Ordering::Relaxed);
        }
        known.clone_from(&store.alarms);
    }

    /// Whether something of this cost may be proposed; if so, it counts as stored.
    fn admits(&self, cost: u64) -> bool {
        match self.limit {
            Limit::None => true,
            Limit::Bytes(limit) => self.size().saturating_add(cost) < limit,
            Limit::Disk => {
                let spent = self.admitted.load(Ordering::Relaxed).saturating_add(cost);
                let admits = spent.saturating_mul(COPIES) < self.free.load(Ordering::Relaxed);
                if admits {
                    self.admitted.fetch_add(cost, Ordering::Relaxed);
                }
                admits
            }
        }
    }

    /// Takes in how much room the file system has.
    fn measured(&self, space: DiskSpace) -> Room {
        let free = above_reserve(space);
        self.free.store(free, Ordering::Relaxed);
        self.admitted.store(0, Ordering::Relaxed);
        let enough = limits::DISK_RECOVERED_BYTES.min(space.total / limits::DISK_RECOVERED_SHARE);
        let room = match self.limit {
            Limit::None | Limit::Bytes(_) => return Room::Some,
            Limit::Disk if free == 0 => Room::None,
            Limit::Disk if free < enough => Room::Some,
            Limit::Disk => Room::Enough,
        };
        let looks = match room {
            Room::Enough => self.roomy_looks.load(Ordering::Relaxed).saturating_add(1),
            Room::None | Room::Some => 0,
        };
        self.roomy_looks.store(looks, Ordering::Relaxed);
        room
    }

    /// Whether the alarm, which is raised, was about a disk that has had room again for a moment.
    fn is_over(&self) -> bool {
        self.for_disk.load(Ordering::Relaxed)
            && self.roomy_looks.load(Ordering::Relaxed) >= ROOMY_LOOKS
    }

    pub(super) fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// The limit as operators see it; without one, the setting says so by being negative.
    fn shown(&self, setting: i64) -> i64 {
        match self.limit {
            Limit::None => setting,
            Limit::Bytes(limit) => gauge(limit),
            Limit::Disk => gauge(self.size().saturating_add(self.free.load(Ordering::Relaxed))),
        }
    }

    /// Whether this member's alarm is raised.
    pub(super) fn is_alarmed(&self) -> bool {
        self.is_raised(self.own_alarm())
    }

    fn own_alarm(&self) -> Alarm {
        Alarm { member: self.member, kind: AlarmKind::NoSpace }
    }

    pub(super) fn is_raised(&self, alarm: Alarm) -> bool {
        lock(&self.alarms).contains(&alarm)
    }
}

impl Shared {
    /// Looks at the disk. Returns the number of a request to be proposed, if an alarm is due.
    pub(super) fn measure_disk(&self) -> Result<Option<u64>, Fault> {
        let space = self.store.disk_space()?;
        let room = self.quota.measured(space);
        self.metrics.disk_free_bytes.set(gauge(space.free));
        self.metrics.disk_used_bytes.set(gauge(space.used));
        self.show_quota();
        let alarmed = self.quota.is_alarmed();
        if room == Room::None {
            // Whoever raised it: it is about the disk now.
            self.quota.for_disk.store(true, Ordering::Relaxed);
        }
        Ok(match room {
            Room::None => self.raise_no_space(),
            Room::Some | Room::Enough if alarmed && self.quota.is_over() => {
                tracing::info!(free_bytes = space.free, "the disk has room again");
                self.change_alarm(false)
            }
            Room::Enough
                if !alarmed && self.quota.roomy_looks.load(Ordering::Relaxed) >= ROOMY_LOOKS =>
            {
                // What was to be raised never was: an alarm to come is somebody else's.
                self.quota.for_disk.store(false, Ordering::Relaxed);
                None
            }
            Room::Some | Room::Enough => None,
        })
    }

    /// Shows up to which size something is stored.
    pub(super) fn show_quota(&self) {
        self.metrics.quota_bytes.set(self.quota.shown(self.settings.quota_backend_bytes));
    }

    /// Lets a request wait that raises NOSPACE for this member, and returns its number. `None`: it
    /// is raised or being raised, or too much waits already.
    fn raise_no_space(&self) -> Option<u64> {
        if self.quota.is_alarmed() {
            return None;
        }
        if self.quota.limit == Limit::Disk {
            self.quota.for_disk.store(true, Ordering::Relaxed);
            // Raised by an estimate it must not go by the look that was made before.
            self.quota.roomy_looks.store(0, Ordering::Relaxed);
        }
        self.change_alarm(true)
    }

    /// Lets a request wait that raises or clears this member's NOSPACE. `None`: one waits already,
    /// or too much does.
    fn change_alarm(&self, active: bool) -> Option<u64> {
        let (member, boot) = (self.settings.member, self.settings.boot);
        let mut changing = lock(&self.quota.changing);
        if waits(&mut changing) {
            return None;
        }
        let sequence = self.pending.next_sequence();
        let alarm = Alarm { member, kind: AlarmKind::NoSpace };
        let request = Request {
            id: RequestId { member, boot, sequence },
            identity: Identity::anonymous(),
            command: Command::Alarm(AlarmCommand { active, alarm }),
        };
        let outcome = self.pending.wait(sequence, codec::encode_group(&[request]), None).ok()?;
        *changing = Some(outcome);
        Some(sequence)
    }
}

impl Handle {
    /// Refuses a request that this member has no room for, and then raises the alarm NOSPACE for
    /// it. What costs nothing always has room.
    ///
    /// # Errors
    ///
    /// [`Refused::NoSpace`].
    pub fn ensure_room(&self, cost: u64) -> Result<(), Refused> {
        let shared = self.shared();
        if cost == 0 || shared.quota.admits(cost) {
            return Ok(());
        }
        if let Some(sequence) = shared.raise_no_space()
            && self.offer(Input::Proposal(sequence)).is_err()
        {
            // The next request that is refused tries again.
            shared.pending.forget(sequence);
        }
        Err(Refused::NoSpace)
    }

    /// The logical size of the store, as it is shown: never 0, and the same on all members.
    #[must_use]
    pub fn db_size(&self) -> u64 {
        self.shared().quota.size()
    }

    /// The size up to which this member takes what stores something; negative: without limit.
    #[must_use]
    pub fn db_size_quota(&self) -> i64 {
        self.shared().quota.shown(self.settings().quota_backend_bytes)
    }
}

/// What is left for requests: the rest is for flushes, for compactions, and for the log of deletes.
fn above_reserve(space: DiskSpace) -> u64 {
    let reserve = limits::DISK_RESERVE_BYTES.min(space.total / limits::DISK_RESERVE_SHARE);
    space.free.saturating_sub(reserve)
}

/// Whether a request that changes the alarm waits.
fn waits(changing: &mut Option<Receiver<Outcome>>) -> bool {
    let outcome = changing.as_mut();
    outcome.is_some_and(|outcome| matches!(outcome.try_recv(), Err(TryRecvError::Empty)))
}

fn name(kind: AlarmKind) -> &'static str {
    match kind {
        AlarmKind::NoSpace => "NOSPACE",
        AlarmKind::Corrupt => "CORRUPT",
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn quota(setting: i64, free: u64) -> Quota {
        Quota::new(MemberId(1), setting, DiskSpace { used: 0, free, total: 1 << 40 })
    }

    /// The size and the cost together must stay below the limit.
    #[test]
    fn a_limit_is_not_reached() {
        let quota = quota(100_000, 0);
        quota.applied(&Store { logical_size: 50_000, ..Store::default() });
        let left = 100_000 - 50_000 - STORE_SIZE_BASE;

        assert!(quota.admits(left - 1));
        assert!(!quota.admits(left));
        assert!(!quota.admits(u64::MAX));
        assert_eq!(quota.shown(100_000), 100_000);
    }

    /// A negative limit is none, and is shown as it was set.
    #[test]
    fn a_negative_limit_is_none() {
        let quota = quota(-7, 0);
        assert!(quota.admits(u64::MAX));
        assert_eq!(quota.shown(-7), -7);
        assert_eq!(quota.measured(DiskSpace::default()), Room::Some);
    }

    /// Without a limit the disk is it, and what was let through since the last look is spent, in
    /// the log and in the state.
    #[test]
    fn the_disk_is_the_limit_otherwise() {
        let space = |free| DiskSpace { used: 0, free, total: 1 << 40 };
        let reserve = limits::DISK_RESERVE_BYTES;
        let quota = quota(0, reserve + 10 * MIB);

        assert!(quota.admits(3 * MIB));
        assert!(!quota.admits(3 * MIB), "4 of 10 MiB are left");
        assert_eq!(quota.measured(space(reserve + 10 * MIB)), Room::Some);
        assert!(quota.admits(3 * MIB));
        assert_eq!(quota.shown(0), gauge(STORE_SIZE_BASE + 10 * MIB));

        assert_eq!(quota.measured(space(reserve)), Room::None, "the reserve is not for requests");
        assert!(!quota.admits(1));
    }

    /// A small file system keeps a smaller reserve.
    #[test]
    fn the_reserve_of_a_small_disk_is_a_share_of_it() {
        let space = DiskSpace { used: 0, free: 30 * MIB, total: 100 * MIB };
        assert_eq!(above_reserve(space), 5 * MIB);
    }
}
