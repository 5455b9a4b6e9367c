//! URLs of members, as others are told them.
//!
//! Only the part of the syntax that etcd accepts: a scheme, a host, a port, and no path. Text that
//! differs only in case or in a final slash becomes the same value, because member ids are computed
//! from these texts and must agree on every member.

use core::net::Ipv6Addr; // std's place for it has sockets, too
use std::fmt::{self, Display, Formatter};

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
    }

    /// Texts that mean one URL are one value, since ids are made of them.
    #[test]
    fn case_and_a_final_slash_make_no_difference() {
        assert_eq!(Url::parse(" HTTP://LocalHost:1/ "), Url::parse("http://localhost:1"));
    }
}
