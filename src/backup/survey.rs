//! What a file holds, found out by reading all of it.

use std::{io::Read, path::Path};

use super::{Error, Head, Reader, read::HashCheck};
use crate::{
    state::{
        Family,
        hash::{OfAll, OfPairs},
    },
    types::Revision,
};

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// What it says of itself, which is true.
    pub head: Head,
    /// The checksum of everything stored, as each member tells it that has the same state.
    pub hash: u32,
    /// The length of its data.
    pub data_bytes: u64,
}

/// The checksum of the pairs kept at a revision, as members tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvHash {
    /// The checksum.
    pub hash: u32,
    /// Of this revision.
    pub revision: Revision,
    /// With the history from here on.
    pub compacted: Revision,
}

/// Reads a file to its end. What is wrong with it shows.
pub fn survey(path: &Path) -> Result<Survey, Error> {
    let mut reader = Reader::open(path, HashCheck::IfThere)?;
    let mut hash = OfAll::new(reader.head().compacted);
    while let Some(record) = reader.next_record()? {
        hash.take(record.family, &record.key, &record.value);
    }
    let head = reader.head().clone();
    Ok(Survey { hash: hash.finish(), data_bytes: head.data_bytes(), head })
}

/// The checksum of the pairs at a revision, 0 for the newest.
pub fn kv_hash(path: &Path, revision: Revision) -> Result<KvHash, Error> {
    kv_hash_of(Reader::open(path, HashCheck::IfThere)?, revision)
}

fn kv_hash_of(mut reader: Reader<impl Read>, revision: Revision) -> Result<KvHash, Error> {
    let Head { revision: newest, compacted, .. } = *reader.head();
    let revision = if revision == Revision(0) { newest } else { revision };
    if revision < compacted {
        return Err(Error::Revision("mvcc: required revision has been compacted"));
    }
    if revision > newest {
        return Err(Error::Revision("mvcc: required revision is a future revision"));
    }
    let mut hash = OfPairs::new(compacted, revision);
    while let Some(record) = reader.next_record()? {
        match record.family {
            Family::Current => hash.take_current(&record.value)?,
            Family::Versions => hash.take_version(&record.key, &record.value)?,
            Family::Events | Family::Counts | Family::Meta | Family::Leases | Family::Auth => {}
        }
    }
    Ok(KvHash { hash: hash.finish(), revision, compacted })
}
