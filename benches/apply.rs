//! How long an entry takes from the log's bytes to a commit on RocksDB: it bounds what a member can
//! apply in a second. The requests are puts of 100 bytes; syncing is the log's part, and not in it.

#![allow(clippy::unwrap_used, reason = "a benchmark may panic")]

mod state;

use criterion::{BatchSize, Criterion, Throughput};

use state::{State, puts};

/// Keys that live before something is measured.
const KEYS: u64 = 100_000;
/// Requests in an entry that waited together.
const GROUP: u64 = 1_000;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("apply");
    let mut state = State::with_keys(0..KEYS);
    let mut next_new = KEYS;
    let mut next_old = 0;

    group.bench_function("put of a new key", |bencher| {
        let entry = || {
            next_new += 1;
            puts([next_new])
        };
        bencher.iter_batched(entry, |entry| state.apply(entry), BatchSize::SmallInput);
    });
    group.bench_function("put of an existing key", |bencher| {
        let entry = || {
            // A prime step, so that neighbours in time are not neighbours on disk.
            next_old = (next_old + 7_919) % KEYS;
            puts([next_old])
        };
        bencher.iter_batched(entry, |entry| state.apply(entry), BatchSize::SmallInput);
    });
    group.throughput(Throughput::Elements(GROUP));
    group.bench_function("group of 1000 puts", |bencher| {
        let entry = || {
            next_new += GROUP;
            puts(next_new - GROUP..next_new)
        };
        bencher.iter_batched(entry, |entry| state.apply(entry), BatchSize::SmallInput);
    });
    group.finish();
    criterion.final_summary();
}
