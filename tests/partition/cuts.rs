//! Every subset of the six directions between three members, cut.
//!
//! Two members that hear each other both ways are a majority that can settle: clients of theirs must
//! be served again. Where no two do, nothing may be acknowledged that needs a majority, and what a
//! member knows by itself is answered all the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use quorate::sim::history::Operation;
use tokio::time::sleep;

use crate::{
    harness::eventually_or,
    inside::in_a_network,
    load::{SOON, is_acknowledged, is_done_by, is_linearizable, is_serializable, is_write},
    network::Direction,
    spans::{ELECTION_TIMEOUT, Spans},
    world::{ALL, Scene, World},
};

/// Within this a connected majority serves again: the goal is three, and the machine is busy.
const SETTLES_WITHIN: Duration = Duration::from_secs(10 * ELECTION_TIMEOUT.as_secs());
/// How long something stays cut at least.
const CUT: Duration = Duration::from_secs(4 * ELECTION_TIMEOUT.as_secs());
/// Writes that a majority must acknowledge once it has settled.
const SETTLED: usize = 20;
/// Reads that every member must answer by itself meanwhile.
const OWN_READS: usize = 5;

const LEADER: usize = 0;
const ONE: usize = 1;
const OTHER: usize = 2;

/// The directions by role: bit n of a subset cuts the nth.
const BY_ROLE: [Direction; 6] =
    [(LEADER, ONE), (ONE, LEADER), (LEADER, OTHER), (OTHER, LEADER), (ONE, OTHER), (OTHER, ONE)];

/// What a subset means for a cluster, by who can still lead a majority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// Nothing is cut.
    Whole,
    /// The leader and a follower hear each other.
    LeaderStays,
    /// Only the followers do.
    LeaderGoes,
    /// No two members do.
    Nobody,
}

/// The directions of a subset, by role.
fn by_role(subset: u8) -> BTreeSet<Direction> {
    let chosen = BY_ROLE.iter().enumerate().filter(|(bit, _)| subset & (1 << bit) != 0);
    chosen.map(|(_, direction)| *direction).collect()
}

/// The members, by role, that hear another one and are heard by it.
fn core(cuts: &BTreeSet<Direction>) -> BTreeSet<usize> {
    let open = |direction: &Direction| !cuts.contains(direction);
    let both = BY_ROLE.iter().filter(|(from, to)| open(&(*from, *to)) && open(&(*to, *from)));
    both.map(|(from, _)| *from).collect()
}

fn class(cuts: &BTreeSet<Direction>) -> Class {
    let core = core(cuts);
    match (cuts.is_empty(), core.is_empty(), core.contains(&LEADER)) {
        (true, _, _) => Class::Whole,
        (_, true, _) => Class::Nobody,
        (_, _, true) => Class::LeaderStays,
        (_, _, false) => Class::LeaderGoes,
    }
}

/// What was measured.
#[derive(Default)]
struct Figures {
    /// From the cut to the first write that was called after it and acknowledged.
    served: BTreeMap<Class, Spans>,
    /// From the end of the cut until every member has served every kind of request.
    healed: BTreeMap<Class, Spans>,
    elections: BTreeMap<Class, u64>,
    operations: usize,
}

impl Figures {
    fn tell(&self) {
        for (class, spans) in &self.served {
            eprintln!("cut to acknowledged write, {class:?}: {spans}");
        }
        for (class, spans) in &self.healed {
            let terms = self.elections.get(class).copied().unwrap_or_default();
            eprintln!("heal to all members serve, {class:?}: {spans}; {terms} new terms");
        }
        eprintln!("{} operations judged", self.operations);
    }
}

/// Cuts a subset for a while, under load, and judges all of it.
async fn cut(world: &mut World, subset: u8, figures: &mut Figures) {
    let cuts = by_role(subset);
    let (class, core) = (class(&cuts), core(&cuts));
    let scene = world.begin().await;
    let real = |place: &usize| scene.roles[*place];
    let core: Vec<usize> = core.iter().map(real).collect();
    let cuts: BTreeSet<Direction> = cuts.iter().map(|(from, to)| (real(from), real(to))).collect();
    let before = world.network.stopped().await;

    world.network.cut(&cuts).await;
    let since = scene.load.now();
    let served =
        if core.is_empty() { None } else { Some(serves_again(&scene, subset, since, &core).await) };
    // How long it lasts is what it is about.
    let lasted = Duration::from_micros(scene.load.now() - since);
    sleep(CUT.saturating_sub(lasted)).await;
    let until = scene.load.now();
    for (direction, count) in world.network.stopped().await {
        let was_stopped = count > before[&direction];
        assert_eq!(was_stopped, cuts.contains(&direction), "subset {subset:06b}, {direction:?}");
    }
    world.network.heal().await;

    let healed = scene.load.traffic(&ALL, 1, SOON).await;
    let leader = world.cluster.leader().await;
    let terms = world.term(leader).await.expect("the leader answers") - scene.term;
    let operations = world.end(scene).await;
    assert_own_reads(subset, &operations, since, until);
    if core.is_empty() {
        assert_nothing_acknowledged(subset, &operations, since, until);
    }
    let shown =
        served.map_or_else(|| "nothing".to_owned(), |span| format!("{} ms", span.as_millis()));
    eprintln!(
        "subset {subset:06b}, {class:?}: acknowledged after {shown}, healed after {} ms, {terms} new terms, {} operations",
        healed.as_millis(),
        operations.len(),
    );
    if let Some(span) = served {
        figures.served.entry(class).or_default().add(span);
    }
    figures.healed.entry(class).or_default().add(healed);
    *figures.elections.entry(class).or_default() += terms;
    figures.operations += operations.len();
}

/// Waits until clients of a connected majority are served again, and go on being served; how long the
/// first of them had to wait.
async fn serves_again(scene: &Scene, subset: u8, since: u64, core: &[usize]) -> Duration {
    let by_core = |op: &Operation| core.iter().any(|place| is_done_by(op, *place));
    let first = || scene.load.first_answer(since, |op| is_acknowledged(op) && by_core(op));
    let what = || format!("a write by {core:?}, subset {subset:06b}");
    let first = eventually_or(what, SETTLES_WITHIN, async || first()).await;
    let what = || format!("more writes by {core:?}, subset {subset:06b}");
    eventually_or(what, SETTLES_WITHIN, async || {
        let late = |op: &Operation| op.called >= first && is_acknowledged(op) && by_core(op);
        (scene.load.count(late) >= SETTLED).then_some(())
    })
    .await;
    Duration::from_micros(first - since)
}

/// Every member answered for itself all the time.
fn assert_own_reads(subset: u8, operations: &[Operation], since: u64, until: u64) {
    for place in ALL {
        let meanwhile = operations.iter().filter(|op| {
            is_serializable(op) && is_done_by(op, place) && op.called >= since && op.called <= until
        });
        let count = meanwhile.count();
        assert!(count >= OWN_READS, "subset {subset:06b}: {count} serializable reads by {place}");
    }
}

/// What needs a majority was refused or left open.
fn assert_nothing_acknowledged(subset: u8, operations: &[Operation], since: u64, until: u64) {
    let mut asked = 0;
    for op in operations.iter().filter(|op| op.called >= since && op.called <= until) {
        if is_write(op) || is_linearizable(op) {
            asked += 1;
            let answered = op.returned().is_some_and(|returned| returned <= until);
            assert!(!answered, "subset {subset:06b}: without a majority from {since} on: {op}");
        }
    }
    assert!(asked > SETTLED, "subset {subset:06b}: only {asked} requests without a majority");
}

async fn cut_all(subsets: impl IntoIterator<Item = u8>, mut world: World) {
    let mut figures = Figures::default();
    for subset in subsets {
        cut(&mut world, subset, &mut figures).await;
    }
    figures.tell();
}

/// One of each kind: a follower cut off, the leader cut off, a leader that is not heard, one that hears
/// nobody, one link of two gone, one direction gone, a ring in which nobody hears whom he speaks to,
/// and nothing left.
#[test]
fn rr_67_cut_directions_settle_or_stand_still() {
    let subsets =
        [0b11_11_00, 0b00_11_11, 0b00_01_01, 0b00_10_10, 0b00_00_11, 0b00_01_00, 0b01_10_01];
    in_a_network("cuts::rr_67_cut_directions_settle_or_stand_still", async |means| {
        cut_all(subsets.into_iter().chain([0b11_11_11]), World::start(means).await).await;
    });
}

#[test]
#[ignore = "takes a quarter of an hour"]
fn rr_67_all_sixty_four_subsets_of_cut_directions_settle_or_stand_still() {
    let name = "cuts::rr_67_all_sixty_four_subsets_of_cut_directions_settle_or_stand_still";
    in_a_network(name, async |means| cut_all(0..64, World::start(means).await).await);
}

/// Of sixty-four subsets twenty-seven leave no two members that hear each other.
#[test]
fn subsets_are_told_apart() {
    let mut classes: BTreeMap<Class, usize> = BTreeMap::new();
    for subset in 0..64 {
        *classes.entry(class(&by_role(subset))).or_default() += 1;
    }
    let expected =
        [(Class::Whole, 1), (Class::LeaderStays, 27), (Class::LeaderGoes, 9), (Class::Nobody, 27)];
    assert_eq!(classes, BTreeMap::from(expected));
}
