//! Links that lose some of what is sent over them, and more of it in one direction than in the other.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::sleep;

use crate::{
    inside::in_a_network,
    load::is_acknowledged,
    network::{Direction, directions},
    spans::ELECTION_TIMEOUT,
    world::{SIZE, World},
};

const LASTS: Duration = Duration::from_secs(10 * ELECTION_TIMEOUT.as_secs());

/// Loses packets for a while, under load, and judges all of it; the writes acknowledged meanwhile.
async fn lose(
    world: &mut World,
    losses: impl FnOnce([usize; SIZE]) -> BTreeMap<Direction, u32>,
) -> Option<usize> {
    let scene = world.begin().await;
    let losses = losses(scene.roles);
    let before = world.network.stopped().await;
    if !world.network.lose(&losses).await {
        eprintln!("SKIPPED: a proxy cannot lose packets");
        world.end(scene).await;
        return None;
    }
    let since = scene.load.now();
    // How long it lasts is what it is about.
    sleep(LASTS).await;
    let until = scene.load.now();
    for (direction, count) in world.network.stopped().await {
        let was_lossy = count > before[&direction];
        assert_eq!(was_lossy, losses.contains_key(&direction), "{direction:?}");
    }
    world.network.heal().await;
    let term = scene.term;
    let operations = world.end(scene).await;
    let leader = world.cluster.leader().await;
    let terms = world.term(leader).await.expect("the leader answers") - term;
    let writes = operations.iter().filter(|op| is_acknowledged(op));
    let writes = writes.filter(|op| op.called >= since && op.called <= until).count();
    eprintln!("{losses:?}: {writes} writes meanwhile, {terms} new terms");
    Some(writes)
}

/// One follower is badly heard and hears badly; the other one and the leader go on.
#[test]
fn a_follower_behind_a_lossy_link_holds_up_nobody() {
    in_a_network("loss::a_follower_behind_a_lossy_link_holds_up_nobody", async |means| {
        let mut world = World::start(means).await;
        let writes = lose(&mut world, |[leader, one, other]| {
            BTreeMap::from([((leader, one), 30), ((one, other), 50), ((one, leader), 10)])
        });
        assert!(writes.await.is_none_or(|writes| writes > 0), "nobody went on");
    });
}

/// Every link loses a third. Members may go on or not; what they say must hold.
#[test]
#[ignore = "takes half a minute"]
fn lossy_links_between_all_members_spoil_nothing() {
    in_a_network("loss::lossy_links_between_all_members_spoil_nothing", async |means| {
        let mut world = World::start(means).await;
        let all = directions(SIZE).into_iter().map(|direction| (direction, 30)).collect();
        lose(&mut world, |_| all).await;
    });
}
