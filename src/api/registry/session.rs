//! The stream of a session: each request has one answer, and the next one is taken when that is on
//! its way.
//!
//! A session is not the stream. When that breaks, everything stays until the lease runs out, and
//! another stream, of any member, may go on with it.

use futures_util::{Stream, StreamExt, stream};
use tokio::select;
use tonic::Status;

use super::{RegistryService, convert, writes};
use crate::{
    api::status,
    node,
    proto::registry::{
        DeregisterInSession, OpenSession, RegisterInSession, SessionAck, SessionError,
        SessionOpened, SessionRequest, SessionResponse, session_request::Request,
        session_response::Response,
    },
    registry::{Error, Name, Opened, Opening},
    types::{Identity, LeaseId, Revision, Seconds},
};

/// The answers to a stream of requests.
pub(super) fn answers<R>(
    service: RegistryService,
    requests: R,
    owner: String,
) -> impl Stream<Item = Result<SessionResponse, Status>> + Send
where
    R: Stream<Item = Result<SessionRequest, Status>> + Send + Unpin + 'static,
{
    let course = Course { service, requests, owner, open: None, ended: false };
    stream::unfold(Some(course), |course| async move {
        let mut course = course?;
        match course.next().await {
            Ok(answer) => answer.map(|answer| (Ok(answer), Some(course))),
            Err(status) => Some((Err(status), None)),
        }
    })
}

/// One stream, with `R` for what its client sends.
struct Course<R> {
    service: RegistryService,
    requests: R,
    owner: String,
    open: Option<Open>,
    /// The session is closed, and the client told.
    ended: bool,
}

/// The session as the client was told of it last.
#[derive(Clone)]
struct Open {
    session: Name,
    lease: LeaseId,
    /// The lease's time to live, also for the case that it must be granted anew.
    ttl: Seconds,
}

/// An answer, and the revision that it reflects.
type Answer = (Revision, Response);

impl<R: Stream<Item = Result<SessionRequest, Status>> + Unpin> Course<R> {
    /// The next answer; none when there is no more to come.
    async fn next(&mut self) -> Result<Option<SessionResponse>, Status> {
        if self.ended {
            return Ok(None);
        }
        let node = self.service.node.clone();
        let request = select! {
            request = self.requests.next() => request,
            () = node.retiring() => return Err(status::of_node(node::Error::Stopped)),
        };
        let Some(SessionRequest { seq, request }) = request.transpose()? else { return Ok(None) };
        let (revision, response) = match self.open.clone() {
            Some(open) => match self.answer(&open, request).await {
                Ok(answer) => answer,
                Err(error) => (node.revision(), Response::Error(declined(error)?)),
            },
            None => self.begin(request).await.map_err(status::of_registry)?,
        };
        Ok(Some(SessionResponse { seq, revision: revision.0, response: Some(response) }))
    }

    /// Answers the first request. Without a session the stream is of no use: an error ends it.
    async fn begin(&mut self, request: Option<Request>) -> Result<Answer, Error> {
        let Some(Request::Open(request)) = request else {
            return Err(Error::invalid("request", "the first one must be open"));
        };
        self.open(&request).await
    }

    async fn open(&mut self, request: &OpenSession) -> Result<Answer, Error> {
        let node = &self.service.node;
        let new_name = || {
            let name = format!("s-{:x}", node.new_lease_id().0);
            Name::new(&name).expect("it has letters and digits")
        };
        let what = convert::opening(request, self.owner.clone(), new_name)?;
        let opened = self.service.registrar.open(&Identity::anonymous(), what).await?;
        Ok(self.opened(opened))
    }

    /// Opens the session anew, whose lease is gone.
    async fn reopen(&mut self, open: &Open) -> Result<Answer, Error> {
        let Open { session, lease, ttl } = open.clone();
        let owner = self.owner.clone();
        let what = Opening { session, ttl: Some(ttl), lease: Some(lease), owner };
        let opened = self.service.registrar.open(&Identity::anonymous(), what).await?;
        Ok(self.opened(opened))
    }

    /// How the session stands from now on, for the client.
    fn opened(&mut self, opened: Opened) -> Answer {
        let Opened { revision, session, lease, ttl, resumed, lost } = opened;
        let session_id = session.to_string();
        self.open = Some(Open { session, lease, ttl });
        let opened = SessionOpened { session_id, lease_id: lease.0, ttl: ttl.0, resumed, lost };
        (revision, Response::Opened(opened))
    }

    async fn answer(&mut self, open: &Open, request: Option<Request>) -> Result<Answer, Error> {
        match request {
            Some(Request::Register(request)) => self.register(open, request).await,
            Some(Request::Deregister(request)) => self.deregister(open, &request).await,
            Some(Request::Heartbeat(_)) => self.heartbeat(open).await,
            Some(Request::Close(_)) => self.close(open).await,
            Some(Request::Open(_)) => Err(Error::invalid("request", "the session is open")),
            None => Err(Error::invalid("request", "is missing, or of no known kind")),
        }
    }

    /// A session that was lost is made anew with this instance in it, and the client told to
    /// register the others again, too.
    async fn register(&mut self, open: &Open, request: RegisterInSession) -> Result<Answer, Error> {
        let known = writes::known(&self.owner);
        let mut what = convert::in_session(request, open.session.clone(), known)?;
        what.ttl = Some(open.ttl);
        let id = what.instance.name.id.to_string();
        let done = self.service.registrar.register(&Identity::anonymous(), what).await?;
        if done.lease != open.lease {
            let opened = Opened {
                revision: done.revision,
                session: open.session.clone(),
                lease: done.lease,
                ttl: done.ttl,
                resumed: false,
                lost: true,
            };
            return Ok(self.opened(opened));
        }
        let (changed, ttl, create_revision) = (done.changed, done.ttl.0, done.created.0);
        let ack = SessionAck { changed, instance_id: id, ttl, create_revision };
        Ok((done.revision, Response::Ack(ack)))
    }

    async fn deregister(
        &mut self,
        open: &Open,
        request: &DeregisterInSession,
    ) -> Result<Answer, Error> {
        let (name, whose) = convert::removal_in_session(request, open.session.clone())?;
        let registrar = &self.service.registrar;
        let done = registrar.deregister(&Identity::anonymous(), &name, &whose).await?;
        match registrar.heartbeat(open.lease).await? {
            Some(ttl) => Ok(ack(done.revision, done.removed > 0, ttl)),
            None => self.reopen(open).await,
        }
    }

    async fn heartbeat(&mut self, open: &Open) -> Result<Answer, Error> {
        // From before: it must not be above one at which the lease ends.
        let revision = self.service.node.revision();
        match self.service.registrar.heartbeat(open.lease).await? {
            Some(ttl) => Ok(ack(revision, false, ttl)),
            None => self.reopen(open).await,
        }
    }

    async fn close(&mut self, open: &Open) -> Result<Answer, Error> {
        let (by, registrar) = (Identity::anonymous(), &self.service.registrar);
        let done = registrar.close(&by, &open.session, Some(open.lease)).await?;
        self.ended = true;
        Ok(ack(done.revision, done.removed > 0, Seconds(0)))
    }
}

/// The answer to anything but a register.
fn ack(revision: Revision, changed: bool, ttl: Seconds) -> Answer {
    let (instance_id, create_revision) = (String::new(), 0);
    (revision, Response::Ack(SessionAck { changed, instance_id, ttl: ttl.0, create_revision }))
}

/// What a client is told whose request was declined. A member that ends does not go on with the
/// stream.
fn declined(error: Error) -> Result<SessionError, Status> {
    let ends = matches!(&error, Error::Node(node::Error::Stopped | node::Error::Fault(_)));
    let status = status::of_registry(error);
    if ends {
        return Err(status);
    }
    Ok(SessionError { code: status.code().into(), message: status.message().to_owned() })
}
