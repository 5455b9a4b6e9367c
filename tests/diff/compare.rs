//! Two answers, field by field, but for what no server promises.
//!
//! Masked, each for its reason:
//!
//! - Ids of cluster and member, and the raft term: they are each cluster's own. That they are there,
//!   or not, is compared.
//! - Pairs whose sort keys are equal: their order is open. Each group of them is put into key order; of
//!   a group that the limit may have cut, only the sort keys are compared.
//! - The order of the keys and of the list of leases, the seconds a lease has left, ids that the server
//!   draws, and leases in the list that may have run out meanwhile or whose ids were drawn.
//! - The reason of a watch's end by compaction, which etcd leaves out.
//! - Previous pairs that etcd forgets to send, once: see [`crate::servers`].
//! - With etcd 3.4 as well: the lease of a pair without its value, which 3.7 leaves out, and which of
//!   two faults of a put inside of a transaction is told.

use std::fmt::{self, Display, Formatter};

use quorate::proto::{
    etcdserverpb::{
        RangeRequest, RangeResponse, ResponseHeader, TxnRequest, TxnResponse,
        range_request::SortTarget, request_op::Request, response_op::Response,
    },
    mvccpb::KeyValue,
};
use tonic::Code;

use crate::{answer::Answer, generate::LEASES, level::Level, op::Op};

/// What is shown of an operation.
const OP_CHARS_SHOWN: usize = 1_000;
/// What is shown of a line, and how many lines, of an answer that differs.
const LINE_CHARS_SHOWN: usize = 300;
const LINES_SHOWN: usize = 40;

/// Two answers to one operation that should be equal.
#[derive(Debug)]
pub(crate) struct Difference {
    /// The newest revision when each operation was sent, that with the difference last.
    pub(crate) sent_at: Vec<i64>,
    pub(crate) quorate: Answer,
    pub(crate) etcd: Answer,
}

impl Display for Difference {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let lines = |answer: &Answer| -> Vec<String> {
            format!("{answer:#?}").lines().map(str::to_owned).collect()
        };
        let (ours, theirs) = (lines(&self.quorate), lines(&self.etcd));
        let start = ours.iter().zip(&theirs).take_while(|(ours, theirs)| ours == theirs).count();
        // Some lines before the first difference say where in the answer it is.
        let from = start.saturating_sub(6);
        for (name, lines) in [("quorate", ours), ("etcd", theirs)] {
            writeln!(f, "{name}, from line {from} of its answer:")?;
            for line in lines.iter().skip(from).take(LINES_SHOWN) {
                writeln!(f, "    {}", shortened(line, LINE_CHARS_SHOWN))?;
            }
        }
        Ok(())
    }
}

/// An operation as source text, without the fields that have their defaults.
pub(crate) fn brief(op: &Op) -> String {
    let text = format!("{op:?}");
    let mut words: Vec<&str> = Vec::new();
    for word in text.split(' ') {
        let default = ["0", "false", "b\"\"", "None", "[]", "Key"];
        if words.last().is_some_and(|last| last.ends_with(':'))
            && default.contains(&word.trim_end_matches(','))
        {
            words.pop();
        } else {
            words.push(word);
        }
    }
    shortened(&words.join(" ").replace(", }", " }"), OP_CHARS_SHOWN)
}

/// The beginning of a text, and how much is left out.
pub(crate) fn shortened(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}... ({} bytes)", &text[..end], text.len()),
        None => text.to_owned(),
    }
}

/// An answer without what may differ.
pub(crate) fn masked(op: &Op, answer: Answer, level: Level) -> Answer {
    let mut answer = answer;
    match (op, &mut answer) {
        (Op::Range(request), Answer::Range(response)) => mask_range(request, response, level),
        (Op::RangeStream(request), Answer::Stream(response)) => {
            mask_range(request, &mut response.merged, level);
            if let Some(range) = &mut response.unlike_range {
                mask_range(request, range, level);
            }
        }
        (Op::Txn(request), Answer::Txn(response)) => mask_txn(request, response, level),
        (Op::Txn(_), Answer::Refused(code, message)) if level == Level::Etcd34 => {
            if message.ends_with("lease not found") || message.ends_with("key not found") {
                (*code, *message) = (Code::NotFound, "key or lease not found".to_owned());
            }
        }
        (_, Answer::Put(response)) => mask_header(&mut response.header),
        (_, Answer::DeleteRange(response)) => mask_header(&mut response.header),
        (_, Answer::Compact(response)) => mask_header(&mut response.header),
        (Op::LeaseGrant(request), Answer::LeaseGrant(response)) => {
            mask_header(&mut response.header);
            if request.id == 0 {
                response.id = response.id.signum();
            }
        }
        (_, Answer::LeaseRevoke(response)) => mask_header(&mut response.header),
        (_, Answer::LeaseTimeToLive(response)) => {
            mask_header(&mut response.header);
            response.keys.sort();
            if (1..=response.granted_ttl).contains(&response.ttl) {
                response.ttl = response.granted_ttl;
            }
        }
        (_, Answer::LeaseLeases(response)) => {
            mask_header(&mut response.header);
            response.leases.retain(|lease| LEASES.contains(&lease.id));
            response.leases.sort_by_key(|lease| lease.id);
        }
        (_, Answer::LeaseKeepAlive(answers)) => {
            answers.iter_mut().for_each(|answer| mask_header(&mut answer.header));
        }
        (_, Answer::Watch(history)) => {
            mask_header(&mut history.created.header);
            if let Some(canceled) = &mut history.canceled {
                mask_header(&mut canceled.header);
                canceled.cancel_reason.clear();
            }
        }
        (
            _,
            Answer::Range(_)
            | Answer::Stream(_)
            | Answer::Txn(_)
            | Answer::LeaseGrant(_)
            | Answer::Refused(..),
        ) => {}
    }
    answer
}

fn mask_header(header: &mut Option<ResponseHeader>) {
    if let Some(header) = header {
        for number in [&mut header.cluster_id, &mut header.member_id, &mut header.raft_term] {
            *number = u64::from(*number != 0);
        }
    }
}

fn mask_txn(request: &TxnRequest, response: &mut TxnResponse, level: Level) {
    mask_header(&mut response.header);
    let branch = if response.succeeded { &request.success } else { &request.failure };
    for (op, answered) in branch.iter().zip(&mut response.responses) {
        match (&op.request, &mut answered.response) {
            (Some(Request::RequestRange(request)), Some(Response::ResponseRange(response))) => {
                mask_range(request, response, level);
            }
            (Some(Request::RequestTxn(request)), Some(Response::ResponseTxn(response))) => {
                mask_txn(request, response, level);
            }
            // The others have nothing to mask: headers inside carry a revision only.
            _ => {}
        }
    }
}

fn mask_range(request: &RangeRequest, response: &mut RangeResponse, level: Level) {
    mask_header(&mut response.header);
    if level == Level::Etcd34 && request.keys_only {
        for pair in &mut response.kvs {
            pair.lease = 0;
        }
    }
    settle_ties(request, response);
}

/// Brings pairs with equal sort keys into key order. Of the last such group, when the limit may have
/// cut it, only the sort keys are left: which pairs of it were taken is open.
fn settle_ties(request: &RangeRequest, response: &mut RangeResponse) {
    if request.sort_target() == SortTarget::Key {
        return;
    }
    let sort_key = |pair: &KeyValue| only_sort_key(request, pair);
    let cut = response.kvs.last().filter(|_| response.more).map(sort_key);
    for group in response.kvs.chunk_by_mut(|one, next| sort_key(one) == sort_key(next)) {
        group.sort_by(|one, other| one.key.cmp(&other.key));
    }
    for pair in &mut response.kvs {
        if cut.as_ref().is_some_and(|cut| *cut == sort_key(pair)) {
            *pair = sort_key(pair);
        }
    }
}

/// What a pair is sorted by. Without values in the answer, those of a sort by value cannot be told
/// apart, so that all of them are one group.
fn only_sort_key(request: &RangeRequest, pair: &KeyValue) -> KeyValue {
    let nothing = KeyValue::default();
    match request.sort_target() {
        SortTarget::Key => KeyValue { key: pair.key.clone(), ..nothing },
        SortTarget::Version => KeyValue { version: pair.version, ..nothing },
        SortTarget::Create => KeyValue { create_revision: pair.create_revision, ..nothing },
        SortTarget::Mod => KeyValue { mod_revision: pair.mod_revision, ..nothing },
        SortTarget::Value => KeyValue { value: pair.value.clone(), ..nothing },
    }
}
