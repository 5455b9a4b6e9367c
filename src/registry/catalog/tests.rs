//! The catalog against a plain model, which makes everything anew from all pairs, through random
//! histories.

use std::collections::BTreeSet;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::types::{EventId, LeaseId};

const KEYS: [&str; 14] = [
    "/services/n/s/a",
    "/services/n/s/b",
    "/services/n/t/10.0.0.1:80",
    "/services/default/s/a",
    "/services/default/s/b",
    "/services/default/t/a",
    "/services/s/a",
    "/services/s/b",
    "/services/u/a",
    "/quorate/registry/override/n/s/a",
    "/quorate/registry/override/default/s/a",
    "/quorate/registry/override/default/s/c",
    "/quorate/registry/session/x",
    "/services/a/b/c/d",
];

const VALUES: [&str; 10] = [
    r#"{"Op":0,"Addr":"h:1","Metadata":{},"id":"a","namespace":"n","service":"s","address":"h","port":1,"session":"x"}"#,
    r#"{"Op":0,"Addr":"h:1","Metadata":{"k":"v"},"id":"a","namespace":"n","service":"s","address":"h","port":1,"tags":["t"]}"#,
    r#"{"Op":0,"Addr":"h:1","Metadata":{},"id":"a","namespace":"n","service":"s","address":"h","port":1,"enabled":false}"#,
    "h:2",
    "up",
    r#"{"enabled":false}"#,
    r#"{"enabled":true,"weight":7}"#,
    "{}",
    "",
    "\u{0}",
];

/// One change of a request: to which key; which value it gets, on which lease, or why it goes.
type Op = (usize, Result<(usize, i64), DeleteReason>);

fn op() -> impl Strategy<Value = Op> {
    let value = (0..VALUES.len(), 0..3_i64).prop_map(Ok);
    let reasons = [DeleteReason::Client, DeleteReason::Revoked, DeleteReason::Expired];
    let reason = prop::sample::select(reasons.to_vec()).prop_map(Err);
    (0..KEYS.len(), prop_oneof![3 => value, 2 => reason])
}

fn history() -> impl Strategy<Value = Vec<Vec<Op>>> {
    prop::collection::vec(prop::collection::vec(op(), 1..5), 1..30)
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn scopes() -> [Scope; 5] {
    let service = |namespace, service| {
        Scope::Service(ServiceName { namespace: name(namespace), service: name(service) })
    };
    [
        Scope::All,
        Scope::Namespace(name("default")),
        Scope::Namespace(name("n")),
        service("default", "s"),
        service("n", "s"),
    ]
}

/// A store with all pairs.
#[derive(Default)]
struct Store(BTreeMap<Key, KeyValue>);

impl Store {
    /// Carries out a request, of which each key changes once. Deletes of what is not there do nothing.
    fn apply(&mut self, revision: Revision, ops: &[Op]) -> Vec<Event> {
        let (mut events, mut seen) = (Vec::new(), BTreeSet::new());
        for (key, what) in ops {
            let key = Key::new(KEYS[*key]).unwrap();
            if !seen.insert(key.clone()) {
                continue;
            }
            let kind = match what {
                Ok((value, lease)) => {
                    let before = self.0.get(&key);
                    let pair = KeyValue {
                        key: key.clone(),
                        value: Bytes::from(VALUES[*value]),
                        create_revision: before.map_or(revision, |before| before.create_revision),
                        mod_revision: revision,
                        version: before.map_or(1, |before| before.version + 1),
                        lease: (*lease > 0).then_some(LeaseId(*lease)),
                    };
                    self.0.insert(key, pair.clone());
                    EventKind::Put(pair)
                }
                Err(reason) if self.0.remove(&key).is_some() => EventKind::Delete(key, *reason),
                Err(_) => continue,
            };
            let sub = u32::try_from(events.len()).unwrap();
            events.push(Event { id: EventId { revision, sub }, kind, prev: None });
        }
        events
    }

    /// What it comes to within a scope, made of all pairs one kind after the other.
    fn instances(&self, scope: &Scope) -> BTreeMap<InstanceName, Instance> {
        let places = || self.0.iter().filter_map(|(key, pair)| Some((Place::of(key)?, pair)));
        let mut instances = BTreeMap::new();
        for (place, pair) in places() {
            if let Place::ShortInstance(name) = place {
                instances.insert(name.clone(), Instance::of_pair(name, pair));
            }
        }
        for (place, pair) in places() {
            if let Place::Instance(name) = place {
                instances.insert(name.clone(), Instance::of_pair(name, pair));
            }
        }
        for (place, pair) in places() {
            if let Place::Override(name) = place
                && let Some(rule) = records::decode::<Override>(&pair.value)
                && let Some(instance) = instances.get_mut(&name)
            {
                *instance = rule.applied_to(instance);
            }
        }
        instances.retain(|name, _| scope.contains(&name.service));
        instances
    }
}

fn shown(catalog: &Catalog) -> BTreeMap<InstanceName, Instance> {
    let services = catalog.services(None);
    let instances = services.flat_map(|(_, service)| service.instances.values());
    instances.map(|it| (it.name.clone(), (**it).clone())).collect()
}

/// What was told, in the model's words.
fn expected_changes(
    before: &BTreeMap<InstanceName, Instance>,
    after: &BTreeMap<InstanceName, Instance>,
    events: &[Event],
) -> Vec<Change> {
    let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let mut changes = Vec::new();
    for name in names {
        let (before, after) = (before.get(name), after.get(name));
        let of_now = |it: &Instance| Instance { modified: Revision(0), ..it.clone() };
        if before.map(of_now) == after.map(of_now) {
            continue;
        }
        let reason =
            events.iter().rev().find_map(|event| match (&event.kind, Place::of(event.key())?) {
                (
                    EventKind::Delete(_, reason),
                    Place::Instance(deleted) | Place::ShortInstance(deleted),
                ) if deleted == *name => Some(*reason),
                _ => None,
            });
        changes.push(Change {
            name: name.clone(),
            before: before.cloned().map(Arc::new),
            after: after.cloned().map(Arc::new),
            reason: reason.filter(|_| after.is_none()).map(|reason| match reason {
                DeleteReason::Expired => DownReason::Expired,
                DeleteReason::Client | DeleteReason::Revoked => DownReason::Deregistered,
            }),
        });
    }
    changes
}

/// A catalog that came to a revision is one that is loaded then, and it is right.
fn compare(catalog: &Catalog, store: &Store, scope: &Scope) {
    let expected = store.instances(scope);
    assert_eq!(shown(catalog), expected);
    let loaded = Catalog::load(scope.clone(), catalog.revision(), store.0.values().cloned());
    assert_eq!(shown(&loaded), expected);
    assert_eq!(catalog.bytes(), loaded.bytes());
    assert_eq!(catalog.services.len(), loaded.services.len());
    assert_eq!((catalog.instances(), loaded.instances()), (expected.len(), expected.len()));
    for (name, service) in catalog.services(None) {
        let of_service = || expected.values().filter(|it| it.name.service == *name);
        let callable = of_service().filter(|it| it.enabled && !it.address.is_empty()).count();
        assert_eq!(service.total(), u32::try_from(of_service().count()).unwrap());
        assert_eq!(service.callable(), u32::try_from(callable).unwrap());
        assert_eq!(**service, *loaded.shown(name));
        assert!(service.changed() <= catalog.changed());
    }
    let services: BTreeSet<_> = expected.keys().map(|name| name.service.clone()).collect();
    for namespace in ["default", "n", "-", "z"].map(name) {
        let listed = catalog.services(Some(&namespace)).map(|(name, _)| name);
        assert!(listed.eq(services.iter().filter(|it| it.namespace == namespace)));
    }
    assert!(catalog.services(None).map(|(name, _)| name).eq(&services));
}

fn run(history: &[Vec<Op>], scope: &Scope) {
    let mut store = Store::default();
    let mut catalog = Catalog::load(scope.clone(), Revision(1), []);
    let mut readers = Vec::new();
    for (ops, revision) in history.iter().zip(2..) {
        let revision = Revision(revision);
        let before = store.instances(scope);
        let events = store.apply(revision, ops);
        let changed: BTreeMap<_, _> =
            catalog.services(None).map(|(name, it)| (name.clone(), it.changed())).collect();
        // Some of the services are being read meanwhile.
        readers.extend(catalog.within(scope).into_iter().step_by(2));
        let told = catalog.apply(revision, &events);
        let after = store.instances(scope);
        assert_eq!(told, expected_changes(&before, &after, &events));
        compare(&catalog, &store, scope);
        for (name, service) in catalog.services(None) {
            let of = |all: &BTreeMap<InstanceName, Instance>| {
                let of_service = all.values().filter(|it| it.name.service == *name);
                of_service.cloned().collect::<Vec<_>>()
            };
            let is_same = of(&before) == of(&after);
            let expected = if is_same { changed[name] } else { revision };
            assert_eq!(service.changed(), expected, "{name}");
        }
        readers.truncate(3);
    }
}

proptest! {
    /// Whatever happens, the catalog is what the pairs come to, and tells what changed.
    #[test]
    fn a_catalog_is_what_all_pairs_come_to(history in history()) {
        for scope in scopes() {
            run(&history, &scope);
        }
    }
}

fn event(revision: i64, key: &str, what: Result<&'static str, DeleteReason>) -> Event {
    let key = Key::new(key.to_owned()).unwrap();
    let kind = match what {
        Ok(value) => EventKind::Put(KeyValue {
            key,
            value: Bytes::from(value),
            create_revision: Revision(2),
            mod_revision: Revision(revision),
            version: 1,
            lease: None,
        }),
        Err(reason) => EventKind::Delete(key, reason),
    };
    Event { id: EventId { revision: Revision(revision), sub: 0 }, kind, prev: None }
}

/// Putting the same again changes when it was put last, and is not told.
#[test]
fn the_same_again_is_no_change() {
    let mut catalog = Catalog::load(Scope::All, Revision(1), []);
    let key = "/services/n/s/a";
    assert_eq!(catalog.apply(Revision(2), &[event(2, key, Ok("h:1"))]).len(), 1);
    assert_eq!(catalog.apply(Revision(3), &[event(3, key, Ok("h:1"))]), []);
    let service = ServiceName { namespace: name("n"), service: name("s") };
    let modified = |catalog: &Catalog| catalog.shown(&service).instances[&name("a")].modified;
    assert_eq!(modified(&catalog), Revision(3));
    assert_eq!(catalog.apply(Revision(4), &[event(4, key, Ok("h:2"))]).len(), 1);
}

/// All instances of a lease that ran out go at one revision, each for that reason.
#[test]
fn an_expiry_is_told_as_such() {
    let keys = ["/services/n/s/a", "/services/n/s/b", "/services/n/t/a"];
    let mut catalog = Catalog::load(Scope::All, Revision(1), []);
    let events = keys.map(|key| event(2, key, Ok("h:1")));
    assert_eq!(catalog.apply(Revision(2), &events).len(), 3);
    let events = keys.map(|key| event(3, key, Err(DeleteReason::Expired)));
    let told = catalog.apply(Revision(3), &events);
    assert_eq!(told.len(), 3);
    assert!(told.iter().all(|it| it.reason == Some(DownReason::Expired) && it.after.is_none()));
    assert_eq!((catalog.instances(), catalog.bytes(), catalog.services.len()), (0, 0, 0));
}
