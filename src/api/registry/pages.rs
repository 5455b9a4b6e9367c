//! Page tokens: where a list of services goes on.
//!
//! A token has the revision of the first page and the last service of the page before. It is good
//! for the same question only, and for nothing that somebody made up: a checksum covers all of it.

use crate::{
    registry::{Name, ServiceName},
    types::Revision,
};

/// The token of what comes after a service.
pub(super) fn token(
    revision: Revision,
    last: &ServiceName,
    namespace: &str,
    prefix: &str,
) -> String {
    let rest = format!("{:x}-{last}", revision.0);
    format!("{:08x}-{rest}", check(&rest, namespace, prefix))
}

/// The revision of a list, and the service after which it goes on; none when the token is not from
/// a page of this list.
pub(super) fn read(token: &str, namespace: &str, prefix: &str) -> Option<(Revision, ServiceName)> {
    let (check, rest) = token.split_once('-')?;
    let expected = format!("{:08x}", self::check(rest, namespace, prefix));
    if check != expected {
        return None;
    }
    let (revision, last) = rest.split_once('-')?;
    let (namespace, service) = last.split_once('/')?;
    let revision = i64::from_str_radix(revision, 16).ok().filter(|revision| *revision > 0)?;
    let last = ServiceName { namespace: Name::new(namespace)?, service: Name::new(service)? };
    Some((Revision(revision), last))
}

fn check(rest: &str, namespace: &str, prefix: &str) -> u32 {
    // No name has a line end in it.
    crc32fast::hash(format!("{rest}\n{namespace}\n{prefix}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(namespace: &str, service: &str) -> ServiceName {
        let [namespace, service] = [namespace, service].map(|text| Name::new(text).unwrap());
        ServiceName { namespace, service }
    }

    /// A token comes back as what it was made of.
    #[test]
    fn tokens_are_read_as_they_were_made() {
        for (revision, last) in [
            (1, service("a", "b")),
            (i64::MAX, service("-", "--")),
            (0xabc, service("[::1]:80", "a-b.c_d")),
        ] {
            let token = token(Revision(revision), &last, "ns", "pre");
            assert_eq!(read(&token, "ns", "pre"), Some((Revision(revision), last)), "{token}");
        }
    }

    /// A token of another question, an altered one and text of all kinds are none.
    #[test]
    fn other_tokens_are_refused() {
        let token = token(Revision(7), &service("a", "b"), "ns", "pre");
        assert_eq!(read(&token, "ns", ""), None);
        assert_eq!(read(&token, "", "pre"), None);
        assert_eq!(read(&token, "nsp", "re"), None);
        for at in 0..token.len() {
            let mut altered = token.clone().into_bytes();
            altered[at] ^= 1;
            let altered = String::from_utf8(altered).unwrap();
            assert_eq!(read(&altered, "ns", "pre"), None, "{altered}");
            assert_eq!(read(&token[..at], "ns", "pre"), None, "{}", &token[..at]);
        }
        for text in ["", "-", "--", "0-0-a/b", "ü", "00000000-7-a/b"] {
            assert_eq!(read(text, "ns", "pre"), None, "{text}");
        }
        for rest in ["x-a/b", "-7-a/b", "0-a/b", "7-a", "7-a/", "7-a/b/c", "7", ""] {
            let token = format!("{:08x}-{rest}", check(rest, "ns", "pre"));
            assert_eq!(read(&token, "ns", "pre"), None, "{token}");
        }
    }
}
