//! What clients say of their library: how many calls came from each version of it.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::counter::ConstCounter,
};

use super::CallKind;

/// Versions that have series of their own: clients must not be able to make any number of them.
const VERSIONS_MAX: usize = 16;
const VERSION_BYTES_MAX: usize = 32;
/// For clients that say nothing.
const UNKNOWN: &str = "unknown";
/// For versions that came when there were too many, and for what is none.
const OTHER: &str = "other";

/// Calls by the version of the client's library.
#[derive(Debug, Default)]
pub struct Callers {
    /// Filled from the front, and read without a lock.
    seen: [OnceLock<Seen>; VERSIONS_MAX],
    others: Calls,
}

#[derive(Debug)]
struct Seen {
    version: Box<str>,
    calls: Calls,
}

#[derive(Debug, Default)]
struct Calls {
    unary: AtomicU64,
    stream: AtomicU64,
}

impl Calls {
    fn of(&self, kind: CallKind) -> &AtomicU64 {
        match kind {
            CallKind::Unary => &self.unary,
            CallKind::ServerStream | CallKind::BidiStream => &self.stream,
        }
    }
}

impl Callers {
    /// Counts a call of a client that says this of its version; empty: nothing.
    pub fn count(&self, kind: CallKind, version: &str) {
        let version = if version.is_empty() { UNKNOWN } else { version };
        self.calls(version).of(kind).fetch_add(1, Ordering::Relaxed);
    }

    fn calls(&self, version: &str) -> &Calls {
        let allowed = |it: char| it.is_ascii_alphanumeric() || ".-+_".contains(it);
        if version.len() > VERSION_BYTES_MAX || !version.chars().all(allowed) {
            return &self.others;
        }
        let new = || Seen { version: version.into(), calls: Calls::default() };
        let mut seen = self.seen.iter().map(|place| place.get_or_init(new));
        seen.find(|seen| *seen.version == *version).map_or(&self.others, |seen| &seen.calls)
    }
}

/// Shows them.
#[derive(Debug)]
pub(super) struct Shown(pub(super) Arc<Callers>);

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let seen = self.0.seen.iter().filter_map(OnceLock::get);
        let seen = seen.map(|seen| (&*seen.version, &seen.calls));
        let all = seen.chain([(OTHER, &self.0.others)]).flat_map(|(version, calls)| {
            let figures = [("unary", &calls.unary), ("stream", &calls.stream)];
            figures.map(|(kind, calls)| (version, kind, calls.load(Ordering::Relaxed)))
        });
        let mut shown = all.filter(|(_, _, calls)| *calls > 0).peekable();
        if shown.peek().is_none() {
            return Ok(());
        }
        let (name, help) = ("etcd_server_client_requests", "Calls by the version of the client");
        let kind = ConstCounter::new(0_u64).metric_type();
        let mut family = encoder.encode_descriptor(name, help, None, kind)?;
        for (version, kind, calls) in shown {
            let labels: [_; 2] = [("type", kind), ("client_api_version", version)];
            ConstCounter::new(calls).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(callers: &Callers, version: &str) -> u64 {
        callers.calls(version).unary.load(Ordering::Relaxed)
    }

    /// Each version counts for itself, and what says nothing is unknown.
    #[test]
    fn calls_count_by_version() {
        let callers = Callers::default();
        for version in ["3.7", "3.6", "3.7", ""] {
            callers.count(CallKind::Unary, version);
        }
        assert_eq!(["3.7", "3.6", UNKNOWN].map(|it| count(&callers, it)), [2, 1, 1]);
    }

    /// A client cannot make more than so many series, nor one of a text that is no version.
    #[test]
    fn versions_have_a_bound() {
        let callers = Callers::default();
        for number in 0..=VERSIONS_MAX {
            callers.count(CallKind::Unary, &number.to_string());
        }
        callers.count(CallKind::Unary, "a\"b");
        assert_eq!(callers.others.unary.load(Ordering::Relaxed), 2);
        assert_eq!(count(&callers, "0"), 1);
    }
}
