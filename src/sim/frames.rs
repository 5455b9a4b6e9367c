//! Frames as the trace shows them.

use std::fmt;

use crate::node::ports::Frame;

/// A frame as a line of the trace shows it.
pub struct Shown<'a>(pub &'a Frame);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Frame::Raft(bytes) => write!(f, "a raft message, {:08x}", crc32fast::hash(bytes)),
            Frame::Forward { ticket, term, group } => {
                write!(f, "forward {ticket:x} for term {term}, {} bytes", group.len())
            }
            Frame::ForwardAnswer { ticket, accepted: true } => {
                write!(f, "forward {ticket:x}: accepted")
            }
            Frame::ForwardAnswer { ticket, accepted: false } => {
                write!(f, "forward {ticket:x}: refused")
            }
            Frame::Question { start } => write!(f, "fenced start {start:x} asks for the term"),
            Frame::Answer { start, term, committed } => {
                write!(f, "to fenced start {start:x}: term {term}, committed {committed:?}")
            }
            Frame::Over { newest, .. } => write!(f, "incarnations below {newest} are over"),
        }
    }
}

/// Differs when anything in a frame differs.
#[must_use]
pub fn frame_hash(frame: &Frame) -> u64 {
    match frame {
        Frame::Raft(bytes) => u64::from(crc32fast::hash(bytes)),
        Frame::Forward { ticket, term, group } => {
            u64::from(crc32fast::hash(group)) << 32 | (ticket << 8 ^ term.0)
        }
        Frame::ForwardAnswer { ticket, accepted } => ticket << 1 | u64::from(*accepted),
        Frame::Question { start } => !*start,
        Frame::Answer { start, term, committed } => {
            start.rotate_left(9) ^ term.0 << 32 ^ committed.map_or(0, |index| index.0 + 1)
        }
        Frame::Over { newest, start } => newest.0.rotate_left(17) ^ start,
    }
}
