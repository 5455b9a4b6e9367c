//! Answers about leases. Their JSON is that of structs of Go's client, not of messages.

use super::{Answer, Json, Page, json, wire};
use crate::proto::etcdserverpb::{
    LeaseGrantResponse, LeaseKeepAliveResponse, LeaseLeasesResponse, LeaseRevokeResponse,
    LeaseTimeToLiveResponse, ResponseHeader,
};

/// That a lease was ended.
pub(in crate::cli) struct Revoked {
    pub(in crate::cli) id: i64,
    pub(in crate::cli) response: LeaseRevokeResponse,
}

/// How long a lease has left.
pub(in crate::cli) struct TimeToLive {
    pub(in crate::cli) response: LeaseTimeToLiveResponse,
    /// Whether its keys were asked for.
    pub(in crate::cli) keys: bool,
}

/// An object that begins with the fields of a header.
fn headed(header: Option<&ResponseHeader>) -> Json {
    let header = header.copied().unwrap_or_default();
    Json::object().fields_of(&json::of("etcdserverpb.ResponseHeader", &header))
}

impl Answer for LeaseGrantResponse {
    fn simple(&self, page: &mut Page) {
        page.line(format!("lease {:016x} granted with TTL({}s)", self.id, self.ttl));
    }

    fn fields(&self, page: &mut Page) -> bool {
        page.header(self.header.as_ref());
        page.lease("ID", self.id);
        page.field("TTL", self.ttl);
        true
    }

    fn json(&self, _: bool) -> String {
        let object = headed(self.header.as_ref()).plain("ID", self.id).plain("TTL", self.ttl);
        object.text("Error", &self.error).end()
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        wire(self)
    }
}

impl Answer for Revoked {
    fn simple(&self, page: &mut Page) {
        page.line(format!("lease {:016x} revoked", self.id));
    }

    fn fields(&self, page: &mut Page) -> bool {
        page.header(self.response.header.as_ref());
        true
    }

    fn json(&self, _: bool) -> String {
        json::of("etcdserverpb.LeaseRevokeResponse", &self.response)
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        wire(&self.response)
    }
}

impl Answer for LeaseKeepAliveResponse {
    fn simple(&self, page: &mut Page) {
        page.line(format!("lease {:016x} keepalived with TTL({})", self.id, self.ttl));
    }

    fn fields(&self, page: &mut Page) -> bool {
        page.header(self.header.as_ref());
        page.lease("ID", self.id);
        page.field("TTL", self.ttl);
        true
    }

    fn json(&self, _: bool) -> String {
        headed(self.header.as_ref()).plain("ID", self.id).plain("TTL", self.ttl).end()
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        wire(self)
    }
}

impl Answer for TimeToLive {
    fn simple(&self, page: &mut Page) {
        let LeaseTimeToLiveResponse { id, ttl, granted_ttl, keys, .. } = &self.response;
        if *granted_ttl == 0 && *ttl == -1 {
            return page.line(format!("lease {id:016x} already expired"));
        }
        let mut line =
            format!("lease {id:016x} granted with TTL({granted_ttl}s), remaining({ttl}s)")
                .into_bytes();
        if self.keys {
            line.extend_from_slice(b", attached keys([");
            line.extend(keys.join(&b' '));
            line.extend_from_slice(b"])");
        }
        page.line(line);
    }

    fn fields(&self, page: &mut Page) -> bool {
        page.header(self.response.header.as_ref());
        page.lease("ID", self.response.id);
        page.field("TTL", self.response.ttl);
        page.field("GrantedTTL", self.response.granted_ttl);
        self.response.keys.iter().for_each(|key| page.text("Key", key));
        true
    }

    fn json(&self, _: bool) -> String {
        let keys = if self.response.keys.is_empty() {
            "null".to_owned()
        } else {
            let keys = self.response.keys.iter();
            keys.fold(Json::list(), |all, key| all.element(&json::bytes(key))).end()
        };
        headed(self.response.header.as_ref())
            .plain("id", self.response.id)
            .plain("ttl", self.response.ttl)
            .plain("granted-ttl", self.response.granted_ttl)
            .raw("keys", &keys)
            .end()
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        wire(&self.response)
    }
}

impl Answer for LeaseLeasesResponse {
    fn simple(&self, page: &mut Page) {
        page.line(format!("found {} leases", self.leases.len()));
        self.leases.iter().for_each(|lease| page.line(format!("{:016x}", lease.id)));
    }

    fn fields(&self, page: &mut Page) -> bool {
        page.header(self.header.as_ref());
        self.leases.iter().for_each(|lease| page.lease("ID", lease.id));
        true
    }

    fn json(&self, _: bool) -> String {
        let leases = self.leases.iter().fold(Json::list(), |all, lease| {
            all.element(&Json::object().plain("id", lease.id).end())
        });
        headed(self.header.as_ref()).raw("leases", &leases.end()).end()
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        wire(self)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Format, testing::shown},
        *,
    };

    /// In etcdctl's words.
    #[test]
    fn time_to_live_reads_as_etcdctls() {
        let header = ResponseHeader { cluster_id: 1, member_id: 2, revision: 3, raft_term: 4 };
        let response = LeaseTimeToLiveResponse {
            header: Some(header),
            id: 0x1234,
            ttl: 7,
            granted_ttl: 10,
            keys: vec!["a".into(), "b".into()],
        };
        let alive = TimeToLive { response, keys: true };
        assert_eq!(
            shown(&alive, Format::Simple, false).unwrap(),
            "lease 0000000000001234 granted with TTL(10s), remaining(7s), attached keys([a b])\n"
        );
        assert_eq!(
            shown(&alive, Format::Json, false).unwrap(),
            "{\"cluster_id\":1,\"member_id\":2,\"revision\":3,\"raft_term\":4,\"id\":4660,\"ttl\":7,\
             \"granted-ttl\":10,\"keys\":[\"YQ==\",\"Yg==\"]}"
        );

        let response = LeaseTimeToLiveResponse { id: 0x1234, ttl: -1, ..Default::default() };
        let ended = TimeToLive { response, keys: true };
        assert_eq!(
            shown(&ended, Format::Simple, false).unwrap(),
            "lease 0000000000001234 already expired\n"
        );
    }
}
