//! The state machine's history on the engine: nothing of it is lost to flushes, compactions and the
//! filter as long as it can be asked for, and nothing else is kept.

use std::ops::ControlFlow;

use super::*;
use crate::{
    node::ports::OwnedView,
    state::{
        Command, Member, Overlay, SortOrder, SortTarget, apply, bootstrap, image, mvcc,
        testing::{self, GetWords, MapView, get, put, request},
    },
    types::{ClusterId, MemberId, Position},
};

/// A state on the engine, and the same in memory.
struct Twins {
    store: Store,
    memory: MapView,
}

impl Twins {
    fn new(dir: &TempDir) -> Self {
        let mut twins = Self { store: open(dir), memory: MapView::default() };
        let first = Member { id: MemberId(1), ..Member::default() };
        twins.commit(bootstrap(ClusterId(1), &[first]));
        twins
    }

    fn commit(&mut self, writes: Writes) {
        self.store.commit(writes.clone()).unwrap();
        self.memory.commit(writes);
    }

    fn apply_all(&mut self, commands: impl IntoIterator<Item = Command>) {
        let view = self.store.view().unwrap();
        let mut overlay = Overlay::new(&*view);
        for command in commands {
            let applied =
                apply(&overlay, Position { index: Index(1), term: Term(1) }, &request(command))
                    .unwrap();
            applied.outcome.unwrap();
            overlay.absorb(applied.writes);
        }
        let writes = overlay.into_writes();
        self.commit(writes);
    }

    fn revision(&self) -> i64 {
        meta::revision(&self.memory).unwrap().0
    }

    /// Gives up history as a member does, and has the filter visit everything.
    fn compact(&mut self, to: i64) {
        self.apply_all([testing::compact(to)]);
        self.store.flush().unwrap();
        self.store.set_compacted(Revision(to));
        for family in [Family::Versions, Family::Counts] {
            compact(&self.store.current(), family);
        }
    }

    /// Both answer alike at every kept revision.
    fn check(&self, reads: &[GetWords]) {
        let view = self.store.view().unwrap();
        let first = meta::compacted(&self.memory).unwrap().0.max(1);
        for revision in first..=self.revision() {
            for read in reads {
                let asked = read.clone().at(revision).0;
                assert_eq!(records(&*view, &asked), records(&self.memory, &asked), "{asked:?}");
                assert_eq!(mvcc::count(&*view, &asked), mvcc::count(&self.memory, &asked));
            }
        }
    }

    /// How many records of a family the engine has, and how many there should be.
    fn len(&self, family: Family) -> (usize, usize) {
        let mut memory = self.memory.clone();
        memory.collect_garbage().unwrap();
        (all(&self.store.view().unwrap(), family), memory.records(family).count())
    }
}

fn records(view: &dyn View, asked: &crate::state::Range) -> Vec<Bytes> {
    let mut records = Vec::new();
    let listed = mvcc::list(view, asked, &mut |record| {
        records.push(Bytes::copy_from_slice(record));
        ControlFlow::Continue(())
    });
    listed.unwrap();
    records
}

fn all(view: &OwnedView, family: Family) -> usize {
    let mut all = 0;
    let mut visit = |_: &[u8], _: &[u8]| {
        all += 1;
        Ok(ControlFlow::Continue(()))
    };
    view.scan(family, b"", None, Direction::Forward, &mut visit).unwrap();
    all
}

fn some_reads() -> Vec<GetWords> {
    let from = |name: &str| get(name).to("\0");
    vec![
        from("a"),
        from("a").limit(7).sort(SortOrder::Descend, SortTarget::Key),
        from("a").keys_only().sort(SortOrder::Ascend, SortTarget::Mod),
        get("k003").to("k031").limit(3),
        get("k020"),
    ]
}

/// Keys that come, change and go, so that some names have many versions and some few.
fn story(round: u32) -> Vec<Command> {
    let mut commands = Vec::new();
    for step in 0..40 {
        let number = (round * 7 + step * step) % 40;
        let name = format!("k{number:03}");
        if (round + step).is_multiple_of(3) {
            commands.push(testing::delete(&name).into());
        } else {
            commands.push(put(&name).value(&format!("{round}/{step}")).into());
        }
        commands.push(put("k020").value(&format!("{round} {step}")).into());
    }
    commands
}

/// Lists and counts at every kept revision stand, wherever the records are by now: not flushed,
/// flushed, or compacted with the garbage dropped; and of the garbage nothing is left.
#[test]
fn lists_and_counts_stand_under_the_filter() {
    let dir = temporary();
    let mut twins = Twins::new(&dir);
    for round in 0..4 {
        twins.apply_all(story(round));
        twins.check(&some_reads());
        twins.store.flush().unwrap();
        twins.apply_all(story(round + 100));
        twins.check(&some_reads());
        twins.compact(twins.revision() - 50);
        twins.check(&some_reads());
        for family in [Family::Versions, Family::Counts] {
            let (there, expected) = twins.len(family);
            assert_eq!(there, expected, "{}", family.name());
        }
    }
    // What the engine keeps survives a restart.
    let Twins { store, memory } = twins;
    drop(store);
    Twins { store: open(&dir), memory }.check(&some_reads());
}

/// The filter works behind the back of snapshots: a view from before does not keep garbage. That is
/// why readers of history look at the compacted mark once more when they are done.
#[test]
fn a_view_does_not_keep_garbage() {
    let dir = temporary();
    let mut twins = Twins::new(&dir);
    twins.apply_all([put("a").value("1").into(), put("a").value("2").into()]);
    let then = twins.revision() - 1;
    let before = twins.store.view().unwrap();
    let asked = get("a").to("b").at(then).0;
    assert_eq!(records(&*before, &asked).len(), 1);

    twins.compact(twins.revision());

    assert!(records(&*before, &asked).is_empty());
    assert_eq!(records(&*before, &get("a").0).len(), 1, "what lives is no garbage");
}

/// A frozen view keeps its history, whatever is written, compacted and rewritten meanwhile. Its copy
/// goes with it; what a crash leaves goes at the next start.
#[test]
fn a_frozen_view_keeps_its_history() {
    let dir = temporary();
    let mut twins = Twins::new(&dir);
    twins.apply_all(story(0));
    let frozen = twins.store.frozen_view().unwrap();
    let saved = |view: &dyn View| {
        let mut found = Vec::new();
        image::records(view, &mut |family, key, value| {
            found.push((family, key.to_vec(), value.to_vec()));
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
        found
    };
    let then = saved(&twins.memory);
    assert_eq!(saved(&*frozen), then);

    twins.apply_all([put("a").value("later").into()]);
    twins.compact(twins.revision());

    assert_eq!(saved(&*frozen), then);
    assert_ne!(saved(&*twins.store.view().unwrap()), then);
    let copies = |dir: &TempDir| fs::read_dir(dir.path().join("checkpoints")).unwrap().count();
    assert_eq!(copies(&dir), 1);
    let crashed = crash(&dir);
    assert_eq!(copies(&crashed), 1);
    drop(frozen);
    assert_eq!(copies(&dir), 0);
    drop(open(&crashed));
    assert_eq!(copies(&crashed), 0);
}

/// Events at the compacted revision and later find their values after everything was compacted.
#[test]
fn history_finds_its_values_under_the_filter() {
    let dir = temporary();
    let mut twins = Twins::new(&dir);
    twins.apply_all(story(0));
    let compacted = twins.revision() - 30;
    twins.compact(compacted);
    let view = twins.store.view().unwrap();
    let (from, to) = (Revision(compacted), Revision(twins.revision()));
    let events = |view: &dyn View| mvcc::events(view, from, to, usize::MAX, usize::MAX).unwrap();
    let found = events(&*view);
    assert_eq!(found.events.first().map(|event| event.id.revision), Some(from));
    assert_eq!(found, events(&twins.memory));
    assert_eq!(all(&view, Family::Events), found.events.len(), "what came before is dropped");
}
