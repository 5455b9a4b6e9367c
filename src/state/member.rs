//! The members: who they are, where they listen, how their ids come about, and how they change.

mod change;

use bytes::Bytes;
use sha1::{Digest, Sha1};

use crate::{
    state::{ApplyError, Family, Level, Refused, View, schema::meta, write_txn::WriteTxn},
    types::{ClusterId, Fault, MemberId},
};

/// A member of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Names it for good.
    pub id: MemberId,
    /// What people call it; empty until it has started.
    pub name: String,
    /// Where members reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it; empty until it has started.
    pub client_urls: Vec<String>,
    /// It receives the log but has no vote.
    pub learner: bool,
    /// What its program understands; unknown until it has started.
    pub level: Level,
}

/// Who the members are, and who they are no more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// The members, ascending by id. Nobody, while a member that joins waits for its first state.
    pub members: Vec<Member>,
    /// The ids that were removed, ascending. They never come back.
    pub removed: Vec<MemberId>,
}

impl Membership {
    /// The member of this id.
    #[must_use]
    pub fn get(&self, id: MemberId) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }

    /// Whether this member was removed.
    #[must_use]
    pub fn is_removed(&self, id: MemberId) -> bool {
        self.removed.binary_search(&id).is_ok()
    }

    /// Whether this member receives the log and has no vote.
    #[must_use]
    pub fn is_learner(&self, id: MemberId) -> bool {
        self.get(id).is_some_and(|member| member.learner)
    }
}

/// Who decides: the configuration of the raft group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfState {
    /// Those whose majority decides.
    pub voters: Vec<MemberId>,
    /// Those that only receive.
    pub learners: Vec<MemberId>,
    /// During a joint change, those whose majority must agree, too.
    pub voters_outgoing: Vec<MemberId>,
    /// Those that become learners when the joint change ends.
    pub learners_next: Vec<MemberId>,
    /// Whether the joint change ends by itself.
    pub auto_leave: bool,
}

/// The id of a first member of a cluster, as etcd computes it.
#[must_use]
pub fn member_id(peer_urls: &[String], token: &str) -> MemberId {
    let mut urls: Vec<&str> = peer_urls.iter().map(String::as_str).collect();
    urls.sort_unstable();
    MemberId(head_of_sha1(urls.iter().chain([&token]).map(|part| part.as_bytes())))
}

/// The id of a member that is added to a running cluster, as etcd computes it: with the time, so that
/// whoever comes back to the same addresses is another member.
#[must_use]
pub fn added_member_id(peer_urls: &[String], unix_seconds: u64) -> MemberId {
    member_id(peer_urls, &unix_seconds.to_string())
}

/// The id of a cluster of these first members, as etcd computes it.
#[must_use]
pub fn cluster_id(members: &[MemberId]) -> ClusterId {
    let mut ids = members.to_vec();
    ids.sort_unstable();
    ClusterId(head_of_sha1(ids.iter().map(|id| id.0.to_be_bytes())))
}

/// The first eight bytes of the digest of all parts together.
fn head_of_sha1(parts: impl IntoIterator<Item = impl AsRef<[u8]>>) -> u64 {
    let mut digest = Sha1::new();
    for part in parts {
        digest.update(part);
    }
    let digest: [u8; 20] = digest.finalize().into();
    let head = digest.first_chunk::<8>().expect("a SHA-1 digest has 20 bytes");
    u64::from_be_bytes(*head)
}

pub(super) use change::change;

/// The member of this id.
pub fn find(view: &dyn View, id: MemberId) -> Result<Option<Member>, Fault> {
    let key = meta::member_key(id);
    view.get(Family::Meta, &key)?.map(|record| meta::decode_member(&key, &record)).transpose()
}

/// The record of a member: key and value in [`Family::Meta`].
#[must_use]
pub fn record(member: &Member) -> (Bytes, Bytes) {
    (meta::member_key(member.id), meta::encode_member(member))
}

/// Records what a member tells of itself. Who is no member stays none.
pub(super) fn publish(
    txn: &mut WriteTxn<'_>,
    id: MemberId,
    name: &str,
    client_urls: &[String],
    level: Level,
) -> Result<(), ApplyError> {
    let member = find(txn.view(), id)?.ok_or(Refused::MemberNotFound)?;
    let (name, client_urls) = (name.to_owned(), client_urls.to_vec());
    let (key, value) = record(&Member { name, client_urls, level, ..member });
    txn.put_record(Family::Meta, key, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::testing::{Machine, publish};

    /// etcd's own ids of a single member under its default flags.
    #[test]
    fn ids_are_those_of_etcd() {
        let member = member_id(&["http://localhost:2380".to_owned()], "etcd-cluster");
        assert_eq!(member.to_string(), "8e9e05c52164694d");
        assert_eq!(cluster_id(&[member]).to_string(), "cdf818194e3a8c32");
    }

    /// Ids do not depend on the order in which addresses and members are listed.
    #[test]
    fn ids_do_not_depend_on_order() {
        let (a, b) = ("http://a:2380".to_owned(), "http://b:2380".to_owned());
        assert_eq!(member_id(&[a.clone(), b.clone()], "t"), member_id(&[b, a], "t"));
        let (one, two) = (MemberId(1), MemberId(2));
        assert_eq!(cluster_id(&[one, two]), cluster_id(&[two, one]));
    }

    /// A member publishes its name and client addresses; its peer addresses stand.
    #[test]
    fn publishing_fills_in_a_member() {
        let mut machine = Machine::new();
        machine.apply(publish(1, "a", "http://127.0.0.1:2379")).outcome.unwrap();

        let member = find(machine.view(), MemberId(1)).unwrap().unwrap();
        assert_eq!(member.name, "a");
        assert_eq!(member.client_urls, ["http://127.0.0.1:2379"]);
        assert_eq!(member.peer_urls, ["http://127.0.0.1:2380"]);
    }

    /// Who is no member cannot publish itself into the list.
    #[test]
    fn strangers_cannot_publish() {
        let mut machine = Machine::new();
        assert_eq!(
            machine.apply(publish(9, "x", "http://x:1")).outcome,
            Err(Refused::MemberNotFound)
        );
        assert_eq!(find(machine.view(), MemberId(9)).unwrap(), None);
    }
}
