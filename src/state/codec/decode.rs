//! Messages to requests.

use bytes::Bytes;

use super::damaged;
use crate::{
    proto::internal as pb,
    state::{
        Alarm, AlarmCommand, Command, Compare, DeleteRange, Level, MemberChange, Op, Operand, Put,
        Range, Relation, Request, RevisionFilter, RevokeCause, Sort, SortOrder, SortTarget, Txn,
        schema::meta::alarm_kind,
    },
    types::{
        BootNumber, Fault, Identity, Index, Key, KeyRange, LeaseId, MemberId, RequestId, Revision,
        Seconds, Term, limits::TXN_DEPTH_MAX,
    },
};

pub(super) fn request(request: pb::Request, body: pb::request::Command) -> Result<Request, Fault> {
    Ok(Request {
        id: RequestId {
            member: MemberId(request.member),
            boot: BootNumber(request.boot),
            sequence: request.sequence,
        },
        identity: Identity { user: request.user, auth_revision: request.auth_revision },
        command: command(body)?,
    })
}

fn command(message: pb::request::Command) -> Result<Command, Fault> {
    use pb::request::Command as Message;
    Ok(match message {
        Message::Put(body) => Command::Put(put(body)?),
        Message::DeleteRange(body) => Command::DeleteRange(delete_range(body)?),
        Message::Txn(body) => Command::Txn(txn(body, 0)?),
        Message::Compact(body) => Command::Compact(Revision(body.revision)),
        Message::LeaseGrant(body) => {
            Command::LeaseGrant { id: LeaseId(body.id), ttl: Seconds(body.ttl) }
        }
        Message::LeaseRevoke(body) => lease_revoke(body)?,
        Message::LeaseCheckpoint(body) => {
            let leases = body.leases.into_iter();
            let leases = leases.map(|left| (LeaseId(left.id), Seconds(left.remaining_ttl)));
            Command::LeaseCheckpoint { leases: leases.collect(), known: Index(body.known) }
        }
        Message::PublishMember(body) => Command::PublishMember {
            id: MemberId(body.id),
            name: body.name,
            client_urls: body.client_urls,
            level: Level(body.level),
        },
        Message::AddMember(body) => Command::ChangeMembers(MemberChange::Add {
            id: MemberId(body.id),
            peer_urls: body.peer_urls,
            learner: body.learner,
            learners_max: body.learners_max,
        }),
        Message::RemoveMember(body) => {
            Command::ChangeMembers(MemberChange::Remove(MemberId(body.id)))
        }
        Message::PromoteMember(body) => {
            Command::ChangeMembers(MemberChange::Promote(MemberId(body.id)))
        }
        Message::UpdateMember(body) => Command::ChangeMembers(MemberChange::Update {
            id: MemberId(body.id),
            peer_urls: body.peer_urls,
        }),
        Message::Alarm(body) => Command::Alarm(alarm(body)?),
    })
}

fn lease_revoke(message: pb::LeaseRevoke) -> Result<Command, Fault> {
    let cause = match pb::RevokeReason::try_from(message.reason).map_err(damaged)? {
        pb::RevokeReason::ClientRevoke => RevokeCause::Client,
        pb::RevokeReason::Expiry => {
            RevokeCause::Expiry { term: Term(message.proposer_term), known: Index(message.known) }
        }
    };
    Ok(Command::LeaseRevoke { id: LeaseId(message.id), cause })
}

fn alarm(message: pb::Alarm) -> Result<AlarmCommand, Fault> {
    let active = match message.action {
        1 => true,
        2 => false,
        action => return Err(damaged(format!("alarm action {action} is unknown"))),
    };
    let kind = alarm_kind(message.alarm)
        .ok_or_else(|| damaged(format!("alarm {} is unknown", message.alarm)))?;
    Ok(AlarmCommand { active, alarm: Alarm { member: MemberId(message.member), kind } })
}

fn key(bytes: Bytes) -> Result<Key, Fault> {
    Key::new(bytes).ok_or_else(|| damaged("a key is empty"))
}

fn key_range(start: Bytes, range_end: Bytes) -> Result<KeyRange, Fault> {
    Ok(KeyRange::from_wire(key(start)?, range_end))
}

fn put(message: pb::Put) -> Result<Put, Fault> {
    Ok(Put {
        key: key(message.key)?,
        value: message.value,
        lease: (message.lease != 0).then_some(LeaseId(message.lease)),
        prev_kv: message.prev_kv,
        ignore_value: message.ignore_value,
        ignore_lease: message.ignore_lease,
    })
}

fn delete_range(message: pb::DeleteRange) -> Result<DeleteRange, Fault> {
    Ok(DeleteRange { range: key_range(message.key, message.range_end)?, prev_kv: message.prev_kv })
}

fn range(message: pb::Range) -> Result<Range, Fault> {
    let order = match message.sort_order {
        0 => SortOrder::None,
        1 => SortOrder::Ascend,
        2 => SortOrder::Descend,
        order => return Err(damaged(format!("sort order {order} is unknown"))),
    };
    let target = match message.sort_target {
        0 => SortTarget::Key,
        1 => SortTarget::Version,
        2 => SortTarget::Create,
        3 => SortTarget::Mod,
        4 => SortTarget::Value,
        target => return Err(damaged(format!("sort target {target} is unknown"))),
    };
    Ok(Range {
        range: key_range(message.key, message.range_end)?,
        revision: message.revision,
        limit: message.limit,
        sort: Sort { order, target },
        keys_only: message.keys_only,
        count_only: message.count_only,
        filter: RevisionFilter {
            min_mod: message.min_mod_revision,
            max_mod: message.max_mod_revision,
            min_create: message.min_create_revision,
            max_create: message.max_create_revision,
        },
    })
}

fn txn(message: pb::Txn, depth: usize) -> Result<Txn, Fault> {
    if depth > TXN_DEPTH_MAX {
        return Err(damaged(format!("transactions nest deeper than {TXN_DEPTH_MAX}")));
    }
    let ops = |ops: Vec<pb::Op>| {
        ops.into_iter().map(|message| op(message, depth)).collect::<Result<_, Fault>>()
    };
    Ok(Txn {
        compares: message.compares.into_iter().map(compare).collect::<Result<_, Fault>>()?,
        success: ops(message.success)?,
        failure: ops(message.failure)?,
    })
}

fn op(message: pb::Op, depth: usize) -> Result<Op, Fault> {
    use pb::op::Op as Message;
    Ok(
        match message
            .op
            .ok_or_else(|| damaged("an operation is of a kind unknown to this version"))?
        {
            Message::Range(body) => Op::Range(range(body)?),
            Message::Put(body) => Op::Put(put(body)?),
            Message::DeleteRange(body) => Op::DeleteRange(delete_range(body)?),
            Message::Txn(body) => Op::Txn(txn(body, depth + 1)?),
        },
    )
}

fn compare(message: pb::Compare) -> Result<Compare, Fault> {
    let relation = match message.result {
        0 => Relation::Equal,
        1 => Relation::Greater,
        2 => Relation::Less,
        3 => Relation::NotEqual,
        result => Relation::Unknown(result),
    };
    let operand = match message.target {
        0 => Operand::Version(message.number),
        1 => Operand::Create(message.number),
        2 => Operand::Mod(message.number),
        3 => Operand::Value(message.value),
        4 => Operand::Lease(message.number),
        target => Operand::Unknown(target),
    };
    Ok(Compare { range: key_range(message.key, message.range_end)?, relation, operand })
}
