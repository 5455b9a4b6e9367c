//! What cannot be restored, or saved, and what is said then.

use std::fs;

use super::{restore, run, save, wipe};
use crate::harness::Cluster;

/// A byte that is flipped in any part of a file is found, with and without a look at the SHA-256;
/// so is a part that is missing, and one too many. Nothing is left of the attempt.
#[tokio::test]
async fn a_damaged_file_is_refused() {
    let mut cluster = Cluster::start(1).await;
    let mut client = cluster.client(0).await;
    for number in 0..40 {
        client.put(format!("k{number}"), vec![b'v'; 4_000], None).await.unwrap();
    }
    drop(client);
    let file = save(&cluster, 0, "s.db").await;
    cluster.kill_all().await;
    wipe(&mut cluster, 0);
    let whole = fs::read(&file).unwrap();
    let len = whole.len();
    assert!(len > 4 * 32 * 1024);
    let damaged = cluster.path("damaged.db");
    let flip = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let chunk = |at: usize| format!("the checksum of chunk {} (bytes", (at - 512) / (32 * 1024));
    let head = "the snapshot is damaged: the checksum of its head does not match";
    let cases = [
        (flip(5), "it does not begin as a snapshot".to_owned()),
        (flip(17), head.to_owned()),
        (flip(300), head.to_owned()),
        (flip(512), chunk(512)),
        (flip(700), chunk(700)),
        (flip(100_000), chunk(100_000)),
        (flip(len - 33), chunk(len - 33)),
        (whole[..len - 1].to_vec(), format!("it has {} bytes, but should have {len}", len - 1)),
        (whole[..512].to_vec(), format!("it has 512 bytes, but should have {len}")),
        (whole[..100].to_vec(), "it does not begin as a snapshot".to_owned()),
        ([&whole[..], &[0]].concat(), format!("it has {} bytes, but should have {len}", len + 1)),
        (
            [&whole[..len - 32], &[0; 512], &whole[len - 32..]].concat(),
            "but should have".to_owned(),
        ),
    ];
    for (bytes, says) in cases {
        fs::write(&damaged, bytes).unwrap();
        for more in [&[][..], &["--skip-hash-check"]] {
            let refused = restore(&mut cluster, 0, &damaged, more).await;
            assert_eq!(refused.code, Some(1), "{says}: {refused:?}");
            assert!(refused.stderr.contains(&says), "{says}: {refused:?}");
            assert!(refused.stderr.contains("damaged.db"), "{refused:?}");
        }
        let status = run(&["snapshot", "status", damaged.to_str().unwrap()]).await;
        assert_eq!(status.code, Some(1), "{status:?}");
        assert!(status.stderr.contains(&says), "{says}: {status:?}");
    }
    for (bytes, says) in [
        (flip(len - 1), "Error: expected sha256 "),
        (whole[..len - 32].to_vec(), "Error: snapshot missing hash but --skip-hash-check=false"),
    ] {
        fs::write(&damaged, bytes).unwrap();
        let refused = restore(&mut cluster, 0, &damaged, &[]).await;
        assert!(refused.code == Some(1) && refused.stderr.starts_with(says), "{refused:?}");
        assert!(!cluster.member(0).data_dir().exists());
        restore(&mut cluster, 0, &damaged, &["--skip-hash-check"]).await.ok();
        wipe(&mut cluster, 0);
    }
    let names = fs::read_dir(cluster.path("")).unwrap().map(|it| it.unwrap().file_name());
    let left: Vec<_> = names.filter(|it| it.to_string_lossy().contains("restoring")).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A place that holds something is left as it is; an empty directory is taken.
#[tokio::test]
async fn a_place_that_is_not_empty_is_refused() {
    let mut cluster = Cluster::start(1).await;
    cluster.client(0).await.put("k", "v", None).await.unwrap();
    let file = save(&cluster, 0, "s.db").await;

    let refused = restore(&mut cluster, 0, &file, &[]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("not empty or could not be read"), "{refused:?}");
    assert_eq!(cluster.client(0).await.get("k", None).await.unwrap().kvs().len(), 1);

    cluster.kill_all().await;
    wipe(&mut cluster, 0);
    fs::create_dir(cluster.member(0).data_dir()).unwrap();
    restore(&mut cluster, 0, &file, &[]).await.ok();
    cluster.member(0).restart().await;
    assert_eq!(cluster.client(0).await.get("k", None).await.unwrap().kvs().len(), 1);
}

/// A wrong command line is refused before anything is touched.
#[tokio::test]
async fn a_wrong_command_line_is_refused() {
    let mut cluster = Cluster::start(1).await;
    let file = save(&cluster, 0, "s.db").await;
    cluster.kill_all().await;
    wipe(&mut cluster, 0);
    for (more, code, says) in [
        (&["--bump-revision=5"][..], 128, "--mark-compacted required if --revision-bump > 0"),
        (&["--mark-compacted"], 128, "--mark-compacted required if --revision-bump > 0"),
        (&["--name=n9"], 1, "has no member \"n9\""),
        (&["--initial-advertise-peer-urls=http://127.0.0.1:1"], 1, "initial-cluster"),
    ] {
        let refused = restore(&mut cluster, 0, &file, more).await;
        assert_eq!(refused.code, Some(code), "{refused:?}");
        assert!(refused.stderr.contains(says), "{refused:?}");
        assert!(!cluster.member(0).data_dir().exists());
    }
    let text = file.to_str().unwrap();
    let two = run(&["snapshot", "save", text, "--endpoints", "127.0.0.1:1,127.0.0.1:2"]).await;
    let says =
        "snapshot must be requested to one selected node, not multiple [127.0.0.1:1 127.0.0.1:2]";
    assert_eq!((two.code, two.stderr), (Some(5), format!("Error: {says}\n")));
    let missing = run(&["snapshot", "status", cluster.path("none").to_str().unwrap()]).await;
    assert!(missing.code == Some(1) && missing.stderr.contains("No such file"), "{missing:?}");
    // A database of etcd begins with a page, and in it stands this number.
    let mut bbolt = vec![0; 20_480];
    bbolt[16..20].copy_from_slice(&[0xed, 0xda, 0x0c, 0xed]);
    let other = cluster.path("etcd.db");
    fs::write(&other, bbolt).unwrap();
    let refused = restore(&mut cluster, 0, &other, &["--skip-hash-check"]).await;
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("it is a database of etcd (bbolt)"), "{refused:?}");
}
