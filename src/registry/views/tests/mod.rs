//! Views of a member alone, whose log and state are in memory.

mod answers;
mod followers;
mod history;

use std::{sync::Arc, time::Duration};

use tokio::{task::JoinHandle, time::timeout};

use super::{At, Bounds, Limits, Resolved, Views};
use crate::{
    node::Running,
    registry::{Instance, Name, Scope, ServiceName},
    state::testing::put,
    types::Revision,
};

/// Far longer than anything here takes.
const SOON: Duration = Duration::from_secs(30);

/// No bound is met.
const ROOMY: Limits = Limits {
    view: usize::MAX,
    recent: Bounds { revisions: usize::MAX, bytes: usize::MAX },
    own: usize::MAX,
    far: i64::MAX,
};

/// A member, what moves its events on, and what keeps its views up.
struct Member {
    running: Running,
    tasks: Vec<JoinHandle<()>>,
}

impl Member {
    async fn start() -> Self {
        let running = Running::with_keys(0).await;
        let tasks = vec![tokio::spawn(running.handle.clone().fan_out())];
        Self { running, tasks }
    }

    /// Views within these limits that are kept up.
    fn views(&mut self, limits: Limits) -> Arc<Views> {
        let views = Views::bounded(self.running.handle.clone(), limits);
        self.tasks.push(tokio::spawn(Arc::clone(&views).follow_keys()));
        views
    }

    /// The same, once there is a catalog.
    async fn loaded(&mut self, limits: Limits) -> Arc<Views> {
        let views = self.views(limits);
        let mut progressed = views.progressed.subscribe();
        soon(progressed.wait_for(Option::is_some)).await.unwrap();
        views
    }

    /// Puts an address, and returns the revision.
    async fn put(&self, key: &str, value: &str) -> Revision {
        self.running.propose(put(key).value(value)).await;
        self.running.handle.revision()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Waits until views have come to a revision.
async fn until(views: &Views, revision: Revision) {
    let mut progressed = views.progressed.subscribe();
    views.wanted.notify_one();
    soon(progressed.wait_for(|known| known.is_some_and(|known| known >= revision))).await.unwrap();
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(SOON, what).await.expect("it does not take that long")
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn service(namespace: &str, service: &str) -> ServiceName {
    ServiceName { namespace: name(namespace), service: name(service) }
}

fn scope(namespace: &str, name: &str) -> Scope {
    Scope::Service(service(namespace, name))
}

/// Instances as `id=address`.
fn text<'a>(instances: impl IntoIterator<Item = &'a Arc<Instance>>) -> Vec<String> {
    let text = |it: &Arc<Instance>| format!("{}={}", it.name.id, it.target());
    instances.into_iter().map(text).collect()
}

async fn resolve(views: &Views, name: &ServiceName, at: At) -> (Revision, Vec<String>) {
    let Resolved { revision, service } = soon(views.resolve(name, at)).await.unwrap();
    (revision, text(service.instances.values()))
}
