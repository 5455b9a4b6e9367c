//! The file that a saved state is kept in: written by a member as it is sent, read by who restores it.
//!
//! ```text
//! head      512 bytes   magic, versions, whose state, which revision, how much follows; a checksum
//! chunk 0   32 KiB      a checksum, then a piece of the content
//! ...
//! chunk n   the rest    the same; filled up with zeros, so that the file so far is a multiple of 512
//! SHA-256   32 bytes    of everything before
//! ```
//!
//! The content is what [`state::image`](crate::state::image) walks: for each record the tag of its
//! family, then key and value, each behind its length as a varint; then a tag of its own for the end,
//! and the totals once more. All numbers are big-endian. Records may be cut by the border of chunks.
//!
//! The checksum of a chunk covers that of the head and the chunk's number, so that a chunk of another
//! place, or of another file, does not pass for this one. The head tells the length of the file. So
//! every changed, missing or added byte is found, and a reader that was told not to look at the SHA-256
//! still finds those before it.
//!
//! [`measure`] and [`write`](write()) walk a state twice, the second time with the head at hand: nothing is kept in
//! memory, and the length is known before the first byte is sent. [`Reader`] reads.
//!
//! Absent: where the bytes come from and go to, and what restoring does with the records.

mod content;
mod error;
mod head;
mod read;
mod survey;
#[cfg(test)]
mod tests;
mod write;

pub use error::Error;
pub use head::{Head, Origin};
pub use read::{HashCheck, Reader, Record};
pub use survey::{KvHash, Survey, kv_hash, survey};
pub use write::{Between, Sink, measure, write};
