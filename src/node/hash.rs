//! Checksums of this member's state, to compare members.

use crate::{
    node::{Error, Handle, RequestError},
    state::{self, ApplyError, Refused, meta},
    types::Revision,
};

/// How often a checksum is begun anew because a compaction overtook it.
const ATTEMPTS_MAX: usize = 8;

/// The checksum of the state at a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashAt {
    /// The checksum.
    pub hash: u32,
    /// Of the state at this revision.
    pub revision: Revision,
    /// The compacted revision it rests on; only with the same one do checksums compare.
    pub compacted: Revision,
    /// The store's revision.
    pub current: Revision,
}

impl Handle {
    /// The checksum of this member's state at a revision, 0 for the newest. It reads all of it: for
    /// a thread that may wait.
    ///
    /// # Errors
    ///
    /// A refusal because of the revision, or a fault of the disk.
    pub fn hash_at(&self, revision: Revision) -> Result<HashAt, RequestError> {
        let begun = self.micros();
        let hashed = self.hash_of_history(revision);
        self.figures().hash_at.observe(self.micros_since(begun));
        hashed
    }

    fn hash_of_history(&self, revision: Revision) -> Result<HashAt, RequestError> {
        for _ in 0..ATTEMPTS_MAX {
            let view = self.bulk_view()?;
            let store = meta::store(&*view).map_err(Error::from)?;
            let at = if revision == Revision(0) { store.revision } else { revision };
            let hash = state::hash::state(&*view, at);
            // A view does not keep garbage alive: what a later compaction gave up may be missing.
            if self.shared().compacted() != store.compacted {
                continue;
            }
            let (compacted, current) = (store.compacted, store.revision);
            return match hash {
                Ok(hash) => Ok(HashAt { hash, revision: at, compacted, current }),
                Err(ApplyError::Refused(refused)) => Err(refused.into()),
                Err(ApplyError::Fault(fault)) => {
                    self.stop_for(&fault);
                    Err(Error::Fault(fault).into())
                }
            };
        }
        Err(Refused::Compacted(revision).into())
    }

    /// A checksum of everything stored, and the store's revision; see [`state::hash::whole`]. For a
    /// thread that may wait.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyRequests`] when compactions overtake it again and again, or a fault.
    pub fn hash_of_all(&self) -> Result<(u32, Revision), Error> {
        let begun = self.micros();
        for _ in 0..ATTEMPTS_MAX {
            let view = self.bulk_view()?;
            let store = meta::store(&*view)?;
            let hash = state::hash::whole(&*view).inspect_err(|fault| self.stop_for(fault))?;
            if self.shared().compacted() == store.compacted {
                self.figures().hash.observe(self.micros_since(begun));
                return Ok((hash, store.revision));
            }
        }
        Err(Error::TooManyRequests)
    }
}
