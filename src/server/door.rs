//! The door of a listener: what a connection that came in says first, and whether it is let in.
//!
//! A plain door asks nothing. One with TLS has the caller shake hands, and may look at where it calls
//! from; one that takes both is told apart by the first byte, with which no request begins that a
//! handshake begins with. All of it happens in the task of the connection, in the time that a new
//! connection has: whoever says nothing stands in nobody's way.

use std::{
    fmt::{self, Display, Formatter},
    io,
    net::{IpAddr, SocketAddr},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf, split},
    net::{TcpStream, UnixStream, tcp},
};
use tracing::{debug, warn};

use super::{bind::Speech, sans};
use crate::tls::{Acceptor, Duplex, PeerNames, Refused};

/// A connection that is silent for so long is asked by the system whether its other end is there.
const SILENCE: Duration = Duration::from_secs(60);
/// The byte with which a TLS handshake begins.
const HANDSHAKE: u8 = 0x16;

/// Who has opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remote {
    /// Somebody at this address.
    Address(SocketAddr),
    /// A process on this machine.
    Local,
}

impl Remote {
    pub(super) fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Address(address) => Some(address),
            Self::Local => None,
        }
    }
}

impl Display for Remote {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Local => f.write_str("unix socket"),
        }
    }
}

/// A connection as it came in.
pub(super) trait Socket: Duplex + Sync + Sized + 'static {
    type Read: AsyncRead + Send + Unpin + 'static;
    type Write: AsyncWrite + Send + Unpin + 'static;

    /// Small answers must not wait for each other.
    fn send_at_once(&self);

    /// The first byte that was sent, which stays where it is; none: nothing will be.
    fn first_byte(&self) -> impl Future<Output = io::Result<Option<u8>>> + Send;

    fn halves(self) -> (Self::Read, Self::Write);
}

impl Socket for TcpStream {
    type Read = tcp::OwnedReadHalf;
    type Write = tcp::OwnedWriteHalf;

    fn send_at_once(&self) {
        // A socket that refuses is on its way out.
        let _ = self.set_nodelay(true);
        // HTTP/1.1 has no pings, and who lost power says nothing.
        let alive = TcpKeepalive::new().with_time(SILENCE).with_interval(SILENCE / 3);
        let _ = SockRef::from(self).set_tcp_keepalive(&alive);
    }

    async fn first_byte(&self) -> io::Result<Option<u8>> {
        let mut bytes = [0];
        let [first] = if self.peek(&mut bytes).await? == 0 { return Ok(None) } else { bytes };
        Ok(Some(first))
    }

    fn halves(self) -> (Self::Read, Self::Write) {
        self.into_split()
    }
}

/// The halves of a stream of any kind. Plain TCP has its own.
pub(super) type AnyRead = ReadHalf<Box<dyn Duplex>>;
pub(super) type AnyWrite = WriteHalf<Box<dyn Duplex>>;

impl Socket for UnixStream {
    type Read = AnyRead;
    type Write = AnyWrite;

    fn send_at_once(&self) {}

    async fn first_byte(&self) -> io::Result<Option<u8>> {
        Err(io::Error::other("a unix socket takes plain connections or encrypted ones, not both"))
    }

    fn halves(self) -> (Self::Read, Self::Write) {
        split(Box::new(self))
    }
}

/// What a listener with TLS shows and demands.
pub(super) struct Secure {
    acceptor: Acceptor,
    /// Whether the names in a caller's certificate must lead to where it calls from.
    checks_names: bool,
    /// Which listener, in the log.
    name: &'static str,
    /// The last that was not trusted: whoever tries again and again is told of once.
    told: Mutex<Option<(Option<IpAddr>, String)>>,
}

impl Secure {
    pub(super) fn new(acceptor: Acceptor, checks_names: bool, name: &'static str) -> Self {
        Self { acceptor, checks_names, name, told: Mutex::default() }
    }

    /// Shakes hands. Who is not let in is told of in the log.
    async fn enter(&self, stream: Box<dyn Duplex>, remote: Remote) -> Option<Box<dyn Duplex>> {
        let refused = match self.acceptor.accept(stream).await {
            Ok(stream) => {
                let names = self.checks_names.then(|| PeerNames::of(&stream));
                match check_names(names, remote).await {
                    Ok(()) => return Some(Box::new(stream)),
                    Err(reason) => {
                        self.acceptor.failed();
                        Refused { reason, is_about_trust: true }
                    }
                }
            }
            Err(refused) => refused,
        };
        self.tell(remote, refused);
        None
    }

    fn tell(&self, remote: Remote, Refused { reason, is_about_trust }: Refused) {
        let listener = self.name;
        if is_about_trust {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            let this = Some((remote.address().map(|address| address.ip()), reason.clone()));
            if *told != this {
                warn!(listener, %remote, reason, "rejected connection");
                *told = this;
                return;
            }
        }
        debug!(listener, %remote, reason, "rejected connection");
    }
}

/// Looks at the names of a caller's certificate, if they are to be looked at and there is one.
async fn check_names(
    names: Option<io::Result<Option<PeerNames>>>,
    remote: Remote,
) -> Result<(), String> {
    let (Some(names), Some(address)) = (names, remote.address()) else { return Ok(()) };
    match names.map_err(|error| error.to_string())? {
        Some(names) => sans::check(&names, address.ip()).await,
        None => Ok(()),
    }
}

/// The door of one listener.
pub(super) enum Door {
    Plain,
    Tls(Secure),
    Both(Secure),
}

/// A connection that was let in.
pub(super) enum Entered<K> {
    Plain(K),
    Secured(Box<dyn Duplex>),
}

impl Door {
    /// A door for what is spoken on a socket. Without what TLS needs it takes plain connections only,
    /// which the check of settings has seen to.
    pub(super) fn new(speech: Speech, secure: Option<Secure>) -> Self {
        match (speech, secure) {
            (Speech::Tls, Some(secure)) => Self::Tls(secure),
            (Speech::Both, Some(secure)) => Self::Both(secure),
            (Speech::Plain, _) => Self::Plain,
            (Speech::Tls | Speech::Both, None) => {
                unreachable!("a listener with tls has a certificate")
            }
        }
    }

    /// Counts a connection that said too little for too long.
    pub(super) fn timed_out(&self) {
        match self {
            Self::Plain => {}
            Self::Tls(secure) | Self::Both(secure) => secure.acceptor.failed(),
        }
    }

    /// Lets a connection in, or says no, which is logged.
    pub(super) async fn enter<K: Socket>(&self, stream: K, remote: Remote) -> Option<Entered<K>> {
        let secure = match self {
            Self::Plain => return Some(Entered::Plain(stream)),
            Self::Tls(secure) => secure,
            Self::Both(secure) => match stream.first_byte().await {
                Ok(Some(HANDSHAKE)) => secure,
                Ok(_) => return Some(Entered::Plain(stream)),
                Err(error) => {
                    debug!(%remote, %error, "connection ended before it began");
                    return None;
                }
            },
        };
        secure.enter(Box::new(stream), remote).await.map(Entered::Secured)
    }
}
