//! [`Stream`]: a watch stream of an observer at a member. All that the simulator asks of the watch
//! room it asks here.

use std::{sync::Arc, task::Waker};

use crate::{
    node::ports::StateStore,
    sim::{
        checks::{Violation, watched::Wanted},
        disk::SimStore,
        process::Process,
        schedule::Life,
    },
    types::{Event as Change, Fault, Key, Revision},
    watch::{
        self, Create, Delivery, Filter, Kind, Limits, Read, ReadKeys, Response, Sink, WatchId,
        Watchers,
    },
};

/// An open stream. It ends with the life of its member.
#[derive(Debug)]
pub struct Stream {
    life: Life,
    watchers: Watchers,
}

/// Something that a stream says of one of its watchers, or of all of them.
#[derive(Debug)]
pub struct Told {
    /// The watcher; `None` means all of the stream.
    pub id: Option<i64>,
    /// What.
    pub what: What,
}

/// What a stream says.
#[derive(Debug)]
pub enum What {
    /// This happened, told as of a revision.
    Changes(Revision, Vec<Change>),
    /// Everything up to this revision was told.
    Progress(Revision),
    /// The watcher ends: history below this revision is gone.
    Lost(Revision),
}

impl What {
    /// A word for it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Changes(..) => "changes",
            Self::Progress(_) => "progress",
            Self::Lost(_) => "a loss",
        }
    }
}

/// History as a member's stream reads it.
struct Past(Arc<SimStore>);

impl watch::History for Past {
    type Error = Fault;

    fn read(&self, from: Revision, to: Revision, limits: Limits) -> Result<Read, Fault> {
        watch::read_view(&*self.0.view()?, from, to, limits)
    }

    fn read_keys(
        &self,
        keys: &[(Key, Revision)],
        to: Revision,
        prev_kv: bool,
        limits: Limits,
    ) -> Result<ReadKeys, Fault> {
        watch::read_keys_of_view(&*self.0.view()?, keys, to, prev_kv, limits)
    }
}

impl Stream {
    /// Opens a stream without watchers.
    #[must_use]
    pub fn open(process: &Process) -> Self {
        let watchers = Watchers::new(process.shared.watch_hub());
        Self { life: process.life(), watchers }
    }

    /// The life of the member that it is open at.
    #[must_use]
    pub fn life(&self) -> Life {
        self.life
    }

    /// Creates a watcher that starts at `start`, or now with 0. Returns its id and the first
    /// revision it is to show.
    pub fn create(
        &mut self,
        wanted: &Wanted,
        start: Revision,
    ) -> Result<(i64, Revision), Violation> {
        let create = Create {
            range: wanted.range.clone(),
            start,
            filter: Filter { no_put: wanted.no_put, no_delete: wanted.no_delete },
            prev_kv: wanted.prev_kv,
            fragment: false,
            progress_notify: wanted.progress_notify,
            id: None,
        };
        let answer = self.watchers.create(create);
        if answer.kind != Kind::Created {
            return Err(Violation(format!("a watcher was answered by {answer:?}")));
        }
        let first = if start == Revision(0) { answer.revision.next() } else { start };
        Ok((answer.id.0, first))
    }

    /// Cancels a watcher that is there.
    pub fn cancel(&mut self, id: i64) -> Result<(), Violation> {
        let answer = self.watchers.cancel(WatchId(id));
        match answer.as_ref().map(|answer| &answer.kind) {
            Some(Kind::Canceled) => Ok(()),
            Some(_) | None => Err(Violation(format!("a cancellation was answered by {answer:?}"))),
        }
    }

    /// Asks how far the stream has come.
    pub fn ask_progress(&mut self) {
        self.watchers.progress();
    }

    /// Lets the progress ticker tick.
    pub fn tick(&mut self) {
        self.watchers.tick();
    }

    /// Takes at most `room` responses, after a step of what drives the hub of the member: so matching
    /// and reading lag behind at times.
    pub fn take(
        &mut self,
        process: &Process,
        store: &Arc<SimStore>,
        room: usize,
    ) -> Result<Vec<Told>, Violation> {
        let hub = process.shared.watch_hub();
        hub.fan_out();
        hub.fetch(&Past(store.clone()))
            .map_err(|fault| Violation(format!("watching at {}: {fault}", self.life.member)))?;
        let mut client = Client { room, told: Vec::new() };
        let _ = self.watchers.poll(Waker::noop(), &mut client);
        client.told.into_iter().collect()
    }
}

/// Takes so many responses.
struct Client {
    room: usize,
    told: Vec<Result<Told, Violation>>,
}

impl Sink for Client {
    fn has_room(&self) -> bool {
        self.told.len() < self.room
    }

    fn say(&mut self, response: Response) {
        self.told.push(told(response));
    }

    fn deliver(&mut self, delivery: Delivery<'_>) {
        let changes = delivery.events.iter().map(|shown| {
            let Change { id, kind, prev: _ } = shown.event().clone();
            Change { id, kind, prev: shown.prev().cloned() }
        });
        let what = What::Changes(delivery.revision, changes.collect());
        self.told.push(Ok(Told { id: Some(delivery.id.0), what }));
    }
}

fn told(response: Response) -> Result<Told, Violation> {
    let Response { id, revision, kind } = response;
    let what = match kind {
        Kind::Progress => What::Progress(revision),
        Kind::Compacted(compacted) => What::Lost(compacted),
        Kind::Created | Kind::Refused(_) | Kind::Canceled => {
            return Err(Violation(format!("watcher {id} was told {kind:?} without asking")));
        }
    };
    Ok(Told { id: (id != WatchId::NONE).then_some(id.0), what })
}
