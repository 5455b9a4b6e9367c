//! Locks and elections: what is asked for, and what proves a leadership.

use bytes::Bytes;

use crate::{
    api::convert::Invalid,
    proto::v3electionpb::LeaderKey,
    recipes::Leadership,
    types::{Key, LeaseId, Revision},
};

/// The key of a lock.
pub fn key(key: Bytes) -> Result<Key, Invalid> {
    Key::new(key).ok_or(Invalid::KeyNotProvided)
}

/// The leadership that a client means. The name of the election is not needed: the key has it.
pub fn leadership(leader: Option<LeaderKey>) -> Result<Leadership, Invalid> {
    let LeaderKey { name: _, key, rev, lease } = leader.ok_or(Invalid::LeaderNotProvided)?;
    Ok(Leadership { key: self::key(key)?, created: Revision(rev), lease: LeaseId(lease) })
}

/// The proof of a leadership, for its client.
#[must_use]
pub fn leader_key(name: Bytes, leadership: Leadership) -> LeaderKey {
    let Leadership { key, created, lease } = leadership;
    LeaderKey { name, key: key.into_bytes(), rev: created.0, lease: lease.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What proves a leadership comes back as it was given out.
    #[test]
    fn a_leadership_comes_back_unchanged() {
        let key = Key::new("e/7f").expect("it has bytes");
        let given = Leadership { key, created: Revision(5), lease: LeaseId(-3) };
        assert_eq!(leadership(Some(leader_key("e".into(), given.clone()))), Ok(given));
    }

    /// A request about a leadership names one, and a lock has a key.
    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(leadership(None), Err(Invalid::LeaderNotProvided));
        assert_eq!(leadership(Some(LeaderKey::default())), Err(Invalid::KeyNotProvided));
        assert_eq!(key(Bytes::new()), Err(Invalid::KeyNotProvided));
    }
}
