//! What a lock on a lease does not promise, and what its holder does about it.

use quorate::proto::etcdserverpb::{
    Compare, PutRequest, RequestOp, TxnRequest,
    compare::{CompareTarget, TargetUnion},
    request_op::Request,
};

use super::*;

/// A holder as it sees itself: the key of its lock, and the token.
struct Holder {
    client: Client,
    key: bytes::Bytes,
    token: i64,
}

impl Holder {
    async fn of(client: Client, locked: LockResponse) -> Self {
        let kvs = client.get(std::str::from_utf8(&locked.key).unwrap(), "").await.kvs;
        Self { client, key: locked.key, token: kvs[0].create_revision }
    }

    /// Writes if its lock is still the one it was given.
    async fn write(&self, value: &str) -> bool {
        let compare = Compare {
            target: CompareTarget::Create.into(),
            key: self.key.clone(),
            target_union: Some(TargetUnion::CreateRevision(self.token)),
            ..Default::default()
        };
        let put =
            PutRequest { key: "data".into(), value: value.to_owned().into(), ..Default::default() };
        let request = TxnRequest {
            compare: vec![compare],
            success: vec![RequestOp { request: Some(Request::RequestPut(put)) }],
            failure: Vec::new(),
        };
        let mut client = KvClient::new(self.client.0.clone());
        within("a write", SOON, client.txn(request)).await.unwrap().into_inner().succeeded
    }
}

/// A holder that did nothing for longer than its lease lives holds nothing, without knowing it. Its
/// token says so: what it writes under it is refused, before the next holder has written and after.
#[tokio::test]
async fn rr_35_a_lock_says_what_its_fencing_token_is() {
    let cluster = Cluster::start(3).await;
    let (one, two) = (Client::of(&cluster, 0), Client::of(&cluster, 1));
    one.lease(1, 2).await;
    two.lease(2, 60).await;
    let locked = one.lock(1).await.unwrap();
    let uncontended = locked.header.unwrap().revision;
    let slow = Holder::of(one, locked).await;
    assert_eq!(slow.token, uncontended, "without a wait the header has it already");
    assert!(slow.write("one").await);

    // It does nothing, and its lease runs out.
    let next = Holder::of(two.clone(), two.lock(2).await.unwrap()).await;

    assert!(slow.token < next.token);
    assert!(!slow.write("late").await);
    assert!(next.write("two").await);
    assert!(!slow.write("later").await);
    assert_eq!(two.get("data", "").await.kvs[0].value, "two");
}
