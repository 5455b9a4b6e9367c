//! How much memory another process on this machine has resident.

use std::fs;

/// Resident bytes, where the system tells.
pub(super) fn resident(pid: u32) -> Option<u64> {
    parse(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

/// The line is `VmRSS:    1234 kB`.
fn parse(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The line is found among others.
    #[test]
    fn resident_memory_is_found() {
        assert_eq!(parse("VmHWM:\t   9 kB\nVmRSS:\t  42 kB\nRssAnon:\t 7 kB\n"), Some(42 * 1024));
        assert_eq!(parse("Name:\tinit\n"), None);
    }
}
