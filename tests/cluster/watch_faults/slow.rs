//! Clients that read slowly, or not at all.

use std::time::Duration;

use etcd_client::GetOptions;
use quorate::proto::etcdserverpb::WatchCreateRequest;
use tokio::time::Instant;

use super::{SOON, Writer, follow};
use crate::harness::{
    Cluster,
    streams::{WatchStream, channel, header_revision, small_channel, watcher},
    within,
};

/// A reader that is held up again and again while history is compacted behind it is shown no gap:
/// either it goes on with the next revision, or it is told what is the oldest, and goes on there.
#[tokio::test]
async fn rr_16_slow_readers_and_compactions_leave_no_gap() {
    const VALUE_LEN: usize = 400_000;
    const ROUNDS: usize = 4;
    /// More than the hub keeps of values that long, together with what is on its way.
    const AHEAD: i64 = 110;
    let cluster = Cluster::start(1).await;
    let writer = Writer::start(cluster.client(0).await, "k", VALUE_LEN);
    let revision = std::sync::Arc::clone(&writer.revision);
    let mut client = cluster.client(0).await;
    let compactor = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        loop {
            ticks.tick().await;
            // The same one twice is refused, which is all right.
            let _ = client.compact(revision.load(std::sync::atomic::Ordering::SeqCst), None).await;
        }
    });

    let mut stream = WatchStream::open(&small_channel(&cluster.endpoint(0))).await.unwrap();
    let mut next = header_revision(&stream.created(watcher("k", "")).await) + 1;
    let (mut losses, mut last) = (0, i64::MAX);
    let mut writer = Some(writer);
    for round in 0.. {
        if round < ROUNDS {
            writer.as_ref().expect("it goes on").advance(AHEAD).await;
        } else if let Some(writer) = writer.take() {
            last = writer.stop().await;
        }
        let behind = next;
        while next <= last && (last < i64::MAX || next < behind + AHEAD) {
            let response = stream.next().await;
            follow(&mut next, &response);
            if response.canceled {
                assert!(response.compact_revision > next, "nothing that was needed is gone");
                losses += 1;
                next = response.compact_revision;
                let request = WatchCreateRequest { start_revision: next, ..watcher("k", "") };
                stream.created(request).await;
            }
        }
        if next > last {
            break;
        }
    }
    compactor.abort();

    assert_eq!(next, last + 1);
    assert!(losses > 0, "compaction never passed the reader by");
}

/// Progress is told of what was delivered and of nothing else, while events come in, and on a quiet
/// stream, too.
#[tokio::test]
async fn rr_19_progress_follows_the_events() {
    const ANSWERS: usize = 50;
    let cluster = Cluster::start(1).await;
    let channel = channel(&cluster.endpoint(0));
    let mut busy = WatchStream::open(&channel).await.unwrap();
    let mut quiet = WatchStream::open(&channel).await.unwrap();
    busy.created(watcher("k", "")).await;
    busy.created(watcher("quiet", "")).await;
    quiet.created(watcher("quiet", "")).await;
    let writer = Writer::start(cluster.client(0).await, "k", 10);
    writer.advance(1).await;

    let (mut next, mut told, mut answers) = (2, 0, 0);
    busy.ask_progress().await;
    while answers < ANSWERS {
        let response = busy.next().await;
        follow(&mut next, &response);
        if response.events.is_empty() {
            let revision = header_revision(&response);
            assert_eq!(response.watch_id, -1);
            assert!(told <= revision, "progress falls from {told} to {revision}");
            assert!(revision < next, "progress at {revision} before event {next}");
            (told, answers) = (revision, answers + 1);
        }
        busy.ask_progress().await;
    }
    let mut told = 0;
    for _ in 0..ANSWERS {
        quiet.ask_progress().await;
        let response = quiet.next().await;
        assert_eq!((response.watch_id, response.events.len()), (-1, 0));
        assert!(told <= header_revision(&response));
        told = header_revision(&response);
    }
    let last = writer.stop().await;
    assert!(1 < told && told <= last, "{told} of {last}");
}

/// A watch shares its connection with lists that never end, and is not starved by them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rr_23_lists_do_not_starve_a_watch() {
    /// As many as come in an answer that this client takes.
    const KEYS: usize = 6_000;
    const LISTS: usize = 8;
    const EVENTS: usize = 150;
    /// What clients may rely on is 100 ms. Client, member and other tests share a few cores here, so
    /// only what no busy machine explains counts as starved: a list takes longer than this.
    const DELAY_P99_MAX: Duration = Duration::from_millis(1_000);
    let cluster = Cluster::start(1).await;
    let mut writer = cluster.client(0).await;
    for start in (0..KEYS).step_by(100) {
        let puts: Vec<_> = (start..start + 100)
            .map(|number| etcd_client::TxnOp::put(format!("list/{number:06}"), [b'v'; 500], None))
            .collect();
        writer.txn(etcd_client::Txn::new().and_then(puts)).await.unwrap();
    }
    let mut shared = cluster.client(0).await;
    let mut watching = crate::harness::Watching::prefix(&mut shared, "k").await;
    let (stop, stopped) = tokio::sync::watch::channel(());
    let mut lists = tokio::task::JoinSet::new();
    for _ in 0..LISTS {
        let (mut client, stopped) = (shared.clone(), stopped.clone());
        lists.spawn(async move {
            let mut listed = 0_usize;
            while !stopped.has_changed().unwrap_or(true) {
                let option = GetOptions::new().with_prefix();
                let answer = client.get("list/", Some(option)).await.unwrap();
                assert_eq!(answer.kvs().len(), KEYS);
                listed += 1;
            }
            listed
        });
    }

    let mut delays = Vec::new();
    for number in 0..EVENTS {
        let value = number.to_string();
        let put = async {
            writer.put("k", value.as_str(), None).await.unwrap();
            Instant::now()
        };
        let seen = async { (watching.next().await, Instant::now()) };
        // Side by side: an event may come before the answer to the put, and then it is not late.
        let (answered, (change, seen)) = tokio::join!(put, seen);
        assert_eq!(change.value, value);
        delays.push(seen.saturating_duration_since(answered));
    }
    drop(stop);
    let listed: usize = within("all lists to end", SOON, lists.join_all()).await.into_iter().sum();

    delays.sort_unstable();
    let (median, p99) = (delays[EVENTS / 2], delays[EVENTS * 99 / 100]);
    eprintln!("a put seen beside {listed} lists: median {median:?}, p99 {p99:?}");
    assert!(listed > LISTS, "the connection was not busy");
    assert!(p99 <= DELAY_P99_MAX, "p99 {p99:?}");
}

/// Watchers that never read cost their connections' windows and a bounded queue, and nobody else
/// notices them.
#[tokio::test]
async fn rr_24_stalled_watchers_take_bounded_memory() {
    const CONNECTIONS: usize = 20;
    const STREAMS: usize = 25;
    const WATCHERS: usize = 2;
    const VALUE_LEN: usize = 64 * 1024;
    /// Twice as much as the hub keeps.
    const REVISIONS: i64 = 1_000;
    /// Recent events, what is on its way to a thousand watchers, and the store itself.
    const GROWTH_KIB_MAX: u64 = 512 * 1024;
    let mut cluster = Cluster::start(1).await;
    let mut stalled = Vec::new();
    for _ in 0..CONNECTIONS {
        let channel = small_channel(&cluster.endpoint(0));
        for _ in 0..STREAMS {
            let mut stream = WatchStream::open(&channel).await.unwrap();
            for _ in 0..WATCHERS {
                stream.created(watcher("k", "")).await;
            }
            stalled.push(stream);
        }
    }
    let mut reader = WatchStream::open(&channel(&cluster.endpoint(0))).await.unwrap();
    reader.created(watcher("k", "")).await;
    let before = cluster.member(0).resident_kib();

    let writer = Writer::start(cluster.client(0).await, "k", VALUE_LEN);
    let (mut next, mut highest) = (2, before);
    while next < REVISIONS {
        follow(&mut next, &reader.next().await);
        if next % 100 == 0 {
            highest = highest.max(cluster.member(0).resident_kib());
        }
    }
    let last = writer.stop().await;
    while next <= last {
        follow(&mut next, &reader.next().await);
    }

    let growth = highest.max(cluster.member(0).resident_kib()) - before;
    eprintln!(
        "{} stalled streams, {} MiB written: {} MiB more in memory",
        stalled.len(),
        (usize::try_from(last).unwrap() * VALUE_LEN) >> 20,
        growth >> 10
    );
    assert!(growth <= GROWTH_KIB_MAX, "{growth} KiB");
    // Whoever starts to read has lost nothing. One of each connection: what waits for the others
    // would leave it no room there.
    let mut kept: Vec<WatchStream> = stalled.into_iter().step_by(STREAMS).collect();
    for stream in kept.iter_mut().take(3) {
        let mut next = [2; WATCHERS];
        while next.iter().any(|next| *next <= last) {
            let response = stream.next().await;
            let watcher = usize::try_from(response.watch_id).unwrap();
            follow(&mut next[watcher], &response);
        }
    }
}
