//! Which history is given up without anybody asking: by age, or by number of revisions.
//!
//! Every member notes which revision it had when, so that whoever leads next knows what is old
//! enough. Only a leader has anything compacted, as a request of its own; that it came to nothing
//! shows at the next look, which asks again. What was noted is gone with the process, as in etcd: a
//! member that starts compacts after one more period at the earliest.
//!
//! Values in, values out: the replica calls this with its ticks, and the time is theirs.

use std::collections::VecDeque;

use crate::types::{Millis, Revision};

/// The longest that history which is old enough waits for its compaction.
const INTERVAL_MAX: Millis = Millis(3_600_000);
/// Looks in an interval.
const LOOKS: u64 = 10;
/// Looks in a whole period: a very long one is divided more coarsely, which bounds what is noted.
const LOOKS_MAX: u64 = 10_000;
/// How often revisions are counted.
const COUNT_EVERY: Millis = Millis(300_000);

/// Which history a leader gives up by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoCompaction {
    /// What is older than this; looked at after one period, and then as often, hourly at least.
    Periodic(Millis),
    /// All but so many revisions; looked at every five minutes.
    Revision(i64),
}

impl AutoCompaction {
    fn look_every(self) -> Millis {
        match self {
            Self::Periodic(period) => {
                let look = interval(period).0 / LOOKS;
                Millis(look.max(period.0 / LOOKS_MAX).max(1))
            }
            Self::Revision(_) => COUNT_EVERY,
        }
    }

    fn mode(self) -> &'static str {
        match self {
            Self::Periodic(_) => "periodic",
            Self::Revision(_) => "revision",
        }
    }
}

/// How often history of such an age is given up.
fn interval(period: Millis) -> Millis {
    period.min(INTERVAL_MAX)
}

/// Decides when what is compacted.
#[derive(Debug, Default)]
pub(super) struct AutoCompactor {
    rule: Option<AutoCompaction>,
    /// When it looks next; none before the first tick.
    next: Option<Millis>,
    /// When each revision was first seen, the oldest that counts first.
    seen: VecDeque<(Millis, Revision)>,
    /// When history was last given up; before that, when it began to look.
    last: Millis,
    /// How long after that it may be again.
    pause: Millis,
    /// What was asked for, and when.
    asked: Option<(Millis, Revision)>,
}

impl AutoCompactor {
    pub(super) fn new(rule: Option<AutoCompaction>) -> Self {
        Self { rule, ..Self::default() }
    }

    /// Whether it wants to look now.
    pub(super) fn is_due(&self, now: Millis) -> bool {
        self.rule.is_some() && self.next.is_none_or(|next| now >= next)
    }

    /// Takes in the revision of now and up to where history is compacted. Returns up to where it is
    /// to be, if this member leads and it is time.
    pub(super) fn look(
        &mut self,
        now: Millis,
        leads: bool,
        revision: Revision,
        compacted: Revision,
    ) -> Option<Revision> {
        let rule = self.rule?;
        let Some(planned) = self.next else {
            self.begin(now, rule, revision);
            return None;
        };
        // By the plan, so that ticks between two looks do not add up; but none is made up for.
        let every = rule.look_every();
        let following = planned + every;
        self.next = Some(if following > now { following } else { now + every });

        self.see_what_came_of_it(rule, now, compacted);
        let wanted = match rule {
            AutoCompaction::Periodic(period) => self.old_enough(now, period, revision),
            AutoCompaction::Revision(kept) => {
                Some(Revision(revision.0.saturating_sub(kept))).filter(|wanted| wanted.0 > 0)
            }
        };
        // Below the first revision there is nothing.
        let gone = compacted.max(Revision::FIRST);
        let wanted = wanted.filter(|wanted| leads && *wanted > gone)?;
        self.pause = match rule {
            AutoCompaction::Periodic(period) => interval(period),
            AutoCompaction::Revision(_) => Millis(0),
        };
        self.asked = Some((now, wanted));
        tracing::info!(revision = wanted.0, "starting auto {} compaction", rule.mode());
        Some(wanted)
    }

    fn begin(&mut self, now: Millis, rule: AutoCompaction, revision: Revision) {
        self.next = Some(now + rule.look_every());
        self.last = now;
        if let AutoCompaction::Periodic(period) = rule {
            self.pause = period;
            self.seen.push_back((now, revision));
        }
    }

    fn see_what_came_of_it(&mut self, rule: AutoCompaction, now: Millis, compacted: Revision) {
        let Some((at, revision)) = self.asked.take() else { return };
        let mode = rule.mode();
        if compacted >= revision {
            self.last = at;
            tracing::info!(revision = revision.0, "completed auto {mode} compaction");
        } else {
            let waited_ms = now.since(at).0;
            tracing::warn!(revision = revision.0, waited_ms, "failed auto {mode} compaction");
        }
    }

    /// The newest revision that was there a period ago, if history may be given up again.
    fn old_enough(&mut self, now: Millis, period: Millis, revision: Revision) -> Option<Revision> {
        let is_old = |(at, _): &(Millis, Revision)| *at + period <= now;
        while self.seen.get(1).is_some_and(is_old) {
            self.seen.pop_front();
        }
        let found = self.seen.front().copied().filter(is_old);
        if self.seen.back().is_none_or(|(_, newest)| *newest != revision) {
            self.seen.push_back((now, revision));
        }
        let (_, revision) = found.filter(|_| now.since(self.last) >= self.pause)?;
        Some(revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000;
    const HOUR: u64 = 60 * MINUTE;

    /// A store with a revision a minute, and a clock that ticks each second, from any moment.
    struct Member {
        compactor: AutoCompactor,
        now: Millis,
        since: Millis,
        compacted: Revision,
        leads: bool,
        /// Whether compactions that are asked for happen.
        works: bool,
        /// What was asked for in which minute.
        asked: Vec<(u64, i64)>,
    }

    impl Member {
        fn new(rule: AutoCompaction) -> Self {
            let since = Millis(7_777_777);
            Self {
                compactor: AutoCompactor::new(Some(rule)),
                now: since,
                since,
                compacted: Revision::NEVER_COMPACTED,
                leads: true,
                works: true,
                asked: Vec::new(),
            }
        }

        fn minute(&self) -> u64 {
            self.now.since(self.since).0 / MINUTE
        }

        fn revision(&self) -> Revision {
            Revision(2 + i64::try_from(self.minute()).unwrap())
        }

        fn pass(&mut self, minutes: u64) -> &[(u64, i64)] {
            let begun = self.asked.len();
            for _ in 0..minutes * 60 {
                if self.compactor.is_due(self.now) {
                    let revision = self.revision();
                    let wanted =
                        self.compactor.look(self.now, self.leads, revision, self.compacted);
                    self.asked.extend(wanted.map(|wanted| (self.minute(), wanted.0)));
                    if let Some(wanted) = wanted.filter(|_| self.works) {
                        self.compacted = wanted;
                    }
                }
                self.now = self.now + Millis(1_000);
            }
            &self.asked[begun..]
        }
    }

    fn periodic(hours: u64) -> Member {
        Member::new(AutoCompaction::Periodic(Millis(hours * HOUR)))
    }

    /// Ten hours of history: nothing for ten hours, and then each hour what is ten hours old.
    #[test]
    fn a_long_period_is_kept_and_looked_at_hourly() {
        let mut member = periodic(10);
        assert_eq!(member.pass(600), []);
        assert_eq!(member.pass(180), [(600, 2), (660, 62), (720, 122)]);
    }

    /// A short period: after it, and then as often as it is long.
    #[test]
    fn a_short_period_is_looked_at_as_often() {
        let mut member = Member::new(AutoCompaction::Periodic(Millis(10 * MINUTE)));
        assert_eq!(member.pass(31), [(10, 2), (20, 12), (30, 22)]);
    }

    /// Whoever follows remembers, and goes on where it takes over. Who has just started waits for a period.
    #[test]
    fn a_new_leader_knows_what_is_old_enough() {
        let mut follower = periodic(1);
        follower.leads = false;
        assert_eq!(follower.pass(125), []);
        follower.leads = true;
        follower.compacted = Revision(40); // by the one before
        assert_eq!(follower.pass(120), [(126, 68), (186, 128)]);

        let mut started = periodic(1);
        started.compacted = Revision(0);
        assert_eq!(started.pass(59), []);
        assert_eq!(started.pass(2), [(60, 2)]);
    }

    /// What came to nothing is asked for again at the next look, a tenth of the interval later.
    #[test]
    fn a_failure_is_repeated_soon() {
        let mut member = periodic(2);
        member.works = false;
        assert_eq!(member.pass(133), [(120, 2), (126, 8), (132, 14)]);
        member.works = true;
        assert_eq!(member.pass(120), [(138, 20), (198, 80)]);
    }

    /// What is compacted already, by whomever, is not asked for.
    #[test]
    fn what_is_gone_is_not_asked_for() {
        let mut member = periodic(1);
        member.pass(59);
        member.compacted = Revision(500);
        assert_eq!(member.pass(300), []);
    }

    /// A number of revisions is kept, looked at every five minutes; nothing happens before there are
    /// as many, or when nothing was written since.
    #[test]
    fn so_many_revisions_are_kept() {
        let mut member = Member::new(AutoCompaction::Revision(10));
        assert_eq!(member.pass(21), [(10, 2), (15, 7), (20, 12)]);
        member.leads = false;
        assert_eq!(member.pass(10), []);
    }

    /// Without a rule nothing is ever due; and however long a period is, little is noted.
    #[test]
    fn no_rule_does_nothing_and_notes_are_bounded() {
        assert!(!AutoCompactor::new(None).is_due(Millis(u64::MAX)));
        let years = AutoCompaction::Periodic(Millis(20 * 365 * 24 * HOUR));
        let mut compactor = AutoCompactor::new(Some(years));
        for look in 0..3 * LOOKS_MAX {
            let now = Millis(look * 20 * 365 * 24 * HOUR / LOOKS_MAX);
            let revision = Revision(i64::try_from(look).unwrap());
            compactor.look(now, false, revision, Revision::NEVER_COMPACTED);
        }
        assert!(compactor.seen.len() <= usize::try_from(LOOKS_MAX).unwrap() + 2);
    }

    /// A process that stood still looks once, not for all the times that it missed.
    #[test]
    fn missed_looks_are_not_made_up_for() {
        let mut member = periodic(1);
        member.pass(5);
        member.now = member.now + Millis(24 * HOUR);
        assert_eq!(member.pass(1), [(1445, 2)]);
        assert!(member.compactor.seen.len() <= 2);
    }
}
