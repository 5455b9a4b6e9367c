//! What this member understands, against what its cluster has agreed on.
//!
//! A member that understands less than its cluster stops before it applies anything more, and does not
//! start: it would skip what the others do. So a cluster is upgraded member by member, and new
//! things are said only once all understand them ([`Handle::propose`] asks).

use crate::{
    node::{Error, Handle, fail_points},
    state::{Command, Level, meta},
    types::Fault,
};

/// What this member understands.
#[must_use]
pub fn understood() -> Level {
    let level = fail_points::size("level", u64::from(Level::OWN.0));
    Level(u32::try_from(level).unwrap_or(u32::MAX))
}

/// Stops a member whose program is older than what its cluster has agreed on.
pub(super) fn check(stored: &meta::Store) -> Result<(), Fault> {
    let understood = understood();
    if stored.level > understood {
        return Err(Fault::new(format!(
            "the members have agreed on {}, and this program, quorate {}, understands {understood} only: \
             start a newer one",
            stored.level,
            env!("CARGO_PKG_VERSION"),
        )));
    }
    Ok(())
}

impl Handle {
    /// What all members of the cluster understand; `None` until each has told it.
    #[must_use]
    pub fn cluster_version(&self) -> Option<Level> {
        Some(self.shared().level()).filter(|level| *level > Level::UNKNOWN)
    }

    /// Whether all members understand a command, as far as is known.
    pub(super) fn ensure_understood(&self, command: &Command) -> Result<(), Error> {
        let agreed = self.cluster_version().unwrap_or(Level::FIRST);
        if command.level() > agreed { Err(Error::NotCapable(command.level())) } else { Ok(()) }
    }
}
