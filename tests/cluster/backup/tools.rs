//! etcd's own command line, and ours under the name of etcdutl.

use etcd_client::MemberAddOptions;
use tokio::process::Command;

use super::{SOON, restore, run, save, wipe};
use crate::harness::{Cluster, Timing, eventually, finish, program};

/// etcdctl saves a snapshot that restores.
#[tokio::test]
async fn etcdctl_saves_a_snapshot() {
    let Some(etcdctl) = program("etcdctl").await else { return };
    let mut cluster = Cluster::start(1).await;
    let mut client = cluster.client(0).await;
    for number in 0..500 {
        client.put(format!("k{number}"), vec![b'v'; 1_000], None).await.unwrap();
    }
    drop(client);
    let file = cluster.path("s.db");
    let text = file.to_str().unwrap();
    let mut command = Command::new(etcdctl);
    command.args(["--endpoints", &cluster.endpoint(0), "snapshot", "save", text]);

    let said = finish(command).await.ok();

    assert_eq!(said, format!("Snapshot saved at {text}\nServer version 3.7.0\n"));
    assert!(!cluster.path("s.db.part").exists());
    cluster.kill_all().await;
    wipe(&mut cluster, 0);
    restore(&mut cluster, 0, &file, &[]).await.ok();
    cluster.member(0).restart().await;
    let mut client = cluster.client(0).await;
    assert_eq!(client.get("k499", None).await.unwrap().kvs().len(), 1);
    assert_eq!(client.get("k499", None).await.unwrap().header().unwrap().revision(), 501);
}

/// etcdutl's answers have its names and forms, and the checksums are those that the member tells.
#[tokio::test]
async fn etcdutl_tells_what_a_file_holds() {
    let mut cluster = Cluster::start(1).await;
    let mut client = cluster.client(0).await;
    for number in 0..5 {
        client.put(format!("k{number}"), "v", None).await.unwrap();
    }
    client.delete("k0", None).await.unwrap();
    let file = save(&cluster, 0, "s.db").await;
    let text = file.to_str().unwrap();
    let hash = client.hash().await.unwrap().hash();
    let at = super::hash_kv(&cluster, 0, 4).await.hash;
    let size = std::fs::metadata(&file).unwrap().len() - 32;
    let say = async |words: &[&str]| run(&[&["etcdutl"], words].concat()).await.ok();

    assert_eq!(
        say(&["snapshot", "status", text, "-w", "json"]).await,
        format!(
            "{{\"hash\":{hash},\"revision\":7,\"totalKey\":4,\"totalSize\":{size},\"version\":\"3.7.0\"}}\n"
        )
    );
    assert_eq!(
        say(&["snapshot", "status", text, "--write-out=fields"]).await,
        format!(
            "\"Hash\" : {hash}\n\"Revision\" : 7\n\"Keys\" : 4\n\"Size\" : {size}\n\"Version\" : 3.7.0\n"
        )
    );
    let simple = say(&["snapshot", "status", text]).await;
    assert!(simple.starts_with(&format!("{hash:x}, 7, 4, ")), "{simple}");
    assert_eq!(simple, run(&["snapshot", "status", text]).await.ok());
    let table = say(&["-w", "table", "snapshot", "status", text]).await;
    assert!(table.lines().nth(1).unwrap().contains("│ REVISION │ TOTAL KEYS │"), "{table}");
    assert_eq!(
        say(&["hashkv", text, "--rev", "4", "-w", "json"]).await,
        format!("{{\"hash\":{at},\"hashRevision\":4,\"compactRevision\":-1}}\n")
    );
    assert_eq!(say(&["version"]).await, "etcdutl version: 3.7.1\nAPI version: 3.7\n");

    let future = run(&["etcdutl", "hashkv", text, "--rev", "9"]).await;
    let says = "Error: mvcc: required revision is a future revision\n";
    assert_eq!((future.code, future.stderr.as_str()), (Some(1), says));
    let form = run(&["etcdutl", "snapshot", "status", text, "-w", "yaml"]).await;
    assert_eq!((form.code, form.stderr.as_str()), (Some(4), "Error: unsupported output format\n"));
    let flag = run(&["etcdutl", "--nope"]).await;
    assert!(flag.code == Some(1) && flag.stderr.starts_with("Error: "), "{flag:?}");
    let dir = cluster.member(0).data_dir().to_owned();
    let defrag = run(&["etcdutl", "defrag", "--data-dir", dir.to_str().unwrap()]).await;
    assert!(defrag.code == Some(0) && defrag.stderr.starts_with("nothing to defragment"));

    let place = cluster.path("by-etcdutl");
    let words = ["etcdutl", "snapshot", "restore", text, "--data-dir", place.to_str().unwrap()];
    let restored = run(&words).await;
    assert!(restored.stderr.starts_with("info\trestored snapshot\t{"), "{restored:?}");
    assert_eq!((restored.code, restored.stdout.as_str()), (Some(0), ""));
    assert!(place.join("identity").exists());
}

/// A member without a vote can be saved, too.
#[tokio::test]
async fn a_learner_can_be_saved() {
    let mut cluster = Cluster::start(1).await;
    let mut client = cluster.client(0).await;
    client.put("k", "v", None).await.unwrap();
    let learner = cluster.enlist(Timing::Alone);
    let url = cluster.member(learner).peer_url();
    client.member_add([url], Some(MemberAddOptions::new().with_is_learner())).await.unwrap();
    cluster.member(learner).spawn();
    let path = cluster.path("s.db");
    let (text, endpoint) = (path.to_str().unwrap(), cluster.endpoint(learner));
    let save = ["snapshot", "save", text, "--endpoints", &endpoint];
    eventually("the learner to have a state", SOON, async || {
        (run(&save).await.code == Some(0)).then_some(())
    })
    .await;
    assert_eq!(super::held(&path).head.keys, 1);
}
