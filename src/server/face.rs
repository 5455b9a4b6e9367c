//! A face of the member: listeners that serve the same kind of caller and stop together.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use hyper::{
    Request, Response,
    body::{Body, Incoming},
};
use tokio::{runtime::Handle as RuntimeHandle, sync::watch};
use tower::{BoxError, Service};
use tracing::{error, info};

use super::{
    bind::Bound,
    door::{Door, Secure},
    listener::{self, Shared},
    phase::{Phase, Phases},
    tasks::Tasks,
};
use crate::tls::Acceptor;

/// Listeners that stop together, on a runtime of their choice.
pub(super) struct Face {
    runtime: RuntimeHandle,
    tasks: Tasks,
    phase: watch::Sender<Phase>,
    phases: Phases,
}

impl Face {
    pub(super) fn new(runtime: RuntimeHandle) -> Self {
        let (phase, phases) = Phases::new();
        Self { runtime, tasks: Tasks::default(), phase, phases }
    }

    /// Serves what connects to these sockets. Those with TLS show and demand what `acceptor` has, and look
    /// at the names of callers when they should.
    pub(super) fn serve<S, B>(
        &mut self,
        sockets: Vec<Bound>,
        acceptor: Option<&Acceptor>,
        checks_names: bool,
        shared: &Arc<Shared<S>>,
    ) where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
            + Clone
            + Send
            + Sync
            + Unpin
            + 'static,
        S::Future: Send + Unpin,
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        for Bound { url, socket, speech } in sockets {
            info!(listener = shared.profile.name, url, "listening");
            let name = shared.profile.name;
            let secure = acceptor.map(|it| Secure::new(it.clone(), checks_names, name));
            let door = Door::new(speech, secure);
            let serving = listener::serve(socket, door, Arc::clone(shared), self.phases.clone());
            self.tasks.start(name, &self.runtime, async move {
                if let Err(error) = serving.await {
                    error!(listener = name, url, %error, "socket cannot be used");
                }
            });
        }
    }

    /// Waits until one of the listeners ends although nobody asked for it, and names it.
    pub(super) async fn ended(&mut self) -> &'static str {
        self.tasks.ended().await
    }

    /// Takes no new connections from here on.
    pub(super) fn refuse(&self) {
        self.phase.send_replace(Phase::Refusing);
    }

    /// Lets running calls end, and cuts off those that take longer. Returns whether none did.
    pub(super) async fn drain(self, patience: Duration) -> bool {
        self.phase.send_replace(Phase::Draining);
        self.tasks.end(patience).await
    }
}
