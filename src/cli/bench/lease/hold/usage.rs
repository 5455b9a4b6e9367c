//! What the members use, by their part in the cluster.

use std::time::Duration;

use crate::cli::bench::{
    cpu, memory,
    report::{Detail, Report},
};

/// What one process uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Used {
    memory: u64,
    cpu: Duration,
}

/// What the leader uses, and one follower.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    leader: Option<Used>,
    follower: Option<Used>,
}

impl Usage {
    /// Of these processes, of which the one at this place leads.
    pub(super) fn of(pids: &[u32], leader: usize) -> Self {
        let used =
            |pid: u32| Some(Used { memory: memory::resident(pid)?, cpu: cpu::used_by(pid)? });
        Self::among(&pids.iter().map(|pid| used(*pid)).collect::<Vec<_>>(), leader)
    }

    fn among(used: &[Option<Used>], leader: usize) -> Self {
        let mut followers = used.iter().enumerate().filter(|(place, _)| *place != leader);
        Self {
            leader: used.get(leader).copied().flatten(),
            follower: followers.next().and_then(|(_, used)| *used),
        }
    }
}

/// The report with what was used before there were leases, once all were granted, and at the end;
/// the processor time is that in between the last two.
pub(super) fn add(mut report: Report, usage: [Usage; 3]) -> Report {
    let leader = usage.map(|usage| usage.leader);
    let follower = usage.map(|usage| usage.follower);
    for (names, used) in [
        (["leader idle bytes", "leader granted bytes", "leader held bytes", "leader cpu"], leader),
        (
            [
                "follower idle bytes",
                "follower granted bytes",
                "follower held bytes",
                "follower cpu",
            ],
            follower,
        ),
    ] {
        let [Some(idle), Some(granted), Some(held)] = used else { continue };
        let [first, second, third, cpu] = names;
        report = report
            .with(first, Detail::Count(idle.memory))
            .with(second, Detail::Count(granted.memory))
            .with(third, Detail::Count(held.memory))
            .with(cpu, Detail::Latency(held.cpu.saturating_sub(granted.cpu)));
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The leader is told from the others, of which the first is shown.
    #[test]
    fn members_have_their_parts() {
        let used = |memory| Some(Used { memory, cpu: Duration::ZERO });

        let three = Usage::among(&[used(5), used(9), used(7)], 1);
        let one = Usage::among(&[used(5)], 0);

        assert_eq!((three.leader, three.follower), (used(9), used(5)));
        assert_eq!((one.leader, one.follower), (used(5), None));
    }
}
