//! Unary calls of a client that spends as little as it can.
//!
//! The ordinary client costs more for a small call than a server does, and the two share a machine.
//! So a call is a stream of HTTP/2 here, with nothing between it and the connection, and its answer
//! is looked at where it lies. Where a connection is lost the calls on it fail, and the next call
//! makes it again.

use std::{io, sync::Arc};

use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use hyper::http::StatusCode;
use prost::Message;
use tokio::time::timeout_at;
use tonic::Status;

use super::{
    grpc::check_status,
    line::Line,
    wire::{Frames, Malformed, put_message},
};
use crate::{
    cli::{
        Client, Error,
        client::{Endpoint, Failure},
    },
    proto::etcdserverpb::{LeaseGrantRequest, PutRequest, RangeRequest, TxnRequest},
};

/// A request, and the method that takes it.
pub(super) trait Unary: Message {
    /// The path of the method.
    const METHOD: &'static str;
}

impl Unary for PutRequest {
    const METHOD: &'static str = "/etcdserverpb.KV/Put";
}

impl Unary for RangeRequest {
    const METHOD: &'static str = "/etcdserverpb.KV/Range";
}

impl Unary for TxnRequest {
    const METHOD: &'static str = "/etcdserverpb.KV/Txn";
}

impl Unary for LeaseGrantRequest {
    const METHOD: &'static str = "/etcdserverpb.Lease/LeaseGrant";
}

/// Makes one call at a time, on a connection that it shares with its clones.
#[derive(Clone)]
pub(super) struct Caller {
    line: Arc<Line>,
    /// The connection as it was last time.
    requests: Option<SendRequest<Bytes>>,
}

impl Caller {
    /// Connects to the first endpoint that can be reached, beginning with the one at `first`.
    pub(super) async fn connect(client: &Client, first: usize) -> Result<Self, Error> {
        let connect = async |endpoint: &Endpoint, deadline| {
            let Some(uri) = endpoint.plain_uri() else {
                let reason = "benchmarks of single calls need http endpoints".to_owned();
                return Err(Failure::Unreachable(endpoint.text.clone(), reason));
            };
            let line = Line::to(uri);
            let reason = match timeout_at(deadline, line.requests()).await {
                Ok(Ok(requests)) => {
                    return Ok(Self { line: Arc::new(line), requests: Some(requests) });
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no connection in time".to_owned(),
            };
            Err(Failure::Unreachable(endpoint.text.clone(), reason))
        };
        client.reach(first, connect).await
    }

    /// Makes a call, and shows the message of the answer.
    pub(super) async fn call<R: Unary, T>(
        &mut self,
        request: &R,
        mut read: impl FnMut(&[u8]) -> Result<T, Malformed>,
    ) -> Result<T, Status> {
        let (head, message) = (self.line.head(R::METHOD), encoded(request));
        let mut requests = self.ready().await?;
        let (response, mut body) = requests.send_request(head, false).map_err(lost)?;
        body.send_data(message, true).map_err(lost)?;
        self.requests = Some(requests);

        let (head, mut body) = response.await.map_err(lost)?.into_parts();
        if head.status != StatusCode::OK {
            return Err(Status::unknown(format!("a call was answered with {}", head.status)));
        }
        check_status(&head.headers)?;
        let (mut frames, mut answer) = (Frames::default(), None);
        while let Some(chunk) = body.data().await {
            let chunk = chunk.map_err(lost)?;
            body.flow_control().release_capacity(chunk.len()).map_err(lost)?;
            let each = |message: &[u8]| {
                answer = Some(read(message)?);
                Ok(())
            };
            frames.push(&chunk, each).map_err(malformed)?;
        }
        let trailers = body.trailers().await.map_err(lost)?.unwrap_or_default();
        if !trailers.contains_key(Status::GRPC_STATUS) {
            return Err(Status::unknown("a call was answered without a status"));
        }
        check_status(&trailers)?;
        answer.ok_or_else(|| Status::internal("a call was answered without a message"))
    }

    /// The connection once it takes a request.
    async fn ready(&mut self) -> Result<SendRequest<Bytes>, Status> {
        if let Some(requests) = self.requests.take()
            && let Ok(requests) = requests.ready().await
        {
            return Ok(requests);
        }
        let requests = self.line.requests().await.map_err(unreachable)?;
        requests.ready().await.map_err(lost)
    }
}

fn encoded(request: &impl Message) -> Bytes {
    let mut bytes = BytesMut::with_capacity(request.encoded_len() + 5);
    put_message(&mut bytes, request);
    bytes.freeze()
}

fn unreachable(error: io::Error) -> Status {
    Status::unavailable(format!("no connection: {error}"))
}

fn lost(error: h2::Error) -> Status {
    if error.is_reset() {
        return Status::from_error(error.into());
    }
    Status::unavailable(format!("the connection was lost: {error}"))
}

fn malformed(error: Malformed) -> Status {
    Status::internal(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::{
        net::{Ipv4Addr, SocketAddr},
        time::Duration,
    };

    use tokio::{net::TcpListener, runtime::Runtime, time::timeout};
    use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
    use tonic::{Code, Request, Response, async_trait, transport::Server};

    use super::*;
    use crate::{
        cli::{bench::wire::find, client::ClientArgs, secrets::TlsArgs},
        proto::{
            etcdserverpb::{
                CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse,
                PutResponse, RangeResponse, RangeStreamResponse, TxnResponse,
                kv_server::{Kv, KvServer},
            },
            mvccpb::KeyValue,
        },
    };

    const PATIENCE: Duration = Duration::from_secs(30);

    /// A store that holds a value of any length, refuses puts, and never ends a transaction.
    struct Store;

    #[async_trait]
    impl Kv for Store {
        type RangeStreamStream = ReceiverStream<Result<RangeStreamResponse, Status>>;

        async fn range(
            &self,
            request: Request<RangeRequest>,
        ) -> Result<Response<RangeResponse>, Status> {
            let len = usize::try_from(request.into_inner().limit).unwrap();
            let kvs = vec![KeyValue { value: vec![7; len].into(), ..KeyValue::default() }];
            Ok(Response::new(RangeResponse { kvs, ..RangeResponse::default() }))
        }

        async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
            let key = request.into_inner().key;
            Err(Status::failed_precondition(String::from_utf8(key.to_vec()).unwrap()))
        }

        async fn txn(&self, _: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
            std::future::pending().await
        }

        async fn range_stream(
            &self,
            _: Request<RangeRequest>,
        ) -> Result<Response<Self::RangeStreamStream>, Status> {
            Err(Status::unimplemented(""))
        }

        async fn delete_range(
            &self,
            _: Request<DeleteRangeRequest>,
        ) -> Result<Response<DeleteRangeResponse>, Status> {
            Err(Status::unimplemented(""))
        }

        async fn compact(
            &self,
            _: Request<CompactionRequest>,
        ) -> Result<Response<CompactionResponse>, Status> {
            Err(Status::unimplemented(""))
        }
    }

    /// A server that ends with its runtime: all its connections break at once.
    struct Running {
        runtime: Runtime,
        address: SocketAddr,
    }

    impl Running {
        async fn at(address: SocketAddr) -> Self {
            let runtime = Runtime::new().unwrap();
            let serve = async move {
                let listener = TcpListener::bind(address).await.unwrap();
                let address = listener.local_addr().unwrap();
                let incoming = TcpListenerStream::new(listener);
                let server = Server::builder().add_service(KvServer::new(Store));
                tokio::spawn(server.serve_with_incoming(incoming));
                address
            };
            let address = runtime.spawn(serve).await.unwrap();
            Self { runtime, address }
        }

        async fn start() -> Self {
            Self::at((Ipv4Addr::LOCALHOST, 0).into()).await
        }

        fn stop(self) {
            self.runtime.shutdown_background();
        }

        async fn caller(&self) -> Caller {
            let endpoints = Some(self.address.to_string());
            let args = ClientArgs { endpoints, command_timeout: PATIENCE, tls: TlsArgs::default() };
            Caller::connect(&Client::new(&args, &[]).unwrap(), 0).await.unwrap()
        }
    }

    /// The length of the value that is read.
    async fn read(caller: &mut Caller, limit: i64) -> Result<usize, Status> {
        let request = RangeRequest { limit, ..RangeRequest::default() };
        // Field 2 of the answer is a pair, and field 5 of a pair its value.
        let len = |message: &[u8]| find(find(message, 2)?, 5).map(<[u8]>::len);
        timeout(PATIENCE, caller.call(&request, len)).await.unwrap()
    }

    /// An answer is whole in however many frames it comes: those of 1 MiB need 64, and more than one
    /// window of a stream comes only as it is read.
    #[tokio::test]
    async fn answers_are_put_together() {
        let server = Running::start().await;
        let mut caller = server.caller().await;

        for len in [0, 1, 1024 * 1024, 40 * 1024 * 1024] {
            assert_eq!(read(&mut caller, len).await.unwrap(), usize::try_from(len).unwrap());
        }
        server.stop();
    }

    /// Many calls share a connection, and each gets its own answer.
    #[tokio::test]
    async fn calls_share_a_connection() {
        let server = Running::start().await;
        let caller = server.caller().await;

        let calls = (0..300).map(|len| {
            let mut caller = caller.clone();
            tokio::spawn(async move { read(&mut caller, len).await.unwrap() })
        });
        for (len, call) in calls.collect::<Vec<_>>().into_iter().enumerate() {
            assert_eq!(call.await.unwrap(), len);
        }
        server.stop();
    }

    /// What the server refuses is told in its own words, and the connection lives on.
    #[tokio::test]
    async fn refusals_arrive_as_they_were_said() {
        let server = Running::start().await;
        let mut caller = server.caller().await;
        let words = "100 % of \"it\"\nis über";
        let request = PutRequest { key: words.into(), ..PutRequest::default() };

        let status = caller.call(&request, |_| Ok(())).await.unwrap_err();

        assert_eq!((status.code(), status.message()), (Code::FailedPrecondition, words));
        assert_eq!(read(&mut caller, 3).await.unwrap(), 3);
        server.stop();
    }

    /// A call whose server goes fails at once, as do those while it is gone; once it is back the next
    /// call finds it.
    #[tokio::test]
    async fn a_lost_connection_is_made_again() {
        let server = Running::start().await;
        let mut callers = [server.caller().await, server.caller().await];
        assert_eq!(read(&mut callers[0], 3).await.unwrap(), 3);
        let mut waiting = callers[0].clone();
        let call = tokio::spawn(async move {
            waiting.call(&TxnRequest::default(), |_| Ok(())).await.unwrap_err().code()
        });

        let address = server.address;
        server.stop();
        assert_eq!(timeout(PATIENCE, call).await.unwrap().unwrap(), Code::Unavailable);
        for caller in &mut callers {
            assert_eq!(read(caller, 3).await.unwrap_err().code(), Code::Unavailable);
        }

        let server = Running::at(address).await;
        for caller in &mut callers {
            assert_eq!(read(caller, 3).await.unwrap(), 3);
        }
        server.stop();
    }
}
