//! What must hold between the records of any state.

use std::{
    collections::BTreeMap,
    ops::{Bound, ControlFlow},
};

use crate::{
    state::{
        Direction, Family, View, lease, meta,
        schema::{
            cnt::{self, Level},
            cur::PairRef,
            ver,
        },
    },
    types::{Fault, LeaseId, limits},
};

/// Everything that is wrong between the records of a state; nothing, if it is sound. Walks all of it.
pub fn inconsistencies(view: &dyn View) -> Result<Vec<String>, Fault> {
    let mut wrong = Vec::new();
    sizes(view, &mut wrong)?;
    wrong.extend(wrong_counts(view, limits::COUNT_BUCKET_KEYS_MAX, limits::COUNT_FANOUT_MAX)?);
    attachments(view, &mut wrong)?;
    Ok(wrong)
}

fn visit(
    view: &dyn View,
    family: Family,
    mut each: impl FnMut(&[u8], &[u8]) -> Result<(), Fault>,
) -> Result<(), Fault> {
    view.scan(family, &[], None, Direction::Forward, &mut |key, value| {
        each(key, value)?;
        Ok(ControlFlow::Continue(()))
    })
}

/// The logical size is that of all pairs kept.
fn sizes(view: &dyn View, wrong: &mut Vec<String>) -> Result<(), Fault> {
    let store = meta::store(view)?;
    let mut kept = 0;
    visit(view, Family::Current, |key, record| {
        let pair = PairRef::parse(record)?;
        if pair.key != key || pair.mod_revision > store.revision {
            wrong
                .push(format!("pair {pair:?} stands under {key:?} at revision {}", store.revision));
        }
        kept += pair.size();
        Ok(())
    })?;
    visit(view, Family::Versions, |_, value| {
        let (end, pair) = ver::parse(value)?;
        if end > store.compacted {
            kept += pair.size();
        }
        Ok(())
    })?;
    if kept != store.logical_size {
        wrong.push(format!("{kept} bytes are kept, the store says {}", store.logical_size));
    }
    Ok(())
}

/// What a bucket holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    keys: u64,
    buckets: u64,
}

/// What is wrong with the buckets of counts: each must hold what it says, and none may be larger
/// than these bounds or needlessly empty.
pub(crate) fn wrong_counts(
    view: &dyn View,
    keys_max: u64,
    buckets_max: u64,
) -> Result<Vec<String>, Fault> {
    let mut wrong = Vec::new();
    let mut levels: [BTreeMap<Vec<u8>, Count>; 2] = Default::default();
    let [lower, upper] = &mut levels;
    visit(view, Family::Counts, |key, value| {
        if cnt::is_former(key) {
            return Ok(());
        }
        let level = if key < &Level::Lower.end()[..] { &mut *lower } else { &mut *upper };
        let bucket = cnt::decode(key, value)?;
        let count = Count { keys: bucket.counts.newest.keys, buckets: bucket.buckets };
        level.insert(cnt::boundary(key)?.to_vec(), count);
        Ok(())
    })?;

    let mut keys_of: BTreeMap<Vec<u8>, u64> =
        lower.keys().map(|boundary| (boundary.clone(), 0)).collect();
    visit(view, Family::Current, |key, _| {
        match keys_of.range_mut::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back() {
            Some((_, keys)) => *keys += 1,
            None => wrong.push(format!("key {key:?} lies in no bucket")),
        }
        Ok(())
    })?;
    let mut sums: BTreeMap<&[u8], Count> = BTreeMap::new();
    for (boundary, count) in &*lower {
        let found = keys_of.get(boundary).copied().unwrap_or(0);
        if found != count.keys || found > keys_max || (found == 0 && !boundary.is_empty()) {
            wrong.push(format!("bucket {boundary:?} holds {found} keys and says {}", count.keys));
        }
        if let Some((above, _)) =
            upper.range::<[u8], _>((Bound::Unbounded, Bound::Included(&boundary[..]))).next_back()
        {
            let sum = sums.entry(above).or_default();
            sum.keys += found;
            sum.buckets += 1;
        }
    }
    for (boundary, count) in &*upper {
        let sum = sums.get(&boundary[..]).copied().unwrap_or_default();
        if sum != *count || sum.buckets > buckets_max || !lower.contains_key(boundary) {
            wrong.push(format!("upper bucket {boundary:?} holds {sum:?} and says {count:?}"));
        }
    }
    Ok(wrong)
}

/// A key is attached to the lease its pair names, which lives, and to no other.
fn attachments(view: &dyn View, wrong: &mut Vec<String>) -> Result<(), Fault> {
    let mut named: BTreeMap<LeaseId, Vec<Vec<u8>>> = BTreeMap::new();
    visit(view, Family::Current, |key, record| {
        if let Some(id) = PairRef::parse(record)?.lease {
            named.entry(id).or_default().push(key.to_vec());
        }
        Ok(())
    })?;
    let mut attached = 0;
    for lease in lease::list(view)? {
        let keys: Vec<_> = lease::attached_keys(view, lease.id)?
            .into_iter()
            .map(|key| key.as_bytes().to_vec())
            .collect();
        let expected = named.remove(&lease.id).unwrap_or_default();
        if keys != expected {
            wrong.push(format!(
                "lease {} has keys {keys:?}, pairs name it at {expected:?}",
                lease.id
            ));
        }
        // One of them may stand in the lease's own record.
        let inside = lease::record(view, lease.id)?.is_some_and(|record| record.key.is_some());
        attached += keys.len() + usize::from(!inside);
    }
    if !named.is_empty() {
        wrong.push(format!("pairs name leases that do not live: {named:?}"));
    }
    let mut records = 0;
    visit(view, Family::Leases, |_, _| {
        records += 1;
        Ok(())
    })?;
    if records != attached {
        wrong.push(format!("{records} records of leases, {attached} are accounted for"));
    }
    Ok(())
}
