//! The service registry over the wire, on clusters of real members: what is registered, and what
//! becomes of it.

mod cases;
mod faults;
mod inputs;
mod sessions;

use std::time::Duration;

use etcd_client::GetResponse;
use quorate::proto::registry::{
    CloseSession, DeregisterInSession, DeregisterRequest, DeregisterResponse, Heartbeat, Instance,
    KeepAliveRequest, OpenSession, RegisterInSession, RegisterRequest, RegisterResponse,
    SessionAck, SessionOpened, SessionRequest, SessionResponse, registry_client::RegistryClient,
    session_request::Request, session_response::Response,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming, transport::Channel};

use crate::harness::{Cluster, eventually, streams::channel, within};

/// How long an answer may take on a busy machine, changes of the leader included.
const SOON: Duration = Duration::from_secs(60);
/// Requests that wait for their connection.
const REQUESTS_MAX: usize = 64;

/// The key of the instance that most tests are about.
const KEY: &str = "/services/default/user/u-1";

fn client(cluster: &Cluster, index: usize) -> RegistryClient<Channel> {
    RegistryClient::new(channel(&cluster.endpoint(index)))
}

/// An instance of the service `user`.
fn instance(id: &str) -> Instance {
    Instance {
        service: "user".to_owned(),
        id: id.to_owned(),
        address: "10.0.0.7".to_owned(),
        port: 8080,
        ..Instance::default()
    }
}

fn registering(id: &str) -> RegisterRequest {
    RegisterRequest { instance: Some(instance(id)), ..RegisterRequest::default() }
}

/// The same in the session `s`.
fn registering_in_session(id: &str) -> RegisterRequest {
    RegisterRequest { session_id: "s".to_owned(), ..registering(id) }
}

async fn register(
    client: &mut RegistryClient<Channel>,
    request: RegisterRequest,
) -> Result<RegisterResponse, Status> {
    Ok(within("a registration", SOON, client.register(request)).await?.into_inner())
}

async fn deregister(
    client: &mut RegistryClient<Channel>,
    request: DeregisterRequest,
) -> Result<DeregisterResponse, Status> {
    Ok(within("a removal", SOON, client.deregister(request)).await?.into_inner())
}

fn closing(session: &str) -> DeregisterRequest {
    DeregisterRequest { session_id: session.to_owned(), ..DeregisterRequest::default() }
}

/// The one pair that was found: its value, its lease, and the revision of its last change.
fn only(found: &GetResponse) -> (String, i64, i64) {
    let [pair] = found.kvs() else { panic!("there is one: {found:?}") };
    (pair.value_str().unwrap().to_owned(), pair.lease(), pair.mod_revision())
}

fn said<T: std::fmt::Debug>(result: Result<T, Status>) -> (Code, String) {
    let status = result.unwrap_err();
    (status.code(), status.message().to_owned())
}

/// The stream of a session. Dropping it breaks it.
struct Session {
    requests: Option<mpsc::Sender<SessionRequest>>,
    answers: Streaming<SessionResponse>,
    seq: u64,
}

impl Session {
    /// A stream on which nothing was said yet.
    async fn begin(cluster: &Cluster, index: usize) -> Self {
        let (requests, waiting) = mpsc::channel(REQUESTS_MAX);
        let mut client = client(cluster, index);
        let call = client.session(ReceiverStream::new(waiting));
        let answers = within("a stream", SOON, call).await.unwrap().into_inner();
        Self { requests: Some(requests), answers, seq: 100 }
    }

    /// The session `s` at a member, with what the client knows of its lease. A member without a
    /// leader is asked again.
    async fn open(cluster: &Cluster, index: usize, lease: i64) -> (Self, SessionOpened) {
        eventually("the session to open", SOON, async || {
            let mut session = Self::begin(cluster, index).await;
            match session.ask(opening(lease)).await {
                Ok((_, Response::Opened(opened))) => Some((session, opened)),
                Err(status) if status.code() == Code::Unavailable => None,
                other => panic!("the session was to be opened: {other:?}"),
            }
        })
        .await
    }

    /// Sends a request, and returns its number.
    async fn send(&mut self, request: Request) -> u64 {
        self.seq += 1;
        let request = SessionRequest { seq: self.seq, request: Some(request) };
        let requests = self.requests.as_ref().expect("requests are still open");
        // When the stream is gone so is the request; the answer tells.
        let _ = within("room", SOON, requests.send(request)).await;
        self.seq
    }

    /// The next answer, or how the stream ended.
    async fn next(&mut self) -> Result<SessionResponse, Status> {
        let answer = within("an answer", SOON, self.answers.message()).await?;
        answer.ok_or_else(|| Status::ok("the stream ended without a word"))
    }

    async fn ask(&mut self, request: Request) -> Result<(i64, Response), Status> {
        let seq = self.send(request).await;
        let answer = self.next().await?;
        assert_eq!(answer.seq, seq);
        Ok((answer.revision, answer.response.expect("every answer says something")))
    }

    async fn opened(&mut self, request: Request) -> SessionOpened {
        match self.ask(request).await.unwrap() {
            (_, Response::Opened(opened)) => opened,
            other => panic!("the session was to be opened: {other:?}"),
        }
    }

    async fn ack(&mut self, request: Request) -> SessionAck {
        match self.ask(request).await.unwrap() {
            (_, Response::Ack(ack)) => ack,
            other => panic!("it was to be acknowledged: {other:?}"),
        }
    }

    /// The same of a member that may be without a leader for a while.
    async fn ack_at_last(&mut self, request: Request) -> SessionAck {
        eventually("an acknowledgement", SOON, async || {
            match self.ask(request.clone()).await.unwrap() {
                (_, Response::Ack(ack)) => Some(ack),
                (_, Response::Error(error)) if error.code == i32::from(Code::Unavailable) => None,
                other => panic!("it was to be acknowledged: {other:?}"),
            }
        })
        .await
    }

    async fn declined(&mut self, request: Request) -> (Code, String) {
        match self.ask(request).await.unwrap() {
            (_, Response::Error(error)) => (Code::from_i32(error.code), error.message),
            other => panic!("it was to be declined: {other:?}"),
        }
    }

    async fn register(&mut self, id: &str) -> SessionAck {
        self.ack(register_request(id)).await
    }

    /// Waits until the stream ends, and returns how.
    async fn end(&mut self) -> Status {
        loop {
            if let Err(status) = self.next().await {
                return status;
            }
        }
    }
}

fn opening(lease_id: i64) -> Request {
    Request::Open(OpenSession { session_id: "s".to_owned(), ttl: 30, lease_id })
}

fn register_request(id: &str) -> Request {
    Request::Register(RegisterInSession { instance: Some(instance(id)), takeover: false })
}

fn deregister_request(id: &str) -> Request {
    let (namespace, service) = (String::new(), "user".to_owned());
    let (id, create_revision) = (id.to_owned(), 0);
    Request::Deregister(DeregisterInSession { namespace, service, id, create_revision })
}

fn heartbeat() -> Request {
    Request::Heartbeat(Heartbeat {})
}

fn close() -> Request {
    Request::Close(CloseSession {})
}

/// Asks for renewals on a stream of its own, and returns the answers once all are there.
async fn keep_alive(client: &mut RegistryClient<Channel>, leases: &[i64]) -> Vec<(i64, i64)> {
    let requests = leases.iter().map(|lease_id| KeepAliveRequest { lease_id: *lease_id });
    let requests: Vec<KeepAliveRequest> = requests.collect();
    let call = client.keep_alive(tokio_stream::iter(requests));
    let mut answers = within("a stream", SOON, call).await.unwrap().into_inner();
    let mut told = Vec::new();
    while let Some(answer) = within("a renewal", SOON, answers.message()).await.unwrap() {
        assert!(answer.revision > 0);
        told.push((answer.lease_id, answer.ttl));
    }
    told
}
