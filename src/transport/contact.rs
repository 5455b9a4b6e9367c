//! [`Contacts`]: since when streams run between this member and each of the others.
//!
//! A member is in contact while a stream of its own is accepted here and ours to it has settled. How
//! long that has lasted without a break tells whether the member is there to stay: changes of the
//! members are allowed by it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::types::MemberId;

/// The streams that run, by the member on their other side.
#[derive(Debug, Default)]
pub(super) struct Contacts {
    members: Mutex<BTreeMap<MemberId, Contact>>,
}

#[derive(Debug, Default)]
struct Contact {
    incoming: Side,
    outgoing: Side,
}

/// The streams of one direction. A new one may come before it is known that the old one is gone.
#[derive(Debug, Default)]
struct Side {
    streams: u32,
    since: Option<Instant>,
}

/// Which way a stream carries frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// From the other member, which has opened it.
    Incoming,
    /// To the other member.
    Outgoing,
}

impl Contacts {
    /// Counts a stream that has run since then, until what is returned is dropped.
    pub(super) fn stream(
        self: &Arc<Self>,
        member: MemberId,
        direction: Direction,
        since: Instant,
    ) -> Stream {
        let mut members = self.lock();
        let side = members.entry(member).or_default().side(direction);
        side.streams += 1;
        side.since.get_or_insert(since);
        drop(members);
        Stream { contacts: Arc::clone(self), member, direction }
    }

    /// How long streams have run in both directions without a break; `None` while one is missing.
    pub(super) fn lasting(&self, member: MemberId) -> Option<Duration> {
        self.since(member).map(|since| since.elapsed())
    }

    fn since(&self, member: MemberId) -> Option<Instant> {
        let members = self.lock();
        let contact = members.get(&member)?;
        Some(contact.incoming.since?.max(contact.outgoing.since?))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<MemberId, Contact>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contact {
    fn side(&mut self, direction: Direction) -> &mut Side {
        match direction {
            Direction::Incoming => &mut self.incoming,
            Direction::Outgoing => &mut self.outgoing,
        }
    }
}

/// A stream that runs. Dropped, it has ended.
#[derive(Debug)]
pub(super) struct Stream {
    contacts: Arc<Contacts>,
    member: MemberId,
    direction: Direction,
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut members = self.contacts.lock();
        let Some(contact) = members.get_mut(&self.member) else { return };
        let side = contact.side(self.direction);
        side.streams -= 1;
        if side.streams == 0 {
            side.since = None;
        }
        // Whoever has left for good is not remembered.
        if contact.incoming.streams == 0 && contact.outgoing.streams == 0 {
            members.remove(&self.member);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMBER: MemberId = MemberId(7);
    const SECOND: Duration = Duration::from_secs(1);

    /// Contact lasts since the later of both streams, and ends with the first that ends.
    #[test]
    fn contact_needs_a_stream_each_way() {
        let contacts = Arc::new(Contacts::default());
        let begin = Instant::now();
        let incoming = contacts.stream(MEMBER, Direction::Incoming, begin + SECOND);
        assert_eq!(contacts.since(MEMBER), None);

        let outgoing = contacts.stream(MEMBER, Direction::Outgoing, begin);
        assert_eq!(contacts.since(MEMBER), Some(begin + SECOND));

        drop(outgoing);
        assert_eq!(contacts.since(MEMBER), None);
        drop(incoming);
        assert!(contacts.lock().is_empty());
    }

    /// A member that connects anew before its old stream is known to be gone was not away.
    #[test]
    fn a_stream_that_takes_over_goes_on_counting() {
        let contacts = Arc::new(Contacts::default());
        let begin = Instant::now();
        let _outgoing = contacts.stream(MEMBER, Direction::Outgoing, begin);
        let old = contacts.stream(MEMBER, Direction::Incoming, begin);
        let _new = contacts.stream(MEMBER, Direction::Incoming, begin + SECOND);

        drop(old);

        assert_eq!(contacts.since(MEMBER), Some(begin));
    }
}
