//! URLs of members, as others are told them.
//!
//! Only the part of the syntax that etcd accepts: a scheme, and a host with a port and no path, or the
//! path of a unix socket. Text that differs only in case or in a final slash becomes the same value,
//! because member ids are computed from these texts and must agree on every member.

use core::net::Ipv6Addr; // std's place for it has sockets, too
use std::fmt::{self, Display, Formatter};

/// A URL under which others reach a member.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Url {
    scheme: Scheme,
    place: Place,
}

/// How one speaks with whoever is behind a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheme {
    /// Plainly.
    Http,
    /// Over TLS.
    Https,
    /// Plainly, on a unix socket.
    Unix,
    /// Over TLS, on a unix socket.
    Unixs,
}

impl Scheme {
    /// The word before the colon.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Unix => "unix",
            Self::Unixs => "unixs",
        }
    }

    /// Whether what goes over the connection is encrypted.
    #[must_use]
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::Unixs)
    }

    fn named(word: &str) -> Option<Self> {
        let all = [Self::Http, Self::Https, Self::Unix, Self::Unixs];
        all.into_iter().find(|scheme| word.eq_ignore_ascii_case(scheme.as_str()))
    }
}

/// Where a URL leads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// To a port of a host.
    Port {
        /// A name or an address; an IPv6 address without its brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// To a unix socket: its path, for etcd's `unix://host:port` a file of that name in the working
    /// directory.
    Socket(String),
}

/// Why a text is not a URL that we can use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// No scheme that a member can have.
    #[error("{0:?} must start with http://, https://, unix:// or unixs://")]
    Scheme(String),
    /// A unix socket without a name.
    #[error("{0:?} must have the form unix://path or unixs://path")]
    Socket(String),
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
        let (word, rest) = text.split_once(':').ok_or_else(|| UrlError::Scheme(owned()))?;
        let scheme = Scheme::named(word).ok_or_else(|| UrlError::Scheme(owned()))?;
        let after_slashes = rest.strip_prefix("//");
        match scheme {
            Scheme::Unix | Scheme::Unixs => {
                // Without the two slashes a path stands alone, and begins with one.
                let path = after_slashes.or_else(|| rest.starts_with('/').then_some(rest));
                let path = path.filter(|path| !path.is_empty() && !path.contains(['?', '#', '\0']));
                let path = path.ok_or_else(|| UrlError::Socket(owned()))?;
                Ok(Self { scheme, place: Place::Socket(path.to_owned()) })
            }
            Scheme::Http | Scheme::Https => {
                let rest = after_slashes.ok_or_else(|| UrlError::Scheme(owned()))?;
                Ok(Self { scheme, place: parse_port(rest, text)? })
            }
        }
    }

    /// How one speaks with whoever is there.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Where it leads.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// `host:port`, as a socket wants it; the path of a unix socket.
    #[must_use]
    pub fn authority(&self) -> String {
        match &self.place {
            Place::Port { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Place::Port { host, port } => format!("{host}:{port}"),
            Place::Socket(path) => path.clone(),
        }
    }
}

impl Display for Url {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.authority())
    }
}

/// Reads `host:port`, the rest of the text of a URL.
fn parse_port(rest: &str, text: &str) -> Result<Place, UrlError> {
    let host_port = || UrlError::HostPort(text.to_owned());
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '?', '#', '@']) {
        return Err(UrlError::Path(text.to_owned()));
    }
    let (host, port) = rest.rsplit_once(':').ok_or_else(host_port)?;
    let host = parse_host(host).ok_or_else(host_port)?;
    // `u16::from_str` also takes a leading plus sign, which no URL has.
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse() {
        Ok(port) if digits => Ok(Place::Port { host, port }),
        Ok(_) | Err(_) => Err(host_port()),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What is printed parses to the same value.
    #[test]
    fn a_url_reads_back_what_it_prints() {
        for text in [
            "http://localhost:2379",
            "http://10.0.0.1:1",
            "https://[::1]:2380",
            "http://n-1.example:80",
            "unix://localhost:2379",
            "unixs:///run/quorate.sock",
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!(url.to_string(), text);
        }
    }

    /// Texts that mean one URL are one value, since ids are made of them.
    #[test]
    fn case_and_a_final_slash_make_no_difference() {
        assert_eq!(Url::parse(" HTTP://LocalHost:1/ "), Url::parse("http://localhost:1"));
        assert_eq!(Url::parse("unix:/run/x"), Url::parse("UNIX:///run/x"));
        assert_ne!(Url::parse("http://localhost:1"), Url::parse("https://localhost:1"));
    }

    /// A socket has a path, and nothing behind it.
    #[test]
    fn a_unix_socket_needs_a_path() {
        for text in ["unix://", "unix:", "unixs:name", "unix:///a?b"] {
            let refusal = Url::parse(text).unwrap_err().to_string();
            assert_eq!(refusal, format!("{text:?} must have the form unix://path or unixs://path"));
        }
    }
}
