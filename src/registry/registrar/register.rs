//! Registering an instance.

use crate::{
    node,
    node::RequestError,
    recipes::CallLease,
    registry::{
        Error, Registered, Registrar, Registration, Target,
        registrar::{
            decide::{self, Lease},
            standing::{Living, Standing},
            turns::pause,
        },
    },
    state::Refused,
    types::{Identity, LeaseId, Seconds, limits::REGISTRY_TRIES_MAX},
};

/// What came of one try.
enum Tried {
    Done(Registered),
    /// Something has changed meanwhile.
    Again,
}

impl Registrar {
    /// Registers, and returns with it the lease that goes if nobody takes the answer.
    pub(super) async fn register_to_end(
        self,
        by: Identity,
        what: Registration,
    ) -> Result<(Registered, Option<CallLease>), Error> {
        let mut granted = None;
        let done = self.try_to_register(&by, &what, &mut granted).await;
        let Some(granted) = granted else { return Ok((done?, None)) };
        match done {
            Ok(registered) if registered.lease == granted.lease() => match what.target {
                Target::Granted | Target::Lease(_) => Ok((registered, Some(granted))),
                // Somebody may have found the session already.
                Target::Session(_) => {
                    granted.keep();
                    Ok((registered, None))
                }
            },
            Ok(registered) => Ok((registered, None)),
            Err(error) => {
                give_up(granted, &what.target, &error).await;
                Err(error)
            }
        }
    }

    async fn try_to_register(
        &self,
        by: &Identity,
        what: &Registration,
        granted: &mut Option<CallLease>,
    ) -> Result<Registered, Error> {
        let _turn = match &what.target {
            Target::Session(session) => Some(self.turns.take(session).await),
            Target::Granted | Target::Lease(_) => None,
        };
        for tried in 0..REGISTRY_TRIES_MAX {
            match self.register_once(by, what, granted).await? {
                Tried::Done(registered) => return Ok(registered),
                Tried::Again => pause(&what.instance.name.to_string(), tried).await,
            }
        }
        Err(Error::Contended(what.instance.name.clone()))
    }

    async fn register_once(
        &self,
        by: &Identity,
        what: &Registration,
        granted: &mut Option<CallLease>,
    ) -> Result<Tried, Error> {
        let Registration { instance, target, takeover, .. } = what;
        let session = match target {
            Target::Session(session) => Some(session),
            Target::Granted | Target::Lease(_) => None,
        };
        let standing = self.standing(&instance.name, session).await?;
        decide::may_register(&instance.name, &standing, target, *takeover)?;
        let Some(lease) = self.lease(by, what, &standing, granted).await? else {
            return Ok(Tried::Again);
        };

        let draft = decide::registration(&standing, instance, &lease)?;
        let changed = draft.writes(&decide::instance_key(&instance.name));
        let created = standing.long.as_ref().map(|pair| pair.create_revision);
        let registered = |revision| {
            let Lease { id: lease, ttl, session, .. } = lease.clone();
            let created = created.unwrap_or(revision);
            Tried::Done(Registered { revision, lease, ttl, session, created, changed })
        };
        if draft.is_empty() {
            return Ok(registered(standing.revision));
        }
        match self.commit(by, draft).await {
            Ok(Some(revision)) => Ok(registered(revision)),
            Ok(None) => Ok(Tried::Again),
            Err(RequestError::Refused(Refused::LeaseNotFound(id))) => match target {
                Target::Lease(_) => Err(Error::NoLease(id)),
                Target::Granted | Target::Session(_) => {
                    // It has run out before it was of use.
                    if granted.as_ref().is_some_and(|granted| granted.lease() == id) {
                        *granted = None;
                    }
                    Ok(Tried::Again)
                }
            },
            Err(error) => Err(error.into()),
        }
    }

    /// The lease to register on, with its time begun anew. None: the session's has just ended.
    async fn lease(
        &self,
        by: &Identity,
        what: &Registration,
        standing: &Standing,
        granted: &mut Option<CallLease>,
    ) -> Result<Option<Lease>, Error> {
        let there = match &what.target {
            Target::Granted => None,
            Target::Lease(id) => Some(*id),
            Target::Session(_) => Living::of(standing.session.as_ref()).map(|living| living.lease),
        };
        let (id, ttl) = match there {
            Some(id) => match (self.heartbeat(id).await?, &what.target) {
                (Some(ttl), _) => (id, ttl),
                (None, Target::Lease(_)) => return Err(Error::NoLease(id)),
                (None, Target::Granted | Target::Session(_)) => return Ok(None),
            },
            None => self.granted(by, what.ttl.or(standing.ttl), granted).await?,
        };
        let session = match &what.target {
            Target::Session(session) => Some(session.clone()),
            Target::Granted | Target::Lease(_) => None,
        };
        Ok(Some(Lease { id, ttl, session, owner: what.owner.clone() }))
    }

    /// The lease of this call, which is granted when it is needed first.
    pub(super) async fn granted(
        &self,
        by: &Identity,
        ttl: Option<Seconds>,
        granted: &mut Option<CallLease>,
    ) -> Result<(LeaseId, Seconds), Error> {
        let own = self.own_lease(ttl);
        if let Some(granted) = granted {
            return Ok((granted.lease(), own.ttl));
        }
        let lease = CallLease::open(&self.node, by.clone(), LeaseId(0), own).await?;
        let id = lease.lease();
        *granted = Some(lease);
        Ok((id, own.ttl))
    }
}

/// Takes a lease away that was granted for a call which failed; but not if the call may have made a
/// session of it, which somebody else may have found.
pub(super) async fn give_up(granted: CallLease, target: &Target, error: &Error) {
    match target {
        Target::Session(_) if may_have_happened(error) => granted.keep(),
        Target::Session(_) | Target::Granted | Target::Lease(_) => granted.leave().await,
    }
}

/// Whether what failed so may still take effect.
fn may_have_happened(error: &Error) -> bool {
    match error {
        Error::Node(node::Error::TimedOut(_) | node::Error::Stopped | node::Error::Fault(_)) => {
            true
        }
        Error::Node(
            node::Error::NoLeader
            | node::Error::LeaderChanged
            | node::Error::TooManyRequests
            | node::Error::TooLarge(_)
            | node::Error::NotCapable(_)
            | node::Error::Fenced
            | node::Error::NotLeader,
        )
        | Error::Invalid(..)
        | Error::Held { .. }
        | Error::NoLease(_)
        | Error::Compacted(_)
        | Error::Contended(_)
        | Error::SessionContended(_)
        | Error::Refused(_) => false,
    }
}
