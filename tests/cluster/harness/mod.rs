//! Clusters of real processes for tests.

use std::{fs, path::PathBuf, process::Stdio, time::Duration};

use etcd_client::{Client, ConnectOptions};
use tokio::process::Command;

pub(crate) mod leasing;
mod member;
mod ports;
mod program;
mod proxy;
pub(crate) mod streams;
mod wait;
mod watching;

pub(crate) use member::{Finished, Member, without_settings};
pub(crate) use ports::Port;
pub(crate) use program::program;
pub(crate) use proxy::{Link, Proxy};
pub(crate) use wait::{eventually, eventually_or, within};
pub(crate) use watching::{Change, Watching};

/// The binary under test.
pub(crate) const QUORATE: &str = env!("CARGO_BIN_EXE_quorate");
/// How long a member may take to serve. Generous, because machines that run tests are busy.
pub(crate) const READY: Duration = Duration::from_secs(60);
/// How long a client waits for one answer.
const REQUEST: Duration = Duration::from_secs(10);

/// How fast a cluster notices that a leader is gone.
#[derive(Clone, Copy)]
pub(crate) enum Timing {
    /// For a member alone, which has nobody to hear from: it leads after a moment.
    Alone,
    /// For several: as in production, so that a busy machine does not depose leaders.
    Default,
    /// An election so slow that a leader which is there sooner must have been handed its place.
    SlowElection,
}

impl Timing {
    fn flags(self) -> [&'static str; 4] {
        let (heartbeat, election) = match self {
            Self::Alone => ("20", "200"),
            Self::Default => ("100", "1000"),
            Self::SlowElection => ("100", "4000"),
        };
        ["--heartbeat-interval", heartbeat, "--election-timeout", election]
    }
}

/// Some members on this machine. Dropping it kills them and removes their data.
pub(crate) struct Cluster {
    members: Vec<Member>,
    // Behind the members, so that it goes after they have.
    dir: tempfile::TempDir,
}

impl Cluster {
    /// Starts a cluster and waits until all members serve under one leader.
    pub(crate) async fn start(size: usize) -> Self {
        Self::start_with(size, if size == 1 { Timing::Alone } else { Timing::Default }).await
    }

    pub(crate) async fn start_with(size: usize, timing: Timing) -> Self {
        Self::start_flagged(size, timing, &[]).await
    }

    /// Starts a cluster whose members have more flags than those that they need.
    pub(crate) async fn start_flagged(size: usize, timing: Timing, flags: &[&str]) -> Self {
        let mut cluster = Self::prepare(tempfile::tempdir().unwrap(), size, timing);
        for member in &mut cluster.members {
            member.flags(flags.iter().copied());
            member.spawn();
        }
        cluster.leader().await;
        cluster
    }

    /// A cluster that does not run yet, with its files in `dir`.
    pub(crate) fn prepare(dir: tempfile::TempDir, size: usize, timing: Timing) -> Self {
        let ports = (0..size).map(|_| (Port::free(), Port::free())).collect();
        Self::prepare_at(dir, ports, timing)
    }

    /// The same with the client port and the peer port of each member.
    pub(crate) fn prepare_at(
        dir: tempfile::TempDir,
        ports: Vec<(Port, Port)>,
        timing: Timing,
    ) -> Self {
        let name = |index: usize| format!("n{}", index + 1);
        let entry =
            |(index, (_, peer)): (usize, &(Port, Port))| format!("{}={}", name(index), peer.url());
        let initial: Vec<String> = ports.iter().enumerate().map(entry).collect();
        let mut members = Vec::new();
        for (index, (client, peer)) in ports.into_iter().enumerate() {
            let mut member =
                Member::new(dir.path(), &name(index), client, peer, &initial.join(","));
            member.flags(timing.flags());
            members.push(member);
        }
        Self { members, dir }
    }

    /// A cluster that does not run yet, whose members reach each other through proxies, one before
    /// each of them.
    pub(crate) async fn prepare_proxied(
        dir: tempfile::TempDir,
        size: usize,
        timing: Timing,
    ) -> (Self, Vec<Proxy>) {
        let mut cluster = Self::prepare(dir, size, timing);
        let mut proxies = Vec::new();
        for member in &cluster.members {
            proxies.push(Proxy::before(member.peer_authority()).await);
        }
        let entry = |(index, proxy): (usize, &Proxy)| format!("n{}={}", index + 1, proxy.url());
        let initial: Vec<String> = proxies.iter().enumerate().map(entry).collect();
        let initial = format!("--initial-cluster={}", initial.join(","));
        for (member, proxy) in cluster.members.iter_mut().zip(&proxies) {
            let advertised = format!("--initial-advertise-peer-urls={}", proxy.url());
            member.flags([advertised.as_str(), initial.as_str()]);
        }
        (cluster, proxies)
    }

    /// A further member that does not run yet, and is to join those there are. Returns its index.
    pub(crate) fn enlist(&mut self, timing: Timing) -> usize {
        let index = self.members.len();
        let name = |index: usize| format!("n{}", index + 1);
        let (client, peer) = (Port::free(), Port::free());
        let urls = self.members.iter().map(Member::peer_url).chain([peer.url()]);
        let entries = urls.enumerate().map(|(index, url)| format!("{}={url}", name(index)));
        let initial: Vec<String> = entries.collect();
        let mut member =
            Member::new(self.dir.path(), &name(index), client, peer, &initial.join(","));
        member.flags(timing.flags());
        member.flags(["--initial-cluster-state=existing"]);
        self.members.push(member);
        index
    }

    pub(crate) fn member(&mut self, index: usize) -> &mut Member {
        &mut self.members[index]
    }

    /// A place in the folder of this cluster.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// The client URL of one member.
    pub(crate) fn endpoint(&self, index: usize) -> String {
        self.members[index].client_url()
    }

    /// The client URLs of all members, as `--endpoints` takes them.
    pub(crate) fn endpoints(&self) -> String {
        self.members.iter().map(Member::authority).collect::<Vec<_>>().join(",")
    }

    /// A client that talks to one member only.
    pub(crate) async fn client(&self, index: usize) -> Client {
        connect(&[self.endpoint(index)]).await
    }

    /// A client that talks to whichever members can be reached.
    pub(crate) async fn client_of_all(&self) -> Client {
        let endpoints: Vec<String> = self.members.iter().map(Member::client_url).collect();
        connect(&endpoints).await
    }

    /// Waits until all members that run agree on one of them as the leader.
    pub(crate) async fn leader(&self) -> usize {
        self.leader_within(READY).await
    }

    pub(crate) async fn leader_within(&self, limit: Duration) -> usize {
        eventually("a leader that all members know", limit, async || self.agreed_leader().await)
            .await
    }

    async fn agreed_leader(&self) -> Option<usize> {
        let mut leader = None;
        let mut agreed = None;
        for (index, member) in self.members.iter().enumerate().filter(|(_, member)| member.runs()) {
            let status = tokio::time::timeout(REQUEST, async {
                connect(&[member.client_url()]).await.status().await
            });
            let status = status.await.ok()?.ok()?;
            let known = (status.leader(), status.raft_term());
            if status.leader() == 0 || agreed.is_some_and(|agreed| agreed != known) {
                return None;
            }
            agreed = Some(known);
            if status.header()?.member_id() == status.leader() {
                leader = Some(index);
            }
        }
        leader
    }

    /// A member that does not lead.
    pub(crate) async fn follower(&self) -> usize {
        let leader = self.leader().await;
        (0..self.members.len())
            .find(|index| *index != leader)
            .expect("the cluster has several members")
    }

    /// Kills all members at one moment.
    pub(crate) async fn kill_all(&mut self) {
        assert!(self.members.iter().all(Member::runs), "a member does not run");
        self.kill_all_that_run().await;
    }

    /// Kills those members that run, at one moment.
    pub(crate) async fn kill_all_that_run(&mut self) {
        let mut running: Vec<_> = self.members.iter_mut().filter(|member| member.runs()).collect();
        for member in &mut running {
            member.kill();
        }
        for member in running {
            member.ended().await;
        }
    }

    /// Runs the command line against all members.
    pub(crate) async fn quorate(&self, arguments: &[&str]) -> Finished {
        let mut command = quorate();
        command.args(arguments).env("QUORATE_ENDPOINTS", self.endpoints());
        finish(command).await
    }

    /// Starts a command whose output is followed. It is killed when dropped.
    pub(crate) fn follow(&self, command: Command, name: &str) -> Following {
        Following::start(command, self.path(&format!("{name}.out")))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        for member in &mut self.members {
            member.kill();
            if failed {
                eprintln!("{}", member.last_log_lines());
            }
        }
    }
}

/// A process whose output grows while a test looks at it.
pub(crate) struct Following {
    pub(crate) child: tokio::process::Child,
    path: PathBuf,
}

impl Following {
    /// Starts the process with its output in a file.
    pub(crate) fn start(mut command: Command, path: PathBuf) -> Self {
        let output = fs::File::create(&path).unwrap();
        let errors = output.try_clone().unwrap();
        command.stdin(Stdio::null()).stdout(output).stderr(errors).kill_on_drop(true);
        Self { child: command.spawn().unwrap(), path }
    }

    pub(crate) fn output(&self) -> String {
        fs::read_to_string(&self.path).unwrap_or_default()
    }

    /// Waits until there is a line that is wanted, and returns it.
    pub(crate) async fn line(&self, limit: Duration, wanted: impl Fn(&str) -> bool) -> String {
        let find = async || self.output().lines().find(|line| wanted(line)).map(str::to_owned);
        let what = || format!("a line that is wanted in:\n{}", self.output());
        eventually_or(what, limit, find).await
    }
}

/// The binary, without any setting of whoever runs the tests.
pub(crate) fn quorate() -> Command {
    let mut command = Command::new(QUORATE);
    without_settings(&mut command);
    command
}

/// The same, started by another program that takes the binary and its arguments last.
pub(crate) fn launched(program: &str, arguments: &[String]) -> Command {
    let mut command = Command::new(program);
    without_settings(&mut command);
    command.args(arguments).arg(QUORATE);
    command
}

/// Runs a command to its end.
pub(crate) async fn finish(mut command: Command) -> Finished {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = within("the end of a command", READY, command.output()).await.unwrap();
    Finished::from(output)
}

/// Connects without waiting: a member that is not there yet shows at the first request.
pub(crate) async fn connect(endpoints: &[String]) -> Client {
    let options = ConnectOptions::new().with_timeout(REQUEST).with_connect_timeout(REQUEST);
    Client::connect(endpoints, Some(options)).await.unwrap()
}
