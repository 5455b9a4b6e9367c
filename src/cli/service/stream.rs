//! [`Stream`]: a session's stream at one member, a request at a time.

use std::time::Duration;

use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming, transport::Channel};

use crate::{
    cli::{
        Error,
        client::{Endpoint, Failure},
    },
    proto::registry::{
        OpenSession, SessionAck, SessionOpened, SessionRequest, SessionResponse,
        registry_client::RegistryClient, session_request::Request, session_response::Response,
    },
};

/// Requests that are under way: one whose answer nobody waited for, and the one after it.
const REQUESTS_MAX: usize = 2;

/// A session's stream.
pub(super) struct Stream {
    requests: mpsc::Sender<SessionRequest>,
    answers: Streaming<SessionResponse>,
    /// Of the last request.
    seq: u64,
    patience: Duration,
}

/// What came of a request.
pub(super) enum Answer {
    /// The session was opened; to another request: anew, because it was lost.
    Opened(SessionOpened),
    /// It was done, and the store has this revision.
    Done(i64, SessionAck),
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// There is no stream, or none of use. At another member, or later, there may be.
    Broken(Error),
    /// The registry will not do it.
    Declined(Status),
}

impl Stream {
    /// Opens a session at a member, which answers within `patience`, now and later.
    pub(super) async fn open(
        endpoint: &Endpoint,
        open: OpenSession,
        patience: Duration,
    ) -> Result<(Self, SessionOpened), Trouble> {
        let deadline = Instant::now() + patience;
        let call = async |channel| start(channel, open.clone()).await;
        let (requests, answers) = endpoint.call(call, deadline).await?;
        let mut stream = Self { requests, answers, seq: 1, patience };
        match stream.answer(deadline).await? {
            Answer::Opened(opened) => Ok((stream, opened)),
            Answer::Done(..) => Err(Trouble::broken("a session was answered without being opened")),
        }
    }

    /// Asks for something and waits for the answer.
    pub(super) async fn ask(&mut self, request: Request) -> Result<Answer, Trouble> {
        self.seq += 1;
        let request = SessionRequest { seq: self.seq, request: Some(request) };
        if self.requests.try_send(request).is_err() {
            return Err(Trouble::broken("the session's stream takes no more requests"));
        }
        self.answer(Instant::now() + self.patience).await
    }

    /// The answer to the last request.
    async fn answer(&mut self, deadline: Instant) -> Result<Answer, Trouble> {
        loop {
            let answer = match timeout_at(deadline, self.answers.message()).await {
                Ok(Ok(Some(answer))) => answer,
                Ok(Ok(None)) => return Err(Trouble::broken("the session's stream has ended")),
                Ok(Err(status)) => return Err(status.into()),
                Err(_) => {
                    return Err(Trouble::broken("the session's stream has no answer in time"));
                }
            };
            // Smaller ones are to requests whose answer nobody waited for.
            if answer.seq == self.seq {
                return read(answer);
            }
        }
    }

    /// Waits until the stream ends by itself, or says something that nobody asked for.
    pub(super) async fn ended(&mut self) -> Trouble {
        match self.answers.message().await {
            Ok(_) => Trouble::broken("the session's stream has ended"),
            Err(status) => status.into(),
        }
    }
}

/// Starts the stream with its first request, which must be there for some servers to answer at all.
async fn start(
    channel: Channel,
    open: OpenSession,
) -> Result<(mpsc::Sender<SessionRequest>, Streaming<SessionResponse>), Status> {
    let (requests, receiver) = mpsc::channel(REQUESTS_MAX);
    let request = SessionRequest { seq: 1, request: Some(Request::Open(open)) };
    requests.try_send(request).expect("a new channel has room for one request");
    let answers = RegistryClient::new(channel).session(ReceiverStream::new(receiver)).await?;
    Ok((requests, answers.into_inner()))
}

fn read(answer: SessionResponse) -> Result<Answer, Trouble> {
    match answer.response {
        Some(Response::Opened(opened)) => Ok(Answer::Opened(opened)),
        Some(Response::Ack(ack)) => Ok(Answer::Done(answer.revision, ack)),
        Some(Response::Error(error)) => {
            Err(Status::new(Code::from_i32(error.code), error.message).into())
        }
        None => Err(Trouble::broken("the session's stream has an answer of an unknown kind")),
    }
}

impl Trouble {
    pub(super) fn broken(what: &str) -> Self {
        Self::Broken(Error::failed(what))
    }
}

impl From<Status> for Trouble {
    fn from(status: Status) -> Self {
        if is_transient(&status) { Self::Broken(status.into()) } else { Self::Declined(status) }
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unreachable(..) => Self::Broken(failure.into()),
            Failure::Answered(status) => status.into(),
        }
    }
}

impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Broken(error) => error,
            Trouble::Declined(status) => status.into(),
        }
    }
}

/// Whether another member, or the same one a little later, may do better. A status that has a source
/// was made on this side, of a connection that broke.
pub(super) fn is_transient(status: &Status) -> bool {
    let by_code = matches!(
        status.code(),
        Code::Unavailable
            | Code::Aborted
            | Code::Cancelled
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
    );
    by_code || std::error::Error::source(status).is_some()
}
