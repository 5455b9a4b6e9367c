//! The vocabulary: values, and the rules each value keeps about itself.
//!
//! Every room speaks in these words, so nothing here knows about any room. A value that exists is
//! valid: keys are not empty, ranges say which of the four forms they have. There is no I/O, no
//! clock and no error of its own other than [`Fault`], which means that this member's disk or data is
//! bad, and [`UrlError`].

pub mod distribution;
pub mod fault;
pub mod id;
pub mod identity;
pub mod key;
pub mod limits;
pub mod revision;
pub mod time;
pub mod tls;
pub mod url;

pub use distribution::{Distributed, Distribution};
pub use fault::Fault;
pub use id::{
    BootNumber, ClusterId, Incarnation, Index, LeaseId, MemberId, Position, RequestId, Term,
};
pub use identity::Identity;
pub use key::{Key, KeyRange};
pub use revision::{DeleteReason, Event, EventId, EventKind, KeyValue, Revision};
pub use time::{Millis, Seconds};
pub use url::{Url, UrlError};
