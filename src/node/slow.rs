//! Says on the log what took too long to apply: what kind of request it was, and how large. Never
//! values, and of a key only its beginning.
//!
//! Each request is timed with one look at the clock, which is also where the next one begins; the
//! commit of a batch by itself, because it is shared by all of them. Reads that need no entry of the
//! log are timed by the services, which report them here: in etcd they count as applied, too.

use crate::{
    node::{Handle, shared::Shared, throttle::Throttle},
    state::{Command, DeleteRange, MemberChange, Op, Put, Refused, Txn},
    types::{KeyRange, Millis},
};

/// Bytes of a key that are told.
const KEY_BYTES_MAX: usize = 64;
/// Operations of a transaction that are told one by one.
const OPS_MAX: usize = 4;

/// What was slow, as far as it is told.
#[derive(Debug, Default)]
pub(super) struct SlowApplies {
    throttle: Throttle,
}

/// Something that took longer than it should.
struct Slow<'a> {
    micros: u64,
    /// What kind of work, as etcd says it; ends in a blank unless it is empty.
    prefix: &'a str,
    request: String,
    response: String,
    error: Option<String>,
}

impl Shared {
    /// A request was applied in so many microseconds.
    pub(super) fn note_applied(&self, micros: u64, command: &Command, refused: Option<&Refused>) {
        if self.is_slow(micros) {
            let (request, response) = (text(command), String::new());
            let error = refused.map(ToString::to_string);
            self.tell_slow(Slow { micros, prefix: "", request, response, error });
        }
    }

    /// A batch was committed in so many microseconds.
    pub(super) fn note_committed(&self, micros: u64, entries: usize, records: usize) {
        if self.is_slow(micros) {
            let request = format!("entries:{entries} records:{records}");
            let (prefix, response) = ("commit ", String::new());
            self.tell_slow(Slow { micros, prefix, request, response, error: None });
        }
    }

    fn is_slow(&self, micros: u64) -> bool {
        self.settings.slow_apply.is_some_and(|limit| micros > limit.0.saturating_mul(1_000))
    }

    fn tell_slow(&self, slow: Slow<'_>) {
        self.metrics.slow_applies.inc();
        let Some(held_back) = self.slow_applies.throttle.pass(self.clock.now()) else { return };
        let expected = self.settings.slow_apply.map_or(0, |limit| limit.0.saturating_mul(1_000));
        tracing::warn!(
            took = duration_text(slow.micros),
            "expected-duration" = duration_text(expected),
            prefix = slow.prefix,
            request = slow.request,
            response = slow.response,
            error = slow.error,
            held_back = Some(held_back).filter(|lines| *lines > 0),
            "apply request took too long"
        );
    }
}

impl Handle {
    /// Says on the log, and counts, that a read took longer than applying may. `prefix` names its
    /// kind and ends in a blank; the texts are only made when it did.
    pub fn note_read(&self, took: Millis, prefix: &str, texts: impl FnOnce() -> (String, String)) {
        let micros = took.0.saturating_mul(1_000);
        if self.shared().is_slow(micros) {
            let (request, response) = texts();
            self.shared().tell_slow(Slow { micros, prefix, request, response, error: None });
        }
    }

    /// Counts a call that took longer than calls may.
    pub fn note_slow_call(&self) {
        self.shared().metrics.slow_requests.inc();
    }
}

/// A key as it is told: escaped, and its beginning only when it is long.
#[must_use]
pub fn key_text(key: &[u8]) -> String {
    match key.get(..KEY_BYTES_MAX) {
        Some(beginning) if key.len() > KEY_BYTES_MAX => {
            format!("\"{}\"...({} bytes)", beginning.escape_ascii(), key.len())
        }
        Some(_) | None => format!("\"{}\"", key.escape_ascii()),
    }
}

/// A time as Go prints it.
#[must_use]
pub fn duration_text(micros: u64) -> String {
    let (whole, rest, digits, unit) = match micros {
        0 => return "0s".to_owned(),
        1..1_000 => return format!("{micros}µs"),
        1_000..1_000_000 => (micros / 1_000, micros % 1_000, 3, "ms"),
        1_000_000.. => (micros / 1_000_000, micros % 1_000_000, 6, "s"),
    };
    let text = format!("{whole}.{rest:0digits$}");
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

/// What a command asks for, in etcd's words.
fn text(command: &Command) -> String {
    match command {
        Command::Put(put) => put_text(put),
        Command::DeleteRange(delete) => delete_text(delete),
        Command::Txn(txn) => txn_text(txn),
        Command::Compact(revision) => format!("compaction:<revision:{revision} >"),
        Command::LeaseGrant { id, ttl } => format!("lease_grant:<ID:{} TTL:{} >", id.0, ttl.0),
        Command::LeaseRevoke { id, .. } => format!("lease_revoke:<ID:{} >", id.0),
        Command::LeaseCheckpoint { leases, .. } => {
            format!("lease_checkpoint:<leases:{} >", leases.len())
        }
        Command::PublishMember { id, .. } => {
            format!("cluster_member_attr_set:<member_ID:{} >", id.0)
        }
        Command::ChangeMembers(change) => format!("conf_change:<{} >", change_text(change)),
        Command::Alarm(command) => {
            format!("alarm:<memberID:{} active:{} >", command.alarm.member.0, command.active)
        }
    }
}

fn put_text(put: &Put) -> String {
    format!("put:<key:{} value_size:{} >", key_text(put.key.as_bytes()), put.value.len())
}

fn delete_text(delete: &DeleteRange) -> String {
    format!("delete_range:<{} >", range_text(&delete.range))
}

fn txn_text(txn: &Txn) -> String {
    format!(
        "txn:<compare:{} success:<{}> failure:<{}> >",
        txn.compares.len(),
        ops_text(&txn.success),
        ops_text(&txn.failure),
    )
}

fn ops_text(ops: &[Op]) -> String {
    let told = ops.iter().take(OPS_MAX).map(|op| match op {
        Op::Range(range) => format!("range:<{} limit:{} > ", range_text(&range.range), range.limit),
        Op::Put(put) => put_text(put) + " ",
        Op::DeleteRange(delete) => delete_text(delete) + " ",
        Op::Txn(txn) => format!("txn:<ops:{} > ", txn.success.len() + txn.failure.len()),
    });
    let told: String = told.collect();
    match ops.len().saturating_sub(OPS_MAX) {
        0 => told,
        more => format!("{told}and {more} more "),
    }
}

fn range_text(range: &KeyRange) -> String {
    match range {
        KeyRange::One(key) => format!("key:{}", key_text(key.as_bytes())),
        KeyRange::HalfOpen(start, end) => {
            let (start, end) = (key_text(start.as_bytes()), key_text(end.as_bytes()));
            format!("key:{start} range_end:{end}")
        }
        KeyRange::From(start) => {
            format!("key:{} range_end:\"\\x00\"", key_text(start.as_bytes()))
        }
    }
}

fn change_text(change: &MemberChange) -> String {
    match change {
        MemberChange::Add { id, .. } => format!("add:{id}"),
        MemberChange::Remove(id) => format!("remove:{id}"),
        MemberChange::Promote(id) => format!("promote:{id}"),
        MemberChange::Update { id, .. } => format!("update:{id}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::testing::{delete, get, put, txn};

    /// Times are printed as Go prints them, which is what reads the log.
    #[test]
    fn times_are_printed_as_go_prints_them() {
        for (micros, text) in [
            (0, "0s"),
            (7, "7µs"),
            (1_000, "1ms"),
            (123_456, "123.456ms"),
            (300_000, "300ms"),
            (1_000_000, "1s"),
            (61_050_000, "61.05s"),
        ] {
            assert_eq!(duration_text(micros), text);
        }
    }

    /// Keys are told, escaped and bounded; of values only how large they are.
    #[test]
    fn requests_are_told_without_values() {
        let told = text(&put("a\"b").value("secret").into());
        assert_eq!(told, r#"put:<key:"a\"b" value_size:6 >"#);
        assert_eq!(text(&delete("k").into()), r#"delete_range:<key:"k" >"#);
        let read = txn().then(get("a").to("b").limit(5)).or_else(put("k").value("secret"));
        let told = text(&read.into());
        let success = r#"range:<key:"a" range_end:"b" limit:5 > "#;
        let failure = r#"put:<key:"k" value_size:6 > "#;
        assert_eq!(told, format!("txn:<compare:0 success:<{success}> failure:<{failure}> >"));
        assert_eq!(key_text(&[7; 65]), format!("\"{}\"...(65 bytes)", "\\x07".repeat(64)));
        assert_eq!(key_text(&[b'k'; 64]), format!("\"{}\"", "k".repeat(64)));
    }
}
