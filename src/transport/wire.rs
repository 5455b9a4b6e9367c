//! Our values as messages of `peer.proto` and back, and the check of the handshake.

use bytes::Bytes;

use super::{Config, Refusal};
use crate::{
    node::ports::{Frame, Promotion},
    proto::internal::{
        Forward, ForwardAnswer, Handshake, PeerFrame, Promotion as ProtoPromotion,
        peer_frame::Frame as Kind,
    },
    types::{ClusterId, MemberId, Term},
};

/// The version of the protocol that both sides must speak.
pub(super) const PROTOCOL: u32 = 1;

/// What a call to `to` begins with.
pub(super) fn handshake(config: Config, to: MemberId) -> Handshake {
    Handshake { cluster: config.cluster.0, from: config.member.0, to: to.0, protocol: PROTOCOL }
}

/// The sender, if it may talk to us.
pub(super) fn check_handshake(
    handshake: Option<&Handshake>,
    local: Config,
    is_member: impl Fn(MemberId) -> bool,
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
    if !is_member(from) {
        return Err(Refusal::NotMember(from, local.cluster));
    }
    Ok(from)
}

/// The first frame of a stream.
pub(super) fn greeting(config: Config, to: MemberId) -> PeerFrame {
    PeerFrame { frame: Some(Kind::Handshake(handshake(config, to))) }
}

/// The handshake of a stream's first frame.
pub(super) fn greeting_of(frame: &PeerFrame) -> Option<&Handshake> {
    match &frame.frame {
        Some(Kind::Handshake(handshake)) => Some(handshake),
        Some(Kind::Raft(_) | Kind::Forward(_) | Kind::ForwardAnswer(_)) | None => None,
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
        Frame::ForwardAnswer { .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LOCAL: Config = Config {
        cluster: ClusterId(0xc),
        member: MemberId(0xa),
        election_timeout: Duration::from_secs(1),
    };

    fn checked(change: impl FnOnce(&mut Handshake)) -> Result<MemberId, Refusal> {
        let mut handshake = Handshake { cluster: 0xc, from: 0xb, to: 0xa, protocol: PROTOCOL };
        change(&mut handshake);
        check_handshake(Some(&handshake), LOCAL, |member| member == MemberId(0xb))
    }

    /// A known member of this cluster that means this member is heard.
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
        assert_eq!(refusal(|it| it.from = 0xf), "sender f is not a member of cluster c");
        assert_eq!(check_handshake(None, LOCAL, |_| true), Err(Refusal::NoHandshake));
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
        ] {
            assert_eq!(from_proto(to_proto(frame.clone())), Some(frame));
        }
        assert_eq!(from_proto(greeting(LOCAL, MemberId(1))), None);
        assert_eq!(from_proto(PeerFrame { frame: None }), None);
    }
}
