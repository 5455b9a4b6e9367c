//! What a stream of a snapshot is about, as messages of `peer.proto` and back.

use super::assembly::{Place, Totals};
use crate::{
    node::ports::Checkpoint,
    proto::internal as pb,
    raft::Position,
    types::{BootNumber, Index, MemberId, Term},
};

/// Names one checkpoint of one member: no other one that it ever makes is called the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SnapshotName {
    pub(super) from: MemberId,
    pub(super) boot: BootNumber,
    pub(super) checkpoint: u64,
    /// The last entry it holds.
    pub(super) applied: Position,
}

impl SnapshotName {
    pub(super) fn new(from: MemberId, boot: BootNumber, checkpoint: Checkpoint) -> Self {
        Self { from, boot, checkpoint: checkpoint.id.0, applied: checkpoint.applied }
    }

    /// Whether this one is received instead of the other, whose stream seems to be open still. A
    /// member sends one at a time; and a leader of the past is not to hold up the next one.
    pub(super) fn supersedes(self, other: Self) -> bool {
        let age = |name: Self| (name.applied.term, name.applied.index);
        self.from == other.from || age(self) > age(other)
    }

    pub(super) fn to_proto(self) -> pb::SnapshotName {
        pb::SnapshotName {
            boot: self.boot.0,
            checkpoint: self.checkpoint,
            index: self.applied.index.0,
            term: self.applied.term.0,
        }
    }

    pub(super) fn of_proto(from: MemberId, name: Option<pb::SnapshotName>) -> Option<Self> {
        let pb::SnapshotName { boot, checkpoint, index, term } = name?;
        let applied = Position { index: Index(index), term: Term(term) };
        Some(Self { from, boot: BootNumber(boot), checkpoint, applied })
    }
}

/// What the first chunk of a stream says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) name: SnapshotName,
    /// Of the whole snapshot.
    pub(super) totals: Totals,
    /// Where the stream begins.
    pub(super) from: Place,
}

impl Head {
    pub(super) fn to_proto(self) -> pb::SnapshotHead {
        pb::SnapshotHead {
            name: Some(self.name.to_proto()),
            files: count(self.totals.files),
            bytes: self.totals.bytes,
            from: Some(place_to_proto(self.from)),
        }
    }

    pub(super) fn of_proto(from: MemberId, head: Option<pb::SnapshotHead>) -> Option<Self> {
        let head = head?;
        let name = SnapshotName::of_proto(from, head.name)?;
        let totals = Totals { files: usize::try_from(head.files).ok()?, bytes: head.bytes };
        Some(Self { name, totals, from: place_of_proto(head.from)? })
    }
}

pub(super) fn place_to_proto(place: Place) -> pb::SnapshotPlace {
    pb::SnapshotPlace { files: count(place.files), open_bytes: place.open_bytes }
}

pub(super) fn place_of_proto(place: Option<pb::SnapshotPlace>) -> Option<Place> {
    let pb::SnapshotPlace { files, open_bytes } = place?;
    Some(Place { files: usize::try_from(files).ok()?, open_bytes })
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(from: u64, checkpoint: u64, term: u64, index: u64) -> SnapshotName {
        let applied = Position { index: Index(index), term: Term(term) };
        SnapshotName { from: MemberId(from), boot: BootNumber(3), checkpoint, applied }
    }

    /// What is sent is what arrives.
    #[test]
    fn heads_survive_the_way() {
        let head = Head {
            name: name(1, 2, 3, 4),
            totals: Totals { files: 5, bytes: 6 },
            from: Place { files: 2, open_bytes: 7 },
        };
        assert_eq!(Head::of_proto(MemberId(1), Some(head.to_proto())), Some(head));
        assert_eq!(Head::of_proto(MemberId(1), None), None);
    }

    /// A sender that comes again means it, and a newer state is worth more than an older one.
    #[test]
    fn the_same_sender_and_the_newer_state_go_first() {
        let open = name(1, 2, 3, 4);
        assert!(open.supersedes(open));
        assert!(name(1, 3, 3, 2).supersedes(open));
        assert!(name(2, 1, 4, 1).supersedes(open));
        assert!(name(2, 1, 3, 5).supersedes(open));
        assert!(!name(2, 1, 3, 4).supersedes(open));
        assert!(!name(2, 1, 2, 9).supersedes(open));
    }
}
