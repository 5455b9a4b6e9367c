//! [`Observers`]: clients that watch, and the promise that a watch has no gap and no repeat.
//!
//! An observer watches all keys from the first revision on. Whenever its member dies, and now and
//! then without a reason, it goes on at another member after the last revision it has seen, as
//! clients do. At the end it must have been shown exactly the history of the store.

use std::{collections::BTreeMap, sync::Arc, task::Waker};

use crate::{
    node::ports::StateStore,
    sim::{
        checks::Violation,
        disk::SimStore,
        member::Member,
        schedule::{Event, Life},
        world::Context,
    },
    types::{Event as Change, Fault, Key, KeyRange, MemberId, Revision},
    watch::{self, Create, Delivery, Filter, Kind, Limits, Read, Response, Sink, Watchers},
};

type Members = BTreeMap<MemberId, Member>;

/// Longest time between two looks of an observer at its stream, in microseconds.
const TURN_MAX: u64 = 100_000;
/// Responses that an observer takes at once: few, so that it falls behind at times.
const BUDGET: usize = 4;

/// Clients that watch.
#[derive(Debug, Default)]
pub struct Observers {
    observers: Vec<Observer>,
}

#[derive(Debug, Default)]
struct Observer {
    stream: Option<Stream>,
    seen: Vec<Change>,
}

#[derive(Debug)]
struct Stream {
    at: Life,
    watchers: Watchers,
}

/// History as a member's stream reads it.
struct Past(Arc<SimStore>);

impl watch::History for Past {
    type Error = Fault;

    fn read(&self, from: Revision, to: Revision, limits: Limits) -> Result<Read, Fault> {
        watch::read_view(&*self.0.view()?, from, to, limits)
    }
}

impl Observers {
    /// Two observers, each with a first turn soon.
    pub fn new(ctx: &mut Context) -> Self {
        let observers = vec![Observer::default(), Observer::default()];
        for number in 0..observers.len() as u64 {
            ctx.schedule.after(TURN_MAX, Event::ObserverTurn(number));
        }
        Self { observers }
    }

    /// An observer looks at its stream, or opens one.
    pub fn turn(
        &mut self,
        number: u64,
        members: &Members,
        ctx: &mut Context,
    ) -> Result<(), Violation> {
        let delay = ctx.rng.below(TURN_MAX) + 1;
        ctx.schedule.after(delay, Event::ObserverTurn(number));
        let at = usize::try_from(number).expect("observers are few");
        let observer = self.observers.get_mut(at).expect("turns are of observers that exist");
        if ctx.rng.chance(20) {
            observer.stream = None;
        }
        observer.look(members, ctx)
    }

    /// Whether every observer has seen all that happened.
    #[must_use]
    pub fn have_seen(&self, newest: Revision) -> bool {
        newest == Revision::FIRST || self.observers.iter().all(|observer| observer.last() == newest)
    }

    /// Whether what every observer has seen is what happened.
    pub fn check(&self, history: &[Change]) -> Result<(), Violation> {
        for observer in &self.observers {
            let pairs = observer.seen.iter().zip(history);
            if let Some((seen, change)) = pairs.into_iter().find(|(seen, change)| seen != change) {
                return Err(Violation(format!("a watcher was shown {seen:?} for {change:?}")));
            }
            let (seen, all) = (observer.seen.len(), history.len());
            if seen != all {
                return Err(Violation(format!("a watcher was shown {seen} of {all} changes")));
            }
        }
        Ok(())
    }
}

impl Observer {
    fn last(&self) -> Revision {
        self.seen.last().map_or(Revision::FIRST, |change| change.id.revision)
    }

    fn look(&mut self, members: &Members, ctx: &mut Context) -> Result<(), Violation> {
        let runs = |at: Life| {
            let member = members.get(&at.member)?;
            member.process().filter(|process| process.life() == at).map(|p| (member, p))
        };
        let Some((member, process)) = self.stream.as_ref().and_then(|stream| runs(stream.at))
        else {
            self.stream = self.open(members, ctx)?;
            return Ok(());
        };
        let stream = self.stream.as_mut().expect("its member was just found");
        let past = Past(member.store().clone());
        let hub = process.shared.watch_hub();
        while hub.fan_out() {}
        hub.fetch(&past)
            .map_err(|fault| Violation(format!("watching at {}: {fault}", member.id())))?;
        let mut client = Client::default();
        let _ = stream.watchers.poll(Waker::noop(), &mut client);
        if let Some(response) = client.unexpected {
            return Err(Violation(format!("a watcher was answered by {response:?}")));
        }
        client.taken.into_iter().try_for_each(|(revision, events)| self.take(revision, events))
    }

    fn open(&self, members: &Members, ctx: &mut Context) -> Result<Option<Stream>, Violation> {
        let Some(member) = members.get(ctx.rng.pick(&ctx.config.members)) else { return Ok(None) };
        let Some(process) = member.process() else { return Ok(None) };
        let hub = process.shared.watch_hub();
        let mut watchers = Watchers::new(hub);
        let create = Create {
            range: KeyRange::From(Key::MIN),
            start: self.last().next(),
            filter: Filter::default(),
            prev_kv: true,
            fragment: false,
            progress_notify: false,
            id: None,
        };
        let answer = watchers.create(create);
        if answer.kind != Kind::Created {
            return Err(Violation(format!("a watcher was answered by {answer:?}")));
        }
        Ok(Some(Stream { at: process.life(), watchers }))
    }

    fn take(&mut self, revision: Revision, events: Vec<Change>) -> Result<(), Violation> {
        let (first, last) = (events.first(), events.last());
        let (Some(first), Some(last)) = (first, last) else {
            return Err(Violation("a watcher was answered by no events".to_owned()));
        };
        if first.id.revision <= self.last() || last.id.revision > revision {
            return Err(Violation(format!(
                "a watcher that has seen revision {} was shown {} to {} as of {revision}",
                self.last(),
                first.id,
                last.id,
            )));
        }
        self.seen.extend(events);
        Ok(())
    }
}

/// What a client takes at once.
#[derive(Default)]
struct Client {
    taken: Vec<(Revision, Vec<Change>)>,
    unexpected: Option<Response>,
}

impl Sink for Client {
    fn has_room(&self) -> bool {
        self.taken.len() < BUDGET
    }

    fn say(&mut self, response: Response) {
        self.unexpected = Some(response);
    }

    fn deliver(&mut self, delivery: Delivery<'_>) {
        let shown = delivery.events.iter().map(|shown| {
            let Change { id, kind, prev: _ } = shown.event().clone();
            Change { id, kind, prev: shown.prev().cloned() }
        });
        self.taken.push((delivery.revision, shown.collect()));
    }
}
