//! Changes of who the members are.
//!
//! One member at a time: any majority before a change and any majority after it have a member in
//! common. What the raft library is told of a change follows from the command alone, and what it makes
//! of it must be what is recorded here; the node compares.

use bytes::Bytes;

use crate::{
    state::{
        ApplyError, ConfState, Family, Member, MemberChange, Refused, alarm, meta,
        schema::meta::{CONF_STATE_KEY, encode_conf_state, member_key, removed_key},
        write_txn::WriteTxn,
    },
    types::MemberId,
};

/// Changes who the members are, and returns all of them as they are then.
pub(in crate::state) fn change(
    txn: &mut WriteTxn<'_>,
    change: &MemberChange,
) -> Result<Vec<Member>, ApplyError> {
    match change {
        MemberChange::Add { id, peer_urls, learner, learners_max } => {
            add(txn, *id, peer_urls, *learner, *learners_max)?;
        }
        MemberChange::Remove(id) => remove(txn, *id)?,
        MemberChange::Promote(id) => promote(txn, *id)?,
        MemberChange::Update { id, peer_urls } => update(txn, *id, peer_urls)?,
    }
    Ok(meta::members(txn.view())?)
}

fn add(
    txn: &mut WriteTxn<'_>,
    id: MemberId,
    peer_urls: &[String],
    learner: bool,
    learners_max: u32,
) -> Result<(), ApplyError> {
    let known = meta::membership(txn.view())?;
    if known.is_removed(id) {
        return Err(Refused::MemberNotFound.into());
    }
    if known.get(id).is_some() {
        return Err(Refused::MemberExists(id).into());
    }
    require_free(&known.members, id, peer_urls)?;
    let learners = known.members.iter().filter(|member| member.learner).count();
    if learner && learners >= usize::try_from(learners_max).unwrap_or(usize::MAX) {
        return Err(Refused::TooManyLearners.into());
    }
    let mut conf = meta::conf_state(txn.view())?;
    insert(if learner { &mut conf.learners } else { &mut conf.voters }, id);
    record(txn, &Member { id, peer_urls: peer_urls.to_vec(), learner, ..Member::default() });
    record_conf(txn, &conf);
    Ok(())
}

fn remove(txn: &mut WriteTxn<'_>, id: MemberId) -> Result<(), ApplyError> {
    let known = meta::membership(txn.view())?;
    if known.get(id).is_none() {
        return Err(Refused::MemberNotFound.into());
    }
    let mut conf = meta::conf_state(txn.view())?;
    if conf.voters == [id] {
        return Err(Refused::LastVoter(id).into());
    }
    conf.voters.retain(|voter| *voter != id);
    conf.learners.retain(|learner| *learner != id);
    txn.delete_record(Family::Meta, member_key(id));
    txn.put_record(Family::Meta, removed_key(id), Bytes::new());
    record_conf(txn, &conf);
    alarm::forget(txn, id);
    Ok(())
}

fn promote(txn: &mut WriteTxn<'_>, id: MemberId) -> Result<(), ApplyError> {
    let known = meta::membership(txn.view())?;
    let member = known.get(id).ok_or(Refused::MemberNotFound)?;
    if !member.learner {
        return Err(Refused::NotALearner(id).into());
    }
    let mut conf = meta::conf_state(txn.view())?;
    conf.learners.retain(|learner| *learner != id);
    insert(&mut conf.voters, id);
    record(txn, &Member { learner: false, ..member.clone() });
    record_conf(txn, &conf);
    Ok(())
}

fn update(txn: &mut WriteTxn<'_>, id: MemberId, peer_urls: &[String]) -> Result<(), ApplyError> {
    let known = meta::membership(txn.view())?;
    let member = known.get(id).ok_or(Refused::MemberNotFound)?;
    require_free(&known.members, id, peer_urls)?;
    record(txn, &Member { peer_urls: peer_urls.to_vec(), ..member.clone() });
    Ok(())
}

/// Two members behind one address could not be told apart.
fn require_free(members: &[Member], id: MemberId, peer_urls: &[String]) -> Result<(), Refused> {
    let mut others = members.iter().filter(|member| member.id != id);
    match others.any(|other| other.peer_urls.iter().any(|url| peer_urls.contains(url))) {
        true => Err(Refused::PeerUrlsTaken),
        false => Ok(()),
    }
}

fn insert(ids: &mut Vec<MemberId>, id: MemberId) {
    if let Err(place) = ids.binary_search(&id) {
        ids.insert(place, id);
    }
}

fn record(txn: &mut WriteTxn<'_>, member: &Member) {
    let (key, value) = super::record(member);
    txn.put_record(Family::Meta, key, value);
}

fn record_conf(txn: &mut WriteTxn<'_>, conf: &ConfState) {
    txn.put_record(Family::Meta, Bytes::from_static(CONF_STATE_KEY), encode_conf_state(conf));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::member;
    use crate::state::{
        Alarm, AlarmKind, Answer, Command, Response,
        testing::{Machine, alarm},
    };

    fn urls(name: &str) -> Vec<String> {
        vec![format!("http://{name}:2380")]
    }

    fn adding(id: u64, learner: bool) -> MemberChange {
        MemberChange::Add {
            id: MemberId(id),
            peer_urls: urls(&id.to_string()),
            learner,
            learners_max: 1,
        }
    }

    /// The ids of all members and of those with a vote, after a change.
    fn changed(
        machine: &mut Machine,
        change: MemberChange,
    ) -> Result<(Vec<u64>, Vec<u64>), Refused> {
        let answer = machine.apply(Command::ChangeMembers(change)).outcome?;
        let Answer { response: Response::Members(members), .. } = answer else {
            panic!("{answer:?}")
        };
        assert_eq!(members, meta::members(machine.view()).unwrap());
        let conf = meta::conf_state(machine.view()).unwrap();
        let learners: Vec<_> = members.iter().filter(|m| m.learner).map(|m| m.id).collect();
        assert_eq!(learners, conf.learners);
        let ids = |ids: Vec<MemberId>| ids.into_iter().map(|id| id.0).collect();
        Ok((ids(members.into_iter().map(|member| member.id).collect()), ids(conf.voters)))
    }

    /// A learner joins, is given a vote, and leaves; its id does not come back.
    #[test]
    fn a_member_lives_once() {
        let mut machine = Machine::new();
        assert_eq!(changed(&mut machine, adding(5, true)), Ok((vec![1, 5], vec![1])));
        assert_eq!(
            changed(&mut machine, MemberChange::Promote(MemberId(5))),
            Ok((vec![1, 5], vec![1, 5]))
        );
        let raised = Alarm { member: MemberId(5), kind: AlarmKind::NoSpace };
        machine.apply(alarm(true, raised)).outcome.unwrap();
        assert_eq!(
            changed(&mut machine, MemberChange::Remove(MemberId(5))),
            Ok((vec![1], vec![1]))
        );
        assert_eq!(meta::alarms(machine.view()).unwrap(), []);
        assert_eq!(meta::removed(machine.view()).unwrap(), [MemberId(5)]);
        assert_eq!(changed(&mut machine, adding(5, false)), Err(Refused::MemberNotFound));
    }

    /// What makes no sense is refused and changes nothing.
    #[test]
    fn senseless_changes_are_refused() {
        let mut machine = Machine::new();
        changed(&mut machine, adding(5, true)).unwrap();
        let before = meta::membership(machine.view()).unwrap();
        let unknown = || MemberId(9);

        assert_eq!(
            changed(&mut machine, adding(5, false)),
            Err(Refused::MemberExists(MemberId(5)))
        );
        assert_eq!(changed(&mut machine, adding(6, true)), Err(Refused::TooManyLearners));
        let taken = |id| MemberChange::Update { id, peer_urls: urls("5") };
        assert_eq!(changed(&mut machine, taken(MemberId(1))), Err(Refused::PeerUrlsTaken));
        assert_eq!(changed(&mut machine, taken(unknown())), Err(Refused::MemberNotFound));
        let twice = MemberChange::Add {
            id: MemberId(6),
            peer_urls: [urls("6"), urls("5")].concat(),
            learner: false,
            learners_max: 1,
        };
        assert_eq!(changed(&mut machine, twice), Err(Refused::PeerUrlsTaken));
        for change in [MemberChange::Promote(unknown()), MemberChange::Remove(unknown())] {
            assert_eq!(changed(&mut machine, change), Err(Refused::MemberNotFound));
        }
        assert_eq!(
            changed(&mut machine, MemberChange::Promote(MemberId(1))),
            Err(Refused::NotALearner(MemberId(1)))
        );
        assert_eq!(
            changed(&mut machine, MemberChange::Remove(MemberId(1))),
            Err(Refused::LastVoter(MemberId(1)))
        );
        assert_eq!(meta::membership(machine.view()).unwrap(), before);
    }

    /// A member that moves keeps its name and what it is; it may keep an address, too.
    #[test]
    fn a_member_moves() {
        let mut machine = Machine::new();
        changed(&mut machine, adding(5, true)).unwrap();
        let peer_urls = [urls("5"), urls("elsewhere")].concat();
        let update = MemberChange::Update { id: MemberId(5), peer_urls: peer_urls.clone() };
        changed(&mut machine, update).unwrap();
        let member = member::find(machine.view(), MemberId(5)).unwrap().unwrap();
        assert_eq!((member.peer_urls, member.learner), (peer_urls, true));
    }
}
