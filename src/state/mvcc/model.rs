//! The state machine beside a model that keeps a whole map for every revision.

mod any;
mod single_keys;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
};

use any::{any_command, any_read};
use bytes::Bytes;
use proptest::prelude::*;

use crate::{
    state::{
        Answer, Command, Compare, DeleteRange, DeleteRangeResponse, Family, Op, OpResponse,
        Operand, Overlay, Put, PutResponse, Range, RangeResponse, Refused, Relation, Response,
        RevisionFilter, SortOrder, SortTarget, Txn, TxnResponse, View, Writes, hash, meta,
        mvcc::{count, list, range},
        schema::cur::{self, pair_size},
        testing::{Machine, MapView},
    },
    types::{DeleteReason, Event, EventId, EventKind, Key, KeyValue, LeaseId, Revision},
};

type Pairs = BTreeMap<Key, KeyValue>;

/// What the state machine should be, kept in the simplest way.
#[derive(Clone)]
struct Model {
    /// The live pairs as of every revision ever; the last one is the newest.
    versions: Vec<Pairs>,
    compacted: i64,
    events: Vec<Event>,
    leases: BTreeSet<LeaseId>,
    /// Logical size and end of every pair replaced or deleted.
    retired: Vec<(u64, i64)>,
}

/// A request under way.
struct Draft {
    live: Pairs,
    events: Vec<Event>,
    retired: Vec<(u64, i64)>,
}

impl Model {
    fn new() -> Self {
        let versions = vec![Pairs::new(), Pairs::new()]; // revisions 0 and 1
        Self {
            versions,
            compacted: -1,
            events: Vec::new(),
            leases: BTreeSet::new(),
            retired: Vec::new(),
        }
    }

    fn revision(&self) -> i64 {
        i64::try_from(self.versions.len()).unwrap() - 1
    }

    fn at(&self, revision: i64) -> &Pairs {
        &self.versions[usize::try_from(revision).unwrap()]
    }

    fn size(&self) -> u64 {
        let live = self
            .at(self.revision())
            .values()
            .map(|pair| pair_size(pair.key.as_bytes(), &pair.value));
        let old =
            self.retired.iter().filter(|(_, end)| *end > self.compacted).map(|(size, _)| *size);
        live.chain(old).sum()
    }

    fn apply(&mut self, command: &Command) -> Result<Answer, Refused> {
        let mut draft = Draft {
            live: self.at(self.revision()).clone(),
            events: Vec::new(),
            retired: Vec::new(),
        };
        let response = self.dispatch(&mut draft, command)?;
        if !draft.events.is_empty() {
            self.versions.push(draft.live);
            self.events.extend(draft.events);
            self.retired.extend(draft.retired);
        }
        Ok(Answer { revision: Revision(self.revision()), response })
    }

    fn dispatch(&mut self, draft: &mut Draft, command: &Command) -> Result<Response, Refused> {
        Ok(match command {
            Command::Put(put) => {
                self.check_put(put)?;
                Response::Put(self.put(draft, put)?)
            }
            Command::DeleteRange(delete) => Response::DeleteRange(self.delete(draft, delete)),
            Command::Txn(body) => {
                self.check(body)?;
                Response::Txn(self.run(draft, body)?)
            }
            Command::Compact(to) => {
                if to.0 <= self.compacted {
                    return Err(Refused::Compacted(*to));
                }
                if to.0 > self.revision() {
                    return Err(Refused::FutureRevision(*to));
                }
                self.compacted = to.0;
                Response::Compact
            }
            Command::LeaseGrant { id, ttl } => {
                if !self.leases.insert(*id) {
                    return Err(Refused::LeaseExists(*id));
                }
                Response::LeaseGrant(*id, *ttl)
            }
            Command::LeaseRevoke { id, .. } => {
                if !self.leases.remove(id) {
                    return Err(Refused::LeaseNotFound(*id));
                }
                let attached: Vec<Key> = draft
                    .live
                    .values()
                    .filter(|pair| pair.lease == Some(*id))
                    .map(|pair| pair.key.clone())
                    .collect();
                for key in attached {
                    self.remove(draft, &key, DeleteReason::Revoked);
                }
                Response::LeaseRevoke
            }
            Command::LeaseCheckpoint { .. }
            | Command::PublishMember { .. }
            | Command::ChangeMembers(_)
            | Command::Alarm(_) => {
                unreachable!("not generated")
            }
        })
    }

    fn next_id(&self, draft: &Draft) -> EventId {
        let sub = u32::try_from(draft.events.len()).unwrap();
        EventId { revision: Revision(self.revision() + 1), sub }
    }

    fn shown(&self, draft: &Draft) -> i64 {
        self.revision() + i64::from(!draft.events.is_empty())
    }

    fn check_put(&self, put: &Put) -> Result<(), Refused> {
        if let Some(id) = put.lease.filter(|id| !self.leases.contains(id)) {
            return Err(Refused::LeaseNotFound(id));
        }
        if (put.ignore_value || put.ignore_lease)
            && !self.at(self.revision()).contains_key(&put.key)
        {
            return Err(Refused::KeyNotFound);
        }
        Ok(())
    }

    fn put(&self, draft: &mut Draft, put: &Put) -> Result<PutResponse, Refused> {
        let id = self.next_id(draft);
        let old = draft.live.get(&put.key).cloned();
        if (put.ignore_value || put.ignore_lease) && old.is_none() {
            return Err(Refused::KeyNotFound);
        }
        let kept = old.clone();
        let new = KeyValue {
            key: put.key.clone(),
            value: if put.ignore_value {
                kept.as_ref().unwrap().value.clone()
            } else {
                put.value.clone()
            },
            create_revision: kept.as_ref().map_or(id.revision, |old| old.create_revision),
            mod_revision: id.revision,
            version: kept.as_ref().map_or(1, |old| old.version + 1),
            lease: if put.ignore_lease { kept.unwrap().lease } else { put.lease },
        };
        let prev = old.as_ref().and_then(|_| self.at(self.revision()).get(&put.key).cloned());
        draft.events.push(Event { id, kind: EventKind::Put(new.clone()), prev });
        draft.live.insert(put.key.clone(), new);
        if let Some(old) = &old {
            draft.retired.push((pair_size(old.key.as_bytes(), &old.value), id.revision.0));
        }
        Ok(PutResponse { prev: old.filter(|_| put.prev_kv) })
    }

    fn remove(&self, draft: &mut Draft, key: &Key, reason: DeleteReason) -> KeyValue {
        let id = self.next_id(draft);
        let old = draft.live.remove(key).unwrap();
        draft.retired.push((pair_size(old.key.as_bytes(), &old.value), id.revision.0));
        let prev = self.at(self.revision()).get(key).cloned();
        draft.events.push(Event { id, kind: EventKind::Delete(key.clone(), reason), prev });
        old
    }

    fn delete(&self, draft: &mut Draft, delete: &DeleteRange) -> DeleteRangeResponse {
        let keys: Vec<Key> =
            draft.live.keys().filter(|key| delete.range.contains(key)).cloned().collect();
        let prevs: Vec<_> =
            keys.iter().map(|key| self.remove(draft, key, DeleteReason::Client)).collect();
        DeleteRangeResponse {
            deleted: i64::try_from(keys.len()).unwrap(),
            prevs: if delete.prev_kv { prevs } else { Vec::new() },
        }
    }

    fn holds(&self, compare: &Compare) -> bool {
        let Operand::Version(operand) = compare.operand else { unreachable!("not generated") };
        assert_eq!(compare.relation, Relation::Equal);
        let within: Vec<_> = self
            .at(self.revision())
            .values()
            .filter(|pair| compare.range.contains(&pair.key))
            .collect();
        if within.is_empty() {
            operand == 0
        } else {
            within.iter().all(|pair| pair.version == operand)
        }
    }

    fn branch<'t>(&self, body: &'t Txn) -> (bool, &'t [Op]) {
        let succeeded = body.compares.iter().all(|compare| self.holds(compare));
        (succeeded, if succeeded { &body.success } else { &body.failure })
    }

    fn check(&self, body: &Txn) -> Result<(), Refused> {
        for op in self.branch(body).1 {
            match op {
                Op::Range(range) if range.revision == 0 => (),
                Op::Range(range) if range.revision > self.revision() => {
                    return Err(Refused::FutureRevision(Revision(range.revision)));
                }
                Op::Range(range) if range.revision < self.compacted => {
                    return Err(Refused::Compacted(Revision(range.revision)));
                }
                Op::Put(put) => self.check_put(put)?,
                Op::Txn(within) => self.check(within)?,
                Op::Range(_) | Op::DeleteRange(_) => (),
            }
        }
        Ok(())
    }

    fn run(&self, draft: &mut Draft, body: &Txn) -> Result<TxnResponse, Refused> {
        let (succeeded, ops) = self.branch(body);
        let mut results = Vec::new();
        for op in ops {
            let result = match op {
                Op::Range(range) => {
                    let pairs =
                        if range.revision <= 0 { &draft.live } else { self.at(range.revision) };
                    OpResponse::Range(Revision(self.shown(draft)), read(pairs, range))
                }
                Op::Put(put) => {
                    let response = self.put(draft, put)?;
                    OpResponse::Put(Revision(self.shown(draft)), response)
                }
                Op::DeleteRange(delete) => {
                    let response = self.delete(draft, delete);
                    OpResponse::DeleteRange(Revision(self.shown(draft)), response)
                }
                Op::Txn(within) => OpResponse::Txn(self.run(draft, within)?),
            };
            results.push(result);
        }
        Ok(TxnResponse { succeeded, results })
    }

    /// The events from a revision on as history must tell them now.
    fn history(&self, from: i64) -> Vec<Event> {
        let mut events: Vec<Event> =
            self.events.iter().filter(|event| event.id.revision.0 >= from).cloned().collect();
        for event in &mut events {
            if event.id.revision.0 - 1 < self.compacted {
                event.prev = None;
            }
        }
        events
    }
}

/// What a range read answers on these pairs.
fn read(pairs: &Pairs, range: &Range) -> RangeResponse {
    let within: Vec<_> =
        pairs.values().filter(|pair| range.range.contains(&pair.key)).cloned().collect();
    let count = i64::try_from(within.len()).unwrap();
    if range.count_only {
        return RangeResponse { kvs: Vec::new(), more: false, count };
    }
    let limit = if range.limit > 0 { usize::try_from(range.limit).unwrap() } else { usize::MAX };
    let mut kvs = within;
    if range.sort.order == SortOrder::None && range.filter == RevisionFilter::default() {
        kvs.truncate(limit.saturating_add(1));
    }
    let within = |value: Revision, min: i64, max: i64| {
        (min == 0 || value.0 >= min) && (max == 0 || value.0 <= max)
    };
    kvs.retain(|pair| {
        within(pair.mod_revision, range.filter.min_mod, range.filter.max_mod)
            && within(pair.create_revision, range.filter.min_create, range.filter.max_create)
    });
    let compare = |a: &KeyValue, b: &KeyValue| match range.sort.target {
        SortTarget::Key => a.key.cmp(&b.key),
        SortTarget::Version => a.version.cmp(&b.version),
        SortTarget::Create => a.create_revision.cmp(&b.create_revision),
        SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
        SortTarget::Value => a.value.cmp(&b.value),
    };
    match range.sort.order {
        SortOrder::None | SortOrder::Ascend => kvs.sort_by(compare),
        SortOrder::Descend => kvs.sort_by(|a, b| compare(b, a)),
    }
    let more = kvs.len() > limit;
    kvs.truncate(limit);
    if range.keys_only {
        for pair in &mut kvs {
            pair.value = Bytes::new();
            pair.lease = pair.lease.filter(|_| range.sort.target == SortTarget::Value);
        }
    }
    RangeResponse { kvs, more, count }
}

/// Compares everything that can be read with the model, as it is stored and as it would show if
/// a part of it were not stored yet.
fn compare_reads(machine: &Machine, model: &Model, reads: &[Range]) {
    assert_eq!(machine.revision(), model.revision());
    assert_eq!(meta::logical_size(machine.view()).unwrap(), model.size());
    let (base, rest) = torn(machine.view());
    let mut overlay = Overlay::new(&base);
    overlay.absorb(rest);
    let views: [&dyn View; 2] = [machine.view(), &overlay];
    for revision in 1..=model.revision() {
        for (view, read_here) in views.iter().flat_map(|view| reads.iter().map(|r| (*view, r))) {
            let asked = Range { revision, ..read_here.clone() };
            let (got, counted) = (range(view, &asked), count(view, &asked));
            if revision < model.compacted {
                assert_eq!(got, Err(Refused::Compacted(Revision(revision)).into()));
                assert_eq!(counted, Err(Refused::Compacted(Revision(revision)).into()));
                continue;
            }
            let expected = read(model.at(revision), &asked);
            assert_eq!(counted, Ok(expected.count), "{asked:?}");
            compare_list(view, model, &asked, &expected);
            assert_eq!(got, Ok(expected), "{asked:?}");
        }
    }
}

/// Compares a list with what is expected of it, and again with a taker that has enough of it.
fn compare_list(view: &dyn View, model: &Model, asked: &Range, expected: &RangeResponse) {
    let take = |enough: usize| {
        let mut kvs = Vec::new();
        let listed = list(view, asked, &mut |record| {
            kvs.push(cur::decode(&Bytes::copy_from_slice(record)).unwrap());
            if kvs.len() == enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        (listed.unwrap(), kvs)
    };
    let (listed, kvs) = take(usize::MAX);
    assert_eq!(kvs, expected.kvs, "{asked:?}");
    assert_eq!((listed.revision.0, listed.stopped), (model.revision(), false));
    assert_eq!(listed.more, expected.more, "{asked:?}");
    assert!(listed.count.is_none_or(|count| count == expected.count), "{asked:?}: {listed:?}");

    let (listed, kvs) = take(1);
    assert_eq!(kvs, expected.kvs[..expected.kvs.len().min(1)]);
    assert_eq!(listed.stopped, !expected.kvs.is_empty());
}

/// A state and writes that together are `state`: some of its records are missing or different in
/// the first, and some are too many.
fn torn(state: &MapView) -> (MapView, Writes) {
    let (mut stored, mut rest) = (Writes::default(), Writes::default());
    for family in Family::ALL {
        for (place, (key, value)) in state.records(family).enumerate() {
            let here = (family, key.clone());
            match place % 4 {
                0 => {
                    stored.records.insert(here, Some(value.clone()));
                }
                1 => {
                    rest.records.insert(here, Some(value.clone()));
                }
                2 => {
                    stored.records.insert(here.clone(), Some("not this".into()));
                    rest.records.insert(here, Some(value.clone()));
                }
                _ => {
                    stored.records.insert(here, Some(value.clone()));
                    let too_many = (family, [key, &b"\0\0"[..]].concat().into());
                    stored.records.insert(too_many.clone(), Some("not this".into()));
                    rest.records.insert(too_many, None);
                }
            }
        }
    }
    let mut base = MapView::default();
    base.commit(stored);
    (base, rest)
}

/// Compares history from every revision on with the model. A put that its own revision deletes may
/// be missing at the compacted revision.
fn compare_history(machine: &Machine, model: &Model) {
    for from in model.compacted.max(0)..=model.revision() {
        let deleted_again = |event: &Event, all: &[Event]| {
            event.id.revision.0 == model.compacted
                && matches!(event.kind, EventKind::Put(_))
                && all.iter().any(|later| {
                    later.id.revision == event.id.revision
                        && later.id.sub > event.id.sub
                        && later.key() == event.key()
                })
        };
        let mut expected = model.history(from);
        let all = expected.clone();
        expected.retain(|event| !deleted_again(event, &all));
        let mut got = machine.events(from).unwrap();
        got.retain(|event| !deleted_again(event, &all));
        assert_eq!(got, expected, "from {from}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever is asked, the machine answers as the model, and shows the same at every revision:
    /// pairs, counts, sizes and events, whether garbage has been dropped or not.
    #[test]
    fn the_machine_does_what_the_model_does(
        commands in prop::collection::vec((any_command(), prop::bool::weighted(0.1)), 1..25),
        reads in prop::collection::vec(any_read(), 1..4),
    ) {
        let (mut machine, mut model) = (Machine::new(), Model::new());
        for (command, collect_garbage) in commands {
            let events_before = model.events.len();
            let expected = model.apply(&command);
            let applied = machine.apply(command);
            prop_assert_eq!(&applied.outcome, &expected);
            prop_assert_eq!(&applied.events[..], &model.events[events_before..]);
            if collect_garbage {
                machine.collect_garbage();
            }
        }
        compare_reads(&machine, &model, &reads);
        compare_history(&machine, &model);
        machine.collect_garbage();
        compare_reads(&machine, &model, &reads);
        compare_history(&machine, &model);
    }

    /// It does not matter how requests are put together into entries.
    #[test]
    fn grouping_does_not_matter(
        groups in prop::collection::vec(prop::collection::vec(any_command(), 1..6), 1..6),
    ) {
        let (mut one_by_one, mut together) = (Machine::new(), Machine::new());
        for group in groups {
            let expected: Vec<_> = group.iter().cloned().map(|command| one_by_one.apply(command)).collect();
            let got = together.apply_together(group);
            for (got, expected) in got.iter().zip(&expected) {
                prop_assert_eq!(&got.outcome, &expected.outcome);
                prop_assert_eq!(&got.events, &expected.events);
            }
        }
        prop_assert_eq!(&one_by_one, &together);
    }

    /// The checksum of a revision stays what it was, as long as the revision is kept and no further
    /// compaction happens.
    #[test]
    fn a_checksum_stands(commands in prop::collection::vec(any_command(), 1..20)) {
        let mut machine = Machine::new();
        let mut sums: BTreeMap<i64, u32> = BTreeMap::new();
        for command in commands {
            let compacts = matches!(command, Command::Compact(_));
            machine.apply(command);
            if compacts {
                sums.clear();
                machine.collect_garbage();
            }
            for (revision, sum) in &sums {
                prop_assert_eq!(hash::state(machine.view(), Revision(*revision)).unwrap(), *sum);
            }
            let revision = machine.revision();
            sums.insert(revision, hash::state(machine.view(), Revision(revision)).unwrap());
        }
    }
}
