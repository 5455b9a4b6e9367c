//! The judge finds what must not be, and nothing else.

use quorate::proto::mvccpb::{Event, KeyValue, event::EventType};

use super::judge::{Lock, Said, Verdict, judge};

const LOCK: Lock = Lock { name: "l", claims: "l/", register: "r" };

fn put(revision: i64, key: &str, value: &str) -> Event {
    let kv = KeyValue {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        create_revision: revision,
        mod_revision: revision,
        ..Default::default()
    };
    Event { kv: Some(kv), ..Default::default() }
}

fn delete(revision: i64, key: &str) -> Event {
    Event { r#type: EventType::Delete.into(), ..put(revision, key, "") }
}

fn faults(events: &[Event], said: &[Said]) -> Vec<String> {
    let Verdict { faults, .. } = judge(&[LOCK], events, said);
    faults
}

/// One after the other: a waits for nobody, b for a.
fn in_turn() -> Vec<Event> {
    vec![
        put(2, "l/a", ""),
        put(3, "l/b", ""),
        put(4, "r", "2 l/a w 0"),
        delete(5, "l/a"),
        put(6, "r", "3 l/b w 0"),
    ]
}

#[test]
fn holders_in_turn_are_fine() {
    let said = [
        Said::Held { token: 2, key: "l/a".to_owned() },
        Said::Wrote { token: 2, revision: 4 },
        Said::Fenced { token: 2 },
        Said::Wrote { token: 3, revision: 6 },
    ];
    assert_eq!(faults(&in_turn(), &said), Vec::<String>::new());
}

#[test]
fn a_write_without_its_claim_is_found() {
    let mut events = in_turn();
    events.push(put(7, "r", "2 l/a w 1"));
    let faults = faults(&events, &[]);
    assert!(faults[0].contains("without its claim"), "{faults:?}");
    assert!(faults[1].contains("after token 3"), "{faults:?}");
}

#[test]
fn a_write_out_of_turn_is_found() {
    let events = [put(2, "l/a", ""), put(3, "l/b", ""), put(4, "r", "3 l/b w 0")];
    let faults = faults(&events, &[]);
    assert!(faults[0].contains("while l/a of 2 had the lock"), "{faults:?}");
}

/// The same client claims again below the same key; its old token is worth nothing.
#[test]
fn a_claim_of_the_same_name_is_another_one() {
    let events = [put(2, "l/a", ""), delete(3, "l/a"), put(4, "l/a", ""), put(5, "r", "2 l/a w 0")];
    let faults = faults(&events, &[]);
    assert!(faults[0].contains("without its claim"), "{faults:?}");
}

#[test]
fn words_that_do_not_hold_are_found() {
    let lies = [
        Said::Wrote { token: 2, revision: 6 },
        Said::Fenced { token: 3 },
        Said::Held { token: 9, key: "l/a".to_owned() },
    ];
    for lie in lies {
        assert_eq!(faults(&in_turn(), std::slice::from_ref(&lie)).len(), 1, "{lie:?}");
    }
}

#[test]
fn lines_are_read() {
    let held = Said::Held { token: 7, key: "l/a".to_owned() };
    assert_eq!(Said::parse("held 7 l/a"), Some(held));
    assert_eq!(Said::parse("wrote 7 9 0"), Some(Said::Wrote { token: 7, revision: 9 }));
    assert_eq!(Said::parse("fenced 7 1"), Some(Said::Fenced { token: 7 }));
    assert_eq!(Said::parse("released 7"), Some(Said::Released));
    assert_eq!(Said::parse("scenario: write: no leader"), None);
}
