//! Files of one member of three with flipped bits: the member says which file it is, never serves what
//! is wrong, and the others go on. With a damaged state it ends; with a damaged log it is fenced.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::Duration,
};

use etcd_client::{GetOptions, GetResponse, KeyValue};

use crate::{
    WHOLE_LOG, folder,
    harness::{Cluster, Timing, eventually},
    journal::Journal,
    load::{AfterFailure, Load},
};

const SIZE: usize = 3;
const LATE: Duration = Duration::from_secs(60);
/// Enough for several tables and for a log in several files.
const REQUESTS: usize = 1_200;
/// The code with which a member ends that has a fault.
const FAULT: Option<i32> = Some(1);

/// Three members with data in their files, one of which was stopped in good order.
struct Damaged {
    cluster: Cluster,
    journal: Journal,
    /// The one that was stopped.
    victim: usize,
}

impl Damaged {
    async fn prepare() -> Self {
        let mut cluster = Cluster::prepare(folder(), SIZE, Timing::Default);
        for index in 0..SIZE {
            // What is cut off the log is not missed, so all of it is kept.
            cluster
                .member(index)
                .fail_points(format!("{WHOLE_LOG};log-file-bytes=return(1048576)"));
            cluster.member(index).spawn();
        }
        cluster.leader().await;
        let endpoints = (0..SIZE).map(|index| cluster.endpoint(index)).collect();
        let load = Load::start(endpoints, 6, 2_000, AfterFailure::GoOn);
        load.advance(REQUESTS).await;
        let journal = load.stop().await;
        let victim = cluster.follower().await;
        let mut damaged = Self { cluster, journal, victim };
        damaged.stop().await;
        damaged
    }

    async fn stop(&mut self) {
        let member = self.cluster.member(self.victim);
        member.terminate().await;
        let ended = member.ended().await;
        assert!(ended.success(), "{ended}");
    }

    fn data_dir(&mut self) -> PathBuf {
        self.cluster.member(self.victim).data_dir().to_owned()
    }

    /// Starts the victim where it must refuse to, and looks for the file's name in what it says.
    async fn refuses(&mut self, file: &Path, at: usize) {
        let refused = self.cluster.member(self.victim).refuses_to_start(&[]).await;
        let (name, said) = (file.to_str().unwrap(), &refused.stderr);
        assert_eq!(refused.code, FAULT, "{name} at {at}: {refused:?}");
        assert!(said.contains(name), "{name} at {at}: {said}");
        eprintln!("{at}: {}", said.lines().last().unwrap_or_default());
    }

    /// The victim starts fenced, names the file, and serves what the others have when it serves.
    async fn is_fenced(&mut self, file: &Path, at: usize) {
        let before = self.cluster.member(self.victim).log_text().len();
        self.cluster.member(self.victim).restart().await;
        let log = self.cluster.member(self.victim).log_text();
        let said = &log[before..];
        assert!(said.contains(file.to_str().unwrap()), "at {at}: {said}");
        assert!(said.contains("this member is fenced"), "at {at}: {said}");
        assert!(said.contains("the fence is lifted"), "at {at}: {said}");
        let mut client = self.cluster.client(self.victim).await;
        self.journal.verify(&mut client).await.unwrap();
        self.stop().await;
    }

    /// The victim runs, and is read from until it ends. Nothing it says is wrong.
    async fn ends_of_itself(&mut self, file: &Path) {
        let mut answers = Vec::new();
        let ended = eventually("the damaged member to end", LATE, async || {
            let member = self.cluster.member(self.victim);
            if let Some(ended) = member.try_ended() {
                return Some(ended);
            }
            let mut client = crate::harness::connect(&[member.client_url()]).await;
            let option = GetOptions::new().with_prefix().with_serializable();
            answers.push(client.get("w", Some(option)).await.map_err(|error| error.to_string()));
            None
        })
        .await;
        let leader = self.cluster.leader().await;
        let option = GetOptions::new().with_prefix();
        let whole = self.cluster.client(leader).await.get("w", Some(option)).await.unwrap();
        let written = pairs(&whole);
        for answer in answers.iter().flatten() {
            // Nothing is written meanwhile, so it has all or, while it catches up, less of it.
            let (found, revision) = (pairs(answer), answer.header().unwrap().revision());
            let known: Vec<_> = written.iter().filter(|pair| pair.2 <= revision).cloned().collect();
            assert_eq!(found, known, "at revision {revision}");
        }
        let log = self.cluster.member(self.victim).log_text();
        let said = log.lines().rfind(|line| line.contains("member stops"));
        assert_eq!(ended.code(), FAULT, "{log}");
        assert!(said.is_some_and(|line| line.contains(file.to_str().unwrap())), "{said:?}");
        let errors: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
        eprintln!(
            "{} answers, {} errors: {:?}; {said:?}",
            answers.len(),
            errors.len(),
            errors.first()
        );
    }

    /// The others serve, with everything that was acknowledged.
    async fn others_serve(&mut self) {
        let leader = self.cluster.leader().await;
        let mut client = self.cluster.client(leader).await;
        self.journal.verify(&mut client).await.unwrap();
        client.put("others", "serve", None).await.unwrap();
        client.delete("others", None).await.unwrap();
    }
}

/// Key, value and revision of each.
fn pairs(answer: &GetResponse) -> Vec<(Vec<u8>, Vec<u8>, i64)> {
    let pair = |kv: &KeyValue| (kv.key().to_vec(), kv.value().to_vec(), kv.mod_revision());
    answer.kvs().iter().map(pair).collect()
}

/// Flips a bit, and returns what the file was.
fn flip(file: &Path, at: usize) -> Vec<u8> {
    try_flip(file, at).unwrap()
}

/// The same to a file that may be gone: it is not made anew.
fn try_flip(file: &Path, at: usize) -> io::Result<Vec<u8>> {
    let whole = fs::read(file)?;
    let damaged = whole[at] ^ 1 << (at % 8);
    OpenOptions::new().write(true).open(file)?.write_all_at(&[damaged], at as u64)?;
    Ok(whole)
}

/// The largest table of the newest pairs, which a read of all of them is sure to come by. A table
/// ends with its properties, among them the name of its family.
fn table_of_pairs(dir: &Path) -> PathBuf {
    let of_pairs = |table: &PathBuf| {
        fs::read(table).is_ok_and(|content| content.windows(7).any(|bytes| bytes == b"namecur"))
    };
    files(dir, ".sst").into_iter().rfind(of_pairs).expect("pairs were brought to disk")
}

/// The files below a folder whose names end so, the largest last.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path, ending));
        } else if path.to_str().unwrap().contains(ending) {
            files.push(path);
        }
    }
    files.sort_by_key(|path| fs::metadata(path).map_or(0, |metadata| metadata.len()));
    files
}

/// What names the tables, and the ends of tables, are read at start: it is refused.
#[tokio::test]
async fn a_state_that_cannot_be_opened_is_refused() {
    let mut damaged = Damaged::prepare().await;
    let dir = damaged.data_dir();
    let table = files(&dir, ".sst").pop().unwrap();
    let list = files(&dir, "MANIFEST-").pop().unwrap();
    let pointer = files(&dir, "CURRENT").pop().unwrap();
    for (file, named) in [(&table, &table), (&list, &list), (&pointer, &pointer.with_file_name(""))]
    {
        let len = usize::try_from(fs::metadata(file).unwrap().len()).unwrap();
        for at in [len - 6, len / 2].into_iter().take(if *file == table { 1 } else { 2 }) {
            let whole = flip(file, at);
            let named = named.to_str().unwrap().trim_end_matches('/').to_owned();
            damaged.refuses(Path::new(&named), at).await;
            fs::write(file, whole).unwrap();
        }
    }
    damaged.others_serve().await;
    damaged.cluster.member(damaged.victim).restart().await;
}

/// A flipped bit in the log is never taken for its end: the member is fenced, and gets from the others
/// what it cannot read.
#[tokio::test]
async fn rr_60_a_damaged_log_is_fenced() {
    let mut damaged = Damaged::prepare().await;
    // Where in a file: from its end, in its middle, or from its beginning.
    let end = |file: &Path| {
        let content = fs::read(file).unwrap();
        content.iter().rposition(|byte| *byte != 0).unwrap()
    };
    type Place = fn(usize) -> usize;
    let places: [(bool, Place); 7] = [
        // The newest record, its checksum and its data.
        (true, |end| end),
        (true, |end| end - 40),
        (true, |end| end / 2),
        (true, |_| 70),
        (false, |end| end - 3),
        (false, |end| end / 2),
        (false, |_| 20),
    ];
    let data_dir = damaged.data_dir();
    let copied = damaged.cluster.path("copy");
    crate::fence::copy(&data_dir, &copied);
    for (newest, place) in places {
        // The identity stays: what is damaged is always the log that it belongs to.
        crate::fence::put_back(&copied, &data_dir, Some("identity"));
        let mut logs = files(&data_dir.join("log"), ".raftlog");
        logs.retain(|path| path.extension().is_some_and(|extension| extension == "raftlog"));
        logs.sort();
        assert!(logs.len() > 1);
        let file = if newest { logs.last() } else { logs.first() }.unwrap();
        let at = place(end(file));
        flip(file, at);
        damaged.is_fenced(file, at).await;
    }
    damaged.others_serve().await;
}

/// Damage within a table shows when it is read: the reader gets an error, and the member ends.
#[tokio::test]
async fn damage_found_by_a_reader_ends_the_member() {
    let mut damaged = Damaged::prepare().await;
    let table = table_of_pairs(&damaged.data_dir());
    flip(&table, 5_000);
    damaged.cluster.member(damaged.victim).spawn();
    damaged.ends_of_itself(&table).await;
    damaged.others_serve().await;
}

/// The same under a member that runs: what it has not cached is damaged from one read to the next.
#[tokio::test]
async fn damage_that_comes_while_it_runs_ends_the_member() {
    let mut damaged = Damaged::prepare().await;
    damaged.cluster.member(damaged.victim).restart().await;
    let table = loop {
        // A compaction may be faster.
        let table = table_of_pairs(&damaged.data_dir());
        if try_flip(&table, 5_000).is_ok() {
            break table;
        }
    };
    damaged.ends_of_itself(&table).await;
    damaged.others_serve().await;
}
