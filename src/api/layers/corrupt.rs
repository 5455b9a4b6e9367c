//! What a member does not serve once its data are known to be wrong: whatever is made of its keys and
//! leases. Operators still reach it.

use tonic::Status;

use crate::{api::status, state::Refused};

/// The services that answer from the data.
const REFUSED: [&str; 6] = [
    "/etcdserverpb.KV/",
    "/etcdserverpb.Watch/",
    "/etcdserverpb.Lease/",
    "/v3lockpb.Lock/",
    "/v3electionpb.Election/",
    "/quorate.registry.v1.Registry/",
];

/// Whether a call of this path is answered from the data.
pub(super) fn concerns(path: &str) -> bool {
    REFUSED.iter().any(|service| path.starts_with(service))
}

/// What its caller is told.
pub(super) fn refusal() -> Status {
    status::of_refused(Refused::Corrupt)
}
