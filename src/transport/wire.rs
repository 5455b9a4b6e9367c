//! Our values as messages of `peer.proto` and back, and the check of the handshake.

use bytes::Bytes;
use tonic::Status;

use super::{ClusterMembers, Config, Refusal};
use crate::{
    node::ports::{Frame, Greeting, Member, Membership, Promotion},
    proto::internal::{
        FenceAnswer, FenceQuestion, Forward, ForwardAnswer, Handshake, IncarnationOver,
        MembersRequest, MembersResponse, PeerFrame, PeerMember, Promotion as ProtoPromotion,
        peer_frame::Frame as Kind,
    },
    types::{BootNumber, ClusterId, Incarnation, Index, MemberId, Term, limits},
};

/// The version of the protocol that both sides must speak.
pub(super) const PROTOCOL: u32 = 1;

/// What a call to `to` begins with.
pub(super) fn handshake(config: Config, to: MemberId) -> Handshake {
    Handshake {
        cluster: config.cluster.0,
        from: config.member.0,
        to: to.0,
        protocol: PROTOCOL,
        ..Handshake::default()
    }
}

/// The sender, if it means this member of this cluster. Whether it is a member itself is another
/// question.
pub(super) fn check_handshake(
    handshake: Option<&Handshake>,
    local: Config,
) -> Result<MemberId, Refusal> {
    let handshake = handshake.ok_or(Refusal::NoHandshake)?;
    let (cluster, from, to) =
        (ClusterId(handshake.cluster), MemberId(handshake.from), MemberId(handshake.to));
    if handshake.protocol != PROTOCOL {
        return Err(Refusal::Protocol(handshake.protocol, PROTOCOL));
    }
    if cluster != local.cluster {
        return Err(Refusal::OtherCluster(cluster, local.cluster));
    }
    if to != local.member {
        return Err(Refusal::OtherMember(to, local.member));
    }
    if from == local.member {
        return Err(Refusal::Own(from));
    }
    Ok(from)
}

/// The first frame of a stream, from a member that is reached at these URLs.
pub(super) fn greeting(
    config: Config,
    to: MemberId,
    peer_urls: &[String],
    greeting: Greeting,
) -> PeerFrame {
    let Greeting { incarnation, boot, start, term, last } = greeting;
    let handshake = Handshake {
        peer_urls: peer_urls.to_vec(),
        incarnation: incarnation.0,
        boot: boot.0,
        start,
        term: term.0,
        last_index: last.0,
        ..handshake(config, to)
    };
    PeerFrame { frame: Some(Kind::Handshake(handshake)) }
}

/// What the sender of a stream says of itself.
pub(super) fn greeting_in(handshake: &Handshake) -> Greeting {
    Greeting {
        incarnation: Incarnation(handshake.incarnation),
        boot: BootNumber(handshake.boot),
        start: handshake.start,
        term: Term(handshake.term),
        last: Index(handshake.last_index),
    }
}

/// The URLs at which the sender of a greeting is reached; none, when they cannot be meant.
pub(super) fn urls_of(handshake: &Handshake) -> &[String] {
    let urls = handshake.peer_urls.as_slice();
    let plausible = urls.len() <= limits::PEER_URLS_MAX
        && urls.iter().all(|url| url.len() <= limits::PEER_URL_BYTES_MAX);
    if plausible { urls } else { &[] }
}

/// The question who the members are, of this cluster if it is known.
pub(super) fn members_request(cluster: Option<ClusterId>) -> MembersRequest {
    MembersRequest { protocol: PROTOCOL, cluster: cluster.unwrap_or_default().0 }
}

/// Whether such a question is answered here.
pub(super) fn check_members_request(
    request: &MembersRequest,
    local: Config,
) -> Result<(), Refusal> {
    if request.protocol != PROTOCOL {
        return Err(Refusal::Protocol(request.protocol, PROTOCOL));
    }
    let cluster = ClusterId(request.cluster);
    if cluster != ClusterId::default() && cluster != local.cluster {
        return Err(Refusal::OtherCluster(cluster, local.cluster));
    }
    Ok(())
}

/// Under this name a refusal that says that its receiver was removed names it and its cluster.
const REMOVED_KEY: &str = "quorate-removed";

fn removed_value(member: MemberId, cluster: ClusterId) -> String {
    format!("{member} of {cluster}")
}

/// Whether a member says that this one was removed from its cluster.
pub(super) fn says_removed(status: &Status, local: Config) -> bool {
    let said = status.metadata().get(REMOVED_KEY).and_then(|value| value.to_str().ok());
    said == Some(removed_value(local.member, local.cluster).as_str())
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let mut status = Self::failed_precondition(refusal.to_string());
        if let Refusal::Removed(member, cluster) = refusal
            && let Ok(value) = removed_value(member, cluster).parse()
        {
            status.metadata_mut().insert(REMOVED_KEY, value);
        }
        status
    }
}

/// Who the members are, as it is sent.
pub(super) fn members_response(cluster: ClusterId, membership: &Membership) -> MembersResponse {
    let member = |member: &Member| PeerMember {
        id: member.id.0,
        name: member.name.clone(),
        peer_urls: member.peer_urls.clone(),
        client_urls: member.client_urls.clone(),
        learner: member.learner,
    };
    MembersResponse {
        cluster: cluster.0,
        members: membership.members.iter().map(member).collect(),
        removed: membership.removed.iter().map(|id| id.0).collect(),
    }
}

/// Who the members are, as it came.
pub(super) fn cluster_members(response: MembersResponse) -> ClusterMembers {
    let member = |member: PeerMember| Member {
        id: MemberId(member.id),
        name: member.name,
        peer_urls: member.peer_urls,
        client_urls: member.client_urls,
        learner: member.learner,
        ..Member::default()
    };
    let members = response.members.into_iter().map(member).collect();
    let removed = response.removed.into_iter().map(MemberId).collect();
    let membership = Membership { members, removed };
    ClusterMembers { cluster: ClusterId(response.cluster), membership }
}

/// The handshake of a stream's first frame.
pub(super) fn greeting_of(frame: &PeerFrame) -> Option<&Handshake> {
    match &frame.frame {
        Some(Kind::Handshake(handshake)) => Some(handshake),
        Some(
            Kind::Raft(_)
            | Kind::Forward(_)
            | Kind::ForwardAnswer(_)
            | Kind::FenceQuestion(_)
            | Kind::FenceAnswer(_)
            | Kind::IncarnationOver(_),
        )
        | None => None,
    }
}

/// A frame as it is sent.
pub(super) fn to_proto(frame: Frame) -> PeerFrame {
    let kind = match frame {
        Frame::Raft(message) => Kind::Raft(message),
        Frame::Forward { ticket, term, group } => {
            Kind::Forward(Forward { ticket, term: term.0, group })
        }
        Frame::ForwardAnswer { ticket, accepted } => {
            Kind::ForwardAnswer(ForwardAnswer { ticket, accepted })
        }
        Frame::Question { start } => Kind::FenceQuestion(FenceQuestion { start }),
        Frame::Answer { start, term, committed } => {
            let committed = committed.map(|index| index.0);
            Kind::FenceAnswer(FenceAnswer { start, term: term.0, committed })
        }
        Frame::Over { newest, start } => {
            Kind::IncarnationOver(IncarnationOver { newest: newest.0, start })
        }
    };
    PeerFrame { frame: Some(kind) }
}

/// A frame as it came, unless it is a second handshake or of a kind that we do not know.
pub(super) fn from_proto(frame: PeerFrame) -> Option<Frame> {
    match frame.frame? {
        Kind::Handshake(_) => None,
        Kind::Raft(message) => Some(Frame::Raft(message)),
        Kind::Forward(Forward { ticket, term, group }) => {
            Some(Frame::Forward { ticket, term: Term(term), group })
        }
        Kind::ForwardAnswer(ForwardAnswer { ticket, accepted }) => {
            Some(Frame::ForwardAnswer { ticket, accepted })
        }
        Kind::FenceQuestion(FenceQuestion { start }) => Some(Frame::Question { start }),
        Kind::FenceAnswer(FenceAnswer { start, term, committed }) => {
            Some(Frame::Answer { start, term: Term(term), committed: committed.map(Index) })
        }
        Kind::IncarnationOver(IncarnationOver { newest, start }) => {
            Some(Frame::Over { newest: Incarnation(newest), start })
        }
    }
}

/// What came of a promotion, as it is sent.
pub(super) fn promotion(promotion: Promotion) -> ProtoPromotion {
    match promotion {
        Promotion::Done => ProtoPromotion::Done,
        Promotion::NotFound => ProtoPromotion::NotFound,
        Promotion::NotALearner => ProtoPromotion::NotALearner,
        Promotion::NotReady => ProtoPromotion::NotReady,
        Promotion::NotEnoughStarted => ProtoPromotion::NotEnoughStarted,
    }
}

/// What came of a promotion, unless it is nothing that we know.
pub(super) fn promotion_of(promotion: ProtoPromotion) -> Option<Promotion> {
    match promotion {
        ProtoPromotion::Unspecified => None,
        ProtoPromotion::Done => Some(Promotion::Done),
        ProtoPromotion::NotFound => Some(Promotion::NotFound),
        ProtoPromotion::NotALearner => Some(Promotion::NotALearner),
        ProtoPromotion::NotReady => Some(Promotion::NotReady),
        ProtoPromotion::NotEnoughStarted => Some(Promotion::NotEnoughStarted),
    }
}

/// The bytes a frame carries, without its small head.
pub(super) fn payload_len(frame: &Frame) -> usize {
    let payload = |bytes: &Bytes| bytes.len();
    match frame {
        Frame::Raft(message) => payload(message),
        Frame::Forward { group, .. } => payload(group),
        Frame::ForwardAnswer { .. }
        | Frame::Question { .. }
        | Frame::Answer { .. }
        | Frame::Over { .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::types::BootNumber;

    const LOCAL: Config = Config {
        cluster: ClusterId(0xc),
        member: MemberId(0xa),
        boot: BootNumber(1),
        election_timeout: Duration::from_secs(1),
        snapshot_send_rate: 0,
    };

    fn checked(change: impl FnOnce(&mut Handshake)) -> Result<MemberId, Refusal> {
        let from_b = Config { member: MemberId(0xb), ..LOCAL };
        let mut handshake = handshake(from_b, LOCAL.member);
        change(&mut handshake);
        check_handshake(Some(&handshake), LOCAL)
    }

    /// Whoever is of this cluster and means this member is heard.
    #[test]
    fn a_member_of_this_cluster_is_heard() {
        assert_eq!(checked(|_| ()), Ok(MemberId(0xb)));
    }

    /// Everybody else is refused, with the ids of both sides.
    #[test]
    fn others_are_refused_by_name() {
        let refusal = |change: fn(&mut Handshake)| checked(change).unwrap_err().to_string();

        assert_eq!(
            refusal(|it| it.protocol = 2),
            "peer protocol 2 is not known, this member speaks 1"
        );
        assert_eq!(
            refusal(|it| it.cluster = 0xd),
            "sender's cluster d is not this member's cluster c"
        );
        assert_eq!(refusal(|it| it.to = 0xe), "call is for member e, but this is member a");
        assert_eq!(refusal(|it| it.from = 0xa), "sender has this member's own id a");
        assert_eq!(check_handshake(None, LOCAL), Err(Refusal::NoHandshake));
    }

    /// Who the members are is told to members and to whoever does not know the cluster yet.
    #[test]
    fn the_members_are_told_to_their_own_and_to_newcomers() {
        let told = |cluster| check_members_request(&members_request(cluster), LOCAL);
        assert_eq!(told(None), Ok(()));
        assert_eq!(told(Some(LOCAL.cluster)), Ok(()));
        let other = ClusterId(0xd);
        assert_eq!(told(Some(other)), Err(Refusal::OtherCluster(other, LOCAL.cluster)));
        let newer = MembersRequest { protocol: PROTOCOL + 1, cluster: 0 };
        let refusal = Refusal::Protocol(PROTOCOL + 1, PROTOCOL);
        assert_eq!(check_members_request(&newer, LOCAL), Err(refusal));
    }

    /// Only who is meant takes itself for removed.
    #[test]
    fn a_removal_is_told_to_whom_it_concerns() {
        let told = Status::from(Refusal::Removed(LOCAL.member, LOCAL.cluster));
        assert!(says_removed(&told, LOCAL), "{told}");
        assert!(!says_removed(&told, Config { member: MemberId(0xb), ..LOCAL }));
        assert!(!says_removed(&told, Config { cluster: ClusterId(0xd), ..LOCAL }));
        assert!(!says_removed(&Status::from(Refusal::Own(LOCAL.member)), LOCAL));
    }

    /// A member list arrives as it was sent.
    #[test]
    fn a_member_list_survives_the_way() {
        let member = Member {
            id: MemberId(1),
            name: "a".into(),
            peer_urls: vec!["http://a:2380".into()],
            client_urls: vec!["http://a:2379".into()],
            learner: true,
            ..Member::default()
        };
        let sent = Membership {
            members: vec![member, Member { id: MemberId(2), ..Member::default() }],
            removed: vec![MemberId(3)],
        };
        let arrived = cluster_members(members_response(ClusterId(0xc), &sent));
        assert_eq!(arrived, ClusterMembers { cluster: ClusterId(0xc), membership: sent });
    }

    /// Nobody makes this member keep more addresses than a member can have.
    #[test]
    fn implausible_addresses_are_none() {
        let urls = |urls: Vec<String>| Handshake { peer_urls: urls, ..Handshake::default() };
        let plausible = urls(vec!["http://a:1".into(); limits::PEER_URLS_MAX]);
        assert_eq!(urls_of(&plausible).len(), limits::PEER_URLS_MAX);
        assert!(urls_of(&urls(vec!["http://a:1".into(); limits::PEER_URLS_MAX + 1])).is_empty());
        assert!(urls_of(&urls(vec!["x".repeat(limits::PEER_URL_BYTES_MAX + 1)])).is_empty());
    }

    /// Every outcome of a promotion arrives as it was.
    #[test]
    fn promotions_survive_the_way() {
        for outcome in [
            Promotion::Done,
            Promotion::NotFound,
            Promotion::NotALearner,
            Promotion::NotReady,
            Promotion::NotEnoughStarted,
        ] {
            assert_eq!(promotion_of(promotion(outcome)), Some(outcome));
        }
    }

    /// What is sent is what arrives.
    #[test]
    fn frames_survive_the_way() {
        for frame in [
            Frame::Raft(Bytes::from_static(b"m")),
            Frame::Forward { ticket: 1, term: Term(2), group: Bytes::from_static(b"g") },
            Frame::ForwardAnswer { ticket: 1, accepted: true },
            Frame::Question { start: 3 },
            Frame::Answer { start: 3, term: Term(4), committed: Some(Index(5)) },
            Frame::Answer { start: 3, term: Term(4), committed: None },
            Frame::Over { newest: Incarnation(6), start: 7 },
        ] {
            assert_eq!(from_proto(to_proto(frame.clone())), Some(frame));
        }
        assert_eq!(from_proto(greeting(LOCAL, MemberId(1), &[], Greeting::default())), None);
        assert_eq!(from_proto(PeerFrame { frame: None }), None);
    }

    /// Who opens a stream says in which life it is and what it has.
    #[test]
    fn a_greeting_survives_the_way() {
        let said = Greeting {
            incarnation: Incarnation(1),
            boot: BootNumber(2),
            start: 3,
            term: Term(4),
            last: Index(5),
        };
        let frame = greeting(LOCAL, MemberId(1), &[], said);
        assert_eq!(greeting_of(&frame).map(greeting_in), Some(said));
    }
}
