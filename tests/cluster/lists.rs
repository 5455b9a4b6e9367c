//! Long lists over a real connection: in one answer, in a stream, and with clients that leave.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use quorate::proto::{
    etcdserverpb::{
        CompactionRequest, DeleteRangeRequest, PutRequest, RangeRequest, RangeResponse, RequestOp,
        TxnRequest, kv_client::KvClient, range_request::SortOrder, request_op::Request,
    },
    mvccpb::KeyValue,
};
use tonic::{
    Code, Status, Streaming,
    transport::{Channel, Endpoint},
};

use crate::harness::{Cluster, eventually, within};

type Kv = KvClient<Channel>;

/// How long an answer may take on a busy machine.
const SOON: Duration = Duration::from_secs(60);
/// Less than a chunk of a stream, so that a member cannot be far ahead of its client.
const WINDOW_BYTES: u32 = 65_535;

async fn connect(cluster: &Cluster) -> Kv {
    let endpoint = Endpoint::new(cluster.endpoint(0)).unwrap();
    let endpoint = endpoint
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(16 * WINDOW_BYTES);
    KvClient::new(endpoint.connect().await.unwrap()).max_decoding_message_size(usize::MAX)
}

fn name(number: usize) -> String {
    format!("/list/{number:08}")
}

/// Puts values under so many keys, a hundred at a revision.
async fn fill(kv: &mut Kv, keys: usize, value_len: usize) {
    let value = vec![b'v'; value_len];
    for start in (0..keys).step_by(100) {
        let put = |number| RequestOp {
            request: Some(Request::RequestPut(PutRequest {
                key: name(number).into(),
                value: value.clone().into(),
                ..Default::default()
            })),
        };
        let success = (start..keys.min(start + 100)).map(put).collect();
        kv.txn(TxnRequest { success, ..Default::default() }).await.unwrap();
    }
}

fn all() -> RangeRequest {
    RangeRequest { key: "\0".into(), range_end: "\0".into(), ..Default::default() }
}

async fn list(kv: &Kv, request: RangeRequest) -> RangeResponse {
    within("a list", SOON, kv.clone().range(request)).await.unwrap().into_inner()
}

type Chunks = Streaming<quorate::proto::etcdserverpb::RangeStreamResponse>;

async fn stream(kv: &Kv, request: RangeRequest) -> Chunks {
    within("a stream", SOON, kv.clone().range_stream(request)).await.unwrap().into_inner()
}

/// The next chunk, or the end.
async fn next(chunks: &mut Chunks) -> Result<Option<RangeResponse>, Status> {
    let message = within("a chunk", SOON, chunks.message()).await?;
    Ok(message.map(|message| message.range_response.unwrap()))
}

/// All chunks merged. Only the last has anything but pairs.
async fn merged(mut chunks: Chunks) -> Result<RangeResponse, Status> {
    let first = next(&mut chunks).await?;
    merged_after(first, chunks).await
}

async fn merged_after(
    mut chunk: Option<RangeResponse>,
    mut chunks: Chunks,
) -> Result<RangeResponse, Status> {
    let (mut kvs, mut last) = (Vec::<KeyValue>::new(), None);
    while let Some(some) = chunk {
        assert_eq!(last, None, "a chunk follows the last");
        kvs.extend(some.kvs);
        if some.header.is_some() {
            last = Some((some.header, some.more, some.count));
        } else {
            assert_eq!((some.more, some.count), (false, 0));
        }
        chunk = next(&mut chunks).await?;
    }
    let (header, more, count) = last.expect("the last chunk has a header");
    Ok(RangeResponse { header, kvs, more, count })
}

/// A hundred thousand pairs come whole, also to several clients at a time, and as a stream.
#[tokio::test]
async fn a_hundred_thousand_pairs_are_listed() {
    const KEYS: usize = 100_000;
    let cluster = Cluster::start(1).await;
    let mut kv = connect(&cluster).await;
    fill(&mut kv, KEYS, 100).await;

    let whole = list(&kv, all()).await;
    assert_eq!((whole.kvs.len(), whole.more), (KEYS, false));
    assert_eq!(usize::try_from(whole.count), Ok(KEYS));
    for (number, pair) in whole.kvs.iter().enumerate() {
        assert_eq!((&pair.key[..], &pair.value[..]), (name(number).as_bytes(), &[b'v'; 100][..]));
    }

    let lists = futures_util::future::join_all((0..4).map(|_| list(&kv, all()))).await;
    assert!(lists.iter().all(|list| *list == whole));
    assert!(merged(stream(&kv, all()).await).await.unwrap() == whole);

    let limited = RangeRequest { limit: 5_000, keys_only: true, ..all() };
    let (first, streamed) =
        (list(&kv, limited.clone()).await, merged(stream(&kv, limited).await).await.unwrap());
    assert_eq!((first.kvs.len(), first.more), (5_000, true));
    assert!(first.kvs.iter().all(|pair| pair.value.is_empty()));
    assert!(first == streamed);
}

/// Clients that leave in the middle take nothing from those who stay: there are more of them than
/// a member has places for large answers.
#[tokio::test]
async fn clients_that_leave_are_no_burden() {
    let cluster = Cluster::start(1).await;
    let mut kv = connect(&cluster).await;
    fill(&mut kv, 3_000, 2_000).await;

    let mut left = Vec::new();
    for _ in 0..20 {
        let mut chunks = stream(&kv, all()).await;
        assert!(next(&mut chunks).await.unwrap().is_some());
        left.push(chunks);
    }
    drop(left);
    for _ in 0..40 {
        // It ends somewhere between the request and the last byte.
        let _ = tokio::time::timeout(Duration::from_millis(3), kv.range(all())).await;
    }

    assert_eq!(list(&kv, all()).await.kvs.len(), 3_000);
    assert_eq!(merged(stream(&kv, all()).await).await.unwrap().kvs.len(), 3_000);
}

/// A stream whose revision is compacted before its last chunk was read ends with that error.
#[tokio::test]
async fn a_compaction_ends_a_stream() {
    let cluster = Cluster::start(1).await;
    let mut kv = connect(&cluster).await;
    fill(&mut kv, 4_000, 2_000).await;

    let mut chunks = stream(&kv, all()).await;
    assert_eq!(next(&mut chunks).await.unwrap().unwrap().kvs.len(), 10);
    let put = PutRequest { key: "k".into(), ..Default::default() };
    let revision = kv.put(put).await.unwrap().into_inner().header.unwrap().revision;
    kv.compact(CompactionRequest { revision, physical: false }).await.unwrap();

    let ended = merged(chunks).await.unwrap_err();
    assert_eq!(ended.code(), Code::OutOfRange);
    assert_eq!(ended.message(), "etcdserver: mvcc: required revision has been compacted");
}

/// A stream shows one revision, whatever is written and deleted while it is read.
#[tokio::test]
async fn a_stream_shows_one_revision_under_writes() {
    let cluster = Cluster::start(1).await;
    let mut kv = connect(&cluster).await;
    fill(&mut kv, 2_000, 2_000).await;
    let (done, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (mut writer, ended, count) = (kv.clone(), Arc::clone(&done), Arc::clone(&written));
    let writes = tokio::spawn(async move {
        let mut number = 0;
        while !ended.load(Ordering::Relaxed) {
            // A step that shares no factor with the number of keys, so that all have their turn.
            number = (number + 777) % 2_000;
            let key = name(number).into();
            if number % 3 == 0 {
                let delete = DeleteRangeRequest { key, ..Default::default() };
                writer.delete_range(delete).await.unwrap();
            } else {
                let value = vec![b'w'; 1_000].into();
                writer.put(PutRequest { key, value, ..Default::default() }).await.unwrap();
            }
            count.fetch_add(1, Ordering::Relaxed);
        }
    });

    for limit in [0, 0, 700, 5] {
        let asked = RangeRequest { limit, ..all() };
        let mut chunks = stream(&kv, asked.clone()).await;
        let first = next(&mut chunks).await.unwrap();
        let before = written.load(Ordering::Relaxed);
        let some = async || (written.load(Ordering::Relaxed) >= before + 20).then_some(());
        eventually("writes behind the first chunk", SOON, some).await;
        let streamed = merged_after(first, chunks).await.unwrap();
        let revision = streamed.header.unwrap().revision;
        let then = list(&kv, RangeRequest { revision, ..asked }).await;
        assert!(then.header.unwrap().revision > revision);
        assert_eq!((streamed.count, streamed.more), (then.count, then.more));
        assert!(streamed.kvs == then.kvs, "limit {limit}");
    }
    done.store(true, Ordering::Relaxed);
    writes.await.unwrap();
}

/// A stream is refused as a range is, and for what only a range can do.
#[tokio::test]
async fn streams_are_refused_in_the_words_of_etcd() {
    let cluster = Cluster::start(1).await;
    let kv = connect(&cluster).await;
    let refusal = async |request| {
        let ended = match kv.clone().range_stream(request).await {
            Ok(response) => merged(response.into_inner()).await.unwrap_err(),
            Err(status) => status,
        };
        (ended.code(), ended.message().to_owned())
    };
    let sorted = RangeRequest { sort_order: SortOrder::Descend.into(), ..all() };
    let filtered = RangeRequest { min_mod_revision: 1, ..all() };
    for (request, code, message) in [
        (RangeRequest::default(), Code::InvalidArgument, "etcdserver: key is not provided"),
        (sorted, Code::Unimplemented, "RangeStream does not support custom sort orders"),
        (filtered, Code::Unimplemented, "RangeStream does not support revision filters"),
        (
            RangeRequest { revision: 99, ..all() },
            Code::OutOfRange,
            "etcdserver: mvcc: required revision is a future revision",
        ),
    ] {
        assert_eq!(refusal(request).await, (code, message.to_owned()));
    }
}
