//! What is refused, with which words, and with which exit code.

use std::fs;

use super::Home;

/// Words that cannot be read: etcd's text, its usage, and 2.
#[tokio::test]
async fn unreadable_words_end_with_two() {
    let home = Home::new();
    for (words, text) in [
        (&["--no-such"][..], "flag provided but not defined: -no-such\n"),
        (&["--name"], "flag needs an argument: -name\n"),
        (&["--pre-vote=x"], "invalid boolean value \"x\" for -pre-vote: parse error\n"),
        (
            &["--feature-gates=X=true"],
            "invalid value \"X=true\" for flag -feature-gates: unrecognized feature gate: X\n",
        ),
    ] {
        let refused = home.finish(words).await;

        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.starts_with(text), "{refused:?}");
        assert!(refused.stderr.contains("Usage:\n\n  etcd [flags]\n"), "{refused:?}");
    }
}

/// Settings that cannot be: a line of the log, and 1.
#[tokio::test]
async fn impossible_settings_end_with_one() {
    let home = Home::new();
    let data = format!("--data-dir={}", home.text("data"));
    for (words, text) in [
        (&["start"][..], "\"start\" is not a valid flag"),
        (&["--election-timeout=100"], "--election-timeout[100ms] should be at least as 5 times as"),
        (&["--config-file=/no/such/file"], "/no/such/file"),
        (
            &["--experimental-corrupt-check-time=1m", "--corrupt-check-time=1m"],
            "cannot set --experimental-corrupt-check-time and --corrupt-check-time at the same time",
        ),
        (
            &["--discovery-srv=x", "--initial-cluster=default=http://localhost:2380"],
            "multiple discovery",
        ),
        (&["--discovery-token=x"], "both --discovery-token and --discovery-endpoints must be set"),
        (&["--discovery=https://discovery.etcd.io/x"], "--discovery is set"),
        (&["--logger=capnslog"], "capnslog"),
        (&["--log-outputs=/no/such/dir/log"], "/no/such/dir/log"),
    ] {
        let words: Vec<&str> = [data.as_str()].iter().chain(words).copied().collect();

        let refused = home.finish(&words).await;

        assert_eq!(refused.code, Some(1), "{refused:?}");
        let line: serde_json::Value = serde_json::from_str(refused.stderr.trim()).unwrap();
        assert_eq!(line["msg"], "failed to verify flags", "{refused:?}");
        assert!(line["error"].as_str().unwrap().contains(text), "{refused:?}");
    }
    assert!(!home.path("data").exists(), "a data directory was made");
}

/// A flag and a variable for one thing: etcd does not choose.
#[tokio::test]
async fn a_flag_and_its_variable_are_refused() {
    let home = Home::new();
    let mut command = home.etcd(&["--name=a"]);
    command.env("ETCD_NAME", "a");

    let refused = crate::harness::finish(command).await;

    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("conflicting environment variable is shadowed"), "{refused:?}");
}

/// Data of etcd's own are left as they are, and the way to move is told.
#[tokio::test]
async fn data_of_etcd_are_left_alone() {
    let home = Home::new();
    let snapshots = home.path("data/member/snap");
    fs::create_dir_all(&snapshots).unwrap();
    fs::write(snapshots.join("db"), "bbolt").unwrap();

    let refused = home.finish(&[&format!("--data-dir={}", home.text("data"))]).await;

    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("holds data of etcd"), "{refused:?}");
    assert_eq!(fs::read_dir(home.path("data")).unwrap().count(), 1, "something was made there");
}

/// What asks for no member is answered on standard output.
#[tokio::test]
async fn versions_help_and_settings_are_printed() {
    let home = Home::new();

    let versions = home.finish(&["--version"]).await.ok();
    let help = home.finish(&["--help"]).await.ok();
    let settings = home.finish(&["--print-config", "--name=n1"]).await.ok();

    let lines: Vec<&str> = versions.lines().collect();
    assert_eq!((lines.len(), lines[0]), (4, "etcd Version: 3.7.1"), "{versions}");
    assert!(help.contains("\nMember:\n  --name\n"), "{help}");
    assert!(settings.contains("data-dir = \"n1.etcd\" # default\n"), "{settings}");
    for command in ["gateway", "grpc-proxy"] {
        let refused = home.finish(&[command, "start"]).await;
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.stderr.contains("is not part of this program"), "{refused:?}");
    }
}
