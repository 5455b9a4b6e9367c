//! Giving up history.

use crate::{
    state::{ApplyError, Refused, View, meta, write_txn::WriteTxn},
    types::{Fault, Revision},
};

/// Gives up the history below `to`. A revision that was compacted already is declined, and on a
/// store that never was, 0 is not yet.
pub(in crate::state) fn compact(txn: &mut WriteTxn<'_>, to: Revision) -> Result<(), ApplyError> {
    let store = txn.before();
    if to <= store.compacted {
        return Err(Refused::Compacted(to).into());
    }
    if to > store.revision {
        return Err(Refused::FutureRevision(to).into());
    }
    Ok(txn.compact(to)?)
}

/// Whether the state as of `revision` and after can still be read in `view`.
pub fn ensure_kept(view: &dyn View, revision: Revision) -> Result<(), ApplyError> {
    if revision < meta::compacted(view)? {
        return Err(Refused::Compacted(revision).into());
    }
    Ok(())
}

/// Reads history from a state whose garbage may vanish from under older views.
///
/// A view shows its own compacted mark for ever, while the old versions below a later mark go. So
/// what was read counts only if the mark has not moved meanwhile; if it has, `read` runs again
/// on a newer view and either finds what it needs or is declined by the newer mark. Every further
/// round needs another compaction to have been applied during the one before.
pub fn settled<T>(
    open: impl Fn() -> Result<Box<dyn View + Send + Sync>, Fault>,
    read: impl Fn(&dyn View) -> Result<T, ApplyError>,
) -> Result<T, ApplyError> {
    let mut view = open()?;
    loop {
        let outcome = read(&*view);
        let newer = open()?;
        if meta::compacted(&*newer)? == meta::compacted(&*view)? {
            return outcome;
        }
        view = newer;
    }
}
