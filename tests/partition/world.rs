//! Three members, the network between them, and one scene after the other.

use quorate::{
    proto::etcdserverpb::{StatusRequest, maintenance_client::MaintenanceClient},
    sim::history::Operation,
};

use crate::{
    harness::{Cluster, streams::channel},
    judge::{judge, mark},
    load::{Load, SOON},
    network::{Means, Network},
};

pub(crate) const SIZE: usize = 3;
pub(crate) const ALL: [usize; SIZE] = [0, 1, 2];
/// Requests of each kind that every member must answer before a fault and after it.
const TRAFFIC: usize = 10;

/// A cluster in a network that can be broken.
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) network: Network,
    scenes: usize,
}

/// What goes on while something is broken.
pub(crate) struct Scene {
    pub(crate) load: Load,
    /// What its keys begin with.
    prefix: String,
    /// The revision before it.
    first: i64,
    /// The leader, then the followers.
    pub(crate) roles: [usize; SIZE],
    pub(crate) term: u64,
}

impl World {
    pub(crate) async fn start(means: Means) -> Self {
        let (mut cluster, network) = Network::prepare(means, SIZE).await;
        let mut processes = Vec::new();
        for place in ALL {
            cluster.member(place).spawn();
            processes.push(cluster.member(place).id());
        }
        network.started(processes);
        cluster.leader().await;
        Self { cluster, network, scenes: 0 }
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        ALL.iter().map(|place| self.cluster.endpoint(*place)).collect()
    }

    /// Has clients begin on a cluster that is whole.
    pub(crate) async fn begin(&mut self) -> Scene {
        self.scenes += 1;
        let prefix = format!("scene{}/", self.scenes);
        let first = mark(&self.urls(), &prefix).await;
        let load = Load::start(&self.urls(), &prefix);
        load.traffic(&ALL, TRAFFIC, SOON).await;
        let leader = self.cluster.leader().await;
        let roles = [leader, (leader + 1) % SIZE, (leader + 2) % SIZE];
        let term = self.term(leader).await.expect("the leader answers");
        Scene { load, prefix, first, roles, term }
    }

    /// The term that a member is in.
    pub(crate) async fn term(&self, place: usize) -> Option<u64> {
        let mut client = MaintenanceClient::new(channel(&self.cluster.endpoint(place)));
        Some(client.status(StatusRequest {}).await.ok()?.into_inner().raft_term)
    }

    /// Waits until the cluster is whole again, ends the clients, and judges what they were told.
    pub(crate) async fn end(&mut self, scene: Scene) -> Vec<Operation> {
        scene.load.traffic(&ALL, TRAFFIC, SOON).await;
        let operations = scene.load.stop().await;
        judge(&self.urls(), &scene.prefix, scene.first, &operations).await;
        operations
    }
}
