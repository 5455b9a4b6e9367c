//! A member's data directory made of a snapshot, ended at every durable step of it.

use std::{os::unix::process::ExitStatusExt, path::Path, process::ExitStatus};

use etcd_client::GetOptions;
use tokio::process::Command;

use crate::{
    WHOLE_LOG, end_at, folder,
    harness::{Cluster, Timing, finish, quorate},
};

/// The steps, and at which time each is the last.
pub(crate) const PLACES: &[(&str, usize)] = &[
    ("restore-begun", 1),
    ("restore-stored", 1),
    ("restore-filled", 1),
    ("restore-half-moved", 2),
    ("restore-moved", 1),
];
/// The step that only a restore into a directory comes by which is there.
const INSIDE_ONLY: &str = "restore-half-moved";
/// Steps of a start that a restore comes by as well.
const SHARED: &[(&str, usize)] = &[
    ("dir-made", 1),
    ("file-drafted", 1),
    ("file-renamed", 2),
    ("state-dir-made", 1),
    ("flushed", 1),
    ("log-before-reset", 1),
    ("log-reset", 1),
    ("start-in-log", 1),
    ("start-counted", 1),
];
const KEYS: usize = 300;

fn restoring(cluster: &mut Cluster, file: &Path) -> Command {
    let (peer, dir) = (cluster.member(0).peer_url(), cluster.member(0).data_dir().to_owned());
    let mut command = quorate();
    command.args(["snapshot", "restore"]).arg(file).arg("--data-dir").arg(dir);
    command.arg("--name=n1").arg(format!("--initial-cluster=n1={peer}"));
    command.arg(format!("--initial-advertise-peer-urls={peer}"));
    command
}

async fn crash_at(place: &str, nth: usize, is_there: bool) {
    let mut cluster = Cluster::prepare(folder(), 1, Timing::Alone);
    cluster.member(0).fail_points(WHOLE_LOG);
    cluster.member(0).restart().await;
    let mut client = cluster.client(0).await;
    for number in 0..KEYS {
        client.put(format!("k{number}"), vec![b'v'; 500], None).await.unwrap();
    }
    let file = cluster.path("s.db");
    let mut save = quorate();
    save.args(["snapshot", "save"]).arg(&file).args(["--endpoints", &cluster.endpoint(0)]);
    finish(save).await.ok();
    cluster.kill_all().await;
    let dir = cluster.member(0).data_dir().to_owned();
    std::fs::remove_dir_all(&dir).unwrap();
    if is_there {
        std::fs::create_dir(&dir).unwrap();
    }

    let mut command = restoring(&mut cluster, &file);
    command.env("FAILPOINTS", end_at(place, nth, WHOLE_LOG)).kill_on_drop(true);
    let ended: ExitStatus = command.output().await.unwrap().status;
    assert_eq!(ended.signal(), Some(6), "{place}: {ended}");

    // All of it, or nothing; and what lies beside it is in nobody's way.
    if place == "restore-moved" {
        assert!(dir.join("identity").exists());
    } else {
        assert!(!dir.join("identity").exists() && dir.exists() == is_there, "{place}");
        if place == INSIDE_ONLY {
            let refused = cluster.member(0).refuses_to_start(&[]).await;
            assert!(refused.stderr.contains("but no identity file"), "{refused:?}");
        }
        finish(restoring(&mut cluster, &file)).await.ok();
    }
    cluster.member(0).restart().await;
    let mut client = cluster.client(0).await;
    let all = GetOptions::new().with_prefix().with_count_only();
    let found = client.get("k", Some(all)).await.unwrap();
    assert_eq!(usize::try_from(found.count()), Ok(KEYS), "{place}");
    assert!(!cluster.path("n1.restoring").exists(), "{place}");
}

/// A restore that is cut off anywhere leaves a whole directory or none, and can be repeated.
#[tokio::test]
async fn a_restore_may_end_anywhere() {
    for (place, nth) in PLACES.iter().chain(SHARED).filter(|(place, _)| *place != INSIDE_ONLY) {
        crash_at(place, *nth, false).await;
    }
}

/// The same in a directory that is there, which may be a file system of its own.
#[tokio::test]
async fn a_restore_into_a_directory_may_end_anywhere() {
    for (place, nth) in PLACES {
        crash_at(place, *nth, true).await;
    }
}
