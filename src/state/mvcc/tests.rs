//! What etcd clients see of single puts, deletes, reads and compactions. Numbers in names are those
//! of the catalogue of cases that reimplementations tend to get wrong.

use crate::{
    state::{
        ApplyError, Command, DeleteRangeResponse, Family, PutResponse, Refused, Response,
        RevisionFilter, SortOrder, SortTarget, meta,
        mvcc::events,
        schema::{cur::pair_size, ver},
        testing::{Machine, compact, delete, events_text, get, grant, key, put},
    },
    types::{Event, EventKind, KeyValue, LeaseId, Revision},
};

fn names(kvs: &[KeyValue]) -> Vec<String> {
    kvs.iter().map(|pair| pair.key.as_bytes().escape_ascii().to_string()).collect()
}

fn refused<T: std::fmt::Debug>(outcome: Result<T, ApplyError>) -> Refused {
    match outcome.unwrap_err() {
        ApplyError::Refused(refused) => refused,
        ApplyError::Fault(fault) => panic!("{fault}"),
    }
}

fn value_of(event: &Event) -> &[u8] {
    match &event.kind {
        EventKind::Put(pair) => &pair.value,
        EventKind::Delete(..) => panic!("{event:?} is a delete"),
    }
}

#[test]
fn case_1_an_empty_store_is_at_revision_1() {
    let mut machine = Machine::new();
    assert_eq!(machine.revision(), 1);
    assert_eq!(machine.range(get("a")).unwrap().count, 0);
    assert_eq!(machine.apply(put("a")).answer().revision, Revision(2));
}

#[test]
fn case_2_a_limit_without_order_cuts_before_sorting() {
    let puts = ["a", "b", "c", "d", "a", "b"].map(put);
    let machine = Machine::after(puts);
    let by_version =
        |order| machine.range(get("a").to("z").limit(2).sort(order, SortTarget::Version)).unwrap();

    // The first three in key order are a2, b2, c1; of those the two smallest.
    let unordered = by_version(SortOrder::None);
    assert_eq!((names(&unordered.kvs), unordered.more), (vec!["c".into(), "a".into()], true));
    let ascending = by_version(SortOrder::Ascend);
    assert_eq!((names(&ascending.kvs), ascending.more), (vec!["c".into(), "d".into()], true));
}

#[test]
fn case_3_count_ignores_limit_and_filters() {
    let machine = Machine::after(["a", "b", "c", "d", "e", "f"].map(put));
    let limited = machine.range(get("a").to("e").limit(1)).unwrap();
    assert_eq!((limited.kvs.len(), limited.more, limited.count), (1, true, 4));

    let filter = RevisionFilter { min_mod: 5, ..RevisionFilter::default() };
    let filtered = machine.range(get("a").to("z").limit(2).filter(filter)).unwrap();
    assert_eq!(
        (names(&filtered.kvs), filtered.more, filtered.count),
        (vec!["d".into(), "e".into()], true, 6)
    );
    let all = machine.range(get("a").to("z").limit(3).filter(filter)).unwrap();
    assert_eq!((all.kvs.len(), all.more, all.count), (3, false, 6));
}

/// Each bound of a filter is inclusive, and all must hold.
#[test]
fn filters_are_inclusive_and_join() {
    let machine = Machine::after(["a", "b", "c", "a"].map(put)); // a: created 2, changed 5
    let kept = |filter| names(&machine.range(get("a").to("z").filter(filter)).unwrap().kvs);
    let off = RevisionFilter::default();
    assert_eq!(kept(RevisionFilter { min_mod: 4, ..off }), ["a", "c"]);
    assert_eq!(kept(RevisionFilter { max_mod: 4, ..off }), ["b", "c"]);
    assert_eq!(kept(RevisionFilter { min_create: 3, ..off }), ["b", "c"]);
    assert_eq!(kept(RevisionFilter { max_create: 3, ..off }), ["a", "b"]);
    assert_eq!(kept(RevisionFilter { max_create: 3, min_mod: 4, ..off }), ["a"]);
}

#[test]
fn case_4_an_old_revision_shows_what_lived_then() {
    let mut machine = Machine::after(["a", "b"].map(put));
    let later: [Command; 4] =
        [put("a").value("2").into(), delete("b").into(), put("c").into(), put("b").into()];
    for command in later {
        machine.apply(command);
    }
    assert_eq!(machine.revision(), 7);
    let then = machine.range(get("a").to("z").at(3)).unwrap();
    assert_eq!((names(&then.kvs), then.count), (vec!["a".into(), "b".into()], 2));
    assert_eq!(then.kvs[0].value, "v");
    let limited = machine.range(get("a").to("z").at(4).limit(1)).unwrap();
    assert_eq!((names(&limited.kvs), limited.more, limited.count), (vec!["a".into()], true, 2));
    assert_eq!(machine.range(get("b").at(5)).unwrap().count, 0);
    assert_eq!(machine.range(get("a").to("z").at(5).count_only()).unwrap().count, 1);
}

#[test]
fn case_5_a_negative_revision_means_the_newest() {
    let machine = Machine::after(["a", "b"].map(put));
    assert_eq!(machine.range(get("a").to("z").at(-7)).unwrap().kvs.len(), 2);
    assert_eq!(refused(machine.range(get("a").at(4))), Refused::FutureRevision(Revision(4)));
}

#[test]
fn case_7_a_reversed_range_is_empty() {
    let mut machine = Machine::after(["a", "b", "c"].map(put));
    let found = machine.range(get("c").to("a")).unwrap();
    assert_eq!((found.kvs.len(), found.count, found.more), (0, 0, false));
    assert_eq!(machine.range(get("c").to("a").at(2)).unwrap().count, 0);
    let answer = machine.apply(delete("c").to("a")).answer();
    assert_eq!(
        answer.response,
        Response::DeleteRange(DeleteRangeResponse { deleted: 0, prevs: vec![] })
    );
}

#[test]
fn case_9_keys_only_leaves_value_and_lease_out() {
    let mut machine = Machine::after([grant(7)]);
    machine.apply(put("a").attached_to(7));
    let found = machine.range(get("a").keys_only()).unwrap().kvs;
    assert_eq!((found[0].value.len(), found[0].lease, found[0].version), (0, None, 1));
    let by_value = get("a").to("z").keys_only().sort(SortOrder::Ascend, SortTarget::Value);
    let found = machine.range(by_value).unwrap().kvs;
    assert_eq!((found[0].value.len(), found[0].lease), (0, Some(LeaseId(7))));
}

/// Keys alone can be sorted by the values that are not returned.
#[test]
fn keys_only_sorts_by_value() {
    let machine = Machine::after([put("a").value("3"), put("b").value("1"), put("c").value("2")]);
    let sorted = |order| {
        names(
            &machine
                .range(get("a").to("z").keys_only().sort(order, SortTarget::Value))
                .unwrap()
                .kvs,
        )
    };
    assert_eq!(sorted(SortOrder::Ascend), ["b", "c", "a"]);
    assert_eq!(sorted(SortOrder::Descend), ["a", "c", "b"]);
}

/// The last keys of a range come from its end, with the count of all.
#[test]
fn descending_keys_with_a_limit_are_the_last_ones() {
    let mut machine = Machine::after(["a", "b", "c", "d"].map(put));
    machine.apply(delete("d"));
    let last = |revision| {
        let found = machine.range(
            get("a").to("\0").at(revision).limit(2).sort(SortOrder::Descend, SortTarget::Key),
        );
        let found = found.unwrap();
        (names(&found.kvs), found.more, found.count)
    };
    assert_eq!(last(0), (vec!["c".into(), "b".into()], true, 3));
    assert_eq!(last(5), (vec!["d".into(), "c".into()], true, 4));
}

#[test]
fn case_10_count_only_counts_everything() {
    let machine = Machine::after(["a", "b", "c"].map(put));
    let found = machine.range(get("a").to("\0").count_only().limit(1)).unwrap();
    assert_eq!((found.kvs.len(), found.more, found.count), (0, false, 3));
}

#[test]
fn case_11_putting_the_same_value_is_a_change() {
    let mut machine = Machine::after([put("a")]);
    let applied = machine.apply(put("a"));
    assert_eq!(applied.events_text(), ["put a 3.0"]);
    assert_eq!(machine.pair("a").unwrap().version, 2);
}

#[test]
fn case_12_a_key_put_after_a_delete_starts_anew() {
    let mut machine = Machine::after([put("a"), put("a")]);
    machine.apply(delete("a"));
    machine.apply(put("a"));
    let pair = machine.pair("a").unwrap();
    assert_eq!(
        (pair.version, pair.create_revision, pair.mod_revision),
        (1, Revision(5), Revision(5))
    );
}

#[test]
fn case_13_deleting_nothing_changes_nothing() {
    let mut machine = Machine::after([put("a")]);
    let before = machine.clone();
    let applied = machine.apply(delete("b"));
    assert_eq!(applied.events, []);
    assert_eq!(applied.answer().revision, Revision(2));
    assert_eq!(machine, before);
}

#[test]
fn case_14_the_lease_is_missed_before_the_key() {
    let mut machine = Machine::new();
    let applied = machine.apply(put("a").attached_to(7).keep_value());
    assert_eq!(applied.refused(), Refused::LeaseNotFound(LeaseId(7)));
    assert_eq!(machine.apply(put("a").keep_value()).refused(), Refused::KeyNotFound);
    assert_eq!(machine.apply(put("a").keep_lease()).refused(), Refused::KeyNotFound);
    assert_eq!(machine, Machine::new());
}

#[test]
fn case_15_there_is_no_pair_before_the_first() {
    let mut machine = Machine::new();
    assert_eq!(
        machine.apply(put("a").prev()).answer().response,
        Response::Put(PutResponse { prev: None })
    );
    let before = machine.pair("a");
    assert_eq!(
        machine.apply(put("a").prev()).answer().response,
        Response::Put(PutResponse { prev: before })
    );
    assert_eq!(
        machine.apply(put("a")).answer().response,
        Response::Put(PutResponse { prev: None })
    );
}

/// With both flags a put is a touch: a new version of the same value on the same lease.
#[test]
fn keeping_value_and_lease_is_a_touch() {
    let mut machine = Machine::after([grant(7)]);
    machine.apply(put("a").value("x").attached_to(7));
    machine.apply(put("a").keep_value().keep_lease());
    let pair = machine.pair("a").unwrap();
    assert_eq!((&pair.value[..], pair.lease, pair.version), (&b"x"[..], Some(LeaseId(7)), 2));
}

/// A delete of a range gives back the pairs before in key order, at one revision.
#[test]
fn a_range_is_deleted_in_key_order() {
    let mut machine = Machine::after(["b", "a", "c"].map(put));
    let applied = machine.apply(delete("a").to("c").prev());
    assert_eq!(applied.events_text(), ["delete a 5.0", "delete b 5.1"]);
    let Response::DeleteRange(response) = applied.answer().response else { panic!() };
    assert_eq!((response.deleted, names(&response.prevs)), (2, vec!["a".into(), "b".into()]));
    assert_eq!(machine.keys(), ["c"]);
}

#[test]
fn case_16_the_compacted_revision_can_still_be_read() {
    let mut machine = Machine::after(["a", "a", "b"].map(put)); // 2, 3, 4
    machine.apply(delete("b")); // 5
    machine.apply(compact(3));
    assert_eq!(machine.range(get("a").at(3)).unwrap().kvs[0].version, 2);
    assert_eq!(refused(machine.range(get("a").at(2))), Refused::Compacted(Revision(2)));
    assert_eq!(refused(machine.events(2)), Refused::Compacted(Revision(2)));

    for garbage_is_gone in [false, true] {
        if garbage_is_gone {
            machine.collect_garbage();
        }
        let from_3 = machine.events(3).unwrap();
        assert_eq!(events_text(&from_3), ["put a 3.0", "put b 4.0", "delete b 5.0"]);
        assert_eq!(from_3[0].prev, None, "revision 2 is compacted");
        assert_eq!(from_3[2].prev.as_ref().map(|pair| pair.mod_revision), Some(Revision(4)));
    }

    machine.apply(compact(5));
    let at_delete = machine.events(5).unwrap();
    assert_eq!(events_text(&at_delete), ["delete b 5.0"]);
    assert_eq!(at_delete[0].prev, None, "revision 4 is compacted");
}

#[test]
fn case_17_what_can_be_compacted() {
    let mut machine = Machine::after([put("a"), put("b")]);
    assert_eq!(machine.apply(compact(-1)).refused(), Refused::Compacted(Revision(-1)));
    assert_eq!(machine.apply(compact(0)).answer().revision, Revision(3));
    assert_eq!(machine.apply(compact(0)).refused(), Refused::Compacted(Revision(0)));
    assert_eq!(machine.apply(compact(4)).refused(), Refused::FutureRevision(Revision(4)));
    machine.apply(compact(3)).answer();
    assert_eq!(machine.apply(compact(3)).refused(), Refused::Compacted(Revision(3)));
    assert_eq!(machine.revision(), 3);
}

/// Compaction writes a handful of records, whatever it gives up, and sizes are right at once.
#[test]
fn compaction_does_not_walk() {
    let mut machine = Machine::after((0..100).map(|_| put("a").value("0123456789")));
    let full = meta::logical_size(machine.view()).unwrap();
    assert_eq!(full, 100 * pair_size(b"a", b"0123456789"));

    let applied = machine.apply(compact(101));

    assert_eq!(applied.writes.records.len(), 1);
    assert_eq!(applied.writes.dropped_ranges.len(), 1);
    assert_eq!(meta::logical_size(machine.view()).unwrap(), full / 100);
    assert_eq!(machine.view().records(Family::Events).count(), 1);
    machine.collect_garbage();
    assert_eq!(machine.view().records(Family::Versions).count(), 0);
}

/// What one entry writes and what it compacts fit together.
#[test]
fn a_compaction_in_the_entry_of_its_puts() {
    let mut machine = Machine::new();
    let all =
        machine.apply_together([put("a").into(), put("a").into(), compact(3), put("b").into()]);
    assert!(all.iter().all(|applied| applied.outcome.is_ok()));
    assert_eq!(events_text(&machine.events(3).unwrap()), ["put a 3.0", "put b 4.0"]);
    assert_eq!(machine.view().records(Family::Events).count(), 2);
}

#[test]
fn case_45_a_delete_event_carries_the_pair_before() {
    let mut machine = Machine::after([put("a").value("1"), put("a").value("2")]);
    let before = machine.pair("a");
    let live = machine.apply(delete("a")).events;
    assert_eq!(live[0].prev, before);
    assert_eq!(machine.events(4).unwrap(), live);
}

#[test]
fn case_46_there_is_no_pair_before_from_a_compacted_revision() {
    let mut machine = Machine::after(["a", "a", "a"].map(put)); // 2, 3, 4
    machine.apply(compact(3));
    let events = machine.events(3).unwrap();
    assert_eq!(events_text(&events), ["put a 3.0", "put a 4.0"]);
    assert_eq!((events[0].prev.is_some(), events[1].prev.is_some()), (false, true));
}

/// History ends after the revision that fills a limit, and goes on from there.
#[test]
fn history_comes_in_whole_revisions() {
    let mut machine = Machine::after(["a", "b", "c"].map(|name| put(name).value("12345"))); // 2, 3, 4
    machine.apply(delete("a").to("\0")); // 5: three events
    let read = |from, limit_revisions, limit_bytes| {
        let history =
            events(machine.view(), Revision(from), Revision(9), limit_revisions, limit_bytes)
                .unwrap();
        (history.events.len(), history.read_to.0)
    };
    assert_eq!(read(2, 1, usize::MAX), (1, 2));
    assert_eq!(read(2, 2, usize::MAX), (2, 3));
    assert_eq!(read(2, usize::MAX, 7), (2, 3));
    assert_eq!(read(5, 1, 1), (3, 5));
    assert_eq!(read(2, usize::MAX, usize::MAX), (6, 5));
    assert_eq!(read(2, 0, 0), (1, 2));
    assert_eq!(read(6, 9, 9), (0, 5));
    let up_to = events(machine.view(), Revision(3), Revision(4), 9, 99).unwrap();
    assert_eq!(
        (events_text(&up_to.events), up_to.read_to),
        (vec!["put b 3.0".into(), "put c 4.0".into()], Revision(4))
    );
}

/// The value of an event that cannot be found is a fault, not a gap.
#[test]
fn a_lost_value_is_a_fault() {
    let mut machine = Machine::after([put("a"), put("a")]);
    assert_eq!(value_of(&machine.events(2).unwrap()[0]), b"v");
    machine.forget(Family::Versions, ver::key(b"a", Revision(2)));
    let ApplyError::Fault(fault) = machine.events(2).unwrap_err() else { panic!() };
    assert_eq!(fault.to_string(), "the value of put 2.0 of key b\"a\" is missing");

    machine.apply_unchecked(compact(2));
    let ApplyError::Fault(_) = machine.events(2).unwrap_err() else { panic!() };
}

/// Keys of any bytes, however much one looks like the beginning of another, do not mix.
#[test]
fn versions_of_similar_keys_do_not_mix() {
    let names = ["a", "a\0", "a\0\0", "a\u{1}", "aa"];
    let mut machine = Machine::after(names.map(|name| put(name).value(name)));
    for name in names {
        machine.apply(put(name).value("new"));
    }
    for name in names {
        let then = machine.range(get(name).at(6)).unwrap();
        assert_eq!(then.kvs[0].value, name);
    }
    let then = machine.range(get("a").to("a\u{1}").at(6)).unwrap();
    let found: Vec<_> = then.kvs.iter().map(|pair| pair.value.clone()).collect();
    assert_eq!(found, names[..3]);
    assert_eq!(machine.pair("a").unwrap().key, key("a"));
}
