//! Sequences of requests: every field of every KV call, mostly sensible, now and then not.
//!
//! Keys come from a small alphabet, so that requests meet each other. What is not generated:
//!
//! - A transaction that deletes and then puts with an ignore flag, and an alarm with an unknown
//!   action: both crash etcd 3.7.1.
//! - Transactions nested deeper than four; from eight on we refuse where etcd does not.
//! - A stream of a range sorted by anything but keys: over several chunks etcd's order is undefined.
//! - A range end that is there but empty: no client library encodes one.
//! - Values whose request comes within some kilobytes of the limit: the envelope that counts too is
//!   not the same.

use bytes::Bytes;
use quorate::proto::etcdserverpb::{
    CompactionRequest, DeleteRangeRequest, LeaseGrantRequest, LeaseKeepAliveRequest,
    LeaseLeasesRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest, PutRequest, RangeRequest,
    WatchCreateRequest,
};

use crate::{
    generate_txn,
    level::Level,
    op::{Op, now},
    rng::Rng,
};

/// After so many operations the whole state and a piece of history are compared.
const CHECK_INTERVAL: usize = 100;
/// How far back the past is looked at; compactions leave about as much.
const PAST: i64 = 60;

const KEYS: [&[u8]; 20] = [
    b"a",
    b"b",
    b"c",
    b"d",
    b"e",
    b"f",
    b"a\0",
    b"a\0\0",
    b"\0",
    b"ab",
    b"abc",
    b"a\xff",
    b"b/1",
    b"b/2",
    b"b/3",
    b"b\xff",
    b"\xff",
    b"\xff\xff",
    b"c\x80",
    b"f\0",
];
const ENDS: [&[u8]; 12] =
    [b"a", b"a\0", b"b", b"b/", b"b0", b"c", b"d", b"f", b"g", b"\xff", b"\xff\xff", b"\0\0"];
/// Leases that are granted, and one that never is.
pub(crate) const LEASES: [i64; 7] = [1, 2, 77, -1, i64::MAX, i64::MIN, 4040];
/// What is granted when no id is given.
const DRAWN: i64 = 0;
/// So long that none of them ends while a test runs.
const TTL_SECONDS: i64 = 60_000;
/// Ids of leases with times that may end at once, which nothing hangs on.
const SHORT_LEASES_FROM: i64 = 1_000_000;

/// So many operations, as a seed decides them, and a look at everything at the end.
pub(crate) fn operations(seed: u64, count: usize, level: Level) -> Vec<Op> {
    let mut rng = Rng::new(seed);
    let mut ops = Vec::with_capacity(count + 5);
    while ops.len() < count {
        if ops.len() % CHECK_INTERVAL == CHECK_INTERVAL - 1 {
            ops.extend(checks(&mut rng));
        }
        ops.push(operation(&mut rng, level));
    }
    ops.extend(checks(&mut rng));
    ops
}

/// The whole state now and at two older revisions, the history in between, and what hangs on each lease.
fn checks(rng: &mut Rng) -> Vec<Op> {
    let leases = LEASES.map(|id| Op::LeaseTimeToLive(LeaseTimeToLiveRequest { id, keys: true }));
    let mut checks = vec![
        Op::whole_state(0),
        Op::whole_state(now(-rng.below(PAST / 4))),
        Op::whole_state(now(-rng.below(PAST))),
        Op::Watch(WatchCreateRequest {
            key: "\0".into(),
            range_end: "\0".into(),
            start_revision: now(-rng.below(PAST)),
            prev_kv: rng.once_in(2),
            ..Default::default()
        }),
    ];
    checks.extend(leases);
    checks
}

fn operation(rng: &mut Rng, level: Level) -> Op {
    match rng.below(1_000) {
        0..250 => Op::Put(put(rng)),
        250..450 => Op::Range(range(rng, level)),
        450..520 => match level {
            Level::Etcd37 => Op::RangeStream(streamed_range(rng, level)),
            Level::Etcd34 => Op::Range(range(rng, level)),
        },
        520..600 => Op::DeleteRange(delete_range(rng)),
        600..900 => Op::Txn(generate_txn::txn(rng, level)),
        900..910 => Op::Compact(compaction(rng)),
        910..940 => Op::LeaseGrant(grant(rng)),
        940..955 => Op::LeaseRevoke(LeaseRevokeRequest { id: lease(rng) }),
        955..975 => {
            let keys = rng.once_in(2);
            Op::LeaseTimeToLive(LeaseTimeToLiveRequest { id: lease(rng), keys })
        }
        975..990 => {
            let count = 1 + rng.below(5);
            let renewal = |_| LeaseKeepAliveRequest { id: lease(rng) };
            Op::LeaseKeepAlive((0..count).map(renewal).collect())
        }
        _ => Op::LeaseLeases(LeaseLeasesRequest {}),
    }
}

/// A key; once in a while none, which is refused.
pub(crate) fn key(rng: &mut Rng) -> Bytes {
    if rng.once_in(80) {
        return Bytes::new();
    }
    Bytes::from_static(rng.pick(&KEYS))
}

/// The end of a range, which may lie before its start; none half of the time.
pub(crate) fn range_end(rng: &mut Rng) -> Bytes {
    match rng.below(8) {
        0..4 => Bytes::new(),
        4 => Bytes::from_static(b"\0"),
        5 => Bytes::from_static(rng.pick(&KEYS)),
        _ => Bytes::from_static(rng.pick(&ENDS)),
    }
}

pub(crate) fn range(rng: &mut Rng, level: Level) -> RangeRequest {
    let filters = rng.once_in(4);
    let filter = |rng: &mut Rng| if filters { revision_filter(rng) } else { 0 };
    let unknown_sort = level == Level::Etcd37 && rng.once_in(60);
    let (sort_order, sort_target) = match rng.below(4) {
        _ if unknown_sort => (rng.pick(&[0, 3, -1]), rng.pick(&[5, 77, -3])),
        0 | 1 => (0, 0),
        _ => (rng.pick(&[0, 1, 2]), rng.pick(&[0, 1, 2, 3, 4])),
    };
    RangeRequest {
        key: key(rng),
        range_end: range_end(rng),
        limit: limit(rng),
        revision: revision(rng),
        sort_order,
        sort_target,
        serializable: rng.once_in(3),
        keys_only: rng.once_in(5),
        count_only: rng.once_in(8),
        min_mod_revision: filter(rng),
        max_mod_revision: filter(rng),
        min_create_revision: filter(rng),
        max_create_revision: filter(rng),
    }
}

/// A range as streams take it, and now and then one that they refuse.
fn streamed_range(rng: &mut Rng, level: Level) -> RangeRequest {
    let mut request = range(rng, level);
    if rng.once_in(8) && request.sort_order != 0 {
        return request;
    }
    request.sort_target = 0;
    request.sort_order = rng.pick(&[0, 1]);
    if !rng.once_in(8) {
        request.min_mod_revision = 0;
        request.max_mod_revision = 0;
        request.min_create_revision = 0;
        request.max_create_revision = 0;
    }
    request
}

fn limit(rng: &mut Rng) -> i64 {
    match rng.below(6) {
        0..3 => 0,
        3 => rng.pick(&[-1, -7, i64::MIN, i64::MAX]),
        _ => 1 + rng.below(12),
    }
}

/// Mostly the newest; else the past, which may be compacted, and seldom the future or a negative.
fn revision(rng: &mut Rng) -> i64 {
    match rng.below(40) {
        0..28 => 0,
        28 => now(1 + rng.below(3)),
        29 => -1 - rng.below(3),
        30 => rng.pick(&[1, i64::MAX, i64::MIN]),
        31..34 => now(0),
        _ => now(-rng.below(PAST)),
    }
}

fn revision_filter(rng: &mut Rng) -> i64 {
    match rng.below(4) {
        0..2 => 0,
        2 if rng.once_in(4) => rng.pick(&[-1, i64::MAX, i64::MIN, 1]),
        _ => now(-rng.below(PAST)),
    }
}

pub(crate) fn put(rng: &mut Rng) -> PutRequest {
    let ignore_value = rng.once_in(10);
    let ignore_lease = rng.once_in(10);
    // An ignore flag with what it ignores is refused, which need not be tried often.
    let with_value = !ignore_value || rng.once_in(6);
    let with_lease = rng.once_in(4) && (!ignore_lease || rng.once_in(3));
    PutRequest {
        key: key(rng),
        value: if with_value { value(rng) } else { Bytes::new() },
        lease: if with_lease { rng.pick(&LEASES) } else { 0 },
        prev_kv: rng.once_in(3),
        ignore_value,
        ignore_lease,
    }
}

/// Few different values, so that they can be equal; seldom a large one, or one that is too large.
pub(crate) fn value(rng: &mut Rng) -> Bytes {
    match rng.below(400) {
        0..10 => Bytes::new(),
        10..20 => Bytes::from_static(rng.pick(&[b"\0", b"\xff", b"\xff\xfe\0", b"\0\0"])),
        20..24 => {
            let len = rng.pick(&[300, 5_000, 70_000]);
            rng.bytes(len)
        }
        24 if rng.once_in(4) => {
            let len = rng.pick(&[400_000, 1_600_000, 2_200_000]);
            rng.bytes(len)
        }
        _ => Bytes::from(format!("v{}", rng.below(40))),
    }
}

pub(crate) fn delete_range(rng: &mut Rng) -> DeleteRangeRequest {
    // One key more often than ranges do, or the store would be empty most of the time.
    let range_end = if rng.once_in(3) { range_end(rng) } else { Bytes::new() };
    DeleteRangeRequest { key: key(rng), range_end, prev_kv: rng.once_in(2) }
}

fn compaction(rng: &mut Rng) -> CompactionRequest {
    let revision = match rng.below(12) {
        0 => now(1 + rng.below(3)),
        1 => rng.pick(&[0, -1, 1, i64::MIN, i64::MAX]),
        2 => now(0),
        _ => now(-rng.below(PAST)),
    };
    CompactionRequest { revision, physical: rng.once_in(4) }
}

/// A lease of the list, and seldom none.
fn lease(rng: &mut Rng) -> i64 {
    if rng.once_in(20) { 0 } else { rng.pick(&LEASES) }
}

fn grant(rng: &mut Rng) -> LeaseGrantRequest {
    let odd = [0, -5, 1, 9_000_000_000, 9_000_000_001, i64::MAX];
    match rng.below(4) {
        0 => LeaseGrantRequest { ttl: rng.pick(&odd), id: SHORT_LEASES_FROM + rng.below(1 << 40) },
        // One lease of the list is never there.
        1 if rng.once_in(4) => LeaseGrantRequest { ttl: TTL_SECONDS, id: DRAWN },
        _ => LeaseGrantRequest { ttl: TTL_SECONDS, id: rng.pick(&LEASES[..LEASES.len() - 1]) },
    }
}
