//! Members that stand still for a while, as a process does whose machine is stopped.
//!
//! A leader that wakes up believes that it leads. What it answers then, to clients who asked while it
//! stood still and others had led on, must not be from the time before.

use std::{fs, time::Duration};

use tokio::time::sleep;

use crate::{
    harness::eventually,
    inside::in_a_network,
    load::{SOON, is_acknowledged, is_done_by},
    spans::ELECTION_TIMEOUT,
    world::{ALL, World},
};

/// From this on others must have gone on meanwhile, on a busy machine.
const LEADER_MISSED: Duration = Duration::from_secs(10 * ELECTION_TIMEOUT.as_secs());
const FOLLOWER_MISSED: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Leader,
    Follower,
}

/// Whether all threads of a process stand still.
fn stands_still(process: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    threads.flatten().all(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The name before it may hold anything.
        stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with('T'))
    })
}

/// Has a member stand still for so long, under load, and judges all of it.
async fn pause(world: &mut World, who: Who, span: Duration) {
    let scene = world.begin().await;
    let victim = scene.roles[usize::from(who == Who::Follower)];
    let process = world.cluster.member(victim).id();
    world.cluster.member(victim).pause().await;
    eventually("it to stand still", SOON, async || stands_still(process).then_some(())).await;
    let since = scene.load.now();
    // How long it lasts is what it is about.
    sleep(span).await;
    let until = scene.load.now();
    assert!(stands_still(process), "it went on by itself");
    world.cluster.member(victim).resume().await;

    let healed = scene.load.traffic(&ALL, 1, SOON).await;
    let leader = world.cluster.leader().await;
    let terms = world.term(leader).await.expect("the leader answers") - scene.term;
    let operations = world.end(scene).await;
    let meanwhile = operations
        .iter()
        .filter(|op| op.called >= since && op.returned().is_some_and(|returned| returned <= until));
    let by_victim = meanwhile.clone().find(|op| is_done_by(op, victim));
    assert!(by_victim.is_none(), "it answered while it stood still: {by_victim:?}");
    let writes = meanwhile.filter(|op| is_acknowledged(op)).count();
    let missed = if who == Who::Leader { LEADER_MISSED } else { FOLLOWER_MISSED };
    assert!(span < missed || writes > 0, "nobody went on without the {who:?}");
    eprintln!(
        "{who:?} stood still for {} ms: {writes} writes meanwhile, all served {} ms after it, {terms} new terms, {} operations",
        span.as_millis(),
        healed.as_millis(),
        operations.len(),
    );
}

async fn pause_all(millis: &[u64], mut world: World) {
    for millis in millis {
        for who in [Who::Leader, Who::Follower] {
            pause(&mut world, who, Duration::from_millis(*millis)).await;
        }
    }
}

#[test]
fn rr_69_a_member_that_stood_still_answers_nothing_old() {
    in_a_network("pauses::rr_69_a_member_that_stood_still_answers_nothing_old", async |means| {
        pause_all(&[100, 1_000, 3_000], World::start(means).await).await;
    });
}

#[test]
#[ignore = "takes minutes"]
fn rr_69_members_that_stand_still_for_up_to_ten_seconds_answer_nothing_old() {
    let name = "pauses::rr_69_members_that_stand_still_for_up_to_ten_seconds_answer_nothing_old";
    in_a_network(name, async |means| {
        let mut world = World::start(means).await;
        for _ in 0..3 {
            for millis in [100, 500, 1_000, 3_000, 10_000] {
                for who in [Who::Leader, Who::Follower] {
                    pause(&mut world, who, Duration::from_millis(millis)).await;
                }
            }
        }
    });
}
