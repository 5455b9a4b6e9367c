//! The registry as it is called: `Resolve` below the library, everything else through it.

use std::sync::Arc;

use axum::http::Request;
use bytes::Bytes;
use hyper::body::Body as HttpBody;
use tower::BoxError;

use crate::{
    api::{
        layers::Heard,
        raw,
        unary::{self, Answer, Answering},
    },
    node::Handle,
    proto::registry::registry_server::RegistryServer,
    registry::Views,
};

use super::{RegistryService, resolve};

/// The whole registry service.
#[derive(Clone, Debug)]
pub struct Registry {
    node: Handle,
    views: Arc<Views>,
    message_bytes_max: usize,
    others: RegistryServer<RegistryService>,
}

impl Registry {
    /// The service of this member: `others` as the library serves it, but for what is resolved from
    /// these views.
    #[must_use]
    pub fn new(
        node: Handle,
        views: Arc<Views>,
        message_bytes_max: usize,
        others: RegistryServer<RegistryService>,
    ) -> Self {
        Self { node, views, message_bytes_max, others }
    }

    /// Answers a call of the service.
    pub(in crate::api) fn call<B>(&self, request: Request<B>) -> Answering
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError> + Send + 'static,
    {
        if request.uri().path() != "/quorate.registry.v1.Registry/Resolve" {
            return unary::by_library(self.others.clone(), Heard::of(request));
        }
        let Self { node, views, message_bytes_max, others: _ } = self.clone();
        Box::pin(async move {
            let method = async |request| resolve::resolve(&node, &views, request).await;
            Ok(match unary::take(request, message_bytes_max).await {
                Ok(request) => unary::respond(method(request.into_inner()).await),
                Err(request) => {
                    let method = async |request| method(request).await.map(raw::one);
                    raw::call(request, message_bytes_max, method).await.map(Answer::of_library)
                }
            })
        })
    }
}
