//! `v3lockpb.Lock`: locks that live on leases. Not there yet.

use tonic::{Request, Response, Status};

use crate::{
    api::status,
    proto::v3lockpb::{
        LockRequest, LockResponse, UnlockRequest, UnlockResponse, lock_server::Lock,
    },
};

/// The service.
#[derive(Clone, Copy, Debug)]
pub struct LockService;

#[tonic::async_trait]
impl Lock for LockService {
    async fn lock(&self, _: Request<LockRequest>) -> Result<Response<LockResponse>, Status> {
        Err(status::unimplemented("v3lockpb.Lock/Lock"))
    }

    async fn unlock(&self, _: Request<UnlockRequest>) -> Result<Response<UnlockResponse>, Status> {
        Err(status::unimplemented("v3lockpb.Lock/Unlock"))
    }
}
