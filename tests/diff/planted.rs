//! Differences that are planted are found, and come down to the few operations that they take.

use crate::{answer::Answer, op::Op, run_seed, servers::Peer, tally::Tally};

/// Operations within which what is planted must show.
const OPS: usize = 2_000;

/// A store that forgets to count one of several deleted keys.
fn miscounts_deletes(_: &Op, answer: &mut Answer) {
    if let Answer::DeleteRange(response) = answer
        && response.deleted > 1
    {
        response.deleted -= 1;
    }
}

/// Two puts and the delete of both: less cannot show it, and nothing else remains.
#[tokio::test]
async fn a_planted_difference_shrinks_to_what_it_takes() {
    let Some(peer) = Peer::find().await else { return };

    let run = run_seed(&peer, 1, OPS, Some(miscounts_deletes), &mut Tally::default()).await;

    let Err(found) = run else { panic!("the planted difference was not found") };
    let names: Vec<&str> = found.ops.iter().map(Op::name).collect();
    let minimal = [&["Put", "Put", "DeleteRange"][..], &["Txn", "DeleteRange"]];
    assert!(minimal.contains(&names.as_slice()), "{names:?} remained\n{}", found.report);
    assert!(found.report.contains("deleted: 2"), "{}", found.report);
    assert_eq!(found.seed, 1);
}

/// The answer differs in a header alone.
fn loses_the_revision(op: &Op, answer: &mut Answer) {
    if let (Op::LeaseRevoke(_), Answer::LeaseRevoke(response)) = (op, answer) {
        response.header.as_mut().unwrap().revision += 1;
    }
}

/// One operation needs another before it: a lease is revoked that was granted.
#[tokio::test]
async fn a_difference_in_a_header_is_found() {
    let Some(peer) = Peer::find().await else { return };

    let run = run_seed(&peer, 2, OPS, Some(loses_the_revision), &mut Tally::default()).await;

    let Err(found) = run else { panic!("the planted difference was not found") };
    let names: Vec<&str> = found.ops.iter().map(Op::name).collect();
    assert_eq!(names, ["LeaseGrant", "LeaseRevoke"], "{}", found.report);
}
