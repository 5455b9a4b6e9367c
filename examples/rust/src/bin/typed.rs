//! Registers and finds services with the typed registry, through stubs that tonic made of
//! registry.proto.
//!
//!     typed register --service user --id u1 --addr 10.0.0.7:8080 --ttl 15
//!     typed resolve --service user
//!     typed watch --service user

use std::{collections::BTreeMap, error::Error, time::Duration};

use registry_examples::{
    Command, Given, RETRY_PAUSE, complain, end_on_signals, join,
    registry::{
        CloseSession, Heartbeat, Instance, OpenSession, RegisterInSession, ResolveRequest,
        SessionRequest, SessionResponse, WatchRequest, WatchResponse,
        change::{Kind as ChangeKind, Reason},
        registry_client::RegistryClient,
        session_request::Request as Ask,
        session_response::Response as Answer,
        watch_response::Kind,
    },
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Code, Status, Streaming,
    transport::{Channel, Endpoint},
};
use uuid::Uuid;

type Failure = Box<dyn Error>;

/// Of one call, an election included.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let given = <Given as clap::Parser>::parse();
    let mut end = end_on_signals()?;
    match given.command {
        Command::Register => register(&given, end).await,
        Command::Resolve => resolve(&given).await,
        Command::Watch => {
            tokio::select! {
                () = watch(&given) => {}
                _ = end.wait_for(|end| *end) => {}
            }
            Ok(())
        }
    }
}

/// A client of one member. Which one does not matter: each of them serves everything.
async fn connect(endpoint: &str) -> Result<RegistryClient<Channel>, Failure> {
    let endpoint = Endpoint::from_shared(format!("http://{endpoint}"))?
        .connect_timeout(Duration::from_secs(1))
        // A member that vanished without a word is noticed.
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(3));
    Ok(RegistryClient::new(endpoint.connect().await?))
}

/// Prints the instances that can be called; the next member is asked when one does not answer.
async fn resolve(given: &Given) -> Result<(), Failure> {
    let mut last = "there are no endpoints".into();
    for endpoint in &given.endpoints {
        let ask = async {
            let request = ResolveRequest {
                namespace: given.namespace.clone(),
                service: given.service.clone(),
                linearizable: true,
                ..ResolveRequest::default()
            };
            Ok::<_, Failure>(connect(endpoint).await?.resolve(request).await?.into_inner())
        };
        match timeout(CALL_TIMEOUT, ask).await.map_err(Failure::from).flatten() {
            Ok(answer) => {
                for instance in &answer.instances {
                    println!("{} {}", instance.id, target(instance));
                }
                return Ok(());
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Prints what there is, and then each change.
async fn watch(given: &Given) {
    let mut follower = Follower::default();
    for endpoint in given.endpoints.iter().cycle() {
        if let Err(error) = follower.follow(endpoint, given).await {
            complain("watch", error);
        }
        sleep(RETRY_PAUSE).await;
    }
}

/// What is known of a service. It goes from stream to stream.
#[derive(Default)]
struct Follower {
    known: BTreeMap<String, Instance>,
    /// All up to here was printed.
    revision: i64,
}

impl Follower {
    /// Prints changes, from where it was, until the stream ends.
    async fn follow(&mut self, endpoint: &str, given: &Given) -> Result<(), Failure> {
        let request = WatchRequest {
            namespace: given.namespace.clone(),
            service: given.service.clone(),
            revision: self.revision,
        };
        let mut answers = connect(endpoint).await?.watch(request).await?.into_inner();
        // Of one revision; what is not complete yet would come again on the next stream.
        let mut parts = Vec::new();
        while let Some(answer) = answers.message().await? {
            let (revision, more) = (answer.revision, answer.more);
            parts.push(answer);
            if !more {
                self.show(std::mem::take(&mut parts));
                self.revision = revision;
            }
        }
        Err("the stream has ended".into())
    }

    /// Prints all that was said of one revision.
    fn show(&mut self, parts: Vec<WatchResponse>) {
        let (mut snapshot, mut changes) = (None, Vec::new());
        for part in parts {
            match part.kind {
                Some(Kind::Snapshot(part)) => {
                    snapshot.get_or_insert_with(Vec::new).extend(part.instances);
                }
                Some(Kind::Changes(part)) => changes.extend(part.changes),
                Some(Kind::Bookmark(_)) | None => {}
            }
        }
        if let Some(instances) = snapshot {
            self.replace(instances);
        }
        for change in changes {
            match (change.kind(), change.reason(), change.before, change.after) {
                (ChangeKind::Down, reason, Some(before), _) => {
                    self.known.remove(&before.id);
                    println!("DOWN {} {} {}", before.id, target(&before), reason.as_str_name());
                }
                (kind, _, _, Some(after)) => {
                    println!("{} {} {}", kind.as_str_name(), after.id, target(&after));
                    self.known.insert(after.id.clone(), after);
                }
                (_, _, _, None) => {}
            }
        }
    }

    /// Takes a snapshot for what is known. There may have been one before: when the history from its
    /// revision on is gone, the server begins anew.
    fn replace(&mut self, instances: Vec<Instance>) {
        let mut before = std::mem::take(&mut self.known);
        for instance in instances {
            match before.remove(&instance.id) {
                None => println!("UP {} {}", instance.id, target(&instance)),
                Some(old) if old.mod_revision != instance.mod_revision => {
                    println!("CHANGED {} {}", instance.id, target(&instance));
                }
                Some(_) => {}
            }
            self.known.insert(instance.id.clone(), instance);
        }
        for (id, instance) in before {
            println!("DOWN {id} {} {}", target(&instance), Reason::Unspecified.as_str_name());
        }
    }
}

/// Keeps the instance there until the program is told to end, and then takes it away.
///
/// A session outlives its stream by the TTL. When the stream breaks, the session is opened again at the
/// next member, and whoever watches the service notices nothing.
async fn register(given: &Given, end: watch::Receiver<bool>) -> Result<(), Failure> {
    let mut session = Session::new(given)?;
    let mut give_up = None; // set once the program is to end
    for endpoint in given.endpoints.iter().cycle() {
        match session.hold(endpoint, given, end.clone()).await {
            Ok(()) => {
                println!("DEREGISTERED {}", given.id());
                return Ok(());
            }
            Err(error) if is_invalid(&error) => return Err(error), // no member would take it
            Err(error) => complain("register", error),
        }
        if *end.borrow() {
            let ttl = Duration::from_secs(given.ttl.into());
            if Instant::now() > *give_up.get_or_insert_with(|| Instant::now() + ttl) {
                return Err("no member took the end of the session; it has run out by now".into());
            }
        }
        sleep(RETRY_PAUSE).await;
    }
    Ok(())
}

fn is_invalid(error: &Failure) -> bool {
    error.downcast_ref::<Status>().is_some_and(|status| status.code() == Code::InvalidArgument)
}

/// What one process holds. It is the same over all streams.
struct Session {
    id: String,
    /// 0: none yet.
    lease: i64,
    /// The lease that the program's user was told of.
    announced: i64,
    ttl: i64,
    instance: Instance,
}

impl Session {
    fn new(given: &Given) -> Result<Self, Failure> {
        let (address, port) = given.host_and_port()?;
        let instance = Instance {
            namespace: given.namespace.clone(),
            service: given.service.clone(),
            id: given.id().to_owned(),
            address,
            port: port.into(),
            ..Instance::default()
        };
        Ok(Self {
            id: Uuid::new_v4().to_string(),
            lease: 0,
            announced: 0,
            ttl: given.ttl.into(),
            instance,
        })
    }

    /// Opens the session at a member and renews it; closes it when the program is to end. An error says
    /// that another member is to be tried.
    async fn hold(
        &mut self,
        endpoint: &str,
        given: &Given,
        mut end: watch::Receiver<bool>,
    ) -> Result<(), Failure> {
        let open = OpenSession { session_id: self.id.clone(), ttl: self.ttl, lease_id: self.lease };
        let (mut stream, answer) =
            Stream::open(endpoint, given.patience(), Ask::Open(open)).await?;
        self.heed(&answer);
        while !*end.borrow() {
            // To register what stands there already changes nothing, so nobody needs to know whether
            // it does.
            self.register(&mut stream).await?;
            self.renew(&mut stream, &mut end).await?;
        }
        stream.ask(Ask::Close(CloseSession {})).await?;
        Ok(())
    }

    /// Takes note of the answer to open, which comes to any other request when the session was lost
    /// meanwhile.
    fn heed(&mut self, answer: &SessionResponse) {
        if let Some(Answer::Opened(opened)) = &answer.response {
            (self.lease, self.ttl) = (opened.lease_id, opened.ttl);
            if opened.lost {
                complain("register", "the session was lost, registering again");
            }
        }
    }

    async fn register(&mut self, stream: &mut Stream) -> Result<(), Failure> {
        let register = RegisterInSession { instance: Some(self.instance.clone()), takeover: false };
        self.heed(&stream.ask(Ask::Register(register)).await?);
        if self.announced != self.lease {
            self.announced = self.lease;
            println!("REGISTERED {} {}", self.instance.id, self.lease);
        }
        Ok(())
    }

    /// Keeps the session alive until the program is to end, or until it was lost: then it is a new one
    /// with nothing in it.
    async fn renew(
        &mut self,
        stream: &mut Stream,
        end: &mut watch::Receiver<bool>,
    ) -> Result<(), Failure> {
        let every = Duration::from_secs(u64::try_from(self.ttl).unwrap_or(1)) / 3;
        let lease = self.lease;
        // A time-out is a heartbeat's turn.
        while self.lease == lease && timeout(every, end.wait_for(|end| *end)).await.is_err() {
            self.heed(&stream.ask(Ask::Heartbeat(Heartbeat {})).await?);
        }
        Ok(())
    }
}

/// Requests and their answers: each has one, in their order.
struct Stream {
    requests: mpsc::Sender<SessionRequest>,
    answers: Streaming<SessionResponse>,
    seq: u64,
    patience: Duration,
}

impl Stream {
    /// A stream to a member, and the answer to the first request.
    async fn open(
        endpoint: &str,
        patience: Duration,
        first: Ask,
    ) -> Result<(Self, SessionResponse), Failure> {
        // The request waits for its connection: a member may not answer before it has come.
        let (requests, waiting) = mpsc::channel(1);
        requests.send(SessionRequest { seq: 1, request: Some(first) }).await?;
        let answers = async {
            let mut client = connect(endpoint).await?;
            Ok::<_, Failure>(client.session(ReceiverStream::new(waiting)).await?.into_inner())
        };
        let answers = timeout(patience, answers).await??;
        let mut stream = Self { requests, answers, seq: 1, patience };
        let answer = stream.answer().await?;
        Ok((stream, answer))
    }

    async fn ask(&mut self, request: Ask) -> Result<SessionResponse, Failure> {
        self.seq += 1;
        self.requests.send(SessionRequest { seq: self.seq, request: Some(request) }).await?;
        self.answer().await
    }

    /// The answer to the last request. When it does not come in time, the stream is left.
    async fn answer(&mut self) -> Result<SessionResponse, Failure> {
        let answer = timeout(self.patience, self.answers.message()).await??;
        let answer = answer.ok_or("the member has ended the stream")?;
        match answer.response {
            Some(Answer::Error(error)) => Err(Status::new(error.code.into(), error.message).into()),
            _ => Ok(answer),
        }
    }
}

/// host:port, or a dash when the instance has no address.
fn target(instance: &Instance) -> String {
    join(&instance.address, instance.port)
}
