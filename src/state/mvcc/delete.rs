//! Deleting the keys of a range.

use std::ops::ControlFlow;

use bytes::Bytes;

use crate::{
    state::{
        ApplyError, DeleteRange, DeleteRangeResponse, Direction,
        mvcc::visit_live,
        write_txn::{Live, WriteTxn},
    },
    types::{DeleteReason, Fault, KeyRange},
};

/// Deletes the keys of a range, in key order.
pub(in crate::state) fn delete_range(
    txn: &mut WriteTxn<'_>,
    delete: &DeleteRange,
) -> Result<DeleteRangeResponse, ApplyError> {
    let found = live_pairs(txn, &delete.range)?;
    for live in &found {
        txn.delete_key(live, DeleteReason::Client)?;
    }
    Ok(DeleteRangeResponse {
        deleted: i64::try_from(found.len()).expect("a length fits in 63 bits"),
        prevs: if delete.prev_kv {
            found.into_iter().map(|live| live.pair).collect()
        } else {
            Vec::new()
        },
    })
}

fn live_pairs(txn: &WriteTxn<'_>, range: &KeyRange) -> Result<Vec<Live>, Fault> {
    if let KeyRange::One(key) = range {
        return Ok(txn.live(key)?.into_iter().collect());
    }
    let mut found = Vec::new();
    visit_live(txn.view(), range, Direction::Forward, &mut |record| {
        found.push(Live::decode(Bytes::copy_from_slice(record))?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}
