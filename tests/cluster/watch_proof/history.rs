//! The whole history, as a watch from the first revision shows it, and what must agree with it.

use std::collections::BTreeMap;

use quorate::proto::{
    etcdserverpb::{WatchCreateRequest, watch_create_request::FilterType},
    mvccpb::{Event, KeyValue, event::EventType},
};

use super::{
    observers::{Record, Seen},
    writers::Journal,
};
use crate::harness::streams::{WatchStream, channel, watcher_of_all};

/// Every event from the first revision to the last, with the pairs before.
pub(super) struct History {
    events: Vec<Known>,
}

/// An event, and how watchers with and without the pair before see it.
struct Known {
    event: Event,
    whole: Seen,
    bare: Seen,
}

impl History {
    /// Reads it from every member up to `last`. They must all tell the same.
    pub(super) async fn read(endpoints: &[String], last: i64) -> Self {
        let mut told: Option<Vec<Event>> = None;
        for endpoint in endpoints {
            let events = read(endpoint, last).await;
            if let Some(told) = &told {
                let differ = told.iter().zip(&events).find(|(one, other)| one != other);
                assert_eq!(differ, None, "{endpoint} tells another history");
                assert_eq!(told.len(), events.len(), "{endpoint} tells another history");
            }
            told = Some(events);
        }
        let known = |event: Event| {
            let bare = Seen::of(&Event { prev_kv: None, ..event.clone() });
            Known { whole: Seen::of(&event), bare, event }
        };
        let events = told.expect("there are members").into_iter().map(known).collect();
        Self { events }
    }

    /// Holds it against a replay, and against what clients were told of their writes.
    pub(super) fn check(&self, journal: &Journal) {
        self.replay();
        let mut written: BTreeMap<&[u8], BTreeMap<i64, usize>> = BTreeMap::new();
        for event in self.events.iter().map(|known| &known.event) {
            if event.r#type() == EventType::Put {
                let pair = pair(event);
                let revisions = written.entry(&pair.value).or_default();
                *revisions.entry(pair.mod_revision).or_default() += 1;
            }
        }
        for (value, revisions) in &written {
            assert_eq!(revisions.len(), 1, "{value:?} was written at {revisions:?}");
        }
        for (revision, value, puts) in &journal.acknowledged {
            let found = written.get(value.as_bytes());
            let expected = BTreeMap::from([(*revision, *puts)]);
            assert_eq!(found, Some(&expected), "what was acknowledged of {value}");
        }
    }

    /// Every pair follows from the one before it, and the pair before is the one that was there.
    fn replay(&self) {
        let mut live: BTreeMap<&[u8], &KeyValue> = BTreeMap::new();
        let mut revision = 1;
        for event in self.events.iter().map(|known| &known.event) {
            let pair = pair(event);
            assert!((revision..=revision + 1).contains(&pair.mod_revision), "a gap at {revision}");
            revision = pair.mod_revision;
            let before = live.get(&pair.key[..]).copied();
            assert_eq!(event.prev_kv.as_ref(), before, "before {event:?}");
            assert!(before.is_none_or(|before| before.mod_revision < revision), "{event:?}");
            match event.r#type() {
                EventType::Put => {
                    let created = before.map_or(revision, |before| before.create_revision);
                    let version = before.map_or(1, |before| before.version + 1);
                    assert_eq!((pair.create_revision, pair.version), (created, version));
                    live.insert(&pair.key, pair);
                }
                EventType::Delete => {
                    assert!(
                        live.remove(&pair.key[..]).is_some(),
                        "{event:?} of what was not there"
                    );
                }
            }
        }
    }

    /// Holds what a watcher saw against its part of the history, and returns how many events.
    pub(super) fn judge(&self, record: &Record) -> usize {
        let request = &record.request;
        let part = self.events.iter().filter(|known| wants(request, &known.event));
        let part: Vec<(Seen, &Event)> = part
            .map(|known| (if request.prev_kv { known.whole } else { known.bare }, &known.event))
            .collect();
        for (place, (seen, (expected, event))) in record.seen.iter().zip(&part).enumerate() {
            assert_eq!(seen, expected, "event {place} of {request:?} is to be {event:?}");
        }
        assert_eq!(record.seen.len(), part.len(), "{request:?} was shown too few or too many");
        for (revision, count) in &record.bookmarks {
            let expected = part.partition_point(|(seen, _)| seen.revision <= *revision);
            assert_eq!(*count, expected, "shown when progress was told at {revision}: {request:?}");
        }
        part.len()
    }
}

/// The history as one member tells it.
async fn read(endpoint: &str, last: i64) -> Vec<Event> {
    let mut stream = WatchStream::open(&channel(endpoint)).await.unwrap();
    stream.created(WatchCreateRequest { prev_kv: true, ..watcher_of_all(1) }).await;
    let mut events: Vec<Event> = Vec::new();
    let is_at = |events: &[Event]| events.last().map_or(1, |event| pair(event).mod_revision);
    while is_at(&events) < last {
        events.extend(stream.events().await.events);
    }
    assert_eq!(is_at(&events), last, "something happened after the end");
    events
}

fn pair(event: &Event) -> &KeyValue {
    event.kv.as_ref().expect("every event has a pair")
}

/// Whether a watcher is to be shown an event, told independently of the member's code.
fn wants(request: &WatchCreateRequest, event: &Event) -> bool {
    let pair = pair(event);
    let (key, start, end) = (&pair.key[..], &request.key[..], &request.range_end[..]);
    let is_in_range = match end {
        [] => key == start,
        [0] => key >= start,
        end => start <= key && key < end,
    };
    let left_out = match event.r#type() {
        EventType::Put => FilterType::Noput,
        EventType::Delete => FilterType::Nodelete,
    };
    is_in_range
        && pair.mod_revision >= request.start_revision
        && !request.filters.contains(&i32::from(left_out))
}
