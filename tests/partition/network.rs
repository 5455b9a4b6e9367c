//! What lies between members, and how it is broken: one direction of one link at a time.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use tempfile::TempDir;

use crate::{
    harness::{Cluster, Port, Timing},
    namespaces::Namespaces,
    proxies::Proxies,
};

/// From one member to another one, by their places.
pub(crate) type Direction = (usize, usize);

/// All directions between so many members.
pub(crate) fn directions(size: usize) -> BTreeSet<Direction> {
    let pairs = (0..size).flat_map(|from| (0..size).map(move |to| (from, to)));
    pairs.filter(|(from, to)| from != to).collect()
}

/// With what directions are broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Means {
    /// Every member has a network namespace, and this process routes between them.
    Namespaces,
    /// Every member has a proxy before its peer port.
    Proxies,
}

/// The network between some members.
pub(crate) enum Network {
    Namespaces(Namespaces),
    Proxies(Proxies),
}

impl Network {
    /// A cluster that does not run yet, and the network between its members.
    pub(crate) async fn prepare(means: Means, size: usize) -> (Cluster, Self) {
        let dir = folder();
        match means {
            Means::Namespaces => {
                let network = Namespaces::make(size).await;
                let port = |place, number| Port::of(Namespaces::address(place), number);
                let ports = (0..size).map(|place| (port(place, 2379), port(place, 2380))).collect();
                let mut cluster = Cluster::prepare_at(dir, ports, Timing::Default);
                for place in 0..size {
                    cluster.member(place).launched_by(network.launcher(place));
                }
                (cluster, Self::Namespaces(network))
            }
            Means::Proxies => {
                let (cluster, network) = Proxies::prepare(dir, size).await;
                (cluster, Self::Proxies(network))
            }
        }
    }

    /// Is to be called when members were started, with their process ids.
    pub(crate) fn started(&self, processes: Vec<u32>) {
        match self {
            Self::Namespaces(_) => {}
            Self::Proxies(proxies) => proxies.started(processes),
        }
    }

    /// Lets through what goes in other directions and nothing that goes in these, from one moment to
    /// the next, without telling anybody.
    pub(crate) async fn cut(&self, cuts: &BTreeSet<Direction>) {
        match self {
            Self::Namespaces(namespaces) => {
                let all = cuts.iter().map(|direction| (*direction, 100)).collect();
                namespaces.lose(&all).await;
            }
            Self::Proxies(proxies) => proxies.cut(cuts),
        }
    }

    /// Lets everything through again.
    pub(crate) async fn heal(&self) {
        self.cut(&BTreeSet::new()).await;
    }

    /// Loses so many packets of a hundred in each of these directions, if that can be done.
    pub(crate) async fn lose(&self, losses: &BTreeMap<Direction, u32>) -> bool {
        match self {
            Self::Namespaces(namespaces) => {
                namespaces.lose(losses).await;
                true
            }
            // What a proxy loses of a stream of bytes makes another stream of it.
            Self::Proxies(_) => false,
        }
    }

    /// How often something was kept from going in each direction so far.
    pub(crate) async fn stopped(&self) -> BTreeMap<Direction, u64> {
        match self {
            Self::Namespaces(namespaces) => namespaces.dropped().await,
            Self::Proxies(proxies) => proxies.held(),
        }
    }
}

/// A folder on the disk of the target folder.
fn folder() -> TempDir {
    tempfile::tempdir_in(Path::new(env!("CARGO_TARGET_TMPDIR"))).unwrap()
}
