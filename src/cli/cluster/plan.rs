//! Who the members are, where they listen, and whether all of that is free.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
};

use super::{ClusterArgs, Error};

/// The client ports of members without `--client-port-base`; etcd's examples use the same.
const CLIENT_PORT: u16 = 2379;
const CLIENT_PORT_STEP: u16 = 10_000;
/// The file that keeps a second supervisor out, and says what the directory was made for.
const CLAIM_FILE: &str = "cluster";
/// The largest claim file that is read; a real one has a line for each of five members.
const CLAIM_BYTES_MAX: u64 = 4096;

/// The members to run.
pub(super) struct Plan {
    pub(super) members: Vec<MemberSpec>,
    data_dir: PathBuf,
}

/// One member to run.
#[derive(Clone, Debug)]
pub(super) struct MemberSpec {
    pub(super) name: String,
    pub(super) data_dir: PathBuf,
    client_port: u16,
    peer_port: u16,
    /// The arguments of its process.
    pub(super) arguments: Vec<String>,
}

impl MemberSpec {
    pub(super) fn client_url(&self) -> String {
        format!("http://{}:{}", Ipv4Addr::LOCALHOST, self.client_port)
    }

    fn peer_url(&self) -> String {
        format!("http://{}:{}", Ipv4Addr::LOCALHOST, self.peer_port)
    }
}

impl Plan {
    pub(super) fn new(args: &ClusterArgs) -> Result<Self, Error> {
        let mut members = Vec::new();
        for index in 0..args.nodes {
            members.push(member(args, index)?);
        }
        let cluster: Vec<String> =
            members.iter().map(|member| format!("{}={}", member.name, member.peer_url())).collect();
        let cluster = cluster.join(",");
        for member in &mut members {
            member.arguments = arguments(args, member, &cluster);
        }
        Ok(Self { members, data_dir: args.data_dir.clone() })
    }

    /// Takes the directory, and makes sure that the ports are free. The claim ends with the file.
    pub(super) fn claim(&self) -> Result<File, Error> {
        let failed =
            |error| Error::failed(format!("data directory {}: {error}", self.data_dir.display()));
        fs::create_dir_all(&self.data_dir).map_err(failed)?;
        let path = self.data_dir.join(CLAIM_FILE);
        let mut options = OpenOptions::new();
        let mut file = options.read(true).append(true).create(true).open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let reason = format!(
                    "data directory {} is in use by another quorate cluster",
                    self.data_dir.display()
                );
                return Err(Error::failed(reason));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let mut stored = String::new();
        (&file).take(CLAIM_BYTES_MAX).read_to_string(&mut stored).map_err(failed)?;
        let wanted = self.topology();
        if !stored.is_empty() && stored != wanted {
            // A member that is started under other URLs or among others is not the one that it was.
            let reason = format!(
                "data directory {} holds another cluster; choose another --data-dir, or run it as it was:\n{}",
                self.data_dir.display(),
                stored.trim_end()
            );
            return Err(Error::failed(reason));
        }
        self.ports_are_free()?;
        if stored.is_empty() {
            file.write_all(wanted.as_bytes()).map_err(failed)?;
        }
        Ok(file)
    }

    /// The members and their URLs, a line each.
    fn topology(&self) -> String {
        let line = |member: &MemberSpec| {
            format!("{} client {} peer {}\n", member.name, member.client_url(), member.peer_url())
        };
        self.members.iter().map(line).collect()
    }

    fn ports_are_free(&self) -> Result<(), Error> {
        for member in &self.members {
            for (port, what) in [(member.client_port, "clients"), (member.peer_port, "peers")] {
                if let Err(error) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
                    let reason = format!("port {port}, for the {what} of {}: {error}", member.name);
                    return Err(Error::failed(reason));
                }
            }
        }
        Ok(())
    }

    /// All client endpoints, as `--endpoints` takes them.
    pub(super) fn endpoints(&self) -> String {
        let endpoint =
            |member: &MemberSpec| format!("{}:{}", Ipv4Addr::LOCALHOST, member.client_port);
        self.members.iter().map(endpoint).collect::<Vec<_>>().join(",")
    }

    /// Whether client commands find the cluster without being told where it is.
    pub(super) fn is_at_default_endpoint(&self) -> bool {
        self.members.iter().any(|member| member.client_port == CLIENT_PORT)
    }

    /// The command that runs a member by itself.
    pub(super) fn command_line(&self, name: &str) -> String {
        let member = self.members.iter().find(|member| member.name == name);
        let arguments = member.map(|member| shell_words(&member.arguments)).unwrap_or_default();
        format!("{} {arguments}", self.executable())
    }

    /// How this program was called, which is how it can be called again.
    #[expect(clippy::unused_self, reason = "what is printed about a plan is asked of it")]
    pub(super) fn executable(&self) -> String {
        let called = std::env::args().next().unwrap_or_else(|| "quorate".to_owned());
        shell_words(&[called])
    }
}

fn member(args: &ClusterArgs, index: u16) -> Result<MemberSpec, Error> {
    let name = format!("n{}", index + 1);
    let client_port = match args.client_port_base {
        Some(base) => base.checked_add(index * 2),
        None if index == 0 => Some(CLIENT_PORT),
        // 2379, 22379, 32379: the second one leaves 12379 out.
        None => {
            CLIENT_PORT_STEP.checked_mul(index + 1).and_then(|port| port.checked_add(CLIENT_PORT))
        }
    };
    let ports = client_port.and_then(|client| Some((client, client.checked_add(1)?)));
    let (client_port, peer_port) =
        ports.ok_or_else(|| Error::input(format!("no port is left for {name}")))?;
    let data_dir = args.data_dir.join(&name);
    Ok(MemberSpec { name, data_dir, client_port, peer_port, arguments: Vec::new() })
}

fn arguments(args: &ClusterArgs, member: &MemberSpec, cluster: &str) -> Vec<String> {
    let mut arguments = vec!["serve".to_owned()];
    let mut flag = |name: &str, value: String| arguments.extend([format!("--{name}"), value]);
    flag("name", member.name.clone());
    flag("data-dir", path_text(&member.data_dir));
    flag("listen-client-urls", member.client_url());
    flag("advertise-client-urls", member.client_url());
    flag("listen-peer-urls", member.peer_url());
    flag("initial-advertise-peer-urls", member.peer_url());
    flag("initial-cluster", cluster.to_owned());
    flag("initial-cluster-token", "quorate-local".to_owned());
    if let Some(interval) = args.heartbeat_interval {
        flag("heartbeat-interval", interval.to_string());
    }
    if let Some(timeout) = args.election_timeout {
        flag("election-timeout", timeout.to_string());
    }
    if let Some(level) = &args.log_level {
        flag("log-level", level.clone());
    }
    arguments
}

fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Words for a shell: quoted where they hold anything that a shell could act on.
fn shell_words(words: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    let quoted = words.iter().map(|word| {
        if !word.is_empty() && word.chars().all(plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(data_dir: &Path, client_port_base: Option<u16>) -> ClusterArgs {
        ClusterArgs {
            nodes: 3,
            data_dir: data_dir.to_owned(),
            client_port_base,
            restart: false,
            heartbeat_interval: None,
            election_timeout: None,
            log_level: None,
        }
    }

    fn ports(plan: &Plan) -> Vec<(u16, u16)> {
        plan.members.iter().map(|member| (member.client_port, member.peer_port)).collect()
    }

    /// etcd's example ports, or pairs from a base on.
    #[test]
    fn members_have_ports_of_their_own() {
        let dir = Path::new("d");
        let plan = Plan::new(&args(dir, None)).unwrap();
        assert_eq!(ports(&plan), [(2379, 2380), (22379, 22380), (32379, 32380)]);
        assert!(plan.is_at_default_endpoint());

        let plan = Plan::new(&args(dir, Some(4000))).unwrap();
        assert_eq!(ports(&plan), [(4000, 4001), (4002, 4003), (4004, 4005)]);
        assert_eq!(plan.endpoints(), "127.0.0.1:4000,127.0.0.1:4002,127.0.0.1:4004");
    }

    /// A port that somebody listens on is named, with what it was meant for.
    #[test]
    fn a_taken_port_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let plan = Plan::new(&args(dir.path(), Some(port))).unwrap();

        let error = plan.claim().unwrap_err().to_string();

        assert!(error.starts_with(&format!("port {port}, for the clients of n1: ")), "{error}");
    }

    /// One supervisor at a time, and always with the members that the directory was made for.
    #[test]
    fn a_directory_is_claimed_once_and_for_one_cluster() {
        let dir = tempfile::tempdir().unwrap();
        let plan = Plan { members: Vec::new(), data_dir: dir.path().to_owned() };
        let other = Plan::new(&args(dir.path(), Some(1))).unwrap();

        let claim = plan.claim().unwrap();
        let error = plan.claim().unwrap_err().to_string();
        assert!(error.ends_with("is in use by another quorate cluster"), "{error}");

        drop(claim);
        fs::write(dir.path().join(CLAIM_FILE), "n1 client a peer b\n").unwrap();
        let error = other.claim().unwrap_err().to_string();
        assert!(
            error.contains("holds another cluster") && error.ends_with("n1 client a peer b"),
            "{error}"
        );
    }

    /// What is printed can be pasted.
    #[test]
    fn words_are_quoted_for_a_shell() {
        let words = ["a=b,c", "", "x y", "it's"].map(str::to_owned);
        assert_eq!(shell_words(&words), r"a=b,c '' 'x y' 'it'\''s'");
    }
}
