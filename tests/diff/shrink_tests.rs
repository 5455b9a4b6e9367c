//! Shrinking without servers: what is left is what the difference takes, and time is bounded.

use crate::{
    generate::operations,
    level::Level,
    op::Op,
    shrink::{Oracle, Verdict, shrink},
};

/// Differs once a compaction and two deletes have come, and knows a number of tries at most.
struct Known {
    tries_left: usize,
}

impl Oracle for Known {
    async fn judge(&mut self, ops: &[Op]) -> Verdict {
        if self.tries_left == 0 {
            return Verdict::OutOfTime;
        }
        self.tries_left -= 1;
        verdict(ops)
    }
}

fn verdict(ops: &[Op]) -> Verdict {
    let (mut compacted, mut deletes) = (false, 0);
    for (index, op) in ops.iter().enumerate() {
        compacted |= matches!(op, Op::Compact(_));
        deletes += usize::from(compacted && matches!(op, Op::DeleteRange(_)));
        if deletes == 2 {
            return Verdict::DiffersAfter(index + 1);
        }
    }
    Verdict::Agrees
}

fn differing() -> Vec<Op> {
    let mut ops = operations(7, 5_000, Level::Etcd37);
    let Verdict::DiffersAfter(count) = verdict(&ops) else { panic!("there is a compaction") };
    ops.truncate(count);
    ops
}

#[tokio::test]
async fn what_the_difference_takes_remains() {
    let shrunk = shrink(differing(), &mut Known { tries_left: 1_000 }).await;

    let names: Vec<&str> = shrunk.ops.iter().map(Op::name).collect();
    assert_eq!(names, ["Compact", "DeleteRange", "DeleteRange"]);
    assert!(!shrunk.out_of_time);
    assert!(shrunk.tries < 100, "{} tries", shrunk.tries);
}

#[tokio::test]
async fn when_time_runs_out_the_best_so_far_remains() {
    let ops = differing();

    let shrunk = shrink(ops.clone(), &mut Known { tries_left: 3 }).await;

    assert!(shrunk.out_of_time);
    assert_eq!(verdict(&shrunk.ops), Verdict::DiffersAfter(shrunk.ops.len()));
    assert!(shrunk.ops.len() <= ops.len());
}

/// A seed is the whole report: the sequence follows from it alone.
#[test]
fn a_seed_decides_the_sequence() {
    assert_eq!(operations(3, 500, Level::Etcd37), operations(3, 500, Level::Etcd37));
    assert_ne!(operations(3, 500, Level::Etcd37), operations(4, 500, Level::Etcd37));
}
