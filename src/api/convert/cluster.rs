//! Members of the cluster.

use crate::{
    api::convert::Invalid,
    proto::etcdserverpb,
    state::Member,
    types::{Url, limits},
};

/// The members as clients see them, in the order of their ids.
#[must_use]
pub fn members(mut members: Vec<Member>) -> Vec<etcdserverpb::Member> {
    members.sort_by_key(|member| member.id);
    members.into_iter().map(member).collect()
}

/// A member as clients see it.
#[must_use]
pub fn member(member: Member) -> etcdserverpb::Member {
    etcdserverpb::Member {
        id: member.id.0,
        name: member.name,
        peer_ur_ls: member.peer_urls,
        client_ur_ls: member.client_urls,
        is_learner: member.learner,
    }
}

/// Where a member is to be reached: at least one URL, and all such that others can use them. One
/// that they could not would be in the way of every message to the member.
pub fn peer_urls(texts: &[String]) -> Result<Vec<Url>, Invalid> {
    if texts.is_empty() || texts.len() > limits::PEER_URLS_MAX {
        return Err(Invalid::MemberUrls);
    }
    let url = |text: &String| match Url::parse(text) {
        Ok(url) if text.len() <= limits::PEER_URL_BYTES_MAX => Ok(url),
        Ok(_) | Err(_) => Err(Invalid::MemberUrls),
    };
    texts.iter().map(url).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(texts: &[&str]) -> Result<Vec<String>, Invalid> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        Ok(peer_urls(&texts)?.iter().map(Url::to_string).collect())
    }

    /// URLs that mean the same become the same text, since ids are made of them.
    #[test]
    fn peer_urls_are_read() {
        assert_eq!(
            parsed(&[" HTTP://Node-1:2380 ", "https://[::1]:1", "unix:///x"]).unwrap(),
            ["http://node-1:2380", "https://[::1]:1", "unix:///x"]
        );
    }

    /// None at all, too many, or one that nobody could use.
    #[test]
    fn bad_peer_urls_are_refused() {
        let bad = [
            &["http://a:1", "b:1"][..],
            &[],
            &[""],
            &["unix://"],
            &["ftp://a:1"],
            &["https://a"],
            &["http://a"],
            &["http://a:1/x"],
            &["http://a:port"],
            &["http://%zz:1"],
            &["://"],
            &["http://\u{0}:1"],
        ];
        for texts in bad {
            assert_eq!(parsed(texts), Err(Invalid::MemberUrls), "{texts:?}");
        }
        let long = format!("http://{}:1", "a".repeat(limits::PEER_URL_BYTES_MAX));
        assert_eq!(parsed(&[&long]), Err(Invalid::MemberUrls));
        let many = vec!["http://a:1"; limits::PEER_URLS_MAX + 1];
        assert_eq!(parsed(&many), Err(Invalid::MemberUrls));
    }
}
