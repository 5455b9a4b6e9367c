//! etcd's start lines with certificates, its own and ones that it makes.

use std::fs;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::{Home, Ports, Running};
use crate::harness::{Finished, READY, eventually_or, finish, quorate};

/// Writes an authority and a certificate for this machine, as `ca.pem`, `cert.pem` and `key.pem`.
fn certificates(home: &Home) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::<String>::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let names = ["localhost", "127.0.0.1"].map(str::to_owned);
    let cert = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    fs::write(home.path("ca.pem"), ca_pem).unwrap();
    fs::write(home.path("cert.pem"), cert.pem()).unwrap();
    fs::write(home.path("key.pem"), key.serialize_pem()).unwrap();
}

fn secure(url: &str) -> String {
    url.replace("http://", "https://")
}

/// Writes with the command line, whose flags for certificates are etcdctl's.
async fn put(home: &Home, url: &str, ca: &str, more: &[&str]) -> Finished {
    let mut command = quorate();
    let ca = format!("--cacert={ca}");
    command.args(["--endpoints", url, &ca]).args(more).args(["put", "k", "v"]);
    command.current_dir(home.0.path());
    finish(command).await
}

async fn serves(home: &Home, url: &str, ca: &str, more: &[&str]) {
    let what = || format!("a write over tls to {url}");
    eventually_or(what, READY, async || {
        (put(home, url, ca, more).await.code == Some(0)).then_some(())
    })
    .await;
}

/// The security guide's line: clients need certificates of an authority, and so do members.
#[tokio::test]
async fn certificates_guard_both_ports() {
    let home = Home::new();
    certificates(&home);
    let ports: Vec<Ports> = (0..3).map(|_| Ports::free()).collect();
    let entry = |(index, it): (usize, &Ports)| format!("infra{index}={}", secure(&it.peers()));
    let initial = ports.iter().enumerate().map(entry).collect::<Vec<_>>().join(",");
    let start = |index: usize| -> Running {
        let (clients, peers) = (secure(&ports[index].clients()), secure(&ports[index].peers()));
        let name = format!("infra{index}");
        home.start(
            &name,
            &[
                "--name",
                &name,
                "--initial-advertise-peer-urls",
                &peers,
                "--listen-peer-urls",
                &peers,
                "--listen-client-urls",
                &clients,
                "--advertise-client-urls",
                &clients,
                "--initial-cluster-token",
                "etcd-cluster-1",
                "--initial-cluster",
                &initial,
                "--initial-cluster-state",
                "new",
                "--client-cert-auth",
                "--trusted-ca-file=ca.pem",
                "--cert-file=cert.pem",
                "--key-file=key.pem",
                "--peer-client-cert-auth",
                "--peer-trusted-ca-file=ca.pem",
                "--peer-cert-file=cert.pem",
                "--peer-key-file=key.pem",
            ],
        )
    };
    let members: Vec<Running> = (0..3).map(start).collect();
    for member in &members {
        member.ready().await;
    }

    for ports in &ports {
        let identity = ["--cert=cert.pem", "--key=key.pem"];
        serves(&home, &secure(&ports.clients()), "ca.pem", &identity).await;
    }
    let stranger = put(&home, &secure(&ports[0].clients()), "ca.pem", &[]).await;
    assert_ne!(stranger.code, Some(0), "a client without a certificate was served");
}

/// Certificates that members make for themselves, in the folder where etcd has them.
#[tokio::test]
async fn auto_tls_makes_certificates() {
    let home = Home::new();
    let ports = Ports::free();
    let (clients, peers) = (secure(&ports.clients()), secure(&ports.peers()));
    let initial = format!("infra0={peers}");
    let member = home.start(
        "infra0",
        &[
            "--name",
            "infra0",
            "--data-dir=data",
            "--initial-advertise-peer-urls",
            &peers,
            "--initial-cluster",
            &initial,
            "--listen-peer-urls",
            &peers,
            "--listen-client-urls",
            &clients,
            "--advertise-client-urls",
            &clients,
            "--auto-tls",
            "--peer-auto-tls",
        ],
    );
    member.ready().await;

    assert!(home.path("data/fixtures/peer/cert.pem").exists());
    serves(&home, &clients, "data/fixtures/client/cert.pem", &[]).await;
}
