//! What keeps the catalog up: it loads, follows, and begins again where that cannot go on.

use std::{future::pending, sync::Arc, time::Duration};

use tokio::{
    select,
    time::{MissedTickBehavior, interval, sleep},
};

use super::{
    Views,
    load::{Failed, load},
};
use crate::{
    node::{Changes, Happened},
    registry::{Catalog, Scope, place},
    types::Revision,
};

/// How often followers are told how far things have come, and the catalog is brought up to date
/// although nothing happened.
pub(super) const TICK: Duration = Duration::from_secs(1);

/// How long to wait before it is loaded again that could not be.
const RETRY: Duration = Duration::from_secs(1);

/// How long to wait before it is tried whether it fits again.
const RETRY_FITTING: Duration = Duration::from_secs(60);

/// Why following came to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// History that is needed is compacted, or much longer than what there is.
    Behind,
    /// The catalog takes more memory than it may.
    TooLarge,
}

impl Views {
    /// Keeps the views up, until this is dropped. Without it everything is read from the store, and
    /// followers for whom there is no room there wait.
    pub async fn follow_keys(self: Arc<Self>) {
        if self.limits.view == 0 {
            return pending().await;
        }
        let mut fits = true;
        loop {
            // Room to grow, or it would come and go.
            let room = if fits { self.limits.view } else { self.limits.view / 10 * 9 };
            match load(&self.node, &Scope::All, None, |bytes| bytes <= room).await {
                Ok(catalog) => {
                    let (revision, instances) = (catalog.revision(), catalog.instances());
                    if !fits {
                        tracing::info!(instances, "the registry's view fits into memory again");
                    }
                    tracing::debug!(%revision, instances, "the registry's view is loaded");
                    fits = match self.keep_up(catalog).await {
                        End::Behind => true,
                        End::TooLarge => self.note_too_large(true),
                    };
                }
                Err(Failed::TooLarge) => fits = self.note_too_large(fits),
                Err(Failed::Error(error)) => {
                    tracing::debug!(%error, "the registry's view cannot be loaded yet");
                    sleep(RETRY).await;
                }
            }
            if !fits {
                sleep(RETRY_FITTING).await;
            }
        }
    }

    /// Says, once, that the catalog does not fit. Returns that it does not.
    fn note_too_large(&self, fitted: bool) -> bool {
        if fitted {
            let limit = self.limits.view;
            tracing::warn!(limit, "the registry's view is too large: reading from the store");
        }
        self.fits.send_replace(false);
        false
    }

    /// Keeps a catalog up as long as that is possible.
    async fn keep_up(&self, catalog: Catalog) -> End {
        let revision = catalog.revision();
        let changes = self.node.changes_within(place::everything().into(), revision.next());
        let bells = self.shared.write().install(catalog);
        bells.ring();
        self.fits.send_replace(true);
        self.progressed.send_replace(Some(revision));
        let end = self.follow_changes(changes, revision).await;
        self.progressed.send_replace(None);
        let bells = self.shared.write().withdraw();
        bells.ring();
        end
    }

    async fn follow_changes(&self, mut changes: Changes, mut revision: Revision) -> End {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let is_far = |from: Revision, to: Revision| to.0.saturating_sub(from.0) > self.limits.far;
        let mut waits = false;
        loop {
            select! {
                happened = changes.next() => {
                    let Some(happened) = happened else { return End::Behind };
                    if is_far(happened.told(), happened.revision) {
                        return End::Behind;
                    }
                    revision = happened.told();
                    waits = false;
                    if !self.take_in(&happened) {
                        return End::TooLarge;
                    }
                }
                () = self.wanted.notified() => changes.ask_progress(),
                _ = tick.tick() => {
                    let tell = |told: &mut Revision| std::mem::replace(told, revision) != revision;
                    self.ticked.send_if_modified(tell);
                    let newest = self.node.revision();
                    if newest > revision {
                        if waits && is_far(revision, newest) {
                            return End::Behind;
                        }
                        waits = true;
                        changes.ask_progress();
                    }
                }
            }
        }
    }

    /// Takes in what happened. False when the catalog is too large with it.
    fn take_in(&self, happened: &Happened) -> bool {
        for events in happened.events.chunk_by(|a, b| a.id.revision == b.id.revision) {
            let Some(first) = events.first() else { continue };
            let bells = self.shared.write().apply(first.id.revision, events);
            bells.ring();
        }
        if happened.events.is_empty() {
            self.shared.write().advance(happened.revision);
        }
        self.progressed.send_replace(Some(happened.told()));
        let present = self.shared.read();
        present.catalog().is_some_and(|catalog| catalog.bytes() <= self.limits.view)
    }
}
