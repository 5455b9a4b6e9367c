//! The replicated state machine: committed entries in; outcomes, events and writes out.
//!
//! Every member applies the same entries in the same order and must end up with the same bytes.
//! So nothing in this room reads a clock, a file, a random number or a hash map's order, and
//! nothing here knows about raft, RocksDB or gRPC. Whatever an entry needs from outside is in it.
//!
//! [`apply`] is the way in, and [`Command`] lists all that the log can say. A command is a function
//! over a `WriteTxn`, in the file of its subject: `mvcc/`, `txn.rs`, `lease.rs`, `member.rs`,
//! `alarm.rs`. What the records look like on disk is said in [`schema`], what the log looks like
//! in [`codec`].
//!
//! Old versions of pairs are dropped by the storage whenever its engine passes by. So the bytes of
//! two members may differ in garbage, and nothing here may depend on whether garbage is there.
//!
//! Leases appear here as records only: their clock is the leader's, in the `lease` room.

pub mod codec;
pub mod hash;
pub mod image;
pub mod lease;
pub mod member;
pub mod meta;
pub mod mvcc;
pub mod schema;
#[cfg(any(test, feature = "sim"))]
pub mod testing;
pub mod txn;
pub mod version;

mod alarm;
mod bootstrap;
mod command;
mod error;
mod map_cursor;
mod mirror;
mod overlay;
#[cfg(test)]
mod scripts;
mod view;
mod write_txn;

use write_txn::WriteTxn;

use crate::types::{Event, Fault, LeaseId, Position, Seconds};

pub use bootstrap::bootstrap;
pub use command::*;
pub use error::*;
pub use lease::LeaseRecord;
pub use map_cursor::MapCursor;
pub use member::{ConfState, Member, Membership};
pub use mirror::{Mirror, Mirrored};
pub use overlay::Overlay;
pub use schema::FORMAT_VERSION;
pub use version::Level;
pub use view::*;

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// What its proposer is told.
    pub outcome: Result<Answer, Refused>,
    /// What changed, in order; all of one revision.
    pub events: Vec<Event>,
    /// What to store, beside the applied index.
    pub writes: Writes,
    /// What the lease clock must know.
    pub leases: Vec<LeaseChange>,
}

/// What happened to a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseChange {
    /// It exists, with this time to live.
    Granted(LeaseId, Seconds),
    /// It is gone.
    Gone(LeaseId),
    /// It had this much left when the leader wrote that down; zero or less: that no longer counts.
    Checkpointed(LeaseId, Seconds),
    /// A key was attached to it.
    Attached(LeaseId),
    /// A key was detached from it, as when the key is deleted.
    Detached(LeaseId),
}

/// Applies one request of a committed entry. An entry carries as many requests as waited together;
/// each sees the writes of those before it through `view`, an overlay on the stored state. `at`
/// is where the entry stands.
///
/// The outcome depends on the request, the entry's place and what the view shows, and on nothing else. A
/// refused command still counts as applied: the index moves on, and the store is left as it was.
pub fn apply(view: &dyn View, at: Position, request: &Request) -> Result<Applied, Fault> {
    let mut txn = WriteTxn::begin(view)?;
    let response = match dispatch(&mut txn, at, &request.command) {
        Ok(response) => response,
        Err(ApplyError::Fault(fault)) => return Err(fault),
        Err(ApplyError::Refused(refused)) => {
            return Ok(Applied {
                outcome: Err(refused),
                events: Vec::new(),
                writes: Writes::default(),
                leases: Vec::new(),
            });
        }
    };
    let outcome = Ok(Answer { revision: txn.revision(), response });
    let effects = txn.finish();
    Ok(Applied { outcome, events: effects.events, writes: effects.writes, leases: effects.leases })
}

fn dispatch(
    txn: &mut WriteTxn<'_>,
    at: Position,
    command: &Command,
) -> Result<Response, ApplyError> {
    alarm::gate(txn.before(), command)?;
    Ok(match command {
        Command::Put(put) => Response::Put(mvcc::put(txn, put)?),
        Command::DeleteRange(delete) => Response::DeleteRange(mvcc::delete_range(txn, delete)?),
        Command::Txn(body) => Response::Txn(txn::execute(txn, body)?),
        Command::Compact(to) => mvcc::compact(txn, *to).map(|()| Response::Compact)?,
        Command::LeaseGrant { id, ttl } => {
            lease::grant(txn, at.index, *id, *ttl).map(|()| Response::LeaseGrant(*id, *ttl))?
        }
        Command::LeaseRevoke { id, cause } => {
            lease::revoke(txn, at.term, *id, *cause).map(|()| Response::LeaseRevoke)?
        }
        Command::LeaseCheckpoint { leases, known } => {
            lease::checkpoint(txn, leases, *known).map(|()| Response::LeaseCheckpoint)?
        }
        Command::PublishMember { id, name, client_urls, level } => {
            member::publish(txn, *id, name, client_urls, *level)?;
            version::settle(txn)?;
            Response::PublishMember
        }
        Command::ChangeMembers(change) => {
            let members = member::change(txn, change)?;
            version::settle(txn)?;
            Response::Members(members)
        }
        Command::Alarm(change) => Response::Alarm(alarm::change(txn, *change)),
    })
}
