//! Answers about members.

use super::{Answer, Json, Page, Table, json, quote, wire};
use crate::proto::etcdserverpb::{
    Member, MemberAddResponse, MemberListResponse, MemberPromoteResponse, MemberRemoveResponse,
    MemberUpdateResponse, ResponseHeader,
};

/// A member that was added, and with which settings it is to be started.
pub(in crate::cli) struct Added<'a> {
    pub(in crate::cli) name: &'a str,
    pub(in crate::cli) peer_urls: &'a str,
    pub(in crate::cli) response: MemberAddResponse,
}

/// What was done to a member.
pub(in crate::cli) enum Changed {
    Removed(u64, MemberRemoveResponse),
    Updated(u64, MemberUpdateResponse),
    Promoted(u64, MemberPromoteResponse),
}

impl Answer for MemberListResponse {
    fn simple(&self, page: &mut Page) {
        members(&self.members).lines().for_each(|line| page.line(line));
    }

    fn fields(&self, page: &mut Page) -> bool {
        page.header(self.header.as_ref());
        for member in &self.members {
            page.id("ID", member.id);
            page.text("Name", &member.name);
            member.peer_ur_ls.iter().for_each(|url| page.text("PeerURL", url));
            member.client_ur_ls.iter().for_each(|url| page.text("ClientURL", url));
            page.field("IsLearner", member.is_learner);
            page.line("");
        }
        true
    }

    fn json(&self, hex: bool) -> String {
        if hex {
            return in_hex(self.header.as_ref(), None, &self.members);
        }
        json::of("etcdserverpb.MemberListResponse", self)
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        wire(self)
    }

    fn table(&self) -> Option<Table> {
        Some(members(&self.members))
    }
}

fn members(members: &[Member]) -> Table {
    let head = ["ID", "Status", "Name", "Peer Addrs", "Client Addrs", "Is Learner"];
    let mut table = Table::new(&head);
    for member in members {
        table.row(vec![
            format!("{:x}", member.id),
            if member.name.is_empty() { "unstarted" } else { "started" }.to_owned(),
            member.name.clone(),
            member.peer_ur_ls.join(","),
            member.client_ur_ls.join(","),
            member.is_learner.to_string(),
        ]);
    }
    table
}

impl Answer for Added<'_> {
    fn simple(&self, page: &mut Page) {
        let MemberAddResponse { header, member, members } = &self.response;
        let member = member.clone().unwrap_or_default();
        let what = if member.is_learner { "added as learner to" } else { "added to" };
        page.line(done(member.id, what, header.as_ref()));
        let mut cluster = Vec::new();
        for other in members {
            let name = if other.id == member.id { self.name } else { &other.name };
            cluster.extend(other.peer_ur_ls.iter().map(|url| format!("{name}={url}")));
        }
        page.line("");
        page.line(format!("ETCD_NAME={}", quote(self.name.as_bytes())));
        page.line(format!("ETCD_INITIAL_CLUSTER={}", quote(cluster.join(",").as_bytes())));
        let urls = quote(self.peer_urls.as_bytes());
        page.line(format!("ETCD_INITIAL_ADVERTISE_PEER_URLS={urls}"));
        page.line("ETCD_INITIAL_CLUSTER_STATE=\"existing\"");
    }

    fn json(&self, hex: bool) -> String {
        let MemberAddResponse { header, member, members } = &self.response;
        if hex {
            return in_hex(header.as_ref(), Some(member.as_ref()), members);
        }
        json::of("etcdserverpb.MemberAddResponse", &self.response)
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        wire(&self.response)
    }
}

impl Changed {
    fn header(&self) -> Option<&ResponseHeader> {
        match self {
            Self::Removed(_, response) => response.header.as_ref(),
            Self::Updated(_, response) => response.header.as_ref(),
            Self::Promoted(_, response) => response.header.as_ref(),
        }
    }

    fn members(&self) -> &[Member] {
        match self {
            Self::Removed(_, response) => &response.members,
            Self::Updated(_, response) => &response.members,
            Self::Promoted(_, response) => &response.members,
        }
    }
}

impl Answer for Changed {
    fn simple(&self, page: &mut Page) {
        let (id, what) = match self {
            Self::Removed(id, _) => (*id, "removed from"),
            Self::Updated(id, _) => (*id, "updated in"),
            Self::Promoted(id, _) => (*id, "promoted in"),
        };
        page.line(done(id, what, self.header()));
    }

    fn json(&self, hex: bool) -> String {
        if hex {
            return in_hex(self.header(), None, self.members());
        }
        match self {
            Self::Removed(_, response) => json::of("etcdserverpb.MemberRemoveResponse", response),
            Self::Updated(_, response) => json::of("etcdserverpb.MemberUpdateResponse", response),
            Self::Promoted(_, response) => json::of("etcdserverpb.MemberPromoteResponse", response),
        }
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        match self {
            Self::Removed(_, response) => wire(response),
            Self::Updated(_, response) => wire(response),
            Self::Promoted(_, response) => wire(response),
        }
    }
}

fn done(id: u64, what: &str, header: Option<&ResponseHeader>) -> String {
    let cluster = header.copied().unwrap_or_default().cluster_id;
    format!("Member {id:16x} {what} cluster {cluster:16x}")
}

/// The JSON of answers about members with ids as texts. `member` is the field of that name, which
/// some answers do not have.
fn in_hex(
    header: Option<&ResponseHeader>,
    member: Option<Option<&Member>>,
    members: &[Member],
) -> String {
    let header = header.map_or_else(|| "null".to_owned(), header_in_hex);
    let mut object = Json::object().raw("header", &header);
    if let Some(member) = member {
        let member = member.map_or_else(|| "null".to_owned(), member_in_hex);
        object = object.raw("member", &member);
    }
    let members = members.iter();
    let members = members.fold(Json::list(), |all, one| all.element(&member_in_hex(one)));
    object.raw("members", &members.end()).end()
}

fn header_in_hex(header: &ResponseHeader) -> String {
    let mut object = Json::object()
        .text("cluster_id", &format!("{:x}", header.cluster_id))
        .text("member_id", &format!("{:x}", header.member_id));
    if header.revision != 0 {
        object = object.plain("revision", header.revision);
    }
    if header.raft_term != 0 {
        object = object.plain("raft_term", header.raft_term);
    }
    object.end()
}

fn member_in_hex(member: &Member) -> String {
    let others = Member { id: 0, ..member.clone() };
    let object = Json::object().text("ID", &format!("{:x}", member.id));
    object.fields_of(&json::of("etcdserverpb.Member", &others)).end()
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Format, testing::shown},
        *,
    };

    fn member(id: u64, name: &str, urls: &[&str]) -> Member {
        Member {
            id,
            name: name.to_owned(),
            peer_ur_ls: urls.iter().map(|url| (*url).to_owned()).collect(),
            is_learner: id == 0xabc,
            ..Member::default()
        }
    }

    /// In etcdctl's words.
    #[test]
    fn a_member_reads_as_etcdctls() {
        let one = Member {
            client_ur_ls: vec!["http://a:3".to_owned()],
            ..member(0xce2a_822c_ea30_bfca, "n1", &["http://a:1", "http://a:2"])
        };
        let list = MemberListResponse { header: None, members: vec![one, member(1, "", &[])] };

        assert_eq!(
            shown(&list, Format::Simple, false).unwrap(),
            "ce2a822cea30bfca, started, n1, http://a:1,http://a:2, http://a:3, false\n\
             1, unstarted, , , , false\n"
        );
        assert_eq!(
            shown(&list, Format::Json, true).unwrap(),
            "{\"header\":null,\"members\":[{\"ID\":\"ce2a822cea30bfca\",\"name\":\"n1\",\
             \"peerURLs\":[\"http://a:1\",\"http://a:2\"],\"clientURLs\":[\"http://a:3\"]},\
             {\"ID\":\"1\"}]}"
        );
    }

    /// A new member is started with what is shown: all members under their names, the new one too.
    #[test]
    fn an_added_member_is_shown_with_its_settings() {
        let new = member(0xabc, "", &["http://b:1", "http://b:2"]);
        let response = MemberAddResponse {
            header: Some(ResponseHeader { cluster_id: 7, ..ResponseHeader::default() }),
            member: Some(new.clone()),
            members: vec![new, member(0xffff_0000_ffff_0000, "n1", &["http://a:1"])],
        };
        let added = Added { name: "n2", peer_urls: "http://b:2,http://b:1", response };

        assert_eq!(
            shown(&added, Format::Simple, false).unwrap(),
            "Member              abc added as learner to cluster                7\n\
             \n\
             ETCD_NAME=\"n2\"\n\
             ETCD_INITIAL_CLUSTER=\"n2=http://b:1,n2=http://b:2,n1=http://a:1\"\n\
             ETCD_INITIAL_ADVERTISE_PEER_URLS=\"http://b:2,http://b:1\"\n\
             ETCD_INITIAL_CLUSTER_STATE=\"existing\"\n"
        );
        assert_eq!(shown(&added, Format::Fields, false), None, "as in etcdctl");
    }
}
