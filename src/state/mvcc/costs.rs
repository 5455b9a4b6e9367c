//! What reads cost: how many records they come by, counted by a view that looks over its shoulder.

use std::{cell::Cell, ops::ControlFlow};

use bytes::Bytes;

use crate::{
    state::{
        Command, Cursor, Direction, Family, SortOrder, SortTarget, View,
        mvcc::{count, list},
        schema::cur::PairRef,
        testing::{GetWords, Machine, MapView, delete, get, put},
    },
    types::Fault,
};

/// A view that counts what is read of it: gets, seeks and steps.
struct Counting<'a> {
    view: &'a MapView,
    reads: Cell<u64>,
}

struct CountingCursor<'a> {
    cursor: Box<dyn Cursor + 'a>,
    reads: &'a Cell<u64>,
}

impl View for Counting<'_> {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        self.reads.update(|reads| reads + 1);
        self.view.get(family, key)
    }

    fn cursor<'a>(
        &'a self,
        family: Family,
        start: &[u8],
        end: Option<&[u8]>,
    ) -> Result<Box<dyn Cursor + 'a>, Fault> {
        let cursor = self.view.cursor(family, start, end)?;
        Ok(Box::new(CountingCursor { cursor, reads: &self.reads }))
    }
}

impl Cursor for CountingCursor<'_> {
    fn begin(&mut self, direction: Direction) -> Result<(), Fault> {
        self.reads.update(|reads| reads + 1);
        self.cursor.begin(direction)
    }

    fn seek(&mut self, key: &[u8], direction: Direction) -> Result<(), Fault> {
        self.reads.update(|reads| reads + 1);
        self.cursor.seek(key, direction)
    }

    fn step(&mut self) -> Result<(), Fault> {
        self.reads.update(|reads| reads + 1);
        self.cursor.step()
    }

    fn item(&self) -> Option<(&[u8], &[u8])> {
        self.cursor.item()
    }
}

fn name(number: u32) -> String {
    format!("k{number:05}")
}

fn put_all(numbers: impl IntoIterator<Item = u32>) -> Vec<Command> {
    numbers.into_iter().map(|number| put(&name(number)).into()).collect()
}

/// The keys that are listed, and the reads that took.
fn listed(machine: &Machine, range: GetWords) -> (Vec<String>, u64) {
    let view = Counting { view: machine.view(), reads: Cell::new(0) };
    let mut keys = Vec::new();
    let listed = list(&view, &range.0, &mut |record| {
        let pair = PairRef::parse(record).unwrap();
        keys.push(String::from_utf8(pair.key.to_vec()).unwrap());
        ControlFlow::Continue(())
    });
    listed.unwrap();
    (keys, view.reads.get())
}

/// The count, and the reads that took.
fn counted(machine: &Machine, range: GetWords) -> (i64, u64) {
    let view = Counting { view: machine.view(), reads: Cell::new(0) };
    (count(&view, &range.0).unwrap(), view.reads.get())
}

/// With a limit, keys that have all changed since are not walked to find a few of them.
#[test]
fn a_limited_read_of_the_past_stops_at_its_limit() {
    let mut machine = Machine::new();
    machine.apply_together(put_all(0..3_000));
    let then = machine.revision();
    machine.apply_together(put_all(0..3_000));
    let page = |order| get(&name(0)).to("\0").at(then).limit(5).sort(order, SortTarget::Key);

    let (keys, reads) = listed(&machine, page(SortOrder::Ascend));
    assert_eq!(keys, [0, 1, 2, 3, 4].map(name));
    assert!(reads < 200, "{reads} reads");
    let (keys, reads) = listed(&machine, page(SortOrder::Descend));
    assert_eq!(keys, [2_999, 2_998, 2_997, 2_996, 2_995].map(name));
    assert!(reads < 200, "{reads} reads");
}

/// However many versions a key has, a read of the past passes them with a few jumps.
#[test]
fn versions_are_jumped_over() {
    let mut machine = Machine::new();
    machine.apply_together(put_all([0, 1, 2]));
    let first = machine.revision();
    machine.apply_together(put_all((0..3_000).map(|_| 1)));
    machine.apply_together(put_all([0, 1, 2]));
    for then in [first, first + 1, first + 1_500, first + 3_000] {
        for order in [SortOrder::Ascend, SortOrder::Descend] {
            let all = get(&name(0)).to("\0").at(then).sort(order, SortTarget::Key);
            let (keys, reads) = listed(&machine, all);
            assert_eq!(keys.len(), 3);
            assert!(reads < 150, "{reads} reads at revision {then}");
        }
    }
}

/// A read of a time when nothing was there does not look at what came later.
#[test]
fn an_empty_past_is_not_searched() {
    let mut machine = Machine::new();
    machine.apply_together(put_all([5]));
    machine.apply(delete(&name(5)));
    let then = machine.revision();
    machine.apply_together(put_all(0..3_000));
    let (keys, reads) = listed(&machine, get(&name(0)).to("\0").at(then));
    assert!(keys.is_empty());
    assert!(reads < 300, "{reads} reads");
}

/// What it costs to count the past does not grow with what happened since.
#[test]
fn a_count_of_the_past_does_not_walk() {
    let mut machine = Machine::new();
    machine.apply_together(put_all((0..9_000).step_by(2)));
    let then = machine.revision();
    let all = || get("a").to("z").at(then);
    let some = || get(&name(3)).to(&name(8_001)).at(then);
    let before = (counted(&machine, all()), counted(&machine, some()));
    assert_eq!((before.0.0, before.1.0), (4_500, 3_999));
    assert!(before.0.1 < 200, "{} reads", before.0.1);

    // Many changes to few keys, none of them at an edge of the ranges.
    for _ in 0..10 {
        machine.apply_together(put_all((4_001..4_501).step_by(2)));
        machine.apply(delete(&name(4_001)).to(&name(4_501)));
    }
    let after = (counted(&machine, all()), counted(&machine, some()));
    assert_eq!((after.0.0, after.1.0), (4_500, 3_999));
    assert!(after.0.1 < before.0.1 + 100, "{} reads", after.0.1);
    assert!(after.1.1 < before.1.1 + 200, "{} reads, {} before", after.1.1, before.1.1);
}

/// All keys deleted at one revision: what was before and what is after are counted alike.
#[test]
fn a_mass_delete_does_not_make_counting_slow() {
    let mut machine = Machine::new();
    machine.apply_together(put_all(0..5_000));
    let full = machine.revision();
    machine.apply(delete("a").to("z"));
    let empty = machine.revision();
    machine.apply_together(put_all([7]));
    for (then, expected) in [(full, 5_000), (empty, 0), (empty + 1, 1)] {
        let (keys, reads) = counted(&machine, get("a").to("z").at(then));
        assert_eq!(keys, expected);
        assert!(reads < 200, "{reads} reads at revision {then}");
    }
}
