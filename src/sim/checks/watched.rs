//! What a watcher was shown, and the promises of a watch: ordered, unique, atomic, reliable,
//! resumable, bookmarkable, with the pairs before, and of nothing but what was asked for.

use crate::{
    sim::checks::Violation,
    types::{Event as Change, EventKind, KeyRange, KeyValue, Revision},
};

/// What a watcher asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The keys.
    pub range: KeyRange,
    /// Leave puts out.
    pub no_put: bool,
    /// Leave deletes out.
    pub no_delete: bool,
    /// Show the pairs before.
    pub prev_kv: bool,
    /// Tell of progress now and then.
    pub progress_notify: bool,
}

impl Wanted {
    /// Whether it wants to be shown a change.
    fn wants(&self, change: &Change) -> bool {
        let left_out = match change.kind {
            EventKind::Put(_) => self.no_put,
            EventKind::Delete(..) => self.no_delete,
        };
        self.range.contains(change.key()) && !left_out
    }
}

/// A watcher with all that it was shown, over all streams on which it went on.
#[derive(Debug)]
pub struct Watched {
    wanted: Wanted,
    spans: Vec<Span>,
}

/// Revisions in a row, and what was shown of them.
#[derive(Debug)]
struct Span {
    from: Revision,
    /// Everything before this one was shown.
    next: Revision,
    shown: Vec<Change>,
}

impl Watched {
    /// A watcher that was shown nothing yet, and starts at `from`.
    #[must_use]
    pub fn new(wanted: Wanted, from: Revision) -> Self {
        let mut watched = Self { wanted, spans: Vec::new() };
        watched.begin(from);
        watched
    }

    /// What it asks for.
    #[must_use]
    pub fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// The first revision that it has yet to be shown.
    #[must_use]
    pub fn next(&self) -> Revision {
        self.spans.last().expect("a watcher starts somewhere").next
    }

    /// It starts anew, at `from`.
    pub fn begin(&mut self, from: Revision) {
        self.spans.push(Span { from, next: from, shown: Vec::new() });
    }

    /// It is shown changes, told as of a revision.
    pub fn show(&mut self, as_of: Revision, changes: Vec<Change>) -> Result<(), Violation> {
        let next = self.next();
        let complain = |what: String| Err(Violation(format!("{what} by {:?}", self.wanted)));
        let (Some(first), Some(last)) = (changes.first(), changes.last()) else {
            return complain("a response without changes".to_owned());
        };
        let (first, last) = (first.id, last.id);
        if first.revision < next || last.revision > as_of {
            return complain(format!(
                "{first} to {last} as of {as_of} shown after {next} was next"
            ));
        }
        if !changes.is_sorted_by(|one, other| one.id < other.id) {
            return complain(format!("{first} to {last} shown out of order"));
        }
        let span = self.spans.last_mut().expect("a watcher starts somewhere");
        span.next = last.revision.next();
        span.shown.extend(changes);
        Ok(())
    }

    /// It is told that everything up to `revision` was shown.
    pub fn mark(&mut self, revision: Revision) -> Result<(), Violation> {
        let span = self.spans.last_mut().expect("a watcher starts somewhere");
        if revision.next() < span.next {
            let next = span.next;
            return Err(Violation(format!("progress at {revision} where {next} is next")));
        }
        span.next = revision.next();
        Ok(())
    }

    /// It is told that history below `compacted` is gone, and starts anew there.
    pub fn lose(&mut self, compacted: Revision) -> Result<(), Violation> {
        if compacted <= self.next() {
            let next = self.next();
            return Err(Violation(format!("lost at {next}, but kept is {compacted} and later")));
        }
        self.begin(compacted);
        Ok(())
    }

    /// Holds what was shown against what happened, and returns how many changes. Below
    /// `compacted` a pair before may be missing.
    pub fn judge(&self, history: &[Change], compacted: Revision) -> Result<usize, Violation> {
        for span in &self.spans {
            let at = |revision| history.partition_point(|change| change.id.revision < revision);
            let happened = history.get(at(span.from)..at(span.next)).unwrap_or_default();
            let mut wanted = happened.iter().filter(|change| self.wanted.wants(change));
            for shown in &span.shown {
                let Some(change) = wanted.next() else {
                    return Err(Violation(format!("{shown:?} was shown, and did not happen")));
                };
                self.compare(shown, change, compacted)?;
            }
            if let Some(change) = wanted.next() {
                return Err(Violation(format!(
                    "{change:?} was not shown to {:?}, from {} to before {}",
                    self.wanted, span.from, span.next
                )));
            }
        }
        Ok(self.spans.iter().map(|span| span.shown.len()).sum())
    }

    fn compare(
        &self,
        shown: &Change,
        change: &Change,
        compacted: Revision,
    ) -> Result<(), Violation> {
        let prev: Option<&KeyValue> = change.prev.as_ref().filter(|_| self.wanted.prev_kv);
        let may_lack = shown.prev.is_none() && shown.id.revision <= compacted;
        // Places in a revision may be told among those of the key alone; the order is that of all.
        let (as_shown, as_happened) = (shown.id.revision, change.id.revision);
        let is_same = (as_shown, &shown.kind) == (as_happened, &change.kind);
        if is_same && (shown.prev.as_ref() == prev || may_lack) {
            return Ok(());
        }
        Err(Violation(format!("{shown:?} was shown for {change:?} to {:?}", self.wanted)))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::types::{EventId, Key};

    fn put(revision: i64, sub: u32) -> Change {
        let key = Key::new(format!("k{sub}").into_bytes()).unwrap();
        let kv = KeyValue {
            key,
            value: Bytes::new(),
            create_revision: Revision(1),
            mod_revision: Revision(revision),
            version: revision,
            lease: None,
        };
        let prev = (revision > 2).then(|| KeyValue {
            mod_revision: Revision(revision - 1),
            version: revision - 1,
            ..kv.clone()
        });
        let id = EventId { revision: Revision(revision), sub };
        Change { id, kind: EventKind::Put(kv), prev }
    }

    fn history() -> Vec<Change> {
        (2..=5).flat_map(|revision| [put(revision, 0), put(revision, 1)]).collect()
    }

    fn watched() -> Watched {
        let range = KeyRange::From(Key::MIN);
        let (no_put, no_delete, progress_notify) = (false, false, false);
        let wanted = Wanted { range, no_put, no_delete, prev_kv: true, progress_notify };
        Watched::new(wanted, Revision(2))
    }

    fn shown(changes: &[Change]) -> Result<usize, Violation> {
        let mut watched = watched();
        for revision in changes.chunk_by(|a, b| a.id.revision == b.id.revision) {
            watched.show(Revision(5), revision.to_vec())?;
        }
        watched.mark(Revision(5))?;
        watched.judge(&history(), Revision(0))
    }

    /// What happened, whole and in order, is all right, also with a new start in between.
    #[test]
    fn a_faithful_watch_passes() {
        assert_eq!(shown(&history()), Ok(8));

        let mut watched = watched();
        watched.show(Revision(2), history()[..2].to_vec()).unwrap();
        watched.lose(Revision(5)).unwrap();
        let mut bare = history()[6..].to_vec();
        bare.iter_mut().for_each(|change| change.prev = None);
        watched.show(Revision(5), bare).unwrap();
        assert_eq!(watched.judge(&history(), Revision(5)), Ok(4));
        assert!(watched.judge(&history(), Revision(4)).is_err());
    }

    /// A gap, a repetition, another order, half a revision, another pair before: each is found.
    #[test]
    fn broken_promises_are_found() {
        for left_out in [0, 3, 7] {
            let mut gap = history();
            gap.remove(left_out);
            assert!(shown(&gap).is_err());
        }
        let mut repeated = history();
        repeated.insert(2, put(2, 1));
        assert!(shown(&repeated).is_err());
        let mut swapped = history();
        swapped.swap(2, 3);
        assert!(shown(&swapped).is_err());
        let mut other_pair = history();
        other_pair[4].prev = None;
        assert!(shown(&other_pair).is_err());

        let mut split = watched();
        split.show(Revision(2), vec![put(2, 0)]).unwrap();
        assert!(split.show(Revision(2), vec![put(2, 1)]).is_err());
    }

    /// Progress ahead of what was shown is found, and progress that goes back; and so is an end for
    /// no reason.
    #[test]
    fn false_words_are_found() {
        let mut early = watched();
        early.mark(Revision(3)).unwrap();
        assert!(early.show(Revision(3), vec![put(3, 0), put(3, 1)]).is_err());
        assert!(early.judge(&history(), Revision(0)).is_err());
        assert!(early.mark(Revision(2)).is_err());

        let mut ended = watched();
        ended.mark(Revision(3)).unwrap();
        assert!(ended.lose(Revision(4)).is_err());
    }
}
