//! Sockets that are files, and settings that name files.

use crate::harness::{Cluster, Timing, eventually, finish, program, quorate};

use super::SOON;

/// Members that reach each other and are reached through unix sockets, whose files go with them.
#[tokio::test]
async fn members_may_be_reached_through_unix_sockets() {
    let mut cluster = Cluster::prepare(tempfile::tempdir().unwrap(), 3, Timing::Default);
    let path = |cluster: &Cluster, index: usize, kind: &str| {
        cluster.path(&format!("{kind}{index}.sock")).display().to_string()
    };
    let entry = |index| format!("n{}=unix://{}", index + 1, path(&cluster, index, "peer"));
    let initial: Vec<String> = (0..3).map(entry).collect();
    for index in 0..3 {
        let (client, peer) = (path(&cluster, index, "client"), path(&cluster, index, "peer"));
        let authority = cluster.member(index).authority();
        let flags = [
            format!("--listen-client-urls=unix://{client},http://{authority}"),
            format!("--advertise-client-urls=unix://{client}"),
            format!("--listen-peer-urls=unix://{peer}"),
            format!("--initial-advertise-peer-urls=unix://{peer}"),
            format!("--initial-cluster={}", initial.join(",")),
        ];
        cluster.member(index).flags(flags.iter().map(String::as_str));
        // As a process that was killed leaves it.
        drop(std::os::unix::net::UnixListener::bind(&client).unwrap());
        cluster.member(index).spawn();
    }
    cluster.leader().await;
    let client = path(&cluster, 0, "client");
    let run = async |words: &[&str]| {
        let mut command = quorate();
        command.args(["--endpoints", &format!("unix://{client}")]).args(words);
        finish(command).await
    };
    assert_eq!(run(&["put", "k", "v"]).await.ok(), "OK\n");
    let healthy = eventually("all members to be published", SOON, async || {
        Some(run(&["endpoint", "health", "--cluster"]).await.ok())
            .filter(|text| text.matches("unix://").count() == 3)
    });
    assert_eq!(healthy.await.matches("is healthy").count(), 3);
    if let Some(etcdctl) = program("etcdctl").await {
        let mut command = tokio::process::Command::new(etcdctl);
        command.args(["--endpoints", &format!("unix://{client}"), "get", "k"]);
        assert_eq!(finish(command).await.ok(), "k\nv\n");
    }
    cluster.member(0).terminate().await;
    cluster.member(0).ended().await;
    assert!(!std::path::Path::new(&client).exists());
}

/// What is wrong with files is told with the setting and the file, before anything is served.
#[tokio::test]
async fn unusable_files_are_refused_at_start() {
    let mut cluster = Cluster::prepare(tempfile::tempdir().unwrap(), 1, Timing::Alone);
    let authority = super::Authority::new("authority");
    let dir = cluster.path("");
    authority.issue(&dir, "a", 1, &["127.0.0.1"]);
    authority.issue(&dir, "b", 2, &["127.0.0.1"]);
    let file = |name: &str| dir.join(name).display().to_string();
    let listen = format!("--listen-client-urls=https://{}", cluster.member(0).authority());
    let cert = |name: &str| format!("--cert-file={}", file(name));
    let key = |name: &str| format!("--key-file={}", file(name));
    for (flags, reason) in [
        (vec![cert("gone"), key("a.key")], format!("cert-file {}: No such file", file("gone"))),
        (
            vec![cert("a.key"), key("a.key")],
            format!("cert-file {}: holds no certificate", file("a.key")),
        ),
        (
            vec![cert("a.crt"), key("b.key")],
            format!("cert-file {} and key-file {}: ", file("a.crt"), file("b.key")),
        ),
        (
            vec![cert("a.crt"), key("a.key"), format!("--trusted-ca-file={}", file("ca"))],
            format!("trusted-ca-file {}: No such file", file("ca")),
        ),
        (vec![cert("a.crt")], "key-file: is required, because cert-file is".to_owned()),
        (Vec::new(), "must be provided for https://".to_owned()),
    ] {
        let flags: Vec<&str> = flags.iter().map(String::as_str).chain([listen.as_str()]).collect();
        let refused = cluster.member(0).refuses_to_start(&flags).await;
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.stderr.contains(&reason), "{reason:?} is not in {refused:?}");
    }
}
