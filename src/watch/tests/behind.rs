//! Watchers that cannot keep up, or start in the past: what they are promised all the same.

use super::{
    cases::{count_and_revision, fresh},
    hub::UNBOUNDED,
    store::{Change, Seen, Store, created, drain, poll, poll_with, texts, watch, watch_from},
};
use crate::{
    types::{Key, Revision, limits::WATCH_CATCH_UP_BYTES_MAX},
    watch::{Create, History, Limits, Read, ReadKeys, Watchers, board::Bounds},
};

/// A stream that had no room for long, and was overtaken by compaction, goes on without a gap as
/// far as it can, and then ends with a word.
#[test]
fn case_52_compaction_past_a_stalled_watcher_ends_it() {
    let mut store = Store::keeping(3);
    let mut watchers = Watchers::new(&store.hub);
    created(&mut watchers, watch("a", ""));
    store.put("a");
    let before_the_stall = poll(&mut watchers, &store, 1).responses;
    for _ in 0..10 {
        store.put("a");
        poll(&mut watchers, &store, 0);
    }
    store.compact(6);

    assert_eq!(texts(&before_the_stall), ["0@2 put a 2.0"]);
    assert_eq!(texts(&drain(&mut watchers, &store)), ["0@0 compacted 6"]);
}

/// The same with the hub still holding what is missing: nothing is lost.
#[test]
fn compaction_does_not_end_a_watcher_that_the_hub_can_serve() {
    let (mut store, mut watchers) = fresh();
    created(&mut watchers, watch("a", ""));
    for _ in 0..3 {
        store.put("a");
    }
    store.compact(4);

    assert_eq!(
        texts(&drain(&mut watchers, &store)),
        ["0@2 put a 2.0", "0@3 put a 3.0", "0@4 put a 4.0"]
    );
}

/// Once a stream was without room, what waited may travel together, up to the stall and no later.
#[test]
fn a_stalled_watcher_gets_its_revisions_together() {
    let (mut store, mut watchers) = fresh();
    created(&mut watchers, watch("a", ""));
    for _ in 0..3 {
        store.put("a");
    }
    poll(&mut watchers, &store, 0);

    assert_eq!(texts(&drain(&mut watchers, &store)), ["0@4 put a 2.0, put a 3.0, put a 4.0"]);
    store.put("a");
    store.put("a");
    assert_eq!(texts(&drain(&mut watchers, &store)), ["0@5 put a 5.0", "0@6 put a 6.0"]);
}

/// Those that catch up and those that keep up take turns; and those that catch up together share
/// what was read.
#[test]
fn catching_up_does_not_hold_up_the_others() {
    let mut store = Store::keeping(5);
    let mut watchers = Watchers::new(&store.hub);
    for _ in 0..5_000 {
        store.put("a");
    }
    created(&mut watchers, watch("b", ""));
    created(&mut watchers, watch_from("a", "", 1));
    created(&mut watchers, watch_from("a", "", 1));
    let first = poll(&mut watchers, &store, 4);
    store.put("b");

    let second = poll(&mut watchers, &store, 4);

    let seen: Vec<_> = first.responses.iter().map(count_and_revision).collect();
    assert_eq!(seen, [(1_000, 5_001); 4]);
    assert!(texts(&second.responses).contains(&"0@5002 put b 5002.0".to_owned()));
    drain(&mut watchers, &store);
    assert_eq!(store.reads.get(), 1, "reads for one piece of history");
}

/// Revisions that no watcher wants cost no reads of history, even on a stream without room.
#[test]
fn an_idle_watcher_never_falls_behind() {
    let mut store = Store::keeping(5);
    let mut watchers = Watchers::new(&store.hub);
    created(&mut watchers, watch("quiet", ""));

    for _ in 0..100 {
        store.put("a");
        assert_eq!(poll(&mut watchers, &store, 0), Seen::default());
    }

    store.put("quiet");
    assert_eq!(texts(&drain(&mut watchers, &store)), ["0@102 put quiet 102.0"]);
    assert_eq!(store.reads.get(), 0);
}

/// A stream that slept while the hub moved far on misses nothing.
#[test]
fn a_watcher_whose_revisions_were_evicted_reads_history() {
    let mut store = Store::keeping(2);
    let mut watchers = Watchers::new(&store.hub);
    created(&mut watchers, watch("a", ""));
    for _ in 0..4 {
        store.put("a");
    }

    assert_eq!(
        texts(&drain(&mut watchers, &store)),
        ["0@5 put a 2.0, put a 3.0, put a 4.0, put a 5.0"]
    );
}

/// After a snapshot was installed watchers go on from history, where they were.
#[test]
fn watchers_survive_a_reset() {
    let (mut store, mut watchers) = fresh();
    created(&mut watchers, watch("a", ""));
    store.put("a");
    for _ in 0..5 {
        store.apply_unpublished(&[Change::Put("a")]);
    }

    store.hub.reset(store.revision(), Revision::NEVER_COMPACTED);

    assert_eq!(
        texts(&drain(&mut watchers, &store)),
        ["0@7 put a 2.0, put a 3.0, put a 4.0, put a 5.0, put a 6.0, put a 7.0"]
    );
}

/// A watcher that was told everything is not ended by a compaction of what it was told, though the
/// hub starts over and it may need history from now on.
#[test]
fn an_idle_watcher_survives_a_reset_after_a_compaction() {
    let (mut store, mut watchers) = fresh();
    created(&mut watchers, watch("quiet", ""));
    for _ in 0..10 {
        store.put("a");
    }
    store.compact(10);
    store.apply_unpublished(&[Change::Put("a")]);
    store.hub.reset(store.revision(), store.compacted);

    assert!(drain(&mut watchers, &store).is_empty());
    store.put("quiet");
    assert_eq!(texts(&drain(&mut watchers, &store)), ["0@13 put quiet 13.0"]);
}

/// A start in compacted history ends a watcher, even if others like it are still served from memory.
#[test]
fn a_start_in_compacted_history_ends_a_watcher_among_others() {
    let (mut store, mut watchers) = fresh();
    created(&mut watchers, watch("a", ""));
    for _ in 0..5 {
        store.put("a");
    }
    store.compact(5);

    created(&mut watchers, watch_from("a", "", 3));

    let responses = drain(&mut watchers, &store);
    let (first, second): (Vec<_>, Vec<_>) =
        texts(&responses).into_iter().partition(|text| text.starts_with("0@"));
    assert_eq!(
        first,
        ["0@2 put a 2.0", "0@3 put a 3.0", "0@4 put a 4.0", "0@5 put a 5.0", "0@6 put a 6.0"]
    );
    assert_eq!(second, ["1@0 compacted 5"]);
}

/// Large revisions do not pile up in one response, unless the client takes it in pieces.
#[test]
fn a_catch_up_response_is_bounded_in_bytes() {
    for kept in [100, 2] {
        let mut store = Store::keeping(kept);
        store.value = vec![0; WATCH_CATCH_UP_BYTES_MAX / 3].into();
        let mut watchers = Watchers::new(&store.hub);
        for _ in 0..5 {
            store.put("a");
        }

        created(&mut watchers, watch_from("a", "", 1));
        created(&mut watchers, Create { fragment: true, ..watch_from("a", "", 1) });

        let mut counts = [vec![], vec![]];
        for response in drain(&mut watchers, &store) {
            let id = usize::try_from(response.id.0).unwrap();
            counts[id].push(count_and_revision(&response).0);
        }
        // Out of history even less comes at once, for the pairs before are read along with it.
        if kept == 100 {
            assert_eq!(counts, [vec![2, 2, 1], vec![5]]);
        }
        assert!(counts[0].iter().all(|count| *count <= 2));
        assert_eq!(counts.map(|counts| counts.iter().sum::<usize>()), [5, 5]);
    }
}

/// A history in which compaction overtakes the first reader.
struct Racing<'a> {
    store: &'a Store,
    compacted: Revision,
}

impl History for Racing<'_> {
    type Error = &'static str;

    fn read(&self, from: Revision, to: Revision, limits: Limits) -> Result<Read, Self::Error> {
        if self.store.hub.compacted_revision() < self.compacted {
            self.store.hub.compacted(self.compacted);
            return Err("a record has vanished");
        }
        let Ok(read) = self.store.read(from, to, limits);
        Ok(read)
    }

    fn read_keys(
        &self,
        keys: &[(Key, Revision)],
        to: Revision,
        prev_kv: bool,
        limits: Limits,
    ) -> Result<ReadKeys, Self::Error> {
        if self.store.hub.compacted_revision() < self.compacted {
            self.store.hub.compacted(self.compacted);
            return Err("a record has vanished");
        }
        let Ok(read) = self.store.read_keys(keys, to, prev_kv, limits);
        Ok(read)
    }
}

/// History read while compaction went past it does not count, whatever came of it: it is read
/// again, or, when compaction took what is needed, the watcher ends.
#[test]
fn history_overtaken_by_compaction_does_not_count() {
    let cases = [(4, "0@0 compacted 4"), (3, "0@6 put a 3.0, put a 4.0, put a 5.0, put a 6.0")];
    for ((compacted, expected), far) in cases.into_iter().flat_map(|case| [(case, 1), (case, 99)]) {
        let mut store = Store::bounded(Bounds { revisions: 1, far, ..UNBOUNDED });
        let mut watchers = Watchers::new(&store.hub);
        for _ in 0..5 {
            store.put("a");
        }
        created(&mut watchers, watch_from("a", "", 3));
        let racing = Racing { store: &store, compacted: Revision(compacted) };

        let first = poll_with(&mut watchers, &store.hub, &racing, 8);
        let second = poll_with(&mut watchers, &store.hub, &racing, 8);

        let responses = [first.unwrap().responses, second.unwrap().responses].concat();
        assert_eq!(texts(&responses).first().unwrap(), expected);
    }
}
