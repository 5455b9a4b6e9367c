//! [`Applier`]: committed entries become state, answers and events.

use std::sync::Arc;

use crate::{
    lease::Known,
    node::{
        Error, TimeoutCause,
        bootstrap::check_format,
        fail_points,
        figures::Kind,
        membership::config_change_of,
        metrics::seconds,
        ports::StageId,
        shared::Shared,
        task::{ApplyTask, Changed, Input},
        version,
    },
    raft::{self, ConfigChange, LogEntry, Payload, Position},
    state::{
        self, Answer, Command, Family, LeaseChange, LeaseRecord, Mirror, Overlay, Refused, Request,
        View, codec, meta,
    },
    types::{Event, Fault, Index, Revision, Term},
};

/// Turns committed entries into state, wakes waiting requests, publishes events.
///
/// Everything a batch of entries changes, and how far the log is applied, is committed as one unit.
/// Only then do others hear of it, in this order: watchers, requests, the lease clock. So whoever
/// was answered finds what it was told, wherever it looks on this member.
pub struct Applier {
    shared: Arc<Shared>,
    applied: Position,
    /// Of the state as applied; read when it is first needed.
    mirror: Option<Mirror>,
}

/// What a batch has changed, to be told once it is committed.
#[derive(Default)]
struct Batch {
    outcomes: Vec<(u64, Result<Answer, Refused>)>,
    events: Vec<Event>,
    leases: Vec<LeaseChange>,
    compacted: Option<Revision>,
    /// Whether who the members are, or what is known of them, has changed.
    members: bool,
    changes: Vec<ConfigChange>,
}

impl Applier {
    /// An applier that continues after `applied`.
    #[must_use]
    pub fn new(shared: Arc<Shared>, applied: Position) -> Self {
        Self { shared, applied, mirror: None }
    }

    /// Carries a task out, and returns what the replica is to hear of it.
    pub fn carry_out(&mut self, task: ApplyTask) -> Result<Option<Input>, Fault> {
        match task {
            ApplyTask::Entries(entries) => {
                let changed = self.apply(entries)?;
                Ok(Some(Input::Applied(self.applied, changed)))
            }
            ApplyTask::Install(stage, position) => {
                let shared = Arc::clone(&self.shared);
                shared.metrics.figures.installing.set(1);
                self.install(stage, position)?;
                shared.metrics.figures.installing.set(0);
                Ok(Some(Input::Installed(self.applied)))
            }
            ApplyTask::Promote(term) => {
                let extension = self.shared.settings.election_timeout;
                let mut lessor = self.shared.lessor();
                lessor.promote(self.shared.clock.now(), extension, term);
                Ok(None)
            }
        }
    }

    fn apply(&mut self, entries: Vec<LogEntry>) -> Result<Option<Changed>, Fault> {
        let view = self.shared.view()?;
        let mut mirror = match self.mirror.take() {
            Some(mirror) => mirror,
            None => Mirror::of(&*view)?,
        };
        let entries_count = entries.len();
        let before = mirror.before(&*view);
        let mut overlay = Overlay::new(&before);
        let mut batch = Batch::default();
        for entry in entries {
            let position = Position { index: Index(entry.index), term: Term(entry.term) };
            if position.index != self.applied.index.next() {
                return Err(Fault::new(format!(
                    "entry {} cannot be applied after entry {}",
                    position.index, self.applied.index
                )));
            }
            self.apply_entry(&mut overlay, &entry, &mut batch)?;
            self.applied = position;
        }
        let (key, value) = meta::applied_record(self.applied.index, self.applied.term);
        overlay.put(Family::Meta, key, value);
        let stored = meta::store(&overlay)?;
        version::check(&stored)?;
        let membership = batch.members.then(|| meta::membership(&overlay)).transpose()?;
        let conf = batch.members.then(|| meta::conf_state(&overlay)).transpose()?;
        let changes = std::mem::take(&mut batch.changes);
        let writes = overlay.into_writes();
        let records = writes.records.len();
        mirror.absorb(&writes);

        let started = self.shared.clock.now_micros();
        fail_points::pass("apply-before-commit")?;
        self.shared.set_storing(Some(self.applied.index));
        self.shared.store.commit(writes)?;
        self.shared.set_storing(None);
        let took = self.shared.clock.now_micros().saturating_sub(started);
        self.shared.metrics.backend_commit_seconds.observe(seconds(took));
        self.shared.note_committed(took, entries_count, records);
        self.mirror = Some(mirror);
        fail_points::pass("apply-committed")?;
        self.shared.take_numbers(&stored);
        if let Some(membership) = membership {
            self.shared.set_membership(membership);
        }
        self.tell(batch)?;
        Ok(conf.map(|conf| Changed { changes, conf }))
    }

    fn apply_entry(
        &self,
        overlay: &mut Overlay<'_>,
        entry: &LogEntry,
        batch: &mut Batch,
    ) -> Result<(), Fault> {
        let at = Position { index: Index(entry.index), term: Term(entry.term) };
        let (change, group) = match raft::payload(entry)? {
            Payload::Requests(group) => (None, group), // none in a new leader's first entry
            Payload::Change(change, group) => (Some(change), group),
        };
        let requests = codec::decode_group(group)
            .map_err(|fault| fault.during(&format!("decoding entry {}", entry.index)))?;
        if config_change_of(&requests).ok() != Some(change) {
            let what = format!("entry {} is not the change that it asks for", entry.index);
            return Err(Fault::new(what));
        }
        let figures = &self.shared.metrics.figures;
        let mut began = self.shared.clock.now_micros();
        for request in requests {
            let applied = state::apply(overlay, at, &request)
                .map_err(|fault| fault.during(&format!("applying entry {}", entry.index)))?;
            overlay.absorb(applied.writes);
            if let Ok(answer) = &applied.outcome {
                let (response, ours) = (&answer.response, self.is_ours(&request));
                figures.done.applied(&request.command, response, &applied.events, ours);
            }
            applied.leases.iter().for_each(|change| figures.done.lease(change));
            let ended = self.shared.clock.now_micros();
            let took = ended.saturating_sub(std::mem::replace(&mut began, ended));
            figures.applied(Kind::of(&request.command), applied.outcome.is_ok(), took);
            self.shared.note_applied(took, &request.command, applied.outcome.as_ref().err());
            batch.events.extend(applied.events);
            batch.leases.extend(applied.leases);
            if let (Command::Compact(revision), Ok(_)) = (&request.command, &applied.outcome) {
                batch.compacted = Some(*revision);
            }
            if applied.outcome.is_ok() {
                batch.changes.extend(change);
                batch.members |= tells_of_members(&request.command);
            }
            if self.is_ours(&request) {
                batch.outcomes.push((request.id.sequence, applied.outcome));
            }
        }
        Ok(())
    }

    fn is_ours(&self, request: &Request) -> bool {
        let settings = &self.shared.settings;
        request.id.member == settings.member && request.id.boot == settings.boot
    }

    fn tell(&self, batch: Batch) -> Result<(), Fault> {
        let shared = &self.shared;
        shared.hub.publish(split_by_revision(batch.events));
        fail_points::pass("apply-published")?;
        if let Some(revision) = batch.compacted {
            // Readers learn of it before the store may drop anything.
            shared.set_compacted(revision);
            shared.hub.compacted(revision);
            fail_points::pass("compacted-for-readers")?;
            shared.store.set_compacted(revision);
        }
        if !batch.leases.is_empty() {
            let now = shared.clock.now();
            let mut lessor = shared.lessor();
            for change in batch.leases {
                match change {
                    LeaseChange::Granted(id, ttl) => lessor.granted(id, ttl, now),
                    LeaseChange::Gone(id) => lessor.gone(id),
                    LeaseChange::Checkpointed(id, remaining) => lessor.checkpointed(id, remaining),
                    LeaseChange::Attached(id) => lessor.attached(id),
                    LeaseChange::Detached(id) => lessor.detached(id),
                }
            }
        }
        shared.set_applied(self.applied.index);
        shared.pending.complete(batch.outcomes);
        fail_points::pass("apply-answered")
    }

    fn install(&mut self, stage: StageId, position: Position) -> Result<(), Fault> {
        let shared = &self.shared;
        self.mirror = None;
        let found = shared.store.install(stage)?;
        fail_points::pass("state-installed")?;
        if found != position {
            return Err(Fault::new(format!(
                "the installed checkpoint ends at entry {} of term {}, announced was {} of {}",
                found.index, found.term, position.index, position.term
            )));
        }
        self.applied = position;
        let view = shared.view()?;
        check_format(&*view)?;
        let stored = meta::store(&*view)?;
        version::check(&stored)?;
        shared.take_numbers(&stored);
        shared.set_membership(meta::membership(&*view)?);
        shared.set_compacted(stored.compacted);
        shared.hub.reset(stored.revision, stored.compacted);
        let leases = known_leases(&*view)?;
        shared.lessor().load(leases);
        shared.set_applied(position.index);
        // Some of these are in the checkpoint and some are lost; which ones cannot be told.
        shared.pending.fail_handed_over(&Error::TimedOut(TimeoutCause::ConnectionLost));
        Ok(())
    }
}

fn tells_of_members(command: &Command) -> bool {
    matches!(command, Command::ChangeMembers(_) | Command::PublishMember { .. })
}

/// The leases of a state that was opened or installed, for the lease clock.
pub(super) fn known_leases(view: &dyn View) -> Result<Vec<Known>, Fault> {
    let known = |(lease, keys)| {
        let LeaseRecord { id, granted, remaining, .. } = lease;
        Known { id, granted, remaining, keys }
    };
    Ok(state::lease::tally(view)?.into_iter().map(known).collect())
}

/// The events of each revision by themselves. They come in order.
fn split_by_revision(events: Vec<Event>) -> Vec<(Revision, Vec<Event>)> {
    let mut revisions: Vec<(Revision, Vec<Event>)> = Vec::new();
    for event in events {
        match revisions.last_mut() {
            Some((revision, last)) if *revision == event.id.revision => last.push(event),
            Some(_) | None => revisions.push((event.id.revision, vec![event])),
        }
    }
    revisions
}
