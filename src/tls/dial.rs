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
    io::{AsyncRead, AsyncWrite, ReadBuf},
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
        Connector { dialer: self.clone(), url, trouble: Trouble::default() }
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
    trouble: Trouble,
}

impl Connector {
    /// Why the last connection ended that ended with an error. Whoever is refused by its certificate hears
    /// of it only then, and those who use the connection do not pass it on.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.trouble.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Why a connection ended.
#[derive(Clone, Default)]
struct Trouble(Arc<Mutex<Option<String>>>);

/// A connection that leaves word of why it ended.
struct Watched {
    stream: Box<dyn Duplex>,
    trouble: Trouble,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Poll::Ready(Err(error)) = &result {
            let mut trouble = self.trouble.0.lock().unwrap_or_else(PoisonError::into_inner);
            *trouble = Some(error.to_string());
        }
        result
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
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
        Box::pin(async move {
            let stream = this.dialer.connect(&this.url).await?;
            let watched: Box<dyn Duplex> = Box::new(Watched { stream, trouble: this.trouble });
            Ok(TokioIo::new(watched))
        })
    }
}
