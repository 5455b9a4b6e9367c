//! [`Turns`]: who writes to the same session through this member does so one after the other.
//!
//! Each of them changes the session's record, and so loses to whoever was faster. A hundred at once
//! would be a hundred tries for the last. Turns change nothing of what is right: other members write,
//! too, and a transaction holds only if nothing came in between. So whoever waits for long goes ahead.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Mutex as Gate, OwnedMutexGuard},
    time::{sleep, timeout},
};

use crate::registry::Name;

/// How long somebody waits for a turn: about as long as a request may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Those who write to sessions, by session. There are no more than calls under way.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns(Arc<Mutex<BTreeMap<Name, Arc<Gate<()>>>>>);

/// A turn; with it, that of the next begins.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Turns,
    session: Name,
    /// There until it is dropped.
    gate: Option<Arc<Gate<()>>>,
    /// None when it did not come in time.
    guard: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits for a turn at a session.
    pub(super) async fn take(&self, session: &Name) -> Turn {
        self.take_within(session, PATIENCE).await
    }

    async fn take_within(&self, session: &Name, patience: Duration) -> Turn {
        let gate = Arc::clone(self.lock().entry(session.clone()).or_default());
        // From here on it is cleaned up after, also if the wait is given up.
        let waiting = Arc::clone(&gate);
        let (turns, session) = (self.clone(), session.clone());
        let mut turn = Turn { turns, session, gate: Some(gate), guard: None };
        turn.guard = timeout(patience, waiting.lock_owned()).await.ok();
        turn
    }

    /// Each step leaves it whole.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, Arc<Gate<()>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.guard = None;
        let mut turns = self.turns.lock();
        // Under the lock, so that of several that go at once the last one sees that it is.
        self.gate = None;
        if turns.get(&self.session).is_some_and(|gate| Arc::strong_count(gate) == 1) {
            turns.remove(&self.session);
        }
    }
}

/// The pause after so many tries that somebody else got in between of. Those who lost to the same one
/// wait for different times, and longer each time.
pub(super) async fn pause(who: &str, tried: u32) {
    sleep(pause_after(who, tried)).await;
}

fn pause_after(who: &str, tried: u32) -> Duration {
    let most = Duration::from_millis(1 << tried.min(6));
    let share = crc32fast::hash(format!("{who} {tried}").as_bytes()) % 1_000;
    most * share / 1_000
}

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    /// One after the other, in their order; nothing is left of those who came and went.
    #[tokio::test]
    async fn turns_come_one_after_the_other() {
        let (turns, s) = (Turns::default(), name("s"));
        let first = turns.take(&s).await;
        let other = turns.take(&name("t")).await;
        let mut second = Box::pin(turns.take(&s));
        let mut third = Box::pin(turns.take(&s));
        assert!(poll!(second.as_mut()).is_pending() && poll!(third.as_mut()).is_pending());

        drop(first);
        assert!(poll!(third.as_mut()).is_pending());
        let second = second.await;
        let given_up = third;
        drop((given_up, other));
        assert_eq!(turns.lock().len(), 1);
        drop(second);
        assert_eq!(turns.lock().len(), 0);
    }

    /// Whoever waits for long goes ahead.
    #[tokio::test]
    async fn nobody_waits_for_ever() {
        let (turns, s) = (Turns::default(), name("s"));
        let first = turns.take(&s).await;
        let second = turns.take_within(&s, Duration::from_millis(5)).await;
        assert!(first.guard.is_some() && second.guard.is_none());
        drop((first, second));
        assert_eq!(turns.lock().len(), 0);
    }

    /// Pauses grow to a bound, and are not the same for all.
    #[test]
    fn pauses_differ_and_grow() {
        let all = |tried| (0..100).map(move |who| pause_after(&who.to_string(), tried));
        for (tried, most) in [(0, 1), (3, 8), (6, 64), (63, 64)] {
            let most = Duration::from_millis(most);
            assert!(all(tried).all(|pause| pause < most));
            assert!(
                all(tried).any(|pause| pause > most / 2)
                    && all(tried).any(|pause| pause < most / 2)
            );
        }
    }
}
