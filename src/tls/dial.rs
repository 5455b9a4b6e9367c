//! [`Dialer`]: connections to others, under any URL.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use hyper::Uri;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, client::Resumption, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::TlsConnector;
use tower::Service;

use super::{
    DialSettings, Error, TlsMetrics, certs::pair, files::Files, reload::Reloading,
    verify::CalledVerifier,
};
use crate::types::url::{Place, Url};

/// The name that is expected of whoever is behind a unix socket.
const SOCKET_NAME: &str = "localhost";

/// Both directions of a connection.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Dials others. Clones are one.
#[derive(Clone)]
pub struct Dialer(Arc<Inner>);

struct Inner {
    settings: DialSettings,
    metrics: TlsMetrics,
    /// Made when it is needed first: whoever dials plainly need not read what the system trusts.
    config: Mutex<Option<Arc<Reloading<ClientConfig>>>>,
}

impl Default for Dialer {
    /// Shows nothing, and trusts whom the system trusts.
    fn default() -> Self {
        let (settings, metrics) = (DialSettings::default(), TlsMetrics::default());
        Self(Arc::new(Inner { settings, metrics, config: Mutex::default() }))
    }
}

impl Dialer {
    /// Reads the files for the first time.
    ///
    /// # Errors
    ///
    /// What is wrong with which of them.
    pub fn new(settings: DialSettings, metrics: TlsMetrics) -> Result<Self, Error> {
        let names_files = settings.pair.is_some() || settings.authorities.is_some();
        let dialer = Self(Arc::new(Inner { settings, metrics, config: Mutex::default() }));
        if names_files {
            dialer.config()?;
        }
        Ok(dialer)
    }

    fn config(&self) -> Result<Arc<ClientConfig>, Error> {
        let mut config = self.0.config.lock().unwrap_or_else(PoisonError::into_inner);
        let reloading = match config.as_ref() {
            Some(reloading) => Arc::clone(reloading),
            None => {
                let (settings, failures) =
                    (self.0.settings.clone(), &self.0.metrics.reloads_failed);
                let made = Reloading::new(failures.clone(), move |files| load(&settings, files))?;
                Arc::clone(config.insert(Arc::new(made)))
            }
        };
        drop(config);
        Ok(reloading.current())
    }

    /// Connects to whoever is behind a URL.
    ///
    /// # Errors
    ///
    /// Why it is not reached, or does not count as who it should be.
    pub async fn connect(&self, url: &Url) -> io::Result<Box<dyn Duplex>> {
        let (stream, name): (Box<dyn Duplex>, _) = match url.place() {
            Place::Port { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                (Box::new(stream), host.as_str())
            }
            Place::Socket(path) => (Box::new(UnixStream::connect(path).await?), SOCKET_NAME),
        };
        if !url.scheme().is_tls() {
            return Ok(stream);
        }
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let config = self.config().map_err(io::Error::other)?;
        let refused =
            |error: io::Error| io::Error::new(error.kind(), format!("tls with {url}: {error}"));
        let secured = TlsConnector::from(config).connect(name, stream).await.map_err(refused)?;
        Ok(Box::new(secured))
    }

    /// What a channel to a URL is made with.
    #[must_use]
    pub fn connector(&self, url: Url) -> Connector {
        Connector { dialer: self.clone(), url }
    }
}

fn load(settings: &DialSettings, files: &mut Files) -> Result<ClientConfig, Error> {
    let provider = settings.protocol.provider();
    let verifier = CalledVerifier::load(settings, &provider, files)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&settings.protocol.versions())
        .map_err(|error| Error::Protocol(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match &settings.pair {
        None => builder.with_no_client_auth(),
        Some(shown) => {
            let (certs, key) = pair(shown, files)?;
            builder.with_client_auth_cert(certs, key).map_err(|error| Error::Pair {
                cert: shown.cert.clone(),
                key: shown.key.clone(),
                reason: error.to_string(),
            })?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Connects to one URL, whatever it is asked for.
#[derive(Clone)]
pub struct Connector {
    dialer: Dialer,
    url: Url,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Duplex>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { this.dialer.connect(&this.url).await.map(TokioIo::new) })
    }
}
