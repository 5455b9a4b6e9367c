//! Encryption between members and towards clients: who is let in, files that are replaced while members
//! run, callers that say nothing or the wrong thing, and sockets that are files.

use std::{path::PathBuf, time::Duration};

use tokio::process::Command;

use self::authority::Authority;
use crate::harness::{Cluster, Finished, Timing, finish, program, quorate};

mod authority;
mod files;
mod ports;
mod rotation;
mod trust;

/// How long things may take on a busy machine.
const SOON: Duration = Duration::from_secs(30);

/// Whom clients must be to be served.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Clients {
    /// Anybody.
    Any,
    /// Somebody with a certificate.
    Certified,
}

/// Members with TLS between them. Towards clients each speaks plainly and with TLS, on one port, so that
/// whoever prepares and looks on needs no certificate.
struct Secure {
    cluster: Cluster,
    authority: Authority,
}

impl Secure {
    /// Members that do not run yet.
    fn prepare(size: usize, clients: Clients) -> Self {
        let timing = if size == 1 { Timing::Alone } else { Timing::Default };
        let mut cluster = Cluster::prepare(tempfile::tempdir().unwrap(), size, timing);
        let authority = Authority::new("authority");
        let dir = cluster.path("");
        authority.publish(&dir, "ca.crt");
        authority.publish(&dir, "client-ca.crt");
        authority.issue(&dir, "client", 100, &[]);
        let name = |index: usize| format!("n{}", index + 1);
        let peer = |index, cluster: &mut Cluster| {
            format!("{}=https://{}", name(index), cluster.member(index).peer_authority())
        };
        let initial: Vec<String> = (0..size).map(|index| peer(index, &mut cluster)).collect();
        for index in 0..size {
            let name = name(index);
            let serial = u64::try_from(index).unwrap() + 1;
            authority.issue(&dir, &name, serial, &["127.0.0.1", "localhost"]);
            let file = |end: &str| dir.join(format!("{name}{end}")).display().to_string();
            let ca = dir.join("ca.crt").display().to_string();
            let client_ca = dir.join("client-ca.crt").display().to_string();
            let member = cluster.member(index);
            let (client, peer) = (member.authority(), member.peer_authority());
            let mut flags = vec![
                format!("--listen-client-urls=http://{client},https://{client}"),
                format!("--advertise-client-urls=https://{client}"),
                format!("--cert-file={}", file(".crt")),
                format!("--key-file={}", file(".key")),
                format!("--listen-peer-urls=https://{peer}"),
                format!("--initial-advertise-peer-urls=https://{peer}"),
                format!("--initial-cluster={}", initial.join(",")),
                format!("--peer-cert-file={}", file(".crt")),
                format!("--peer-key-file={}", file(".key")),
                format!("--peer-trusted-ca-file={ca}"),
                "--peer-client-cert-auth".to_owned(),
            ];
            if clients == Clients::Certified {
                flags.push(format!("--trusted-ca-file={client_ca}"));
            }
            member.flags(flags.iter().map(String::as_str));
        }
        Self { cluster, authority }
    }

    /// Members that serve.
    async fn start(size: usize, clients: Clients) -> Self {
        let mut secure = Self::prepare(size, clients);
        for index in 0..size {
            secure.cluster.member(index).spawn();
        }
        secure.cluster.leader().await;
        secure
    }

    fn dir(&self) -> PathBuf {
        self.cluster.path("")
    }

    fn file(&self, name: &str) -> String {
        self.cluster.path(name).display().to_string()
    }

    /// The URL of a member for clients with TLS.
    fn url(&mut self, index: usize) -> String {
        format!("https://{}", self.cluster.member(index).authority())
    }

    /// What a client with this certificate says of itself; none without.
    fn identity(&self, name: Option<&str>) -> Vec<String> {
        let mut flags = vec![format!("--cacert={}", self.file("ca.crt"))];
        if let Some(name) = name {
            flags.push(format!("--cert={}", self.file(&format!("{name}.crt"))));
            flags.push(format!("--key={}", self.file(&format!("{name}.key"))));
        }
        flags
    }

    /// Our own command line against one member, as a client with this certificate.
    fn command(&mut self, index: usize, name: Option<&str>, words: &[&str]) -> Command {
        let mut command = quorate();
        command.arg(format!("--endpoints={}", self.url(index)));
        command.args(self.identity(name)).args(words);
        command
    }

    async fn run(&mut self, index: usize, name: Option<&str>, words: &[&str]) -> Finished {
        finish(self.command(index, name, words)).await
    }

    /// etcd's command line in the same way; none where it cannot be built.
    async fn etcdctl(
        &mut self,
        index: usize,
        name: Option<&str>,
        words: &[&str],
    ) -> Option<Finished> {
        let mut command = Command::new(program("etcdctl").await?);
        crate::harness::without_settings(&mut command);
        command.arg(format!("--endpoints={}", self.url(index)));
        command.args(["--dial-timeout=5s", "--command-timeout=5s"]);
        command.args(self.identity(name)).args(words);
        Some(finish(command).await)
    }
}

/// A figure of a member, by the beginning of its line.
async fn figure(authority: &str, name: &str) -> u64 {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(authority).await.unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).await.unwrap();
    let line = page.lines().find_map(|line| line.strip_prefix(name));
    let line = line.unwrap_or_else(|| panic!("{name} is not in {page}"));
    line.trim().parse().unwrap()
}
