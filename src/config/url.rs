//! URLs to listen on. Those that others are told are in [`types::url`](crate::types::url).

use std::{
    fmt::{self, Display, Formatter},
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

pub use crate::types::url::{Url, UrlError};

/// A URL that a member listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListenUrl {
    /// Which interface.
    pub host: ListenHost,
    /// Which port.
    pub port: u16,
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
        let host = if url.host() == "localhost" {
            ListenHost::Localhost
        } else {
            let address = url.host().parse().map_err(|_| UrlError::ListenName(text.to_owned()))?;
            ListenHost::Ip(address)
        };
        Ok(Self { host, port: url.port() })
    }

    /// The address to bind. `localhost` is the IPv4 loopback, as it is for etcd.
    pub fn socket_addr(self) -> SocketAddr {
        let ip = match self.host {
            ListenHost::Localhost => IpAddr::V4(Ipv4Addr::LOCALHOST),
            ListenHost::Ip(ip) => ip,
        };
        SocketAddr::new(ip, self.port)
    }
}

impl Display for ListenUrl {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.host {
            ListenHost::Localhost => write!(f, "http://localhost:{}", self.port),
            ListenHost::Ip(ip) => write!(f, "http://{}", SocketAddr::new(ip, self.port)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is printed parses to the same value.
    #[test]
    fn a_url_reads_back_what_it_prints() {
        for text in ["http://[::1]:7", "http://localhost:1", "http://0.0.0.0:2"] {
            assert_eq!(ListenUrl::parse(text).unwrap().to_string(), text);
        }
    }

    /// Each refusal says what is wrong and repeats the text.
    #[test]
    fn a_refusal_names_the_text() {
        let refusal = |text: &str| ListenUrl::parse(text).unwrap_err().to_string();

        assert_eq!(refusal("https://a:1"), "\"https://a:1\": tls listeners are not supported yet");
        assert_eq!(refusal("unix://a:1"), "\"unix://a:1\": unix sockets are not supported yet");
        assert_eq!(
            refusal("localhost:2379"),
            "\"localhost:2379\" must start with http://, https:// or unix://"
        );
        assert_eq!(refusal("http://a:1/x"), "\"http://a:1/x\" must not have a path");
        for text in [
            "http://a",
            "http://:1",
            "http://a:+1",
            "http://a:65536",
            "http://[x]:1",
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
