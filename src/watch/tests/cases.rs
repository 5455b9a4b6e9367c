//! The rules of watching that clients of etcd rely on, a test each.

use super::store::{
    Change, Seen, Store, Told, What, created, drain, poll, text, texts, watch, watch_from,
};
use crate::{
    types::limits::WATCH_RESPONSE_REVISIONS_MAX,
    watch::{Create, Filter, WatchId, Watchers},
};

/// A store that keeps everything in its hub, and a stream without watchers.
pub(super) fn fresh() -> (Store, Watchers) {
    let store = Store::keeping(10_000);
    let watchers = Watchers::new(&store.hub);
    (store, watchers)
}

fn with_id(id: i64, create: Create) -> Create {
    Create { id: Some(WatchId(id)), ..create }
}

/// Ids count from 0, and skip those that a client chose.
#[test]
fn case_35_automatic_ids_count_from_zero() {
    let (_store, mut watchers) = fresh();
    let ids = [watch("a", ""), watch("a", ""), with_id(2, watch("a", "")), watch("a", "")]
        .map(|create| created(&mut watchers, create).0);
    assert_eq!(ids, [0, 1, 2, 3]);

    watchers.cancel(WatchId(3));
    assert_eq!(created(&mut watchers, watch("a", "")), WatchId(4));
    assert_eq!(created(&mut watchers, with_id(-7, watch("a", ""))), WatchId(-7));
}

/// A second watcher of an id is refused, and the first goes on.
#[test]
fn case_36_a_duplicate_id_is_refused() {
    let (mut store, mut watchers) = fresh();
    created(&mut watchers, with_id(5, watch("a", "")));

    let response = watchers.create(with_id(5, watch("b", "")));

    assert_eq!(text(&response.into()), "-1@1 refused DuplicateId");
    store.put("a");
    assert_eq!(texts(&drain(&mut watchers, &store)), ["5@2 put a 2.0"]);
}

/// Only what is there can be cancelled, and only once; after that the id is free.
#[test]
fn case_37_cancelling_nothing_is_silent() {
    let (mut store, mut watchers) = fresh();
    created(&mut watchers, with_id(5, watch("a", "")));
    store.put("a");

    assert_eq!(watchers.cancel(WatchId(6)), None);
    let canceled = watchers.cancel(WatchId(5)).unwrap();
    assert_eq!(text(&canceled.into()), "5@2 canceled");
    assert_eq!(watchers.cancel(WatchId(5)), None);

    assert!(drain(&mut watchers, &store).is_empty());
    created(&mut watchers, with_id(5, watch("a", "")));
}

/// A start below the compacted revision: created, then told, and the id stays taken.
#[test]
fn case_38_a_start_in_compacted_history_ends_the_watcher() {
    let (mut store, mut watchers) = fresh();
    for _ in 0..4 {
        store.put("a");
    }
    store.compact(4);

    let response = watchers.create(watch_from("a", "", 3));

    assert_eq!(text(&response.into()), "0@5 created");
    assert_eq!(texts(&drain(&mut watchers, &store)), ["0@0 compacted 4"]);
    let again = watchers.create(with_id(0, watch("a", "")));
    assert_eq!(text(&again.into()), "-1@5 refused DuplicateId");
    created(&mut watchers, watch("a", ""));
    store.put("a");
    assert_eq!(texts(&drain(&mut watchers, &store)), ["1@6 put a 6.0"]);
}

/// The compacted revision itself is still there.
#[test]
fn case_16_a_start_at_the_compacted_revision_is_fine() {
    let (mut store, mut watchers) = fresh();
    for _ in 0..3 {
        store.put("a");
    }
    store.compact(3);

    created(&mut watchers, Create { prev_kv: true, ..watch_from("a", "", 3) });

    assert_eq!(texts(&drain(&mut watchers, &store)), ["0@4 put a 3.0, put a 4.0 (was 3)"]);
}

/// A lost watcher may still be cancelled. What is said about the whole stream is not about it.
#[test]
fn case_39_a_lost_watcher_is_answered_for_once_more() {
    let (mut store, mut watchers) = fresh();
    store.put("a");
    store.put("a");
    store.compact(3);
    created(&mut watchers, watch("b", ""));
    let lost = created(&mut watchers, watch_from("a", "", 2));
    assert_eq!(texts(&drain(&mut watchers, &store)), ["1@0 compacted 3"]);

    watchers.progress();
    assert_eq!(texts(&drain(&mut watchers, &store)), ["-1@3 progress"]);
    assert_eq!(text(&watchers.cancel(lost).unwrap().into()), "1@3 canceled");
    assert_eq!(watchers.cancel(lost), None);
}

/// Without a watcher there is nothing to be told. With one that waits for the future the answer
/// waits too, and comes as soon as it is true.
#[test]
fn case_40_progress_is_silent_when_it_says_nothing() {
    let (mut store, mut watchers) = fresh();
    watchers.progress();
    assert!(drain(&mut watchers, &store).is_empty());

    created(&mut watchers, watch("a", ""));
    created(&mut watchers, watch_from("a", "", 3));
    watchers.progress();
    assert!(drain(&mut watchers, &store).is_empty());
    store.put("b");
    assert!(drain(&mut watchers, &store).is_empty());

    store.put("b");
    assert_eq!(texts(&drain(&mut watchers, &store)), ["-1@3 progress"]);
}

/// A progress answer waits for the events before it, of every watcher of the stream.
#[test]
fn manual_progress_follows_all_events() {
    let (mut store, mut watchers) = fresh();
    for _ in 0..3 {
        store.put("a");
    }
    created(&mut watchers, watch("b", ""));
    created(&mut watchers, watch_from("a", "", 1));
    watchers.progress();

    let first = poll(&mut watchers, &store, 0);
    assert_eq!(first, Seen { responses: vec![], more: true });
    store.put("b");
    assert_eq!(
        texts(&drain(&mut watchers, &store)),
        ["0@5 put b 5.0", "1@5 put a 2.0, put a 3.0, put a 4.0", "-1@5 progress"]
    );
}

/// A negative start is refused before anything else is looked at.
#[test]
fn case_41_a_negative_start_is_refused() {
    let (_store, mut watchers) = fresh();
    created(&mut watchers, with_id(5, watch("a", "")));

    let response = watchers.create(with_id(5, watch_from("b", "a", -3)));

    assert_eq!(text(&response.into()), "-1@1 refused NegativeStart");
}

/// A range that no key can be in is refused, before the id is looked at.
#[test]
fn case_7_an_empty_range_is_refused() {
    let (_store, mut watchers) = fresh();
    created(&mut watchers, with_id(5, watch("a", "")));

    let response = watchers.create(with_id(5, watch("b", "a")));

    assert_eq!(text(&response.into()), "-1@1 refused EmptyRange");
}

/// Nothing below a start in the future is shown, no progress either.
#[test]
fn case_42_a_future_start_is_silent_until_then() {
    let (mut store, mut watchers) = fresh();
    let create = Create { progress_notify: true, ..watch_from("a", "", 6) };
    assert_eq!(text(&watchers.create(create).into()), "0@1 created");

    for _ in 2..6 {
        store.put("a");
        watchers.tick();
        assert!(drain(&mut watchers, &store).is_empty());
    }
    store.put("a");
    assert_eq!(texts(&drain(&mut watchers, &store)), ["0@6 put a 6.0"]);
    watchers.tick();
    watchers.tick();
    assert_eq!(texts(&drain(&mut watchers, &store)), ["0@6 progress"]);
}

pub(super) fn count_and_revision(response: &Told) -> (usize, i64) {
    let What::Events { events, .. } = &response.what else {
        panic!("expected events, got {}", text(response))
    };
    (events.len(), response.revision.0)
}

/// A backlog travels in responses of at most a thousand revisions, with the store's revision in
/// the header: out of the hub's memory, and out of history.
#[test]
fn case_43_a_backlog_travels_in_large_responses() {
    for kept in [10_000, 5] {
        let mut store = Store::keeping(kept);
        let mut watchers = Watchers::new(&store.hub);
        for _ in 0..1_100 {
            store.put("a");
        }

        created(&mut watchers, watch_from("a", "", 1));

        let responses: Vec<_> =
            drain(&mut watchers, &store).iter().map(count_and_revision).collect();
        assert_eq!(responses, [(WATCH_RESPONSE_REVISIONS_MAX, 1_101), (100, 1_101)]);
        assert_eq!(store.reads.get() > 0, kept == 5);
    }
}

/// All changes of one request arrive in one response, in their order.
#[test]
fn case_44_a_request_arrives_in_one_response() {
    let (mut store, mut watchers) = fresh();
    created(&mut watchers, watch("a", "z"));

    let names = ["d", "b", "c", "a", "j", "i", "h", "g", "f", "e"];
    store.apply(&names.map(Change::Put));

    let expected: Vec<_> =
        names.iter().enumerate().map(|(sub, name)| format!("put {name} 2.{sub}")).collect();
    assert_eq!(texts(&drain(&mut watchers, &store)), [format!("0@2 {}", expected.join(", "))]);
}

/// One that keeps up gets a response for each revision, with that revision in the header.
#[test]
fn a_synced_watcher_gets_each_revision_by_itself() {
    let (mut store, mut watchers) = fresh();
    created(&mut watchers, watch("a", ""));

    store.put("a");
    store.put("b");
    store.put("a");

    assert_eq!(texts(&drain(&mut watchers, &store)), ["0@2 put a 2.0", "0@4 put a 4.0"]);
}

/// Who asks for the pair before gets it, with a put and with a delete, but not with a first put.
#[test]
fn case_45_previous_pairs_come_when_asked_for() {
    let (mut store, mut watchers) = fresh();
    created(&mut watchers, Create { prev_kv: true, ..watch("a", "") });
    created(&mut watchers, watch("a", ""));

    store.put("a");
    store.put("a");
    store.delete("a");
    store.put("a");

    let responses = texts(&drain(&mut watchers, &store));
    let of = |id: &str| {
        responses.iter().filter(|text| text.starts_with(id)).cloned().collect::<Vec<_>>()
    };
    assert_eq!(
        of("0@"),
        ["0@2 put a 2.0", "0@3 put a 3.0 (was 2)", "0@4 delete a 4.0 (was 3)", "0@5 put a 5.0"]
    );
    assert_eq!(of("1@"), ["1@2 put a 2.0", "1@3 put a 3.0", "1@4 delete a 4.0", "1@5 put a 5.0"]);
}

/// A pair that compaction took is not shown, though the hub may still have it.
#[test]
fn case_46_a_compacted_previous_pair_is_absent() {
    let (mut store, mut watchers) = fresh();
    for _ in 0..3 {
        store.put("a");
    }
    store.compact(4);

    created(&mut watchers, Create { prev_kv: true, ..watch_from("a", "", 4) });
    store.put("a");

    assert_eq!(texts(&drain(&mut watchers, &store)), ["0@5 put a 4.0, put a 5.0 (was 4)"]);
}

/// A request that deletes a key and puts it again creates it: there is no pair before.
#[test]
fn case_27_a_put_after_a_delete_at_one_revision_is_a_first_put() {
    let (mut store, mut watchers) = fresh();
    store.put("b");
    created(&mut watchers, Create { prev_kv: true, ..watch("b", "") });

    store.apply(&[Change::Delete("b"), Change::Put("b")]);

    assert_eq!(texts(&drain(&mut watchers, &store)), ["0@3 delete b 3.0 (was 2), put b 3.1"]);
}

/// A watcher that filters everything is sent no events, but hears of progress.
#[test]
fn case_47_filters_leave_events_out() {
    let (mut store, mut watchers) = fresh();
    let filters = [(true, true), (true, false), (false, true)];
    for (no_put, no_delete) in filters {
        let filter = Filter { no_put, no_delete };
        created(&mut watchers, Create { filter, ..watch("a", "") });
    }

    store.put("a");
    store.delete("a");
    watchers.progress();

    assert_eq!(
        texts(&drain(&mut watchers, &store)),
        ["2@2 put a 2.0", "1@3 delete a 3.0", "-1@3 progress"]
    );
}

/// The answer to a creation shows the revision of the registration: all that comes later is
/// delivered, even if the stream had not looked at the hub for a while.
#[test]
fn case_50_registration_falls_between_two_revisions() {
    let (mut store, mut watchers) = fresh();
    store.put("a");
    store.put("a");

    let response = watchers.create(watch("a", ""));
    store.put("a");

    assert_eq!(text(&response.into()), "0@3 created");
    assert_eq!(texts(&drain(&mut watchers, &store)), ["0@4 put a 4.0"]);
}

/// Progress is told once a tick to those who were sent nothing since the last one.
#[test]
fn case_54_a_tick_after_events_is_skipped() {
    let (mut store, mut watchers) = fresh();
    created(&mut watchers, Create { progress_notify: true, ..watch("a", "") });
    created(&mut watchers, watch("b", ""));
    store.put("a");
    drain(&mut watchers, &store);

    watchers.tick();
    assert!(drain(&mut watchers, &store).is_empty());
    store.put("b");
    watchers.tick();
    assert_eq!(texts(&drain(&mut watchers, &store)), ["1@3 put b 3.0", "0@3 progress"]);
}
