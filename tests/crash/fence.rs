//! One member of three loses what it had written, in every way that files allow: it comes back
//! fenced, serves nobody and decides nothing while one of the others is away, and is whole when it
//! has caught up.

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
    time::Duration,
};

use etcd_client::GetOptions;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    WHOLE_LOG, folder,
    harness::{Cluster, Timing, connect, eventually, within},
};

const SIZE: usize = 3;
const SOON: Duration = Duration::from_secs(60);

/// Three members, one of which is stopped.
struct Lossy {
    cluster: Cluster,
    victim: usize,
}

impl Lossy {
    async fn prepare() -> Self {
        let mut cluster = Cluster::prepare(folder(), SIZE, Timing::Default);
        for index in 0..SIZE {
            cluster.member(index).fail_points(WHOLE_LOG);
            cluster.member(index).spawn();
        }
        cluster.leader().await;
        let victim = cluster.follower().await;
        let mut lossy = Self { cluster, victim };
        lossy.put(40).await;
        lossy.stop(victim).await;
        lossy
    }

    /// Puts so many keys, which all members then have.
    async fn put(&mut self, count: usize) {
        let leader = self.cluster.leader().await;
        let mut client = self.cluster.client(leader).await;
        for number in 0..count {
            client.put(format!("k{number}"), "v".repeat(500), None).await.unwrap();
        }
        for index in (0..SIZE).filter(|index| *index != self.victim) {
            self.cluster.client(index).await.get("k0", None).await.unwrap();
        }
        if self.cluster.member(self.victim).runs() {
            self.cluster.client(self.victim).await.get("k0", None).await.unwrap();
        }
    }

    async fn stop(&mut self, index: usize) {
        let member = self.cluster.member(index);
        member.terminate().await;
        let ended = member.ended().await;
        assert!(ended.success(), "{ended}");
    }

    fn data_dir(&mut self) -> PathBuf {
        self.cluster.member(self.victim).data_dir().to_owned()
    }

    /// The victim starts: fenced, as long as one of the others is away, and then whole again.
    async fn comes_back(&mut self) {
        let other = (0..SIZE).find(|index| *index != self.victim).unwrap();
        let third = (0..SIZE).rfind(|index| *index != self.victim && *index != other).unwrap();
        self.stop(third).await;
        self.cluster.member(self.victim).spawn();
        self.cluster.member(self.victim).answers_status().await;
        self.is_fenced().await;
        // Time enough for many elections.
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert!(self.page("/metrics").await.contains("quorate_server_fenced 1"));
        }
        self.is_fenced().await;
        self.cluster.member(third).restart().await;
        self.becomes_whole().await;
    }

    /// It says that it is fenced, wherever one may ask, and serves nobody.
    async fn is_fenced(&mut self) {
        let mut client = connect(&[self.cluster.endpoint(self.victim)]).await;
        let option = GetOptions::new().with_serializable();
        for refused in [
            client.get("k0", Some(option)).await.err(),
            client.get("k0", None).await.err(),
            client.put("k0", "w", None).await.err(),
            client.lease_grant(60, None).await.err(),
            client.hash_kv(0).await.err(),
        ] {
            let refused = refused.expect("a fenced member serves nobody").to_string();
            assert!(refused.contains("member is fenced"), "{refused}");
        }
        assert!(client.watch("k0", None).await.is_err(), "a watch was opened");
        let health = self.page("/health").await;
        assert!(health.contains("FENCED") && health.contains("503"), "{health}");
        assert!(self.page("/readyz").await.contains("503"));
        assert!(self.page("/livez").await.contains("200"), "a restart would not help it");
        assert!(self.page("/metrics").await.contains("quorate_server_fenced 1"));
        let log = self.cluster.member(self.victim).log_text();
        assert!(log.contains("this member is fenced"), "{log}");
    }

    /// It catches up, serves, and has what the others have.
    async fn becomes_whole(&mut self) {
        let url = self.cluster.endpoint(self.victim);
        eventually("the member to be whole", SOON, async || {
            connect(std::slice::from_ref(&url)).await.get("k0", None).await.ok()
        })
        .await;
        assert!(self.page("/metrics").await.contains("quorate_server_fenced 0"));
        let leader = self.cluster.leader().await;
        let mut client = self.cluster.client(leader).await;
        let revision = client.put("after", "v", None).await.unwrap();
        let revision = revision.header().unwrap().revision();
        let mut hashes = Vec::new();
        for index in 0..SIZE {
            let mut client = self.cluster.client(index).await;
            client.get("k0", None).await.unwrap();
            hashes.push(client.hash_kv(revision).await.unwrap().hash());
        }
        assert_eq!(hashes, [hashes[0]; SIZE]);
        let log = self.cluster.member(self.victim).log_text();
        assert!(log.contains("the fence is lifted"), "{log}");
    }

    /// What a page of the victim says, with its head.
    async fn page(&mut self, path: &str) -> String {
        let authority = self.cluster.member(self.victim).authority();
        let mut stream = TcpStream::connect(&authority).await.unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        within("a page", SOON, stream.read_to_string(&mut answer)).await.unwrap();
        answer
    }
}

/// Copies a folder with everything in it.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Replaces a data directory by a copy, but for one file, if so named.
pub(crate) fn put_back(copied: &Path, dir: &Path, but: Option<&str>) {
    let kept = but.map(|name| (dir.join(name), fs::read(dir.join(name)).unwrap()));
    fs::remove_dir_all(dir).unwrap();
    copy(copied, dir);
    if let Some((path, content)) = kept {
        fs::write(path, content).unwrap();
    }
}

/// The newest file of the log, and how much of it is not zeros.
fn newest_log_file(dir: &Path) -> (PathBuf, usize) {
    let mut files: Vec<_> =
        fs::read_dir(dir.join("log")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "raftlog"));
    let newest = files.into_iter().max().unwrap();
    let content = fs::read(&newest).unwrap();
    let end = content.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    (newest, end)
}

/// As a crash might have cut it, but of what was synced.
#[tokio::test]
async fn rr_59_a_log_that_was_cut_is_fenced() {
    let mut lossy = Lossy::prepare().await;
    let (file, end) = newest_log_file(&lossy.data_dir());
    let file = OpenOptions::new().write(true).open(file).unwrap();
    let len = file.metadata().unwrap().len();
    file.set_len((end * 2 / 3) as u64).unwrap();
    file.set_len(len).unwrap();
    lossy.comes_back().await;
}

#[tokio::test]
async fn rr_55_a_log_that_was_deleted_is_fenced() {
    let mut lossy = Lossy::prepare().await;
    fs::remove_dir_all(lossy.data_dir().join("log")).unwrap();
    lossy.comes_back().await;
}

/// Log and state fit each other, but they are of an earlier start than the identity.
#[tokio::test]
async fn rr_55_a_log_and_a_state_from_an_older_copy_are_fenced() {
    let mut lossy = Lossy::prepare().await;
    let (dir, copied) = (lossy.data_dir(), lossy.cluster.path("copy"));
    copy(&dir, &copied);
    lossy.cluster.member(lossy.victim).restart().await;
    lossy.put(40).await;
    lossy.stop(lossy.victim).await;
    put_back(&copied, &dir, Some("identity"));
    lossy.comes_back().await;
}

/// Everything is from an older copy, and the member cannot tell. The others can: it ends, with words
/// for its operator, and is fenced from the next start on.
#[tokio::test]
async fn rr_54_a_data_directory_from_an_older_copy_is_fenced_by_the_others() {
    let mut lossy = Lossy::prepare().await;
    let (dir, copied) = (lossy.data_dir(), lossy.cluster.path("copy"));
    copy(&dir, &copied);
    lossy.cluster.member(lossy.victim).restart().await;
    lossy.put(40).await;
    lossy.stop(lossy.victim).await;
    put_back(&copied, &dir, None);

    let member = lossy.cluster.member(lossy.victim);
    member.spawn();
    let ended = member.ended().await;
    let log = member.log_text();
    assert_eq!(ended.code(), Some(1), "{log}");
    let said = log.lines().rfind(|line| line.contains("member stops"));
    let said = said.expect("it says why");
    // Whoever comes first: the others by its greeting, or the leader's heartbeat.
    let lost = ["put back from an older copy", "synced entries are lost"];
    assert!(lost.iter().any(|lost| said.contains(lost)), "{said}");
    assert!(said.contains("start the member again"), "{said}");
    lossy.comes_back().await;
}

/// A member alone has nobody to become whole from.
#[tokio::test]
async fn a_member_alone_refuses_to_start_without_its_log() {
    let mut cluster = Cluster::prepare(folder(), 1, Timing::Alone);
    cluster.member(0).restart().await;
    cluster.client(0).await.put("k", "v", None).await.unwrap();
    cluster.member(0).terminate().await;
    cluster.member(0).ended().await;
    let log = cluster.member(0).data_dir().join("log");
    let aside = cluster.path("aside");
    fs::rename(&log, &aside).unwrap();

    let refused = cluster.member(0).refuses_to_start(&[]).await;
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("the only one that votes"), "{}", refused.stderr);

    fs::remove_dir_all(&log).unwrap();
    fs::rename(&aside, &log).unwrap();
    cluster.member(0).restart().await;
    let found = cluster.client(0).await.get("k", None).await.unwrap();
    assert_eq!(found.count(), 1);
}
