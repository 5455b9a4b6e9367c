//! URLs of members: where to listen, and what to tell others.
//!
//! Only the part of the syntax that etcd accepts: a scheme, a host, a port, and no path. Text that
//! differs only in case or in a final slash becomes the same value, because member ids are computed
//! from these texts and must agree on every member.

use std::{
    fmt::{self, Display, Formatter},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// A URL under which others reach a member.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Url {
    /// A name or an address; an IPv6 address without its brackets.
    host: String,
    port: u16,
}

/// Why a text is not a URL that we can use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// No scheme that a member can have.
    #[error("{0:?} must start with http://, https:// or unix://")]
    Scheme(String),
    /// TLS is asked for.
    #[error("{0:?}: tls listeners are not supported yet")]
    Tls(String),
    /// A unix socket is asked for.
    #[error("{0:?}: unix sockets are not supported yet")]
    Unix(String),
    /// Something follows the port.
    #[error("{0:?} must not have a path")]
    Path(String),
    /// Not of the form `host:port`.
    #[error("{0:?} must have the form http://host:port")]
    HostPort(String),
    /// A listener cannot resolve names.
    #[error("{0:?}: a listener needs an ip address or localhost, not a name")]
    ListenName(String),
}

impl Url {
    /// Reads a URL.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let text = text.trim();
        let owned = || text.to_owned();
        let (scheme, rest) = text.split_once("://").ok_or_else(|| UrlError::Scheme(owned()))?;
        match scheme.to_ascii_lowercase().as_str() {
            "http" => {}
            "https" | "unixs" => return Err(UrlError::Tls(owned())),
            "unix" => return Err(UrlError::Unix(owned())),
            _ => return Err(UrlError::Scheme(owned())),
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#', '@']) {
            return Err(UrlError::Path(owned()));
        }
        let (host, port) = rest.rsplit_once(':').ok_or_else(|| UrlError::HostPort(owned()))?;
        let host = parse_host(host).ok_or_else(|| UrlError::HostPort(owned()))?;
        // `u16::from_str` also takes a leading plus sign, which no URL has.
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        match port.parse() {
            Ok(port) if digits => Ok(Self { host, port }),
            Ok(_) | Err(_) => Err(UrlError::HostPort(owned())),
        }
    }

    /// The host: a name or an address, an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `host:port`, as a socket wants it.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl Display for Url {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority())
    }
}

/// Takes a host apart from its brackets, or says that it is none.
fn parse_host(text: &str) -> Option<String> {
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse::<Ipv6Addr>().ok().map(|address| address.to_string());
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (!text.is_empty() && text.bytes().all(allowed)).then(|| text.to_ascii_lowercase())
}

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
        let host = if url.host == "localhost" {
            ListenHost::Localhost
        } else {
            let address = url.host.parse().map_err(|_| UrlError::ListenName(text.to_owned()))?;
            ListenHost::Ip(address)
        };
        Ok(Self { host, port: url.port })
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
        for text in [
            "http://localhost:2379",
            "http://10.0.0.1:1",
            "http://[::1]:2380",
            "http://n-1.example:80",
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!(url.to_string(), text);
        }
        assert_eq!(ListenUrl::parse("http://[::1]:7").unwrap().to_string(), "http://[::1]:7");
    }

    /// Texts that mean one URL are one value, since ids are made of them.
    #[test]
    fn case_and_a_final_slash_make_no_difference() {
        assert_eq!(Url::parse(" HTTP://LocalHost:1/ "), Url::parse("http://localhost:1"));
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
