//! Listeners with real sockets and a service made for the test.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::Future,
    io,
    net::{SocketAddr, TcpListener as StdListener},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{
    Request, Response,
    body::{Body, Frame, Incoming, SizeHint},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
    task::JoinHandle,
    time::timeout,
};
use tonic::transport::{Channel, Endpoint};
use tower::{Service, ServiceExt};

use super::{
    connection::Profile,
    door::{Door, Remote},
    listener::{self, Accept, Shared},
    phase::{Phase, Phases},
};
use crate::{
    config::{Http, Inputs, load},
    telemetry::ListenerMetrics,
};

/// Long enough for the slowest machine; a test that waits for it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A message with its prefix: what a stream that lasts says.
const MESSAGE: &[u8] = b"\0\0\0\0\x04word";

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("it happens in time")
}

/// Answers by path: `/wait` when told to, `/panic` never, watches with a message on a stream that lasts,
/// and everything else with its own path.
#[derive(Clone, Default)]
struct Echo {
    arrived: Arc<Notify>,
    go_on: Arc<Notify>,
}

/// One piece, or a stream without end.
struct EchoBody(Option<Bytes>, bool);

impl Body for EchoBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.0.take() {
            Some(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
            None if self.1 => Poll::Pending,
            None => Poll::Ready(None),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Some(data) if !self.1 => SizeHint::with_exact(data.len() as u64),
            _ => SizeHint::default(),
        }
    }
}

impl Service<Request<Incoming>> for Echo {
    type Response = Response<EchoBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let echo = self.clone();
        Box::pin(async move {
            let path = request.uri().path().to_owned();
            match path.as_str() {
                "/wait" => {
                    echo.arrived.notify_one();
                    echo.go_on.notified().await;
                }
                "/panic" => panic!("the handler's own fault"),
                _ => {}
            }
            let lasts = path == "/etcdserverpb.Watch/Watch";
            let said = if lasts { Bytes::from_static(MESSAGE) } else { Bytes::from(path) };
            Ok(Response::new(EchoBody(Some(said), lasts)))
        })
    }
}

/// A listener with its service and its switch.
struct Served {
    address: SocketAddr,
    echo: Echo,
    metrics: ListenerMetrics,
    phase: watch::Sender<Phase>,
    task: JoinHandle<()>,
}

fn socket() -> (StdListener, SocketAddr) {
    let socket = StdListener::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// Those of a member that was told nothing.
fn settings() -> Http {
    load(&Inputs::default()).expect("defaults are right").config.http
}

fn serve(change: impl FnOnce(&mut Profile)) -> Served {
    let (socket, address) = socket();
    serve_from(TcpListener::from_std(socket).unwrap(), address, change)
}

fn serve_from(
    source: impl Accept + 'static,
    address: SocketAddr,
    change: impl FnOnce(&mut Profile),
) -> Served {
    let mut profile = Profile::clients(None, &settings());
    change(&mut profile);
    let (echo, metrics) = (Echo::default(), ListenerMetrics::default());
    let shared = Shared::new(echo.clone(), profile, metrics.clone());
    let (phase, phases) = Phases::new();
    let task = tokio::spawn(listener::serve_from(source, Door::Plain, shared, phases));
    Served { address, echo, metrics, phase, task }
}

impl Served {
    async fn http2(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        soon(endpoint.connect()).await.unwrap()
    }

    /// The answer to a request over HTTP/1.1 on a connection of its own; empty when it is closed.
    async fn http1(&self, path: &str) -> String {
        let mut stream = soon(TcpStream::connect(self.address)).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let mut answer = Vec::new();
        // A connection that is refused may be reset while we write or read.
        if stream.write_all(request.as_bytes()).await.is_ok() {
            let _ = soon(stream.read_to_end(&mut answer)).await;
        }
        String::from_utf8(answer).unwrap()
    }
}

async fn get(channel: &Channel, path: &str) -> Response<tonic::body::Body> {
    let request = Request::builder()
        .uri(path)
        .header("content-type", "application/grpc")
        .body(tonic::body::Body::empty())
        .unwrap();
    soon(channel.clone().oneshot(request)).await.unwrap()
}

async fn text(response: Response<tonic::body::Body>) -> Bytes {
    soon(response.into_body().collect()).await.unwrap().to_bytes()
}

/// Both versions of HTTP are spoken on one port, and what goes through is counted.
#[tokio::test]
async fn both_versions_share_a_port() {
    let served = serve(|_| ());

    let over_1 = served.http1("/one").await;
    assert!(over_1.starts_with("HTTP/1.1 200 OK\r\n") && over_1.ends_with("/one"), "{over_1}");
    let over_2 = get(&served.http2().await, "/two").await;
    assert_eq!(over_2.version(), hyper::Version::HTTP_2);
    assert_eq!(text(over_2).await, "/two");

    assert!(served.metrics.received_bytes.get() > 0);
    assert!(served.metrics.sent_bytes.get() > 0);
}

/// A source whose first answers are errors.
struct Failing {
    errors: VecDeque<io::Error>,
    socket: TcpListener,
}

impl Accept for Failing {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, Remote)> {
        match self.errors.pop_front() {
            Some(error) => Err(error),
            None => Accept::accept(&mut self.socket).await,
        }
    }
}

/// Neither a lack of files nor a connection that is gone ends the accept loop.
#[tokio::test]
async fn accepting_survives_errors() {
    const EMFILE: i32 = 24;
    let (socket, address) = socket();
    let errors = [
        io::Error::from_raw_os_error(EMFILE),
        io::Error::from(io::ErrorKind::ConnectionAborted),
        io::Error::from_raw_os_error(EMFILE),
    ];
    let socket = TcpListener::from_std(socket).unwrap();

    let served = serve_from(Failing { errors: errors.into(), socket }, address, |_| ());

    assert!(served.http1("/still-here").await.ends_with("/still-here"));
}

/// Above the limit a connection is closed at once; when there is room again, it is served.
#[tokio::test]
async fn connections_above_the_limit_are_refused() {
    let served = serve(|profile| profile.connections_max = 1);
    let first = served.http2().await;
    assert_eq!(text(get(&first, "/first").await).await, "/first");

    assert_eq!(served.http1("/second").await, "");
    assert_eq!(served.metrics.refused.get(), 1);

    drop(first);
    let room = async {
        while served.metrics.connections.get() > 0 {
            tokio::task::yield_now().await;
        }
    };
    soon(room).await;
    assert!(served.http1("/third").await.ends_with("/third"));
}

/// A connection that does not say what it speaks is closed.
#[tokio::test]
async fn a_silent_connection_is_closed() {
    let served = serve(|profile| profile.hello_within = Duration::from_millis(50));
    let mut stream = soon(TcpStream::connect(served.address)).await.unwrap();
    stream.write_all(b"PRI * HT").await.unwrap();

    let mut nothing = Vec::new();
    soon(stream.read_to_end(&mut nothing)).await.unwrap();

    assert_eq!(nothing, b"");
}

/// A handler that panics costs its own call, and the connection serves on.
#[tokio::test]
async fn a_panic_is_an_internal_error_of_one_call() {
    let served = serve(|_| ());
    let channel = served.http2().await;

    let response = get(&channel, "/panic").await;
    assert_eq!(response.headers().get("grpc-status").unwrap(), "13");
    assert_eq!(text(get(&channel, "/after").await).await, "/after");
    assert!(served.http1("/panic").await.starts_with("HTTP/1.1 500 "));
    assert_eq!(served.metrics.panics.get(), 2);
}

/// Draining answers what runs, frees the address at once, and ends when the last call has ended.
#[tokio::test]
async fn draining_lets_running_calls_end() {
    let served = serve(|_| ());
    let channel = served.http2().await;
    let running = tokio::spawn(async move { get(&channel, "/wait").await });
    soon(served.echo.arrived.notified()).await;

    served.phase.send_replace(Phase::Draining);
    let free = async {
        while TcpStream::connect(served.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    soon(free).await;
    assert!(!served.task.is_finished());

    served.echo.go_on.notify_one();
    assert_eq!(text(soon(running).await.unwrap()).await, "/wait");
    soon(served.task).await.unwrap();
}

/// Streams that last are ended by draining, with a status that sends their clients elsewhere; until
/// then a member that only refuses connections serves them on.
#[tokio::test]
async fn draining_ends_lasting_streams() {
    let served = serve(|_| ());
    let channel = served.http2().await;
    let mut body = get(&channel, "/etcdserverpb.Watch/Watch").await.into_body();
    let first = soon(body.frame()).await.unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), MESSAGE);

    served.phase.send_replace(Phase::Refusing);
    assert_eq!(text(get(&channel, "/meanwhile").await).await, "/meanwhile");
    served.phase.send_replace(Phase::Draining);

    let last = soon(body.frame()).await.unwrap().unwrap();
    let trailers = last.into_trailers().unwrap();
    assert_eq!(trailers.get("grpc-status").unwrap(), "14");
    assert_eq!(trailers.get("grpc-message").unwrap(), "etcdserver: server stopped");
    soon(served.task).await.unwrap();
}
