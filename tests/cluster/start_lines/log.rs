//! The log under etcd's name: its lines, its outputs, its rotation.

use std::{fs, path::Path};

use super::{Home, Ports, Running, lines, says};

fn words(ports: &Ports) -> Vec<String> {
    let (clients, peers) = (ports.clients(), ports.peers());
    vec![
        format!("--listen-client-urls={clients}"),
        format!("--advertise-client-urls={clients}"),
        format!("--listen-peer-urls={peers}"),
        format!("--initial-advertise-peer-urls={peers}"),
    ]
}

async fn started(home: &Home, more: &[&str]) -> (Running, Ports) {
    let ports = Ports::free();
    let words = words(&ports);
    let words: Vec<&str> = words.iter().map(String::as_str).chain(more.iter().copied()).collect();
    (home.start("etcd", &words), ports)
}

/// Every line is an object with the four keys, in the form in which programs that read etcd's log
/// look for them.
#[tokio::test]
async fn lines_are_etcds() {
    let home = Home::new();
    let (mut member, _ports) = started(&home, &["--log-level=debug"]).await;
    member.ready().await;
    member.terminate().await;
    assert_eq!(member.ended().await.code(), Some(0));

    let lines = member.lines();
    assert!(lines.len() > 5, "{lines:?}");
    for line in &lines {
        let text = |key: &str| line[key].as_str().unwrap_or_else(|| panic!("{key}: {line}"));
        assert!(["debug", "info", "warn", "error"].contains(&text("level")), "{line}");
        let (date, time) = text("ts").split_once('T').expect("a date, a T, and a time");
        assert_eq!((date.len(), time.len(), time.ends_with('Z')), (10, 16, true), "{line}");
        let (file, number) = text("caller").rsplit_once(':').expect("a file and a line");
        assert!(file.ends_with(".rs") && number.parse::<u32>().is_ok(), "{line}");
        text("msg");
    }
    for words in ["ready to serve client requests", "stopping", "stopped"] {
        assert!(says(&lines, words), "{words} is not in:\n{}", member.output());
    }
    let ready = lines.iter().find(|line| line["msg"] == "ready to serve client requests");
    assert_eq!(
        ready.unwrap()["caller"].as_str().map(|it| it.contains("server/member.rs")),
        Some(true)
    );
}

/// Lines go to each file that is named, and nowhere else; `console` is for people.
#[tokio::test]
async fn files_and_formats_are_chosen() {
    let home = Home::new();
    let outputs = format!("--log-outputs={},stdout", home.text("etcd.log"));
    let (member, _ports) = started(&home, &[&outputs, "--log-format=console"]).await;
    member.ready().await;

    let text = fs::read_to_string(home.path("etcd.log")).unwrap();
    let ready = text.lines().find(|line| line.contains("ready to serve client requests")).unwrap();
    let columns: Vec<&str> = ready.split('\t').collect();
    assert_eq!(columns.len(), 5, "{ready:?}");
    assert_eq!((columns[1], columns[3]), ("info", "ready to serve client requests"), "{ready:?}");
    assert!(columns[4].starts_with("{\"client_urls\":\"http://"), "{ready:?}");
    assert!(member.output().starts_with(&text), "{}", member.output());
}

/// A file that is full is put aside, and what was written stays.
#[tokio::test]
async fn a_file_is_rotated() {
    let home = Home::new();
    let path = home.path("etcd.log");
    // A whole line, as large as the bound that is to come.
    let line = format!("{{\"msg\":\"{}\"}}\n", "x".repeat(1024 * 1024));
    fs::write(&path, &line).unwrap();
    let outputs = format!("--log-outputs={}", path.display());
    let rotation = "--log-rotation-config-json={\"maxsize\":1,\"maxbackups\":1}";
    let (member, _ports) = started(&home, &[&outputs, "--enable-log-rotation", rotation]).await;
    let what = || "the ready line";
    let ready = async || says(&lines(&path), "ready to serve client requests").then_some(());
    crate::harness::eventually(what(), crate::harness::READY, ready).await;

    let backups = |dir: &Path| {
        let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let is_backup = |path: &std::path::PathBuf| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.starts_with("etcd-") && name.ends_with(".log")
        };
        entries.filter(is_backup).collect::<Vec<_>>()
    };
    let backups = backups(home.path("etcd.log").parent().unwrap());
    assert_eq!(backups.len(), 1, "{backups:?}");
    assert!(fs::read_to_string(&backups[0]).unwrap() == line, "the older lines are gone");
    assert_eq!(member.output(), "", "lines went elsewhere, too");
}
