//! A data directory that etcd has written is left alone.

use std::path::Path;

/// What etcd keeps in a data directory, and we never do.
const OF_ETCD: &[&str] = &["member/snap", "member/wal"];

/// Refuses a directory with data of etcd's in it.
pub(super) fn check(path: &Path) -> Result<(), String> {
    match OF_ETCD.iter().map(|name| path.join(name)).find(|path| path.exists()) {
        None => Ok(()),
        Some(found) => Err(format!(
            "data directory {} holds data of etcd ({}), which cannot be used in place: start with \
             another data directory, and copy the keys over while both run, with `etcdctl \
             make-mirror`",
            path.display(),
            found.display()
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// The way to move is in the refusal.
    #[test]
    fn data_of_etcd_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(check(dir.path()), Ok(()));
        assert_eq!(check(&dir.path().join("not-there")), Ok(()));
        fs::create_dir_all(dir.path().join("member/snap")).unwrap();

        let refused = check(dir.path()).unwrap_err();

        assert!(refused.contains("member/snap") && refused.contains("make-mirror"), "{refused}");
    }
}
