//! Members changed by etcd's own command line, by ours, and by the Go client.

use std::time::Duration;

use tokio::process::Command;

use super::{Asked, Servers, settled};
use crate::harness::{Cluster, Finished, Port, Timing, eventually, finish, program};

const SOON: Duration = Duration::from_secs(30);
const NEW: &str = "http://127.0.0.1:17";
const OTHER: &str = "http://127.0.0.1:18";

/// `text` with every id of a member, which stands for itself in a new place each time, masked; and
/// the members of a cluster, which are told in the order of their ids, in one that is not made of ids.
fn masked(text: &str, id: u64) -> String {
    let text = text.replace(&format!("{id:16x}"), "<id>").replace(&format!("{id:x}"), "<id>");
    let line = |line: &str| {
        let Some(list) = line.strip_prefix("ETCD_INITIAL_CLUSTER=\"") else {
            return line.to_owned();
        };
        let mut members: Vec<&str> = list.trim_end_matches('"').split(',').collect();
        members.sort_unstable();
        format!("ETCD_INITIAL_CLUSTER=\"{}\"", members.join(","))
    };
    let mut lines: Vec<String> = text.split('\n').map(line).collect();
    if text.contains(", started, ") {
        lines.sort_unstable();
    }
    lines.join("\n")
}

/// What is said of a change, byte for byte as etcdctl says it.
#[tokio::test]
async fn our_command_line_changes_members_as_etcdctl_does() {
    let Some(etcdctl) = program("etcdctl").await else { return };
    let cluster = Cluster::start(1).await;
    settled(&cluster).await;
    let asked = Asked::at(&cluster, 0);
    let theirs = async |words: &[&str]| {
        let mut command = Command::new(&etcdctl);
        command.args(["--endpoints", &cluster.endpoint(0)]).args(words);
        finish(command).await
    };
    let ours = async |words: &[&str]| cluster.quorate(words).await;

    let urls = format!("--peer-urls={OTHER},{NEW}");
    let mut told: Vec<Vec<String>> = Vec::new();
    for by_us in [false, true] {
        let run = async |words: &[&str]| {
            if by_us { ours(words).await } else { theirs(words).await }
        };
        // Until the second has passed in which the last one was removed.
        let added = eventually("an id of its own", SOON, async || {
            let added = run(&["member", "add", "n2", &urls, "--learner"]).await;
            (added.code == Some(0)).then_some(added.stdout)
        })
        .await;
        let member = asked.list(true).await.unwrap().members.into_iter().find(|it| it.is_learner);
        let id = member.unwrap().id;
        let hex = format!("{id:x}");
        let voter = cluster_member(&asked).await;
        let mut said = vec![added, run(&["member", "list"]).await.ok()];
        said.push(run(&["member", "update", &hex, "--peer-urls", NEW]).await.ok());
        for refused in [
            &["member", "promote", &hex][..],
            &["member", "promote", &voter],
            &["member", "promote", "77"],
            &["member", "promote", "xyz"],
            &["member", "promote"],
            &["member", "remove", "77"],
            &["member", "remove", "1ffffffffffffffff"],
            &["member", "add", "n3", "--learner", "--peer-urls=http://127.0.0.1:16"],
            &["member", "add", "n3"],
            &["member", "add"],
            &["member", "add", "n3", NEW],
            &["member", "update", &hex, "--peer-urls=http://127.0.0.1:99999"],
            &["member", "update", &hex],
            &["member", "update", "--peer-urls", NEW],
        ] {
            said.push(refusal(run(refused).await));
        }
        said.push(run(&["member", "remove", &hex]).await.ok());
        told.push(said.iter().map(|text| masked(text, id)).collect());
    }
    let [theirs, ours] = told.try_into().unwrap();
    for (theirs, ours) in theirs.iter().zip(&ours) {
        assert_eq!(ours, theirs);
    }
    assert!(ours[0].contains(&format!("\nETCD_INITIAL_ADVERTISE_PEER_URLS=\"{OTHER},{NEW}\"\n")));
}

async fn cluster_member(asked: &Asked) -> String {
    format!("{:x}", asked.status().await.unwrap().header.unwrap().member_id)
}

/// How a command failed, and its last words: those before are etcdctl's own log.
fn refusal(finished: Finished) -> String {
    let words = finished.stderr.lines().rfind(|line| line.starts_with("Error: "));
    format!("{:?} {}", finished.code, words.unwrap_or(&finished.stderr))
}

/// The Go client knows every refusal by its value.
#[tokio::test]
async fn the_go_client_knows_refusals_of_changes() {
    let Some(program) = program("scenario").await else { return };
    let cluster = Cluster::start_with(1, Timing::Alone).await;
    settled(&cluster).await;
    let mut command = Command::new(program);
    command.args(["members", "--endpoints", cluster.endpoint(0).trim_start_matches("http://")]);

    let finished = finish(command).await;

    assert_eq!(finished.code, Some(0), "{}\n{}", finished.stdout, finished.stderr);
    assert_eq!(finished.stdout.matches("ok ").count(), 10, "{}", finished.stdout);
}

/// A URL that no member could use comes to nobody, whether a member is added or moved. etcd takes it
/// when a member is moved, and its other members panic.
#[tokio::test]
async fn case_25_a_bad_url_harms_nobody() {
    let cluster = Cluster::start(3).await;
    settled(&cluster).await;
    let ids = super::ids(&cluster).await;
    let bad =
        super::said(tonic::Code::InvalidArgument, "etcdserver: given member URLs are invalid");
    for urls in [
        &[][..],
        &["not a url"],
        &["http://[::1"],
        &["http://127.0.0.1:99999"],
        &["http://%zz:1"],
        &["unix://"],
        &["https://127.0.0.1"],
        &[NEW, ""],
    ] {
        for (asked, id) in [(0, ids[1]), (1, ids[1]), (2, 7)] {
            let refused = Asked::at(&cluster, asked).update(id, urls).await.unwrap_err();
            assert_eq!(refused, bad, "{urls:?}");
        }
    }

    for index in 0..3 {
        cluster.client(index).await.put("k", "v", None).await.unwrap();
    }
    // An address where nobody listens is one, and going back is possible with two of three.
    let asked = Asked::at(&cluster, 0);
    let own = asked.list(true).await.unwrap().members;
    let own = super::find(&own, ids[1]).peer_ur_ls;
    let free = Port::free().url();
    let moved = asked.update(ids[1], &[&free]).await.unwrap();
    assert_eq!(super::find(&moved.members, ids[1]).peer_ur_ls, [free]);
    let back: Vec<&str> = own.iter().map(String::as_str).collect();
    asked.update(ids[1], &back).await.unwrap();
    assert_eq!(Servers::len(&cluster), 3);
    cluster.client(1).await.put("k", "v", None).await.unwrap();
}
