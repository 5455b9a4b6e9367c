//! A proxy before each member's peer port, for machines that have no namespaces.
//!
//! Whose connection it is says the system: the socket at its other end belongs to one of the members.
//! So each half of it is a direction. What goes in a direction that is cut waits in the proxy, as it
//! would wait for its retransmission, and new connections are made but hear nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::{AbortHandle, JoinSet},
};

use crate::{
    harness::{Cluster, Port, Timing},
    network::{Direction, directions},
};

/// A socket that was just connected may not be in the tables yet.
const LOOKS: usize = 50;
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// Proxies before members. They end when this is dropped, and connections with them.
pub(crate) struct Proxies {
    size: usize,
    shared: Arc<Shared>,
    tasks: Vec<AbortHandle>,
    _ports: Vec<Port>,
}

struct Shared {
    cuts: watch::Sender<BTreeSet<Direction>>,
    held: Mutex<BTreeMap<Direction, u64>>,
    processes: Mutex<Vec<u32>>,
}

impl Proxies {
    /// A cluster that does not run yet, whose members reach each other through proxies.
    pub(crate) async fn prepare(dir: TempDir, size: usize) -> (Cluster, Self) {
        let mut cluster = Cluster::prepare(dir, size, Timing::Default);
        let shared = Arc::new(Shared {
            cuts: watch::channel(BTreeSet::new()).0,
            held: Mutex::default(),
            processes: Mutex::default(),
        });
        let (mut tasks, mut ports) = (Vec::new(), Vec::new());
        for place in 0..size {
            let port = Port::free();
            let listener = TcpListener::bind(port.authority()).await.unwrap();
            let upstream = cluster.member(place).peer_authority();
            let task = tokio::spawn(accept(listener, place, upstream, Arc::clone(&shared)));
            tasks.push(task.abort_handle());
            ports.push(port);
        }
        let entry = |(place, port): (usize, &Port)| format!("n{}={}", place + 1, port.url());
        let initial: Vec<String> = ports.iter().enumerate().map(entry).collect();
        let initial = format!("--initial-cluster={}", initial.join(","));
        for (place, port) in ports.iter().enumerate() {
            let advertised = format!("--initial-advertise-peer-urls={}", port.url());
            cluster.member(place).flags([advertised.as_str(), initial.as_str()]);
        }
        (cluster, Self { size, shared, tasks, _ports: ports })
    }

    pub(crate) fn started(&self, processes: Vec<u32>) {
        *self.shared.processes.lock().unwrap() = processes;
    }

    pub(crate) fn cut(&self, cuts: &BTreeSet<Direction>) {
        self.shared.cuts.send_replace(cuts.clone());
    }

    /// How often bytes had to wait so far.
    pub(crate) fn held(&self) -> BTreeMap<Direction, u64> {
        let held = self.shared.held.lock().unwrap();
        let count = |direction| (direction, held.get(&direction).copied().unwrap_or_default());
        directions(self.size).into_iter().map(count).collect()
    }
}

impl Drop for Proxies {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

async fn accept(listener: TcpListener, to: usize, upstream: String, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((inbound, _)) = listener.accept().await else { continue };
        connections.spawn(carry(inbound, to, upstream.clone(), Arc::clone(&shared)));
        while connections.try_join_next().is_some() {}
    }
}

/// Carries one connection until either side ends it.
async fn carry(inbound: TcpStream, to: usize, upstream: String, shared: Arc<Shared>) {
    let Ok(client) = inbound.peer_addr() else { return };
    let Some(from) = shared.caller(client).await else { return };
    let Ok(outbound) = TcpStream::connect(upstream).await else { return };
    // Small frames are not to wait for each other here.
    let _ = (inbound.set_nodelay(true), outbound.set_nodelay(true));
    let (from_caller, to_caller) = inbound.into_split();
    let (from_member, to_member) = outbound.into_split();
    tokio::select! {
        () = pump(from_caller, to_member, (from, to), &shared) => {}
        () = pump(from_member, to_caller, (to, from), &shared) => {}
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, way: Direction, shared: &Shared) {
    let mut cuts = shared.cuts.subscribe();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or(0);
        if cuts.borrow().contains(&way) {
            *shared.held.lock().unwrap().entry(way).or_default() += 1;
        }
        // An end of the connection does not get through either.
        if cuts.wait_for(|cuts| !cuts.contains(&way)).await.is_err() || read == 0 {
            return;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

impl Shared {
    /// Which member has the socket with this address.
    async fn caller(&self, address: SocketAddr) -> Option<usize> {
        for _ in 0..LOOKS {
            let processes = self.processes.lock().unwrap().clone();
            if let Some(socket) = socket_of(address) {
                let place = processes.iter().position(|process| has(*process, &socket));
                if place.is_some() {
                    return place;
                }
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        None
    }
}

/// What a process calls the socket that is bound to this address.
fn socket_of(address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(address) = address else { return None };
    let host = u32::from_ne_bytes(address.ip().octets());
    let wanted = format!("{host:08X}:{:04X}", address.port());
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let mut rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let row = rows.find(|row| row.len() > 9 && row[1] == wanted)?;
    Some(format!("socket:[{}]", row[9]))
}

fn has(process: u32, socket: &str) -> bool {
    let Ok(entries) = fs::read_dir(format!("/proc/{process}/fd")) else { return false };
    entries
        .flatten()
        .any(|entry| fs::read_link(entry.path()).is_ok_and(|target| target.as_os_str() == socket))
}
