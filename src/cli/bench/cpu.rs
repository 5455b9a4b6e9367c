//! How much processor time this process has used, and others: a load generator that is itself at its
//! limit measures itself.

use std::{fs, time::Duration};

/// Linux counts processor time in hundredths of a second, whatever the kernel's own tick.
const TICK: Duration = Duration::from_millis(10);

/// Processor time used so far by all threads, where the system tells.
pub(super) fn used() -> Option<Duration> {
    parse(&fs::read_to_string("/proc/self/stat").ok()?)
}

/// The same of another process on this machine.
pub(super) fn used_by(pid: u32) -> Option<Duration> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Fields 14 and 15 of the line. The second field is a name that may hold anything, in parentheses.
fn parse(stat: &str) -> Option<Duration> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some(TICK * user.checked_add(system)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The name in the line may look like anything.
    #[test]
    fn processor_time_is_found_behind_the_name() {
        let stat = "1 (a) b) 3) R 0 1 1 0 -1 4194304 90 0 0 0 150 50 0 0 20 0 1 0 100 1 1";
        assert_eq!(parse(stat), Some(Duration::from_secs(2)));
        assert_eq!(parse("nonsense"), None);
    }
}
