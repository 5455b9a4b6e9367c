//! Client-side load balancing with the resolver that etcd publishes for gRPC in Go.

use std::collections::BTreeSet;

use crate::{
    SOON,
    example::{Example, Program},
    harness::{Cluster, Port, eventually_or, within},
};

/// Calls after which each of a few servers has had its turn, were they not all taken.
const CALLS: usize = 20;

/// A server at a port, registered with the typed API or with etcd's endpoint manager.
async fn serve(example: &Example, cluster: &Cluster, how: &str, port: &Port) -> Program {
    let arguments = [how, "--addr", &port.authority(), "--ttl", "3"];
    let server = example.start(cluster, "balance", &arguments);
    server.following.line(SOON, |line| line.starts_with("REGISTERED ")).await;
    server
}

/// Waits until the last calls were answered by these servers, by all of them and by nobody else.
async fn answered_by(caller: &Program, servers: &[&Port]) {
    let expected: BTreeSet<String> =
        servers.iter().map(|port| format!("ANSWER {}", port.authority())).collect();
    let last = || {
        let lines = caller.lines();
        lines[lines.len().saturating_sub(CALLS)..].to_vec()
    };
    let what = || format!("{CALLS} calls to {expected:?}, after\n{}", last().join("\n"));
    eventually_or(what, SOON, async || {
        let last = last();
        let answers = BTreeSet::from_iter(last.iter().cloned());
        (last.len() == CALLS && answers == expected).then_some(())
    })
    .await;
}

/// Servers come and go, registered in two ways, and calls go to those that are there.
#[tokio::test]
async fn calls_are_balanced_over_what_is_registered_in_either_way() {
    let Some(example) = Example::of("go").await else { return };
    let mut cluster = Cluster::start(3).await;
    let [one, two, three] = [(); 3].map(|()| Port::free());

    let first = serve(&example, &cluster, "serve", &one).await;
    let caller = example.start(&cluster, "balance", &["call"]);
    answered_by(&caller, &[&one]).await;
    let mut second = serve(&example, &cluster, "serve-managed", &two).await;
    answered_by(&caller, &[&one, &two]).await;
    let third = serve(&example, &cluster, "serve", &three).await;
    answered_by(&caller, &[&one, &two, &three]).await;

    // The typed API finds all of them, whoever wrote them.
    let found = example.run(&cluster, "typed", &["resolve"]).await.ok();
    let found: BTreeSet<String> = found.lines().map(str::to_owned).collect();
    let all = [&one, &two, &three].map(|port| format!("{0} {0}", port.authority()));
    assert_eq!(found, BTreeSet::from(all));

    // One is killed, and another one ends well; the leader goes between the two.
    second.kill();
    answered_by(&caller, &[&one, &three]).await;
    let leader = cluster.leader().await;
    cluster.member(leader).kill();
    cluster.member(leader).ended().await;
    cluster.leader().await;
    let mut first = first;
    first.terminate().await;
    within("the end of a server", SOON, first.following.child.wait()).await.unwrap();
    answered_by(&caller, &[&three]).await;

    third.terminate().await;
    caller.terminate().await;
}
