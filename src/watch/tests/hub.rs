//! What a hub keeps, and what it lets go.

use super::store::{Seen, Store, created, drain, poll, put, texts, watch, watch_from};
use crate::{
    types::Revision,
    watch::{Figures, Hub, Watchers, board::Bounds},
};

/// A store whose hub has these bounds, with a stream that watches `a` and is not read.
fn stalled(bounds: Bounds) -> (Store, Watchers) {
    let mut store = Store::bounded(bounds);
    let mut watchers = Watchers::new(&store.hub);
    created(&mut watchers, watch("a", ""));
    for _ in 0..5 {
        store.put("a");
    }
    (store, watchers)
}

/// A hub that keeps everything.
pub(super) const UNBOUNDED: Bounds =
    Bounds { revisions: usize::MAX, bytes: usize::MAX, matches: usize::MAX, far: i64::MAX };

/// What is in memory is served from there, what any of the bounds took is read from history, and in
/// both cases everything arrives.
#[test]
fn each_bound_takes_the_oldest() {
    let all = "put a 2.0, put a 3.0, put a 4.0, put a 5.0, put a 6.0";
    for (bounds, reads) in [
        (UNBOUNDED, 0),
        (Bounds { revisions: 5, ..UNBOUNDED }, 0),
        (Bounds { revisions: 4, ..UNBOUNDED }, 1),
        (Bounds { bytes: 1_000_000, ..UNBOUNDED }, 0),
        (Bounds { bytes: 1, ..UNBOUNDED }, 1),
        (Bounds { matches: 5, ..UNBOUNDED }, 0),
        (Bounds { matches: 4, ..UNBOUNDED }, 1),
    ] {
        let (store, mut watchers) = stalled(bounds);
        poll(&mut watchers, &store, 0);
        assert_eq!(texts(&drain(&mut watchers, &store)), [format!("0@6 {all}")]);
        assert_eq!(store.reads.get(), reads, "with {bounds:?}");
    }
}

/// The newest revision is always there for those who keep up, whatever the bounds.
#[test]
fn the_newest_revision_stays() {
    for bounds in [
        Bounds { revisions: 1, ..UNBOUNDED },
        Bounds { bytes: 20, ..UNBOUNDED },
        Bounds { matches: 1, ..UNBOUNDED },
    ] {
        let (mut store, mut watchers) = stalled(bounds);
        drain(&mut watchers, &store);
        let reads = store.reads.get();
        for _ in 0..5 {
            store.put("a");
            assert_eq!(drain(&mut watchers, &store).len(), 1);
        }
        assert_eq!(store.reads.get(), reads, "with {bounds:?}");
    }
}

/// A revision that nobody wants takes no place in anybody's list, and one that left memory hurts
/// nobody who did not want it.
#[test]
fn what_nobody_wants_costs_nothing() {
    let (mut store, mut watchers) = stalled(Bounds { matches: 5, ..UNBOUNDED });
    for _ in 0..100 {
        store.put("b");
    }
    drain(&mut watchers, &store);
    assert_eq!(store.reads.get(), 0);
}

/// A revision of which more is wanted than may be kept is not kept at all, but read from history.
#[test]
fn a_revision_that_too_many_want_is_read_from_history() {
    for (matches, reads) in [(6, 0), (5, 1)] {
        let mut store = Store::bounded(Bounds { matches, ..UNBOUNDED });
        let mut watchers = Watchers::new(&store.hub);
        created(&mut watchers, watch("a", "z"));
        created(&mut watchers, watch("a", "y"));

        store.apply(&["a", "b", "c"].map(super::store::Change::Put));

        let all = "2 put a 2.0, put b 2.1, put c 2.2";
        assert_eq!(texts(&drain(&mut watchers, &store)), [format!("0@{all}"), format!("1@{all}")]);
        assert_eq!(store.reads.get(), reads, "with room for {matches}");
    }
}

/// When what was published is not matched for too long, it is let go, and everybody reads history.
#[test]
fn an_inbox_that_overflows_starts_over() {
    let mut store = Store::bounded(Bounds { revisions: 3, ..UNBOUNDED });
    let mut watchers = Watchers::new(&store.hub);
    created(&mut watchers, watch("a", ""));
    for _ in 0..4 {
        let published = store.apply_unpublished(&[super::store::Change::Put("a")]);
        store.hub.publish(published);
    }
    assert_eq!(store.hub.figures().pending, 0);

    assert_eq!(
        texts(&drain(&mut watchers, &store)),
        ["0@5 put a 2.0, put a 3.0, put a 4.0, put a 5.0"]
    );
    assert_eq!(store.reads.get(), 1);
}

/// Revisions come one after the other; a gap is a mistake of this program.
#[test]
#[should_panic(expected = "revisions are published one by one")]
fn a_gap_is_a_bug() {
    let hub = Hub::new(Revision(1), Revision::NEVER_COMPACTED);
    hub.publish([(Revision(3), vec![put("k", 3)])]);
}

/// After a reset nothing from before is served from memory.
#[test]
fn a_reset_rings_and_forgets() {
    let hub = Hub::new(Revision(1), Revision::NEVER_COMPACTED);
    hub.publish([(Revision(2), vec![put("k", 2)]), (Revision(3), vec![put("k", 3)])]);
    let mut bell = hub.subscribe();
    bell.mark_unchanged();

    hub.reset(Revision(50), Revision(20));

    assert!(bell.has_changed().unwrap());
    assert!(!hub.fan_out());
    assert_eq!((hub.current(), hub.compacted_revision()), (Revision(50), Revision(20)));
    assert_eq!(hub.figures(), Figures::default());
}

/// The figures tell who is there, who waits for nothing, and what was sent.
#[test]
fn the_figures_tell_what_goes_on() {
    let (mut store, mut watchers) = stalled(UNBOUNDED);
    created(&mut watchers, watch("b", ""));
    created(&mut watchers, watch_from("a", "", 2));
    let figures = store.hub.figures();
    assert_eq!((figures.streams, figures.watchers, figures.behind), (1, 3, 2));

    drain(&mut watchers, &store);
    store.put("b");
    let figures = store.hub.figures();
    assert_eq!((figures.behind, figures.delivered), (1, 10));
    assert_eq!(poll(&mut watchers, &store, 0), Seen { responses: vec![], more: true });

    drop(watchers);
    assert_eq!(store.hub.figures(), Figures { delivered: 10, ..Figures::default() });
}
