//! [`Board`]: who watches what, and what happened lately.
//!
//! Watchers of equal range and filter form a *group*, across streams. Each revision is matched once
//! with the groups, and each group that wants some of it gets an entry in its own short list. So a
//! watcher is a cursor on the list of its group: what does not concern it, it never looks at, and it
//! has fallen behind only when something that concerns it left memory.
//!
//! The revisions kept are bounded in number, in bytes, and in the entries that they caused.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
};

use crate::{
    types::{KeyRange, Revision},
    watch::{
        Filter, WatchId,
        index::{Extent, GroupId, Index},
        mailbox::{Mailbox, Note},
        parking::{MemberId, Parking},
        recorded::{Batch, Recorded},
    },
};

/// Bounds on what is kept of the recent past.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) revisions: usize,
    pub(super) bytes: usize,
    /// Events in the entries of groups.
    pub(super) matches: usize,
    /// Revisions behind which a watcher of a single key is far from what is kept.
    pub(super) far: i64,
}

/// Groups, and the newest revisions matched with them.
#[derive(Debug)]
pub(super) struct Board {
    bounds: Bounds,
    groups: Index<Group>,
    parking: Mutex<Parking>,
    /// Without a gap, up to and with `matched`.
    recent: VecDeque<Kept>,
    bytes: usize,
    matches: usize,
    /// Everything up to here was matched with every group.
    matched: Revision,
}

/// One recent revision.
#[derive(Debug)]
struct Kept {
    events: Batch,
    bytes: usize,
    /// The groups whose list had an entry for it, and how many events those entries have.
    groups: Vec<GroupId>,
    matches: usize,
}

/// Watchers of equal range and filter.
#[derive(Debug)]
struct Group {
    members: u32,
    /// What of the recent revisions is for it, in order. Most of a million groups have nothing.
    #[expect(clippy::box_collection, reason = "what is empty takes a quarter of the room")]
    entries: Option<Box<VecDeque<Entry>>>,
    /// There may have been something for it, up to here, that is not among its entries.
    forgotten: Revision,
}

/// What of one revision is for a group.
#[derive(Debug)]
struct Entry {
    revision: Revision,
    events: Which,
}

/// Some events of a revision, by their place in it.
#[derive(Debug)]
enum Which {
    One(u32),
    Many(Box<[u32]>),
}

/// A watcher's place on the board.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat {
    pub(super) group: GroupId,
    pub(super) member: MemberId,
}

impl Board {
    pub(super) fn new(matched: Revision, bounds: Bounds) -> Self {
        Self {
            bounds,
            groups: Index::new(),
            parking: Mutex::default(),
            recent: VecDeque::new(),
            bytes: 0,
            matches: 0,
            matched,
        }
    }

    /// Everything up to here was matched with every group.
    pub(super) fn matched(&self) -> Revision {
        self.matched
    }

    /// Adds a watcher, awake. What was matched before is not among the entries of a new group.
    pub(super) fn join(
        &mut self,
        range: &KeyRange,
        filter: Filter,
        mailbox: &Arc<Mailbox>,
        watcher: WatchId,
    ) -> Seat {
        let group = self.groups.find(range, filter).unwrap_or_else(|| {
            let group = Group { members: 0, entries: None, forgotten: self.matched };
            self.groups.insert(range, filter, group).expect("there are fewer groups than 2^32")
        });
        if let Some(group) = self.groups.get_mut(group) {
            group.members += 1;
        }
        Seat { group, member: self.parking().enter(mailbox, watcher) }
    }

    /// Takes a watcher away, and its group with the last one.
    pub(super) fn leave(&mut self, seat: Seat) {
        self.parking().leave(seat.group, seat.member);
        let Some(group) = self.groups.get_mut(seat.group) else { return };
        group.members -= 1;
        if group.members == 0 {
            self.groups.remove(seat.group);
        }
    }

    /// Lets watchers wait for their groups. None of them may have something to come.
    pub(super) fn park(&self, seats: &[Seat]) {
        if !seats.is_empty() {
            let mut parking = self.parking();
            seats.iter().for_each(|seat| parking.park(seat.group, seat.member));
        }
    }

    /// How many watchers there are, and how many of them wait for nothing but their group.
    pub(super) fn watchers(&self) -> (usize, usize) {
        let parking = self.parking();
        (parking.len(), parking.parked())
    }

    /// Takes in the events of the next revision. Who is to be woken is added to `wakers`. Returns how
    /// much work it was: events matched and watchers woken.
    pub(super) fn take_in(
        &mut self,
        revision: Revision,
        events: Batch,
        wakers: &mut Vec<Waker>,
    ) -> usize {
        let Some(matched) = self.matching(&events) else {
            // So many groups want so many events that they had better look for themselves.
            return self.start_over(revision, wakers);
        };
        let mut groups = Vec::new();
        for found in matched.chunk_by(|(a, _), (b, _)| a == b) {
            let Some((id, _)) = found.first() else { continue };
            let Some(group) = self.groups.get_mut(*id) else { continue };
            let events = match found {
                [(_, one)] => Which::One(*one),
                many => Which::Many(many.iter().map(|(_, event)| *event).collect()),
            };
            group.entries.get_or_insert_default().push_back(Entry { revision, events });
            groups.push(*id);
        }
        let mut work = matched.len();
        let parking = self.parking.get_mut().unwrap_or_else(PoisonError::into_inner);
        for group in &groups {
            parking.wake_group(*group, |mailbox, watcher| {
                work += 1;
                wakers.extend(mailbox.post(Note { watcher, next: revision }));
            });
        }
        let bytes = events.iter().map(Recorded::bytes).sum();
        self.matches += matched.len();
        self.bytes += bytes;
        self.recent.push_back(Kept { events, bytes, groups, matches: matched.len() });
        self.matched = revision;
        self.evict();
        work
    }

    /// Starts over at a revision: what came before is to be read from history. Everyone is woken,
    /// for there may have been something for anybody since the last revision that was matched.
    /// Returns how much work it was.
    pub(super) fn start_over(&mut self, matched: Revision, wakers: &mut Vec<Waker>) -> usize {
        self.recent.clear();
        self.bytes = 0;
        self.matches = 0;
        let next = self.matched.next();
        self.matched = matched;
        for group in self.groups.iter_mut() {
            group.entries = None;
            group.forgotten = matched;
        }
        let parking = self.parking.get_mut().unwrap_or_else(PoisonError::into_inner);
        parking.wake_all(|mailbox, watcher| wakers.extend(mailbox.post(Note { watcher, next })));
        parking.len()
    }

    /// There may be something for the group, up to this revision, that is not in memory.
    pub(super) fn forgotten(&self, group: GroupId) -> Revision {
        self.groups.get(group).map_or(self.matched, |group| group.forgotten)
    }

    /// What is in memory for the group, from a revision on, a row of events for each revision.
    pub(super) fn entries(
        &self,
        group: GroupId,
        from: Revision,
    ) -> impl Iterator<Item = (Revision, impl Iterator<Item = &Recorded>)> {
        let entries = self.groups.get(group).and_then(|group| group.entries.as_deref());
        let entries = entries
            .map(|entries| entries.range(entries.partition_point(|entry| entry.revision < from)..));
        entries.unwrap_or_default().filter_map(|entry| {
            let events = self.events(entry.revision)?;
            let wanted = match &entry.events {
                Which::One(at) => std::slice::from_ref(at),
                Which::Many(at) => at,
            };
            let wanted = wanted.iter().filter_map(|at| events.get(usize::try_from(*at).ok()?));
            Some((entry.revision, wanted))
        })
    }

    /// The range and the filter of a group.
    pub(super) fn wants(&self, group: GroupId) -> Option<(Extent<'_>, Filter)> {
        Some((self.groups.extent(group)?, self.groups.filter(group)?))
    }

    /// The revisions kept from one on, and which is the first of them that has events; none when it
    /// is not kept any more, or did not happen yet.
    pub(super) fn since(&self, from: Revision) -> Option<(Revision, impl Iterator<Item = &Batch>)> {
        let first = self.first();
        // Nothing happened at the first revision, so a board that begins after it lacks nothing.
        let from = if first <= Revision::FIRST.next() { from.max(first) } else { from };
        let skip = usize::try_from(from.0 - first.0).ok()?;
        let kept = self.recent.iter().skip(skip).map(|kept| &kept.events);
        (skip < self.recent.len()).then_some((from, kept))
    }

    /// How many revisions lie between one and the present, if it is far away.
    pub(super) fn far_behind(&self, next: Revision) -> Option<i64> {
        let behind = self.matched.0 - next.0;
        (behind >= self.bounds.far && self.since(next).is_none()).then_some(behind)
    }

    fn events(&self, revision: Revision) -> Option<&Batch> {
        let at = usize::try_from(revision.0 - self.first().0).ok()?;
        self.recent.get(at).map(|kept| &kept.events)
    }

    /// The oldest revision kept; the one after `matched` when there is none.
    fn first(&self) -> Revision {
        let len = i64::try_from(self.recent.len()).expect("the recent revisions are bounded");
        Revision(self.matched.0 + 1 - len)
    }

    /// Which groups want which of these events, by group and then in their order; none when there
    /// are more pairs of both than may be kept.
    fn matching(&self, events: &[Recorded]) -> Option<Vec<(GroupId, u32)>> {
        let mut matched = Vec::new();
        for (recorded, at) in events.iter().zip(0_u32..) {
            let event = recorded.event();
            self.groups.matching(event.key(), |group| {
                if self.groups.filter(group).is_some_and(|filter| filter.passes(event)) {
                    matched.push((group, at));
                }
            });
            if matched.len() > self.bounds.matches {
                return None;
            }
        }
        if events.len() > 1 {
            matched.sort_unstable();
        }
        Some(matched)
    }

    /// Drops the oldest revisions until the bounds hold. The newest stays, whatever its size.
    fn evict(&mut self) {
        let Bounds { revisions, bytes, matches, far: _ } = self.bounds;
        while self.recent.len() > 1
            && (self.recent.len() > revisions || self.bytes > bytes || self.matches > matches)
        {
            let revision = self.first();
            let Some(kept) = self.recent.pop_front() else { break };
            self.bytes -= kept.bytes;
            self.matches -= kept.matches;
            for group in kept.groups {
                // A group that came later under the same number has no entry this old.
                let Some(group) = self.groups.get_mut(group) else { continue };
                let Some(entries) = &mut group.entries else { continue };
                if entries.front().is_some_and(|entry| entry.revision == revision) {
                    entries.pop_front();
                    group.forgotten = revision;
                    if entries.is_empty() {
                        group.entries = None;
                    }
                }
            }
        }
    }

    fn parking(&self) -> MutexGuard<'_, Parking> {
        self.parking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
