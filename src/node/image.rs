//! The state of a member as one moment left it, for somebody who takes long to read it.

use std::sync::Arc;

use super::sentry::Sentry;
use crate::{
    node::{Error, Handle, Stop, ports::OwnedView},
    types::Index,
};

impl Handle {
    /// The state as of the last applied batch, with all of its history, however long it is kept.
    /// Taking it brings the state to disk first: for a thread that may wait.
    ///
    /// # Errors
    ///
    /// No leader when no state has come yet, or why no copy could be made. A disk without room for one
    /// is no reason for the member to stop; one that is damaged is.
    pub fn frozen_view(&self) -> Result<OwnedView, Error> {
        let shared = self.shared();
        if let Some(Stop::Fault(fault)) = &*shared.why_stopped() {
            return Err(fault.clone().into());
        }
        if shared.applied() == Index(0) {
            return Err(Error::NoLeader);
        }
        let view = shared.store.frozen_view().inspect_err(|fault| {
            if fault.is_damage() {
                self.stop_for(fault);
            }
        })?;
        Ok(Box::new(Sentry::new(view, Arc::clone(shared))))
    }
}
