//! [`Chronicle`]: all that ever happened to the keys, whatever was compacted meanwhile.

use std::collections::BTreeMap;

use crate::{
    node::Input,
    sim::{checks::Violation, member::Member, schedule::Event, world::Context},
    state::{ApplyError, Command, View, meta, mvcc},
    types::{DeleteReason, Event as Change, EventKind, Key, KeyValue, MemberId, Revision},
};

/// Revisions that a compaction leaves at most.
const KEPT_MAX: u64 = 60;

/// Every change, written down when the first member has applied it. Only what is written down here
/// is ever compacted.
#[derive(Debug)]
pub struct Chronicle {
    changes: Vec<Change>,
    revision: Revision,
    /// The highest revision up to which somebody asked for a compaction.
    compacted: Revision,
    has_expiry: bool,
}

impl Default for Chronicle {
    fn default() -> Self {
        let (revision, compacted) = (Revision::FIRST, Revision::NEVER_COMPACTED);
        Self { changes: Vec::new(), revision, compacted, has_expiry: false }
    }
}

impl Chronicle {
    /// Every change so far.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Whether a lease with keys has run out.
    #[must_use]
    pub fn has_expiry(&self) -> bool {
        self.has_expiry
    }

    /// The newest revision.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The revision below which history may be gone somewhere.
    #[must_use]
    pub fn compacted(&self) -> Revision {
        self.compacted
    }

    /// Writes down what a member has applied and no other before it.
    pub fn record(&mut self, view: &dyn View) -> Result<(), Violation> {
        let newest = meta::revision(view).map_err(|fault| Violation(fault.to_string()))?;
        if newest > self.revision {
            let changes = told(view, self.revision.next(), newest)?;
            let expired =
                |c: &Change| matches!(c.kind, EventKind::Delete(_, DeleteReason::Expired));
            self.has_expiry |= changes.iter().any(expired);
            self.changes.extend(changes);
            self.revision = newest;
        }
        Ok(())
    }

    /// Holds what a member kept against what was written down, and that against a replay.
    pub fn check(&self, view: &dyn View) -> Result<(), Violation> {
        self.replay()?;
        let broken = |fault: crate::types::Fault| Violation(fault.to_string());
        let newest = meta::revision(view).map_err(broken)?;
        if newest != self.revision {
            let revision = self.revision;
            return Err(Violation(format!("revision {revision} was applied, kept is {newest}")));
        }
        let kept_from = meta::compacted(view).map_err(broken)?.max(Revision::FIRST.next());
        let kept = told(view, kept_from, newest)?;
        let start = self.changes.partition_point(|change| change.id.revision < kept_from);
        let written = self.changes.get(start..).unwrap_or_default();
        let bare = |change: &Change| Change { prev: None, ..change.clone() };
        if !kept.iter().map(bare).eq(written.iter().map(bare)) {
            return Err(Violation(format!("history from {kept_from} on is not what was applied")));
        }
        Ok(())
    }

    /// The pair before each change is what the changes before left.
    fn replay(&self) -> Result<(), Violation> {
        let mut live: BTreeMap<&Key, &KeyValue> = BTreeMap::new();
        for revision in self.changes.chunk_by(|a, b| a.id.revision == b.id.revision) {
            if let Some(wrong) = revision
                .iter()
                .find(|change| change.prev.as_ref() != live.get(change.key()).copied())
            {
                let before = live.get(wrong.key());
                return Err(Violation(format!("{wrong:?} came after {before:?}")));
            }
            for change in revision {
                match &change.kind {
                    EventKind::Put(kv) => live.insert(&kv.key, kv),
                    EventKind::Delete(key, _) => live.remove(key),
                };
            }
        }
        Ok(())
    }
}

/// History as a view has it.
fn told(view: &dyn View, from: Revision, to: Revision) -> Result<Vec<Change>, Violation> {
    let history = mvcc::events(view, from, to, usize::MAX, usize::MAX);
    let history = history.map_err(|error: ApplyError| Violation(error.to_string()))?;
    Ok(history.events)
}

/// Somebody asks for a compaction, and does not wait for the answer.
pub fn compact(members: &mut BTreeMap<MemberId, Member>, ctx: &mut Context) {
    let delay = ctx.rng.below(ctx.config.compaction_interval_max) + 1;
    ctx.schedule.after(delay, Event::Compaction);
    let kept = i64::try_from(ctx.rng.below(KEPT_MAX)).expect("it is a small number");
    let to = Revision(ctx.chronicle.revision.0 - kept);
    let member = *ctx.rng.pick(&ctx.roster);
    let Some(member) = members.get_mut(&member).filter(|_| to > ctx.chronicle.compacted) else {
        return;
    };
    let Some(process) = member.process() else { return };
    if let Ok((sequence, _outcome)) = process.shared.submit(Command::Compact(to)) {
        ctx.chronicle.compacted = to;
        ctx.note(
            &[17, member.id().0, to.0.unsigned_abs()],
            format_args!("{} is asked to compact to revision {to}", member.id()),
        );
        member.post(Input::Proposal(sequence), ctx);
    }
}
