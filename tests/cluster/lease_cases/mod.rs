//! What reimplementations of etcd's leases get wrong, looked at on the wire: every answer with its
//! header, code and text. The cases have the numbers that the tests of the rooms use as well.

mod clock;
mod grants;
mod keys;

use etcd_client::{Client, PutOptions};

use crate::harness::{Cluster, Timing, leasing::Leasing};

/// A member alone whose shortest lease is that of a cluster with default timing, and clients of it.
async fn alone() -> (Cluster, Client, Leasing) {
    let cluster = Cluster::start_with(1, Timing::Default).await;
    let client = cluster.client(0).await;
    let leasing = Leasing::at(&cluster.endpoint(0));
    (cluster, client, leasing)
}

/// Puts a key, on a lease if it is not zero; the revision after it.
async fn put(client: &mut Client, key: &str, lease: i64) -> i64 {
    let option = PutOptions::new().with_lease(lease);
    client.put(key, "v", Some(option)).await.unwrap().header().unwrap().revision()
}

async fn newest_revision(client: &mut Client) -> i64 {
    client.get("nothing", None).await.unwrap().header().unwrap().revision()
}
