//! The lease clock: which leases live on this leader, and until when.
//!
//! Leases as records (which exist, which keys hang on them) are replicated and live in `state`.
//! Their time is not: it runs on the leader only, is kept in memory only, and is built anew by
//! [`Lessor::promote`] whenever leadership changes. Promised is that no lease is handed out as
//! expired before its last acknowledged renewal plus its time to live; it may live longer, after a
//! leader change by up to its whole time to live and an election timeout.
//!
//! Nothing here reads a clock: whoever calls passes the time in, on one monotonic clock. Nothing
//! here revokes: [`Lessor::expired`] only names leases, and the caller proposes.
//!
//! Absent for now: nobody proposes checkpoints of long-silent leases, so a new leader gives every
//! lease its whole time to live again.

mod lessor;
mod queue;

pub use lessor::{Lessor, NotPrimary, Renewal, TimeLeft};
