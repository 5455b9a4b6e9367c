//! [`Reloading`]: what was made of files, made anew when they change.

use std::sync::{Arc, Mutex, PoisonError};

use tracing::{info, warn};

use super::{Error, files::Files};
use crate::telemetry::Counter;

type Make<T> = Box<dyn Fn(&mut Files) -> Result<T, Error> + Send + Sync>;

/// What was made of files.
pub(super) struct Reloading<T> {
    make: Make<T>,
    failures: Counter,
    state: Mutex<State<T>>,
}

struct State<T> {
    files: Files,
    current: Arc<T>,
    /// Why the files that are there now cannot be used.
    told: Option<String>,
}

impl<T> Reloading<T> {
    /// Makes it for the first time, which must succeed.
    pub(super) fn new(
        failures: Counter,
        make: impl Fn(&mut Files) -> Result<T, Error> + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let mut files = Files::default();
        let current = Arc::new(make(&mut files)?);
        let state = Mutex::new(State { files, current, told: None });
        Ok(Self { make: Box::new(make), failures, state })
    }

    /// What is to be used now: of the files as they are, or as they were when they could be used last.
    pub(super) fn current(&self) -> Arc<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.files.unchanged() {
            state.told = None;
            return Arc::clone(&state.current);
        }
        let mut files = Files::default();
        match (self.make)(&mut files) {
            Ok(new) => {
                info!("certificates were read again: they have changed");
                *state = State { files, current: Arc::new(new), told: None };
            }
            Err(error) => {
                self.failures.inc();
                let reason = error.to_string();
                // Certificate and key are replaced one after the other: it may be over in a moment.
                if state.told.as_ref() != Some(&reason) {
                    warn!(reason, "changed certificates cannot be used: those from before are");
                    state.told = Some(reason);
                }
            }
        }
        Arc::clone(&state.current)
    }
}
