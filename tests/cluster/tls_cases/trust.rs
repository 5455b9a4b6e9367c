//! Who is let in, and who is told what when it is not.

use super::{Authority, Clients, SOON, Secure};
use crate::harness::eventually;

/// Three members with TLS between them serve clients with TLS, through both command lines, and a member
/// that was away comes back.
#[tokio::test]
async fn members_and_clients_speak_with_tls() {
    let mut secure = Secure::start(3, Clients::Any).await;
    let put = secure.run(0, None, &["put", "k", "v"]).await;
    assert_eq!(put.ok(), "OK\n");
    for index in 0..3 {
        let Some(got) = secure.etcdctl(index, None, &["get", "k"]).await else { return };
        assert_eq!(got.ok(), "k\nv\n");
    }
    let log = secure.cluster.member(0).log_text();
    let other = format!("https://{}", secure.cluster.member(1).peer_authority());
    let opened = |line: &str| line.contains("stream to member is open") && line.contains(&other);
    assert!(log.lines().any(opened), "{log}");

    secure.cluster.member(2).kill();
    secure.cluster.member(2).ended().await;
    secure.run(0, None, &["put", "k", "w"]).await.ok();
    secure.cluster.member(2).restart().await;
    assert_eq!(secure.run(2, None, &["get", "k"]).await.ok(), "k\nw\n");
    let healthy = secure.run(0, None, &["endpoint", "health", "--cluster"]).await.ok();
    assert_eq!(healthy.matches("https://").count(), 3, "{healthy}");
}

/// Where clients must show certificates, who has none is refused, and so is who has one of another
/// authority, or one that was revoked; the member says so once, and serves the others.
#[tokio::test]
async fn clients_without_the_right_certificate_are_refused() {
    let mut secure = Secure::prepare(1, Clients::Certified);
    let dir = secure.dir();
    secure.authority.issue(&dir, "revoked", 101, &[]);
    secure.authority.revoke(&dir, "list.pem", &[101]);
    let stranger = Authority::new("stranger");
    stranger.issue(&dir, "stranger", 1, &[]);
    stranger.publish(&dir, "stranger-ca.crt");
    let list = format!("--client-crl-file={}", secure.file("list.pem"));
    secure.cluster.member(0).flags([list.as_str()]);
    secure.cluster.member(0).spawn();
    secure.cluster.leader().await;

    assert_eq!(secure.run(0, Some("client"), &["put", "k", "v"]).await.ok(), "OK\n");
    for (name, told, logged) in [
        (None, "CertificateRequired", "peer sent no certificates"),
        (Some("stranger"), "UnknownCA", "UnknownIssuer"),
        (Some("revoked"), "CertificateRevoked", "Revoked"),
    ] {
        let refused = secure.run(0, name, &["get", "k"]).await;
        assert_ne!(refused.code, Some(0), "{refused:?}");
        assert!(refused.stderr.contains(told), "{name:?}: {refused:?}");
        let log = secure.cluster.member(0).log_text();
        let rejected = |line: &str| line.contains("rejected connection") && line.contains(logged);
        assert!(log.lines().any(rejected), "{logged} is not in {log}");
        if let Some(refused) = secure.etcdctl(0, name, &["get", "k"]).await {
            assert_ne!(refused.code, Some(0), "{refused:?}");
        }
    }
    // The client's side: a server whose authority it does not know.
    let (endpoint, ca) = (secure.url(0), secure.file("stranger-ca.crt"));
    let mut command = crate::harness::quorate();
    command.args(["get", "k", "--endpoints", &endpoint, "--cacert", &ca]);
    let refused = crate::harness::finish(command).await;
    assert!(refused.stderr.contains("invalid peer certificate: UnknownIssuer"), "{refused:?}");
    if let Some(got) = secure.etcdctl(0, Some("client"), &["get", "k"]).await {
        assert_eq!(got.ok(), "k\nv\n");
    }
    assert_eq!(secure.run(0, Some("client"), &["get", "k"]).await.ok(), "k\nv\n");
}

/// A member with certificates of another authority stays outside, and both sides say why. Once it has the
/// right ones it comes in by itself.
#[tokio::test]
async fn a_member_of_another_authority_stays_outside() {
    let mut secure = Secure::prepare(3, Clients::Any);
    let dir = secure.dir();
    Authority::new("stranger").issue(&dir, "n3", 3, &["127.0.0.1"]);
    for index in 0..3 {
        secure.cluster.member(index).spawn();
    }
    let said = async |secure: &mut Secure, index: usize, words: &[&str]| {
        let found = eventually("the refusal in the log", SOON, async || {
            let log = secure.cluster.member(index).log_text();
            let all = |line: &str| words.iter().all(|word| line.contains(word));
            log.lines().any(all).then_some(())
        });
        found.await;
    };
    said(&mut secure, 0, &["rejected connection", "peer listener", "UnknownIssuer"]).await;
    said(&mut secure, 2, &["no stream to member", "https://", "UnknownCA"]).await;
    said(&mut secure, 0, &["no stream to member", "https://", "UnknownIssuer"]).await;
    eventually("the other two to serve", SOON, async || {
        (secure.run(0, None, &["put", "k", "v"]).await.code == Some(0)).then_some(())
    })
    .await;

    secure.authority.issue(&dir, "n3", 3, &["127.0.0.1"]);
    secure.cluster.leader().await;
    let got = eventually("the third member to serve", SOON, async || {
        Some(secure.run(2, None, &["get", "k"]).await).filter(|got| got.code == Some(0))
    });
    assert_eq!(got.await.ok(), "k\nv\n");
}

/// A member's certificate must fit where it calls from, unless that is not looked at; and names can be
/// demanded.
#[tokio::test]
async fn names_of_members_are_looked_at() {
    for (flags, refusal) in [
        (&[][..], Some("certificate is for [10.9.9.9], not for 127.0.0.1")),
        (&["--peer-skip-client-san-verification"][..], None),
        (
            &["--peer-skip-client-san-verification", "--peer-cert-allowed-cn=n1,n2"][..],
            Some("ApplicationVerificationFailure"),
        ),
    ] {
        let mut secure = Secure::prepare(2, Clients::Any);
        let dir = secure.dir();
        // What both call with, beside what they show.
        secure.authority.issue(&dir, "caller", 50, &["10.9.9.9"]);
        let (cert, key) = (secure.file("caller.crt"), secure.file("caller.key"));
        let caller =
            [format!("--peer-client-cert-file={cert}"), format!("--peer-client-key-file={key}")];
        for index in 0..2 {
            let member = secure.cluster.member(index);
            member.flags(caller.iter().map(String::as_str).chain(flags.iter().copied()));
            member.spawn();
        }
        match refusal {
            None => {
                secure.cluster.leader().await;
            }
            Some(reason) => {
                eventually("the refusal in the log", SOON, async || {
                    let log = secure.cluster.member(0).log_text();
                    let is = |line: &str| line.contains("rejected") && line.contains(reason);
                    log.lines().any(is).then_some(())
                })
                .await;
            }
        }
    }
}
