//! Start lines as a whole: what is printed, what is refused, and that no flag is forgotten.

use std::{collections::BTreeSet, fs, path::PathBuf};

use super::*;

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn environment(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn text(line: &str, variables: &[(&str, &str)]) -> String {
    match read(&words(line), &environment(variables)) {
        Ok(Asked::Text(text)) => text,
        Ok(Asked::Start(_)) => panic!("{line} starts a member"),
        Err(refusal) => panic!("{line}: {refusal:?}"),
    }
}

fn refused(line: &str, variables: &[(&str, &str)]) -> Refusal {
    match read(&words(line), &environment(variables)) {
        Ok(_) => panic!("{line} is taken"),
        Err(refusal) => refusal,
    }
}

/// A value that each kind takes.
fn example(flag: &table::Flag) -> &'static str {
    match (flag.name, flag.kind) {
        ("log-format", _) => "json",
        ("logger", _) => "zap",
        ("log-level", _) => "debug",
        ("log-outputs", _) => "stderr",
        ("metrics", _) => "extensive",
        ("auto-compaction-mode", _) => "periodic",
        ("auto-compaction-retention", _) => "1h",
        ("tls-min-version" | "tls-max-version", _) => "TLS1.2",
        ("initial-cluster", _) => "default=http://localhost:2380",
        ("log-rotation-config-json", _) => "{}",
        ("election-timeout", _) => "5000",
        (_, value::Kind::Switch | value::Kind::Ignored) => "false",
        (_, value::Kind::Text) => "",
        (_, value::Kind::Urls) => "http://127.0.0.1:1",
        (_, value::Kind::Duration) => "5m0s",
        (_, value::Kind::Unsigned(_) | value::Kind::Signed) => "100",
        (_, value::Kind::Choice(words) | value::Kind::Choices(words)) => words[0],
        (_, value::Kind::Gates) => "LeaseCheckpoint=true",
    }
}

/// Nothing that etcd takes is refused for its syntax or its value, and each word of it is shown or
/// told of.
#[test]
fn every_flag_is_taken() {
    for flag in table::GROUPS.iter().flat_map(|group| group.flags) {
        if flag.name == "config-file" {
            continue;
        }
        let mut line = format!("--print-config --{}={}", flag.name, example(flag));
        if flag.name == "listen-client-urls" {
            line.push_str(" --advertise-client-urls=http://127.0.0.1:1");
        }
        if flag.name == "initial-advertise-peer-urls" {
            line.push_str(" --initial-cluster=default=http://127.0.0.1:1");
        }
        let printed = text(&line, &[]);
        if let table::Fate::Notice(reason) = flag.fate
            && table::setting(flag.name).is_none()
        {
            let notice = format!("# flag --{} is accepted and has no effect: {reason}", flag.name);
            assert!(printed.contains(&notice), "{line}:\n{printed}");
        }
    }
}

/// The flags of a version of etcd, where Go has its sources.
fn flags_of(version: &str) -> Option<BTreeSet<String>> {
    #[expect(clippy::disallowed_methods, reason = "Go's cache is where the environment says")]
    let root = std::env::var_os("GOMODCACHE")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join("go/pkg/mod")))?;
    let path = root.join(format!("go.etcd.io/etcd/server/v3@v{version}/etcdmain/help.go"));
    let help = fs::read_to_string(path).ok()?;
    let flags = help.lines().filter_map(|line| line.strip_prefix("  --"));
    let name = |line: &str| line.split_whitespace().next().unwrap_or_default().to_owned();
    Some(flags.map(name).collect())
}

/// The table is held against the sources of etcd, where they are.
#[test]
fn the_table_has_all_flags_of_etcd() {
    for version in ["3.6.14", "3.7.1"] {
        let Some(flags) = flags_of(version) else {
            eprintln!("SKIPPED: the sources of etcd {version} are not in Go's cache");
            continue;
        };
        assert!(flags.len() > 100, "{flags:?}");
        let missing: Vec<_> = flags.iter().filter(|name| table::find(name).is_none()).collect();
        assert!(missing.is_empty(), "of etcd {version}: {missing:?}");
    }
}

/// No flag stands in the table twice, and successors and gates are there.
#[test]
fn the_table_is_consistent() {
    let mut names = BTreeSet::new();
    for flag in table::GROUPS.iter().flat_map(|group| group.flags) {
        assert!(names.insert(flag.name), "{} is listed twice", flag.name);
        match flag.fate {
            table::Fate::Alias(successor) => {
                assert_eq!(table::find(successor).unwrap().kind, flag.kind, "{}", flag.name);
            }
            table::Fate::Gate(gate) => assert!(gates::reason(gate).is_some(), "{gate}"),
            table::Fate::Notice(_)
            | table::Fate::Guard
            | table::Fate::Refused(_)
            | table::Fate::Here(_) => {}
        }
    }
}

/// The versions, the help and the settings go to standard output.
#[test]
fn versions_and_help_are_printed() {
    let versions = text("--version", &[]);
    assert!(versions.starts_with("etcd Version: 3.7.1\nGit SHA: quorate-"), "{versions}");
    assert_eq!(versions.lines().count(), 4, "{versions}");
    for line in ["--help", "-h"] {
        let help = text(line, &[]);
        for flag in table::names() {
            assert!(help.contains(&format!("\n  --{flag}\n")), "{flag} is not in:\n{help}");
        }
    }
}

/// What is wrong with the words ends with 2, what is wrong with the settings with 1.
#[test]
fn refusals_have_etcds_words() {
    let flags = |text: &str| Refusal::Flags(text.to_owned());
    assert_eq!(
        refused("--no-such", &[]),
        Refusal::Usage("flag provided but not defined: -no-such".to_owned())
    );
    assert_eq!(refused("start", &[]), flags("\"start\" is not a valid flag"));
    assert_eq!(refused("--name a b", &[]), flags("\"b\" is not a valid flag"));
    assert_eq!(
        refused("--feature-gates=No=true", &[]),
        Refusal::Usage(
            "invalid value \"No=true\" for flag -feature-gates: unrecognized feature gate: No"
                .to_owned()
        )
    );
    let conflict = refused("--name a", &[("ETCD_NAME", "b")]);
    assert_eq!(conflict, Refusal::Conflict("ETCD_NAME".to_owned()));
    assert!(matches!(
        refused("--listen-client-urls http://127.0.0.1:1", &[]),
        Refusal::Flags(text) if text.contains("is required when --listen-client-urls is set")
    ));
}

/// Flags, variables and defaults are layered as etcd does it, and shown with their origins.
#[test]
fn a_line_and_an_environment_are_layered() {
    let variables = [("ETCD_DATA_DIR", "/d"), ("ETCD_MAX_WALS", "9"), ("ETCD_NO_SUCH", "1")];
    let printed = text(
        "--print-config -name a --name=n1 --heartbeat-interval 200 --snapshot-count 1",
        &variables,
    );
    for line in [
        "name = \"n1\" # flag --name",
        "data-dir = \"/d\" # environment variable ETCD_DATA_DIR",
        "heartbeat-interval = 200 # flag --heartbeat-interval",
        "initial-cluster = [\"n1=http://localhost:2380\"] # default",
        "log-format = \"json\" # default",
        "# ETCD_NO_SUCH is not known",
    ] {
        assert!(printed.lines().any(|it| it == line), "{line} is not in:\n{printed}");
    }
    for flag in ["snapshot-count", "max-wals"] {
        assert!(printed.contains(&format!("# flag --{flag} is accepted")), "{printed}");
    }
}

/// With a file nothing else counts, wherever the file is named.
#[test]
fn a_file_stands_in_place_of_all_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("etcd.yaml");
    fs::write(&path, "name: filed\nproxy: 'off'\nmax-learners: 2\n").unwrap();
    let path = path.display().to_string();
    let by_flag = format!("--print-config --name flagged --config-file {path}");
    let variables = [("ETCD_NAME", "named"), ("ETCD_CONFIG_FILE", &path)];
    for printed in [text(&by_flag, &[("ETCD_NAME", "named")]), text("--print-config", &variables)] {
        for line in [
            format!("name = \"filed\" # file {path}"),
            "data-dir = \"filed.etcd\" # default".to_owned(),
            format!("max-learners = 2 # file {path}"),
            "# proxy is not known".to_owned(),
        ] {
            assert!(printed.lines().any(|it| it == line), "{line} is not in:\n{printed}");
        }
    }
}

/// The table in the documents, as it should be.
fn documented() -> String {
    let mut rows = "| flag | what it does |\n|---|---|\n".to_owned();
    for group in table::GROUPS {
        rows.push_str(&format!("| **{}** | |\n", group.title));
        for flag in group.flags {
            let effect = match table::setting(flag.name) {
                Some(_) => "sets it".to_owned(),
                None => help::effect(flag),
            };
            rows.push_str(&format!("| `{}` | {effect} |\n", flag.name));
        }
    }
    rows
}

/// What is told of each flag is what it does.
#[test]
fn the_documents_tell_of_every_flag() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/start-lines.md");
    let text = fs::read_to_string(path).unwrap();
    let (head, rows) = text.split_once("the_documents -->\n").expect("a mark before the table");
    #[expect(clippy::disallowed_methods, reason = "it asks for the documents to be written anew")]
    let update = std::env::var_os("UPDATE_GOLDENFILES").is_some_and(|value| value == "1");
    if update {
        fs::write(path, format!("{head}the_documents -->\n\n{}", documented())).unwrap();
    } else {
        assert_eq!(rows.trim_start(), documented(), "docs/start-lines.md");
    }
}
