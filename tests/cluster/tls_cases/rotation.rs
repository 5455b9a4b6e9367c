//! Files that are replaced while members run, and certificates that members make for themselves.

use std::fs;

use super::{Authority, Clients, SOON, Secure};
use crate::harness::{Cluster, Timing, eventually, finish, quorate};

/// Everything is replaced while a client watches: an authority, and the certificates of members and
/// clients. The watch goes on, who comes now needs the new ones, and a member that is started again finds
/// the others.
#[tokio::test]
async fn certificates_are_replaced_under_open_connections() {
    let mut secure = Secure::start(3, Clients::Certified).await;
    let dir = secure.dir();
    let watch = secure.command(1, Some("client"), &["watch", "k"]);
    let watch = secure.cluster.follow(watch, "watch");
    // Its flags were read when it began, the files too.
    let saw = async |value: &str| {
        eventually("the change", SOON, async || {
            watch.output().contains(&format!("PUT\nk\n{value}\n")).then_some(())
        })
        .await;
    };
    eventually("the watch", SOON, async || {
        secure.run(0, Some("client"), &["put", "k", "before"]).await.ok();
        watch.output().contains("before").then_some(())
    })
    .await;
    secure.authority.issue(&dir, "old-client", 200, &[]);
    secure.authority.publish(&dir, "old-ca.crt");

    let next = Authority::new("next");
    for (serial, name) in [(11, "n1"), (12, "n2"), (13, "n3")] {
        next.issue(&dir, name, serial, &["127.0.0.1", "localhost"]);
    }
    next.issue(&dir, "client", 110, &[]);
    next.publish(&dir, "ca.crt");
    next.publish(&dir, "client-ca.crt");

    secure.run(0, Some("client"), &["put", "k", "after"]).await.ok();
    saw("after").await;
    let refused = secure.run(0, Some("old-client"), &["get", "k"]).await;
    assert!(refused.stderr.contains("UnknownCA"), "{refused:?}");
    for index in 0..3 {
        // One after the other, so that most of the streams between members are new ones.
        secure.cluster.member(index).kill();
        secure.cluster.member(index).ended().await;
        if index == 1 {
            break; // the watch is there
        }
        secure.cluster.member(index).restart().await;
    }
    assert_eq!(secure.run(0, Some("client"), &["get", "k"]).await.ok(), "k\nafter\n");
}

/// Who is revoked is refused from its next connection on; the one it has goes on.
#[tokio::test]
async fn revocation_needs_no_restart() {
    let mut secure = Secure::prepare(1, Clients::Certified);
    let dir = secure.dir();
    secure.authority.revoke(&dir, "list.pem", &[7]);
    let list = format!("--client-crl-file={}", secure.file("list.pem"));
    secure.cluster.member(0).flags([list.as_str()]);
    secure.cluster.member(0).spawn();
    secure.cluster.leader().await;
    secure.authority.issue(&dir, "other", 101, &[]);
    let watch = secure.command(0, Some("client"), &["watch", "k"]);
    let watch = secure.cluster.follow(watch, "watch");
    eventually("the watch", SOON, async || {
        secure.run(0, Some("client"), &["put", "k", "before"]).await.ok();
        watch.output().contains("before").then_some(())
    })
    .await;

    secure.authority.revoke(&dir, "list.pem", &[7, 100]);

    let refused = secure.run(0, Some("client"), &["get", "k"]).await;
    assert!(refused.stderr.contains("CertificateRevoked"), "{refused:?}");
    secure.run(0, Some("other"), &["put", "k", "after"]).await.ok();
    eventually("the change", SOON, async || watch.output().contains("after").then_some(())).await;
}

/// Files that cannot be used change nothing, and the member says so.
#[tokio::test]
async fn unusable_files_change_nothing() {
    let mut secure = Secure::start(1, Clients::Any).await;
    fs::write(secure.cluster.path("n1.crt"), "half a certifica").unwrap();

    for _ in 0..2 {
        assert_eq!(secure.run(0, None, &["put", "k", "v"]).await.ok(), "OK\n");
    }

    let log = secure.cluster.member(0).log_text();
    let told = |line: &&str| line.contains("changed certificates cannot be used");
    assert_eq!(log.lines().filter(told).count(), 1, "{log}");
    assert!(log.contains("cert-file ") && log.contains("n1.crt"), "{log}");
    let authority = secure.cluster.member(0).authority();
    assert!(super::figure(&authority, "quorate_server_client_tls_reloads_failed_total ").await > 0);
}

/// A member that makes its certificates serves whoever asks for no proof, and keeps them.
#[tokio::test]
async fn own_certificates_outlast_a_restart() {
    let mut cluster = Cluster::prepare(tempfile::tempdir().unwrap(), 1, Timing::Alone);
    let member = cluster.member(0);
    let (client, peer) = (member.authority(), member.peer_authority());
    let url = format!("https://{client}");
    let flags = [
        format!("--listen-client-urls={url}"),
        format!("--advertise-client-urls={url}"),
        format!("--listen-peer-urls=https://{peer}"),
        format!("--initial-advertise-peer-urls=https://{peer}"),
        format!("--initial-cluster=n1=https://{peer}"),
        "--auto-tls".to_owned(),
        "--peer-auto-tls".to_owned(),
    ];
    member.flags(flags.iter().map(String::as_str));
    let run = async |words: &[&str]| {
        let mut command = quorate();
        command.args(["--insecure-skip-tls-verify", "--endpoints", &url]).args(words);
        finish(command).await
    };
    let serves = async || {
        eventually("it to serve", SOON, async || {
            (run(&["put", "k", "v"]).await.code == Some(0)).then_some(())
        })
        .await;
    };
    cluster.member(0).spawn();
    serves().await;
    let cert = cluster.member(0).data_dir().join("fixtures/client/cert.pem");
    let made = fs::read(&cert).unwrap();
    assert!(cluster.member(0).data_dir().join("fixtures/peer/key.pem").exists());

    cluster.member(0).terminate().await;
    cluster.member(0).ended().await;
    cluster.member(0).spawn();
    serves().await;

    assert_eq!(fs::read(&cert).unwrap(), made);
    if let Some(etcdctl) = crate::harness::program("etcdctl").await {
        let mut command = tokio::process::Command::new(etcdctl);
        command.args(["--insecure-skip-tls-verify", "--insecure-transport=false"]);
        command.args(["--endpoints", &url, "get", "k"]);
        assert_eq!(finish(command).await.ok(), "k\nv\n");
    }
}
