//! What is printed instead of a start: usage, help, versions.

use std::{env::consts, fmt::Write};

use super::table::{self, Fate, Flag};

/// The version of etcd whose place we take.
const ETCD_VERSION: &str = "3.7.1";

/// How the program is called.
pub(super) const USAGE: &str = "Usage:

  etcd [flags]
    Start a member.

  etcd --version
    Show the versions.

  etcd -h | --help
    Show all flags, and which of them have an effect.

  etcd --config-file FILE
    Start a member with the settings of a YAML or JSON file. All other flags, and the environment,
    are ignored then. Durations are whole nanoseconds in it, or texts such as \"10m\".

  etcd --print-config [flags]
    Show the settings that would be in force, and where each comes from.
";

/// etcd's four lines.
pub(super) fn versions() -> String {
    let arch = match consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!(
        "etcd Version: {ETCD_VERSION}\nGit SHA: quorate-{}\nGo Version: none (Rust {})\nGo OS/Arch: {}/{arch}\n",
        env!("CARGO_PKG_VERSION"),
        env!("CARGO_PKG_RUST_VERSION"),
        consts::OS,
    )
}

/// All flags, by subject.
pub(super) fn flags() -> String {
    let mut page = String::new();
    for group in table::GROUPS {
        section(&mut page, group.title, group.flags.iter().map(|flag| (flag.name, effect(flag))));
    }
    let own = table::own_settings().map(|setting| (setting.name, setting.help.to_owned()));
    let print = (table::PRINT_CONFIG, "Print the settings in force, and exit".to_owned());
    section(&mut page, "Not of etcd", own.chain([print]));
    page
}

fn section(page: &mut String, title: &str, flags: impl Iterator<Item = (&'static str, String)>) {
    writeln!(page, "\n{title}:").expect("writing to a string succeeds");
    for (name, effect) in flags {
        writeln!(page, "  --{name}\n    {effect}").expect("writing to a string succeeds");
    }
}

/// What a flag does, in a line.
pub(super) fn effect(flag: &Flag) -> String {
    if let Some(setting) = table::setting(flag.name) {
        return setting.help.replace("<name>.quorate", "<name>.etcd");
    }
    match flag.fate {
        Fate::Notice(reason) => format!("No effect: {reason}"),
        Fate::Guard => "Refused: this version cannot guard a member with it".to_owned(),
        Fate::Refused(reason) => format!("Refused: {reason}"),
        Fate::Here(what) => {
            let mut chars = what.chars();
            chars
                .next()
                .map(|first| first.to_uppercase().chain(chars).collect())
                .unwrap_or_default()
        }
        Fate::Alias(successor) => format!("The same as --{successor}"),
        Fate::Gate(gate) => format!("The same as --feature-gates={gate}"),
    }
}
