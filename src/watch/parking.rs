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

#[derive(Debug)]
struct Slot {
    /// None when the slot is free.
    mailbox: Option<Arc<Mailbox>>,
    watcher: WatchId,
    group: GroupId,
    place: Place,
}

/// Where a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Its stream knows that it has something to come.
    Awake,
    /// In its group's list, between these.
    Parked { before: u32, after: u32 },
}

impl Parking {
    /// Takes a watcher in, awake.
    pub(super) fn enter(
        &mut self,
        group: GroupId,
        mailbox: &Arc<Mailbox>,
        watcher: WatchId,
    ) -> MemberId {
        let slot = Slot { mailbox: Some(Arc::clone(mailbox)), watcher, group, place: Place::Awake };
        let free = self.free.pop();
        if let Some((at, place)) = free.and_then(|at| self.slot_mut(at).map(|place| (at, place))) {
            *place = slot;
            return MemberId(at);
        }
        let at = u32::try_from(self.slots.len()).expect("there are fewer watchers than 2^32");
        self.slots.push(slot);
        MemberId(at)
    }

    /// Takes a watcher out for good.
    pub(super) fn leave(&mut self, MemberId(at): MemberId) {
        self.unlink(at);
        if let Some(slot) = self.slot_mut(at) {
            slot.mailbox = None;
            self.free.push(at);
        }
    }

    /// Lets a watcher that is awake wait for its group, after all others who do.
    pub(super) fn park(&mut self, MemberId(at): MemberId) {
        let Some(&mut Slot { group, place: Place::Awake, .. }) = self.slot_mut(at) else { return };
        if self.ends.len() <= group.number() {
            self.ends.resize(group.number() + 1, (NONE, NONE));
        }
        let Some((first, last)) = self.ends.get_mut(group.number()) else { return };
        let before = std::mem::replace(last, at);
        if *first == NONE {
            *first = at;
        }
        self.relink(before, |previous, _| Place::Parked { before: previous, after: at });
        self.set_place(at, Place::Parked { before, after: NONE });
        self.parked += 1;
    }

    /// Takes out all who are parked with a group, and shows each.
    pub(super) fn wake_group(&mut self, group: GroupId, mut each: impl FnMut(&Mailbox, WatchId)) {
        let Some(ends) = self.ends.get_mut(group.number()) else { return };
        let (mut at, _) = std::mem::replace(ends, (NONE, NONE));
        while let Some(slot) = self.slot_mut(at) {
            let Place::Parked { after, .. } = slot.place else { break };
            slot.place = Place::Awake;
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
            if let (Place::Parked { .. }, Some(mailbox)) = (slot.place, &slot.mailbox) {
                slot.place = Place::Awake;
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

    fn unlink(&mut self, at: u32) {
        let Some(&mut Slot { group, place: Place::Parked { before, after }, .. }) =
            self.slot_mut(at)
        else {
            return;
        };
        self.set_place(at, Place::Awake);
        self.relink(after, |_, next| Place::Parked { before, after: next });
        self.relink(before, |previous, _| Place::Parked { before: previous, after });
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
    fn relink(&mut self, at: u32, place: impl FnOnce(u32, u32) -> Place) {
        if let Some(slot) = self.slot_mut(at)
            && let Place::Parked { before, after } = slot.place
        {
            slot.place = place(before, after);
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
