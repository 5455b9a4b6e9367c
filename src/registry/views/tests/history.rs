//! Followers through random histories: each is told everything once, in order, wherever it goes on,
//! while history is compacted and little of it is in memory.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::{
    node::Changes,
    registry::{Catalog, Change, Follow, Told, place},
    state::testing::{compact, delete},
};

const KEYS: [&str; 7] = [
    "/services/n/a/1",
    "/services/n/a/2",
    "/services/n/b/1",
    "/services/default/c/1",
    "/services/c/1",
    "/quorate/registry/override/n/a/1",
    "other",
];

/// Rolls dice, the same ones each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(sides).unwrap()).unwrap()
    }
}

/// What there is to be told, of everything.
struct Truth {
    catalog: Catalog,
    changes: Changes,
    /// What changed at each revision that had changes.
    changed: BTreeMap<Revision, Vec<Change>>,
    /// What there was at each revision of these, and at the first.
    states: BTreeMap<Revision, BTreeSet<String>>,
}

impl Truth {
    fn new(member: &Member) -> Self {
        Self {
            catalog: Catalog::load(Scope::All, Revision::FIRST, []),
            changes: member.running.handle.changes_within(place::everything().into(), Revision(2)),
            changed: BTreeMap::new(),
            states: [(Revision::FIRST, BTreeSet::new())].into(),
        }
    }

    /// Learns what happened up to now.
    async fn learn(&mut self) {
        self.changes.ask_progress();
        loop {
            let happened = soon(self.changes.next()).await.expect("it is kept up");
            if happened.events.is_empty() {
                return;
            }
            for events in happened.events.chunk_by(|a, b| a.id.revision == b.id.revision) {
                let revision = events[0].id.revision;
                let changes = self.catalog.apply(revision, events);
                if !changes.is_empty() {
                    self.changed.insert(revision, changes);
                }
                self.states.insert(revision, words(&self.catalog.within(&Scope::All)));
            }
        }
    }

    /// The first change within a scope after a revision.
    fn next(&self, scope: &Scope, after: Revision) -> Option<(Revision, Vec<Change>)> {
        self.changed.range(after.next()..).find_map(|(revision, changes)| {
            let wanted = changes.iter().filter(|it| scope.contains(&it.name.service));
            let wanted: Vec<_> = wanted.cloned().collect();
            (!wanted.is_empty()).then_some((*revision, wanted))
        })
    }

    /// Holds what a follower was told against it. Returns how far it was told.
    fn check(&self, scope: &Scope, after: Revision, told: Told) -> Revision {
        let (next, through) = (self.next(scope, after), told.revision());
        match told {
            Told::Snapshot { revision, reset: _, instances } => {
                let (_, expected) = self.states.range(..=revision).next_back().unwrap();
                let of_scope = |it: &&String| match scope {
                    Scope::All => true,
                    Scope::Namespace(name) => it.starts_with(&format!("{name}/")),
                    Scope::Service(name) => it.starts_with(&format!("{name}/")),
                };
                let expected: BTreeSet<_> = expected.iter().filter(of_scope).cloned().collect();
                assert_eq!(instances.all().iter().map(word).collect::<BTreeSet<_>>(), expected);
                assert!(revision >= after, "{revision} after {after}");
            }
            Told::Changes { revision, changes } => {
                assert_eq!(Some((revision, changes)), next, "after {after}");
            }
            Told::Bookmark(revision) => {
                assert!(revision > after, "{revision} after {after}");
                assert!(next.is_none_or(|(next, _)| next > revision), "after {after}");
            }
        }
        through
    }
}

fn words(services: &[Arc<crate::registry::Service>]) -> BTreeSet<String> {
    services.iter().flat_map(|service| service.instances.values().map(word)).collect()
}

/// An instance, with everything that may change.
fn word(it: &Arc<Instance>) -> String {
    format!("{} {} {} {}", it.name, it.target(), it.weight, it.modified)
}

/// Somebody who follows a scope, and may go away and come back.
struct Client {
    scope: Scope,
    views: usize,
    follow: Follow,
    /// All revisions up to which it was ever told.
    told: Vec<Revision>,
}

impl Client {
    async fn come_back(&mut self, views: &[Arc<Views>], dice: &mut Dice) {
        self.views = dice.roll(views.len());
        let after = if dice.roll(8) == 0 {
            self.told.clear();
            None
        } else {
            // It goes on from where it was, or was once.
            let from_end = if dice.roll(2) == 0 { 1 } else { dice.roll(self.told.len()) + 1 };
            let keep = self.told.len().saturating_sub(from_end) + 1;
            self.told.truncate(keep);
            self.told.last().copied()
        };
        let follow = views[self.views].follow(self.scope.clone(), after).await;
        self.follow = follow.unwrap();
    }

    /// Takes the next thing that it is told. Returns whether that was told as it should be.
    async fn take(&mut self, truth: &mut Truth) -> Revision {
        let told = soon(self.follow.next()).await.unwrap();
        truth.learn().await;
        let after = self.told.last().copied().unwrap_or(Revision::FIRST);
        let is_reset = matches!(told, Told::Snapshot { reset: true, .. });
        assert_eq!(
            matches!(told, Told::Snapshot { reset: false, .. }),
            self.told.is_empty(),
            "{told:?} after {after}"
        );
        let through = truth.check(&self.scope, after, told);
        if is_reset {
            self.told.clear();
        }
        self.told.push(through);
        through
    }
}

/// One request, or a compaction.
async fn step(member: &Member, dice: &mut Dice) {
    let key = KEYS[dice.roll(KEYS.len())];
    match dice.roll(60) {
        0 => {
            let back = i64::try_from(dice.roll(30)).unwrap();
            let to = member.running.handle.revision().0 - back;
            let compact = compact(to.max(1));
            // It may be compacted further already.
            let nobody = crate::types::Identity::anonymous();
            let _ = member.running.handle.propose(nobody, compact).await;
        }
        1..=15 => member.running.propose(delete(key)).await,
        _ if key.contains("override") => {
            let rule = format!(r#"{{"weight":{}}}"#, dice.roll(3));
            member.put(key, &rule).await;
        }
        _ => {
            member.put(key, &format!("h:{}", 1 + dice.roll(3))).await;
        }
    }
}

async fn run(seed: u64, steps: usize) {
    let mut dice = Dice(seed);
    let mut member = Member::start().await;
    let mut truth = Truth::new(&member);
    let few = |revisions| Bounds { revisions, ..ROOMY.recent };
    let views = [
        member.views(ROOMY),
        member.views(Limits { recent: few(2), ..ROOMY }),
        member.views(Limits { recent: few(1), far: 3, ..ROOMY }),
        member.views(Limits { view: 4_000, ..ROOMY }),
        member.views(Limits { view: 0, ..ROOMY }),
    ];
    let scopes = [Scope::All, Scope::Namespace(name("n")), scope("n", "a"), scope("default", "c")];
    let mut clients = Vec::new();
    for number in 0..12 {
        let (scope, at) = (scopes[number % scopes.len()].clone(), dice.roll(views.len()));
        let follow = views[at].follow(scope.clone(), None).await.unwrap();
        clients.push(Client { scope, views: at, follow, told: Vec::new() });
    }
    for _ in 0..steps {
        for _ in 0..dice.roll(8) {
            step(&member, &mut dice).await;
        }
        truth.learn().await;
        let at = dice.roll(clients.len());
        let client = &mut clients[at];
        let after = client.told.last().copied().unwrap_or_default();
        if client.told.is_empty() || truth.next(&client.scope, after).is_some() {
            client.take(&mut truth).await;
        } else if dice.roll(2) == 0 {
            client.come_back(&views, &mut dice).await;
        }
    }
    // Something for everybody, and everybody is told of it.
    for key in ["/services/n/a/9", "/services/default/c/9"] {
        member.put(key, "h:9").await;
    }
    truth.learn().await;
    for client in &mut clients {
        loop {
            let through = client.take(&mut truth).await;
            if truth.next(&client.scope, through).is_none() {
                break;
            }
        }
    }
}

/// Over views with and without memory, with little of it, and with one that begins anew all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_change_is_told_once_wherever_a_follower_goes_on() {
    for seed in [3, 1_009, 77_777] {
        run(seed, 250).await;
    }
}
