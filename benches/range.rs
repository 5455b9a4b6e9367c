//! How long it takes to read 1,000 of 100,000 keys from RocksDB, as they are now and as they were: as
//! pairs, and as the records that an answer is made of. A tenth of the keys has changed since then.

#![allow(clippy::unwrap_used, reason = "a benchmark may panic")]

mod state;

use std::ops::ControlFlow;

use criterion::{Criterion, Throughput};
use quorate::{
    state::{Range, RevisionFilter, Sort, meta, mvcc},
    types::{KeyRange, Revision},
};

use state::{State, key};

const KEYS: u64 = 100_000;
const READ: u64 = 1_000;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("range of 1000 keys");
    group.throughput(Throughput::Elements(READ));

    let mut state = State::with_keys(0..KEYS);
    let then = meta::revision(&*state.view()).unwrap();
    state.put_all((0..KEYS).step_by(10));

    let view = state.view();
    for (name, revision) in [("now", Revision(0)), ("at an old revision", then)] {
        let range = range(KEYS / 2, revision);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let found = mvcc::range(&*view, &range).unwrap();
                assert_eq!(found.kvs.len() as u64, READ);
                found
            });
        });
        group.bench_function(format!("{name}, as records"), |bencher| {
            bencher.iter(|| {
                let (mut answer, mut keys) = (Vec::with_capacity(256 * 1024), 0);
                let listed = mvcc::list(&*view, &range, &mut |record| {
                    answer.extend_from_slice(record);
                    keys += 1;
                    ControlFlow::Continue(())
                });
                assert_eq!((listed.unwrap().more, keys), (false, READ));
                answer
            });
        });
    }
    group.finish();
    criterion.final_summary();
}

/// The read of so many keys from this one on.
fn range(from: u64, revision: Revision) -> Range {
    Range {
        range: KeyRange::HalfOpen(key(from), key(from + READ)),
        revision: revision.0,
        limit: 0,
        sort: Sort::default(),
        keys_only: false,
        count_only: false,
        filter: RevisionFilter::default(),
    }
}
