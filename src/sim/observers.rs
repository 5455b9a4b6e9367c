//! [`Observers`]: clients that watch, and do to it what clients do.
//!
//! Each has several watchers on one stream, which ask for different things. It looks at its stream
//! now and then, at times not for long, takes a few responses at once, asks how far it has come,
//! cancels watchers and creates others. Whenever its member dies, and now and then without a
//! reason, it goes on at another member with what each watcher has yet to be shown; and when that
//! is compacted away, with what is kept. At the end every watcher must have been shown exactly what
//! it asked for of what happened.

use std::collections::BTreeMap;

use crate::{
    sim::{
        checks::{
            Violation,
            watched::{Wanted, Watched},
        },
        config::Planted,
        member::Member,
        plan,
        process::Process,
        rng::Rng,
        schedule::{Event, Life},
        stream::{Stream, Told, What},
        world::Context,
    },
    types::{Event as Change, Key, KeyRange, MemberId, Revision},
};

type Members = BTreeMap<MemberId, Member>;

/// Watchers of each.
const WATCHERS: usize = 3;
/// Longest time between two looks of an observer at its stream, in microseconds.
const TURN_MAX: u64 = 100_000;
/// The same when it does not look for long.
const STALL_MAX: u64 = 4_000_000;
/// Responses that an observer takes at once: few, so that it falls behind at times.
const BUDGET: usize = 4;
/// Questions for the progress without an answer, after which an observer goes elsewhere.
const PATIENCE: u64 = 20;

/// Clients that watch.
#[derive(Debug)]
pub struct Observers {
    observers: Vec<Observer>,
}

/// What came of watching.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Changes shown to watchers.
    pub changes: u64,
    /// Times that a stream told of its progress.
    pub bookmarks: u64,
    /// Watchers that compaction ended.
    pub lost: u64,
}

#[derive(Debug)]
struct Observer {
    stream: Option<Stream>,
    watched: Vec<Watched>,
    /// Which watcher has which id on the stream.
    ids: BTreeMap<i64, usize>,
    unanswered: u64,
    bookmarks: u64,
    lost: u64,
}

impl Observers {
    /// A few observers, each with a first turn soon.
    pub fn new(ctx: &mut Context) -> Self {
        let mut observers = Vec::new();
        for number in 0..ctx.config.observers {
            ctx.schedule.after(TURN_MAX, Event::ObserverTurn(number));
            let keys = ctx.config.keys;
            let watched = (0..WATCHERS).map(|_| {
                let wanted = wanted(keys, &mut ctx.rng);
                let start = if ctx.rng.chance(250) { ctx.rng.between(50, 100) } else { 2 };
                Watched::new(wanted, Revision(i64::try_from(start).expect("it is a small number")))
            });
            observers.push(Observer::new(watched.collect()));
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
        let is_stalled = ctx.is_open && ctx.rng.chance(10);
        let delay = ctx.rng.below(if is_stalled { STALL_MAX } else { TURN_MAX }) + 1;
        ctx.schedule.after(delay, Event::ObserverTurn(number));
        let at = usize::try_from(number).expect("observers are few");
        let observer = self.observers.get_mut(at).expect("turns are of observers that exist");
        if ctx.rng.chance(20) {
            observer.leave();
        }
        observer.look(members, ctx)
    }

    /// Whether every watcher knows that it was shown all that happened.
    #[must_use]
    pub fn have_seen(&self, newest: Revision) -> bool {
        let mut watched = self.observers.iter().flat_map(|observer| &observer.watched);
        watched.all(|watched| watched.next() > newest)
    }

    /// Whether what every watcher was shown is what it wanted of what happened.
    pub fn check(&self, history: &[Change], compacted: Revision) -> Result<Delivered, Violation> {
        let mut delivered = Delivered::default();
        for observer in &self.observers {
            for watched in &observer.watched {
                delivered.changes += watched.judge(history, compacted)? as u64;
            }
            delivered.bookmarks += observer.bookmarks;
            delivered.lost += observer.lost;
        }
        Ok(delivered)
    }
}

/// Something to watch.
fn wanted(keys: u8, rng: &mut Rng) -> Wanted {
    let key = |rng: &mut Rng| {
        let number = rng.below(u64::from(keys));
        Key::new(format!("key/{number}").into_bytes()).expect("it is not empty")
    };
    let range = match rng.below(5) {
        0 => KeyRange::One(key(rng)),
        1 => KeyRange::From(key(rng)),
        2 => plan::all_keys(),
        _ => KeyRange::From(Key::MIN),
    };
    Wanted {
        range,
        no_put: rng.chance(150),
        no_delete: rng.chance(150),
        prev_kv: rng.chance(500),
        progress_notify: rng.chance(500),
    }
}

impl Observer {
    fn new(watched: Vec<Watched>) -> Self {
        Self { stream: None, watched, ids: BTreeMap::new(), unanswered: 0, bookmarks: 0, lost: 0 }
    }

    /// Closes the stream. What the watchers were shown stays known.
    fn leave(&mut self) {
        self.stream = None;
        self.ids.clear();
        self.unanswered = 0;
    }

    fn look(&mut self, members: &Members, ctx: &mut Context) -> Result<(), Violation> {
        let runs = |at: Life| {
            let member = members.get(&at.member).filter(|_| !ctx.away.contains(&at.member))?;
            member.process().filter(|process| process.life() == at).map(|p| (member, p))
        };
        let Some((member, process)) = self.stream.as_ref().and_then(|s| runs(s.life())) else {
            self.leave();
            let id = *ctx.rng.pick(&ctx.roster);
            let member = members.get(&id).filter(|m| m.has_state() && !ctx.away.contains(&id));
            let process = member.and_then(Member::process);
            self.stream = process.filter(|it| !it.shared.serves_nobody()).map(Stream::open);
            return Ok(());
        };
        let mut stream = self.stream.take().expect("its member was just found");
        self.tend(&mut stream, process, ctx)?;
        for told in stream.take(process, member.store(), BUDGET)? {
            if ctx.config.planted == Planted::SwallowedResponses && ctx.rng.chance(5) {
                continue;
            }
            self.hear(&told, ctx)?;
            self.take(told, &mut stream)?;
        }
        self.stream = Some(stream);
        if !ctx.is_open && self.unanswered > PATIENCE {
            self.leave();
        }
        Ok(())
    }

    /// Creates, cancels and asks, by chance.
    fn tend(
        &mut self,
        stream: &mut Stream,
        process: &Process,
        ctx: &mut Context,
    ) -> Result<(), Violation> {
        let current = process.shared.watch_hub().current();
        if ctx.is_open && ctx.rng.chance(30) {
            self.cancel(stream, current, ctx)?;
        }
        for (at, watched) in self.watched.iter_mut().enumerate() {
            // At the end nobody waits for a future that never comes.
            let is_due = if ctx.is_open { ctx.rng.chance(300) } else { watched.next() <= current };
            if is_due && !self.ids.values().any(|held| *held == at) {
                // A start of 0 means now, and says when that was.
                let is_anew = ctx.is_open && ctx.rng.chance(50);
                let start = if is_anew { Revision(0) } else { watched.next() };
                let (id, first) = stream.create(watched.wanted(), start)?;
                if is_anew {
                    watched.begin(first);
                }
                self.ids.insert(id, at);
            }
        }
        if !ctx.is_open || ctx.rng.chance(100) {
            stream.ask_progress();
            self.unanswered += 1;
        }
        if ctx.rng.chance(50) {
            stream.tick();
        }
        Ok(())
    }

    /// Cancels a watcher. Later it goes on, or waits for a revision of the future.
    fn cancel(
        &mut self,
        stream: &mut Stream,
        current: Revision,
        ctx: &mut Context,
    ) -> Result<(), Violation> {
        let ids: Vec<i64> = self.ids.keys().copied().collect();
        if ids.is_empty() {
            return Ok(());
        }
        let id = *ctx.rng.pick(&ids);
        stream.cancel(id)?;
        let at = self.ids.remove(&id).expect("it was just found");
        let watched = self.watched.get_mut(at).expect("ids are of watchers");
        if ctx.rng.chance(400) {
            let ahead = i64::try_from(ctx.rng.between(50, 100)).expect("it is a small number");
            watched.begin(Revision(current.0 + ahead));
        }
        Ok(())
    }

    /// Notes what a stream says.
    fn hear(&self, told: &Told, ctx: &mut Context) -> Result<(), Violation> {
        let (kind, revision) = match &told.what {
            What::Changes(as_of, _) => (1, *as_of),
            What::Progress(revision) => (2, *revision),
            What::Lost(compacted) => (3, *compacted),
        };
        if revision > ctx.chronicle.revision() {
            return Err(Violation(format!("a watcher was told of the future: {told:?}")));
        }
        let id = told.id.unwrap_or(-1);
        ctx.note(
            &[18, kind, id.unsigned_abs(), revision.0.unsigned_abs()],
            format_args!("watcher {id} is told {} at {revision}", told.what.name()),
        );
        Ok(())
    }

    /// Takes what a stream says.
    fn take(&mut self, told: Told, stream: &mut Stream) -> Result<(), Violation> {
        let Some(id) = told.id else {
            let What::Progress(revision) = told.what else {
                return Err(Violation(format!("a whole stream was told {told:?}")));
            };
            self.unanswered = 0;
            self.bookmarks += 1;
            return self.ids.values().try_for_each(|at| {
                let watched = self.watched.get_mut(*at).expect("ids are of watchers");
                if watched.next() > revision.next() {
                    let next = watched.next();
                    return Err(Violation(format!(
                        "progress at {revision} while one awaits {next}"
                    )));
                }
                watched.mark(revision)
            });
        };
        let at = self.ids.get(&id).copied();
        let Some(watched) = at.and_then(|at| self.watched.get_mut(at)) else {
            return Err(Violation(format!("nobody has the id of {told:?}")));
        };
        match told.what {
            What::Changes(as_of, changes) => watched.show(as_of, changes),
            What::Progress(_) if !watched.wanted().progress_notify => {
                Err(Violation(format!("nobody asked for {told:?}")))
            }
            What::Progress(revision) => {
                self.bookmarks += 1;
                watched.mark(revision)
            }
            What::Lost(compacted) => {
                self.lost += 1;
                self.ids.remove(&id);
                stream.cancel(id)?;
                watched.lose(compacted)
            }
        }
    }
}
