//! Helpers for tests: a state in memory, what must hold in it, and a machine to drive by hand.
//!
//! [`MapView`] is also the state of the simulator's members.

mod check;
#[cfg(test)]
mod machine;
mod map_view;

pub use check::inconsistencies;
#[cfg(test)]
pub(crate) use check::wrong_counts;
pub use map_view::MapView;

#[cfg(test)]
pub(crate) use machine::*;
