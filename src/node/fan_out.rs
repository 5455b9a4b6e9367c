//! What moves events on to the watchers of a member. The hub waits for nobody and reads nothing by
//! itself: here its steps are carried out, those that match on the runtime that serves the streams,
//! those that read history on a thread that may wait for the disk.

use std::{convert::Infallible, future::pending, panic, time::Duration};

use tokio::task::{spawn_blocking, yield_now};

use crate::{
    node::{Error, Handle},
    types::{Key, Revision},
    watch::{self, History, Limits, Read, ReadKeys},
};

/// How long to wait before history is asked for again that could not be read.
const RETRY: Duration = Duration::from_secs(1);

impl Handle {
    /// Moves events on to the watchers of this member, until this is dropped. Without it they are
    /// told nothing of what happens.
    pub async fn fan_out(self) {
        tokio::join!(self.match_published(), self.fetch_wanted());
    }

    /// Tells the streams of what is published.
    async fn match_published(&self) -> Infallible {
        let hub = self.watch_hub();
        let mut published = hub.subscribe();
        loop {
            while hub.fan_out() {
                // A long backlog must not keep this thread from the streams it is for.
                yield_now().await;
            }
            published.changed().await.expect("the hub outlives its bell");
        }
    }

    /// Reads history for the watchers that are behind.
    async fn fetch_wanted(&self) -> Infallible {
        let mut wanted = self.watch_hub().wants();
        loop {
            match self.fetch().await {
                Ok(true) => {}
                Ok(false) => wanted.changed().await.expect("the hub outlives its bell"),
                Err(Error::Fault(fault)) => {
                    // No race with a compaction: that is looked at after every read.
                    self.stop_for(&fault);
                    pending().await
                }
                Err(error) => {
                    tracing::warn!(%error, "history for watchers cannot be read yet");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Reads one piece of what is wanted, and returns whether there is more.
    async fn fetch(&self) -> Result<bool, Error> {
        let past = Past(self.clone());
        match spawn_blocking(move || past.0.watch_hub().fetch(&past)).await {
            Ok(fetched) => fetched,
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => panic::resume_unwind(panic),
                Err(_) => Err(Error::Stopped),
            },
        }
    }
}

/// The history in this member's store, as of the moment it is asked.
struct Past(Handle);

impl History for Past {
    type Error = Error;

    fn read(&self, from: Revision, to: Revision, limits: Limits) -> Result<Read, Error> {
        let view = self.0.view()?;
        Ok(watch::read_view(&*view, from, to, limits)?)
    }

    fn read_keys(
        &self,
        keys: &[(Key, Revision)],
        to: Revision,
        prev_kv: bool,
        limits: Limits,
    ) -> Result<ReadKeys, Error> {
        let view = self.0.view()?;
        Ok(watch::read_keys_of_view(&*view, keys, to, prev_kv, limits)?)
    }
}
