//! The head of the file: what it is, and how much of it there is.

use bytes::{Buf, BufMut};

use super::Error;
use crate::{
    state::FORMAT_VERSION,
    types::{ClusterId, Index, MemberId, Position, Revision, Term, limits::SNAPSHOT_BYTES_MAX},
};

/// The bytes of the head. Also what the length of the data is a multiple of: clients of etcd check
/// that before they take a file for whole.
pub(super) const HEAD_BYTES: usize = 512;
/// The bytes of a chunk, and of its checksum.
pub(super) const CHUNK_BYTES: usize = 32 * 1024;
pub(super) const SUM_BYTES: usize = 4;
/// What a chunk holds of the content.
pub(super) const PAYLOAD_BYTES: usize = CHUNK_BYTES - SUM_BYTES;
/// The SHA-256 at the end of the file.
pub(super) const HASH_BYTES: usize = 32;

const MAGIC: [u8; 16] = *b"quorate-snapshot";
/// The format of the file. That of the state in it has a number of its own.
const FORMAT: u32 = 1;
const VERSION_BYTES: usize = 16;
/// The magic number of bbolt, which stands behind the head of its first page.
const BBOLT_MAGIC: u32 = 0xed0c_daed;
const BBOLT_MAGIC_AT: usize = 16;

/// Whose state it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The cluster.
    pub cluster: ClusterId,
    /// The member that sent it.
    pub member: MemberId,
    /// The level of what is on disk, as the API tells it: `3.7.0`.
    pub version: String,
}

/// What stands in the head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Whose state it is.
    pub origin: Origin,
    /// The entry of the log that it was saved after.
    pub applied: Position,
    /// The newest revision.
    pub revision: Revision,
    /// The oldest revision that can be read.
    pub compacted: Revision,
    /// Records of all kinds.
    pub records: u64,
    /// Keys that live.
    pub keys: u64,
    /// Bytes of the content.
    pub(super) content_bytes: u64,
}

impl Head {
    /// The length of the data: of the whole file but the SHA-256.
    #[must_use]
    pub fn data_bytes(&self) -> u64 {
        let full = self.content_bytes / PAYLOAD_BYTES as u64;
        let rest = self.content_bytes % PAYLOAD_BYTES as u64;
        let last = match rest {
            0 => 0,
            rest => (rest + SUM_BYTES as u64).next_multiple_of(HEAD_BYTES as u64),
        };
        HEAD_BYTES as u64 + full * CHUNK_BYTES as u64 + last
    }

    /// The length of the file.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.data_bytes() + HASH_BYTES as u64
    }

    pub(super) fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut head = Vec::with_capacity(HEAD_BYTES);
        head.put_slice(&MAGIC);
        head.put_u32(FORMAT);
        head.put_u32(FORMAT_VERSION);
        head.put_u64(self.origin.cluster.0);
        head.put_u64(self.origin.member.0);
        head.put_u64(self.applied.index.0);
        head.put_u64(self.applied.term.0);
        head.put_i64(self.revision.0);
        head.put_i64(self.compacted.0);
        head.put_u64(self.records);
        head.put_u64(self.keys);
        head.put_u64(self.content_bytes);
        let version: Vec<u8> = self.origin.version.bytes().take(VERSION_BYTES).collect();
        head.put_slice(&version);
        head.resize(HEAD_BYTES - SUM_BYTES, 0);
        head.put_u32(crc32fast::hash(&head));
        head.try_into().expect("the head was filled up to its length")
    }

    pub(super) fn decode(bytes: &[u8; HEAD_BYTES]) -> Result<Self, Error> {
        let (body, sum) = bytes.split_last_chunk::<SUM_BYTES>().expect("a head is longer");
        let Some(mut rest) = body.strip_prefix(&MAGIC) else { return Err(other(bytes)) };
        if crc32fast::hash(body) != u32::from_be_bytes(*sum) {
            return Err(Error::Head);
        }
        let (found, state) = (rest.get_u32(), rest.get_u32());
        if found != FORMAT {
            return Err(Error::OtherFormat { found, supported: FORMAT });
        }
        if state != FORMAT_VERSION {
            return Err(Error::OtherState { found: state, supported: FORMAT_VERSION });
        }
        let (cluster, member) = (ClusterId(rest.get_u64()), MemberId(rest.get_u64()));
        let applied = Position { index: Index(rest.get_u64()), term: Term(rest.get_u64()) };
        let (revision, compacted) = (Revision(rest.get_i64()), Revision(rest.get_i64()));
        let (records, keys, content_bytes) = (rest.get_u64(), rest.get_u64(), rest.get_u64());
        if content_bytes == 0 || content_bytes > SNAPSHOT_BYTES_MAX {
            return Err(Error::Content { records: 0, what: "its length cannot be" });
        }
        let version = rest.chunk().iter().take(VERSION_BYTES).take_while(|byte| **byte != 0);
        let version = version.map(|byte| char::from(*byte)).collect();
        let origin = Origin { cluster, member, version };
        Ok(Self { origin, applied, revision, compacted, records, keys, content_bytes })
    }

    /// What the checksums of chunks begin with.
    pub(super) fn sum(encoded: &[u8; HEAD_BYTES]) -> u32 {
        crc32fast::hash(encoded)
    }
}

/// What it is that does not begin as a snapshot.
fn other(bytes: &[u8; HEAD_BYTES]) -> Error {
    let magic = bytes.iter().skip(BBOLT_MAGIC_AT).zip(BBOLT_MAGIC.to_le_bytes());
    if magic.into_iter().all(|(found, wanted)| *found == wanted) {
        Error::OfEtcd
    } else {
        Error::NoSnapshot
    }
}
