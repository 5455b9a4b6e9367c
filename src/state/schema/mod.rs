//! The records on disk: for each family a file with its key bytes and its value bytes.
//!
//! Formats are final: a field number or a key's tag is never given a second meaning, and a change
//! of meaning raises [`FORMAT_VERSION`]. Values are protobuf messages. Numbers in keys are big
//! endian, so that the order of the bytes is the order of the numbers.
//!
//! Absent on purpose: what a record is for. That is the business of the files that read and write
//! it. A record that cannot be read is a [`Fault`]: nobody outside can cause one.

pub mod cnt;
pub mod cur;
pub mod evt;
pub mod lease;
pub mod meta;
pub mod ver;
pub mod versioned;

use bytes::Bytes;
use prost::Message;

use crate::{state::Family, types::Fault};

/// The version of everything in this module. A member refuses a state with any other.
pub const FORMAT_VERSION: u32 = 4;

/// The fault of a record that cannot be read.
pub(super) fn damaged(family: Family, key: &[u8], why: impl std::fmt::Display) -> Fault {
    Fault::new(format!("record \"{}\" of {} is damaged: {why}", key.escape_ascii(), family.name()))
}

/// Decodes the value of a record; the message shares the memory of `value`.
fn decode<M: Message + Default>(family: Family, key: &[u8], value: Bytes) -> Result<M, Fault> {
    M::decode(value).map_err(|error| damaged(family, key, error))
}

/// The eight big-endian bytes that end `key`, as a number, and what stands before them.
fn split_number(key: &[u8]) -> Option<(&[u8], u64)> {
    let (head, tail) = key.split_last_chunk::<8>()?;
    Some((head, u64::from_be_bytes(*tail)))
}

/// A signed number whose byte order is its own order.
fn ordered(number: i64) -> [u8; 8] {
    (number.cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

/// The number that [`ordered`] wrote.
fn from_ordered(bits: u64) -> i64 {
    (bits ^ (1 << 63)).cast_signed()
}
