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
/// The key of the last start that the identity had counted, too. Older programs do not look at it.
pub(super) const COUNTED: &[u8] = b"start-counted";

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

/// The start in a record, beside that of the last one that was counted, if there is any.
pub(super) fn decode_start(record: &[u8], counted: Option<&[u8]>) -> Option<LogStart> {
    let [boot, state] = decode(record)?;
    let counted = counted.map(|record| decode(record).map(|[boot]| boot));
    let counted = match counted {
        Some(None) => return None,
        Some(counted) => counted == Some(boot),
        None => false,
    };
    Some(LogStart { boot: BootNumber(boot), state, counted })
}

pub(super) fn encode_counted(boot: BootNumber) -> Vec<u8> {
    encode([boot.0])
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

    /// A start is counted when the other record has its number; without that record it is not.
    #[test]
    fn a_start_comes_back_with_whether_it_was_counted() {
        let start = LogStart { boot: BootNumber(7), state: 3, counted: true };
        let (record, counted) = (encode_start(start), encode_counted(start.boot));
        assert_eq!(decode_start(&record, Some(&counted)), Some(start));
        let not = Some(LogStart { counted: false, ..start });
        assert_eq!(decode_start(&record, None), not);
        assert_eq!(decode_start(&record, Some(&encode_counted(BootNumber(6)))), not);
        assert_eq!(decode_start(&record, Some(&counted[1..])), None);
    }

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
