//! What a request depends on: read in one view, which is not from the past.

use crate::{
    node::{self, ports::OwnedView},
    registry::{
        Error, Instance, InstanceName, Name, Registrar,
        place::Place,
        records::{self, ServiceSettings, SessionRecord},
    },
    state::{Family, meta, schema::cur},
    types::{Fault, KeyValue, LeaseId, Revision, Seconds, limits::REGISTRATION_TTL_MAX},
};

/// How things stand for an instance and the session that a request names.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    /// The store's revision.
    pub(super) revision: Revision,
    /// The instance under its key.
    pub(super) long: Option<KeyValue>,
    /// The instance under the short form of its key, if it has one.
    pub(super) short: Option<KeyValue>,
    /// The record of the session.
    pub(super) session: Option<KeyValue>,
    /// The session that holds the instance if it is not that one, with its record.
    pub(super) other: Option<(Name, KeyValue)>,
    /// The time to live that the service's settings name.
    pub(super) ttl: Option<Seconds>,
}

/// A session that lives: its record and its lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Living {
    pub(super) record: SessionRecord,
    pub(super) lease: LeaseId,
}

impl Living {
    /// The session whose key has this pair. One without a lease, or whose record makes no sense,
    /// counts as none.
    pub(super) fn of(pair: Option<&KeyValue>) -> Option<Self> {
        let pair = pair?;
        Some(Self { lease: pair.lease?, record: records::decode(&pair.value)? })
    }
}

/// The store as of one moment.
pub(super) struct Look {
    view: OwnedView,
    registrar: Registrar,
    pub(super) revision: Revision,
}

impl Registrar {
    /// The store as it is now, or a little later.
    pub(super) async fn look(&self) -> Result<Look, Error> {
        self.node.read_barrier().await?;
        let view = self.node.view()?;
        let revision = self.sound(meta::revision(&*view))?;
        Ok(Look { view, registrar: self.clone(), revision })
    }

    /// How things stand for an instance, and for a session.
    pub(super) async fn standing(
        &self,
        name: &InstanceName,
        session: Option<&Name>,
    ) -> Result<Standing, Error> {
        let look = self.look().await?;
        let long = look.pair(&Place::Instance(name.clone()))?;
        let short = match name.service.namespace.is_default_namespace() {
            true => look.pair(&Place::ShortInstance(name.clone()))?,
            false => None,
        };
        let holder = long.as_ref().and_then(|pair| Instance::of_pair(name.clone(), pair).session);
        let other = match holder.filter(|holder| Some(holder) != session) {
            Some(holder) => look.session(&holder)?.map(|pair| (holder, pair)),
            None => None,
        };
        let settings = look.pair(&Place::Settings(name.service.clone()))?;
        let settings: Option<ServiceSettings> =
            settings.and_then(|pair| records::decode(&pair.value));
        let is_sound = |ttl: &Seconds| (Seconds(1)..=REGISTRATION_TTL_MAX).contains(ttl);
        Ok(Standing {
            revision: look.revision,
            long,
            short,
            session: session.map(|session| look.session(session)).transpose()?.flatten(),
            other,
            ttl: settings.and_then(|settings| settings.ttl).map(Seconds).filter(is_sound),
        })
    }

    /// What was read, unless it makes no sense: then the member stops.
    pub(super) fn sound<T>(&self, read: Result<T, Fault>) -> Result<T, Error> {
        read.map_err(|fault| {
            self.node.stop_for(&fault);
            node::Error::Fault(fault).into()
        })
    }
}

impl Look {
    /// What stands at a place.
    pub(super) fn pair(&self, place: &Place) -> Result<Option<KeyValue>, Error> {
        let record = self.view.get(Family::Current, place.key().as_bytes());
        let pair = record.and_then(|record| record.as_ref().map(cur::decode).transpose());
        self.registrar.sound(pair)
    }

    /// The record of a session.
    pub(super) fn session(&self, session: &Name) -> Result<Option<KeyValue>, Error> {
        self.pair(&Place::Session(session.clone()))
    }

    /// How many instances are on a lease.
    pub(super) fn instances_on(&self, lease: LeaseId) -> Result<u32, Error> {
        let keys = crate::state::lease::attached_keys(&*self.view, lease);
        let is_instance = |place: &Place| match place {
            Place::Instance(_) | Place::ShortInstance(_) => true,
            Place::Override(_) | Place::Session(_) | Place::Settings(_) => false,
        };
        let keys = self.registrar.sound(keys)?;
        let count = keys.iter().filter_map(Place::of).filter(is_instance).count();
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }
}
