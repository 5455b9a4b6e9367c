//! The identity file: to whom a data directory belongs, as a few lines of text.
//!
//! Text, so that an operator who finds a directory can tell what it is. A checksum, because a
//! member that mistakes itself for another one breaks its cluster.

use std::fmt::Write;

use crate::types::{BootNumber, ClusterId, Incarnation, MemberId};

/// The format that this version writes, and the only one it reads.
pub(super) const FORMAT: u32 = 2;

const TITLE: &str = "quorate data directory";

/// To whom a data directory belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityRecord {
    /// The cluster.
    pub cluster: ClusterId,
    /// The member.
    pub member: MemberId,
    /// The name it was created under.
    pub name: String,
    /// How often the member was started; 0 until its first start is complete.
    pub boot: BootNumber,
    /// Another one each time the member lost what it had written.
    pub incarnation: Incarnation,
    /// Whether it is not whole again since.
    pub fenced: bool,
    /// How far it has come in its cluster.
    pub life: Life,
}

/// How far a member has come in its cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Life {
    /// It has joined, and has no state yet.
    Joining,
    /// It has a state, or did not get through its first start.
    #[default]
    Member,
    /// It was removed, for good.
    Removed,
}

impl Life {
    /// The word for it; a member's life goes without.
    fn word(self) -> Option<&'static str> {
        match self {
            Self::Joining => Some("joining"),
            Self::Member => None,
            Self::Removed => Some("removed"),
        }
    }

    fn of(word: &str) -> Option<Self> {
        [Self::Joining, Self::Removed].into_iter().find(|life| life.word() == Some(word))
    }
}

/// Why a text is not an identity this version reads.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// It has another format, older or newer.
    Format(u32),
    /// It is damaged.
    Damaged(String),
}

impl IdentityRecord {
    /// As the text of an identity file.
    pub(super) fn encode(&self) -> String {
        let Self { cluster, member, name, boot, incarnation, fenced, life } = self;
        let mut text = format!(
            "{TITLE}\nformat {FORMAT}\ncluster {cluster}\nmember {member}\nname {name}\nboot {boot}\n\
             incarnation {incarnation}\nfenced {fenced}\n"
        );
        if let Some(word) = life.word() {
            writeln!(text, "life {word}").expect("a string takes any text");
        }
        let sum = crc32fast::hash(text.as_bytes());
        writeln!(text, "crc {sum:08x}").expect("a string takes any text");
        text
    }

    /// Reads the text of an identity file.
    pub(super) fn decode(text: &str) -> Result<Self, Unreadable> {
        let mut lines = text.lines();
        if lines.next() != Some(TITLE) {
            return Err(Unreadable::Damaged("it does not begin as one".into()));
        }
        // Before the checksum: a newer format may have another one.
        let format: u32 = field(lines.next(), "format", |text| text.parse().ok())?;
        if format != FORMAT {
            return Err(Unreadable::Format(format));
        }
        let mut record = Self {
            cluster: ClusterId(field(lines.next(), "cluster", hex)?),
            member: MemberId(field(lines.next(), "member", hex)?),
            name: field(lines.next(), "name", |text| Some(text.to_owned()))?,
            boot: BootNumber(field(lines.next(), "boot", |text| text.parse().ok())?),
            life: Life::Member,
            incarnation: Incarnation(field(lines.next(), "incarnation", hex)?),
            fenced: field(lines.next(), "fenced", |text| text.parse().ok())?,
        };
        let line = lines.next().filter(|line| line.starts_with("life "));
        if line.is_some() {
            record.life = field(line, "life", Life::of)?;
        }
        // The checksum covers what was written, so write it again; that also refuses trailing text.
        if record.encode() != text {
            return Err(Unreadable::Damaged("its checksum does not match".into()));
        }
        Ok(record)
    }
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}

fn field<T>(
    line: Option<&str>,
    name: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, Unreadable> {
    line.and_then(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .and_then(parse)
        .ok_or_else(|| Unreadable::Damaged(format!("its field {name:?} cannot be read")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> IdentityRecord {
        IdentityRecord {
            cluster: ClusterId(0xcdf8_18f1_94e3_a8c6),
            member: MemberId(0x8e9e_05c5_2164_694d),
            name: "first of three".into(),
            boot: BootNumber(17),
            life: Life::Joining,
            incarnation: Incarnation(0x1_0000_00ab),
            fenced: true,
        }
    }

    /// What is written is read back, the empty name too.
    #[test]
    fn round_trips() {
        for name in ["first of three", "", " ", "größe"] {
            for life in [Life::Joining, Life::Member, Life::Removed] {
                let record = IdentityRecord { name: name.into(), life, ..record() };
                assert_eq!(IdentityRecord::decode(&record.encode()), Ok(record));
            }
        }
    }

    /// No single damaged byte goes unnoticed.
    #[test]
    fn every_damaged_byte_is_noticed() {
        let text = record().encode();
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let Ok(damaged) = String::from_utf8(bytes) else { continue };
            assert!(IdentityRecord::decode(&damaged).is_err(), "byte {at} of {text:?}");
        }
        for end in 0..text.len() {
            assert!(IdentityRecord::decode(&text[..end]).is_err(), "cut at {end}");
        }
    }

    /// Another format is told apart from damage, whatever follows.
    #[test]
    fn another_format_is_recognised() {
        for format in [FORMAT - 1, FORMAT + 1] {
            let text = format!("{TITLE}\nformat {format}\nsomething else\n");
            assert_eq!(IdentityRecord::decode(&text), Err(Unreadable::Format(format)));
        }
    }
}
