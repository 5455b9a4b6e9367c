//! The two small records kept beside the entries: hard state and truncated position.
//!
//! Fixed-width numbers behind a tag byte, which a later form would change.

use crate::{
    node::LogStart,
    raft::{HardState, Position},
    types::{BootNumber, Index, MemberId, Term},
};

/// The key of the hard state.
pub(super) const HARD_STATE: &[u8] = b"hard-state";
/// The key of the truncated position.
pub(super) const TRUNCATED: &[u8] = b"truncated";

/// The key of the start that the log was last written in.
pub(super) const START: &[u8] = b"start";

const TAG: u8 = 1;

pub(super) fn encode_hard_state(state: HardState) -> Vec<u8> {
    let vote = state.vote.unwrap_or_default();
    encode([state.term.0, vote.0, state.commit.0])
}

pub(super) fn decode_hard_state(record: &[u8]) -> Option<HardState> {
    let [term, vote, commit] = decode(record)?;
    let vote = (vote != 0).then_some(MemberId(vote));
    Some(HardState { term: Term(term), vote, commit: Index(commit) })
}

pub(super) fn encode_position(position: Position) -> Vec<u8> {
    encode([position.index.0, position.term.0])
}

pub(super) fn decode_position(record: &[u8]) -> Option<Position> {
    let [index, term] = decode(record)?;
    Some(Position { index: Index(index), term: Term(term) })
}

pub(super) fn encode_start(start: LogStart) -> Vec<u8> {
    encode([start.boot.0, start.state])
}

pub(super) fn decode_start(record: &[u8]) -> Option<LogStart> {
    let [boot, state] = decode(record)?;
    Some(LogStart { boot: BootNumber(boot), state })
}

fn encode<const N: usize>(numbers: [u64; N]) -> Vec<u8> {
    let mut record = vec![TAG];
    record.extend(numbers.into_iter().flat_map(u64::to_be_bytes));
    record
}

fn decode<const N: usize>(record: &[u8]) -> Option<[u64; N]> {
    let (TAG, body) = record.split_first().map(|(tag, body)| (*tag, body))? else { return None };
    let (numbers, rest) = body.as_chunks::<8>();
    let numbers: &[[u8; 8]; N] = numbers.try_into().ok()?;
    rest.is_empty().then(|| numbers.map(u64::from_be_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both records come back as they were, and a cut one is refused.
    #[test]
    fn round_trip() {
        for vote in [None, Some(MemberId(3))] {
            let state = HardState { term: Term(7), vote, commit: Index(u64::MAX) };
            let record = encode_hard_state(state);
            assert_eq!(decode_hard_state(&record), Some(state));
            assert_eq!(decode_hard_state(&record[..record.len() - 1]), None);
            assert_eq!(decode_position(&record), None);
        }
        let position = Position { index: Index(1), term: Term(2) };
        assert_eq!(decode_position(&encode_position(position)), Some(position));
        assert_eq!(decode_position(&[]), None);
    }
}
