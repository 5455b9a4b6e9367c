//! A registry of sessions in memory, with as many members as a test starts.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::{
    net::TcpListener,
    runtime::Runtime,
    sync::mpsc,
    time::{Instant, sleep},
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming, async_trait, transport::Server};

use crate::proto::registry::{
    ClearOverrideRequest, ClearOverrideResponse, DeregisterRequest, DeregisterResponse,
    KeepAliveRequest, KeepAliveResponse, ListServicesRequest, ListServicesResponse, OpenSession,
    RegisterRequest, RegisterResponse, ResolveRequest, ResolveResponse, SessionAck, SessionError,
    SessionOpened, SessionRequest, SessionResponse, SetOverrideRequest, SetOverrideResponse,
    WatchRequest, WatchResponse,
    registry_server::{Registry, RegistryServer},
    session_request::Request as Ask,
    session_response::Response as Answer,
};

/// The TTL of all sessions, in seconds. A member has a second for an answer then, on a machine that
/// does many other things.
pub(super) const TTL: i64 = 3;
/// How long a test waits for what is to happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// What all members know.
#[derive(Clone, Default)]
pub(super) struct World(Arc<Mutex<Facts>>);

#[derive(Default)]
pub(super) struct Facts {
    /// Sessions, and their leases.
    pub(super) sessions: BTreeMap<String, i64>,
    /// Instances' ids, and the sessions that hold them.
    pub(super) instances: BTreeMap<String, String>,
    /// The revisions that created them.
    pub(super) created: BTreeMap<String, i64>,
    /// What renewals are answered with, if they are declined.
    pub(super) declining: Option<&'static str>,
    revision: i64,
    /// What was asked, and how it went.
    pub(super) log: Vec<String>,
    /// Members that take requests and do not answer.
    pub(super) silent: BTreeSet<usize>,
    leases: i64,
}

impl World {
    pub(super) fn facts(&self) -> MutexGuard<'_, Facts> {
        self.0.lock().unwrap()
    }

    /// Waits until something is so.
    pub(super) async fn until(&self, what: &str, is_so: impl Fn(&Facts) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(&self.facts()) {
            let log = self.facts().log.join("\n");
            assert!(Instant::now() < deadline, "waited in vain until {what}:\n{log}");
            sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Facts {
    /// How often a line is in the log.
    pub(super) fn count(&self, line: &str) -> usize {
        self.log.iter().filter(|logged| *logged == line).count()
    }

    /// Ends all sessions, as if they had not been renewed.
    pub(super) fn lose_sessions(&mut self) {
        self.sessions.clear();
        self.instances.clear();
    }

    fn open(&mut self, open: &OpenSession) -> SessionOpened {
        let session_id = open.session_id.clone();
        if let Some(lease_id) = self.sessions.get(&session_id).copied() {
            self.log.push(format!("open {session_id}: resumed"));
            return SessionOpened { session_id, lease_id, ttl: TTL, resumed: true, lost: false };
        }
        let lost = open.lease_id != 0;
        self.log.push(format!("open {session_id}: {}", if lost { "lost" } else { "new" }));
        self.leases += 1;
        self.sessions.insert(session_id.clone(), self.leases);
        SessionOpened { session_id, lease_id: self.leases, ttl: TTL, resumed: false, lost }
    }

    fn answer(&mut self, session: &str, ask: Ask) -> Answer {
        if !self.sessions.contains_key(session) {
            let lost = OpenSession { session_id: session.to_owned(), ttl: TTL, lease_id: 1 };
            return Answer::Opened(self.open(&lost));
        }
        let done = |changed| SessionAck { changed, ttl: TTL, ..SessionAck::default() };
        match ask {
            Ask::Open(_) => panic!("a session is opened once on a stream"),
            Ask::Register(register) => {
                let id = register.instance.unwrap().id;
                if let Some(why) = self.declining {
                    self.log.push(format!("register {id}: declined"));
                    return Answer::Error(SessionError { code: 9, message: why.to_owned() });
                }
                let holder = self.instances.get(&id).filter(|holder| *holder != session);
                if let Some(holder) = holder.filter(|_| !register.takeover) {
                    self.log.push(format!("register {id}: held"));
                    let message = format!("instance {id} is held by session {holder}");
                    return Answer::Error(SessionError { code: 6, message });
                }
                let changed = self
                    .instances
                    .insert(id.clone(), session.to_owned())
                    .is_none_or(|h| h != session);
                self.log.push(format!("register {id}: {changed}"));
                self.revision += 1;
                if changed {
                    self.created.insert(id.clone(), self.revision);
                }
                let create_revision = self.created[&id];
                Answer::Ack(SessionAck { instance_id: id, create_revision, ..done(changed) })
            }
            Ask::Deregister(deregister) => {
                let is_it = self.created.get(&deregister.id) == Some(&deregister.create_revision);
                self.log.push(format!("deregister {}: {is_it}", deregister.id));
                Answer::Ack(done(is_it && self.instances.remove(&deregister.id).is_some()))
            }
            Ask::Heartbeat(_) => {
                self.log.push("heartbeat".to_owned());
                Answer::Ack(done(false))
            }
            Ask::Close(_) => {
                self.log.push("close".to_owned());
                self.end(session);
                Answer::Ack(done(true))
            }
        }
    }

    fn end(&mut self, session: &str) {
        self.sessions.remove(session);
        self.instances.retain(|_, holder| holder != session);
    }
}

/// A member, which ends with its runtime: all its connections break at once.
pub(super) struct Member {
    runtime: Runtime,
    address: SocketAddr,
}

impl Member {
    pub(super) async fn start(world: &World, index: usize) -> Self {
        Self::start_at(world, index, (Ipv4Addr::LOCALHOST, 0).into()).await
    }

    pub(super) async fn start_at(world: &World, index: usize, address: SocketAddr) -> Self {
        let runtime = Runtime::new().unwrap();
        let face = Face { world: world.clone(), index };
        let serve = async move {
            let listener = TcpListener::bind(address).await.unwrap();
            let address = listener.local_addr().unwrap();
            let incoming = TcpListenerStream::new(listener);
            let server = Server::builder().add_service(RegistryServer::new(face));
            tokio::spawn(server.serve_with_incoming(incoming));
            address
        };
        let address = runtime.spawn(serve).await.unwrap();
        Self { runtime, address }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn stop(self) {
        self.runtime.shutdown_background();
    }
}

struct Face {
    world: World,
    index: usize,
}

impl Face {
    fn is_silent(&self) -> bool {
        self.world.facts().silent.contains(&self.index)
    }

    async fn serve(self, mut asked: Streaming<SessionRequest>, answers: Answers) {
        let mut session = String::new();
        while let Ok(Some(SessionRequest { seq, request })) = asked.message().await {
            if self.is_silent() {
                continue;
            }
            let request = request.unwrap();
            let closes = matches!(request, Ask::Close(_));
            let response = if let Ask::Open(open) = &request {
                session.clone_from(&open.session_id);
                Answer::Opened(self.world.facts().open(open))
            } else {
                self.world.facts().answer(&session, request)
            };
            let response = SessionResponse { seq, revision: 7, response: Some(response) };
            if answers.send(Ok(response)).await.is_err() || closes {
                return;
            }
        }
    }
}

type Answers = mpsc::Sender<Result<SessionResponse, Status>>;

#[async_trait]
impl Registry for Face {
    type KeepAliveStream = ReceiverStream<Result<KeepAliveResponse, Status>>;
    type SessionStream = ReceiverStream<Result<SessionResponse, Status>>;
    type WatchStream = ReceiverStream<Result<WatchResponse, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (answers, receiver) = mpsc::channel(4);
        let face = Self { world: self.world.clone(), index: self.index };
        tokio::spawn(face.serve(request.into_inner(), answers));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn deregister(
        &self,
        request: Request<DeregisterRequest>,
    ) -> Result<Response<DeregisterResponse>, Status> {
        let request = request.into_inner();
        let mut facts = self.world.facts();
        facts.log.push(format!("unary deregister {:?}", request.id));
        if request.id.is_empty() {
            facts.end(&request.session_id);
        } else if facts.instances.get(&request.id) == Some(&request.session_id) {
            facts.instances.remove(&request.id);
        }
        Ok(Response::new(DeregisterResponse::default()))
    }

    async fn register(
        &self,
        _: Request<RegisterRequest>,
    ) -> Result<Response<RegisterResponse>, Status> {
        Err(Status::unimplemented("register"))
    }

    async fn keep_alive(
        &self,
        _: Request<Streaming<KeepAliveRequest>>,
    ) -> Result<Response<Self::KeepAliveStream>, Status> {
        Err(Status::unimplemented("keep_alive"))
    }

    async fn set_override(
        &self,
        _: Request<SetOverrideRequest>,
    ) -> Result<Response<SetOverrideResponse>, Status> {
        Err(Status::unimplemented("set_override"))
    }

    async fn clear_override(
        &self,
        _: Request<ClearOverrideRequest>,
    ) -> Result<Response<ClearOverrideResponse>, Status> {
        Err(Status::unimplemented("clear_override"))
    }

    async fn list_services(
        &self,
        _: Request<ListServicesRequest>,
    ) -> Result<Response<ListServicesResponse>, Status> {
        Err(Status::unimplemented("list_services"))
    }

    async fn resolve(
        &self,
        _: Request<ResolveRequest>,
    ) -> Result<Response<ResolveResponse>, Status> {
        Err(Status::unimplemented("resolve"))
    }

    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("watch"))
    }
}
