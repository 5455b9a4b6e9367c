//! How much memory this process may use, and what the block cache takes of it by default.
//!
//! The machine has so much, and control groups, which is what containers are made of, may grant
//! less: the one the process is in, or any above it, in either version of their files. What cannot
//! be read counts as no limit. The files are read once, at the start.

use std::{
    fs,
    path::{Path, PathBuf},
};

const MIB: u64 = 1024 * 1024;
/// The cache is one part of this many of the memory.
const CACHE_SHARE: u64 = 16;
const CACHE_BYTES_MIN: u64 = 64 * MIB;
const CACHE_BYTES_MAX: u64 = 1024 * MIB;

/// The size of the block cache for the memory that this process may use.
#[must_use]
pub fn block_cache_bytes() -> usize {
    let bytes = cache_for(available(Path::new("/")));
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn cache_for(memory: Option<u64>) -> u64 {
    memory.unwrap_or(0).saturating_div(CACHE_SHARE).clamp(CACHE_BYTES_MIN, CACHE_BYTES_MAX)
}

/// The memory that this process may use, with the files of the system below `root`.
fn available(root: &Path) -> Option<u64> {
    let memory = machine(&root.join("proc/meminfo"));
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    groups.lines().filter_map(|line| granted(root, line)).chain(memory).min()
}

/// What the machine has.
fn machine(meminfo: &Path) -> Option<u64> {
    let text = fs::read_to_string(meminfo).ok()?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = total.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kib.checked_mul(1024)
}

/// What a control group and those above it grant. A line is `hierarchy:controllers:path`, and in the
/// second version both of the former are nothing: `0::path`.
fn granted(root: &Path, line: &str) -> Option<u64> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (controllers, path) = (fields.next()?, fields.next()?);
    let (mount, file) = match controllers {
        "" => ("sys/fs/cgroup", "memory.max"),
        some if some.split(',').any(|name| name == "memory") => {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return None,
    };
    // A container may see its own group as the root and still be told the path from outside, so
    // whatever part of the path is there counts.
    let path = PathBuf::from(path.trim_start_matches('/'));
    let limits = path.ancestors().filter_map(|group| {
        let text = fs::read_to_string(root.join(mount).join(group).join(file)).ok()?;
        // Without a limit it is a word, or a number that no machine reaches.
        text.trim().parse().ok()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1024 * MIB;

    /// The files of a system of so many GiB, in these groups.
    fn system(gib: u64, groups: &str, limits: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let kib = gib * 1024 * 1024;
        let meminfo = format!("MemTotal:       {kib} kB\nMemFree:        1 kB\n");
        let files = [("proc/meminfo", meminfo.as_str()), ("proc/self/cgroup", groups)];
        for (path, text) in files.iter().chain(limits) {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    /// The least of what the machine has and what any group around the process grants counts.
    #[test]
    fn the_least_of_machine_and_groups_counts() {
        let (own, above) = ("sys/fs/cgroup/a/b/memory.max", "sys/fs/cgroup/a/memory.max");
        let at = |limits: &[(&str, &str)]| available(system(8, "0::/a/b\n", limits).path());
        assert_eq!(at(&[]), Some(8 * GIB));
        assert_eq!(at(&[(own, "max\n"), (above, "max\n")]), Some(8 * GIB));
        assert_eq!(at(&[(own, "1073741824\n"), (above, "max\n")]), Some(GIB));
        assert_eq!(at(&[(own, "2147483648\n"), (above, "1073741824\n")]), Some(GIB));
        assert_eq!(at(&[(own, "99999999999999\n")]), Some(8 * GIB));
    }

    /// The first version of control groups has a hierarchy for each controller.
    #[test]
    fn groups_of_the_first_version_count() {
        let groups = "5:cpu,cpuacct:/c\n4:hugetlb,memory:/c\n";
        let limit = ("sys/fs/cgroup/memory/c/memory.limit_in_bytes", "1073741824\n");
        let none = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(available(system(8, groups, &[limit, none]).path()), Some(GIB));
        assert_eq!(available(system(8, groups, &[none]).path()), Some(8 * GIB));
    }

    /// In a container the path may be the one outside, and the limit stands at the root.
    #[test]
    fn a_container_has_its_limit_at_the_root() {
        let limit = ("sys/fs/cgroup/memory.max", "1073741824\n");
        assert_eq!(available(system(8, "0::/\n", &[limit]).path()), Some(GIB));
        assert_eq!(available(system(8, "0::/docker/5ac\n", &[limit]).path()), Some(GIB));
    }

    /// A system that shows nothing has no known memory, and the cache is the least one.
    #[test]
    fn the_cache_follows_the_memory_within_bounds() {
        assert_eq!(available(tempfile::tempdir().unwrap().path()), None);
        assert_eq!(cache_for(None), 64 * MIB);
        assert_eq!(cache_for(Some(512 * MIB)), 64 * MIB);
        assert_eq!(cache_for(Some(8 * GIB)), 512 * MIB);
        assert_eq!(cache_for(Some(64 * GIB)), GIB);
    }
}
