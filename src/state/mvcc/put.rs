//! Storing a value under a key.

use crate::state::{
    ApplyError, Family, Put, PutResponse, Refused, View, lease, write_txn::WriteTxn,
};

/// Stores a value under a key.
pub(in crate::state) fn put(txn: &mut WriteTxn<'_>, put: &Put) -> Result<PutResponse, ApplyError> {
    check_put(txn.view(), put)?;
    put_checked(txn, put)
}

/// What a put needs of the state before it, the lease first: that it lives, and that the key does
/// if something of it is to be kept.
pub(in crate::state) fn check_put(view: &dyn View, put: &Put) -> Result<(), ApplyError> {
    if let Some(id) = put.lease
        && lease::find(view, id)?.is_none()
    {
        return Err(Refused::LeaseNotFound(id).into());
    }
    if (put.ignore_value || put.ignore_lease)
        && view.get(Family::Current, put.key.as_bytes())?.is_none()
    {
        return Err(Refused::KeyNotFound.into());
    }
    Ok(())
}

/// The put itself. In a transaction the checks were made on the state before it; an operation of
/// the same transaction may have deleted the key since, which then declines the whole.
pub(in crate::state) fn put_checked(
    txn: &mut WriteTxn<'_>,
    put: &Put,
) -> Result<PutResponse, ApplyError> {
    let old = txn.live(&put.key)?;
    let kept = |wanted: bool| match &old {
        _ if !wanted => Ok(None),
        Some(old) => Ok(Some(&old.pair)),
        None => Err(Refused::KeyNotFound),
    };
    let value = kept(put.ignore_value)?.map_or(&put.value, |pair| &pair.value).clone();
    let lease = kept(put.ignore_lease)?.map_or(put.lease, |pair| pair.lease);

    txn.put_key(&put.key, value, lease, old.as_ref())?;
    Ok(PutResponse { prev: old.filter(|_| put.prev_kv).map(|old| old.pair) })
}
