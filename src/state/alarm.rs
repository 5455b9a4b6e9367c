//! Alarms: members in trouble, and what the cluster declines until somebody has dealt with it.

use crate::{
    state::{
        Alarm, AlarmCommand, AlarmKind, Command, Op, Refused, Txn, meta::Store, write_txn::WriteTxn,
    },
    types::MemberId,
};

/// Declines what an alarm forbids. CORRUPT stops every change, NOSPACE whatever stores something.
pub(super) fn gate(store: &Store, command: &Command) -> Result<(), Refused> {
    if store.alarms.is_empty() {
        return Ok(());
    }
    let raised = |kind| store.alarms.iter().any(|alarm| alarm.kind == kind);
    if changes_state(command) && raised(AlarmKind::Corrupt) {
        return Err(Refused::Corrupt);
    }
    if stores_something(command) && raised(AlarmKind::NoSpace) {
        return Err(Refused::NoSpace);
    }
    Ok(())
}

fn changes_state(command: &Command) -> bool {
    match command {
        Command::Put(_)
        | Command::DeleteRange(_)
        | Command::Txn(_)
        | Command::Compact(_)
        | Command::LeaseGrant { .. }
        | Command::LeaseRevoke { .. } => true,
        Command::LeaseCheckpoint { .. }
        | Command::PublishMember { .. }
        | Command::ChangeMembers(_)
        | Command::Alarm(_) => false,
    }
}

fn stores_something(command: &Command) -> bool {
    match command {
        Command::Put(_) | Command::LeaseGrant { .. } => true,
        Command::Txn(txn) => puts_something(txn),
        Command::DeleteRange(_)
        | Command::Compact(_)
        | Command::LeaseRevoke { .. }
        | Command::LeaseCheckpoint { .. }
        | Command::PublishMember { .. }
        | Command::ChangeMembers(_)
        | Command::Alarm(_) => false,
    }
}

/// Whether either branch, or one of a transaction within, puts a key.
fn puts_something(txn: &Txn) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match op {
        Op::Put(_) => true,
        Op::Txn(within) => puts_something(within),
        Op::Range(_) | Op::DeleteRange(_) => false,
    })
}

/// Raises or clears an alarm. Gives the alarm back if it is raised now, or was until now.
pub(super) fn change(txn: &mut WriteTxn<'_>, command: AlarmCommand) -> Vec<Alarm> {
    let alarms = &mut txn.store_mut().alarms;
    match (alarms.binary_search(&command.alarm), command.active) {
        (Ok(_), true) => vec![command.alarm],
        (Err(place), true) => {
            alarms.insert(place, command.alarm);
            vec![command.alarm]
        }
        (Ok(place), false) => vec![alarms.remove(place)],
        (Err(_), false) => Vec::new(),
    }
}

/// Clears whatever a member that leaves had raised: nobody could deal with it any more.
pub(super) fn forget(txn: &mut WriteTxn<'_>, member: MemberId) {
    txn.store_mut().alarms.retain(|alarm| alarm.member != member);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        state::{
            Response, meta,
            testing::{Machine, alarm, compact, delete, get, grant, put, revoke, txn},
        },
        types::{MemberId, Revision},
    };

    const NO_SPACE: Alarm = Alarm { member: MemberId(1), kind: AlarmKind::NoSpace };
    const CORRUPT: Alarm = Alarm { member: MemberId(1), kind: AlarmKind::Corrupt };

    fn alarmed(raised: Alarm) -> Machine {
        Machine::after([put("a").into(), grant(7), alarm(true, raised)])
    }

    /// NOSPACE declines what stores something, wherever in a transaction it stands, and lets the
    /// rest through.
    #[test]
    fn case_19_no_space_lets_deletes_through() {
        let mut machine = alarmed(NO_SPACE);
        let within = txn().or_else(txn().or_else(put("x")));
        for declined in [put("b").into(), grant(8), txn().then(put("x")).into(), within.into()] {
            assert_eq!(machine.apply(declined).outcome, Err(Refused::NoSpace));
        }
        for accepted in [
            txn().then(delete("a")).then(get("a")).into(),
            compact(2),
            revoke(7),
            delete("x").into(),
        ] {
            machine.apply(accepted).outcome.unwrap();
        }
        machine.apply(alarm(false, NO_SPACE)).outcome.unwrap();
        machine.apply(put("b")).outcome.unwrap();
    }

    /// CORRUPT declines every change.
    #[test]
    fn corrupt_declines_every_change() {
        let mut machine = alarmed(CORRUPT);
        let before = machine.clone();
        for declined in [
            put("b").into(),
            delete("a").into(),
            txn().then(get("a")).into(),
            compact(2),
            grant(8),
            revoke(7),
        ] {
            assert_eq!(machine.apply(declined).outcome, Err(Refused::Corrupt));
        }
        assert_eq!(machine, before);
    }

    /// Raising twice is raising once; clearing what is not raised gives nothing back.
    #[test]
    fn alarms_are_a_set() {
        let mut machine = Machine::new();
        for _ in 0..2 {
            let answer = machine.apply(alarm(true, CORRUPT)).outcome.unwrap();
            assert_eq!(answer.response, Response::Alarm(vec![CORRUPT]));
            assert_eq!(answer.revision, Revision(1));
        }
        assert_eq!(meta::alarms(machine.view()).unwrap(), [CORRUPT]);
        assert_eq!(
            machine.apply(alarm(false, NO_SPACE)).outcome.unwrap().response,
            Response::Alarm(vec![])
        );
        assert_eq!(
            machine.apply(alarm(false, CORRUPT)).outcome.unwrap().response,
            Response::Alarm(vec![CORRUPT])
        );
        assert_eq!(meta::alarms(machine.view()).unwrap(), []);
    }
}
