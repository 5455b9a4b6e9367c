//! What members tell of themselves: figures beside those of a real etcd, the alerts that rest on them,
//! and traces.

mod alerts;
mod compare;
mod etcd;
mod page;
mod traces;

use std::time::Duration;

use etcd_client::{Client, Compare, CompareOp, Txn, TxnOp};

use self::page::get;

/// How long something that happens by itself may take.
const SOON: Duration = Duration::from_secs(60);

/// Uses everything once that figures tell of.
async fn use_all(client: &mut Client, authority: &str) {
    for key in ["a", "b", "c"] {
        client.put(key, "value", None).await.unwrap();
    }
    client.get("a", None).await.unwrap();
    client.delete("a", None).await.unwrap();
    let holds = Compare::version("b", CompareOp::Greater, 0);
    let ops = [TxnOp::put("b", "other", None), TxnOp::get("c", None)];
    client.txn(Txn::new().when([holds.clone()]).and_then(ops)).await.unwrap();
    client.txn(Txn::new().when([holds]).and_then([TxnOp::get("c", None)])).await.unwrap();
    let lease = client.lease_grant(100, None).await.unwrap().id();
    let (mut keeper, mut kept) = client.lease_keep_alive(lease).await.unwrap();
    keeper.keep_alive().await.unwrap();
    kept.message().await.unwrap().expect("an answer to the renewal");
    client.lease_revoke(lease).await.unwrap();
    let (watcher, mut events) = client.watch("b", None).await.unwrap();
    let put = client.put("b", "seen", None).await.unwrap();
    events.message().await.unwrap().expect("an event");
    drop((events, watcher));
    client.compact(put.header().unwrap().revision() - 1, None).await.unwrap();
    client.hash_kv(0).await.unwrap();
    client.hash().await.unwrap();
    client.defragment().await.unwrap();
    client.status().await.unwrap();
    client.member_list().await.unwrap();
    for path in ["/health", "/readyz", "/livez", "/metrics"] {
        assert_eq!(get(authority, path).await.0, 200, "{path}");
    }
}

fn authority(url: &str) -> String {
    url.trim_start_matches("http://").to_owned()
}
