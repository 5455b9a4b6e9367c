//! Snapshots that arrive, that break, and that go on.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};

use crate::{
    node::ports::{Checkpoint, CheckpointId, Membership, StageId},
    proto::internal::{SnapshotChunk, SnapshotProgressRequest},
    raft::Position,
    transport::{
        assembly::{Place, Totals, file_checksum},
        head::{self, Head, SnapshotName},
        testing::Files,
    },
    types::{BootNumber, Index},
};

use super::*;

const CHECKPOINT: Checkpoint =
    Checkpoint { id: CheckpointId(3), applied: Position { index: Index(9), term: Term(2) } };

fn pattern(len: usize) -> Vec<u8> {
    (0..=250).cycle().take(len).collect()
}

fn some_files() -> Files {
    Files::from([
        ("empty".to_owned(), Vec::new()),
        ("exact".to_owned(), pattern(limits::SNAPSHOT_CHUNK_BYTES)),
        ("large".to_owned(), pattern(3 * limits::SNAPSHOT_CHUNK_BYTES + 17)),
    ])
}

/// Waits for a snapshot, and returns where it is.
async fn arrived(member: &mut TestMember) -> StageId {
    let (message, stage) = member
        .next(|it| {
            let Happened::Snapshot(_, message, stage) = it else { return None };
            Some((message, stage))
        })
        .await;
    assert_eq!(message.as_ref(), b"announce");
    stage
}

async fn reported(member: &mut TestMember, ok: bool) {
    let report = Happened::Reported(MemberId(B), CHECKPOINT.id, ok);
    member.next(|it| (it == report).then_some(())).await;
    member.next(|it| (it == Happened::Released(CHECKPOINT.id)).then_some(())).await;
}

/// All files arrive whole before the message; the outcome is reported, the checkpoint released.
#[tokio::test]
async fn a_snapshot_arrives_whole() {
    let (mut a, mut b) = (TestMember::with(A, true, some_files()), TestMember::new(B));
    let _served = introduce(&a, &b).await;

    a.peers.send_snapshot(b.id, CHECKPOINT, Bytes::from_static(b"announce"));

    let stage = arrived(&mut b).await;
    assert_eq!(b.recorder.stages.lock().unwrap().get(&stage), Some(&some_files()));
    reported(&mut a, true).await;
    let figures = a.snapshot_figures();
    for line in [
        "etcd_network_snapshot_send_success_total{To=\"b\"} 1",
        "etcd_network_snapshot_send_inflights_total{To=\"b\"} 0",
        "etcd_network_snapshot_send_total_duration_seconds_count{To=\"b\"} 1",
        "quorate_network_snapshot_sent_bytes_total{To=\"b\"} 1048593",
    ] {
        assert!(figures.contains(line), "{line} is not in\n{figures}");
    }
    let figures = b.snapshot_figures();
    for line in [
        "etcd_network_snapshot_receive_success_total{From=\"a\"} 1",
        "quorate_network_snapshot_received_bytes_total{From=\"a\"} 1048593",
    ] {
        assert!(figures.contains(line), "{line} is not in\n{figures}");
    }
}

/// A failure is reported too, and the checkpoint released.
#[tokio::test]
async fn a_snapshot_to_nobody_is_reported_as_failed() {
    let mut a = TestMember::new(A);
    a.peers.send_snapshot(MemberId(B), CHECKPOINT, Bytes::from_static(b"announce"));
    reported(&mut a, false).await;
}

/// A member that goes is not tried any longer.
#[tokio::test]
async fn a_snapshot_to_a_member_that_goes_is_given_up() {
    let mut a = TestMember::with(A, true, some_files());
    a.knows(MemberId(B), "127.0.0.1:1".parse().unwrap());
    a.peers.send_snapshot(MemberId(B), CHECKPOINT, Bytes::from_static(b"announce"));
    a.peers.set_members(&Membership::default());
    reported(&mut a, false).await;
}

/// Connections that break after so many bytes each; the ones after them do not.
struct Breaking {
    address: SocketAddr,
    opened: Arc<AtomicUsize>,
    task: AbortHandle,
}

impl Breaking {
    async fn before(upstream: SocketAddr, bytes: Vec<u64>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, opened) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&opened);
        let task = tokio::spawn(async move {
            loop {
                let (inbound, _) = listener.accept().await.unwrap();
                let outbound = TcpStream::connect(upstream).await.unwrap();
                let number = count.fetch_add(1, Ordering::Relaxed);
                let limit = bytes.get(number).copied().unwrap_or(u64::MAX);
                tokio::spawn(async move {
                    let (from_client, mut to_client) = inbound.into_split();
                    let (mut from_member, mut to_member) = outbound.into_split();
                    let mut limited = from_client.take(limit);
                    // Whichever way ends first ends the other.
                    tokio::select! {
                        _ = copy(&mut limited, &mut to_member) => {}
                        _ = copy(&mut from_member, &mut to_client) => {}
                    }
                    let _ = to_member.shutdown().await;
                });
            }
        });
        Self { address, opened, task: task.abort_handle() }
    }
}

impl Drop for Breaking {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Wherever the connection breaks, the next stream goes on from there: nothing is sent over that was
/// there, but what was on its way, and raft hears of one success.
#[tokio::test]
async fn a_broken_snapshot_goes_on_where_it_ended() {
    const FILES: usize = 6;
    const FILE: usize = 5 * limits::SNAPSHOT_CHUNK_BYTES + 3;
    let files: Files = (0..FILES).map(|number| (format!("{number}"), pattern(FILE))).collect();
    let (mut a, mut b) = (TestMember::with(A, true, files.clone()), TestMember::new(B));
    let served = b.serve().await;
    b.knows(a.id, "127.0.0.1:1".parse().unwrap());
    // Each a little later than a chunk or two, so that cuts fall anywhere within one.
    let cuts = (0..40).map(|number| 280_000 + number * 23_456).collect();
    let breaking = Breaking::before(served.address, cuts).await;
    a.knows(b.id, breaking.address);

    a.peers.send_snapshot(b.id, CHECKPOINT, Bytes::from_static(b"announce"));

    let stage = arrived(&mut b).await;
    assert_eq!(b.recorder.stages.lock().unwrap().get(&stage), Some(&files));
    reported(&mut a, true).await;
    let received = figure(&b, "quorate_network_snapshot_received_bytes_total");
    assert_eq!(received, (FILES * FILE) as u64, "no byte is taken twice");
    assert!(figure(&a, "quorate_network_snapshot_resumed_total") > 0);
    assert!(breaking.opened.load(Ordering::Relaxed) > 5);
}

fn figure(member: &TestMember, name: &str) -> u64 {
    let figures = member.snapshot_figures();
    let line = figures.lines().find(|line| line.starts_with(name));
    let line = line.unwrap_or_else(|| panic!("{name} is not in\n{figures}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

const NAME: SnapshotName = SnapshotName {
    from: MemberId(A),
    boot: BootNumber(1),
    checkpoint: 3,
    applied: CHECKPOINT.applied,
};

/// A sender by hand, of one file: `12345678`.
struct Sender {
    client: PeerClient<tonic::transport::Channel>,
}

impl Sender {
    async fn to(served: &Served) -> Self {
        let client = PeerClient::connect(format!("http://{}", served.address)).await.unwrap();
        Self { client }
    }

    /// How far it is there; `None`: it has arrived.
    async fn progress(&mut self, name: SnapshotName) -> Option<Place> {
        let question =
            SnapshotProgressRequest { handshake: Some(handshake()), name: Some(name.to_proto()) };
        let answer = self.client.snapshot_progress(question).await.unwrap().into_inner();
        (!answer.arrived).then(|| head::place_of_proto(answer.place).unwrap())
    }

    /// Sends these parts of the file, and the announcement behind its end.
    async fn send(&mut self, name: SnapshotName, parts: &[&'static [u8]]) -> Result<(), Status> {
        let from = self.progress(name).await.unwrap();
        let totals = Totals { files: 1, bytes: 8 };
        let mut chunks = Vec::new();
        let mut offset = from.open_bytes;
        for data in parts {
            let end = offset + data.len() as u64;
            let mut hasher = crc32fast::Hasher::new();
            hasher.update(b"12345678");
            chunks.push(SnapshotChunk {
                file: "f".to_owned(),
                offset,
                data: Bytes::from_static(data),
                crc32: crc32fast::hash(data),
                last_of_file: end == 8,
                file_crc32: file_checksum(hasher, "f"),
                ..SnapshotChunk::default()
            });
            offset = end;
        }
        if offset == 8 {
            let raft = Bytes::from_static(b"announce");
            chunks.push(SnapshotChunk { raft, ..SnapshotChunk::default() });
        }
        chunks[0].handshake = Some(handshake());
        chunks[0].head = Some(Head { name, totals, from }.to_proto());
        self.raw(chunks).await
    }

    async fn raw(&mut self, chunks: Vec<SnapshotChunk>) -> Result<(), Status> {
        self.client.snapshot(tokio_stream::iter(chunks)).await.map(|_| ())
    }
}

fn dropped(it: Happened) -> Option<()> {
    matches!(it, Happened::StageDropped(_)).then_some(())
}

fn staged(member: &TestMember) -> Vec<Files> {
    member.recorder.stages.lock().unwrap().values().cloned().collect()
}

/// A transfer that ends early leaves what it brought for the next one of the same checkpoint.
#[tokio::test]
async fn what_came_is_kept_for_its_sender() {
    let (_a, mut b, served) = pair().await;
    let mut sender = Sender::to(&served).await;
    assert_eq!(sender.progress(NAME).await, Some(Place::default()));

    let status = sender.send(NAME, &[b"123", b"4"]).await.unwrap_err();

    assert_eq!(status.message(), "the snapshot ended before its announcing message");
    assert_eq!(sender.progress(NAME).await, Some(Place { files: 0, open_bytes: 4 }));
    sender.send(NAME, &[b"56", b"78"]).await.unwrap();
    arrived(&mut b).await;
    assert_eq!(staged(&b), [Files::from([("f".to_owned(), b"12345678".to_vec())])]);
    // Its sender may not have heard of it.
    assert_eq!(sender.progress(NAME).await, None);
}

/// Another checkpoint takes the place of what was kept: at most one is there.
#[tokio::test]
async fn another_checkpoint_takes_the_place() {
    let (_a, mut b, served) = pair().await;
    let mut sender = Sender::to(&served).await;
    sender.send(NAME, &[b"1234"]).await.unwrap_err();
    let restarted = SnapshotName { boot: BootNumber(2), ..NAME };
    let next = SnapshotName { checkpoint: 4, ..NAME };
    for name in [restarted, next] {
        assert_eq!(sender.progress(name).await, Some(Place::default()));
        sender.send(name, &[b"12"]).await.unwrap_err();
        b.next(dropped).await;
        assert_eq!(staged(&b), [Files::from([("f".to_owned(), b"12".to_vec())])]);
    }
    assert_eq!(sender.progress(NAME).await, Some(Place::default()));
    sender.send(next, &[b"345678"]).await.unwrap();
    arrived(&mut b).await;
    assert_eq!(staged(&b), [Files::from([("f".to_owned(), b"12345678".to_vec())])]);
}

/// A stream that goes on from where nothing is, is refused, and so is one without a head.
#[tokio::test]
async fn a_stream_begins_where_it_can() {
    let (_a, b, served) = pair().await;
    let mut sender = Sender::to(&served).await;
    let chunk = |from: Place| SnapshotChunk {
        handshake: Some(handshake()),
        file: "f".to_owned(),
        offset: 4,
        data: Bytes::from_static(b"5678"),
        crc32: crc32fast::hash(b"5678"),
        last_of_file: true,
        head: Some(Head { name: NAME, totals: Totals { files: 1, bytes: 8 }, from }.to_proto()),
        ..SnapshotChunk::default()
    };

    let status = sender.raw(vec![chunk(Place { files: 0, open_bytes: 4 })]).await.unwrap_err();
    assert_eq!(status.message(), "what it is to go on from is not there");
    let status = sender.raw(vec![chunk(Place::default())]).await.unwrap_err();
    assert_eq!(status.message(), "file \"f\" has 0 bytes so far, chunk begins at 4");
    let headless = SnapshotChunk { head: None, ..chunk(Place::default()) };
    let status = sender.raw(vec![headless]).await.unwrap_err();
    assert_eq!(status.message(), "a snapshot without a head");
    let stranger = SnapshotChunk { handshake: None, ..chunk(Place::default()) };
    let status = sender.raw(vec![stranger]).await.unwrap_err();
    assert_eq!(status.message(), "the first message has no handshake");
    assert!(staged(&b).iter().all(Files::is_empty));
}

/// A byte that changed on the way ends the stream; what came before it stays and is gone on with.
#[tokio::test]
async fn a_corrupt_chunk_is_refused_and_sent_again() {
    let (_a, mut b, served) = pair().await;
    let mut sender = Sender::to(&served).await;
    let totals = Totals { files: 1, bytes: 8 };
    let chunk = |offset: u64, crc32: u32| SnapshotChunk {
        handshake: (offset == 0).then(handshake),
        head: (offset == 0).then(|| Head { name: NAME, totals, from: Place::default() }.to_proto()),
        file: "f".to_owned(),
        offset,
        data: Bytes::from_static(b"1234"),
        crc32,
        ..SnapshotChunk::default()
    };
    let good = crc32fast::hash(b"1234");

    let status = sender.raw(vec![chunk(0, good), chunk(4, good ^ 1)]).await.unwrap_err();

    assert_eq!(status.code(), Code::DataLoss);
    assert_eq!(status.message(), "checksum of file \"f\" at 4 differs");
    assert_eq!(sender.progress(NAME).await, Some(Place { files: 0, open_bytes: 4 }));
    sender.send(NAME, &[b"5678"]).await.unwrap();
    arrived(&mut b).await;
}

/// Whoever breaks a rule does not know what it sends: nothing of it stays.
#[tokio::test]
async fn what_breaks_a_rule_is_dropped() {
    let (_a, mut b, served) = pair().await;
    let mut sender = Sender::to(&served).await;
    sender.send(NAME, &[b"1234"]).await.unwrap_err();

    let status = sender.send(NAME, &[b"5", b"6789"]).await.unwrap_err();

    assert_eq!(status.message(), "snapshot is larger than 8 bytes");
    b.next(dropped).await;
    assert_eq!(staged(&b), Vec::<Files>::new());
    assert_eq!(sender.progress(NAME).await, Some(Place::default()));
}

/// What nobody comes for goes after a while.
#[tokio::test]
async fn what_is_kept_expires() {
    let (a, mut b) = (TestMember::new(A), TestMember::new(B));
    let served = b.serve_keeping(Duration::from_millis(1)).await;
    b.knows(a.id, "127.0.0.1:1".parse().unwrap());
    let mut sender = Sender::to(&served).await;

    sender.send(NAME, &[b"1234"]).await.unwrap_err();

    b.next(dropped).await;
    assert_eq!(staged(&b), Vec::<Files>::new());
    assert_eq!(sender.progress(NAME).await, Some(Place::default()));
}

/// A sender that asks has no stream any more: one that is open still ends, and is gone on with.
#[tokio::test]
async fn a_sender_that_comes_again_ends_its_old_stream() {
    let (_a, mut b, served) = pair().await;
    let mut sender = Sender::to(&served).await;
    let first = SnapshotChunk {
        handshake: Some(handshake()),
        head: Some(
            Head { name: NAME, totals: Totals { files: 1, bytes: 8 }, from: Place::default() }
                .to_proto(),
        ),
        file: "f".to_owned(),
        data: Bytes::from_static(b"1234"),
        crc32: crc32fast::hash(b"1234"),
        ..SnapshotChunk::default()
    };
    let silent =
        tokio_stream::StreamExt::chain(tokio_stream::iter([first]), tokio_stream::pending());
    let mut client = sender.client.clone();
    let old = tokio::spawn(async move { client.snapshot(silent).await.map(|_| ()) });
    let written = async {
        while !staged(&b).iter().any(|files| files.contains_key("f")) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, written).await.unwrap();

    let place = sender.progress(NAME).await;

    assert_eq!(place, Some(Place { files: 0, open_bytes: 4 }));
    assert_eq!(old.await.unwrap().unwrap_err().message(), "its sender came again");
    sender.send(NAME, &[b"5678"]).await.unwrap();
    arrived(&mut b).await;
}

/// A snapshot for which the disk has no room is refused before it fills the disk.
#[tokio::test]
async fn a_snapshot_without_room_is_refused() {
    let (_a, b, served) = pair().await;
    b.recorder.free.store(9, Ordering::Relaxed);
    let mut sender = Sender::to(&served).await;

    let status = sender.send(NAME, &[b"12345678"]).await.unwrap_err();

    assert_eq!(
        status.message(),
        "no room for a snapshot of 8 bytes: 9 are left, 2 of them in reserve"
    );
    b.recorder.free.store(1 << 30, Ordering::Relaxed);
    sender.send(NAME, &[b"12345678"]).await.unwrap();
}

/// rr_52: a second snapshot right behind the first leaves the first whole until it is somebody
/// else's, and each arrives as it was sent.
#[tokio::test]
async fn rr_52_snapshots_in_a_row_each_arrive_whole() {
    let (mut a, mut b) = (TestMember::with(A, true, some_files()), TestMember::new(B));
    let _served = introduce(&a, &b).await;
    let mut stages = Vec::new();
    for number in 1..=10 {
        let applied = Position { index: Index(10 * number), term: Term(2) };
        let checkpoint = Checkpoint { id: CheckpointId(number), applied };
        a.peers.send_snapshot(b.id, checkpoint, Bytes::from_static(b"announce"));
        stages.push(arrived(&mut b).await);
        let report = Happened::Reported(MemberId(B), checkpoint.id, true);
        a.next(|it| (it == report).then_some(())).await;
        for stage in &stages {
            assert_eq!(b.recorder.stages.lock().unwrap().get(stage), Some(&some_files()));
        }
    }
}
