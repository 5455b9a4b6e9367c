//! Leases: what is asked for, and what is answered.

use crate::{
    api::convert::Invalid,
    node::{KeptAlive, ports::TimeLeft},
    proto::etcdserverpb::{
        LeaseGrantRequest, LeaseKeepAliveResponse, LeaseLeasesResponse, LeaseStatus,
        LeaseTimeToLiveResponse, ResponseHeader,
    },
    state::Command,
    types::{Key, LeaseId, Seconds, limits::LEASE_TTL_MAX},
};

/// The lease to grant: with an id of its own when the client chose none, and a time to live of at
/// least the cluster's minimum.
pub fn grant(
    request: LeaseGrantRequest,
    minimum: Seconds,
    new_id: impl FnOnce() -> LeaseId,
) -> Result<Command, Invalid> {
    let ttl = Seconds(request.ttl);
    if ttl > LEASE_TTL_MAX {
        return Err(Invalid::TtlTooLarge(ttl));
    }
    let id = if request.id == 0 { new_id() } else { LeaseId(request.id) };
    Ok(Command::LeaseGrant { id, ttl: ttl.max(minimum) })
}

/// How long a lease has left, and which keys are attached to it. That there is no such lease is
/// said with a negative time.
#[must_use]
pub fn time_to_live(
    header: ResponseHeader,
    id: LeaseId,
    left: Option<TimeLeft>,
    keys: Vec<Key>,
) -> LeaseTimeToLiveResponse {
    let left = left.unwrap_or(TimeLeft { left: Seconds(-1), granted: Seconds(0) });
    LeaseTimeToLiveResponse {
        header: Some(header),
        id: id.0,
        ttl: left.left.0,
        granted_ttl: left.granted.0,
        keys: keys.into_iter().map(Key::into_bytes).collect(),
    }
}

/// What came of a renewal. That there is no such lease is said with no time to live.
#[must_use]
pub fn kept_alive(header: Option<ResponseHeader>, kept: &KeptAlive) -> LeaseKeepAliveResponse {
    LeaseKeepAliveResponse { header, id: kept.lease.0, ttl: kept.ttl().map_or(0, |ttl| ttl.0) }
}

/// All leases.
#[must_use]
pub fn leases(header: ResponseHeader, leases: Vec<LeaseId>) -> LeaseLeasesResponse {
    let leases = leases.into_iter().map(|id| LeaseStatus { id: id.0 }).collect();
    LeaseLeasesResponse { header: Some(header), leases }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant_of(ttl: i64, id: i64) -> Result<Command, Invalid> {
        let request = LeaseGrantRequest { ttl, id };
        grant(request, Seconds(2), || LeaseId(77))
    }

    /// Too short a time to live is raised, too long a one is refused; the limit itself is fine.
    #[test]
    fn case_55_bounds_of_the_time_to_live() {
        for (asked, granted) in [(0, 2), (-5, 2), (1, 2), (3, 3), (9_000_000_000, 9_000_000_000)] {
            let expected = Command::LeaseGrant { id: LeaseId(-1), ttl: Seconds(granted) };
            assert_eq!(grant_of(asked, -1), Ok(expected));
        }
        assert_eq!(grant_of(9_000_000_001, -1), Err(Invalid::TtlTooLarge(Seconds(9_000_000_001))));
    }

    /// Only a client that chose no id is given one.
    #[test]
    fn an_id_is_drawn_when_none_is_chosen() {
        let drawn = Command::LeaseGrant { id: LeaseId(77), ttl: Seconds(5) };
        assert_eq!(grant_of(5, 0), Ok(drawn));
        let chosen = Command::LeaseGrant { id: LeaseId(-3), ttl: Seconds(5) };
        assert_eq!(grant_of(5, -3), Ok(chosen));
    }

    /// An unknown lease is not an error: it has -1 seconds left of none.
    #[test]
    fn case_57_an_unknown_lease_has_a_negative_time() {
        let response = time_to_live(ResponseHeader::default(), LeaseId(5), None, Vec::new());
        assert_eq!((response.id, response.ttl, response.granted_ttl), (5, -1, 0));
        assert!(response.header.is_some());
    }
}
