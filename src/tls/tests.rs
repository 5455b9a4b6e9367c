use std::{fs, net::SocketAddr, time::Duration};

use rcgen::date_time_ymd;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
    time::timeout,
};

use super::{
    Acceptor, Allowed, Callers, DialSettings, Dialer, ListenSettings, PeerNames, Protocol, Refused,
    TlsMetrics, self_signed,
    testing::{Authority, write},
};
use crate::types::{
    tls::{CipherSuite, TlsVersion},
    url::Url,
};

/// Long enough for the slowest machine; a test that waits for it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// An authority, a folder for what it signs, and both sides as they are as a rule.
struct Scene {
    dir: TempDir,
    authority: Authority,
    listen: ListenSettings,
    dial: DialSettings,
}

impl Scene {
    fn new() -> Self {
        let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new("authority"));
        let path = dir.path();
        let server = authority.pair(path, "server", 10, &["127.0.0.1", "localhost"]);
        let authorities = Some(authority.file(path, "ca.crt"));
        let listen = ListenSettings { pair: server, callers: None, protocol: Protocol::default() };
        let dial = DialSettings { authorities, ..DialSettings::default() };
        Self { dir, authority, listen, dial }
    }

    /// Demands certificates of callers, and has a caller with one.
    fn mutual() -> Self {
        let mut scene = Self::new();
        let client = scene.authority.pair(scene.dir.path(), "client", 11, &["127.0.0.1", "c.test"]);
        scene.dial.pair = Some(client);
        scene.listen.callers = Some(Callers {
            authorities: scene.dial.authorities.clone(),
            revoked: None,
            allowed: Allowed::Anybody,
        });
        scene
    }

    fn callers(&mut self) -> &mut Callers {
        self.listen.callers.as_mut().unwrap()
    }

    fn acceptor(&self) -> Acceptor {
        Acceptor::new(self.listen.clone(), TlsMetrics::default()).unwrap()
    }

    /// One connection from end to end: what the listener found, and what the caller did.
    async fn meet(&self) -> (Result<Option<PeerNames>, Refused>, Result<(), String>) {
        meet(&self.acceptor(), &Dialer::new(self.dial.clone(), TlsMetrics::default()).unwrap())
            .await
    }

    /// Why a connection comes to nothing: for the listener, and for the caller.
    async fn refusal(&self) -> (String, String) {
        let (found, called) = self.meet().await;
        (found.unwrap_err().reason, called.unwrap_err())
    }
}

async fn meet(
    acceptor: &Acceptor,
    dialer: &Dialer,
) -> (Result<Option<PeerNames>, Refused>, Result<(), String>) {
    let (address, serving) = serve(acceptor.clone()).await;
    let called = timeout(PATIENCE, call(dialer, address)).await.expect("it ends in time");
    (timeout(PATIENCE, serving).await.expect("it ends in time").unwrap(), called)
}

/// Takes one connection, and sends back what it receives.
async fn serve(acceptor: Acceptor) -> (SocketAddr, JoinHandle<Result<Option<PeerNames>, Refused>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(Box::new(stream)).await?;
        let mut byte = [0];
        stream.read_exact(&mut byte).await.unwrap();
        stream.write_all(&byte).await.unwrap();
        stream.shutdown().await.unwrap();
        Ok(PeerNames::of(&stream).unwrap())
    });
    (address, serving)
}

/// Sends a byte and waits until it comes back: with TLS 1.3 a refusal comes after the handshake.
async fn call(dialer: &Dialer, address: SocketAddr) -> Result<(), String> {
    let url = Url::parse(&format!("https://{address}")).unwrap();
    let exchange = async {
        let mut stream = dialer.connect(&url).await?;
        stream.write_all(b"x").await?;
        stream.flush().await?;
        let mut byte = [0];
        stream.read_exact(&mut byte).await
    };
    exchange.await.map(drop).map_err(|error| error.to_string())
}

/// With the right certificates bytes go both ways, and the names of the caller are known.
#[tokio::test]
async fn both_sides_show_who_they_are() {
    let (found, called) = Scene::new().meet().await;
    assert_eq!((found, called), (Ok(None), Ok(())));

    let (found, called) = Scene::mutual().meet().await;
    let names = PeerNames {
        addresses: vec!["127.0.0.1".parse().unwrap()],
        hosts: vec!["c.test".to_owned()],
    };
    assert_eq!((found, called), (Ok(Some(names)), Ok(())));
}

/// Who is signed by somebody else is refused, on either side, and both are told why.
#[tokio::test]
async fn an_unknown_authority_is_refused() {
    let stranger = Authority::new("stranger");
    let mut scene = Scene::new();
    scene.dial.authorities = Some(stranger.file(scene.dir.path(), "other.crt"));
    let (found, called) = scene.refusal().await;
    assert!(called.contains("invalid peer certificate: UnknownIssuer"), "{called}");
    assert!(found.contains("received fatal alert: UnknownCA"), "{found}");

    let mut scene = Scene::mutual();
    scene.dial.pair = Some(stranger.pair(scene.dir.path(), "stranger", 1, &[]));
    let (found, called) = scene.meet().await;
    let found = found.unwrap_err();
    assert!(found.is_about_trust && found.reason.contains("UnknownIssuer"), "{found:?}");
    assert!(called.unwrap_err().contains("received fatal alert: UnknownCA"));

    let mut scene = Scene::mutual();
    scene.dial.pair = None;
    let (found, called) = scene.refusal().await;
    assert!(found.contains("peer sent no certificates"), "{found}");
    assert!(called.contains("received fatal alert: CertificateRequired"), "{called}");
}

/// A certificate for another host, or one that has expired, is refused by the caller.
#[tokio::test]
async fn another_host_and_an_expired_certificate_are_refused() {
    let mut scene = Scene::new();
    scene.listen.pair = scene.authority.pair(scene.dir.path(), "other", 1, &["b.test"]);
    let (_, called) = scene.refusal().await;
    assert!(called.contains("not valid for name"), "{called}");

    scene.listen.pair =
        scene.authority.changed_pair(scene.dir.path(), "old", 2, &["127.0.0.1"], |params| {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2020, 2, 1);
        });
    let (_, called) = scene.refusal().await;
    assert!(called.contains("certificate expired"), "{called}");
    scene.dial.insecure = true;
    assert_eq!(scene.meet().await, (Ok(None), Ok(())));
}

/// Revoked is whose number is on the list, in either form, however old the list is.
#[tokio::test]
async fn a_revoked_certificate_is_refused() {
    let mut scene = Scene::mutual();
    let (pem, der) = scene.authority.revoked(&[9, 11]);
    for (name, list) in [("list.pem", pem.into_bytes()), ("list.der", der)] {
        scene.callers().revoked = Some(write(scene.dir.path(), name, list));
        let (found, called) = scene.refusal().await;
        assert!(found.contains("invalid peer certificate: Revoked"), "{found}");
        assert!(called.contains("received fatal alert: CertificateRevoked"), "{called}");
    }
    let (pem, _) = scene.authority.revoked(&[9]);
    scene.callers().revoked = Some(write(scene.dir.path(), "list.pem", pem));
    assert!(scene.meet().await.1.is_ok());
}

/// Names can be demanded, of callers and of those that are called.
#[tokio::test]
async fn only_names_that_are_allowed_are_let_in() {
    let mut scene = Scene::mutual();
    for (allowed, is_let_in) in [
        (Allowed::CommonNames(vec!["a".into(), "client".into()]), true),
        (Allowed::CommonNames(vec!["a".into()]), false),
        (Allowed::Hostnames(vec!["c.test".into()]), true),
        (Allowed::Hostnames(vec!["d.test".into()]), false),
    ] {
        scene.callers().allowed = allowed.clone();
        let (found, called) = scene.meet().await;
        assert_eq!((found.is_ok(), called.is_ok()), (is_let_in, is_let_in), "{allowed:?}");
    }
    scene.callers().allowed = Allowed::Anybody;
    scene.dial.allowed = Allowed::CommonNames(vec!["another".into()]);
    let (_, called) = scene.refusal().await;
    assert!(called.contains("ApplicationVerificationFailure"), "{called}");
}

/// A certificate that is its own authority is trusted by who names it, as in Go.
#[tokio::test]
async fn a_certificate_may_be_its_own_authority() {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
    let mut scene = Scene::mutual();
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let own = write(scene.dir.path(), "own.crt", params.self_signed(&key).unwrap().pem());
    let pair = super::Pair {
        cert: own.clone(),
        key: write(scene.dir.path(), "own.key", key.serialize_pem()),
    };
    scene.listen.pair = pair.clone();
    scene.dial.pair = Some(pair);
    assert!(scene.meet().await.1.unwrap_err().contains("invalid peer certificate"));

    scene.dial.authorities = Some(own.clone());
    scene.callers().authorities = Some(own);
    assert_eq!(scene.meet().await.1, Ok(()));
}

/// Versions and suites that are not offered are not spoken.
#[tokio::test]
async fn versions_and_suites_are_those_that_are_set() {
    let only = |min, max, suites| Protocol { min, max, suites };
    let mut scene = Scene::new();
    scene.listen.protocol = only(TlsVersion::V13, TlsVersion::V13, Vec::new());
    scene.dial.protocol = only(TlsVersion::V12, TlsVersion::V12, Vec::new());
    let (_, called) = scene.refusal().await;
    assert!(called.contains("received fatal alert: ProtocolVersion"), "{called}");

    let aes = only(TlsVersion::V12, TlsVersion::V12, vec![CipherSuite::EcdsaAes128Gcm]);
    scene.listen.protocol = aes.clone();
    assert_eq!(scene.meet().await.1, Ok(()));
    scene.dial.protocol = only(TlsVersion::V12, TlsVersion::V12, vec![CipherSuite::EcdsaChacha20]);
    assert!(scene.meet().await.1.is_err());
    scene.dial.protocol = aes;
    assert_eq!(scene.meet().await.1, Ok(()));
}

/// Files that were replaced count from the next connection on. What cannot be used changes nothing, and
/// is counted.
#[tokio::test]
async fn files_are_read_again() {
    let mut scene = Scene::mutual();
    let dir = scene.dir.path().to_owned();
    scene.callers().revoked = Some(write(&dir, "list", scene.authority.revoked(&[1]).0));
    let metrics = TlsMetrics::default();
    let acceptor = Acceptor::new(scene.listen.clone(), metrics.clone()).unwrap();
    let dialer = Dialer::new(scene.dial.clone(), metrics.clone()).unwrap();
    let works = async || meet(&acceptor, &dialer).await.1.is_ok();
    assert!(works().await);

    // Another authority, and certificates of it for both sides: nothing of before is left.
    let next = Authority::new("next");
    next.file(&dir, "ca.crt");
    assert!(!works().await, "the authority has changed");
    next.pair(&dir, "server", 20, &["127.0.0.1"]);
    next.pair(&dir, "client", 21, &[]);
    assert!(works().await);
    assert_eq!(metrics.reloads_failed.get(), 0);

    // A certificate whose key has not come yet.
    let cert = fs::read(dir.join("server.crt")).unwrap();
    next.pair(&dir, "server", 22, &["127.0.0.1"]);
    fs::write(dir.join("server.crt"), "half a certif").unwrap();
    assert!(works().await);
    assert!(metrics.reloads_failed.get() > 0);
    fs::write(dir.join("server.crt"), cert).unwrap();
    assert!(works().await, "a key of another certificate is not used");
    fs::remove_file(dir.join("ca.crt")).unwrap();
    assert!(works().await);
    next.file(&dir, "ca.crt");
    next.pair(&dir, "server", 23, &["127.0.0.1"]);
    assert!(works().await);

    write(&dir, "list", next.revoked(&[21]).0);
    assert!(!works().await, "it is revoked now");
}

/// Whatever is wrong with files is told with the setting and the file.
#[test]
fn bad_files_are_named() {
    let scene = Scene::mutual();
    let dir = scene.dir.path();
    let refusal = |change: &dyn Fn(&mut ListenSettings)| {
        let mut listen = scene.listen.clone();
        change(&mut listen);
        let error = Acceptor::new(listen, TlsMetrics::default()).err().unwrap().to_string();
        error.replace(&dir.display().to_string(), "")
    };
    let file = |name: &str| super::SettingFile { setting: "some-file", path: dir.join(name) };
    write(dir, "empty", "");

    assert_eq!(
        refusal(&|listen| listen.pair.cert = file("gone")),
        "some-file /gone: No such file or directory (os error 2)"
    );
    assert_eq!(
        refusal(&|listen| listen.pair.cert = file("empty")),
        "some-file /empty: holds no certificate in pem form"
    );
    assert_eq!(
        refusal(&|listen| listen.pair.key = file("empty")),
        "some-file /empty: holds no private key in pem form"
    );
    let mixed = refusal(&|listen| listen.pair.key = file("client.key"));
    assert!(mixed.starts_with("test /server.crt and some-file /client.key: "), "{mixed}");
    let list = refusal(&|listen| listen.callers.as_mut().unwrap().revoked = Some(file("empty")));
    assert!(list.starts_with("some-file /empty: holds no list of revoked"), "{list}");
}

/// A member's own certificate is kept as long as it is of use, and nobody else may read it.
#[tokio::test]
async fn an_own_certificate_is_kept_and_made_anew() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("fixtures/client");
    let hosts = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let make = || self_signed("auto-tls", &folder, &hosts, 1).unwrap();
    let bytes = || fs::read(folder.join("cert.pem")).unwrap();

    let pair = make();
    let first = bytes();
    for name in ["cert.pem", "key.pem"] {
        let mode = fs::metadata(folder.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    make();
    assert_eq!(bytes(), first);
    let mut scene = Scene::new();
    scene.listen.pair = pair.clone();
    scene.dial.authorities = Some(pair.cert.clone());
    assert_eq!(scene.meet().await.1, Ok(()), "whoever names it may trust it");

    fs::copy(scene.dir.path().join("server.key"), folder.join("key.pem")).unwrap();
    make();
    assert_ne!(bytes(), first, "the key was not its own");
    let authority = Authority::new("authority");
    authority.changed_pair(&folder, "old", 1, &[], |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2020, 2, 1);
    });
    fs::rename(folder.join("old.crt"), folder.join("cert.pem")).unwrap();
    fs::rename(folder.join("old.key"), folder.join("key.pem")).unwrap();
    let expired = bytes();
    make();
    assert_ne!(bytes(), expired, "it had expired");
    let refused = self_signed("auto-tls", &folder.join("cert.pem/x"), &hosts, 1).unwrap_err();
    assert!(refused.to_string().starts_with("cannot make a certificate in "), "{refused}");
}

/// What speaks no TLS is refused, and so is what ends before it has begun.
#[tokio::test]
async fn a_plain_caller_is_refused() {
    let scene = Scene::new();
    for said in ["GET / HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ""] {
        let (address, serving) = serve(scene.acceptor()).await;
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(said.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let refused = timeout(PATIENCE, serving).await.unwrap().unwrap().unwrap_err();
        assert!(!refused.is_about_trust, "{refused:?}");
    }
}
