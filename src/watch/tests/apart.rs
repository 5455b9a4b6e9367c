//! Watchers of single keys that are far behind: they read the past of their keys, and nothing else.

use super::{
    hub::UNBOUNDED,
    store::{Change, Store, created, drain, poll, texts, watch, watch_from},
};
use crate::{
    types::{Revision, limits::WATCH_KEYS_WANTED_MAX},
    watch::{Create, Filter, Watchers, board::Bounds},
};

/// A store whose hub keeps two revisions, where ten are far.
fn store() -> Store {
    Store::bounded(Bounds { revisions: 2, far: 10, ..UNBOUNDED })
}

/// Puts some keys in turn.
fn put_in_turn(store: &mut Store, keys: &[&str], times: usize) {
    for _ in 0..times {
        keys.iter().for_each(|name| {
            store.put(name);
        });
    }
}

/// What others did is not even read, and what the key has comes together and in order.
#[test]
fn the_past_of_a_key_is_read_alone() {
    let mut store = store();
    put_in_turn(&mut store, &["a", "x", "y", "z"], 10);
    store.delete("a");
    let mut watchers = Watchers::new(&store.hub);

    created(&mut watchers, Create { prev_kv: true, ..watch_from("a", "", 30) });

    assert_eq!(
        texts(&drain(&mut watchers, &store)),
        ["0@42 put a 30.0 (was 26), put a 34.0 (was 30), put a 38.0 (was 34), \
          delete a 42.0 (was 38)"]
    );
    assert_eq!((store.key_reads.get(), store.reads.get()), (1, 0));
    store.put("a");
    assert_eq!(texts(&drain(&mut watchers, &store)), ["0@43 put a 43.0"]);
}

/// What is not far is read for all, and so is what watchers of ranges want.
#[test]
fn others_share_what_is_read() {
    let mut store = store();
    put_in_turn(&mut store, &["a", "b"], 20);
    let mut watchers = Watchers::new(&store.hub);

    created(&mut watchers, watch_from("a", "c", 2));
    created(&mut watchers, watch_from("a", "", 35));

    assert_eq!(drain(&mut watchers, &store).len(), 2);
    assert_eq!((store.key_reads.get(), store.reads.get()), (0, 1));
}

/// A key to which much happened is found among what is read for all.
#[test]
fn a_busy_key_is_read_with_the_others() {
    let mut store = store();
    store.key_events_max = 6;
    put_in_turn(&mut store, &["a", "b"], 10);
    let mut watchers = Watchers::new(&store.hub);

    created(&mut watchers, watch_from("a", "", 1));
    created(&mut watchers, watch_from("b", "", 11));

    let told = texts(&drain(&mut watchers, &store));
    let seen = |id: &str| told.iter().find(|text| text.starts_with(id)).unwrap().matches("put");
    assert_eq!((told.len(), seen("0@").count(), seen("1@").count()), (2, 10, 6));
    assert_eq!(store.reads.get(), 1);
}

/// Where many on a stream want the past of their keys, that of all is cheaper.
#[test]
fn many_keys_share_what_is_read() {
    let mut store = store();
    let names: Vec<String> = (0..20).map(|number| format!("k{number:02}")).collect();
    let keys: Vec<&str> = names.iter().map(String::as_str).collect();
    put_in_turn(&mut store, &keys, 1);
    let mut watchers = Watchers::new(&store.hub);

    for name in &keys {
        created(&mut watchers, watch_from(name, "", 1));
    }

    assert_eq!(drain(&mut watchers, &store).len(), 20);
    assert_eq!(store.reads.get(), 1);
    assert!(store.key_reads.get() > 0);
}

/// More keys than are wanted at a time come one lot after another; streams that wait for the same
/// key are told together, each from its own revision on.
#[test]
fn keys_are_read_in_lots() {
    let mut store = store();
    let names: Vec<String> =
        (0..WATCH_KEYS_WANTED_MAX + 10).map(|number| format!("k{number:03}")).collect();
    let keys: Vec<&str> = names.iter().map(String::as_str).collect();
    put_in_turn(&mut store, &keys, 1);
    put_in_turn(&mut store, &["other"], 2_000);
    let mut streams = [Watchers::new(&store.hub), Watchers::new(&store.hub)];

    for (watchers, from) in streams.iter_mut().zip([1, 3]) {
        for name in &keys {
            created(watchers, watch_from(name, "", from));
        }
        poll(watchers, &store, 0);
    }

    let told = streams.each_mut().map(|watchers| drain(watchers, &store).len());
    assert_eq!(told, [keys.len(), keys.len() - 1], "the second begins after the first key");
    assert_eq!(store.reads.get(), 0);
}

/// Filters hold, and a progress answer follows all of the past.
#[test]
fn filters_and_progress_hold() {
    let mut store = store();
    for _ in 0..10 {
        store.apply(&[Change::Put("a")]);
        store.delete("a");
    }
    let mut watchers = Watchers::new(&store.hub);
    let filter = Filter { no_put: true, no_delete: false };
    created(&mut watchers, Create { filter, ..watch_from("a", "", 16) });
    created(&mut watchers, watch("b", ""));
    watchers.progress();

    assert!(poll(&mut watchers, &store, 0).responses.is_empty());
    store.put("b");
    let told = texts(&drain(&mut watchers, &store));
    assert_eq!(told.last().unwrap(), "-1@22 progress");
    assert!(told.contains(&"0@22 delete a 17.0, delete a 19.0, delete a 21.0".to_owned()));
}

/// Compaction ends a watcher that waits for what it takes; one that is cancelled is not waited for.
#[test]
fn compaction_and_cancels_end_waiting() {
    let mut store = store();
    put_in_turn(&mut store, &["a", "b"], 10);
    let mut watchers = Watchers::new(&store.hub);
    created(&mut watchers, watch_from("a", "", 2));
    let canceled = created(&mut watchers, watch_from("b", "", 2));
    let mut client = super::store::Client::with_room(9);
    let _ = watchers.poll(std::task::Waker::noop(), &mut client);
    assert!(client.told.is_empty());

    watchers.cancel(canceled);
    store.compact(5);

    assert_eq!(texts(&drain(&mut watchers, &store)), ["0@0 compacted 5"]);
    assert_eq!(store.hub.figures().watchers, 0);
    assert_eq!(store.hub.compacted_revision(), Revision(5));
}
