use proptest::prelude::*;

use super::*;
use crate::{
    state::{
        Alarm, AlarmCommand, AlarmKind, Command, Compare, MemberChange, Op, Operand, Range,
        Relation, RevisionFilter, RevokeCause, Sort, SortOrder, SortTarget, Txn,
        testing::{TxnWords, compact, delete, get, key, put, request, txn},
    },
    types::{
        BootNumber, Identity, Index, KeyRange, LeaseId, MemberId, RequestId, Seconds, Term,
        limits::TXN_DEPTH_MAX,
    },
};

fn any_range() -> impl Strategy<Value = KeyRange> {
    prop_oneof![
        "[a-z]{1,9}".prop_map(|name| KeyRange::One(key(&name))),
        "[a-z]{1,9}".prop_map(|name| KeyRange::From(key(&name))),
        ("[a-z]{1,9}", "[a-z]{1,9}")
            .prop_map(|(start, end)| KeyRange::HalfOpen(key(&start), key(&end))),
    ]
}

fn any_get() -> impl Strategy<Value = Range> {
    let order = prop::sample::select(vec![SortOrder::None, SortOrder::Ascend, SortOrder::Descend]);
    let target = prop::sample::select(vec![
        SortTarget::Key,
        SortTarget::Version,
        SortTarget::Create,
        SortTarget::Mod,
        SortTarget::Value,
    ]);
    (any_range(), any::<[i64; 6]>(), order, target, any::<bool>(), any::<bool>()).prop_map(
        |(
            range,
            [revision, limit, min_mod, max_mod, min_create, max_create],
            order,
            target,
            keys_only,
            count_only,
        )| {
            let filter = RevisionFilter { min_mod, max_mod, min_create, max_create };
            Range {
                range,
                revision,
                limit,
                sort: Sort { order, target },
                keys_only,
                count_only,
                filter,
            }
        },
    )
}

fn any_put() -> impl Strategy<Value = crate::state::Put> {
    ("[a-z]{1,9}", any::<Vec<u8>>(), any::<i64>(), any::<[bool; 3]>()).prop_map(
        |(name, value, lease, [prev_kv, ignore_value, ignore_lease])| crate::state::Put {
            key: key(&name),
            value: value.into(),
            lease: (lease != 0).then_some(LeaseId(lease)),
            prev_kv,
            ignore_value,
            ignore_lease,
        },
    )
}

fn any_compare() -> impl Strategy<Value = Compare> {
    let relation = prop_oneof![
        Just(Relation::Equal),
        Just(Relation::Greater),
        Just(Relation::Less),
        Just(Relation::NotEqual),
        Just(Relation::Unknown(77)),
    ];
    let operand = prop_oneof![
        any::<i64>().prop_map(Operand::Version),
        any::<i64>().prop_map(Operand::Create),
        any::<i64>().prop_map(Operand::Mod),
        any::<Vec<u8>>().prop_map(|value| Operand::Value(value.into())),
        any::<i64>().prop_map(Operand::Lease),
        Just(Operand::Unknown(-9)),
    ];
    (any_range(), relation, operand).prop_map(|(range, relation, operand)| Compare {
        range,
        relation,
        operand,
    })
}

fn any_op() -> impl Strategy<Value = Op> {
    let delete = (any_range(), any::<bool>())
        .prop_map(|(range, prev_kv)| Op::DeleteRange(crate::state::DeleteRange { range, prev_kv }));
    let leaf = prop_oneof![any_get().prop_map(Op::Range), any_put().prop_map(Op::Put), delete];
    leaf.prop_recursive(3, 20, 3, |inner| any_txn_of(inner).prop_map(Op::Txn))
}

fn any_txn_of(ops: impl Strategy<Value = Op> + Clone) -> impl Strategy<Value = Txn> {
    let list = || prop::collection::vec(ops.clone(), 0..3);
    (prop::collection::vec(any_compare(), 0..3), list(), list())
        .prop_map(|(compares, success, failure)| Txn { compares, success, failure })
}

fn any_command() -> impl Strategy<Value = Command> {
    let cause = prop_oneof![
        Just(RevokeCause::Client),
        any::<(u64, u64)>().prop_map(|(term, known)| RevokeCause::Expiry {
            term: Term(term),
            known: Index(known)
        })
    ];
    let lease = || any::<i64>().prop_map(LeaseId);
    let seconds = || any::<i64>().prop_map(Seconds);
    let kind = prop::sample::select(vec![AlarmKind::NoSpace, AlarmKind::Corrupt]);
    prop_oneof![
        any_put().prop_map(Command::Put),
        (any_range(), any::<bool>()).prop_map(|(range, prev_kv)| Command::DeleteRange(
            crate::state::DeleteRange { range, prev_kv }
        )),
        any_txn_of(any_op().boxed()).prop_map(Command::Txn),
        any::<i64>().prop_map(compact),
        (lease(), seconds()).prop_map(|(id, ttl)| Command::LeaseGrant { id, ttl }),
        (lease(), cause).prop_map(|(id, cause)| Command::LeaseRevoke { id, cause }),
        (prop::collection::vec((lease(), seconds()), 0..4), any::<u64>())
            .prop_map(|(leases, known)| Command::LeaseCheckpoint { leases, known: Index(known) }),
        (any::<(u64, u32)>(), ".{0,9}", prop::collection::vec("[a-z:/]{0,9}", 0..3)).prop_map(
            |((id, level), name, client_urls)| Command::PublishMember {
                id: MemberId(id),
                name,
                client_urls,
                level: Level(level),
            }
        ),
        any_member_change().prop_map(Command::ChangeMembers),
        (any::<bool>(), any::<u64>(), kind).prop_map(|(active, member, kind)| {
            Command::Alarm(AlarmCommand { active, alarm: Alarm { member: MemberId(member), kind } })
        }),
    ]
}

fn any_member_change() -> impl Strategy<Value = MemberChange> {
    let id = || any::<u64>().prop_map(MemberId);
    let urls = || prop::collection::vec("[a-z:/]{0,9}", 0..3);
    prop_oneof![
        (id(), urls(), any::<bool>(), any::<u32>()).prop_map(
            |(id, peer_urls, learner, learners_max)| MemberChange::Add {
                id,
                peer_urls,
                learner,
                learners_max
            }
        ),
        id().prop_map(MemberChange::Remove),
        id().prop_map(MemberChange::Promote),
        (id(), urls()).prop_map(|(id, peer_urls)| MemberChange::Update { id, peer_urls }),
    ]
}

fn any_request() -> impl Strategy<Value = Request> {
    (any::<[u64; 4]>(), ".{0,5}", any_command()).prop_map(
        |([member, boot, sequence, auth_revision], user, command)| Request {
            id: RequestId { member: MemberId(member), boot: BootNumber(boot), sequence },
            identity: Identity { user, auth_revision },
            command,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// A group comes back as it was encoded, and is the message of the format description.
    #[test]
    fn groups_round_trip(requests in prop::collection::vec(any_request(), 0..4)) {
        let group = encode_group(&requests);
        prop_assert_eq!(pb::RequestGroup::decode(group.clone()).unwrap().requests.len(), requests.len());
        prop_assert_eq!(decode_group(group).unwrap(), requests);
    }

    /// Damaged bytes are a fault or other requests, and never a panic.
    #[test]
    fn damaged_groups_do_not_panic(bytes in any::<Vec<u8>>(), request in any_request(), at in any::<usize>()) {
        let _ = decode_group(bytes.into());
        let mut group = encode_group(&[request]).to_vec();
        let at = at % group.len();
        group[at] ^= 0x11;
        let _ = decode_group(group.into());
    }
}

/// Decoding a request copies neither key nor value.
#[test]
fn decoding_shares_the_memory_of_the_entry() {
    let group = encode_group(&[request(put("key").value("a value"))]);
    let decoded = decode_group(group.clone()).unwrap();
    let [Request { command: Command::Put(put), .. }] = &decoded[..] else { panic!("{decoded:?}") };
    let within = group.as_ptr_range();
    assert!(within.contains(&put.key.bytes().as_ptr()));
    assert!(within.contains(&put.value.as_ptr()));
}

/// A command of a later version stops the member, and the fault names its number.
#[test]
fn an_unknown_command_is_a_fault_that_names_it() {
    let mut later = pb::Request { member: 1, ..pb::Request::default() }.encode_to_vec();
    encode_key(99, WireType::LengthDelimited, &mut later);
    later.push(0);
    let fault = decode_group(join_group(&[later.into()])).unwrap_err();
    assert_eq!(
        fault.to_string(),
        format!(
            "a log entry cannot be decoded: command 99 is unknown, this program is quorate {} and \
             understands level 1",
            env!("CARGO_PKG_VERSION")
        )
    );
}

/// A command that this version knows, with something in it that it would not see, says so.
#[test]
fn a_request_that_needs_more_is_a_fault() {
    let mut later = encode::request(&request(put("a")));
    assert_eq!(later.level, 0, "what every program understands is not spelled out");
    later.level = 2;
    let fault = decode_group(join_group(&[later.encode_to_vec().into()])).unwrap_err();
    let expected =
        "a log entry cannot be decoded: a request needs level 2, this program is quorate ";
    assert!(fault.to_string().starts_with(expected), "{fault}");
}

/// A request without a command, an empty key, or an operation of no kind is a fault.
#[test]
fn incomplete_requests_are_faults() {
    let of = |command| pb::Request { command, ..pb::Request::default() };
    let op = pb::Txn { success: vec![pb::Op { op: None }], ..pb::Txn::default() };
    for (message, reason) in [
        (of(None), "a request has no command"),
        (of(Some(pb::request::Command::Put(pb::Put::default()))), "a key is empty"),
        (
            of(Some(pb::request::Command::Txn(op))),
            "an operation is of a kind unknown to this version",
        ),
    ] {
        let fault = decode_group(join_group(&[message.encode_to_vec().into()])).unwrap_err();
        assert_eq!(fault.to_string(), format!("a log entry cannot be decoded: {reason}"));
    }
}

/// Transactions nest as deep as the bound says, and a deeper one is a fault.
#[test]
fn depth_is_bounded() {
    let nested =
        |levels| (0..levels).fold(txn().then(put("a")), |within: TxnWords, _| txn().then(within));
    let deepest = nested(TXN_DEPTH_MAX);
    assert_eq!(crate::state::txn::depth(&deepest.0), TXN_DEPTH_MAX);
    decode_group(encode_group(&[request(deepest)])).unwrap();
    let fault = decode_group(encode_group(&[request(nested(TXN_DEPTH_MAX + 1))])).unwrap_err();
    assert!(fault.to_string().ends_with("transactions nest deeper than 8"), "{fault}");
}

/// A group cut short is a fault.
#[test]
fn a_cut_group_is_a_fault() {
    let group = encode_group(&[request(delete("a")), request(txn().then(get("a")))]);
    assert!(decode_group(group.slice(..group.len() - 1)).is_err());
}
