//! Who asks.

/// The user on whose behalf a command runs, and the revision of the auth store under which this
/// was established. An empty name means nobody was named: auth is off, or the request came without
/// credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user's name, or empty.
    pub user: String,
    /// The auth store's revision when the user was recognised; 0 without a user.
    pub auth_revision: u64,
}

impl Identity {
    /// Nobody in particular.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::default()
    }
}
