//! `etcdserverpb.Maintenance`: what operators need of a single member.

use std::sync::Arc;

use tokio::{sync::Semaphore, task::spawn_blocking};
use tonic::{Request, Response, Status};

use crate::{
    api::{
        convert::{self, maintenance::AlarmRequest as Alarms},
        downgrade,
        header::header,
        snapshot::{Pieces, Snapshots},
        status, version,
    },
    node::{Error, Handle, HashAt},
    proto::etcdserverpb::{
        AlarmRequest, AlarmResponse, DefragmentRequest, DefragmentResponse, DowngradeInfo,
        DowngradeRequest, DowngradeResponse, HashKvRequest, HashKvResponse, HashRequest,
        HashResponse, MoveLeaderRequest, MoveLeaderResponse, SnapshotRequest, StatusRequest,
        StatusResponse, maintenance_server::Maintenance,
    },
    state::{self, Alarm, Answer, Command, View, meta},
    telemetry::Metrics,
    types::{Fault, Identity, MemberId, Revision},
};

/// The service.
#[derive(Clone, Debug)]
pub struct MaintenanceService {
    node: Handle,
    /// Held by the one checksum that is being made: each reads the whole state.
    hashing: Arc<Semaphore>,
    snapshots: Snapshots,
}

impl MaintenanceService {
    /// The service of this member.
    #[must_use]
    pub fn new(node: Handle, metrics: &Metrics) -> Self {
        let snapshots = Snapshots::new(node.clone(), metrics);
        Self { node, hashing: Arc::new(Semaphore::new(1)), snapshots }
    }

    async fn alarms(&self, request: Alarms) -> Result<(Revision, Vec<Alarm>), Status> {
        match request {
            Alarms::List(kind) => {
                self.node.read_barrier().await.map_err(status::of_node)?;
                let view = self.node.view().map_err(status::of_node)?;
                let mut alarms = meta::alarms(&*view).map_err(status::of_fault)?;
                alarms.retain(|alarm| kind.is_none_or(|kind| alarm.kind == kind));
                Ok((meta::revision(&*view).map_err(status::of_fault)?, alarms))
            }
            Alarms::Change(command) => {
                let Answer { revision, response } = self
                    .node
                    .propose(Identity::anonymous(), Command::Alarm(command))
                    .await
                    .map_err(status::of_request)?;
                let state::Response::Alarm(alarms) = response else {
                    unreachable!("an alarm got the answer of another command");
                };
                Ok((revision, alarms))
            }
            Alarms::Nothing => Ok((self.node.revision(), Vec::new())),
        }
    }

    /// Makes a checksum on a thread that may wait, one at a time.
    async fn hash<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Handle) -> T + Send + 'static,
    ) -> Result<T, Status> {
        let turn = Arc::clone(&self.hashing).acquire_owned().await;
        let turn = turn.expect("nobody closes the semaphore");
        let node = self.node.clone();
        let done = spawn_blocking(move || {
            // Until the work is done, also when its client has left.
            let _turn = turn;
            work(&node)
        });
        done.await.map_err(|_| status::of_node(Error::Stopped))
    }

    /// How the member is doing. Asks nobody, so that it answers without a quorum too.
    fn status(&self, view: &dyn View) -> Result<StatusResponse, Fault> {
        let raft = self.node.status();
        let mut errors = Vec::new();
        if raft.leader.is_none() {
            errors.push("etcdserver: no leader".to_owned());
        }
        errors.extend(meta::alarms(view)?.into_iter().map(convert::maintenance::alarm_text));
        let is_learner = meta::members(view)?
            .iter()
            .any(|member| member.id == self.node.member_id() && member.learner);
        let size = i64::try_from(self.node.db_size()).unwrap_or(i64::MAX);

        Ok(StatusResponse {
            header: Some(header(&self.node, meta::revision(view)?)),
            version: version::SERVER.to_owned(),
            // A logical size: all of it is in use.
            db_size: size,
            db_size_in_use: size,
            leader: raft.leader.map_or(0, |leader| leader.0),
            raft_index: raft.committed.0,
            raft_term: raft.term.0,
            raft_applied_index: raft.applied.0,
            errors,
            is_learner,
            storage_version: version::STORAGE.to_owned(),
            db_size_quota: self.node.db_size_quota(),
            downgrade_info: Some(DowngradeInfo::default()),
        })
    }
}

#[tonic::async_trait]
impl Maintenance for MaintenanceService {
    async fn alarm(
        &self,
        request: Request<AlarmRequest>,
    ) -> Result<Response<AlarmResponse>, Status> {
        let request = convert::maintenance::alarm(request.into_inner());
        let (revision, alarms) = self.alarms(request).await?;
        Ok(Response::new(AlarmResponse {
            header: Some(header(&self.node, revision)),
            alarms: convert::maintenance::alarms(alarms),
        }))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let view = self.node.view().map_err(status::of_node)?;
        Self::status(self, &*view).map(Response::new).map_err(status::of_fault)
    }

    /// Asks for the files to be rid of what was given up, and answers at once: nothing pauses
    /// meanwhile. No header, as in etcd.
    async fn defragment(
        &self,
        _: Request<DefragmentRequest>,
    ) -> Result<Response<DefragmentResponse>, Status> {
        self.node.reclaim_disk();
        Ok(Response::new(DefragmentResponse { header: None }))
    }

    /// A checksum of all that is stored: members that have applied the same log agree on it.
    async fn hash(&self, _: Request<HashRequest>) -> Result<Response<HashResponse>, Status> {
        let hash = Self::hash(self, Handle::hash_of_all).await?;
        let (hash, revision) = hash.map_err(status::of_node)?;
        Ok(Response::new(HashResponse { header: Some(header(&self.node, revision)), hash }))
    }

    /// A checksum of the pairs kept at a revision. It is read from this member's state as it is,
    /// without asking the others.
    async fn hash_kv(
        &self,
        request: Request<HashKvRequest>,
    ) -> Result<Response<HashKvResponse>, Status> {
        let revision = Revision(request.into_inner().revision);
        let found = Self::hash(self, move |node| node.hash_at(revision)).await?;
        let HashAt { hash, revision, compacted, current } = found.map_err(status::of_request)?;
        Ok(Response::new(HashKvResponse {
            header: Some(header(&self.node, current)),
            hash,
            compact_revision: compacted.0,
            hash_revision: revision.0,
        }))
    }

    type SnapshotStream = Pieces;

    async fn snapshot(
        &self,
        _: Request<SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        self.snapshots.send().await.map(Response::new)
    }

    /// Makes another voter the leader, when this member is it. No header, as in etcd.
    async fn move_leader(
        &self,
        request: Request<MoveLeaderRequest>,
    ) -> Result<Response<MoveLeaderResponse>, Status> {
        let target = MemberId(request.into_inner().target_id);
        let this = self.node.member_id();
        if self.node.status().leader != Some(this) {
            return Err(status::of_node(Error::NotLeader));
        }
        let view = self.node.view().map_err(status::of_node)?;
        let members = meta::members(&*view).map_err(status::of_fault)?;
        drop(view);
        if !members.iter().any(|member| member.id == target && !member.learner) {
            return Err(status::bad_leader_transferee());
        }
        if target != this {
            self.node.hand_over(Some(target)).await;
            if self.node.status().leader != Some(target) {
                return Err(status::leader_transfer_timed_out());
            }
        }
        Ok(Response::new(MoveLeaderResponse { header: None }))
    }

    async fn downgrade(
        &self,
        request: Request<DowngradeRequest>,
    ) -> Result<Response<DowngradeResponse>, Status> {
        downgrade::answer(&self.node, request.into_inner()).await.map(Response::new)
    }
}
