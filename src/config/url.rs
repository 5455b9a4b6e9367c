//! URLs to listen on. Those that others are told are in [`types::url`](crate::types::url).

use std::{
    fmt::{self, Display, Formatter},
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

pub use crate::types::url::{Place, Scheme, Url, UrlError};

/// A URL that a member listens on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListenUrl {
    /// What is spoken there.
    pub scheme: Scheme,
    /// Where it is.
    pub place: ListenPlace,
}

/// Where a member listens. Two URLs may lead to one place, of which one is plain and the other is not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ListenPlace {
    /// A port.
    Port(ListenHost, u16),
    /// The path of a unix socket.
    Socket(String),
}

/// The interface to listen on. A name would have to be resolved, and would change under us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ListenHost {
    /// The loopback interface.
    Localhost,
    /// The interface with this address, or all of them for the unspecified one.
    Ip(IpAddr),
}

impl ListenUrl {
    /// Reads a URL to listen on.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let url = Url::parse(text)?;
        let place = match url.place() {
            Place::Socket(path) => ListenPlace::Socket(path.clone()),
            Place::Port { host, port } if host == "localhost" => {
                ListenPlace::Port(ListenHost::Localhost, *port)
            }
            Place::Port { host, port } => {
                let ip = host.parse().map_err(|_| UrlError::ListenName(text.to_owned()))?;
                ListenPlace::Port(ListenHost::Ip(ip), *port)
            }
        };
        Ok(Self { scheme: url.scheme(), place })
    }
}

impl ListenPlace {
    /// The address to bind; none for a unix socket. `localhost` is the IPv4 loopback, as it is for etcd.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Port(ListenHost::Localhost, port) => Some((Ipv4Addr::LOCALHOST, *port).into()),
            Self::Port(ListenHost::Ip(ip), port) => Some(SocketAddr::new(*ip, *port)),
            Self::Socket(_) => None,
        }
    }
}

impl Display for ListenPlace {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(ListenHost::Localhost, port) => write!(f, "localhost:{port}"),
            Self::Port(ListenHost::Ip(ip), port) => write!(f, "{}", SocketAddr::new(*ip, *port)),
            Self::Socket(path) => f.write_str(path),
        }
    }
}

impl Display for ListenUrl {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is printed parses to the same value.
    #[test]
    fn a_url_reads_back_what_it_prints() {
        for text in [
            "http://[::1]:7",
            "https://localhost:1",
            "http://0.0.0.0:2",
            "unix://localhost:2379",
            "unixs:///run/q.sock",
        ] {
            assert_eq!(ListenUrl::parse(text).unwrap().to_string(), text);
        }
    }

    /// Each refusal says what is wrong and repeats the text.
    #[test]
    fn a_refusal_names_the_text() {
        let refusal = |text: &str| ListenUrl::parse(text).unwrap_err().to_string();

        assert_eq!(
            refusal("localhost:2379"),
            "\"localhost:2379\" must start with http://, https://, unix:// or unixs://"
        );
        assert_eq!(refusal("http://a:1/x"), "\"http://a:1/x\" must not have a path");
        for text in [
            "http://a",
            "http://:1",
            "http://a:+1",
            "http://a:65536",
            "https://[x]:1",
            "http://a b:1",
        ] {
            assert_eq!(refusal(text), format!("{text:?} must have the form http://host:port"));
        }
        assert_eq!(
            refusal("http://example.com:1"),
            "\"http://example.com:1\": a listener needs an ip address or localhost, not a name"
        );
    }
}
