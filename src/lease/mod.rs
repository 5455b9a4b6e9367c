//! The lease clock: which leases live, and on this leader, until when.
//!
//! Leases as records (which exist, which keys hang on them) are replicated and live in `state`.
//! Every member's [`Lessor`] has a copy of what counts here, kept by what is applied. Their time is
//! not replicated: it runs on the leader only, in memory only, and starts anew by
//! [`Lessor::promote`] whenever leadership changes. Promised is that no lease is handed out as
//! expired before its last acknowledged renewal plus its time to live; it may live longer, after a
//! leader change by up to its whole time to live and an election timeout.
//!
//! So that a lease with a long time to live does end although leaders change, the clock names those
//! that nobody renewed for a while, and how long they have left: their checkpoint. A new leader
//! starts from it. Therefore a lease with a checkpoint is not renewed before that is cleared.
//!
//! Nothing here reads a clock: whoever calls passes the time in, on one monotonic clock. Nothing
//! here revokes or checkpoints: [`Lessor::due`] only names leases, and the caller proposes.
//!
//! A renewal writes a deadline and nothing else. A lease stands in the timer wheel at a time not
//! after its deadline; when that comes, it is looked at, and goes back to where it belongs by then.

mod lessor;
mod table;
mod wheel;

pub use lessor::{Due, Known, Lessor, NotPrimary, Renewal, TimeLeft};
