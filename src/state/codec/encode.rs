//! Requests to messages.

use bytes::Bytes;

use crate::{
    proto::internal as pb,
    state::{
        Command, Compare, DeleteRange, Level, MemberChange, Op, Operand, Put, Range, Relation,
        Request, RevokeCause, SortOrder, SortTarget, Txn, schema::meta::alarm_number,
    },
    types::LeaseId,
};

pub(super) fn request(request: &Request) -> pb::Request {
    pb::Request {
        member: request.id.member.0,
        boot: request.id.boot.0,
        sequence: request.id.sequence,
        user: request.identity.user.clone(),
        auth_revision: request.identity.auth_revision,
        level: Some(request.command.level()).filter(|it| *it > Level::FIRST).map_or(0, |it| it.0),
        command: Some(command(&request.command)),
    }
}

fn command(command: &Command) -> pb::request::Command {
    use pb::request::Command as Message;
    match command {
        Command::Put(body) => Message::Put(put(body)),
        Command::DeleteRange(body) => Message::DeleteRange(delete_range(body)),
        Command::Txn(body) => Message::Txn(txn(body)),
        Command::Compact(to) => Message::Compact(pb::Compact { revision: to.0 }),
        Command::LeaseGrant { id, ttl } => {
            Message::LeaseGrant(pb::LeaseGrant { id: id.0, ttl: ttl.0 })
        }
        Command::LeaseRevoke { id, cause } => Message::LeaseRevoke(lease_revoke(*id, *cause)),
        Command::LeaseCheckpoint { leases, known } => {
            Message::LeaseCheckpoint(pb::LeaseCheckpoint {
                leases: leases
                    .iter()
                    .map(|(id, left)| pb::lease_checkpoint::Remaining {
                        id: id.0,
                        remaining_ttl: left.0,
                    })
                    .collect(),
                known: known.0,
            })
        }
        Command::PublishMember { id, name, client_urls, level } => {
            Message::PublishMember(pb::PublishMember {
                id: id.0,
                name: name.clone(),
                client_urls: client_urls.clone(),
                level: level.0,
            })
        }
        Command::ChangeMembers(change) => member_change(change),
        Command::Alarm(change) => Message::Alarm(pb::Alarm {
            action: if change.active { 1 } else { 2 },
            member: change.alarm.member.0,
            alarm: alarm_number(change.alarm.kind),
        }),
    }
}

fn member_change(change: &MemberChange) -> pb::request::Command {
    use pb::request::Command as Message;
    match change {
        MemberChange::Add { id, peer_urls, learner, learners_max } => {
            Message::AddMember(pb::AddMember {
                id: id.0,
                peer_urls: peer_urls.clone(),
                learner: *learner,
                learners_max: *learners_max,
            })
        }
        MemberChange::Remove(id) => Message::RemoveMember(pb::RemoveMember { id: id.0 }),
        MemberChange::Promote(id) => Message::PromoteMember(pb::PromoteMember { id: id.0 }),
        MemberChange::Update { id, peer_urls } => {
            Message::UpdateMember(pb::UpdateMember { id: id.0, peer_urls: peer_urls.clone() })
        }
    }
}

fn lease_revoke(id: LeaseId, cause: RevokeCause) -> pb::LeaseRevoke {
    let (reason, proposer_term, known) = match cause {
        RevokeCause::Client => (pb::RevokeReason::ClientRevoke, 0, 0),
        RevokeCause::Expiry { term, known } => (pb::RevokeReason::Expiry, term.0, known.0),
    };
    pb::LeaseRevoke { id: id.0, reason: reason.into(), proposer_term, known }
}

fn put(put: &Put) -> pb::Put {
    pb::Put {
        key: put.key.bytes().clone(),
        value: put.value.clone(),
        lease: put.lease.map_or(0, |lease| lease.0),
        prev_kv: put.prev_kv,
        ignore_value: put.ignore_value,
        ignore_lease: put.ignore_lease,
    }
}

fn delete_range(delete: &DeleteRange) -> pb::DeleteRange {
    let (key, range_end) = delete.range.to_wire();
    pb::DeleteRange { key, range_end, prev_kv: delete.prev_kv }
}

fn range(range: &Range) -> pb::Range {
    let (key, range_end) = range.range.to_wire();
    pb::Range {
        key,
        range_end,
        limit: range.limit,
        revision: range.revision,
        sort_order: match range.sort.order {
            SortOrder::None => 0,
            SortOrder::Ascend => 1,
            SortOrder::Descend => 2,
        },
        sort_target: match range.sort.target {
            SortTarget::Key => 0,
            SortTarget::Version => 1,
            SortTarget::Create => 2,
            SortTarget::Mod => 3,
            SortTarget::Value => 4,
        },
        keys_only: range.keys_only,
        count_only: range.count_only,
        min_mod_revision: range.filter.min_mod,
        max_mod_revision: range.filter.max_mod,
        min_create_revision: range.filter.min_create,
        max_create_revision: range.filter.max_create,
    }
}

fn txn(txn: &Txn) -> pb::Txn {
    pb::Txn {
        compares: txn.compares.iter().map(compare).collect(),
        success: txn.success.iter().map(op).collect(),
        failure: txn.failure.iter().map(op).collect(),
    }
}

fn op(body: &Op) -> pb::Op {
    use pb::op::Op as Message;
    let message = match body {
        Op::Range(body) => Message::Range(range(body)),
        Op::Put(body) => Message::Put(put(body)),
        Op::DeleteRange(body) => Message::DeleteRange(delete_range(body)),
        Op::Txn(body) => Message::Txn(txn(body)),
    };
    pb::Op { op: Some(message) }
}

fn compare(compare: &Compare) -> pb::Compare {
    let (key, range_end) = compare.range.to_wire();
    let (target, number, value) = match &compare.operand {
        Operand::Version(number) => (0, *number, Bytes::new()),
        Operand::Create(number) => (1, *number, Bytes::new()),
        Operand::Mod(number) => (2, *number, Bytes::new()),
        Operand::Value(value) => (3, 0, value.clone()),
        Operand::Lease(number) => (4, *number, Bytes::new()),
        Operand::Unknown(target) => (*target, 0, Bytes::new()),
    };
    let result = match compare.relation {
        Relation::Equal => 0,
        Relation::Greater => 1,
        Relation::Less => 2,
        Relation::NotEqual => 3,
        Relation::Unknown(result) => result,
    };
    pb::Compare { key, range_end, result, target, number, value }
}
