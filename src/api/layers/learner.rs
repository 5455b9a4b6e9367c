//! [`LearnerGate`]: what a member without a vote serves.
//!
//! As in etcd it serves what is needed to look after it and reads that may be old, and refuses
//! everything else, its health included, so that clients go to another member. As an observer, when
//! its settings say so, it serves all that a copy of the state can answer by itself.
//!
//! The gate goes by the path. Whether a read may be old stands in its message: who serves
//! [`Served::Serializable`] looks there.

/// What a member serves while it has no vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LearnerGate {
    /// Whether it is an observer.
    pub serves_reads: bool,
}

/// What becomes of the calls of a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Served {
    /// They are served.
    Always,
    /// They are served if they ask for no more than this member's state.
    Serializable,
    /// They are refused.
    Never,
}

impl LearnerGate {
    pub(super) fn of(self, path: &str) -> Served {
        match path {
            "/etcdserverpb.Maintenance/Status" | "/etcdserverpb.Maintenance/Snapshot" => {
                Served::Always
            }
            "/etcdserverpb.KV/Range" => Served::Serializable,
            "/etcdserverpb.KV/RangeStream" | "/etcdserverpb.Cluster/MemberList"
                if self.serves_reads =>
            {
                Served::Serializable
            }
            "/etcdserverpb.Watch/Watch"
            | "/grpc.health.v1.Health/Check"
            | "/grpc.health.v1.Health/Watch"
                if self.serves_reads =>
            {
                Served::Always
            }
            _ => Served::Never,
        }
    }
}
