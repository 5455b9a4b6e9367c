use std::cell::Cell;

use proptest::prelude::*;

use super::*;

const NO_FILTER: Filter = Filter { no_put: false, no_delete: false };

fn key(bytes: impl Into<Vec<u8>>) -> Key {
    Key::new(bytes.into()).unwrap()
}

/// A slab that counts how many ranges are looked at.
struct Counting<'a, T> {
    slab: &'a Slab<T>,
    count: Cell<usize>,
}

impl<'a, T> Counting<'a, T> {
    fn new(slab: &'a Slab<T>) -> Self {
        Self { slab, count: Cell::new(0) }
    }
}

impl<T> Spans for Counting<'_, T> {
    fn span(&self, id: GroupId) -> Option<&Span> {
        self.count.set(self.count.get() + 1);
        self.slab.span(id)
    }
}

/// A group as a plain list has it; its value is its serial number.
#[derive(Clone, Debug)]
struct Listed {
    id: GroupId,
    range: KeyRange,
    filter: Filter,
    value: usize,
}

impl Listed {
    /// Single keys first, then by start, end with open ends last, and filter.
    fn place(&self) -> impl Ord {
        let exact = matches!(self.range, KeyRange::One(_));
        let (end, filter) = (self.range.end(), self.filter);
        let bounds = (self.range.start().clone(), end.is_none(), end);
        (!exact, bounds, filter.no_delete, filter.no_put)
    }
}

/// The index beside a plain list of the same groups.
#[derive(Default)]
struct Twins {
    index: Index<usize>,
    list: Vec<Listed>,
    serial: usize,
    /// How many groups there were at most since there were none.
    most: usize,
}

impl Twins {
    fn insert(&mut self, range: KeyRange, filter: Filter) {
        let present = self.list.iter().find(|one| one.range == range && one.filter == filter);
        assert_eq!(self.index.find(&range, filter), present.map(|one| one.id));
        if present.is_some() {
            return;
        }
        let value = self.serial;
        self.serial += 1;
        let id = self.index.insert(&range, filter, value).unwrap();
        assert!(self.list.iter().all(|one| one.id != id), "{id:?} is given twice");
        assert_eq!(self.index.find(&range, filter), Some(id));
        self.list.push(Listed { id, range, filter, value });
        self.most = self.most.max(self.list.len());
    }

    fn remove(&mut self, nth: usize) {
        if self.list.is_empty() {
            return;
        }
        let gone = self.list.swap_remove(nth % self.list.len());
        self.most = if self.list.is_empty() { 0 } else { self.most };
        assert_eq!(self.index.remove(gone.id), Some(gone.value));
        assert_eq!(self.index.remove(gone.id), None);
        assert_eq!(self.index.get(gone.id), None);
        assert_eq!(self.index.extent(gone.id), None);
        assert_eq!(self.index.find(&gone.range, gone.filter), None);
    }

    fn check_key(&self, key: &Key) {
        let mut expected: Vec<_> = self.list.iter().filter(|one| one.range.contains(key)).collect();
        expected.sort_by_key(|one| one.place());
        let mut found = Vec::new();
        self.index.matching(key, |id| found.push(id));
        assert_eq!(found, expected.iter().map(|one| one.id).collect::<Vec<_>>(), "{key:?}");
    }

    fn check(&mut self) {
        assert_eq!(self.index.len(), self.list.len());
        assert_eq!(self.index.is_empty(), self.list.is_empty());
        let ranges = self.list.iter().filter(|one| !matches!(one.range, KeyRange::One(_)));
        assert_eq!(self.index.ranges.check(&self.index.slab), ranges.count());
        for one in &self.list {
            assert_eq!(self.index.extent(one.id), Some(Extent::of(&one.range)));
            assert_eq!(self.index.filter(one.id), Some(one.filter));
            assert_eq!(self.index.get(one.id), Some(&one.value));
            let number = usize::try_from(one.id.0).unwrap();
            assert!(number < self.most, "{number} is given although smaller ones were free");
        }
        self.list.sort_by_key(|one| one.id);
        let values: Vec<_> = self.index.iter_mut().map(|value| *value).collect();
        assert_eq!(values, self.list.iter().map(|one| one.value).collect::<Vec<_>>());
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert(KeyRange, Filter),
    Remove(usize),
    Match(Key),
}

/// Few bytes, the lowest and the highest among them, so that keys repeat, are prefixes of each other,
/// and have prefix ranges without an end.
fn any_key() -> impl Strategy<Value = Key> {
    let byte = prop::sample::select(vec![0x00, b'a', 0xff]);
    prop::collection::vec(byte, 1..4).prop_map(key)
}

fn any_range() -> impl Strategy<Value = KeyRange> {
    prop_oneof![
        any_key().prop_map(KeyRange::One),
        any_key().prop_map(KeyRange::prefix),
        any_key().prop_map(KeyRange::From),
        (any_key(), any_key())
            .prop_map(|(start, end)| KeyRange::HalfOpen(start, end))
            .prop_filter("no key is in it", |range| !range.is_empty()),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let filter = (any::<bool>(), any::<bool>());
    prop_oneof![
        4 => (any_range(), filter).prop_map(|(range, (no_put, no_delete))| {
            Step::Insert(range, Filter { no_put, no_delete })
        }),
        3 => any::<usize>().prop_map(Step::Remove),
        2 => any_key().prop_map(Step::Match),
    ]
}

proptest! {
    /// Through any history of groups, the index finds what a plain list finds, in its order; and
    /// with the last group the memory goes, too.
    #[test]
    fn finds_what_a_list_finds(steps in prop::collection::vec(step(), 1..250)) {
        let mut twins = Twins::default();
        for step in steps {
            match step {
                Step::Insert(range, filter) => twins.insert(range, filter),
                Step::Remove(nth) => twins.remove(nth),
                Step::Match(key) => twins.check_key(&key),
            }
            twins.check();
        }
        for one in &twins.list {
            twins.check_key(one.range.start());
            one.range.end().iter().for_each(|end| twins.check_key(end));
        }
        while !twins.list.is_empty() {
            twins.remove(0);
            twins.check();
        }
        twins.insert(KeyRange::From(Key::MIN), NO_FILTER);
        prop_assert_eq!(twins.list[0].id, GroupId(0));
        twins.check_key(&key("a"));
    }
}

/// The value is changed in place, and a number that no group has is nobody's.
#[test]
fn values_belong_to_their_owner() {
    let mut index = Index::new();
    let id = index.insert(&KeyRange::prefix(key("a")), NO_FILTER, 1).unwrap();

    *index.get_mut(id).unwrap() += 1;
    index.iter_mut().for_each(|value| *value *= 10);

    assert_eq!(index.get(id), Some(&20));
    assert!(index.contains(id, &key("ab")));
    assert!(!index.contains(id, &key("b")));
    let nobody = GroupId(7);
    assert!(!index.contains(nobody, &key("ab")));
    assert_eq!(index.get_mut(nobody), None);
    assert_eq!(index.filter(nobody), None);
}

/// A group costs its value, two words and the allocation of its range.
#[test]
fn a_group_is_no_larger_than_its_content() {
    type Plain = (Box<[u8]>, [u64; 3]);
    assert_eq!(slab::slot_size::<[u64; 3]>(), size_of::<Plain>());
}

/// Among many prefixes, those of a key are found along a few paths, whatever order they came in.
#[test]
fn few_of_many_ranges_are_looked_at() {
    const PREFIXES: u32 = 100_000;
    // Ascending order is the one in which a tree that does not balance is a list.
    let prefix = |number: u32| format!("/service/{number:06}/");
    let mut index = Index::new();
    for number in 0..PREFIXES {
        index.insert(&KeyRange::prefix(key(prefix(number))), NO_FILTER, number).unwrap();
    }
    // Ranges that hold many of the prefixes, and one that holds all keys.
    for outer in ["/service/0", "/service/05", "/service/050"] {
        index.insert(&KeyRange::prefix(key(outer)), NO_FILTER, PREFIXES).unwrap();
    }
    index.insert(&KeyRange::From(Key::MIN), NO_FILTER, PREFIXES).unwrap();
    index.ranges.check(&index.slab);

    for (number, groups) in [(0, 3), (50_000, 5), (50_499, 5), (99_999, 3)] {
        let spans = Counting::new(&index.slab);
        let mut found = Vec::new();
        let watched = format!("{}instance", prefix(number));
        index.ranges.stab(watched.as_bytes(), &spans, &mut |id| found.push(id));

        assert_eq!(found.len(), groups, "{watched}");
        assert_eq!(found.last().and_then(|id| index.get(*id)), Some(&number));
        let looked_at = spans.count.get();
        assert!(looked_at <= 200, "{looked_at} ranges are looked at for {watched}");
    }
}

/// Among many single keys, the group of a key is found at once.
#[test]
fn one_of_many_keys_is_looked_at() {
    const KEYS: usize = 100_000;
    let name = |number: usize| format!("/config/{number:06}");
    let mut index = Index::new();
    for number in 0..KEYS {
        index.insert(&KeyRange::One(key(name(number))), NO_FILTER, number).unwrap();
    }

    let spans = Counting::new(&index.slab);
    for number in (0..KEYS).step_by(10) {
        let mut found = Vec::new();
        index.exact.matching(name(number).as_bytes(), &spans, &mut |id| found.push(id));
        assert_eq!(found.len(), 1);
        assert_eq!(index.get(found[0]), Some(&number));
    }
    // A table tells keys apart by seven bits of their hash before it looks at them, so that beside
    // the key that is sought a few in a hundred are looked at.
    let (sought, looked_at) = (KEYS / 10, spans.count.get());
    assert!(looked_at <= sought * 3 / 2, "{looked_at} keys are looked at for {sought}");
}

/// When many groups of single keys have gone, those that stay are still found.
#[test]
fn groups_stay_found_while_others_go() {
    const KEYS: usize = 20_000;
    let range = |number: usize| KeyRange::One(key(format!("/lease/{number}")));
    let mut index = Index::new();
    let ids: Vec<_> =
        (0..KEYS).map(|number| index.insert(&range(number), NO_FILTER, number).unwrap()).collect();

    for (number, id) in ids.iter().enumerate().filter(|(number, _)| number % 1_000 != 0) {
        assert_eq!(index.remove(*id), Some(number));
    }

    assert_eq!(index.len(), KEYS / 1_000);
    for (number, id) in ids.into_iter().enumerate() {
        let stays = (number % 1_000 == 0).then_some(id);
        assert_eq!(index.find(&range(number), NO_FILTER), stays);
    }
}
