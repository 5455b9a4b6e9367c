//! [`Acceptor`]: an encrypted connection out of one that came in.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use rustls::{AlertDescription, Error as TlsError, ServerConfig, server::NoServerSessionStorage};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use x509_parser::extensions::GeneralName;

use super::{
    Duplex, Error, ListenSettings, TlsMetrics,
    certs::{pair, parsed},
    files::Files,
    reload::Reloading,
    verify::CallerVerifier,
};

/// How long somebody who was refused may take to go.
const LINGER: Duration = Duration::from_secs(1);
/// And what it may send meanwhile.
const UNREAD_BYTES_MAX: usize = 64 * 1024;

/// A connection that came in and is encrypted.
pub type Secured = TlsStream<Box<dyn Duplex>>;

/// What a listener shows and demands. Clones are one.
#[derive(Clone)]
pub struct Acceptor {
    config: Arc<Reloading<ServerConfig>>,
    metrics: TlsMetrics,
}

/// Why a connection came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// In words.
    pub reason: String,
    /// Whether one side did not accept what the other has shown: somebody may have to act.
    pub is_about_trust: bool,
}

/// The names in a caller's certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerNames {
    /// Addresses.
    pub addresses: Vec<IpAddr>,
    /// Names, some of which may begin with `*.`.
    pub hosts: Vec<String>,
}

impl Acceptor {
    /// Reads the files for the first time.
    ///
    /// # Errors
    ///
    /// What is wrong with which of them.
    pub fn new(settings: ListenSettings, metrics: TlsMetrics) -> Result<Self, Error> {
        let failures = metrics.reloads_failed.clone();
        let config = Reloading::new(failures, move |files| load(&settings, files))?;
        Ok(Self { config: Arc::new(config), metrics })
    }

    /// Agrees with a caller on how to speak. It may take as long as the caller likes.
    ///
    /// # Errors
    ///
    /// Why they did not come to terms.
    pub async fn accept(&self, stream: Box<dyn Duplex>) -> Result<Secured, Refused> {
        let accepting = TlsAcceptor::from(self.config.current()).accept(stream).into_fallible();
        let (error, stream) = match accepting.await {
            Ok(secured) => return Ok(secured),
            Err(failed) => failed,
        };
        self.failed();
        // It has a second to read why; however that ends, it is over.
        let _ = timeout(LINGER, let_go(stream)).await;
        let cause = error.get_ref().and_then(|inner| inner.downcast_ref());
        let is_about_trust = cause.is_some_and(about_trust);
        Err(Refused { reason: error.to_string(), is_about_trust })
    }

    /// Counts a connection that came to nothing.
    pub fn failed(&self) {
        self.metrics.handshakes_failed.inc();
    }
}

impl PeerNames {
    /// The names in the certificate that the caller has shown, if it has shown one.
    ///
    /// # Errors
    ///
    /// The certificate cannot be read.
    pub fn of(stream: &Secured) -> io::Result<Option<Self>> {
        let Some(cert) = stream.get_ref().1.peer_certificates().and_then(<[_]>::first) else {
            return Ok(None);
        };
        let cert = parsed(cert).ok_or_else(|| io::Error::other("certificate cannot be read"))?;
        let names = cert.subject_alternative_name().map_err(io::Error::other)?;
        let mut found = Self::default();
        for name in names.iter().flat_map(|names| &names.value.general_names) {
            if let GeneralName::DNSName(host) = name {
                found.hosts.push((*host).to_owned());
            } else if let GeneralName::IPAddress(bytes) = name {
                found.addresses.extend(address(bytes));
            }
        }
        Ok(Some(found))
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let of_4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    of_4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

fn load(settings: &ListenSettings, files: &mut Files) -> Result<ServerConfig, Error> {
    let provider = settings.protocol.provider();
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&settings.protocol.versions())
        .map_err(|error| Error::Protocol(error.to_string()))?;
    let builder = match &settings.callers {
        None => builder.with_no_client_auth(),
        Some(callers) => {
            let verifier = CallerVerifier::load(callers, provider, files)?;
            builder.with_client_cert_verifier(Arc::new(verifier))
        }
    };
    let (certs, key) = pair(&settings.pair, files)?;
    let mut config = builder.with_single_cert(certs, key).map_err(|error| Error::Pair {
        cert: settings.pair.cert.clone(),
        key: settings.pair.key.clone(),
        reason: error.to_string(),
    })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // Who takes up a session shows no certificate, which may have been revoked meanwhile.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Closes a connection whose other end has sent more than was read. Closed at once, it would be reset, and
/// what it was told last be lost.
async fn let_go(mut stream: Box<dyn Duplex>) -> io::Result<()> {
    stream.shutdown().await?;
    let (mut rest, mut left) = ([0; 4096], UNREAD_BYTES_MAX);
    loop {
        let read = stream.read(&mut rest).await?;
        left = left.saturating_sub(read);
        if read == 0 || left == 0 {
            return Ok(());
        }
    }
}

/// Whether one side did not like what the other has shown.
fn about_trust(error: &TlsError) -> bool {
    matches!(
        error,
        TlsError::InvalidCertificate(_)
            | TlsError::NoCertificatesPresented
            | TlsError::AlertReceived(
                AlertDescription::UnknownCA
                    | AlertDescription::BadCertificate
                    | AlertDescription::UnsupportedCertificate
                    | AlertDescription::CertificateRevoked
                    | AlertDescription::CertificateExpired
                    | AlertDescription::CertificateUnknown
                    | AlertDescription::CertificateRequired
                    | AlertDescription::NoCertificate
                    | AlertDescription::AccessDenied
            )
    )
}
