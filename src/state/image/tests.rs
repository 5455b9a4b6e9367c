use super::*;
use crate::{
    state::{
        Alarm, AlarmKind, Level, RevokeCause, hash,
        testing::{Machine, MapView, alarm, compact, delete, grant, inconsistencies, put},
    },
    types::{LeaseId, MemberId},
};

fn members() -> Vec<Member> {
    let member = |id| Member { id: MemberId(id), ..Member::default() };
    vec![member(0xa1), member(0xa2)]
}

/// What a new cluster begins with.
fn founded(machine: &Machine, bump: u64) -> MapView {
    let mut founding = Founding::new(ClusterId(0xc2), members(), bump);
    let mut writes = Writes::default();
    records(machine.view(), &mut |family, key, value| {
        let taken =
            founding.take(family, Bytes::copy_from_slice(key), Bytes::copy_from_slice(value))?;
        if let Some((key, value)) = taken {
            writes.records.insert((family, key), Some(value));
        }
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    let mut view = MapView::default();
    view.commit(writes);
    view.commit(founding.finish().unwrap().0);
    assert_eq!(inconsistencies(&view).unwrap(), Vec::<String>::new());
    view
}

fn eventful() -> Machine {
    let mut machine = Machine::after([
        grant(7),
        put("a").value("1").into(),
        put("b").attached_to(7).into(),
        put("c").attached_to(7).into(),
        put("a").value("2").into(),
    ]);
    machine.apply(delete("c"));
    machine.apply(put("a").value("3"));
    machine
}

/// Keys, history and leases go over; members, alarms and the place in the log do not.
#[test]
fn a_new_cluster_begins_with_what_was_saved() {
    let mut machine = eventful();
    let raised = Alarm { member: MemberId(1), kind: AlarmKind::NoSpace };
    machine.apply(alarm(true, raised)).outcome.unwrap();

    let view = founded(&machine, 0);

    for family in [Family::Current, Family::Versions, Family::Events, Family::Counts] {
        assert!(view.records(family).eq(machine.view().records(family)), "{}", family.name());
    }
    assert_eq!(meta::cluster(&view).unwrap(), Some(ClusterId(0xc2)));
    assert_eq!(meta::members(&view).unwrap(), members());
    assert_eq!(meta::removed(&view).unwrap(), []);
    assert_eq!(meta::conf_state(&view).unwrap().voters, [MemberId(0xa1), MemberId(0xa2)]);
    assert_eq!(meta::applied(&view).unwrap().0, Index(1));
    let saved = meta::store(machine.view()).unwrap();
    assert_eq!(meta::store(&view).unwrap(), Store { alarms: vec![], ..saved });
    let revision = meta::revision(&view).unwrap();
    assert_eq!(
        hash::state(&view, revision).unwrap(),
        hash::state(machine.view(), revision).unwrap()
    );
    let leases = crate::state::lease::list(&view).unwrap();
    assert_eq!(leases.iter().map(|it| (it.id.0, it.granted_at)).collect::<Vec<_>>(), [(7, ORIGIN)]);
}

/// Who restores what a member saved whose data were known to be wrong can be told so.
#[test]
fn a_corrupt_sender_is_known() {
    let mut machine = eventful();
    machine.apply(alarm(true, Alarm { member: MemberId(1), kind: AlarmKind::Corrupt }));
    let mut founding = Founding::new(ClusterId(1), members(), 0);
    let store = encode_store(&meta::store(machine.view()).unwrap());
    founding.take(Family::Meta, STORE_KEY.into(), store).unwrap();
    assert!(founding.is_corrupt(MemberId(1)) && !founding.is_corrupt(MemberId(2)));
}

/// A lease that was granted by a late entry ends in a cluster whose entries begin anew.
#[test]
fn a_lease_of_the_past_can_run_out() {
    let mut machine = eventful();
    machine.index = Index(5_000_000);
    machine.apply(grant(9)).answer();
    let mut anew = Machine::of_view(founded(&machine, 0));
    anew.index = Index(3);
    let expiry = RevokeCause::Expiry { term: crate::state::testing::TERM, known: Index(2) };
    let revoke = crate::state::Command::LeaseRevoke { id: LeaseId(9), cause: expiry };
    anew.apply(revoke).answer();
}

/// With a bump nothing older can be read, and the next change comes after it.
#[test]
fn a_bump_gives_up_history() {
    let machine = eventful();
    let before = machine.revision();

    let mut anew = Machine::of_view(founded(&machine, 1_000));

    assert_eq!(anew.revision(), before + 1_000);
    assert_eq!(meta::compacted(anew.view()).unwrap(), Revision(before + 1_000));
    assert_eq!(anew.keys(), machine.keys());
    assert_eq!(anew.pair("a"), machine.pair("a"), "pairs keep the revisions that made them");
    for family in [Family::Versions, Family::Events] {
        assert_eq!(anew.view().records(family).count(), 0, "{}", family.name());
    }
    assert!(anew.events(before).is_err());
    assert_eq!(anew.apply(put("d")).events_text(), [format!("put d {}.0", before + 1_001)]);
    anew.apply(put("a"));
    anew.apply(compact(before + 1_002));
}

/// A revision that would not fit is refused.
#[test]
fn a_bump_beyond_all_revisions_is_refused() {
    let mut founding = Founding::new(ClusterId(1), members(), u64::MAX);
    let store = encode_store(&Store { level: Level(1), ..Store::default() });
    founding.take(Family::Meta, STORE_KEY.into(), store).unwrap();
    assert!(founding.finish().unwrap_err().to_string().contains("cannot be raised"));
}

/// What is garbage is not saved, whether it is there or gone.
#[test]
fn garbage_is_not_saved() {
    let mut machine = eventful();
    machine.apply(compact(machine.revision()));
    let all = |machine: &Machine| {
        let mut found = Vec::new();
        records(machine.view(), &mut |family, key, value| {
            found.push((family, key.to_vec(), value.to_vec()));
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
        found
    };
    let before = all(&machine);
    machine.collect_garbage();
    assert_eq!(all(&machine), before);
}

/// A state without its numbers, or of another format, is refused.
#[test]
fn what_is_no_state_is_refused() {
    let missing = Founding::new(ClusterId(1), members(), 0).finish().unwrap_err();
    assert!(missing.to_string().contains("missing"), "{missing}");
    let mut founding = Founding::new(ClusterId(1), members(), 0);
    let other = crate::state::schema::meta::encode_format(FORMAT_VERSION + 1);
    let refused = founding.take(Family::Meta, FORMAT_KEY.into(), other).unwrap_err();
    assert!(refused.to_string().contains("has format"), "{refused}");
}
