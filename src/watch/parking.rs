//! [`Parking`]: the watchers of all streams, and which of them wait for their group.
//!
//! A watcher that was told everything is *parked* with its group. The next match takes all who are
//! parked there out at once; whoever is awake anyway is not looked at. So a match costs what it
//! wakes, and a watcher costs nothing while its stream has a backlog.

use std::sync::Arc;

use crate::watch::{WatchId, index::GroupId, mailbox::Mailbox};

/// Names a watcher in the parking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MemberId(u32);

/// Stands for "no member" in the lists.
const NONE: u32 = u32::MAX;
/// Members have smaller numbers.
const MEMBERS_MAX: u32 = u32::MAX - 1;

/// All watchers. Those that are parked form a list for each group, linked through their slots, so
/// that one can leave from the middle.
#[derive(Debug, Default)]
pub(super) struct Parking {
    slots: Vec<Slot>,
    /// Slots without a member.
    free: Vec<u32>,
    /// The first and the last who is parked, by the number of the group.
    ends: Vec<(u32, u32)>,
    parked: usize,
}

/// There may be a million: its group is known to whoever names it.
#[derive(Debug)]
struct Slot {
    /// None when the slot is free.
    mailbox: Option<Arc<Mailbox>>,
    watcher: WatchId,
    place: Place,
}

/// Where a member is: between these in its group's list, or in none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    before: u32,
    after: u32,
}

impl Place {
    /// Its stream knows that it has something to come.
    const AWAKE: Self = Self { before: MEMBERS_MAX, after: MEMBERS_MAX };
}

impl Parking {
    /// Takes a watcher in, awake.
    pub(super) fn enter(&mut self, mailbox: &Arc<Mailbox>, watcher: WatchId) -> MemberId {
        let slot = Slot { mailbox: Some(Arc::clone(mailbox)), watcher, place: Place::AWAKE };
        let free = self.free.pop();
        if let Some((at, place)) = free.and_then(|at| self.slot_mut(at).map(|place| (at, place))) {
            *place = slot;
            return MemberId(at);
        }
        let at = u32::try_from(self.slots.len()).ok().filter(|at| *at < MEMBERS_MAX);
        let at = at.expect("there are fewer watchers than 2^32 - 2");
        self.slots.push(slot);
        MemberId(at)
    }

    /// Takes a watcher of a group out for good.
    pub(super) fn leave(&mut self, group: GroupId, MemberId(at): MemberId) {
        self.unlink(group, at);
        if let Some(slot) = self.slot_mut(at) {
            slot.mailbox = None;
            self.free.push(at);
        }
    }

    /// Lets a watcher that is awake wait for its group, after all others who do.
    pub(super) fn park(&mut self, group: GroupId, MemberId(at): MemberId) {
        if self.slot_mut(at).is_none_or(|slot| slot.place != Place::AWAKE) {
            return;
        }
        if self.ends.len() <= group.number() {
            self.ends.resize(group.number() + 1, (NONE, NONE));
        }
        let Some((first, last)) = self.ends.get_mut(group.number()) else { return };
        let before = std::mem::replace(last, at);
        if *first == NONE {
            *first = at;
        }
        self.relink(before, |place| Place { after: at, ..place });
        self.set_place(at, Place { before, after: NONE });
        self.parked += 1;
    }

    /// Takes out all who are parked with a group, and shows each.
    pub(super) fn wake_group(&mut self, group: GroupId, mut each: impl FnMut(&Mailbox, WatchId)) {
        let Some(ends) = self.ends.get_mut(group.number()) else { return };
        let (mut at, _) = std::mem::replace(ends, (NONE, NONE));
        while let Some(slot) = self.slot_mut(at) {
            let Place { after, .. } = std::mem::replace(&mut slot.place, Place::AWAKE);
            if let Some(mailbox) = &slot.mailbox {
                each(mailbox, slot.watcher);
            }
            self.parked -= 1;
            at = after;
        }
    }

    /// Takes out all who are parked anywhere, and shows each.
    pub(super) fn wake_all(&mut self, mut each: impl FnMut(&Mailbox, WatchId)) {
        self.ends.fill((NONE, NONE));
        self.parked = 0;
        for slot in &mut self.slots {
            if let Some(mailbox) = slot.mailbox.as_ref().filter(|_| slot.place != Place::AWAKE) {
                slot.place = Place::AWAKE;
                each(mailbox, slot.watcher);
            }
        }
    }

    /// How many watchers there are.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// How many of them wait for nothing but their group.
    pub(super) fn parked(&self) -> usize {
        self.parked
    }

    fn unlink(&mut self, group: GroupId, at: u32) {
        let place = self.slot_mut(at).map(|slot| slot.place);
        let Some(Place { before, after }) = place.filter(|place| *place != Place::AWAKE) else {
            return;
        };
        self.set_place(at, Place::AWAKE);
        self.relink(after, |place| Place { before, ..place });
        self.relink(before, |place| Place { after, ..place });
        if let Some((first, last)) = self.ends.get_mut(group.number()) {
            if before == NONE {
                *first = after;
            }
            if after == NONE {
                *last = before;
            }
        }
        self.parked -= 1;
    }

    /// Gives a member of a list other neighbours. Nothing happens for `NONE`.
    fn relink(&mut self, at: u32, place: impl FnOnce(Place) -> Place) {
        if let Some(slot) = self.slot_mut(at) {
            slot.place = place(slot.place);
        }
    }

    fn set_place(&mut self, at: u32, place: Place) {
        if let Some(slot) = self.slot_mut(at) {
            slot.place = place;
        }
    }

    fn slot_mut(&mut self, at: u32) -> Option<&mut Slot> {
        self.slots.get_mut(usize::try_from(at).ok()?)
    }
}

const _: () = assert!(size_of::<Slot>() <= 24);
