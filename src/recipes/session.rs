//! [`Session`]: the lease that a call stands on, and what the call leaves behind when it comes to
//! nothing.

use std::{future::pending, panic, time::Duration};

use tokio::{runtime, select, task::JoinHandle, time};

use crate::{
    node::{self, Handle, RequestError},
    recipes::Error,
    state::{Command, Compare, DeleteRange, Op, Operand, Refused, Relation, RevokeCause, Txn},
    types::{
        Identity, Key, KeyRange, LeaseId, Revision, Seconds,
        limits::{LEASE_COST, RECIPE_LEAVE_WITHIN},
    },
};

/// How long to wait before something is tried again that could not be done.
const RETRY: Duration = Duration::from_millis(500);
/// How long a call that has failed waits until what it leaves behind is gone. It is taken away in
/// any case, later if need be.
const LEFT_WITHIN: Duration = Duration::from_secs(1);

/// The lease that a call gets which brings none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnLease {
    /// Its time to live; the caller has that much from the answer on.
    pub ttl: Seconds,
    /// How often it is renewed while the call waits. Not at all after the answer.
    pub renew_every: Duration,
}

impl Default for OwnLease {
    /// A minute, as in etcd.
    fn default() -> Self {
        Self { ttl: Seconds(60), renew_every: Duration::from_secs(20) }
    }
}

/// A lease for the time of a call. Dropped before it is [kept](Session::keep), it takes away what
/// the call would leave behind: the lease if it was granted for the call, else the key.
#[derive(Debug)]
pub(crate) struct Session {
    node: Handle,
    identity: Identity,
    lease: LeaseId,
    /// The lease was granted for this call.
    granted: Option<OwnLease>,
    /// The key to take away if the call comes to nothing, and the revision that created it.
    place: Option<(Key, Revision)>,
    kept: bool,
}

impl Session {
    /// Stands on the caller's lease; 0 means one of its own, which is granted.
    ///
    /// It is not to be dropped while it works: then it would not know whether there is a lease.
    pub(crate) async fn open(
        node: &Handle,
        identity: Identity,
        lease: LeaseId,
        own: OwnLease,
    ) -> Result<Self, RequestError> {
        if lease != LeaseId(0) {
            return Ok(Self::new(node, identity, lease, None));
        }
        node.ensure_room(LEASE_COST)?;
        let ttl = own.ttl.max(node.lease_minimum_ttl());
        loop {
            let id = node.new_lease_id();
            let session = Self::new(node, identity.clone(), id, Some(own));
            let command = Command::LeaseGrant { id, ttl };
            match node.propose(identity.clone(), command).await {
                Ok(_) => return Ok(session),
                Err(RequestError::Refused(refused)) => {
                    // So there is no lease, or it is somebody else's.
                    session.keep();
                    if refused != Refused::LeaseExists(id) {
                        return Err(refused.into());
                    }
                }
                Err(RequestError::Node(error)) => return Err(error.into()),
            }
        }
    }

    fn new(node: &Handle, identity: Identity, lease: LeaseId, granted: Option<OwnLease>) -> Self {
        Self { node: node.clone(), identity, lease, granted, place: None, kept: false }
    }

    /// The lease it stands on.
    pub(crate) fn lease(&self) -> LeaseId {
        self.lease
    }

    /// The call is to leave this key behind only if it succeeds.
    pub(super) fn note_place(&mut self, key: &Key, created: Revision) {
        self.place = Some((key.clone(), created));
    }

    /// The call has come to what it wanted: lease and key stay.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }

    /// Does some waiting. Meanwhile a lease of the call's own is renewed; the wait ends with the
    /// lease, and when the member is about to stop.
    pub(super) async fn hold<T>(
        &self,
        waiting: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        select! {
            done = waiting => done,
            () = self.renew_until_lost() => Err(Error::SessionExpired),
            () = self.node.retiring() => Err(node::Error::Stopped.into()),
        }
    }

    /// Lets the time of a lease of the call's own begin anew. A lease that is gone shows when the
    /// key is looked at.
    pub(super) async fn renew_once(&self) {
        if self.granted.is_some() {
            // A failure leaves the caller what the last renewal has left.
            let _ = self.node.keep_alive(self.lease).await;
        }
    }

    /// Takes away what the call would leave behind, and waits a moment for that.
    pub(crate) async fn leave(mut self) {
        if let Some(leaving) = self.start_leaving() {
            // It goes on by itself when this takes too long.
            let _ = time::timeout(LEFT_WITHIN, leaving).await;
        }
    }

    async fn renew_until_lost(&self) {
        let Some(own) = self.granted else { return pending().await };
        let mut wait = own.renew_every;
        loop {
            time::sleep(wait).await;
            wait = match self.node.keep_alive(self.lease).await {
                Ok(Some(_)) => own.renew_every,
                Ok(None) => return,
                Err(_) => RETRY.min(own.renew_every),
            };
        }
    }

    fn start_leaving(&mut self) -> Option<JoinHandle<()>> {
        if std::mem::replace(&mut self.kept, true) {
            return None;
        }
        let revoke = Command::LeaseRevoke { id: self.lease, cause: RevokeCause::Client };
        let (command, repeats) = match (self.granted, self.place.take()) {
            // Nobody else knows of the lease.
            (Some(_), _) => (revoke, Repeats::UntilDone),
            // Its owner may ask again, by another member, and be given the key that stands there: it
            // must not be taken away later on.
            (None, Some((key, created))) => (Command::Txn(delete_if(key, created)), Repeats::Never),
            (None, None) => return None,
        };
        // Without a runtime the process is at its end, and the lease will run out.
        let runtime = runtime::Handle::try_current().ok()?;
        Some(runtime.spawn(carry_out(self.node.clone(), self.identity.clone(), command, repeats)))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        drop(self.start_leaving());
    }
}

/// Carries work through to its end, even when nobody waits for it any more.
pub(crate) async fn see_through<T, E>(
    work: impl Future<Output = Result<T, E>> + Send + 'static,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<node::Error> + Send + 'static,
{
    match tokio::spawn(work).await {
        Ok(done) => done,
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => panic::resume_unwind(panic),
            Err(_) => Err(node::Error::Stopped.into()),
        },
    }
}

/// A transaction that deletes a key if it is the one of that creation.
pub(super) fn delete_if(key: Key, created: Revision) -> Txn {
    let range = KeyRange::One(key);
    let delete = DeleteRange { range: range.clone(), prev_kv: false };
    let operand = Operand::Create(created.0);
    Txn {
        compares: vec![Compare { range, relation: Relation::Equal, operand }],
        success: vec![Op::DeleteRange(delete)],
        failure: Vec::new(),
    }
}

/// Whether a command is proposed again that had no outcome.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeats {
    UntilDone,
    Never,
}

/// Has a command carried out that does no more when it is carried out again, if that is possible
/// within a time.
async fn carry_out(node: Handle, identity: Identity, command: Command, repeats: Repeats) {
    let tries = async {
        loop {
            let error = match node.propose(identity.clone(), command.clone()).await {
                // What is refused is not there any more.
                Ok(_) | Err(RequestError::Refused(_)) => return,
                Err(RequestError::Node(_)) if repeats == Repeats::Never => return,
                Err(RequestError::Node(error)) => error,
            };
            match error {
                node::Error::NoLeader
                | node::Error::LeaderChanged
                | node::Error::NotLeader
                | node::Error::TooManyRequests
                | node::Error::Fenced
                | node::Error::TimedOut(_) => time::sleep(RETRY).await,
                node::Error::TooLarge(_)
                | node::Error::NotCapable(_)
                | node::Error::Stopped
                | node::Error::Fault(_) => return,
            }
        }
    };
    let within = Duration::from_millis(RECIPE_LEAVE_WITHIN.0);
    if time::timeout(within, tries).await.is_err() {
        tracing::debug!("a call has left a key behind, which goes with its lease");
    }
}
