//! Three members, two watchers of the service `user`, and all that they are to print.

use std::{collections::BTreeSet, time::Duration};

use etcd_client::Client;
use tokio::time::Instant;

use crate::{
    SOON,
    example::{Example, Program, WAYS},
    harness::{Cluster, eventually, eventually_or, within},
};

/// What happens to an instance, and is printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Up(String),
    /// With the reason.
    Down(String, &'static str),
}

impl Event {
    /// The line of a watcher; a watch of keys knows no address and no reason of what is gone.
    fn line(&self, way: &str) -> String {
        match self {
            Self::Up(id) => format!("UP {id} {}", addr(id)),
            Self::Down(id, _) if way == "stock" => format!("DOWN {id} - -"),
            Self::Down(id, reason) => format!("DOWN {id} {} {reason}", addr(id)),
        }
    }
}

/// The address of an instance whose id ends with a number.
pub(crate) fn addr(id: &str) -> String {
    format!("10.0.0.7:80{}", id.trim_start_matches(char::is_alphabetic))
}

/// A cluster with watchers, and what happened so far.
pub(crate) struct Scene {
    pub(crate) example: Example,
    pub(crate) cluster: Cluster,
    /// By the stock client, and by the typed API.
    watchers: Vec<Program>,
    /// What happened, in order; within a group in any order.
    groups: Vec<Vec<Event>>,
    marks: usize,
}

impl Scene {
    pub(crate) async fn open(example: Example) -> Self {
        let cluster = Cluster::start(3).await;
        let watchers = WAYS.iter().map(|way| example.start(&cluster, way, &["watch"])).collect();
        Self { example, cluster, watchers, groups: Vec::new(), marks: 0 }
    }

    /// Notes that something happened, and waits until both watchers have told it, and nothing else.
    pub(crate) async fn told(&mut self, group: &[Event], limit: Duration) {
        self.groups.push(group.to_vec());
        let count = self.groups.iter().map(Vec::len).sum();
        let what = || format!("{group:?}\n{}", self.output());
        eventually_or(what, limit, async || {
            self.watchers.iter().all(|one| changes(one).len() >= count).then_some(())
        })
        .await;
        self.judge();
    }

    /// What both watchers printed is what happened.
    fn judge(&self) {
        for (way, watcher) in WAYS.iter().zip(&self.watchers) {
            let printed = changes(watcher);
            let mut rest = printed.as_slice();
            for group in &self.groups {
                let expected: BTreeSet<String> = group.iter().map(|one| one.line(way)).collect();
                let (told, after) = rest.split_at(group.len().min(rest.len()));
                let told = BTreeSet::from_iter(told.iter().cloned());
                assert_eq!(told, expected, "{way}\n{}", self.output());
                rest = after;
            }
            assert!(rest.is_empty(), "{way}: {rest:?} did not happen\n{}", self.output());
        }
    }

    fn output(&self) -> String {
        let outputs = WAYS.iter().zip(&self.watchers);
        outputs.map(|(way, one)| format!("--- {way}\n{}", one.following.output())).collect()
    }

    /// Lets an instance come and go, written by a client of no example, and waits until it was told.
    pub(crate) async fn mark(&mut self) {
        self.marks += 1;
        let id = format!("mark{}", self.marks);
        let key = format!("/services/default/user/{id}");
        // Instances are below the members: any of them that serves will do.
        let running = (0..3).find(|index| self.cluster.member(*index).runs()).unwrap();
        let client: Client = self.cluster.client(running).await;
        let put = async || {
            let value = format!("{{\"Addr\":\"{}\"}}", addr(&id));
            client.clone().put(key.as_str(), value, None).await.ok()
        };
        eventually("a put", SOON, put).await;
        self.told(&[Event::Up(id.clone())], SOON).await;
        eventually("a delete", SOON, async || client.clone().delete(key.as_str(), None).await.ok())
            .await;
        self.told(&[Event::Down(id.clone(), "DEREGISTERED")], SOON).await;
    }

    /// Starts a program in each way that registers an instance, and waits until all know of it.
    pub(crate) async fn register(&mut self, number: usize, ttl: &str) -> Vec<Program> {
        let mut programs = Vec::new();
        for &way in WAYS {
            let id = format!("{way}{number}");
            let arguments = ["register", "--id", &id, "--addr", &addr(&id), "--ttl", ttl];
            let program = self.example.start(&self.cluster, way, &arguments);
            self.told(&[Event::Up(id.clone())], SOON).await;
            let announced = format!("REGISTERED {id} ");
            program.following.line(SOON, |line| line.starts_with(&announced)).await;
            programs.push(program);
        }
        programs
    }

    /// Kills a leader, and returns who it was once there is another one.
    pub(crate) async fn kill_leader(&mut self) -> usize {
        let leader = self.cluster.leader().await;
        self.cluster.member(leader).kill();
        self.cluster.member(leader).ended().await;
        self.cluster.leader().await;
        leader
    }

    /// Stops and starts all members in turn.
    pub(crate) async fn roll(&mut self) {
        for index in 0..self.cluster.len() {
            self.cluster.member(index).terminate().await;
            self.cluster.member(index).ended().await;
            self.mark().await;
            self.cluster.member(index).restart().await;
            self.cluster.leader().await;
        }
    }

    /// The instances that a program resolves in either way.
    pub(crate) async fn resolve(&self) -> Vec<Vec<String>> {
        let mut found = Vec::new();
        for way in WAYS {
            let output = self.example.run(&self.cluster, way, &["resolve"]).await.ok();
            found.push(output.lines().map(str::to_owned).collect());
        }
        found
    }

    /// Ends the watchers, which had nothing more to say.
    pub(crate) async fn close(mut self) {
        self.judge();
        for watcher in &mut self.watchers {
            watcher.terminate().await;
            within("the end of a watcher", SOON, watcher.following.child.wait()).await.unwrap();
        }
        self.judge();
    }
}

/// The lines that tell of changes; members that are away may be complained about between them.
fn changes(watcher: &Program) -> Vec<String> {
    let is_change =
        |line: &String| ["UP ", "DOWN ", "CHANGED "].iter().any(|start| line.starts_with(start));
    watcher.lines().into_iter().filter(is_change).collect()
}

/// What is left of a time, from a moment on.
pub(crate) fn left(since: Instant, limit: Duration) -> Duration {
    (since + limit).saturating_duration_since(Instant::now())
}
