//! A network namespace for each member, and this process in the middle of them.
//!
//! A member has one interface, whose other end is here, and everything that it sends to another one
//! is forwarded here. So one table of rules sees all directions, and can drop what goes in some of
//! them from one moment to the next. Clients of this process are not forwarded: they always get
//! through. A namespace is held by a process that reads its standard input, and goes with it.

use std::{collections::BTreeMap, fmt::Write, net::Ipv4Addr, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, Command},
};

use crate::{
    harness::within,
    network::{Direction, directions},
};

/// How long a command that changes the network may take on a busy machine.
const COMMAND: Duration = Duration::from_secs(30);

/// Namespaces of members. They go when this is dropped.
pub(crate) struct Namespaces {
    holders: Vec<Child>,
}

impl Namespaces {
    /// Makes them, with everything let through.
    pub(crate) async fn make(size: usize) -> Self {
        run("sh", &["-c", "ip link set lo up && echo 1 > /proc/sys/net/ipv4/ip_forward"], "").await;
        let mut holders = Vec::new();
        for place in 0..size {
            let holder = hold().await;
            join(place, holder.id().expect("it runs")).await;
            holders.push(holder);
        }
        let mut rules = "add table ip cuts\n".to_owned();
        rules.push_str("add chain ip cuts forward { type filter hook forward priority 0; }\n");
        for direction in directions(size) {
            writeln!(rules, "add counter ip cuts {}", counter(direction)).unwrap();
        }
        run("nft", &["-f", "-"], &rules).await;
        Self { holders }
    }

    /// Where the member at a place listens.
    pub(crate) fn address(place: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, octet(place), 2)
    }

    /// What starts the member at a place in its namespace.
    pub(crate) fn launcher(&self, place: usize) -> Vec<String> {
        let holder = self.holders[place].id().expect("it runs");
        vec!["nsenter".to_owned(), format!("--net=/proc/{holder}/ns/net")]
    }

    /// Drops so many packets of a hundred in each of these directions, and none in the others.
    pub(crate) async fn lose(&self, losses: &BTreeMap<Direction, u32>) {
        let mut rules = "flush chain ip cuts forward\n".to_owned();
        for (direction, percent) in losses {
            let (from, to) = (Self::address(direction.0), Self::address(direction.1));
            let chance = if *percent < 100 {
                format!("numgen random mod 100 < {percent} ")
            } else {
                String::new()
            };
            let name = counter(*direction);
            writeln!(
                rules,
                "add rule ip cuts forward ip saddr {from} ip daddr {to} {chance}counter name {name} drop"
            )
            .unwrap();
        }
        run("nft", &["-f", "-"], &rules).await;
    }

    /// Packets that were dropped so far.
    pub(crate) async fn dropped(&self) -> BTreeMap<Direction, u64> {
        let text = run("nft", &["list", "counters", "table", "ip", "cuts"], "").await;
        let words: Vec<&str> = text.split_whitespace().collect();
        let packets = |direction: Direction| {
            let name = counter(direction);
            let at = words.windows(2).position(|pair| pair == ["counter", name.as_str()]);
            let after = &words[at.expect("every direction has a counter")..];
            let packets = after.iter().position(|word| *word == "packets").expect("it counts them");
            after[packets + 1].parse().unwrap()
        };
        let all = directions(self.holders.len()).into_iter();
        all.map(|direction| (direction, packets(direction))).collect()
    }
}

fn octet(place: usize) -> u8 {
    u8::try_from(place + 1).unwrap()
}

fn counter(direction: Direction) -> String {
    format!("from{}to{}", direction.0, direction.1)
}

/// A namespace, and the process that holds it.
async fn hold() -> Child {
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", "echo it is there; exec cat"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut holder = command.spawn().unwrap();
    let mut said = String::new();
    let mut reader = BufReader::new(holder.stdout.take().expect("it is piped"));
    within("a namespace", COMMAND, reader.read_line(&mut said)).await.unwrap();
    assert!(!said.is_empty(), "no namespace was made");
    holder
}

/// Puts a cable between a namespace and this process.
async fn join(place: usize, holder: u32) {
    let (number, address) = (octet(place), Namespaces::address(place));
    let inside = format!(
        "ip link set lo up && ip addr add {address}/24 dev eth0 && ip link set eth0 up \
         && ip route add default via 10.77.{number}.1"
    );
    let script = format!(
        "ip link add member{number} type veth peer name eth0 netns {holder} \
         && ip addr add 10.77.{number}.1/24 dev member{number} && ip link set member{number} up \
         && nsenter --net=/proc/{holder}/ns/net sh -c '{inside}'"
    );
    run("sh", &["-c", &script], "").await;
}

/// Runs a command that must succeed; what it says.
async fn run(program: &str, arguments: &[&str], input: &str) -> String {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn().unwrap();
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(input.as_bytes()).await.unwrap();
    drop(stdin);
    let output = within(program, COMMAND, child.wait_with_output()).await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}\n{input}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
