//! Giving up history.

use crate::{
    state::{ApplyError, Refused, View, meta, write_txn::WriteTxn},
    types::Revision,
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
pub(in crate::state) fn ensure_kept(view: &dyn View, revision: Revision) -> Result<(), ApplyError> {
    if revision < meta::compacted(view)? {
        return Err(Refused::Compacted(revision).into());
    }
    Ok(())
}
