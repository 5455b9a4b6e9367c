//! Range, Put and DeleteRange, and the pairs in their answers.

use bytes::Bytes;

use crate::{
    api::convert::Invalid,
    proto::{
        etcdserverpb::{self, range_request},
        mvccpb,
    },
    state::{
        DeleteRange, DeleteRangeResponse, Put, PutResponse, Range, RangeResponse, RevisionFilter,
        Sort, SortOrder, SortTarget,
    },
    types::{Key, KeyRange, KeyValue, LeaseId, Revision},
};

/// What to read.
pub fn range(request: etcdserverpb::RangeRequest) -> Result<Range, Invalid> {
    Ok(Range {
        range: key_range(request.key, request.range_end)?,
        revision: request.revision,
        limit: request.limit,
        sort: sort(request.sort_order, request.sort_target)?,
        keys_only: request.keys_only,
        count_only: request.count_only,
        filter: RevisionFilter {
            min_mod: request.min_mod_revision,
            max_mod: request.max_mod_revision,
            min_create: request.min_create_revision,
            max_create: request.max_create_revision,
        },
    })
}

/// What to read in chunks: a range in the order of its keys, without bounds on revisions.
pub fn range_stream(request: etcdserverpb::RangeRequest) -> Result<Range, Invalid> {
    let range = range(request)?;
    let by_key = match (range.sort.order, range.sort.target) {
        // Order NONE is taken with any target, as etcd does; the keys come as they lie.
        (SortOrder::None, _) | (SortOrder::Ascend, SortTarget::Key) => true,
        (SortOrder::Ascend | SortOrder::Descend, _) => false,
    };
    if !by_key {
        return Err(Invalid::StreamSorted);
    }
    if [
        range.filter.min_mod,
        range.filter.max_mod,
        range.filter.min_create,
        range.filter.max_create,
    ]
    .iter()
    .any(|bound| *bound != 0)
    {
        return Err(Invalid::StreamFiltered);
    }
    Ok(Range { sort: Sort::default(), ..range })
}

/// What to store.
pub fn put(request: etcdserverpb::PutRequest) -> Result<Put, Invalid> {
    let key = Key::new(request.key).ok_or(Invalid::KeyNotProvided)?;
    if request.ignore_value && !request.value.is_empty() {
        return Err(Invalid::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(Invalid::LeaseProvided);
    }
    Ok(Put {
        key,
        value: request.value,
        lease: (request.lease != 0).then_some(LeaseId(request.lease)),
        prev_kv: request.prev_kv,
        ignore_value: request.ignore_value,
        ignore_lease: request.ignore_lease,
    })
}

/// What to delete.
pub fn delete_range(request: etcdserverpb::DeleteRangeRequest) -> Result<DeleteRange, Invalid> {
    Ok(DeleteRange { range: key_range(request.key, request.range_end)?, prev_kv: request.prev_kv })
}

/// The keys meant by a key, which must not be empty, and the end of its range.
pub fn key_range(key: Bytes, range_end: Bytes) -> Result<KeyRange, Invalid> {
    let key = Key::new(key).ok_or(Invalid::KeyNotProvided)?;
    Ok(KeyRange::from_wire(key, range_end))
}

fn sort(order: i32, target: i32) -> Result<Sort, Invalid> {
    let unknown = || Invalid::SortOption { order, target };
    let known_order = range_request::SortOrder::try_from(order).map_err(|_| unknown())?;
    let known_target = range_request::SortTarget::try_from(target).map_err(|_| unknown())?;
    Ok(Sort {
        order: match known_order {
            range_request::SortOrder::None => SortOrder::None,
            range_request::SortOrder::Ascend => SortOrder::Ascend,
            range_request::SortOrder::Descend => SortOrder::Descend,
        },
        target: match known_target {
            range_request::SortTarget::Key => SortTarget::Key,
            range_request::SortTarget::Version => SortTarget::Version,
            range_request::SortTarget::Create => SortTarget::Create,
            range_request::SortTarget::Mod => SortTarget::Mod,
            range_request::SortTarget::Value => SortTarget::Value,
        },
    })
}

/// A pair as clients see it; without a lease the field is 0, which is absent on the wire.
#[must_use]
pub fn key_value(kv: KeyValue) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: kv.key.into_bytes(),
        create_revision: kv.create_revision.0,
        mod_revision: kv.mod_revision.0,
        version: kv.version,
        value: kv.value,
        lease: kv.lease.map_or(0, |lease| lease.0),
    }
}

/// The answer to a read.
#[must_use]
pub fn range_response(
    header: etcdserverpb::ResponseHeader,
    response: RangeResponse,
) -> etcdserverpb::RangeResponse {
    etcdserverpb::RangeResponse {
        header: Some(header),
        kvs: response.kvs.into_iter().map(key_value).collect(),
        more: response.more,
        count: response.count,
    }
}

/// The answer to a put.
#[must_use]
pub fn put_response(
    header: etcdserverpb::ResponseHeader,
    response: PutResponse,
) -> etcdserverpb::PutResponse {
    etcdserverpb::PutResponse { header: Some(header), prev_kv: response.prev.map(key_value) }
}

/// The answer to a delete.
#[must_use]
pub fn delete_range_response(
    header: etcdserverpb::ResponseHeader,
    response: DeleteRangeResponse,
) -> etcdserverpb::DeleteRangeResponse {
    etcdserverpb::DeleteRangeResponse {
        header: Some(header),
        deleted: response.deleted,
        prev_kvs: response.prevs.into_iter().map(key_value).collect(),
    }
}

/// The header of an operation inside a transaction: a revision, and nothing about who answers.
#[must_use]
pub fn inner_header(revision: Revision) -> etcdserverpb::ResponseHeader {
    etcdserverpb::ResponseHeader { revision: revision.0, ..Default::default() }
}

#[cfg(test)]
#[path = "kv_tests.rs"]
mod tests;
