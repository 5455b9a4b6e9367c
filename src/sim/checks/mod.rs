//! What must hold of every run.
//!
//! Three checks of the store that share no code: [`agreement`] compares what members have in their logs and
//! states while the run goes on; [`revisions`] replays the history that survived and demands that it
//! explains everything clients were told; [`linearizable`] knows nothing of revisions and searches
//! for an order of its own. They look at the same promise from three sides, so a fault in one of
//! them, or in the revisions, shows as a disagreement. A fourth, [`watched`], holds what every watcher
//! was shown against what happened, a fifth, [`leases`], how leases ended against what their holders
//! were told, and a sixth, [`configurations`], who decides against what was changed of it.

pub mod agreement;
pub mod configurations;
pub mod leases;
pub mod linearizable;
pub mod revisions;
pub mod watched;

/// What does not hold, said to a reader.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Violation(pub String);
