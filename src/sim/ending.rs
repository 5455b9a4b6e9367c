//! The end of a world: nothing breaks any more, and what must hold is demanded and checked.

use std::collections::BTreeSet;

use crate::{
    node::ports::StateStore,
    sim::{
        checks::{Violation, configurations::Configuration, linearizable, revisions},
        faults, judge,
        member::Member,
        schedule::Event,
        world::World,
    },
    state::lease,
    types::{MemberId, Millis},
};

/// Election timeouts within which there is a leader again.
const LEADER_WITHIN: u64 = 4;
/// Election timeouts within which a write is acknowledged then.
const WRITE_WITHIN: u64 = 5;
/// What disks and a member's start may add to either, in microseconds.
const START: u64 = 500_000;

impl World {
    /// Repairs everything, and waits for all that must come then.
    pub(super) fn end(&mut self) -> Result<(), Violation> {
        self.ctx.is_open = false;
        self.holders.fall_silent(self.ctx.schedule.now());
        faults::repair(&mut self.ctx);
        if self.ctx.config.leaves_some_away && !self.operator.is_busy() {
            faults::take_away(&mut self.members, &mut self.workload, &mut self.ctx);
        }
        let back: Vec<_> = self.ctx.here().collect();
        for member in back {
            self.ctx.schedule.after(0, Event::Restart(member));
        }
        if self.ctx.config.scene.is_about_members() {
            self.settle()?;
        }
        let healing = self.members.values().filter(|member| !member.is_whole()).count() as u64;
        let repaired = self.ctx.schedule.now();
        self.demand("whole member again of each that lost something", 20, Self::all_are_whole)?;
        self.ctx.rollbacks.left_to_heal = healing;
        self.ctx.rollbacks.whole_after = Millis((self.ctx.schedule.now() - repaired) / 1_000);
        self.demand("a leader that all follow", 20, Self::all_follow_one)?;
        let led = self.ctx.schedule.now();
        // Clients give up after five seconds.
        self.demand("an end of every call", 30, |world| !world.workload.is_busy())?;
        for member in self.ctx.roster.clone() {
            self.workload.call_directly(member, true, &mut self.members, &mut self.ctx)?;
            self.workload.call_directly(member, false, &mut self.members, &mut self.ctx)?;
        }
        self.demand("answers from every member", 20, |world| !world.workload.is_busy())?;
        let bound = judge::last_end(&self.ctx, led);
        self.demand_until("an end of every lease", bound, Self::no_lease_lives)?;
        self.demand("the same state on all members", 20, Self::all_agree)?;
        self.demand("an end of what watchers are shown", 20, Self::watchers_have_seen_all)?;
        self.judge()
    }

    /// A majority settles, whoever is away; then they come back, and who was removed is gone.
    fn settle(&mut self) -> Result<(), Violation> {
        let timeout = self.ctx.config.election_timeout.0 * 1_000;
        let start = self.ctx.schedule.now();
        self.demand_until(
            "a leader",
            start + timeout * LEADER_WITHIN + START,
            Self::somebody_leads,
        )?;
        self.ctx.turnover.led_after = Millis((self.ctx.schedule.now() - start) / 1_000);
        self.write_until(start, start + timeout * (LEADER_WITHIN + WRITE_WITHIN) + START)?;
        self.demand("an end of changes", 30, |world| !world.operator.is_busy())?;
        self.demand(
            "an end of what watchers of those who run are shown",
            20,
            Self::watchers_have_seen_all,
        )?;

        self.ctx.note(&[25], format_args!("those who were away come back"));
        self.ctx.away.clear();
        self.ctx.network.heal();
        let newest: BTreeSet<MemberId> = self.ctx.configurations.newest().ids().collect();
        for member in self.ctx.roster.clone() {
            if newest.contains(&member) {
                self.ctx.schedule.after(0, Event::Restart(member));
            } else {
                self.retire(member)?;
            }
        }
        match self.ctx.lost.iter().find(|lost| newest.contains(lost)) {
            // It is for the operator to remove it, who would have in a while.
            Some(_) => self.remove_lost(),
            None => Ok(()),
        }
    }

    /// Somebody asks whoever leads for a write, again and again until it is acknowledged.
    fn write_until(&mut self, start: u64, deadline: u64) -> Result<(), Violation> {
        loop {
            let leader = faults::leader(&self.members).filter(|id| !self.ctx.away.contains(id));
            if let Some(leader) = leader {
                let call = self.workload.next_call();
                self.workload.call_directly(leader, true, &mut self.members, &mut self.ctx)?;
                self.demand_until("acknowledged write", deadline, |world| {
                    world.workload.has_ended(call)
                })?;
                if self.workload.was_done(call) {
                    break;
                }
            }
            let now = self.ctx.schedule.now();
            if now >= deadline {
                return Err(Violation(
                    "no write is acknowledged long after all was repaired".into(),
                ));
            }
            self.run_until(now + 1_000)?;
        }
        self.ctx.turnover.wrote_after = Millis((self.ctx.schedule.now() - start) / 1_000);
        Ok(())
    }

    /// The operator removes who lost a disk and has not been removed yet.
    fn remove_lost(&mut self) -> Result<(), Violation> {
        self.operator.finish();
        self.demand("removal of whoever is lost", 60, |world| {
            let newest = world.ctx.configurations.newest();
            !world.operator.is_busy() && newest.ids().all(|id| !world.ctx.lost.contains(&id))
        })?;
        for member in self.ctx.lost.clone() {
            self.retire(member)?;
        }
        Ok(())
    }

    /// A member that is not away leads, and a majority follows it.
    fn somebody_leads(&self) -> bool {
        let led = |id: &MemberId| {
            let process = self.members.get(id).and_then(Member::process)?;
            Some((process.shared.leadership(), *id))
        };
        let here: Vec<_> = self.ctx.here().collect();
        let newest = here.iter().filter_map(led).filter(|((_, by), id)| *by == Some(*id)).max();
        let Some((leadership, leader)) = newest else { return false };
        let follows = |id: &&MemberId| led(id).is_some_and(|(known, _)| known == leadership);
        let follow: BTreeSet<MemberId> = here.iter().filter(follows).copied().collect();
        let conf = self.members.get(&leader).and_then(Member::conf).unwrap_or_default();
        let voters = conf.voters.into_iter().collect();
        Configuration { voters, ..Configuration::default() }.has_majority(&follow)
    }

    /// Lets time pass until a demand is met, at most so many election timeouts.
    fn demand(
        &mut self,
        what: &str,
        timeouts: u64,
        is_met: impl Fn(&Self) -> bool,
    ) -> Result<(), Violation> {
        let timeout = self.ctx.config.election_timeout.0 * 1_000;
        let deadline = self.ctx.schedule.now() + timeout * timeouts + 5_000_000;
        self.demand_until(what, deadline, is_met)
    }

    /// Lets time pass until a demand is met, at most until `deadline`.
    fn demand_until(
        &mut self,
        what: &str,
        deadline: u64,
        is_met: impl Fn(&Self) -> bool,
    ) -> Result<(), Violation> {
        let step = self.ctx.config.election_timeout.0 * 100;
        while !is_met(self) {
            let now = self.ctx.schedule.now();
            if now >= deadline {
                return Err(Violation(format!("there is no {what} long after all was repaired")));
            }
            self.run_until(now + step)?;
        }
        Ok(())
    }

    fn all_follow_one(&self) -> bool {
        let leaders = self.members.values().map(|m| m.process().map(|p| p.shared.leadership()));
        let leaders: Vec<_> = leaders.collect();
        let first = leaders.first().copied().flatten();
        first.is_some_and(|(_, leader)| leader.is_some()) && leaders.iter().all(|l| *l == first)
    }

    fn all_are_whole(&self) -> bool {
        self.members.values().all(Member::is_whole)
    }

    fn no_lease_lives(&self) -> bool {
        let lives = |member: &Member| {
            let view = member.store().view().ok()?;
            Some(!lease::list(&*view).ok()?.is_empty())
        };
        self.members.values().all(|member| lives(member) == Some(false))
    }

    fn watchers_have_seen_all(&self) -> bool {
        self.observers.have_seen(self.ctx.chronicle.revision())
    }

    fn all_agree(&self) -> bool {
        let states = self.members.values().map(|m| (m.applied().ok(), m.store().hash()));
        let states: Vec<_> = states.collect();
        states.windows(2).all(|pair| pair.first() == pair.last())
    }

    /// The checks that need the whole run.
    fn judge(&mut self) -> Result<(), Violation> {
        let chronicle = &self.ctx.chronicle;
        // All members have the same by now.
        let member = self.members.values().next().expect("there are members");
        member.inspect()?;
        let view = member.store().view().map_err(|fault| Violation(fault.to_string()))?;
        chronicle.check(&*view)?;
        let history = chronicle.changes();
        self.delivered = self.observers.check(history, chronicle.compacted())?;
        self.ended = judge::leases(&self.holders, history, &self.ctx)?;
        let operations = self.workload.operations();
        revisions::check(operations, &judge::survived(history)?)?;
        linearizable::check(operations)
    }
}
