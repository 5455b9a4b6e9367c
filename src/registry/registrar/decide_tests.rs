//! Each way in which things may stand, and what comes of it.

use super::*;
use crate::{
    registry::ServiceName,
    types::{Revision, limits::REGISTRATION_TTL_DEFAULT},
};

const SESSION: &str = "s";
const LEASE: LeaseId = LeaseId(7);
const OTHER_LEASE: LeaseId = LeaseId(8);

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn u1() -> InstanceName {
    let service = ServiceName { namespace: Name::default_namespace(), service: name("user") };
    InstanceName { service, id: name("u-1") }
}

fn instance() -> Instance {
    Instance {
        address: "10.0.0.7".to_owned(),
        port: 80,
        registered_at: "2026-01-01T00:00:00Z".to_owned(),
        ..Instance::new(u1())
    }
}

/// The instance as a session, or a lease without one, has registered it earlier.
fn held_by(session: Option<&str>) -> Instance {
    let registered_at = "2025-01-01T00:00:00Z".to_owned();
    Instance { session: session.map(name), registered_at, ..instance() }
}

fn pair(place: Place, value: bytes::Bytes, lease: Option<LeaseId>) -> KeyValue {
    let (create_revision, mod_revision) = (Revision(3), Revision(5));
    KeyValue { key: place.key(), value, create_revision, mod_revision, version: 2, lease }
}

fn long(instance: &Instance, lease: Option<LeaseId>) -> Option<KeyValue> {
    Some(pair(Place::Instance(u1()), instance.encode(), lease))
}

fn record(session: &str, lease: LeaseId, instances: &[&str]) -> KeyValue {
    let instances = instances.iter().map(|name| (*name).to_owned()).collect();
    let record = SessionRecord { ttl: 15, owner: String::new(), instances };
    pair(Place::Session(name(session)), records::encode(&record), Some(lease))
}

fn nothing() -> Standing {
    Standing {
        revision: Revision(9),
        long: None,
        short: None,
        session: None,
        other: None,
        ttl: None,
    }
}

fn lease_of(session: Option<&str>, id: LeaseId) -> Lease {
    let session = session.map(name);
    Lease { id, ttl: REGISTRATION_TTL_DEFAULT, session, owner: String::new() }
}

fn u1_key() -> Key {
    instance_key(&u1())
}

/// A draft that is based on what stands under both forms of the instance's key.
fn based_on(standing: &Standing) -> Draft {
    let mut draft = Draft::default();
    draft.based_on(u1_key(), standing.long.as_ref());
    draft.based_on(Place::ShortInstance(u1()).key(), standing.short.as_ref());
    draft
}

fn of_session(session: &str) -> Whose {
    Whose { session: Some(name(session)), ..Whose::default() }
}

fn key_of(session: &str) -> Key {
    session_key(&name(session))
}

/// An instance as a draft would put it.
fn put(draft: &mut Draft, instance: &Instance, lease: LeaseId) {
    draft.put(u1_key(), instance.encode(), Some(lease));
}

/// Nobody but its holder may have an instance's id, unless it is taken over.
#[test]
fn an_id_has_one_holder() {
    let targets = [
        Target::Granted,
        Target::Lease(LEASE),
        Target::Lease(OTHER_LEASE),
        Target::Session(name(SESSION)),
        Target::Session(name("t")),
    ];
    let standings = [
        (nothing(), None),
        (
            Standing { long: long(&held_by(Some(SESSION)), Some(LEASE)), ..nothing() },
            Some(Holder::Session(name(SESSION))),
        ),
        (
            Standing { long: long(&held_by(None), Some(LEASE)), ..nothing() },
            Some(Holder::Lease(LEASE)),
        ),
        (Standing { long: long(&held_by(None), None), ..nothing() }, Some(Holder::Nobody)),
        (
            Standing {
                short: Some(pair(Place::ShortInstance(u1()), "h:1".into(), Some(LEASE))),
                ..nothing()
            },
            Some(Holder::Lease(LEASE)),
        ),
    ];
    for (standing, holder) in standings {
        for target in &targets {
            let is_own = match (&holder, target) {
                (None, _) => true,
                (Some(Holder::Session(holder)), Target::Session(session)) => holder == session,
                (Some(Holder::Lease(holder)), Target::Lease(lease)) => holder == lease,
                (Some(_), _) => false,
            };
            let refusal = holder.clone().map(|holder| Error::Held { instance: u1(), holder });
            let expected = refusal.filter(|_| !is_own).map_or(Ok(()), Err);
            assert_eq!(may_register(&u1(), &standing, target, false), expected, "{target:?}");
            assert_eq!(may_register(&u1(), &standing, target, true), Ok(()), "{target:?}");
        }
    }
}

/// The first registration in a session puts the instance and the session's record together.
#[test]
fn a_new_session_and_its_instance_are_one_transaction() {
    let lease = Lease { owner: "10.0.0.9".to_owned(), ..lease_of(Some(SESSION), LEASE) };
    let draft = registration(&nothing(), &instance(), &lease).unwrap();

    let mut expected = based_on(&nothing());
    expected.based_on(key_of(SESSION), None);
    put(&mut expected, &Instance { session: Some(name(SESSION)), ..instance() }, LEASE);
    let instances = vec!["default/user/u-1".to_owned()];
    let record = SessionRecord { ttl: 15, owner: "10.0.0.9".to_owned(), instances };
    expected.put(key_of(SESSION), records::encode(&record), Some(LEASE));
    assert_eq!(draft, expected);
}

/// Equal content by the same holder is not put again, whenever that was registered.
#[test]
fn what_stands_there_is_not_written_again() {
    for session in [None, Some(SESSION)] {
        let standing = Standing {
            long: long(&held_by(session), Some(LEASE)),
            session: Some(record(SESSION, LEASE, &["default/user/u-1"])),
            ..nothing()
        };
        let draft = registration(&standing, &instance(), &lease_of(session, LEASE)).unwrap();
        assert!(draft.is_empty(), "{draft:?}");
    }
}

/// Other content is put with the time of the first registration; the record has it already.
#[test]
fn other_content_is_put() {
    let standing = Standing {
        long: long(&held_by(Some(SESSION)), Some(LEASE)),
        session: Some(record(SESSION, LEASE, &["default/user/u-1"])),
        ..nothing()
    };
    let wanted = Instance { version: "v2".to_owned(), ..instance() };
    let draft = registration(&standing, &wanted, &lease_of(Some(SESSION), LEASE)).unwrap();

    let mut expected = based_on(&standing);
    expected.based_on(key_of(SESSION), standing.session.as_ref());
    let after = Instance { version: "v2".to_owned(), ..held_by(Some(SESSION)) };
    put(&mut expected, &after, LEASE);
    assert_eq!(draft, expected);
}

/// A session whose lease is another one by now moves what it still holds to the new one.
#[test]
fn a_session_that_was_lost_takes_its_instance_along() {
    let standing = Standing { long: long(&held_by(Some(SESSION)), Some(LEASE)), ..nothing() };
    let lease = lease_of(Some(SESSION), OTHER_LEASE);
    let draft = registration(&standing, &instance(), &lease).unwrap();
    assert!(draft.writes(&u1_key()) && draft.writes(&key_of(SESSION)));
}

/// Who takes an instance over takes it out of the record of its session before.
#[test]
fn a_takeover_changes_both_records() {
    let before = record("t", OTHER_LEASE, &["default/a/a", "default/user/u-1"]);
    let standing = Standing {
        long: long(&held_by(Some("t")), Some(OTHER_LEASE)),
        session: Some(record(SESSION, LEASE, &["default/zoo/z"])),
        other: Some((name("t"), before.clone())),
        ..nothing()
    };
    let draft = registration(&standing, &instance(), &lease_of(Some(SESSION), LEASE)).unwrap();

    let mut expected = based_on(&standing);
    expected.based_on(key_of(SESSION), standing.session.as_ref());
    expected.based_on(key_of("t"), Some(&before));
    put(&mut expected, &Instance { session: Some(name(SESSION)), ..instance() }, LEASE);
    let own = record(SESSION, LEASE, &["default/user/u-1", "default/zoo/z"]);
    expected.put(key_of(SESSION), own.value, Some(LEASE));
    expected.put(key_of("t"), record("t", OTHER_LEASE, &["default/a/a"]).value, Some(OTHER_LEASE));
    assert_eq!(draft, expected);
}

/// A session takes so many instances and no more; those that it has can be registered again.
#[test]
fn a_session_has_so_many_instances() {
    let others: Vec<String> = (0..SESSION_INSTANCES_MAX).map(|n| format!("a/a/{n:04}")).collect();
    let others: Vec<&str> = others.iter().map(String::as_str).collect();
    let full = Standing { session: Some(record(SESSION, LEASE, &others)), ..nothing() };
    let lease = lease_of(Some(SESSION), LEASE);
    let complaint = "s has 1000 instances already";
    let refused = Err(Error::invalid("session_id", complaint));
    assert_eq!(registration(&full, &instance(), &lease), refused);

    let mut listed = others.clone();
    *listed.last_mut().unwrap() = "default/user/u-1";
    let full = Standing { session: Some(record(SESSION, LEASE, &listed)), ..nothing() };
    assert!(registration(&full, &instance(), &lease).unwrap().writes(&u1_key()));
}

/// Who names no session removes whatever is there, in both forms of the key.
#[test]
fn whatever_is_there_is_removed() {
    let listed = record(SESSION, LEASE, &["default/user/u-1"]);
    let short = pair(Place::ShortInstance(u1()), "h:1".into(), None);
    let standing = Standing {
        long: long(&held_by(Some(SESSION)), Some(LEASE)),
        short: Some(short.clone()),
        other: Some((name(SESSION), listed.clone())),
        ..nothing()
    };
    let (draft, is_there) = removal(&u1(), &standing, &Whose::default());
    assert!(is_there);

    let mut expected = based_on(&standing);
    expected.based_on(key_of(SESSION), Some(&listed));
    expected.delete(u1_key());
    expected.delete(short.key);
    expected.put(key_of(SESSION), record(SESSION, LEASE, &[]).value, Some(LEASE));
    assert_eq!(draft, expected);
    assert!(!draft.without_puts().is_empty());

    let (draft, is_there) = removal(&u1(), &nothing(), &Whose::default());
    assert!(draft.is_empty() && !is_there);
}

/// A session removes what it holds, and nobody else's.
#[test]
fn a_session_removes_its_own() {
    let listed = record(SESSION, LEASE, &["default/user/u-1"]);
    let own = Standing {
        long: long(&held_by(Some(SESSION)), Some(LEASE)),
        session: Some(listed.clone()),
        ..nothing()
    };
    let (draft, is_there) = removal(&u1(), &own, &of_session(SESSION));
    assert!(is_there && draft.writes(&u1_key()) && draft.writes(&key_of(SESSION)));

    for long in [long(&held_by(Some("t")), Some(OTHER_LEASE)), long(&held_by(None), Some(LEASE))] {
        let others = Standing { long, session: Some(record(SESSION, LEASE, &[])), ..nothing() };
        let (draft, is_there) = removal(&u1(), &others, &of_session(SESSION));
        assert!(draft.is_empty() && !is_there, "{draft:?}");
    }

    let deleted = Standing { session: Some(listed), ..nothing() };
    let (draft, is_there) = removal(&u1(), &deleted, &of_session(SESSION));
    assert!(!is_there && draft.writes(&key_of(SESSION)), "the record tells the truth again");
}

/// What is said of the instance that is meant must be true of it; else it stays, and in the record
/// of its session.
#[test]
fn only_the_instance_that_is_meant_is_removed() {
    let standing = Standing {
        long: long(&held_by(Some(SESSION)), Some(LEASE)),
        session: Some(record(SESSION, LEASE, &["default/user/u-1"])),
        ..nothing()
    };
    let right = Whose { lease: Some(LEASE), created: Some(Revision(3)), ..of_session(SESSION) };
    let (draft, is_there) = removal(&u1(), &standing, &right);
    assert!(is_there && draft.writes(&u1_key()) && draft.writes(&key_of(SESSION)));
    for wrong in [
        Whose { lease: Some(OTHER_LEASE), ..right.clone() },
        Whose { created: Some(Revision(4)), ..right },
        Whose { lease: Some(OTHER_LEASE), ..Whose::default() },
    ] {
        let (draft, is_there) = removal(&u1(), &standing, &wrong);
        assert!(draft.is_empty() && !is_there, "{wrong:?}: {draft:?}");
    }
}

/// What an operator says adds to what was said before.
#[test]
fn overrides_add_up() {
    let place = Place::Override(u1());
    let said = |enabled, weight| Override { enabled, weight };
    let found = pair(place.clone(), records::encode(&said(Some(false), None)), None);

    let draft = overriding(&u1(), Some(&found), said(None, Some(3)));
    let mut expected = Draft::default();
    expected.based_on(place.key(), Some(&found));
    expected.put(place.key(), records::encode(&said(Some(false), Some(3))), None);
    assert_eq!(draft, expected);
    assert!(overriding(&u1(), Some(&found), said(Some(false), None)).is_empty());

    let broken = pair(place, "?".into(), None);
    assert!(!overriding(&u1(), Some(&broken), said(Some(false), None)).is_empty());
}

/// The owner of a session is told when it is known and another one.
#[test]
fn an_owner_is_written_when_it_changes() {
    let found = record(SESSION, LEASE, &["default/user/u-1"]);
    let mut living = Living::of(Some(&found)).unwrap();
    living.record.owner = "10.0.0.9".to_owned();
    assert!(new_owner(&name(SESSION), &found, &living, "").is_empty());
    assert!(new_owner(&name(SESSION), &found, &living, "10.0.0.9").is_empty());
    let draft = new_owner(&name(SESSION), &found, &living, "10.0.0.8");
    let mut expected = Draft::default();
    expected.based_on(key_of(SESSION), Some(&found));
    let record = SessionRecord { owner: "10.0.0.8".to_owned(), ..living.record };
    expected.put(key_of(SESSION), records::encode(&record), Some(LEASE));
    assert_eq!(draft, expected);
}
