//! What becomes of the instances of programs that live on, end, and are killed.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    SOON,
    example::{Example, Program, WAYS},
    harness::{eventually, within},
    scene::{Event, Scene, addr, left},
};

const TTL: &str = "3";
const TTL_TIME: Duration = Duration::from_secs(3);
/// How long the end of a lease may be in coming.
const GRACE: Duration = Duration::from_secs(1);
/// Of the members of these tests.
const ELECTION_TIMEOUT: Duration = Duration::from_secs(1);

fn down(way: &str, number: usize, reason: &'static str) -> Event {
    Event::Down(format!("{way}{number}"), reason)
}

/// The whole life of a service, in both ways of a language.
async fn lives(language: &str) {
    let Some(example) = Example::of(language).await else { return };
    let mut scene = Scene::open(example).await;
    scene.mark().await;
    outlives_its_members(&mut scene).await;
    is_gone_when_killed(&mut scene).await;
    is_gone_when_killed_with_the_leader(&mut scene).await;
    scene.close().await;
}

/// Registered, found in both ways, never missed while members go, and gone at once when it ends.
async fn outlives_its_members(scene: &mut Scene) {
    let mut programs = scene.register(1, TTL).await;
    let expected: Vec<String> =
        WAYS.iter().map(|way| format!("{way}1 {}", addr(&format!("{way}1")))).collect();
    for found in scene.resolve().await {
        assert_eq!(found, expected);
    }

    let killed = scene.kill_leader().await;
    scene.mark().await;
    scene.cluster.member(killed).restart().await;
    scene.roll().await;
    scene.mark().await;
    comes_back(scene, &programs).await;

    for (way, program) in WAYS.iter().zip(&mut programs) {
        let asked = Instant::now();
        program.terminate().await;
        scene.told(&[down(way, 1, "DEREGISTERED")], SOON).await;
        // Nobody waited for the lease; that it did not run out, the reason says.
        let took = asked.elapsed();
        assert!(took < TTL_TIME, "{way}: gone {took:?} after it was asked to end");
        within("its end", SOON, program.following.child.wait()).await.unwrap();
        let last = format!("DEREGISTERED {way}1");
        assert!(program.lines().contains(&last), "{}", program.following.output());
    }
}

/// Whose lease somebody revoked registers again, on another one.
async fn comes_back(scene: &mut Scene, programs: &[Program]) {
    for (way, program) in WAYS.iter().zip(programs) {
        let id = format!("{way}1");
        let announced = format!("REGISTERED {id} ");
        let line = program.following.line(SOON, |line| line.starts_with(&announced)).await;
        let lease = line.strip_prefix(&announced).unwrap().parse().unwrap();
        scene.cluster.client(0).await.lease_revoke(lease).await.unwrap();
        scene.told(&[down(way, 1, "DEREGISTERED")], SOON).await;
        scene.told(&[Event::Up(id)], SOON).await;
        let is_other = |other: &str| other.starts_with(&announced) && other != line;
        program.following.line(SOON, is_other).await;
    }
}

/// What is killed is gone when its time is over.
async fn is_gone_when_killed(scene: &mut Scene) {
    let programs = scene.register(2, TTL).await;
    let killed = Instant::now();
    for mut program in programs {
        program.kill();
    }
    let group: Vec<Event> = WAYS.iter().map(|way| down(way, 2, "EXPIRED")).collect();
    scene.told(&group, left(killed, TTL_TIME + GRACE)).await;
}

/// A new leader grants all leases their time again.
async fn is_gone_when_killed_with_the_leader(scene: &mut Scene) {
    let programs = scene.register(3, TTL).await;
    for mut program in programs {
        program.kill();
    }
    let killed = scene.kill_leader().await;
    let group: Vec<Event> = WAYS.iter().map(|way| down(way, 3, "EXPIRED")).collect();
    scene.told(&group, TTL_TIME + 2 * ELECTION_TIMEOUT + GRACE).await;
    scene.cluster.member(killed).restart().await;
    scene.mark().await;
    // Both ways agree that nothing is left.
    eventually("nothing to be found", SOON, async || {
        scene.resolve().await.iter().all(Vec::is_empty).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_go_examples_live_and_end() {
    lives("go").await;
}

#[tokio::test]
async fn the_python_examples_live_and_end() {
    lives("python").await;
}

#[tokio::test]
async fn the_java_examples_live_and_end() {
    lives("java").await;
}

#[tokio::test]
async fn the_node_examples_live_and_end() {
    lives("node").await;
}

#[tokio::test]
async fn the_rust_examples_live_and_end() {
    lives("rust").await;
}
