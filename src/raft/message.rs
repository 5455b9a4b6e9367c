//! Messages as bytes: checked before they are parsed, because the parser behind them recurses
//! without a bound on unknown groups (RUSTSEC-2024-0437).

use bytes::Bytes;
use protobuf::Message as _;
use raft_rs::eraftpb::Message;

use crate::raft::StepError;

/// Encodes a message.
pub(super) fn encode(message: &Message) -> Bytes {
    let bytes = message.write_to_bytes().expect("a message is always fully set");
    Bytes::from(bytes)
}

/// Decodes a message, refusing bytes that hold a protobuf group.
pub(super) fn decode(bytes: &Bytes) -> Result<Message, StepError> {
    // Message holds entries and a snapshot; the snapshot holds metadata, which holds a ConfState.
    // Only those are walked into: everything else is a number or plain bytes.
    if !Scan(bytes).free_of_groups(&MESSAGE) {
        return Err(StepError::Malformed);
    }
    Message::parse_from_carllerche_bytes(bytes).map_err(|_| StepError::Malformed)
}

/// Whether these bytes, as a change of the configuration, hold no protobuf group.
pub(super) fn is_plain_conf_change(bytes: &Bytes) -> bool {
    Scan(bytes).free_of_groups(&CONF_CHANGE)
}

/// Which fields of a message are messages themselves.
struct Shape {
    children: &'static [(u64, &'static Shape)],
}

const LEAF: Shape = Shape { children: &[] };
const METADATA: Shape = Shape { children: &[(1, &LEAF)] };
const SNAPSHOT: Shape = Shape { children: &[(2, &METADATA)] };
/// eraftpb.Message: `entries` is field 7, `snapshot` is field 9.
const MESSAGE: Shape = Shape { children: &[(7, &LEAF), (9, &SNAPSHOT)] };

/// eraftpb.ConfChangeV2: `changes` is field 2.
const CONF_CHANGE: Shape = Shape { children: &[(2, &LEAF)] };

struct Scan<'a>(&'a [u8]);

impl Scan<'_> {
    fn free_of_groups(mut self, shape: &Shape) -> bool {
        while !self.0.is_empty() {
            if self.field(shape).is_none() {
                return false;
            }
        }
        true
    }

    /// Steps over one field; `None` when it is damaged or a group.
    fn field(&mut self, shape: &Shape) -> Option<()> {
        // The parser cuts longer tags down to 32 bits and so sees other fields than this would.
        let tag = u64::from(u32::try_from(self.varint()?).ok()?);
        match tag & 7 {
            0 => self.varint().map(drop),
            1 => self.take(8).map(drop),
            2 => {
                let len = usize::try_from(self.varint()?).ok()?;
                let body = self.take(len)?;
                let child = shape.children.iter().find(|(number, _)| *number == tag >> 3);
                child.is_none_or(|(_, child)| Scan(body).free_of_groups(child)).then_some(())
            }
            5 => self.take(4).map(drop),
            _ => None,
        }
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (first, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

impl<'a> Scan<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use raft_rs::eraftpb::{Entry, MessageType};

    use super::*;

    fn append() -> Message {
        let mut message = Message { index: 7, ..Message::default() };
        message.set_msg_type(MessageType::MsgAppend);
        let entry = Entry { data: Bytes::from_static(b"data"), ..Entry::default() };
        message.mut_entries().push(entry);
        message.mut_snapshot().mut_metadata().mut_conf_state().set_voters(vec![1, 2, 3]);
        message
    }

    /// The fields this file calls messages are messages, with these numbers.
    #[test]
    fn messages_round_trip() {
        assert_eq!(decode(&encode(&append())).unwrap(), append());
    }

    /// A group is refused at every depth that the parser would walk into.
    #[test]
    fn groups_are_refused() {
        let group = [0x9b, 0x06]; // field 99, wire type 3
        let long_tag = [0xba, 0x80, 0x80, 0x80, 0x80, 0x01, 2, group[0], group[1]]; // 7, and bit 35
        assert_eq!(decode(&Bytes::copy_from_slice(&long_tag)), Err(StepError::Malformed));
        assert_eq!(decode(&Bytes::copy_from_slice(&group)), Err(StepError::Malformed));
        for tag in [0x3a, 0x4a] {
            let nested = [tag, 2, group[0], group[1]];
            assert_eq!(decode(&Bytes::copy_from_slice(&nested)), Err(StepError::Malformed));
        }
    }

    /// Cut bytes are refused, wherever they are cut.
    #[test]
    fn cut_messages_never_panic() {
        let whole = encode(&append());
        for len in 0..whole.len() {
            let _ = decode(&whole.slice(..len));
        }
    }
}
