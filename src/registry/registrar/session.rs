//! Opening and closing sessions.

use crate::{
    node::RequestError,
    recipes::CallLease,
    registry::{
        Deregistered, Error, Name, Opened, Opening, Registrar, Target,
        registrar::{
            decide::{self, Lease},
            register::give_up,
            standing::Living,
            turns::pause,
        },
    },
    state::{Command, Refused, RevokeCause},
    types::{Identity, KeyValue, LeaseId, Revision, limits::REGISTRY_TRIES_MAX},
};

impl Registrar {
    pub(super) async fn open_to_end(self, by: Identity, what: Opening) -> Result<Opened, Error> {
        let mut granted = None;
        let done = self.try_to_open(&by, &what, &mut granted).await;
        match (&done, granted) {
            (Ok(opened), Some(granted)) if opened.lease == granted.lease() => granted.keep(),
            (Err(error), Some(granted)) => {
                give_up(granted, &Target::Session(what.session), error).await;
            }
            // One that was granted in vain goes.
            (Ok(_) | Err(_), _) => {}
        }
        done
    }

    async fn try_to_open(
        &self,
        by: &Identity,
        what: &Opening,
        granted: &mut Option<CallLease>,
    ) -> Result<Opened, Error> {
        for tried in 0..REGISTRY_TRIES_MAX {
            let look = self.look().await?;
            let (revision, found) = (look.revision, look.session(&what.session)?);
            drop(look);
            let done = match (&found, Living::of(found.as_ref())) {
                (Some(pair), Some(living)) => {
                    self.resume(by, what, revision, pair, &living).await?
                }
                (None | Some(_), _) => self.make(by, what, found.as_ref(), granted).await?,
            };
            if let Some(opened) = done {
                return Ok(opened);
            }
            pause(what.session.as_str(), tried).await;
        }
        Err(Error::SessionContended(what.session.clone()))
    }

    /// Goes on with a session that is there. None: something has changed meanwhile.
    async fn resume(
        &self,
        by: &Identity,
        what: &Opening,
        revision: Revision,
        found: &KeyValue,
        living: &Living,
    ) -> Result<Option<Opened>, Error> {
        let Some(ttl) = self.heartbeat(living.lease).await? else { return Ok(None) };
        let is_other = what.lease.is_some_and(|lease| lease != living.lease);
        let opened = Opened {
            revision,
            session: what.session.clone(),
            lease: living.lease,
            ttl,
            resumed: !is_other,
            lost: is_other,
        };
        let draft = decide::new_owner(&what.session, found, living, &what.owner);
        if draft.is_empty() {
            return Ok(Some(opened));
        }
        match self.commit(by, draft).await {
            Ok(Some(revision)) => Ok(Some(Opened { revision, ..opened })),
            Ok(None) | Err(RequestError::Refused(Refused::LeaseNotFound(_))) => Ok(None),
            // A store that is full does not learn of the new owner; the session lives on.
            Err(RequestError::Refused(Refused::NoSpace)) => Ok(Some(opened)),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a session. None: something has changed meanwhile.
    async fn make(
        &self,
        by: &Identity,
        what: &Opening,
        found: Option<&KeyValue>,
        granted: &mut Option<CallLease>,
    ) -> Result<Option<Opened>, Error> {
        let (id, ttl) = self.granted(by, what.ttl, granted).await?;
        let lease = Lease { id, ttl, session: None, owner: what.owner.clone() };
        match self.commit(by, decide::opening(&what.session, found, &lease)).await {
            Ok(Some(revision)) => Ok(Some(Opened {
                revision,
                session: what.session.clone(),
                lease: id,
                ttl,
                resumed: false,
                lost: what.lease.is_some(),
            })),
            Ok(None) => Ok(None),
            Err(RequestError::Refused(Refused::LeaseNotFound(_))) => {
                // It has run out before it was of use.
                *granted = None;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn close_session(
        &self,
        by: &Identity,
        session: &Name,
        known: Option<LeaseId>,
    ) -> Result<Deregistered, Error> {
        let look = self.look().await?;
        let (revision, found) = (look.revision, look.session(session)?);
        let lease = match (found.and_then(|pair| pair.lease), known) {
            (Some(found), Some(known)) if found != known => None,
            (Some(lease), _) | (None, Some(lease)) => Some(lease),
            (None, None) => None,
        };
        let Some(lease) = lease else { return Ok(Deregistered { revision, removed: 0 }) };
        let removed = look.instances_on(lease)?;
        drop(look);
        let revoke = Command::LeaseRevoke { id: lease, cause: RevokeCause::Client };
        match self.node.propose(by.clone(), revoke).await {
            Ok(answer) => Ok(Deregistered { revision: answer.revision, removed }),
            // It has just ended by itself, and everything on it.
            Err(RequestError::Refused(Refused::LeaseNotFound(_))) => {
                let revision = self.look().await?.revision;
                Ok(Deregistered { revision, removed: 0 })
            }
            Err(error) => Err(error.into()),
        }
    }
}
