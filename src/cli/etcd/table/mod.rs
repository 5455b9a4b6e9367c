//! Every flag of etcd's servers of 3.6 and 3.7, and what each does here.
//!
//! A flag whose name is that of one of our [`settings`] sets it; the table does not say which those
//! are, so that a new setting has effect without it. The table says what comes of the others.

use crate::config::{Setting, settings};

use super::value::Kind;

mod guarding;
mod older;
mod running;

/// A flag of etcd's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flag {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) fate: Fate,
}

/// What a flag does where we have no setting of its name.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    /// Nothing, for this reason, which is logged when it is given.
    Notice(&'static str),
    /// Nothing; and since a member would then be open to whom it should not be, it does not start.
    Guard,
    /// Nothing; and since a cluster would then be another than the one that is meant, a member does
    /// not start with it.
    Refused(&'static str),
    /// It is read by the start line itself.
    Here(&'static str),
    /// The same as this flag.
    Alias(&'static str),
    /// The same as this feature gate.
    Gate(&'static str),
}

/// The flags of one subject.
pub(super) struct Group {
    pub(super) title: &'static str,
    pub(super) flags: &'static [Flag],
}

/// All subjects, in the order of etcd's help.
pub(super) const GROUPS: &[Group] = &[
    Group { title: "Member", flags: running::MEMBER },
    Group { title: "Clustering", flags: running::CLUSTERING },
    Group { title: "Security", flags: guarding::SECURITY },
    Group { title: "Auth", flags: guarding::AUTH },
    Group { title: "Profiling and Monitoring", flags: running::MONITORING },
    Group { title: "Logging", flags: running::LOGGING },
    Group { title: "Distributed tracing", flags: running::TRACING },
    Group { title: "Features", flags: running::FEATURES },
    Group { title: "Unsafe feature", flags: running::UNSAFE },
    Group { title: "Spellings of 3.6", flags: older::EXPERIMENTAL },
    Group { title: "Gone for long, and ignored", flags: older::GONE },
];

/// Those that etcd does not have.
pub(super) const PRINT_CONFIG: &str = "print-config";

const fn flag(name: &'static str, kind: Kind, fate: Fate) -> Flag {
    Flag { name, kind, fate }
}

/// One that a setting of ours is there for.
const fn set(name: &'static str, kind: Kind) -> Flag {
    flag(name, kind, Fate::Notice("this version has no such setting"))
}

const fn guard(name: &'static str, kind: Kind) -> Flag {
    flag(name, kind, Fate::Guard)
}

const fn none(name: &'static str, kind: Kind, reason: &'static str) -> Flag {
    flag(name, kind, Fate::Notice(reason))
}

/// The flag of etcd's with this name.
pub(super) fn find(name: &str) -> Option<&'static Flag> {
    GROUPS.iter().flat_map(|group| group.flags).find(|flag| flag.name == name)
}

/// The setting of ours with this name.
pub(super) fn setting(name: &str) -> Option<&'static Setting> {
    settings().find(|setting| setting.name == name)
}

/// The settings that etcd does not know.
pub(super) fn own_settings() -> impl Iterator<Item = &'static Setting> {
    settings().filter(|setting| find(setting.name).is_none())
}

/// What a flag takes; `None` for what is no flag.
pub(super) fn kind(name: &str) -> Option<Kind> {
    let own = || match setting(name) {
        Some(setting) if setting.is_switch => Some(Kind::Switch),
        Some(_) => Some(Kind::Text),
        None => (name == PRINT_CONFIG).then_some(Kind::Switch),
    };
    find(name).map(|flag| flag.kind).or_else(own)
}

/// The flags that a start line, a variable or a file may give, by name.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let etcds = GROUPS.iter().flat_map(|group| group.flags).map(|flag| flag.name);
    etcds.chain(own_settings().map(|setting| setting.name))
}
