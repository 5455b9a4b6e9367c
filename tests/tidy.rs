//! Rules about the code itself that neither the compiler nor clippy holds: who may import whom, how
//! long files are, what they begin with, and that the documents name what there is.
//!
//! One crate has no walls between its rooms; [`ROOMS`] is those walls. The reader of sources here is
//! no parser of Rust: it blanks comments and strings and then follows paths and use trees, which is
//! enough for code that rustfmt has been over. Every complaint names a file and a line.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A room, and the rooms it may import beside itself. `*` is all rooms but `cli` and `sim`.
const ROOMS: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("proto", &[]),
    ("raft", &["types"]),
    ("state", &["types", "proto"]),
    ("lease", &["types"]),
    ("telemetry", &["types"]),
    ("tls", &["types", "telemetry"]),
    ("watch", &["types", "state", "proto"]),
    ("node", &["types", "raft", "state", "lease", "watch", "proto"]),
    ("storage", &["types", "raft", "state", "node"]),
    ("transport", &["types", "raft", "node", "proto", "tls"]),
    ("recipes", &["types", "state", "node"]),
    ("registry", &["types", "state", "node", "recipes"]),
    (
        "api",
        &["types", "state", "node", "watch", "recipes", "registry", "proto", "telemetry", "backup"],
    ),
    ("dns", &["types", "state", "node", "recipes"]),
    ("console", &["types", "state", "node", "recipes"]),
    ("backup", &["types", "state"]),
    ("config", &["types"]),
    ("server", &["*"]),
    ("cli", &["config", "server", "telemetry", "proto", "types", "tls", "backup"]),
    ("sim", &["types", "raft", "state", "lease", "watch", "node", "recipes"]),
];

/// Outside crates that only some rooms may use.
const OUTSIDE: &[(&str, &[&str])] = &[
    ("raft_rs", &["raft"]),
    ("protobuf", &["raft", "storage"]),
    ("rocksdb", &["storage"]),
    ("rustix", &["node", "storage"]),
    ("raft_engine", &["storage"]),
    ("tonic", &["transport", "api", "server", "cli", "proto", "tls"]),
    ("axum", &["api", "server"]),
    ("hyper", &["api", "server", "cli", "tls"]),
    ("hyper_util", &["api", "server", "cli", "tls"]),
    ("rustls", &["tls"]),
    ("tokio_rustls", &["tls"]),
    ("rustls_native_certs", &["tls"]),
    ("rcgen", &["tls"]),
    ("x509_parser", &["tls"]),
    ("h2", &["cli"]),
    ("figment", &["config"]),
    ("clap", &["cli"]),
    ("hashbrown", &["lease", "watch"]),
];

/// The rooms that read no clock, open no file and no socket, draw no random number, await nothing.
const PURE: &[&str] = &["types", "raft", "state", "lease", "watch"];

/// What pure rooms do not use, as root and first step of a path; `*` is every step.
const IMPURE: &[(&str, &str)] = &[
    ("std", "time"),
    ("std", "fs"),
    ("std", "net"),
    ("std", "env"),
    ("std", "process"),
    ("std", "thread"),
    ("tokio", "*"),
    ("rand", "*"),
];

/// Pure rooms' exceptions: how a watch stream is woken is a channel, and the watch room owns it.
const PURE_EXCEPTIONS: &[(&str, &str, &str)] = &[("watch", "tokio", "sync")];

const FILE_LINES_MAX: usize = 499;

/// A source file, and its text with comments, strings and character literals blanked.
struct Source {
    path: String,
    text: String,
    code: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned(), code: blanked(text) }
    }

    /// The room a file under `src/` belongs to; `lib.rs` and `main.rs` belong to none.
    fn room(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        let room = inside.split('/').next()?.trim_end_matches(".rs");
        (!matches!(room, "lib" | "main")).then_some(room)
    }

    fn at(&self, offset: usize, complaint: &str) -> String {
        let line = self.code[..offset].matches('\n').count() + 1;
        format!("{}:{line}: {complaint}", self.path)
    }

    /// Every path that starts at `root`, with its place: `root::a::b` and each leaf of
    /// `root::{a::b, c}` as `a::b`, `c`.
    fn paths_from(&self, root: &str) -> Vec<(usize, String)> {
        let mut paths = Vec::new();
        for (offset, _) in self.code.match_indices(&format!("{root}::")) {
            let before = self.code[..offset].trim_end();
            let glued = self.code[..offset].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            if glued || before.ends_with("::") {
                continue;
            }
            leaves(&self.code, offset + root.len() + 2, "", &mut paths);
        }
        paths
    }
}

/// Collects the leaves of the use tree at `offset`, which may be a plain path, and returns where it
/// ends.
fn leaves(code: &str, offset: usize, prefix: &str, into: &mut Vec<(usize, String)>) -> usize {
    let rest = &code[offset..];
    let start = offset + (rest.len() - rest.trim_start().len());
    if let Some(inner) = code[start..].strip_prefix('{') {
        let mut at = start + 1;
        let end = start + 1 + inner.find('}').unwrap_or(inner.len());
        loop {
            at += code[at..].len() - code[at..].trim_start_matches([',', ' ', '\n', '\t']).len();
            if at >= code.len() || code[at..].starts_with('}') {
                return at + 1;
            }
            let next = leaves(code, at, prefix, into);
            // Whatever is not a name ends the list rather than the test.
            if next == at {
                return end;
            }
            at = next;
        }
    }
    let name = &code[start..];
    let len = name.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '*'));
    let end = start + len.unwrap_or(name.len());
    if end == start {
        return offset;
    }
    let path = format!("{prefix}{}", &code[start..end]);
    if let Some(after) = code[end..].strip_prefix("::") {
        // A turbofish ends the path.
        if !after.starts_with('<') {
            return leaves(code, end + 2, &format!("{path}::"), into);
        }
    }
    into.push((start, path));
    let renamed = code[end..].trim_start().strip_prefix("as ").map(|alias| {
        let len = alias.find(|c: char| !(c.is_alphanumeric() || c == '_'));
        code.len() - alias.len() + len.unwrap_or(alias.len())
    });
    renamed.unwrap_or(end)
}

/// The text with everything that is not code replaced by spaces, line by line as it was.
fn blanked(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let len = literal_or_comment(rest, code.chars().next_back());
        if len == 0 {
            let c = rest.chars().next().unwrap();
            code.push(c);
            at += c.len_utf8();
        } else {
            // Byte for byte, so that places in the code are places in the text.
            code.extend(rest[..len].bytes().map(|b| if b == b'\n' { '\n' } else { ' ' }));
            at += len;
        }
    }
    code
}

/// The length of the comment, string or character literal that `rest` begins with, or 0.
fn literal_or_comment(rest: &str, before: Option<char>) -> usize {
    let to = |end: Option<usize>, skip: usize| end.map_or(rest.len(), |end| end + skip);
    if rest.starts_with("//") {
        return to(rest.find('\n'), 0);
    }
    if rest.starts_with("/*") {
        return to(rest.find("*/"), 2);
    }
    if before.is_none_or(|c| !(c.is_alphanumeric() || c == '_')) {
        let raw = rest.trim_start_matches('b');
        if let Some(hashes) = raw.strip_prefix('r') {
            let fence = &hashes[..hashes.len() - hashes.trim_start_matches('#').len()];
            if let Some(inside) = hashes[fence.len()..].strip_prefix('"') {
                let open = rest.len() - inside.len();
                let close = format!("\"{fence}");
                return to(inside.find(&close).map(|end| open + end), close.len());
            }
        }
    }
    if let Some(inside) = rest.strip_prefix('"') {
        return 1 + quoted_len(inside, '"');
    }
    // A quote is a character literal unless it begins a lifetime.
    let mut chars = rest.chars();
    if chars.next() == Some('\'') {
        let (first, second) = (chars.next(), chars.next());
        if first == Some('\\') || second == Some('\'') {
            return 1 + quoted_len(&rest[1..], '\'');
        }
    }
    0
}

/// How long the inside of a literal is, with the quote that ends it.
fn quoted_len(inside: &str, quote: char) -> usize {
    let mut escaped = false;
    for (offset, c) in inside.char_indices() {
        if c == quote && !escaped {
            return offset + c.len_utf8();
        }
        escaped = c == '\\' && !escaped;
    }
    inside.len()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files below `folder`, in order, as paths from the root of the project.
fn files_below(folder: &str) -> Vec<String> {
    let mut files = BTreeSet::new();
    let mut pending = vec![PathBuf::from(folder)];
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(root().join(&folder)).unwrap() {
            let path = folder.join(entry.unwrap().file_name());
            if root().join(&path).is_dir() {
                pending.push(path);
            } else {
                files.insert(path.to_str().unwrap().to_owned());
            }
        }
    }
    files.into_iter().collect()
}

fn sources(folder: &str) -> Vec<Source> {
    let files = files_below(folder);
    let sources = files.iter().filter(|path| path.ends_with(".rs"));
    sources.map(|path| Source::new(path, &read(path))).collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn assert_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// What a source imports that its room may not.
fn import_complaints(source: &Source) -> Vec<String> {
    let Some(room) = source.room() else { return Vec::new() };
    let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
        return vec![source.at(0, &format!("room {room} is not in the table of tests/tidy.rs"))];
    };

    let mut complaints = Vec::new();
    for (offset, path) in source.paths_from("crate") {
        let other = path.split("::").next().unwrap();
        let everything = allowed.contains(&"*") && !matches!(other, "cli" | "sim");
        // Settings nest the settings of the rooms, and nothing else of them.
        let settings = room == "config" && path.ends_with("Config");
        if other != room && !allowed.contains(&other) && !everything && !settings {
            complaints.push(source.at(offset, &format!("{room} may not import {other}")));
        }
    }
    for (crate_name, rooms) in OUTSIDE {
        for (offset, _) in source.paths_from(crate_name) {
            if !rooms.contains(&room) {
                complaints.push(source.at(offset, &format!("{room} may not use {crate_name}")));
            }
        }
    }
    complaints
}

/// What a source of a pure room uses of the world outside.
fn purity_complaints(source: &Source) -> Vec<String> {
    let Some(room) = source.room().filter(|room| PURE.contains(room)) else { return Vec::new() };

    let mut complaints = Vec::new();
    for (root, banned) in IMPURE {
        for (offset, path) in source.paths_from(root) {
            let step = path.split("::").next().unwrap();
            let excepted = PURE_EXCEPTIONS.contains(&(room, *root, step));
            if (*banned == "*" || *banned == step) && !excepted {
                complaints.push(source.at(offset, &format!("{room} may not use {root}::{path}")));
            }
        }
    }
    complaints
}

/// The table of who may import whom, for rooms and for outside crates.
#[test]
fn rooms_import_what_the_table_allows() {
    let sources = sources("src");
    assert_none(&sources.iter().flat_map(import_complaints).collect::<Vec<_>>());
}

/// No clock, file, socket, thread or randomness in the core: a seed must decide all it does.
#[test]
fn the_core_is_pure() {
    let sources = sources("src");
    assert_none(&sources.iter().flat_map(purity_complaints).collect::<Vec<_>>());
}

/// Paths lead through a room's own name: counting `super`s hides where they lead to.
#[test]
fn no_path_climbs_twice() {
    let climb = concat!("super::", "super::");
    let sources = sources("src");
    let complaints = sources.iter().flat_map(|source| {
        let climbs = source.code.match_indices(climb);
        climbs.map(|(offset, _)| source.at(offset, "name the room: crate::...")).collect::<Vec<_>>()
    });
    assert_none(&complaints.collect::<Vec<_>>());
}

/// A file is one subject: short enough to read at a sitting, and it begins by saying what it is.
#[test]
fn files_are_short_and_begin_with_a_header() {
    let mut complaints = Vec::new();
    for source in sources("src").iter().chain(&sources("tests")).chain(&sources("benches")) {
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX {
            let complaint = format!("{lines} lines, {FILE_LINES_MAX} are allowed");
            complaints.push(format!("{}:{lines}: {complaint}", source.path));
        }
        // The file beside it says what these tests are about.
        let tests = source.path.ends_with("/tests.rs");
        if !tests && !source.text.starts_with("//!") {
            complaints.push(source.at(0, "begins without a `//!` header"));
        }
    }
    assert_none(&complaints);
}

/// A script that no test runs could say anything.
#[test]
fn every_script_is_run() {
    let sources = sources("src");
    let runs = |room: &str, name: &str| {
        let scripts = sources
            .iter()
            .filter(|source| source.path.starts_with(room) && source.path.ends_with("/scripts.rs"));
        let mut lists = scripts.filter_map(|source| source.code.split("scripts! {").nth(1));
        lists.any(|list| list.split('}').next().unwrap().split_whitespace().any(|run| run == name))
    };
    let scripts = files_below("src").into_iter().filter_map(|path| {
        let (room, name) = path.split_once("/testdata/")?;
        (!runs(room, name)).then(|| format!("{path}:1: {room} has no test that runs it"))
    });
    assert_none(&scripts.collect::<Vec<_>>());
}

/// Whoever looks for a room finds it in the map.
#[test]
fn every_room_is_on_the_map() {
    let map = read("ARCHITECTURE.md");
    let sources = sources("src");
    let rooms: BTreeSet<_> = sources.iter().filter_map(Source::room).collect();
    let missing = rooms.iter().filter(|room| !map.contains(&format!("`{room}`")));
    let complaints: Vec<_> =
        missing.map(|room| format!("ARCHITECTURE.md:1: room `{room}` is not in it")).collect();
    assert_none(&complaints);
}

/// The README lists exactly the calls that answer UNIMPLEMENTED.
#[test]
fn the_readme_lists_what_is_unimplemented() {
    let mut refused = BTreeSet::new();
    for source in sources("src/api").iter().filter(|source| !source.path.ends_with("tests.rs")) {
        for rest in source.text.split("unimplemented(\"").skip(1) {
            let name = rest.split('"').next().unwrap();
            refused.extend(name.split_once('/').map(|(service, call)| format!("{service}/{call}")));
        }
    }
    let mut listed = BTreeSet::new();
    for row in read("README.md").lines().filter(|line| line.starts_with("| `")) {
        let mut names = row.split('`').skip(1).step_by(2);
        let service = names.next().unwrap();
        if service.ends_with(|c: char| c.is_alphabetic()) && service.contains("pb.") {
            listed.extend(names.map(|call| format!("{service}/{call}")));
        }
    }
    assert!(!refused.is_empty(), "how unimplemented calls are written has changed");
    assert_eq!(listed, refused, "the README's table, and the calls in src/api");
}

/// Nothing in the project points to a place that exists on its author's machine only.
#[test]
fn no_file_names_a_place_outside_of_the_project() {
    let places = [
        concat!("..", "/shared"),
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/tmp", "/q/"),
    ];
    let mut complaints = Vec::new();
    for path in tracked_files() {
        let Ok(text) = fs::read_to_string(root().join(&path)) else { continue };
        for (number, line) in text.lines().enumerate() {
            for place in places.iter().filter(|place| line.contains(**place)) {
                complaints.push(format!("{path}:{}: names {place}", number + 1));
            }
        }
    }
    assert_none(&complaints);
}

/// The files that belong to the project: what git tracks, or the sources where there is no git.
fn tracked_files() -> Vec<String> {
    let git = Command::new("git").arg("-C").arg(root()).arg("ls-files").output();
    let tracked: Vec<String> = match git {
        Ok(output) if output.status.success() => {
            String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
        }
        Ok(_) | Err(_) => Vec::new(),
    };
    if !tracked.is_empty() {
        return tracked;
    }
    ["src", "tests", "benches", "proto", "scripts"].iter().flat_map(|at| files_below(at)).collect()
}

/// The reader of use trees finds what a room imports in every way that can be written.
#[test]
fn forbidden_imports_are_found_however_they_are_written() {
    for (text, line) in [
        ("use crate::storage::Store;", 1),
        ("use crate::{\n    raft::{Entry, Position},\n    storage::Store,\n};", 3),
        ("use crate::{raft::{self, Entry as E}, types as t, storage};", 1),
        ("fn f() {\n    let x = crate::storage::open::<u8>();\n}", 2),
        ("use rocksdb::DB as Engine;", 1),
        ("fn f(db: &rocksdb::DB) {}", 1),
    ] {
        let complaints = import_complaints(&Source::new("src/node/x.rs", text));
        assert_eq!(complaints.len(), 1, "{text}: {complaints:?}");
        assert!(complaints[0].starts_with(&format!("src/node/x.rs:{line}: ")), "{complaints:?}");
    }
}

/// Comments, strings and names that only look alike are no imports.
#[test]
fn what_only_looks_like_an_import_is_let_be() {
    for text in [
        "// use crate::storage::Store;",
        "/* crate::storage */ fn f() {}",
        "const A: &str = \"crate::storage\";",
        "const A: &str = r#\"a \" crate::storage\"#;",
        "const A: char = '\"'; // crate::storage \"",
        "fn f<'a>(x: &'a str) { mycrate::storage::f('\\'', x) }",
        "use crate::{node::rocksdb::X, state::raft_engine::Y};",
    ] {
        let complaints = import_complaints(&Source::new("src/node/x.rs", text));
        assert!(complaints.is_empty(), "{text}: {complaints:?}");
    }
}

/// A clock is found in a pure room, and channels are left to the watch room alone.
#[test]
fn impurity_is_found() {
    let uses = |room: &str, text: &str| {
        purity_complaints(&Source::new(&format!("src/{room}/x.rs"), text)).len()
    };
    assert_eq!(uses("state", "use std::{collections::BTreeMap, time::Instant};"), 1);
    assert_eq!(uses("raft", "fn f() { std::thread::sleep(std::time::Duration::ZERO) }"), 2);
    assert_eq!(uses("watch", "use tokio::sync::Notify;"), 0);
    assert_eq!(uses("watch", "use tokio::time::sleep;"), 1);
    assert_eq!(uses("lease", "use tokio::sync::Notify;"), 1);
    assert_eq!(uses("node", "use std::time::Instant;"), 0);
}
