use super::*;

impl Tree {
    /// Panics unless order, balance and what nodes know of their subtrees are as they should be, and
    /// every place is a node's or free. Returns how many nodes there are.
    pub(in crate::watch::index) fn check(&self, spans: &impl Spans) -> usize {
        let mut groups = Vec::new();
        self.check_below(self.root, spans, &mut groups);
        assert!(groups.windows(2).all(|pair| rank(pair[0], spans) < rank(pair[1], spans)));

        let mut free = 0;
        let mut at = self.free;
        while let Some(node) = self.node(at) {
            free += 1;
            at = node.left;
        }
        assert_eq!(groups.len() + free, self.nodes.len());
        groups.len()
    }

    fn check_below(&self, at: u32, spans: &impl Spans, groups: &mut Vec<GroupId>) {
        let Some(node) = self.node(at) else { return assert_eq!(at, NONE) };
        let before = groups.len();
        self.check_below(node.left, spans, groups);
        groups.push(node.group);
        self.check_below(node.right, spans, groups);

        let (left, right) = (self.height(node.left), self.height(node.right));
        assert!(left.abs_diff(right) <= 1, "{left} and {right} high");
        assert_eq!(node.height, left.max(right) + 1);
        let last = groups[before..].iter().map(|group| end(*group, spans)).max();
        assert_eq!(Some(end(node.last, spans)), last);
        assert!(groups[before..].contains(&node.last));
    }
}
