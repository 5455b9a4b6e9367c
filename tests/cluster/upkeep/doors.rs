//! While there is no space, every door that stores something says so, and those that make room work.

use quorate::proto::{
    etcdserverpb::{
        AlarmRequest, CompactionRequest, DeleteRangeRequest, LeaseGrantRequest, LeaseRevokeRequest,
        RequestOp, TxnRequest, alarm_request::AlarmAction, lease_client::LeaseClient,
        request_op::Request,
    },
    registry::{Instance, RegisterRequest, registry_client::RegistryClient},
    v3electionpb::{CampaignRequest, election_client::ElectionClient},
    v3lockpb::{LockRequest, lock_client::LockClient},
};
use tonic::{Code, Status};

use super::{SOON, kv, maintenance, put};
use crate::harness::{Cluster, streams::channel, within};

const EXCEEDED: &str = "etcdserver: mvcc: database space exceeded";

fn put_op() -> RequestOp {
    let put = quorate::proto::etcdserverpb::PutRequest { key: "x".into(), ..Default::default() };
    RequestOp { request: Some(Request::RequestPut(put)) }
}

fn delete_op() -> RequestOp {
    let delete = DeleteRangeRequest { key: "x".into(), ..Default::default() };
    RequestOp { request: Some(Request::RequestDeleteRange(delete)) }
}

fn nested(ops: Vec<RequestOp>) -> RequestOp {
    let txn = TxnRequest { failure: ops, ..Default::default() };
    RequestOp { request: Some(Request::RequestTxn(txn)) }
}

fn said(status: &Status) -> (Code, &str) {
    (status.code(), status.message())
}

/// Under the alarm: puts, transactions with a put anywhere in them, grants, locks, elections and
/// registrations are refused with the reason; deletes, revocations and compactions are not.
#[tokio::test]
async fn case_32_every_door_says_that_there_is_no_space() {
    let cluster = Cluster::start(1).await;
    let channel = channel(&cluster.endpoint(0));
    let (mut kv, mut maintenance) = (kv(&cluster, 0), maintenance(&cluster, 0));
    let mut leases = LeaseClient::new(channel.clone());
    let revision = put(&mut kv, "x", "1").await.unwrap();
    leases.lease_grant(LeaseGrantRequest { ttl: 600, id: 7 }).await.unwrap();
    leases.lease_grant(LeaseGrantRequest { ttl: 600, id: 8 }).await.unwrap();
    let action = AlarmAction::Activate.into();
    maintenance.alarm(AlarmRequest { action, member_id: 1, alarm: 1 }).await.unwrap();

    let exhausted = (Code::ResourceExhausted, EXCEEDED);
    assert_eq!(said(&put(&mut kv, "y", "").await.unwrap_err()), exhausted);
    let txn = |success, failure| TxnRequest { success, failure, ..Default::default() };
    for refused in [
        txn(vec![put_op()], vec![]),
        txn(vec![delete_op()], vec![put_op()]),
        txn(vec![nested(vec![put_op()])], vec![]),
        txn(vec![], vec![nested(vec![nested(vec![put_op()])])]),
    ] {
        assert_eq!(said(&kv.txn(refused).await.unwrap_err()), exhausted);
    }
    let grant = leases.lease_grant(LeaseGrantRequest { ttl: 600, id: 9 }).await;
    assert_eq!(said(&grant.unwrap_err()), exhausted);
    let instance = Instance {
        service: "user".to_owned(),
        id: "u-1".to_owned(),
        address: "10.0.0.7".to_owned(),
        port: 8080,
        ..Instance::default()
    };
    let register = RegisterRequest { instance: Some(instance), ..RegisterRequest::default() };
    let registered = RegistryClient::new(channel.clone()).register(register).await;
    assert_eq!(said(&registered.unwrap_err()), exhausted);
    // The words of locks and elections lose their code on the way, in etcd, too.
    let unknown = (Code::Unknown, EXCEEDED);
    let mut locks = LockClient::new(channel.clone());
    let mut elections = ElectionClient::new(channel.clone());
    for lease in [0, 7] {
        let lock = LockRequest { name: "job".into(), lease };
        let locked = locks.lock(lock);
        assert_eq!(said(&within("a lock", SOON, locked).await.unwrap_err()), unknown);
        let campaign = CampaignRequest { name: "job".into(), lease, value: "v".into() };
        let elected = elections.campaign(campaign);
        assert_eq!(said(&within("an election", SOON, elected).await.unwrap_err()), unknown);
    }

    kv.txn(txn(vec![delete_op()], vec![nested(vec![delete_op()])])).await.unwrap();
    kv.delete_range(DeleteRangeRequest { key: "x".into(), ..Default::default() }).await.unwrap();
    kv.compact(CompactionRequest { revision, physical: true }).await.unwrap();
    leases.lease_revoke(LeaseRevokeRequest { id: 8 }).await.unwrap();

    let action = AlarmAction::Deactivate.into();
    maintenance.alarm(AlarmRequest { action, member_id: 1, alarm: 1 }).await.unwrap();
    put(&mut kv, "y", "").await.unwrap();
}
