//! What reimplementations of etcd's watch get wrong, looked at on the wire: every response as it
//! comes, nothing in between. The cases have the numbers that the tests of the rooms use as well.

mod events;
mod streams;

use etcd_client::Client;
use quorate::proto::etcdserverpb::{WatchCreateRequest, WatchResponse};

use crate::harness::{
    Cluster,
    streams::{WatchStream, channel},
};

/// A member alone, a client of it, and a watch stream without watchers.
async fn alone() -> (Cluster, Client, WatchStream) {
    let cluster = Cluster::start(1).await;
    let client = cluster.client(0).await;
    let stream = WatchStream::open(&channel(&cluster.endpoint(0))).await.unwrap();
    (cluster, client, stream)
}

async fn put(client: &mut Client, key: &str, value: impl Into<Vec<u8>>) -> i64 {
    client.put(key, value, None).await.unwrap().header().unwrap().revision()
}

async fn delete(client: &mut Client, key: &str) -> i64 {
    client.delete(key, None).await.unwrap().header().unwrap().revision()
}

fn with_id(watch_id: i64, request: WatchCreateRequest) -> WatchCreateRequest {
    WatchCreateRequest { watch_id, ..request }
}

fn from(start_revision: i64, request: WatchCreateRequest) -> WatchCreateRequest {
    WatchCreateRequest { start_revision, ..request }
}

fn is_progress(response: &WatchResponse) -> bool {
    response.watch_id == -1 && !response.created && !response.canceled && response.events.is_empty()
}

/// A watcher that was not created: the stream goes on.
async fn refused(stream: &mut WatchStream, request: WatchCreateRequest) -> String {
    stream.create(request).await;
    let response = stream.next().await;
    assert!(response.created && response.canceled, "{response:?}");
    assert_eq!((response.watch_id, response.compact_revision), (-1, 0));
    response.cancel_reason
}
