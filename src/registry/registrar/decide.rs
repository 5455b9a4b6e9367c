//! What is to be written, given how things stand: values in, a [`Draft`] out.

use crate::{
    registry::{
        Error, Holder, Instance, InstanceName, Name, Target, Whose,
        place::Place,
        records::{self, Override, SessionRecord},
        registrar::{
            draft::Draft,
            standing::{Living, Standing},
        },
    },
    types::{Key, KeyValue, LeaseId, Seconds, limits::SESSION_INSTANCES_MAX},
};

/// A lease to register on, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) id: LeaseId,
    pub(super) ttl: Seconds,
    /// The session that it is of.
    pub(super) session: Option<Name>,
    /// The client's address, for the record of a session that is made.
    pub(super) owner: String,
}

/// Whether this may be registered, whoever holds it. The key that names the namespace counts, if
/// there are two.
pub(super) fn may_register(
    name: &InstanceName,
    standing: &Standing,
    target: &Target,
    takeover: bool,
) -> Result<(), Error> {
    let Some(holder) = holder(name, standing) else { return Ok(()) };
    let is_own = match (target, &holder) {
        (Target::Session(session), Holder::Session(holder)) => session == holder,
        (Target::Lease(lease), Holder::Lease(holder)) => lease == holder,
        // A lease that is still to be granted holds nothing.
        (Target::Granted | Target::Session(_) | Target::Lease(_), _) => false,
    };
    if is_own || takeover {
        return Ok(());
    }
    Err(Error::Held { instance: name.clone(), holder })
}

fn holder(name: &InstanceName, standing: &Standing) -> Option<Holder> {
    let pair = standing.long.as_ref().or(standing.short.as_ref())?;
    let Instance { session, lease, .. } = Instance::of_pair(name.clone(), pair);
    Some(match (session, lease) {
        (Some(session), _) => Holder::Session(session),
        (None, Some(lease)) => Holder::Lease(lease),
        (None, None) => Holder::Nobody,
    })
}

/// Puts an instance on a lease, and into the record of its session. Nothing is to be written for an
/// instance that stands there as it is; it then keeps the time at which it was registered.
pub(super) fn registration(
    standing: &Standing,
    wanted: &Instance,
    lease: &Lease,
) -> Result<Draft, Error> {
    let name = &wanted.name;
    let mut draft = Draft::default();
    let mut wanted = Instance { session: lease.session.clone(), ..wanted.clone() };
    let key = instance_key(name);
    based_on_both(&mut draft, name, standing);
    let before = standing.long.as_ref().map(|pair| (pair, Instance::of_pair(name.clone(), pair)));
    if let Some((_, before)) = &before
        && before.session == wanted.session
        && (before.session.is_some() || before.lease == Some(lease.id))
        && !before.registered_at.is_empty()
    {
        wanted.registered_at.clone_from(&before.registered_at);
    }
    let value = wanted.encode();
    let stands =
        before.is_some_and(|(pair, _)| pair.value == value && pair.lease == Some(lease.id));
    if !stands {
        draft.put(key, value, Some(lease.id));
    }
    if let Some(session) = &lease.session {
        list(&mut draft, session, standing.session.as_ref(), name, lease)?;
    }
    if let Some((session, pair)) = &standing.other {
        unlist(&mut draft, session, pair, name);
    }
    Ok(draft)
}

/// The record of a session that is made, on the lease that was granted for it.
pub(super) fn opening(session: &Name, found: Option<&KeyValue>, lease: &Lease) -> Draft {
    let mut draft = Draft::default();
    let record =
        SessionRecord { ttl: lease.ttl.0, owner: lease.owner.clone(), instances: Vec::new() };
    put_record(&mut draft, session, found, &record, lease.id);
    draft
}

/// The same record with another owner, if it is another one and known.
pub(super) fn new_owner(session: &Name, found: &KeyValue, living: &Living, owner: &str) -> Draft {
    let mut draft = Draft::default();
    if !owner.is_empty() && living.record.owner != owner {
        let record = SessionRecord { owner: owner.to_owned(), ..living.record.clone() };
        put_record(&mut draft, session, Some(found), &record, living.lease);
    }
    draft
}

/// Takes an instance away, if it is the one that is meant. Returns whether that is there.
pub(super) fn removal(name: &InstanceName, standing: &Standing, whose: &Whose) -> (Draft, bool) {
    let mut draft = Draft::default();
    let pair = standing.long.as_ref().or(standing.short.as_ref());
    let found = pair.map(|pair| Instance::of_pair(name.clone(), pair));
    let is_meant = found.as_ref().is_some_and(|found| whose.is_about(found));
    based_on_both(&mut draft, name, standing);
    if is_meant {
        for pair in standing.long.iter().chain(&standing.short) {
            draft.delete(pair.key.clone());
        }
        if let Some((session, pair)) = &standing.other {
            unlist(&mut draft, session, pair, name);
        }
    }
    // Somebody else may have deleted the key, and left the record as it was.
    let held = found.filter(|_| !is_meant).and_then(|found| found.session);
    if let (Some(session), Some(pair)) = (&whose.session, &standing.session)
        && held.as_ref() != Some(session)
    {
        unlist(&mut draft, session, pair, name);
    }
    (draft, is_meant)
}

impl Whose {
    fn is_about(&self, instance: &Instance) -> bool {
        self.session.as_ref().is_none_or(|session| instance.session.as_ref() == Some(session))
            && self.lease.is_none_or(|lease| instance.lease == Some(lease))
            && self.created.is_none_or(|created| instance.created == created)
    }
}

/// What is decided is based on what stands under both forms of the key, or does not.
fn based_on_both(draft: &mut Draft, name: &InstanceName, standing: &Standing) {
    draft.based_on(instance_key(name), standing.long.as_ref());
    if name.service.namespace.is_default_namespace() {
        draft.based_on(Place::ShortInstance(name.clone()).key(), standing.short.as_ref());
    }
}

/// What an operator says, in addition to what was said before.
pub(super) fn overriding(name: &InstanceName, found: Option<&KeyValue>, what: Override) -> Draft {
    let before: Override = found.and_then(|pair| records::decode(&pair.value)).unwrap_or_default();
    let after = Override {
        enabled: what.enabled.or(before.enabled),
        weight: what.weight.or(before.weight),
    };
    let key = Place::Override(name.clone()).key();
    let mut draft = Draft::default();
    draft.based_on(key.clone(), found);
    if before != after {
        draft.put(key, records::encode(&after), None);
    }
    draft
}

/// Lists an instance in the record of its session, which is made if it is not there.
fn list(
    draft: &mut Draft,
    session: &Name,
    found: Option<&KeyValue>,
    name: &InstanceName,
    lease: &Lease,
) -> Result<(), Error> {
    let living = Living::of(found).filter(|living| living.lease == lease.id);
    let mut record = match living {
        Some(living) => living.record,
        None => {
            SessionRecord { ttl: lease.ttl.0, owner: lease.owner.clone(), instances: Vec::new() }
        }
    };
    // What the instance's registration is based on, even if the record stays as it is.
    draft.based_on(session_key(session), found);
    if let Err(place) = record.instances.binary_search(&name.to_string()) {
        if record.instances.len() >= SESSION_INSTANCES_MAX {
            let complaint = format!("{session} has {SESSION_INSTANCES_MAX} instances already");
            return Err(Error::invalid("session_id", complaint));
        }
        record.instances.insert(place, name.to_string());
        put_record(draft, session, found, &record, lease.id);
    }
    Ok(())
}

/// Takes an instance out of the record of a session that lives.
fn unlist(draft: &mut Draft, session: &Name, found: &KeyValue, name: &InstanceName) {
    let Some(Living { mut record, lease }) = Living::of(Some(found)) else { return };
    let len = record.instances.len();
    record.instances.retain(|listed| *listed != name.to_string());
    if record.instances.len() < len {
        put_record(draft, session, Some(found), &record, lease);
    }
}

fn put_record(
    draft: &mut Draft,
    session: &Name,
    found: Option<&KeyValue>,
    record: &SessionRecord,
    lease: LeaseId,
) {
    let key = session_key(session);
    draft.based_on(key.clone(), found);
    draft.put(key, records::encode(record), Some(lease));
}

/// The key that an instance is written under.
pub(super) fn instance_key(name: &InstanceName) -> Key {
    Place::Instance(name.clone()).key()
}

fn session_key(session: &Name) -> Key {
    Place::Session(session.clone()).key()
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
