//! The state of a member as one moment left it, for somebody who takes long to read it.

use crate::node::{Error, Handle, ports::OwnedView};

impl Handle {
    /// The state as of the last applied batch, with all of its history, however long it is kept.
    /// Taking it brings the state to disk first: for a thread that may wait.
    ///
    /// # Errors
    ///
    /// A fault of the disk, or no leader when no state has come yet.
    pub fn frozen_view(&self) -> Result<OwnedView, Error> {
        self.guarded(|store| store.frozen_view())
    }
}
