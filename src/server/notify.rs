//! Tells the service manager, if it listens, how far the member is.
//!
//! Whoever starts a member says where by `NOTIFY_SOCKET`. Without it nothing happens.

use sd_notify::NotifyState;
use tracing::{info, warn};

/// The member serves.
pub(super) fn ready() {
    info!("notifying init daemon");
    if tell(NotifyState::Ready) {
        info!("successfully notified init daemon");
    }
}

/// The member ends.
pub(super) fn stopping() {
    tell(NotifyState::Stopping);
}

fn tell(state: NotifyState<'_>) -> bool {
    match sd_notify::notify(false, &[state]) {
        Ok(()) => true,
        Err(error) => {
            warn!(%error, "failed to notify the service manager");
            false
        }
    }
}
