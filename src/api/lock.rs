//! `v3lockpb.Lock`: locks that live on leases.

use tonic::{Request, Response, Status};

use crate::{
    api::{convert, header::header, status},
    node::Handle,
    proto::v3lockpb::{
        LockRequest, LockResponse, UnlockRequest, UnlockResponse, lock_server::Lock,
    },
    recipes::{Locked, Locks, OwnLease},
    types::{Identity, LeaseId},
};

/// The service.
#[derive(Clone, Debug)]
pub struct LockService {
    node: Handle,
    locks: Locks,
}

impl LockService {
    /// The service of this member.
    #[must_use]
    pub fn new(node: Handle) -> Self {
        Self { locks: Locks::new(node.clone(), OwnLease::default()), node }
    }
}

#[tonic::async_trait]
impl Lock for LockService {
    /// Waits as long as the client does: there is no other bound on how long a lock is held.
    async fn lock(&self, request: Request<LockRequest>) -> Result<Response<LockResponse>, Status> {
        let LockRequest { name, lease } = request.into_inner();
        let locking = self.locks.lock(Identity::anonymous(), name, LeaseId(lease));
        let Locked { key, revision } = locking.await.map_err(status::of_recipe)?;
        let header = Some(header(&self.node, revision));
        Ok(Response::new(LockResponse { header, key: key.into_bytes() }))
    }

    async fn unlock(
        &self,
        request: Request<UnlockRequest>,
    ) -> Result<Response<UnlockResponse>, Status> {
        let key = convert::recipes::key(request.into_inner().key).map_err(status::of_misuse)?;
        let unlocking = self.locks.unlock(Identity::anonymous(), key);
        let revision = unlocking.await.map_err(status::of_recipe)?;
        Ok(Response::new(UnlockResponse { header: Some(header(&self.node, revision)) }))
    }
}
