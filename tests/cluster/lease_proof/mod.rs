//! Locks and elections that real clients contend for, in Go and Python, while clients and members are
//! killed and paused. A lock on a lease excludes nobody who was paused while he held it: what excludes
//! is the guard of each write. So what is held is that all writes under a lock have fencing tokens that
//! never fall, and that each was made by whoever had the lock at that revision; see [`judge`].

mod contenders;
mod judge;
mod judge_tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use quorate::proto::mvccpb::Event;
use tokio::time::sleep;

use contenders::{Contender, Kind};
use judge::{Lock, Said, judge};

use crate::harness::{
    Cluster, eventually, program,
    streams::{WatchStream, channel, watcher_of_all},
};

/// How long things may take on a busy machine.
const SOON: Duration = Duration::from_secs(120);
/// The time to live of a contender's lease, which is their own default.
const TTL: Duration = Duration::from_secs(3);
const SIZE: usize = 3;

/// A lock of the Go client's library and of the Lock service, which understand each other.
const MUTEX: Lock = Lock { name: "mutex", claims: "mutex/", register: "register/mutex" };
/// The same of elections.
const ELECTION: Lock =
    Lock { name: "election", claims: "election/", register: "register/election" };
/// A lock of the Python client's library, which lies where that wants it.
const OWN: Lock = Lock { name: "own", claims: "/locks/own", register: "register/own" };
const LOCKS: [Lock; 3] = [MUTEX, ELECTION, OWN];

/// The kinds of clients that this machine can run; the others are skipped aloud.
async fn kinds() -> Vec<Kind> {
    let mut kinds = Vec::new();
    if let Some(program) = program("scenario").await {
        let kind =
            |through, lock| Kind { program: program.clone(), is_python: false, through, lock };
        kinds.extend([kind("mutex", MUTEX), kind("election", ELECTION)]);
        kinds.extend([kind("service", MUTEX), kind("service-election", ELECTION)]);
    }
    if let Some(program) = program("python").await {
        kinds.push(Kind { program: program.clone(), is_python: true, through: "own", lock: OWN });
        kinds.push(Kind { program, is_python: true, through: "service", lock: MUTEX });
    }
    kinds
}

/// The newest revision; each turn of a contender makes a few.
async fn revision(cluster: &Cluster) -> Option<i64> {
    let mut client = cluster.client_of_all().await;
    Some(client.get("nothing", None).await.ok()?.header()?.revision())
}

/// Waits until so much more has happened.
async fn advance(cluster: &Cluster, revisions: i64) {
    let start = eventually("a revision", SOON, async || revision(cluster).await).await;
    eventually("the contenders to get on", SOON, async || {
        (revision(cluster).await? >= start + revisions).then_some(())
    })
    .await;
}

/// Somebody who believes to hold a lock, from that place on.
async fn holder(contenders: &[Contender], from: usize) -> usize {
    eventually("somebody to hold a lock", SOON, async || {
        (from..contenders.len()).chain(0..from).find(|index| contenders[*index].holds())
    })
    .await
}

/// Breaks something, and repairs it. Each kind of fault has its turn.
async fn strike(number: usize, cluster: &mut Cluster, contenders: &mut [Contender]) {
    let next = number * 7 % contenders.len();
    match number % 6 {
        // Kills somebody who holds a lock.
        0 => {
            let victim = holder(contenders, next).await;
            contenders[victim].kill().await;
            contenders[victim].spawn(cluster);
        }
        // Pauses somebody who holds a lock, for longer than his lease lives.
        1 => {
            let victim = holder(contenders, next).await;
            contenders[victim].signal("STOP").await;
            sleep(2 * TTL).await;
            contenders[victim].signal("CONT").await;
        }
        // Kills somebody, who most likely waits.
        2 | 4 => {
            contenders[next].kill().await;
            contenders[next].spawn(cluster);
        }
        // Pauses the leader for longer than leases live.
        3 => {
            let leader = cluster.leader().await;
            cluster.member(leader).pause().await;
            sleep(2 * TTL).await;
            cluster.member(leader).resume().await;
        }
        // Kills the leader.
        _ => {
            let leader = cluster.leader().await;
            cluster.member(leader).kill();
            cluster.member(leader).ended().await;
            advance(cluster, 20).await;
            cluster.member(leader).spawn();
        }
    }
}

/// All events up to a revision, as one member tells them.
async fn history(cluster: &Cluster, index: usize, last: i64) -> Vec<Event> {
    let mut stream = WatchStream::open(&channel(&cluster.endpoint(index))).await.unwrap();
    stream.created(watcher_of_all(1)).await;
    let mut events: Vec<Event> = Vec::new();
    let is_at = |events: &[Event]| {
        events.last().and_then(|event| event.kv.as_ref()).map_or(1, |pair| pair.mod_revision)
    };
    while is_at(&events) < last {
        events.extend(stream.events().await.events);
    }
    events
}

/// The history once all leases are gone and nothing happens any more, which all members agree upon.
async fn history_at_rest(cluster: &Cluster) -> Vec<Event> {
    cluster.leader().await;
    let last = eventually("an end of all leases", SOON, async || {
        let mut client = cluster.client_of_all().await;
        if !client.leases().await.ok()?.leases().is_empty() {
            return None;
        }
        revision(cluster).await
    })
    .await;
    let events = history(cluster, 0, last).await;
    for index in 1..SIZE {
        assert!(history(cluster, index, last).await == events, "members 0 and {index} differ");
    }
    events
}

/// Lets so many clients contend under so many faults, and judges.
async fn prove(clients: usize, strikes: usize) {
    let kinds = kinds().await;
    if kinds.is_empty() {
        return;
    }
    let mut cluster = Cluster::start(SIZE).await;
    let start = |number: usize| {
        let kind = &kinds[number % kinds.len()];
        Contender::start(&cluster, &format!("client{number}"), kind, &[])
    };
    let mut contenders: Vec<Contender> = (0..clients).map(start).collect();
    for number in 0..strikes {
        advance(&cluster, 50).await;
        strike(number, &mut cluster, &mut contenders).await;
    }
    advance(&cluster, 50).await;

    let mut said: Vec<Said> = Vec::new();
    let mut writes_of: BTreeMap<String, usize> = BTreeMap::new();
    for contender in contenders {
        let kind = contender.kind.to_string();
        let words = contender.finish().await;
        let wrote = words.iter().filter(|said| matches!(said, Said::Wrote { .. })).count();
        *writes_of.entry(kind).or_default() += wrote;
        said.extend(words);
    }
    let verdict = judge(&LOCKS, &history_at_rest(&cluster).await, &said);
    let turns: Vec<(&str, usize)> =
        verdict.tokens.iter().map(|(lock, tokens)| (*lock, tokens.len())).collect();
    eprintln!(
        "{clients} clients, {strikes} faults: {} writes, {} refused, turns {turns:?}, acknowledged {writes_of:?}",
        verdict.writes, verdict.fenced
    );
    assert_eq!(verdict.faults, Vec::<String>::new());
    let wanted: BTreeSet<&str> = kinds.iter().map(|kind| kind.lock.name).collect();
    assert_eq!(turns.len(), wanted.len(), "a lock was never had");
    assert!(writes_of.values().all(|writes| *writes > 0), "somebody never had a turn");
    assert!(turns.iter().all(|(_, turns)| *turns > strikes), "hardly anything happened");
}

/// A few clients of each kind under each kind of fault.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_of_contended_locks_never_fall() {
    prove(12, 6).await;
}

/// Fifty clients under many faults.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn tokens_of_locks_that_fifty_clients_contend_for_never_fall() {
    prove(50, 36).await;
}

/// A client holds a lock and is paused until somebody else has written under it. What it does then,
/// and what the judge says to it all.
async fn a_paused_holder(kind: &Kind, more: &[&str]) -> (Said, Vec<String>) {
    let cluster = Cluster::start(SIZE).await;
    // Slow enough to be stopped between the lock and the write.
    let slow = [&["--ttl", "2", "--hold", if kind.is_python { "2" } else { "2s" }], more];
    let paused = Contender::start(&cluster, "paused", kind, &slow.concat());
    eventually("the lock", SOON, async || paused.holds().then_some(())).await;
    paused.signal("STOP").await;
    let held = paused.says();
    let other = Contender::start(&cluster, "other", kind, &[]);
    eventually("the next one to write", SOON, async || {
        other.says().iter().any(|said| matches!(said, Said::Wrote { .. })).then_some(())
    })
    .await;
    paused.signal("CONT").await;
    let next = eventually("what the paused one does", SOON, async || {
        paused.says().get(held.len()).cloned()
    })
    .await;
    let output = paused.output();
    let mut said = paused.finish().await;
    said.extend(other.finish().await);
    let faults = judge(&LOCKS, &history_at_rest(&cluster).await, &said).faults;
    assert!(matches!(held.as_slice(), [Said::Held { .. }]), "{output}");
    (next, faults)
}

/// A client that was paused while it held a lock wakes up, believes that it holds it, writes, and is
/// refused by the guard of its write.
#[tokio::test]
async fn rr_35_a_paused_holder_is_fenced() {
    for kind in kinds().await {
        let (next, faults) = a_paused_holder(&kind, &[]).await;
        assert!(matches!(next, Said::Fenced { .. }), "{kind:?}: {next:?}");
        assert_eq!(faults, Vec::<String>::new());
    }
}

/// The same without a guard: the write goes through, and the judge finds it.
#[tokio::test]
async fn rr_35_a_paused_holder_without_a_guard_is_found_out() {
    if let Some(kind) = kinds().await.first() {
        let (next, faults) = a_paused_holder(kind, &["--unguarded"]).await;
        assert!(matches!(next, Said::Wrote { .. }), "{kind:?}: {next:?}");
        assert!(faults.iter().any(|fault| fault.contains("without its claim")), "{faults:?}");
    }
}
