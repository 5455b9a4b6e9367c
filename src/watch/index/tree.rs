//! The groups of ranges, by the keys in them: an interval tree.
//!
//! The tree is the one of Cormen, Leiserson, Rivest and Stein, *Introduction to Algorithms*, chapter
//! "Augmenting Data Structures": in order of where ranges start, and every node knows the range of
//! its subtree that ends last, so that a search leaves out what ends too early. It is kept in balance
//! as Adelson-Velsky and Landis do it: the heights of two siblings differ by one at most. So it is
//! never higher than 1.45 times the logarithm of its size, which bounds the recursion here as well,
//! and neither luck nor what clients choose plays a part.

use std::cmp::Ordering;

use crate::watch::{
    Filter,
    index::{
        GroupId,
        slab::Spans,
        span::{End, Extent, filter_bits},
    },
};

#[cfg(test)]
mod tests;

/// Where no node is. There are fewer nodes than group numbers, so no node has this place.
const NONE: u32 = u32::MAX;

/// Nodes by place, with the places of removed ones in a chain through `left`.
///
/// Every group in a node has its span. Groups left of a node are smaller by [`Rank`], those right of
/// it are larger.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    root: u32,
    free: u32,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    group: GroupId,
    left: u32,
    right: u32,
    /// The group of the subtree whose range ends last.
    last: GroupId,
    /// Of the subtree; without one it is 0.
    height: u8,
}

#[derive(Clone, Copy)]
enum Side {
    Left,
    Right,
}

/// The order of the tree. The number makes it total even over equal groups.
type Rank<'a> = (Extent<'a>, u8, GroupId);

impl Default for Tree {
    fn default() -> Self {
        Self { nodes: Vec::new(), root: NONE, free: NONE }
    }
}

impl Tree {
    /// The group of this range and filter.
    pub(super) fn find(
        &self,
        range: Extent<'_>,
        filter: Filter,
        spans: &impl Spans,
    ) -> Option<GroupId> {
        let wanted = (range, filter_bits(filter));
        let mut at = self.root;
        while let Some(node) = self.node(at) {
            let (range, filter, group) = rank(node.group, spans)?;
            at = match wanted.cmp(&(range, filter)) {
                Ordering::Less => node.left,
                Ordering::Equal => return Some(group),
                Ordering::Greater => node.right,
            };
        }
        None
    }

    /// Adds a group that has its span already.
    pub(super) fn insert(&mut self, group: GroupId, spans: &impl Spans) {
        self.root = self.inserted(self.root, group, spans);
    }

    /// Takes a group out that still has its span, if it is there.
    pub(super) fn remove(&mut self, group: GroupId, spans: &impl Spans) {
        self.root = self.removed(self.root, group, spans);
        if self.root == NONE {
            *self = Self::default();
        }
    }

    /// Calls `found` for every group whose range contains the key, in the order of the tree.
    pub(super) fn stab(&self, key: &[u8], spans: &impl Spans, found: &mut impl FnMut(GroupId)) {
        self.stab_below(self.root, key, spans, found);
    }

    fn stab_below(&self, at: u32, key: &[u8], spans: &impl Spans, found: &mut impl FnMut(GroupId)) {
        let Some(node) = self.node(at) else { return };
        let place = |group| spans.span(group).map(|span| span.extent().place(key));
        // A key after the range that ends last is after all of them.
        if place(node.last) == Some(Ordering::Greater) {
            return;
        }
        self.stab_below(node.left, key, spans, found);
        match place(node.group) {
            // Whatever is right of this starts no earlier.
            Some(Ordering::Less) => return,
            Some(Ordering::Equal) => found(node.group),
            Some(Ordering::Greater) | None => {}
        }
        self.stab_below(node.right, key, spans, found);
    }

    /// Adds a group to the subtree at `at`, and returns the root it has then.
    fn inserted(&mut self, at: u32, group: GroupId, spans: &impl Spans) -> u32 {
        let Some(node) = self.node(at) else { return self.new_node(group) };
        let side =
            if rank(group, spans) < rank(node.group, spans) { Side::Left } else { Side::Right };
        let child = self.inserted(node.child(side), group, spans);
        self.set_child(at, side, child);
        self.balanced(at, spans)
    }

    /// Takes a group out of the subtree at `at`, and returns the root it has then.
    fn removed(&mut self, at: u32, group: GroupId, spans: &impl Spans) -> u32 {
        let Some(node) = self.node(at) else { return NONE };
        let side = match rank(group, spans).cmp(&rank(node.group, spans)) {
            Ordering::Less => Side::Left,
            Ordering::Greater => Side::Right,
            Ordering::Equal => {
                self.free_node(at);
                return self.joined(node.left, node.right, spans);
            }
        };
        let child = self.removed(node.child(side), group, spans);
        self.set_child(at, side, child);
        self.balanced(at, spans)
    }

    /// One tree of two whose root is gone: the least node of the right one takes its place.
    fn joined(&mut self, left: u32, right: u32, spans: &impl Spans) -> u32 {
        if left == NONE {
            return right;
        }
        if right == NONE {
            return left;
        }
        let (rest, least) = self.without_least(right, spans);
        self.set_child(least, Side::Left, left);
        self.set_child(least, Side::Right, rest);
        self.balanced(least, spans)
    }

    /// The root of the subtree at `at` without its least node, and that node.
    fn without_least(&mut self, at: u32, spans: &impl Spans) -> (u32, u32) {
        let (left, right) = self.node(at).map_or((NONE, NONE), |node| (node.left, node.right));
        if left == NONE {
            return (right, at);
        }
        let (rest, least) = self.without_least(left, spans);
        self.set_child(at, Side::Left, rest);
        (self.balanced(at, spans), least)
    }

    /// Restores what a node knows of its subtree, and the balance of its children, whose heights
    /// differ by two at most. Returns the root that the subtree has then.
    fn balanced(&mut self, at: u32, spans: &impl Spans) -> u32 {
        let Some(node) = self.node(at) else { return NONE };
        let (left, right) = (self.height(node.left), self.height(node.right));
        let high = match left.cmp(&right) {
            Ordering::Greater if left - right > 1 => Side::Left,
            Ordering::Less if right - left > 1 => Side::Right,
            Ordering::Less | Ordering::Equal | Ordering::Greater => {
                self.refresh(at, spans);
                return at;
            }
        };
        // A rotation hands the inner subtree of the raised child over to the other side. If that is
        // the child's higher one it would be too high there as well, so it is raised first.
        let child = node.child(high);
        if self.node(child).is_some_and(|child| {
            self.height(child.child(high)) < self.height(child.child(high.other()))
        }) {
            let raised = self.raised(child, high.other(), spans);
            self.set_child(at, high, raised);
        }
        self.raised(at, high, spans)
    }

    /// A rotation: the child at `side` takes the place of its parent, which becomes its other child.
    fn raised(&mut self, at: u32, side: Side, spans: &impl Spans) -> u32 {
        let Some(child) = self.node(at).map(|node| node.child(side)) else { return at };
        let Some(inner) = self.node(child).map(|node| node.child(side.other())) else { return at };
        self.set_child(at, side, inner);
        self.refresh(at, spans);
        self.set_child(child, side.other(), at);
        self.refresh(child, spans);
        child
    }

    /// Restores what a node knows of its subtree from what its children know.
    fn refresh(&mut self, at: u32, spans: &impl Spans) {
        let Some(mut node) = self.node(at) else { return };
        node.height = self.height(node.left).max(self.height(node.right)) + 1;
        node.last = node.group;
        for child in [node.left, node.right] {
            if let Some(child) = self.node(child)
                && end(node.last, spans) < end(child.last, spans)
            {
                node.last = child.last;
            }
        }
        self.set_node(at, node);
    }

    fn new_node(&mut self, group: GroupId) -> u32 {
        let node = Node { group, left: NONE, right: NONE, last: group, height: 1 };
        let at = self.free;
        if let Some(freed) = self.node(at) {
            self.free = freed.left;
            self.set_node(at, node);
            return at;
        }
        self.nodes.push(node);
        u32::try_from(self.nodes.len() - 1).expect("there are fewer nodes than group numbers")
    }

    fn free_node(&mut self, at: u32) {
        self.set_child(at, Side::Left, self.free);
        self.free = at;
    }

    fn height(&self, at: u32) -> u8 {
        self.node(at).map_or(0, |node| node.height)
    }

    fn node(&self, at: u32) -> Option<Node> {
        self.nodes.get(usize::try_from(at).ok()?).copied()
    }

    fn node_mut(&mut self, at: u32) -> Option<&mut Node> {
        self.nodes.get_mut(usize::try_from(at).ok()?)
    }

    fn set_node(&mut self, at: u32, to: Node) {
        if let Some(node) = self.node_mut(at) {
            *node = to;
        }
    }

    fn set_child(&mut self, at: u32, side: Side, child: u32) {
        if let Some(node) = self.node_mut(at) {
            match side {
                Side::Left => node.left = child,
                Side::Right => node.right = child,
            }
        }
    }
}

impl Node {
    fn child(self, side: Side) -> u32 {
        match side {
            Side::Left => self.left,
            Side::Right => self.right,
        }
    }
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }
}

fn rank(group: GroupId, spans: &impl Spans) -> Option<Rank<'_>> {
    let span = spans.span(group)?;
    Some((span.extent(), span.filter_bits(), group))
}

fn end(group: GroupId, spans: &impl Spans) -> Option<End<'_>> {
    spans.span(group).map(|span| span.extent().end)
}
