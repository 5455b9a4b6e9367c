//! [`Keeper`]: one instance, registered in a session, and kept over whatever happens to connections
//! and members.
//!
//! Promised: the first registration is tried at all endpoints until the time of a command is over,
//! unless the registry declines it. Once it stands, it is registered again a third of the way to its
//! end, which renews it and changes nothing as long as it is there. When the stream breaks, or a member
//! does not answer, the same session is opened elsewhere, and watchers see nothing. When the instance
//! or its session was lost meanwhile, it is put again, but never taken from somebody who has registered
//! it since. In the end only the instance that was put here is removed.
//!
//! The session's id is made up here, not by the registry: an answer that is lost would leave a
//! session behind that holds the instance against its own owner.

use std::{convert::Infallible, time::Duration};

use tokio::time::{Instant, sleep, timeout_at};
use tonic::{Code, Status};

use super::{
    instance::full_name,
    stream::{Answer, Stream, Trouble},
};
use crate::{
    cli::{Client, Error},
    proto::registry::{
        CloseSession, DeregisterInSession, DeregisterRequest, Instance, OpenSession,
        RegisterInSession, RegisterResponse, SessionAck, SessionOpened,
        registry_client::RegistryClient, session_request::Request,
    },
};

/// The shortest time that a member is given for an answer: of the shortest TTL, which is a second, so
/// much is left after the first member for the next one.
const PATIENCE_MIN: Duration = Duration::from_millis(300);
/// The pause after all endpoints have failed, which an election may take. It doubles each time.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How often an instance is registered on one stream whose session is lost each time.
const TRIES_MAX: u32 = 3;

/// What is to be registered.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) instance: Instance,
    /// Seconds; 0 leaves it to the registry.
    pub(super) ttl: i64,
    pub(super) takeover: bool,
    pub(super) session: Session,
}

/// The session to register in.
#[derive(Clone, Debug)]
pub(super) enum Session {
    /// Made for this instance, and closed after it.
    Own(String),
    /// One that others may be in as well.
    Shared(String),
}

/// A registration, kept by whoever calls [`Keeper::keep`].
pub(super) struct Keeper {
    client: Client,
    wanted: Wanted,
    /// The endpoint that has its turn.
    turn: usize,
    /// How often an endpoint has failed since the last renewal.
    failures: u32,
    stream: Option<Stream>,
    /// Of the session, as last heard; 0 before.
    lease_id: i64,
    ttl: Duration,
    /// The revision that created the instance, as long as it stands as far as we know; 0 of a member
    /// that does not tell.
    created: Option<i64>,
}

impl Keeper {
    pub(super) fn new(client: Client, wanted: Wanted) -> Self {
        Self {
            ttl: client.timeout(),
            client,
            wanted,
            turn: 0,
            failures: 0,
            stream: None,
            lease_id: 0,
            created: None,
        }
    }

    /// Registers the instance.
    pub(super) async fn register(&mut self) -> Result<RegisterResponse, Error> {
        let deadline = Instant::now() + self.client.timeout();
        let mut failure = Error::failed("context deadline exceeded");
        loop {
            match timeout_at(deadline, self.establish()).await {
                Ok(Ok(registered)) => {
                    // Whoever takes it from now on is the one who shall have it.
                    self.wanted.takeover = false;
                    return Ok(registered);
                }
                Ok(Err(Trouble::Declined(status))) => return Err(status.into()),
                Ok(Err(Trouble::Broken(error))) => failure = error,
                Err(_) => return Err(failure),
            }
            let pause = self.pause();
            if Instant::now() + pause >= deadline {
                return Err(failure);
            }
            sleep(pause).await;
        }
    }

    /// Keeps the registration for as long as it is polled. It says so once when that fails, and once
    /// when it works again.
    pub(super) async fn keep(&mut self, mut say: impl FnMut(&str)) -> Infallible {
        let mut said = false;
        loop {
            let in_peace = self.rest().await;
            let trouble = match self.establish().await {
                Ok(registered) => {
                    if said {
                        say("registered again");
                    } else if registered.changed {
                        say("was gone, and is registered again");
                    }
                    said = false;
                    if in_peace {
                        self.failures = 0;
                    }
                    continue;
                }
                Err(trouble) => trouble,
            };
            // What was declined is tried again after the next rest.
            let (is_serious, pause) = match trouble {
                Trouble::Declined(_) => (true, Duration::ZERO),
                Trouble::Broken(_) => (!self.pause().is_zero(), self.pause()),
            };
            // A single member that is gone is nothing to worry about.
            if !said && is_serious {
                say(&format!("cannot be renewed, and is tried again: {}", Error::from(trouble)));
                said = true;
            }
            sleep(pause).await;
        }
    }

    /// Waits until it is time to register again: a third of the way to the end, or at once when there
    /// is no stream. False when the stream ended.
    async fn rest(&mut self) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        tokio::select! {
            () = sleep(self.ttl / 3) => return true,
            _ = stream.ended() => {}
        }
        self.next_endpoint();
        sleep(self.pause()).await;
        false
    }

    /// Sees to it that the session is open and the instance registered.
    async fn establish(&mut self) -> Result<RegisterResponse, Trouble> {
        if self.stream.is_none() {
            self.open().await?;
        }
        for _ in 0..TRIES_MAX {
            let request = RegisterInSession {
                instance: Some(self.wanted.instance.clone()),
                takeover: self.wanted.takeover,
            };
            let Some((revision, ack)) = self.ask(Request::Register(request)).await? else {
                // The session was lost, and is another one now.
                continue;
            };
            self.created = Some(ack.create_revision);
            self.wanted.instance.id.clone_from(&ack.instance_id);
            return Ok(RegisterResponse {
                revision,
                lease_id: self.lease_id,
                ttl: ack.ttl,
                instance_id: ack.instance_id,
                session_id: self.wanted.session.id().to_owned(),
                changed: ack.changed,
                create_revision: ack.create_revision,
            });
        }
        self.next_endpoint();
        Err(Trouble::broken("the session is lost again and again"))
    }

    /// Opens the session at the endpoint that has its turn.
    async fn open(&mut self) -> Result<(), Trouble> {
        let open = OpenSession {
            session_id: self.wanted.session.id().to_owned(),
            ttl: self.wanted.ttl,
            lease_id: self.lease_id,
        };
        let patience = patience(self.ttl, self.client.timeout());
        let endpoint = self.client.endpoints().iter().cycle().nth(self.turn);
        let endpoint = endpoint.expect("a client has at least one endpoint");
        match Stream::open(endpoint, open, patience).await {
            Ok((stream, opened)) => {
                self.stream = Some(stream);
                self.opened(&opened);
                Ok(())
            }
            Err(trouble) => {
                self.next_endpoint();
                Err(trouble)
            }
        }
    }

    /// Asks for something. None: the session was lost, and is another one now.
    async fn ask(&mut self, request: Request) -> Result<Option<(i64, SessionAck)>, Trouble> {
        let Some(stream) = &mut self.stream else {
            return Err(Trouble::broken("the session has no stream"));
        };
        match stream.ask(request).await {
            Ok(Answer::Opened(opened)) => {
                self.opened(&opened);
                Ok(None)
            }
            Ok(Answer::Done(revision, ack)) => Ok(Some((revision, ack))),
            Err(Trouble::Declined(status)) => Err(Trouble::Declined(status)),
            Err(broken) => {
                self.next_endpoint();
                Err(broken)
            }
        }
    }

    /// Takes in how the session stands.
    fn opened(&mut self, opened: &SessionOpened) {
        self.lease_id = opened.lease_id;
        self.ttl = Duration::from_secs(u64::try_from(opened.ttl).unwrap_or_default().max(1));
        if !opened.resumed {
            // What was registered is gone.
            self.created = None;
        }
    }

    /// Gives up the stream, and has the next endpoint take its turn.
    fn next_endpoint(&mut self) {
        self.stream = None;
        self.turn = (self.turn + 1) % self.client.endpoints().len();
        self.failures = self.failures.saturating_add(1);
    }

    /// The pause before the next try: none as long as there is an endpoint that has not failed.
    fn pause(&self) -> Duration {
        let endpoints = u32::try_from(self.client.endpoints().len()).unwrap_or(u32::MAX);
        let (rounds, rest) = (self.failures / endpoints, self.failures % endpoints);
        if rounds == 0 || rest != 0 {
            return Duration::ZERO;
        }
        let doublings = (rounds - 1).min(16);
        (PAUSE_MIN * 2_u32.pow(doublings)).min(PAUSE_MAX).min(self.ttl / 3).max(PAUSE_MIN)
    }

    /// Removes the instance, and with it the session, if that was made for it.
    pub(super) async fn close(&mut self) -> Result<(), Error> {
        if self.lease_id == 0 {
            // Nobody has opened it, or we do not know of it, and it ends by itself.
            return Ok(());
        }
        let Instance { namespace, service, id, .. } = self.wanted.instance.clone();
        let (in_session, by_itself) = match (&self.wanted.session, self.created) {
            (Session::Own(session), _) => (
                Request::Close(CloseSession {}),
                DeregisterRequest { session_id: session.clone(), ..DeregisterRequest::default() },
            ),
            // Whatever has the id there now, it is not ours.
            (Session::Shared(_), None) => return Ok(()),
            (Session::Shared(session), Some(create_revision)) => (
                Request::Deregister(DeregisterInSession {
                    namespace: namespace.clone(),
                    service: service.clone(),
                    id: id.clone(),
                    create_revision,
                }),
                DeregisterRequest {
                    namespace,
                    service,
                    id,
                    session_id: session.clone(),
                    lease_id: 0,
                    create_revision,
                },
            ),
        };
        // On the stream it comes after whatever is still under way there.
        if self.ask(in_session).await.is_ok() {
            return Ok(());
        }
        // What was removed can be removed again, so this may be repeated like a read.
        let call = async |channel| match RegistryClient::new(channel)
            .deregister(by_itself.clone())
            .await
        {
            Ok(_) => Ok(()),
            Err(status) if status.code() == Code::NotFound => Ok(()),
            Err(status) => Err::<(), Status>(status),
        };
        self.client.read(call).await
    }

    /// `namespace/service/id`.
    pub(super) fn name(&self) -> String {
        full_name(&self.wanted.instance)
    }

    /// How long the instance stays when nobody renews it.
    pub(super) fn ttl(&self) -> Duration {
        self.ttl
    }
}

/// How long a member is given for an answer. A third of the time passes before it is asked, so when it
/// says nothing there is as much left for another one.
fn patience(ttl: Duration, of_command: Duration) -> Duration {
    (ttl / 3).min(of_command).max(PATIENCE_MIN)
}

impl Session {
    fn id(&self) -> &str {
        match self {
            Self::Own(id) | Self::Shared(id) => id,
        }
    }
}

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
