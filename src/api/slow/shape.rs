//! What is remembered of a request until it is known whether it was slow: no value, and nothing
//! that would have to be copied.

use bytes::Bytes;
use prost::Message;

use crate::{
    node::key_text,
    proto::etcdserverpb::{
        CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest,
        PutResponse, RangeRequest, RequestOp, TxnRequest, TxnResponse, request_op::Request,
    },
};

/// What a request asks for, without its values.
pub(in crate::api) enum Shape {
    Put { key: Bytes, value_bytes: usize, lease: i64 },
    Range { key: Bytes, end: Bytes, limit: i64, revision: i64, serializable: bool },
    Delete { key: Bytes, end: Bytes },
    Txn { key: Bytes, compares: usize, success: Ops, failure: Ops },
    Compact { revision: i64, physical: bool },
}

/// How many operations of each kind a list has.
#[derive(Clone, Copy, Default)]
pub(in crate::api) struct Ops {
    puts: usize,
    ranges: usize,
    deletes: usize,
    txns: usize,
}

impl Ops {
    fn of(ops: &[RequestOp]) -> Self {
        let mut counted = Self::default();
        for op in ops {
            match op.request {
                Some(Request::RequestPut(_)) => counted.puts += 1,
                Some(Request::RequestRange(_)) => counted.ranges += 1,
                Some(Request::RequestDeleteRange(_)) => counted.deletes += 1,
                Some(Request::RequestTxn(_)) => counted.txns += 1,
                None => {}
            }
        }
        counted
    }

    fn is_read_only(self) -> bool {
        self.puts == 0 && self.deletes == 0 && self.txns == 0
    }

    fn text(self) -> String {
        let Self { puts, ranges, deletes, txns } = self;
        format!("put:{puts} range:{ranges} delete_range:{deletes} txn:{txns}")
    }
}

/// A request that can be told.
pub(in crate::api) trait Shaped: Message {
    /// What it asks for.
    fn shape(&self) -> Shape;
}

/// A response whose things can be counted, as etcd counts them.
pub(in crate::api) trait Counted {
    /// How many there are.
    fn things(&self) -> i64;
}

impl Shaped for PutRequest {
    fn shape(&self) -> Shape {
        Shape::Put { key: self.key.clone(), value_bytes: self.value.len(), lease: self.lease }
    }
}

impl Shaped for RangeRequest {
    fn shape(&self) -> Shape {
        Shape::Range {
            key: self.key.clone(),
            end: self.range_end.clone(),
            limit: self.limit,
            revision: self.revision,
            serializable: self.serializable,
        }
    }
}

impl Shaped for DeleteRangeRequest {
    fn shape(&self) -> Shape {
        Shape::Delete { key: self.key.clone(), end: self.range_end.clone() }
    }
}

impl Shaped for TxnRequest {
    fn shape(&self) -> Shape {
        Shape::Txn {
            key: first_key(self).cloned().unwrap_or_default(),
            compares: self.compare.len(),
            success: Ops::of(&self.success),
            failure: Ops::of(&self.failure),
        }
    }
}

impl Shaped for CompactionRequest {
    fn shape(&self) -> Shape {
        Shape::Compact { revision: self.revision, physical: self.physical }
    }
}

/// A key that says what a transaction is about.
fn first_key(txn: &TxnRequest) -> Option<&Bytes> {
    let compared = txn.compare.first().map(|compare| &compare.key);
    compared.or_else(|| txn.success.iter().chain(&txn.failure).find_map(key_of))
}

fn key_of(op: &RequestOp) -> Option<&Bytes> {
    match &op.request {
        Some(Request::RequestPut(put)) => Some(&put.key),
        Some(Request::RequestRange(range)) => Some(&range.key),
        Some(Request::RequestDeleteRange(delete)) => Some(&delete.key),
        Some(Request::RequestTxn(_)) | None => None,
    }
}

impl Counted for PutResponse {
    fn things(&self) -> i64 {
        0
    }
}

impl Counted for DeleteRangeResponse {
    fn things(&self) -> i64 {
        self.deleted
    }
}

impl Counted for TxnResponse {
    fn things(&self) -> i64 {
        0
    }
}

impl Counted for CompactionResponse {
    fn things(&self) -> i64 {
        -1
    }
}

impl Shape {
    pub(super) fn method(&self) -> &'static str {
        match self {
            Self::Put { .. } => "/etcdserverpb.KV/Put",
            Self::Range { .. } => "/etcdserverpb.KV/Range",
            Self::Delete { .. } => "/etcdserverpb.KV/DeleteRange",
            Self::Txn { .. } => "/etcdserverpb.KV/Txn",
            Self::Compact { .. } => "/etcdserverpb.KV/Compact",
        }
    }

    /// How many things are asked for: one for a put, the operations of a transaction.
    pub(super) fn things(&self) -> i64 {
        match self {
            Self::Put { .. } => 1,
            Self::Range { .. } | Self::Delete { .. } => 0,
            Self::Txn { success, failure, .. } => {
                let ops = |ops: &Ops| ops.puts + ops.ranges + ops.deletes + ops.txns;
                super::count(ops(success).max(ops(failure)))
            }
            Self::Compact { .. } => -1,
        }
    }

    /// What etcd calls it on the log if nothing had to be agreed on for it.
    pub(super) fn read_prefix(&self) -> Option<&'static str> {
        match self {
            Self::Range { .. } => Some("read-only range "),
            Self::Txn { success, failure, .. } => {
                let reads = success.is_read_only() && failure.is_read_only();
                reads.then_some("read-only txn ")
            }
            Self::Put { .. } | Self::Delete { .. } | Self::Compact { .. } => None,
        }
    }

    /// The request in one line.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Put { key, value_bytes, lease } => {
                format!("key:{} value_size:{value_bytes} lease:{lease}", key_text(key))
            }
            Self::Range { key, end, limit, revision, serializable } => format!(
                "{} limit:{limit} revision:{revision} serializable:{serializable}",
                range_text(key, end)
            ),
            Self::Delete { key, end } => range_text(key, end),
            Self::Txn { key, compares, success, failure } => format!(
                "compare:{compares} success:<{}> failure:<{}> first_key:{}",
                success.text(),
                failure.text(),
                key_text(key)
            ),
            Self::Compact { revision, physical } => {
                format!("revision:{revision} physical:{physical}")
            }
        }
    }

    /// A response to a read in one line.
    pub(super) fn response(&self, things: i64, bytes: usize) -> String {
        match self {
            Self::Range { .. } => format!("range_response_count:{things} size:{bytes}"),
            Self::Put { .. } | Self::Delete { .. } | Self::Txn { .. } | Self::Compact { .. } => {
                format!("size:{bytes}")
            }
        }
    }
}

fn range_text(key: &[u8], end: &[u8]) -> String {
    match end {
        [] => format!("key:{}", key_text(key)),
        end => format!("key:{} range_end:{}", key_text(key), key_text(end)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, value: &str) -> PutRequest {
        let (key, value) = (key.to_owned().into(), value.to_owned().into());
        PutRequest { key, value, ..Default::default() }
    }

    /// A value never comes into a text; of a long key only its beginning does; keys are printable.
    #[test]
    fn values_are_never_told_and_keys_are_bounded() {
        let told = put("a\n", "secret").shape().text();
        assert_eq!(told, r#"key:"a\n" value_size:6 lease:0"#);

        let long = "k".repeat(1_000);
        let told = put(&long, "secret").shape().text();
        assert!(told.starts_with(&format!("key:\"{}\"...(1000 bytes)", "k".repeat(64))), "{told}");
        assert!(told.len() < 150);

        let op = RequestOp { request: Some(Request::RequestPut(put("k", "secret"))) };
        let txn = TxnRequest { success: vec![op; 3], ..Default::default() };
        let told = txn.shape().text();
        assert!(told.contains("put:3") && told.ends_with("first_key:\"k\""), "{told}");
        assert!(!told.contains("secret"));
        assert_eq!(txn.shape().things(), 3);
    }

    /// Only what changes nothing counts as a read.
    #[test]
    fn reads_are_told_from_writes() {
        let op = |request| RequestOp { request: Some(request) };
        let range = || op(Request::RequestRange(RangeRequest::default()));
        let delete = || op(Request::RequestDeleteRange(DeleteRangeRequest::default()));
        let txn = |success, failure| TxnRequest { success, failure, ..Default::default() }.shape();

        assert_eq!(RangeRequest::default().shape().read_prefix(), Some("read-only range "));
        assert_eq!(txn(vec![range()], vec![range()]).read_prefix(), Some("read-only txn "));
        assert_eq!(txn(vec![range()], vec![delete()]).read_prefix(), None);
        assert_eq!(put("k", "v").shape().read_prefix(), None);
    }
}
