//! Which etcd is at hand, and with it which answers are to be expected.

/// The version that we are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// 3.7, whose answers are ours.
    Etcd37,
    /// 3.4, as Debian has it. It differs from 3.7 in what [`crate::compare`] masks, and it has
    /// neither streams of ranges nor a check of sort options, which are not generated then.
    Etcd34,
}
