use std::{fs, os::unix::fs::PermissionsExt};

use super::*;
use crate::storage::testing::temporary;

const CLUSTER: ClusterId = ClusterId(0xcdf8_18f1_94e3_a8c6);
const MEMBER: MemberId = MemberId(0x8e9e_05c5_2164_694d);

fn refusal(path: &Path) -> String {
    DataDir::open(path).unwrap_err().to_string()
}

/// A new directory is made with its parents, for its owner only, and belongs to nobody.
#[test]
fn a_new_directory_is_private() {
    let dir = temporary();
    let path = dir.path().join("var/member");
    let data_dir = DataDir::open(&path).unwrap();
    assert_eq!(data_dir.identity(), None);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
}

/// Two processes never share a directory, and whoever comes second is told why.
#[test]
fn a_directory_in_use_is_refused() {
    let dir = temporary();
    let first = DataDir::open(dir.path()).unwrap();
    let expected = format!("data directory {} is in use by another process", dir.path().display());
    assert_eq!(refusal(dir.path()), expected);
    drop(first);
    DataDir::open(dir.path()).unwrap();
}

/// Where no directory can be made, the text says so and names it.
#[test]
fn a_place_that_cannot_be_written_is_refused() {
    let dir = temporary();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let within = file.join("data");
    let text = refusal(&within);
    let expected = format!("data directory {} is not writable: ", within.display());
    assert!(text.starts_with(&expected), "{text}");
    let text = refusal(&file);
    assert!(text.contains(" is not writable: "), "{text}");
}

/// Boot numbers rise with every start, over restarts, from 1.
#[test]
fn boot_numbers_rise() {
    let dir = temporary();
    let data_dir = DataDir::open(dir.path()).unwrap();
    assert!(data_dir.next_boot().is_err());
    data_dir.begin(CLUSTER, MEMBER, "one").unwrap();
    assert_eq!(data_dir.identity().unwrap().boot, BootNumber(0));
    for expected in 1..=3 {
        assert_eq!(data_dir.next_boot().unwrap(), BootNumber(expected));
    }
    drop(data_dir);

    let data_dir = DataDir::open(dir.path()).unwrap();
    assert_eq!(data_dir.next_boot().unwrap(), BootNumber(4));
    let identity = data_dir.identity().unwrap();
    assert_eq!((identity.cluster, identity.member), (CLUSTER, MEMBER));
    assert_eq!((identity.name.as_str(), identity.boot), ("one", BootNumber(4)));
}

/// A directory is begun once.
#[test]
fn a_directory_has_one_owner() {
    let dir = temporary();
    let data_dir = DataDir::open(dir.path()).unwrap();
    let bad = data_dir.begin(CLUSTER, MEMBER, "two\nlines").unwrap_err();
    assert_eq!(bad.to_string(), "member name \"two\\nlines\" contains a control character");
    data_dir.begin(CLUSTER, MEMBER, "one").unwrap();
    let taken = data_dir.begin(CLUSTER, MemberId(1), "two").unwrap_err().to_string();
    assert!(taken.ends_with("already belongs to member 8e9e05c52164694d"), "{taken}");
}

/// A directory of another cluster or member is refused, and both are named in hex.
#[test]
fn a_directory_of_somebody_else_is_refused() {
    let dir = temporary();
    let data_dir = DataDir::open(dir.path()).unwrap();
    assert!(matches!(data_dir.require(CLUSTER, MEMBER), Err(DataDirError::NoIdentity { .. })));
    data_dir.begin(CLUSTER, MEMBER, "one").unwrap();
    data_dir.require(CLUSTER, MEMBER).unwrap();

    let text = data_dir.require(ClusterId(0x1f), MEMBER).unwrap_err().to_string();
    assert!(text.ends_with("belongs to cluster cdf818f194e3a8c6, not to cluster 1f"), "{text}");
    let text = data_dir.require(CLUSTER, MemberId(0x2f)).unwrap_err().to_string();
    assert!(text.ends_with("belongs to member 8e9e05c52164694d, not to member 2f"), "{text}");
}

/// A directory of a later version is left alone.
#[test]
fn a_newer_format_is_refused() {
    let dir = temporary();
    fs::write(dir.path().join("identity"), "quorate data directory\nformat 7\nmore\n").unwrap();
    let expected = format!(
        "data directory {} has format 7, this version reads format 2",
        dir.path().display()
    );
    assert_eq!(refusal(dir.path()), expected);
}

/// A damaged identity is refused, and not replaced.
#[test]
fn a_damaged_identity_is_refused() {
    let dir = temporary();
    let data_dir = DataDir::open(dir.path()).unwrap();
    data_dir.begin(CLUSTER, MEMBER, "one").unwrap();
    drop(data_dir);
    let file = dir.path().join("identity");
    let damaged = fs::read_to_string(&file).unwrap().replace("cdf8", "cdf9");
    for text in [damaged.as_str(), ""] {
        fs::write(&file, text).unwrap();
        let refusal = refusal(dir.path());
        assert!(refusal.contains("is damaged"), "{refusal}");
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
    }
}

/// Data without an identity are nobody's: the text says what to do.
#[test]
fn data_without_identity_are_refused() {
    for name in ["log", "state-3"] {
        let dir = temporary();
        fs::create_dir(dir.path().join(name)).unwrap();
        let refusal = refusal(dir.path());
        assert!(refusal.contains("has a log or a state but no identity file"), "{refusal}");
        assert!(refusal.contains("add it again"), "{refusal}");
    }
}

/// A member that joins is told apart until it has a state, and one that was removed for good.
#[test]
fn a_life_goes_forward() {
    let dir = temporary();
    let open = || DataDir::open(dir.path()).unwrap();
    let life = || open().identity().unwrap().life;
    open().begin_joining(CLUSTER, MEMBER, "one").unwrap();
    assert_eq!(life(), Life::Joining);
    open().next_boot().unwrap();
    assert_eq!(life(), Life::Joining);

    open().joined().unwrap();
    assert_eq!(life(), Life::Member);

    open().removed().unwrap();
    open().joined().unwrap();
    assert_eq!(life(), Life::Removed);
    assert_eq!(open().identity().unwrap().boot, BootNumber(1));
}
