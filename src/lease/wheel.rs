//! A hierarchical timer wheel: what is due when, at a cost that does not grow with how much waits.
//!
//! After Varghese and Lauck, *Hashed and Hierarchical Timing Wheels* (1987), with 64 slots a level
//! and a millisecond as the finest step. A slot is a doubly linked list through the entries
//! themselves, so that adding and removing take no memory and a few steps. An entry lies on the
//! level of the highest digit (to the base 64) in which its time differs from the wheel's, in the
//! slot of that digit; so the lowest level that holds anything holds what is due first. When the
//! wheel comes to a slot above the lowest level, its entries move down.

use crate::types::Millis;

const BITS: u32 = 6;
const SLOTS: usize = 1 << BITS;
const DIGIT: u64 = (1 << BITS) - 1;
/// Eight levels reach almost nine thousand years.
const LEVELS: usize = 8;
const HORIZON: u64 = (1 << (BITS * 8)) - 1;
const NONE: u32 = u32::MAX;

/// Where an entry stands in the wheel: 16 bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    /// When it is due, below the horizon of 48 bits, and then level and slot with a byte each.
    due_and_place: u64,
    prev: u32,
    next: u32,
}

impl Default for Link {
    fn default() -> Self {
        Self { due_and_place: 0, prev: NONE, next: NONE }
    }
}

impl Link {
    fn new(due: u64, place: Place, next: u32) -> Self {
        let due_and_place = due << 16 | u64::from(place.level) << 8 | u64::from(place.slot);
        Self { due_and_place, prev: NONE, next }
    }

    fn due(&self) -> u64 {
        self.due_and_place >> 16
    }

    fn place(&self) -> Place {
        let [slot, level, ..] = self.due_and_place.to_le_bytes();
        Place { level, slot }
    }
}

/// A slot of a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    level: u8,
    slot: u8,
}

/// Who holds the entries.
pub(super) trait Links {
    /// The link of an entry, by its number. Numbers are below `u32::MAX`.
    fn link(&mut self, number: u32) -> &mut Link;
}

/// The wheel; it knows entries by number.
#[derive(Debug)]
pub(super) struct Wheel {
    /// Everything due before has come out or stands in the slot that is being moved down.
    now: u64,
    levels: [Level; LEVELS],
    /// The slot whose entries are on their way down.
    moving: Option<Place>,
}

#[derive(Clone, Copy, Debug)]
struct Level {
    /// A bit for each slot that holds something.
    occupied: u64,
    heads: [u32; SLOTS],
}

impl Default for Wheel {
    fn default() -> Self {
        let level = Level { occupied: 0, heads: [NONE; SLOTS] };
        Self { now: 0, levels: [level; LEVELS], moving: None }
    }
}

impl Wheel {
    /// Adds an entry that is not in the wheel. A time that has passed counts as now.
    pub(super) fn insert(&mut self, links: &mut impl Links, number: u32, due: Millis) {
        let due = due.0.clamp(self.now, HORIZON);
        let place = place_of(self.now, due);
        let next = std::mem::replace(self.head(place), number);
        *links.link(number) = Link::new(due, place, next);
        if next == NONE {
            self.level(place).occupied |= 1 << place.slot;
        } else {
            links.link(next).prev = number;
        }
    }

    /// Takes an entry out that is in the wheel.
    pub(super) fn remove(&mut self, links: &mut impl Links, number: u32) {
        let link = *links.link(number);
        let (Link { prev, next, .. }, place) = (link, link.place());
        if next != NONE {
            links.link(next).prev = prev;
        }
        if prev != NONE {
            links.link(prev).next = next;
            return;
        }
        *self.head(place) = next;
        if next == NONE {
            self.level(place).occupied &= !(1 << place.slot);
        }
    }

    /// Takes out an entry that is due at `now`; of two, in general the one due first. An entry that
    /// moves or comes out is a step: when `steps` have run out, the answer is `None` although
    /// something may be due.
    pub(super) fn pop(
        &mut self,
        links: &mut impl Links,
        now: Millis,
        steps: &mut usize,
    ) -> Option<u32> {
        loop {
            let Some(place) = self.first() else {
                self.now = self.now.max(now.0);
                return None;
            };
            let start = self.start_of(place);
            if start > now.0 {
                self.now = self.now.max(now.0);
                return None;
            }
            *steps = steps.checked_sub(1)?;
            self.now = self.now.max(start);
            self.moving = (place.level > 0).then_some(place);
            let number = *self.head(place);
            let due = links.link(number).due();
            self.remove(links, number);
            if due <= self.now {
                return Some(number);
            }
            self.insert(links, number, Millis(due));
        }
    }

    /// An empty wheel that has come to `now`.
    pub(super) fn starting(now: Millis) -> Self {
        Self { now: now.0.min(HORIZON), ..Self::default() }
    }

    /// The slot with what is due first. A slot that has begun to move down goes on first: what it
    /// still holds may be due before what has moved.
    fn first(&self) -> Option<Place> {
        let holds = |place: &Place| {
            let level = self.levels.get(usize::from(place.level));
            level.is_some_and(|level| level.occupied & (1 << place.slot) != 0)
        };
        self.moving.filter(holds).or_else(|| {
            let (level, found) = (0..).zip(&self.levels).find(|(_, level)| level.occupied != 0)?;
            let slot = u8::try_from(found.occupied.trailing_zeros()).ok()?;
            Some(Place { level, slot })
        })
    }

    /// When a slot begins, on the present turn of its level.
    fn start_of(&self, place: Place) -> u64 {
        let shift = BITS * u32::from(place.level);
        let turn = self.now >> (shift + BITS) << (shift + BITS);
        turn | u64::from(place.slot) << shift
    }

    fn level(&mut self, place: Place) -> &mut Level {
        self.levels.get_mut(usize::from(place.level)).expect("there are eight levels")
    }

    fn head(&mut self, place: Place) -> &mut u32 {
        let heads = &mut self.level(place).heads;
        heads.get_mut(usize::from(place.slot)).expect("there are 64 slots")
    }
}

/// The place of a time at or after `now`.
fn place_of(now: u64, due: u64) -> Place {
    let differing = (now ^ due) | DIGIT;
    let level = differing.ilog2() / BITS;
    let slot = due >> (BITS * level) & DIGIT;
    Place {
        level: u8::try_from(level).expect("times are below the horizon"),
        slot: u8::try_from(slot).expect("a digit is below 64"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, btree_map::Entry};

    use proptest::prelude::*;

    use super::*;

    impl Links for Vec<Link> {
        fn link(&mut self, number: u32) -> &mut Link {
            &mut self[number as usize]
        }
    }

    fn pop_all(wheel: &mut Wheel, links: &mut Vec<Link>, now: u64) -> Vec<u32> {
        let mut steps = usize::MAX;
        std::iter::from_fn(|| wheel.pop(links, Millis(now), &mut steps)).collect()
    }

    /// Entries come out at their time and not before, however far away it was.
    #[test]
    fn pops_in_order_and_not_early() {
        let mut links = vec![Link::default(); 4];
        let mut wheel = Wheel::default();
        for (number, due) in [(0, 70), (1, 5_000), (2, 300_000), (3, u64::MAX)] {
            wheel.insert(&mut links, number, Millis(due));
        }
        for (now, expected) in [
            (69, vec![]),
            (70, vec![0]),
            (4_999, vec![]),
            (300_000, vec![1, 2]),
            (HORIZON - 1, vec![]),
        ] {
            assert_eq!(pop_all(&mut wheel, &mut links, now), expected, "at {now}");
        }
    }

    /// An entry that was taken out does not come.
    #[test]
    fn removes_first_middle_and_last_of_a_slot() {
        let mut links = vec![Link::default(); 5];
        let mut wheel = Wheel::default();
        (0..5).for_each(|number| wheel.insert(&mut links, number, Millis(4_100)));
        for gone in [4, 2, 0] {
            wheel.remove(&mut links, gone);
        }
        assert_eq!(pop_all(&mut wheel, &mut links, 10_000), [1, 3]);
        assert_eq!(wheel.first(), None);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u32, u64),
        Remove(u32),
        Advance(u64, usize),
        Clear,
    }

    fn step() -> impl Strategy<Value = Step> {
        let span = prop_oneof![0..100_u64, 0..10_000_u64, 0..10_000_000_u64, Just(u64::MAX)];
        let forward = prop_oneof![0..200_u64, 0..5_000_u64, 0..3_000_000_u64];
        prop_oneof![
            6 => (0..40_u32, span).prop_map(|(number, span)| Step::Insert(number, span)),
            2 => (0..40_u32).prop_map(Step::Remove),
            4 => (forward, 0..60_usize).prop_map(|(span, steps)| Step::Advance(span, steps)),
            1 => Just(Step::Clear),
        ]
    }

    proptest! {
        /// Against a sorted map: nothing early, nothing forgotten, whatever the work is cut into.
        #[test]
        fn behaves_as_a_sorted_map(steps in prop::collection::vec(step(), 1..300)) {
            let mut links = vec![Link::default(); 40];
            let mut wheel = Wheel::default();
            let mut model: BTreeMap<u32, u64> = BTreeMap::new();
            let mut now = 0;
            for step in steps {
                match step {
                    Step::Insert(number, span) => {
                        if let Entry::Vacant(entry) = model.entry(number) {
                            let due = *entry.insert(span.saturating_add(now));
                            wheel.insert(&mut links, number, Millis(due));
                        }
                    }
                    Step::Remove(number) => {
                        if model.remove(&number).is_some() {
                            wheel.remove(&mut links, number);
                        }
                    }
                    Step::Advance(span, mut budget) => {
                        now += span;
                        while let Some(number) = wheel.pop(&mut links, Millis(now), &mut budget) {
                            let due = model.remove(&number);
                            prop_assert!(due.is_some_and(|due| due <= now), "{due:?} at {now}");
                        }
                        if budget > 0 {
                            prop_assert!(model.values().all(|due| *due > now));
                        }
                    }
                    Step::Clear => {
                        model.clear();
                        wheel = Wheel::starting(Millis(now));
                    }
                }
            }
            let rest = pop_all(&mut wheel, &mut links, HORIZON);
            prop_assert_eq!(rest.len(), model.len());
        }
    }
}
