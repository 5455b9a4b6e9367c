//! `grpc.health.v1.Health`: whether the member serves, under the empty service name.

use std::pin::Pin;

use futures_util::{Stream, StreamExt, stream};
use tonic::{Request, Response, Status};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_check_response::ServingStatus::{self, NotServing, Serving},
    health_server::Health,
};

use crate::{api::status, node::Handle};

/// The service.
#[derive(Clone, Debug)]
pub struct HealthService {
    node: Handle,
}

impl HealthService {
    /// The service of this member.
    #[must_use]
    pub fn new(node: Handle) -> Self {
        Self { node }
    }

    fn now(&self) -> ServingStatus {
        if self.node.serving() && !self.node.is_fenced() { Serving } else { NotServing }
    }
}

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        known(&request)?;
        Ok(Response::new(response(self.now())))
    }

    type WatchStream =
        Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send + 'static>>;

    /// Tells how it is now, and when the member stops.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        known(&request)?;
        let now = self.now();
        let node = self.node.clone();
        let later = stream::once(async move {
            node.stopped().await;
            NotServing
        });
        let told = stream::iter([now]).chain(later).map(|status| Ok(response(status)));
        Ok(Response::new(Box::pin(told)))
    }
}

/// Only the member as a whole has a health.
fn known(request: &Request<HealthCheckRequest>) -> Result<(), Status> {
    if request.get_ref().service.is_empty() { Ok(()) } else { Err(status::no_health_of_service()) }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}
