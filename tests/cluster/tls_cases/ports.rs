//! What a port takes: both versions of HTTP, callers that say nothing or the wrong thing, many at once.

use std::time::Duration;

use quorate::tls::{DialSettings, Dialer, SettingFile, TlsMetrics, Way};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
};

use super::{Clients, SOON, Secure, figure};
use crate::harness::{
    Port, eventually, finish,
    streams::{WatchStream, watcher},
    within,
};

/// How long a connection may say nothing, and what a busy machine adds.
const SILENCE: Duration = Duration::from_secs(40);

impl Secure {
    fn dialer(&self) -> Dialer {
        let authorities = SettingFile { setting: "cacert", path: self.cluster.path("ca.crt") };
        let settings = DialSettings { authorities: Some(authorities), ..DialSettings::default() };
        Dialer::new(settings, TlsMetrics::default()).unwrap()
    }

    /// What curl says of a page, and which version of HTTP it came by.
    async fn curl(&self, url: &str, version: &str) -> String {
        let mut command = Command::new("curl");
        command.args(["-sS", "--cacert", &self.file("ca.crt"), version, "-w", " %{http_version}"]);
        command.arg(url);
        finish(command).await.ok()
    }
}

/// Pages are served over TLS by both versions of HTTP.
#[tokio::test]
async fn curl_gets_pages_by_both_versions() {
    let mut secure = Secure::prepare(1, Clients::Any);
    let metrics = Port::free();
    let flag = format!("--listen-metrics-urls=https://{}", metrics.authority());
    secure.cluster.member(0).flags([flag.as_str()]);
    secure.cluster.member(0).spawn();
    secure.cluster.leader().await;
    let url = secure.url(0);

    for (flag, version) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let said = secure.curl(&format!("{url}/health"), flag).await;
        assert_eq!(said, format!("{{\"health\":\"true\",\"reason\":\"\"}} {version}"));
    }
    let plain = secure.curl(&format!("{}/health", secure.cluster.endpoint(0)), "--http1.1").await;
    assert!(plain.ends_with(" 1.1"), "{plain}");
    let page = secure.curl(&format!("https://{}/metrics", metrics.authority()), "--http2").await;
    assert!(page.contains("quorate_server_client_tls_handshakes_failed_total"), "{page}");
}

/// With a port of its own for HTTP, the other one serves gRPC alone, and that one everything else.
#[tokio::test]
async fn http_may_have_a_port_of_its_own() {
    let mut secure = Secure::prepare(1, Clients::Any);
    let http = Port::free().authority();
    let flag = format!("--listen-client-http-urls=http://{http},https://{http}");
    secure.cluster.member(0).flags([flag.as_str()]);
    secure.cluster.member(0).spawn();
    secure.cluster.leader().await;
    let grpc = secure.cluster.member(0).authority();

    for scheme in ["http", "https"] {
        let said = secure.curl(&format!("{scheme}://{http}/health"), "--http1.1").await;
        assert!(said.starts_with("{\"health\":\"true\""), "{said}");
        let refused = secure.curl(&format!("{scheme}://{grpc}/health"), "--http1.1").await;
        assert_eq!(refused, " 1.1");
        let mut put = crate::harness::quorate();
        put.args(["put", "k", "v", "--insecure-skip-tls-verify"]);
        put.args(["--endpoints", &format!("{scheme}://{http}")]);
        let refused = finish(put).await;
        assert!(refused.stderr.contains("gRPC is not served here"), "{refused:?}");
    }
    assert_eq!(secure.run(0, None, &["put", "k", "v"]).await.ok(), "OK\n");
}

/// Watchers over TLS whose client disappears leave nothing behind.
#[tokio::test]
async fn a_client_that_disappears_leaves_nothing() {
    let mut secure = Secure::start(1, Clients::Any).await;
    let (url, authority) = (secure.url(0), secure.cluster.member(0).authority());
    let watchers = async |authority: &str| {
        let watchers = figure(authority, "etcd_debugging_mvcc_watcher_total ").await;
        // Whoever asks has a connection, too.
        (watchers, figure(authority, "quorate_server_client_connections ").await)
    };
    let are = async |what: &str, expected: (u64, u64)| {
        eventually(what, SOON, async || (watchers(&authority).await == expected).then_some(()))
            .await;
    };
    are("nobody but who asks", (0, 1)).await;
    let channel = Way::to(&url, &secure.dialer()).unwrap().connect().await.unwrap();
    let mut stream = WatchStream::open(&channel).await.unwrap();
    for number in 0..100 {
        stream.created(watcher(&format!("k{number}"), "")).await;
    }
    secure.run(0, None, &["put", "k7", "v"]).await.ok();
    assert_eq!(stream.events().await.events.len(), 1);
    are("all watchers on one connection", (100, 2)).await;

    drop((stream, channel));

    are("nothing to be left", (0, 1)).await;
}

/// Callers that say nothing stand in nobody's way, and are sent away in time.
#[tokio::test]
async fn silent_callers_stop_nobody() {
    let mut secure = Secure::start(1, Clients::Any).await;
    let peer = secure.cluster.member(0).peer_authority();
    let client = secure.cluster.member(0).authority();
    let mut silent = Vec::new();
    for number in 0..400 {
        let to = if number % 2 == 0 { &client } else { &peer };
        let mut stream = TcpStream::connect(to).await.unwrap();
        if number % 4 < 2 {
            stream.write_all(&[0x16, 3, 1]).await.unwrap(); // how a handshake begins
        }
        silent.push(stream);
    }

    assert_eq!(secure.run(0, None, &["put", "k", "v"]).await.ok(), "OK\n");

    for mut stream in silent {
        let mut rest = Vec::new();
        // It ends, in whatever way.
        let _ =
            within("the end of a silent connection", SILENCE, stream.read_to_end(&mut rest)).await;
    }
    let failed = figure(&client, "quorate_server_client_tls_handshakes_failed_total ").await;
    assert!(failed >= 200, "{failed}");
    assert_eq!(secure.run(0, None, &["get", "k"]).await.ok(), "k\nv\n");
}

/// Who speaks plainly to a port with TLS, or with TLS to a plain one, finds an end, and the member goes on.
#[tokio::test]
async fn the_wrong_way_to_speak_ends() {
    let mut secure = Secure::start(1, Clients::Any).await;
    let peer = secure.cluster.member(0).peer_authority();
    for said in
        [&b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
    {
        let mut stream = TcpStream::connect(&peer).await.unwrap();
        stream.write_all(said).await.unwrap();
        let mut rest = Vec::new();
        let _ = within("the end", SOON, stream.read_to_end(&mut rest)).await;
        assert!(!rest.starts_with(b"HTTP"), "{rest:?}");
    }
    // A port that is plain alone.
    let mut plain = crate::harness::Cluster::start(1).await;
    let url = format!("https://{}", plain.member(0).authority());
    let mut command = crate::harness::quorate();
    command.args(["get", "k", "--insecure-skip-tls-verify", "--endpoints", &url]);
    let refused = finish(command).await;
    assert!(refused.stderr.contains("cannot connect to"), "{refused:?}");

    assert_eq!(plain.quorate(&["put", "k", "v"]).await.ok(), "OK\n");
    assert_eq!(secure.run(0, None, &["put", "k", "v"]).await.ok(), "OK\n");
}
