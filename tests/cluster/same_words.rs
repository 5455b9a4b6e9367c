//! The same command lines through etcdctl and through `quorate`: the same words come back.
//!
//! Each has a member of its own, fresh, so that both see the same revisions. Ids, addresses and times are
//! made equal before outputs are compared; where members may differ in numbers, all numbers are.

use std::process::Stdio;

use tokio::{io::AsyncWriteExt, process::Command};

use crate::harness::{Cluster, Finished, program, quorate, within};

/// How long a command may take on a busy machine.
const SOON: std::time::Duration = std::time::Duration::from_secs(60);

/// A line, what it reads, and whether its numbers may differ.
struct Line {
    words: &'static str,
    input: &'static str,
    loose: bool,
}

const fn line(words: &'static str) -> Line {
    Line { words, input: "", loose: false }
}

const fn loose(words: &'static str) -> Line {
    Line { words, input: "", loose: true }
}

const fn fed(words: &'static str, input: &'static str) -> Line {
    Line { words, input, loose: false }
}

const FORMATS: [&str; 5] = ["simple", "json", "fields", "table", "protobuf"];

/// What is run in each format. `LEASE` is a lease that each has granted before.
const LINES: &[Line] = &[
    line("put a<b v&\"1\""),
    line("put a<b \u{1}\u{e9}\\x --prev-kv"),
    fed("put fed", "from standard input\n"),
    line("put a1 one --lease=LEASE"),
    line("put a2 two"),
    line("put a1 --ignore-value --ignore-lease"),
    line("put a1 three --ignore-lease --prev-kv"),
    line("put a1 three --ignore-value"),
    line("put nokey --ignore-value"),
    line("put k v --lease=1234"),
    line("get a<b"),
    line("get nokey"),
    line("get a --prefix"),
    line("get a --prefix --order descend"),
    line("get a --prefix --order=ascend --sort-by=MODIFY"),
    line("get a --prefix --sort-by value --order descend --limit 2"),
    line("get a --prefix --keys-only"),
    line("get --from-key a2 --limit=1"),
    line("get a1 a3"),
    line("get a --prefix --rev 3"),
    line("get a --prefix --rev 99999"),
    line("get a --prefix --min-mod-rev 4 --max-create-rev 6"),
    line("get a --prefix --min-mod-rev 9 --max-mod-rev 6"),
    line("get a --prefix --sort-by nothing"),
    line("get a --prefix --order sideways"),
    line("get a --prefix --stream"),
    line("get a1 --consistency=s"),
    line("get a --prefix --print-value-only"),
    line("get a --prefix --hex"),
    line("del a2 --prev-kv"),
    line("del a2"),
    line("del a --range b --prev-kv"),
    line("del fed --prefix"),
    fed("txn", "mod(\"t\") > \"0\"\n\nput t 1\nget t\n\nput t 0\nget t --prefix\ndel no\n\n"),
    fed("txn", "val(\"t\") = \"0\"\nver(\"t\") < \"9\"\n\nput t 1 --prev-kv\nget t\ndel t\n\n\n"),
    fed("txn --hex", "\n get t\n\n\n"),
    fed("txn", "size(\"t\") = \"0\"\n\n\n\n"),
    fed("txn", "mod(\"t\") = \"x\"\n\n\n\n"),
    fed("txn", "mod(\"t\") = \"0\"\n"),
    line("lease grant 100"),
    line("lease grant -- -1"),
    loose("lease timetolive LEASE"),
    loose("lease timetolive LEASE --keys"),
    loose("lease timetolive LEASE --hex"),
    line("lease keep-alive --once LEASE"),
    line("lease list"),
    line("lease timetolive 1234"),
    line("lease keep-alive --once 1234"),
    line("lease revoke 1234"),
    line("member list"),
    line("member list --hex"),
    line("member remove 1234"),
    line("member promote 1234"),
    line("member update 1234 --peer-urls=http://127.0.0.1:1"),
    line("member remove xyz"),
    line("member add"),
    line("member add x"),
    line("endpoint health"),
    line("endpoint health --cluster"),
    loose("endpoint status"),
    loose("endpoint hashkv"),
    line("alarm list"),
    line("alarm disarm"),
    line("defrag"),
    line("compaction 3"),
    line("compaction 3"),
    line("compaction 99999"),
    line("get a1 --rev 2"),
    line("move-leader 1234"),
    line("move-leader xyz"),
    line("move-leader"),
    line("downgrade validate"),
    line("downgrade validate 3.6 3.5"),
    line("-w nothing get a"),
];

/// A member, and a program that talks to it.
struct Side {
    program: Option<String>,
    cluster: Cluster,
    /// Ids and addresses, and the names they are given.
    names: Vec<(String, &'static str)>,
    lease: String,
}

impl Side {
    async fn start(program: Option<String>) -> Self {
        let mut cluster = Cluster::start(1).await;
        let mut client = cluster.client(0).await;
        let header = client.get("any", None).await.unwrap();
        let (cluster_id, member_id) =
            (header.header().unwrap().cluster_id(), header.header().unwrap().member_id());
        let lease = client.lease_grant(1_000, None).await.unwrap().id();
        let mut names = vec![
            (cluster.member(0).authority(), "ENDPOINT"),
            (cluster.member(0).peer_authority(), "PEER"),
        ];
        for (id, name) in [(cluster_id, "CLUSTER"), (member_id, "MEMBER")] {
            names.extend([(format!("{id:x}"), name), (id.to_string(), name)]);
        }
        let lease_hex = format!("{lease:016x}");
        names.extend([(lease_hex.clone(), "LEASE"), (lease.to_string(), "LEASE")]);
        Self { program, cluster, names, lease: lease_hex }
    }

    async fn run(&mut self, line: &Line, format: &str) -> Finished {
        let mut command = match &self.program {
            Some(program) => Command::new(program),
            None => quorate(),
        };
        let words = line.words.split(' ').map(|word| word.replace("LEASE", &self.lease));
        command
            .args(["--endpoints", &self.cluster.member(0).authority(), "-w", format])
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        // Who does not read it may be gone already.
        let _ = input.write_all(line.input.as_bytes()).await;
        drop(input);
        within("the end of a command", SOON, child.wait_with_output()).await.unwrap().into()
    }

    /// What was written, without what must differ.
    fn normal(&self, text: &str, loose: bool) -> String {
        let mut text = text.to_owned();
        for (found, name) in &self.names {
            text = text.replace(found, name);
        }
        let text = tokens(&text, loose);
        // Columns are as wide as what is in them.
        let squeezed: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
        squeezed.join(" ").split('─').filter(|bar| !bar.is_empty()).collect::<Vec<_>>().join("─")
    }

    /// What was complained of: etcdctl's own log is not part of it.
    fn complaint(&self, stderr: &str) -> String {
        let lines = stderr.lines().filter(|line| !line.starts_with('{'));
        self.normal(&lines.collect::<Vec<_>>().join("\n"), false)
    }
}

/// Names ids and times within the text, and all numbers if they may differ.
fn tokens(text: &str, loose: bool) -> String {
    let is_part = |it: char| it.is_ascii_alphanumeric() || it == '.' || it == 'µ';
    let (mut named, mut token) = (String::new(), String::new());
    for character in text.chars().chain(['\n']) {
        if is_part(character) {
            token.push(character);
            continue;
        }
        named.push_str(&name(&token, loose));
        token.clear();
        named.push(character);
    }
    named.pop();
    named
}

fn name(token: &str, loose: bool) -> String {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    let is_time = ["ms", "µs", "s"].iter().any(|unit| {
        let number = token.strip_suffix(unit).and_then(|number| number.split_once('.'));
        number.is_some_and(|(whole, part)| digits(whole) && digits(part))
    });
    let is_id = token.len() == 16 && token.bytes().all(|it| it.is_ascii_hexdigit());
    match token {
        _ if is_time => "TIME".to_owned(),
        _ if is_id || (digits(token) && token.len() > 16) => "ID".to_owned(),
        _ if loose && token.trim_end_matches('s').split('.').all(digits) => "N".to_owned(),
        _ => token.to_owned(),
    }
}

/// In every format; and where one has no such form, so has the other none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcdctl_and_quorate_say_the_same() {
    let Some(etcdctl) = program("etcdctl").await else { return };
    let (mut theirs, mut ours) = (Side::start(Some(etcdctl)).await, Side::start(None).await);
    let mut different = Vec::new();
    for format in FORMATS {
        for line in LINES {
            let (said, say) = tokio::join!(theirs.run(line, format), ours.run(line, format));
            // Messages hold ids, whose length is that of their digits: it is enough that there is one.
            let shown = |side: &Side, it: &Finished| match format {
                "protobuf" if it.code == Some(0) => (!it.stdout.is_empty()).to_string(),
                _ => side.normal(&it.stdout, line.loose),
            };
            let all =
                |side: &Side, it: &Finished| (it.code, shown(side, it), side.complaint(&it.stderr));
            let (expected, found) = (all(&theirs, &said), all(&ours, &say));
            if expected != found {
                let words = line.words;
                different.push(format!("-w {format} {words}\n  {expected:?}\n  {found:?}"));
            }
        }
    }
    assert!(different.is_empty(), "{} lines differ:\n{}", different.len(), different.join("\n"));
}
