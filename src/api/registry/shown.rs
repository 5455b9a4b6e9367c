//! Changes, as those who watch are sent them.

use super::convert::answer;
use crate::{
    proto::registry::{
        self as proto,
        change::{Kind, Reason},
    },
    registry::{Change, DownReason},
};

/// What happened to an instance.
pub(super) fn change(change: &Change) -> proto::Change {
    let shown = |side: &Option<_>| side.as_deref().map(answer);
    let kind = match (&change.before, &change.after) {
        (None, Some(_)) => Kind::Up,
        (Some(_), None) => Kind::Down,
        (Some(_), Some(_)) => Kind::Changed,
        (None, None) => Kind::Unspecified,
    };
    let reason = match change.reason {
        None => Reason::Unspecified,
        Some(DownReason::Deregistered) => Reason::Deregistered,
        Some(DownReason::Expired) => Reason::Expired,
    };
    proto::Change {
        kind: kind.into(),
        before: shown(&change.before),
        after: shown(&change.after),
        reason: reason.into(),
    }
}
