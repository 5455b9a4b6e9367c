//! Keys, values and their versions: put, delete, read at any kept revision, history, compaction.
//!
//! A pair lives in `cur`. When it is replaced or deleted it moves to `ver` together with the
//! revision that ended it, so that it is the answer for every revision from its own up to, and
//! without, that end. `evt` says what happened in which order, and `cnt` how many keys live.

mod compact;
pub(super) mod count;
mod delete;
mod history;
mod key_history;
mod list;
mod put;
mod range;
mod read;
mod versions;

pub(super) use compact::{compact, ensure_kept};
pub(super) use delete::delete_range;
pub(super) use put::{check_put, put, put_checked};
pub(super) use range::{check_revision, range_within};
pub(super) use read::visit_live;

pub use history::{History, events};
pub use key_history::{KeyHistory, events_of_keys};
pub use list::{Listed, list};
pub use range::{count, range};

#[cfg(test)]
mod costs;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
