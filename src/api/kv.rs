//! `etcdserverpb.KV`: keys and values, at revisions. Reads of ranges are answered in
//! [`ranges`](crate::api::ranges), which stands before this.

use futures_util::stream::Empty;
use tonic::{Request, Response, Status};

use crate::{
    api::{Config, convert, header::header, slow::SlowCalls, status},
    node::Handle,
    proto::etcdserverpb::{
        CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest,
        PutResponse, RangeRequest, RangeResponse, RangeStreamResponse, TxnRequest, TxnResponse,
        kv_server::Kv,
    },
    state::{self, Answer, Command},
    telemetry::TraceParent,
    types::{Identity, Revision},
};

/// The service.
#[derive(Clone, Debug)]
pub struct KvService {
    node: Handle,
    config: Config,
    slow: SlowCalls,
}

impl KvService {
    /// The service of this member.
    #[must_use]
    pub fn new(node: Handle, config: Config, slow: SlowCalls) -> Self {
        Self { node, config, slow }
    }

    /// Has a command agreed on and applied. `parent`: the trace that this is a step of.
    async fn propose(
        &self,
        parent: Option<TraceParent>,
        command: Command,
    ) -> Result<Answer, Status> {
        let _step = parent.map(|parent| parent.step("agree and apply"));
        self.node.propose(Identity::anonymous(), command).await.map_err(status::of_request)
    }

    async fn put_now(
        &self,
        parent: Option<TraceParent>,
        request: PutRequest,
    ) -> Result<PutResponse, Status> {
        // Before anything in it is looked at, as in etcd.
        self.node.ensure_room(convert::cost::of_put(&request)).map_err(status::of_refused)?;
        let put = convert::kv::put(request).map_err(status::of_invalid)?;
        let Answer { revision, response } = self.propose(parent, Command::Put(put)).await?;
        let state::Response::Put(put) = response else {
            unreachable!("a put got the answer of another command");
        };
        Ok(convert::kv::put_response(header(&self.node, revision), put))
    }

    async fn delete_now(
        &self,
        parent: Option<TraceParent>,
        request: DeleteRangeRequest,
    ) -> Result<DeleteRangeResponse, Status> {
        let delete = convert::kv::delete_range(request).map_err(status::of_invalid)?;
        let Answer { revision, response } =
            self.propose(parent, Command::DeleteRange(delete)).await?;
        let state::Response::DeleteRange(delete) = response else {
            unreachable!("a delete got the answer of another command");
        };
        let header = header(&self.node, revision);
        Ok(convert::kv::delete_range_response(header, delete))
    }

    async fn txn_now(
        &self,
        parent: Option<TraceParent>,
        request: TxnRequest,
    ) -> Result<TxnResponse, Status> {
        self.node.ensure_room(convert::cost::of_txn(&request)).map_err(status::of_refused)?;
        let convert::txn::Checked { txn, serializable } =
            convert::txn::txn(request, self.config.txn_ops_max).map_err(status::of_invalid)?;

        // Reads alone need no entry in the log.
        let (revision, txn) = if state::txn::is_read_only(&txn) {
            self.node.read_txn(txn, serializable).await.map_err(status::of_request)?
        } else {
            let Answer { revision, response } = self.propose(parent, Command::Txn(txn)).await?;
            let state::Response::Txn(txn) = response else {
                unreachable!("a transaction got the answer of another command");
            };
            (revision, txn)
        };
        Ok(convert::txn::txn_response(header(&self.node, revision), txn))
    }

    /// Gives up history. `physical` asks to wait until this member's disk has forgotten it too; for
    /// how long, only the client decides.
    async fn compact_now(&self, request: CompactionRequest) -> Result<CompactionResponse, Status> {
        let CompactionRequest { revision, physical } = request;
        let answer = self
            .node
            .compact(Identity::anonymous(), Revision(revision), physical)
            .await
            .map_err(status::of_request)?;
        Ok(CompactionResponse { header: Some(header(&self.node, answer.revision)) })
    }
}

/// The message of a request, and the trace that it is part of.
fn taken<M>(mut request: Request<M>) -> (Option<TraceParent>, M) {
    (request.extensions_mut().remove::<TraceParent>(), request.into_inner())
}

#[tonic::async_trait]
impl Kv for KvService {
    async fn range(&self, _: Request<RangeRequest>) -> Result<Response<RangeResponse>, Status> {
        unreachable!("ranges are answered before the call comes here")
    }

    type RangeStreamStream = Empty<Result<RangeStreamResponse, Status>>;

    async fn range_stream(
        &self,
        _: Request<RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        unreachable!("ranges are answered before the call comes here")
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let (parent, request) = taken(request);
        let watched = self.slow.watch(&request);
        let answer = self.put_now(parent, request).await;
        watched.ended(&answer);
        answer.map(Response::new)
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        let (parent, request) = taken(request);
        let watched = self.slow.watch(&request);
        let answer = self.delete_now(parent, request).await;
        watched.ended(&answer);
        answer.map(Response::new)
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        let (parent, request) = taken(request);
        let watched = self.slow.watch(&request);
        let answer = self.txn_now(parent, request).await;
        watched.ended(&answer);
        answer.map(Response::new)
    }

    async fn compact(
        &self,
        request: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        let request = request.into_inner();
        let watched = self.slow.watch(&request);
        let answer = self.compact_now(request).await;
        watched.ended(&answer);
        answer.map(Response::new)
    }
}
