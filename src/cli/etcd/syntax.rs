//! A start line in the syntax of Go's flags, which is etcd's.
//!
//! `-x` and `--x` are the same; a value follows an equals sign or is the next word; a switch alone
//! means true, and takes a value only with an equals sign; the last of several wins; `--` ends the
//! flags, as does the first word that is none.

use std::collections::BTreeMap;

use super::{table, value::Kind};

/// The flags of a start line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    /// The value of each flag that was given, by its name.
    pub(super) flags: BTreeMap<String, String>,
    /// The first word behind the flags.
    pub(super) word: Option<String>,
}

/// Why a start line is not read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// Help was asked for.
    Help,
    /// It is wrong, in the words of Go.
    Usage(String),
}

/// Reads the words behind the name of the program.
pub(super) fn parse(words: &[String]) -> Result<Line, Unreadable> {
    let mut line = Line::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let Some(flag) = word.strip_prefix('-').filter(|rest| !rest.is_empty()) else {
            line.word = Some(word.clone());
            break;
        };
        let flag = flag.strip_prefix('-').unwrap_or(flag);
        if flag.is_empty() {
            line.word = words.next().cloned();
            break;
        }
        if flag.starts_with(['-', '=']) {
            return Err(Unreadable::Usage(format!("bad flag syntax: {word}")));
        }
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (flag, None),
        };
        let (name, value) = read(name, value, || words.next())?;
        line.flags.insert(name, value);
    }
    Ok(line)
}

fn read<'a>(
    name: &str,
    value: Option<&str>,
    next: impl FnOnce() -> Option<&'a String>,
) -> Result<(String, String), Unreadable> {
    let wrong = |text: String| Err(Unreadable::Usage(text));
    let Some(kind) = table::kind(name) else {
        return match name {
            "help" | "h" => Err(Unreadable::Help),
            unknown => wrong(format!("flag provided but not defined: -{unknown}")),
        };
    };
    let is_switch = matches!(kind, Kind::Switch | Kind::Ignored);
    let value = match value {
        Some(value) => value,
        None if is_switch => "true",
        None => match next() {
            Some(value) => value,
            None => return wrong(format!("flag needs an argument: -{name}")),
        },
    };
    match kind.read(value) {
        Ok(value) => Ok((name.to_owned(), value)),
        Err(why) if is_switch => {
            wrong(format!("invalid boolean value {value:?} for -{name}: {why}"))
        }
        Err(why) => wrong(format!("invalid value {value:?} for flag -{name}: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Line, Unreadable> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(&words)
    }

    fn value(line: &str, name: &str) -> String {
        parsed(line).unwrap().flags.remove(name).unwrap()
    }

    fn refused(line: &str) -> String {
        match parsed(line).unwrap_err() {
            Unreadable::Usage(text) => text,
            Unreadable::Help => "help".to_owned(),
        }
    }

    /// One dash or two, an equals sign or the next word, the last of several.
    #[test]
    fn gos_forms_are_taken() {
        for line in ["-name x", "--name x", "-name=x", "--name=x", "--name=y -name x"] {
            assert_eq!(value(line, "name"), "x", "{line}");
        }
        assert_eq!(value("--name -pre-vote", "name"), "-pre-vote");
        assert_eq!(value("--initial-cluster a=http://b:1", "initial-cluster"), "a=http://b:1");
        assert_eq!(value("--name=", "name"), "");
    }

    /// A switch takes no word behind it.
    #[test]
    fn switches_stand_alone() {
        assert_eq!(value("--pre-vote", "pre-vote"), "true");
        assert_eq!(value("-pre-vote=F", "pre-vote"), "false");
        assert_eq!(value("--pre-vote=false --pre-vote", "pre-vote"), "true");
        let line = parsed("--pre-vote false --name x").unwrap();
        assert_eq!(line.word.as_deref(), Some("false"));
        assert!(!line.flags.contains_key("name"), "{line:?}");
    }

    /// What is behind the flags is told, and not read.
    #[test]
    fn the_first_word_ends_the_flags() {
        assert_eq!(parsed("--name a -- --name b").unwrap().word.as_deref(), Some("--name"));
        assert_eq!(parsed("--name a --").unwrap().word, None);
        assert_eq!(parsed("- --name a").unwrap().word.as_deref(), Some("-"));
        assert_eq!(parsed("").unwrap(), Line::default());
    }

    /// The words of Go, on which scripts may match.
    #[test]
    fn refusals_are_gos() {
        for (line, text) in [
            ("--no-such", "flag provided but not defined: -no-such"),
            ("--no-such=1", "flag provided but not defined: -no-such"),
            ("---name x", "bad flag syntax: ---name"),
            ("--=x", "bad flag syntax: --=x"),
            ("--name", "flag needs an argument: -name"),
            ("--pre-vote=maybe", "invalid boolean value \"maybe\" for -pre-vote: parse error"),
            (
                "--heartbeat-interval=soon",
                "invalid value \"soon\" for flag -heartbeat-interval: parse error",
            ),
            (
                "--initial-cluster-state=old",
                "invalid value \"old\" for flag -initial-cluster-state: invalid value",
            ),
            ("-h", "help"),
            ("--name x --help", "help"),
        ] {
            assert_eq!(refused(line), text);
        }
    }
}
