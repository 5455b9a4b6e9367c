//! A registrar of a member alone, whose log and state are in memory.

use std::{collections::BTreeSet, future::poll_fn, pin::Pin, task::Poll};

use futures_util::future::join_all;
use tokio::{task::JoinHandle, time::timeout};

use super::*;
use crate::{
    node::Running,
    registry::{ServiceName, records::SessionRecord},
    state::{Alarm, AlarmCommand, AlarmKind, Command, Family, RevokeCause, schema::cur, testing},
    types::{Key, KeyValue, MemberId},
};

/// Far longer than anything here takes.
const SOON: Duration = Duration::from_secs(30);

/// A member, and what moves its events on and renews its leases.
struct Member {
    running: Running,
    registrar: Registrar,
    tasks: [JoinHandle<()>; 2],
}

impl Member {
    async fn start() -> Self {
        let running = Running::with_keys(0).await;
        let node = running.handle.clone();
        let tasks =
            [tokio::spawn(node.clone().fan_out()), tokio::spawn(node.clone().renew_leases())];
        Self { running, registrar: Registrar::new(node), tasks }
    }

    async fn register(&self, what: Registration) -> Result<Registered, Error> {
        soon(self.registrar.register(&nobody(), what)).await
    }

    async fn open(&self, lease: Option<LeaseId>) -> Opened {
        let owner = "10.0.0.9".to_owned();
        let what = Opening { session: name("s"), ttl: Some(Seconds(60)), lease, owner };
        soon(self.registrar.open(&nobody(), what)).await.unwrap()
    }

    async fn deregister(&self, id: &str, session: Option<&str>) -> Deregistered {
        let whose = Whose { session: session.map(name), ..Whose::default() };
        self.deregister_if(id, whose).await
    }

    async fn deregister_if(&self, id: &str, whose: Whose) -> Deregistered {
        soon(self.registrar.deregister(&nobody(), &instance(id).name, &whose)).await.unwrap()
    }

    async fn close(&self, lease: Option<LeaseId>) -> Deregistered {
        soon(self.registrar.close(&nobody(), &name("s"), lease)).await.unwrap()
    }

    async fn revoke(&self, id: LeaseId) {
        let cause = RevokeCause::Client;
        self.running.propose(Command::LeaseRevoke { id, cause }).await;
    }

    fn pair(&self, key: &str) -> Option<KeyValue> {
        let view = self.running.handle.view().unwrap();
        let record = view.get(Family::Current, key.as_bytes()).unwrap();
        record.map(|record| cur::decode(&record).unwrap())
    }

    /// What the record of the session lists.
    fn listed(&self) -> Vec<String> {
        let pair = self.pair("/quorate/registry/session/s").unwrap();
        crate::registry::records::decode::<SessionRecord>(&pair.value).unwrap().instances
    }

    fn leases(&self) -> Vec<LeaseId> {
        let leases = crate::state::lease::list(&*self.running.handle.view().unwrap()).unwrap();
        leases.iter().map(|lease| lease.id).collect()
    }

    fn revision(&self) -> Revision {
        crate::state::meta::revision(&*self.running.handle.view().unwrap()).unwrap()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn nobody() -> Identity {
    Identity::anonymous()
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(SOON, what).await.expect("it does not take that long")
}

/// Waits for a condition, which nothing announces.
async fn until(mut holds: impl FnMut() -> bool) {
    soon(async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// Lets a call begin, which does not end at once.
async fn begin<T>(call: &mut (impl Future<Output = T> + Unpin)) {
    poll_fn(|context| {
        assert!(Pin::new(&mut *call).poll(context).is_pending());
        Poll::Ready(())
    })
    .await;
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn instance(id: &str) -> Instance {
    let service = ServiceName { namespace: Name::default_namespace(), service: name("user") };
    let name = InstanceName { service, id: name(id) };
    Instance {
        address: "10.0.0.7".to_owned(),
        port: 80,
        registered_at: "then".to_owned(),
        ..Instance::new(name)
    }
}

fn wanted(id: &str, target: Target) -> Registration {
    let (ttl, takeover, owner) = (None, false, String::new());
    Registration { instance: instance(id), target, ttl, takeover, owner }
}

fn in_session(id: &str) -> Registration {
    wanted(id, Target::Session(name("s")))
}

const KEY: &str = "/services/default/user/u-1";

/// The second time nothing is written, and the same lease is told.
#[tokio::test]
async fn registering_again_changes_nothing() {
    let member = Member::start().await;
    let first = member.register(in_session("u-1")).await.unwrap();
    assert!(first.changed);
    assert_eq!(first.ttl, Seconds(15));
    assert_eq!(member.pair(KEY).unwrap().lease, Some(first.lease));
    assert_eq!(member.leases(), [first.lease]);

    let mut again = in_session("u-1");
    again.instance.registered_at = "later".to_owned();
    let second = member.register(again).await.unwrap();
    assert_eq!(second, Registered { changed: false, ..first.clone() });
    let on_lease = member.register(wanted("u-2", Target::Granted)).await.unwrap();
    let same = member.register(wanted("u-2", Target::Lease(on_lease.lease))).await.unwrap();
    assert_eq!(same, Registered { changed: false, ..on_lease });
}

/// Whoever is declined leaves no lease behind, and hears who holds the id.
#[tokio::test]
async fn a_declined_registration_leaves_nothing() {
    let member = Member::start().await;
    let held = member.register(wanted("u-1", Target::Granted)).await.unwrap();
    let revision = member.revision();
    for what in [wanted("u-1", Target::Granted), in_session("u-1")] {
        let error = member.register(what).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("instance default/user/u-1 is held by lease {}", held.lease)
        );
    }
    let unknown = LeaseId(99);
    let error = member.register(wanted("u-2", Target::Lease(unknown))).await.unwrap_err();
    assert_eq!(error, Error::NoLease(unknown));
    assert_eq!(member.revision(), revision);
    assert_eq!(member.leases(), [held.lease]);

    let takeover = Registration { takeover: true, ..in_session("u-1") };
    let taken = member.register(takeover).await.unwrap();
    assert_eq!(member.pair(KEY).unwrap().lease, Some(taken.lease));
}

/// A time to live comes from the request, else from the settings of the service.
#[tokio::test]
async fn settings_say_how_long_instances_live() {
    let member = Member::start().await;
    let settings = testing::put("/quorate/registry/service/default/user");
    member.running.propose(settings.value(r#"{"ttl":40}"#)).await;
    let by_settings = member.register(wanted("u-1", Target::Granted)).await.unwrap();
    let asked = Registration { ttl: Some(Seconds(50)), ..wanted("u-2", Target::Granted) };
    let by_request = member.register(asked).await.unwrap();
    assert_eq!((by_settings.ttl, by_request.ttl), (Seconds(40), Seconds(50)));
}

/// Many who register in one session at once get in between of each other, and all succeed.
#[tokio::test]
async fn a_session_is_filled_by_many_at_once() {
    let member = Member::start().await;
    let ids: Vec<String> = (0..300).map(|number| format!("u-{number:03}")).collect();
    // A registrar each for three members: they know nothing of each other's turns.
    let registrars = [(); 3].map(|()| Registrar::new(member.running.handle.clone()));
    let by = nobody();
    let calls = ids.iter().zip(registrars.iter().cycle());
    let calls = calls.map(|(id, registrar)| soon(registrar.register(&by, in_session(id))));
    let done = join_all(calls).await;
    let leases: BTreeSet<LeaseId> = done.into_iter().map(|done| done.unwrap().lease).collect();
    assert_eq!(leases.len(), 1);
    let listed: Vec<String> = ids.iter().map(|id| format!("default/user/{id}")).collect();
    assert_eq!(member.listed(), listed);
    until(|| member.leases().len() == 1).await;
}

/// A session that is opened again goes on, and when its lease was lost the client is told.
#[tokio::test]
async fn a_session_goes_on_or_is_lost() {
    let member = Member::start().await;
    let first = member.open(None).await;
    assert!(!first.resumed && !first.lost);
    member.register(in_session("u-1")).await.unwrap();
    let revision = member.revision();

    for lease in [None, Some(first.lease)] {
        let again = member.open(lease).await;
        assert_eq!(again, Opened { revision, resumed: true, ..first.clone() });
    }
    member.revoke(first.lease).await;
    assert_eq!(member.pair(KEY), None);
    let lost = member.open(Some(first.lease)).await;
    assert!(lost.lost && !lost.resumed);
    assert_ne!(lost.lease, first.lease);
    let stale = member.open(Some(first.lease)).await;
    assert!(stale.lost && !stale.resumed, "another stream has opened it anew");
    assert_eq!(stale.lease, lost.lease);

    member.revoke(lost.lease).await;
    let registered = member.register(in_session("u-1")).await.unwrap();
    assert!(registered.changed && registered.lease != lost.lease);
    assert_eq!(member.listed(), ["default/user/u-1"]);
}

/// Closing a session is one revision; who has another lease of it closes nothing.
#[tokio::test]
async fn a_session_ends_at_one_revision() {
    let member = Member::start().await;
    let opened = member.open(None).await;
    for id in ["u-1", "u-2", "u-3"] {
        member.register(in_session(id)).await.unwrap();
    }
    let revision = member.revision();
    assert_eq!(member.close(Some(LeaseId(99))).await, Deregistered { revision, removed: 0 });
    assert_eq!(member.leases(), [opened.lease]);

    let closed = member.close(Some(opened.lease)).await;
    assert_eq!(closed, Deregistered { revision: revision.next(), removed: 3 });
    assert_eq!(member.leases(), []);
    let again = member.close(None).await;
    assert_eq!(again, Deregistered { revision: revision.next(), removed: 0 });
    let lost = member.close(Some(opened.lease)).await;
    assert_eq!(lost.removed, 0);
}

/// An instance is removed once, and its session's record with it.
#[tokio::test]
async fn an_instance_is_removed_once() {
    let member = Member::start().await;
    member.register(in_session("u-1")).await.unwrap();
    member.register(in_session("u-2")).await.unwrap();
    assert_eq!(member.deregister("u-1", Some("t")).await.removed, 0);
    let removed = member.deregister("u-1", Some("s")).await;
    assert_eq!(removed, Deregistered { revision: member.revision(), removed: 1 });
    assert_eq!(member.pair(KEY), None);
    assert_eq!(member.listed(), ["default/user/u-2"]);
    assert_eq!(member.deregister("u-1", Some("s")).await, Deregistered { removed: 0, ..removed });
    assert_eq!(member.deregister("u-2", None).await.removed, 1);
    assert_eq!(member.listed(), Vec::<String>::new());
}

/// Who says which instance is meant removes no other one of that name.
#[tokio::test]
async fn another_instance_of_the_name_stays() {
    let member = Member::start().await;
    let first = member.register(wanted("u-1", Target::Granted)).await.unwrap();
    assert_eq!(first.created, first.revision);
    let again = member.register(wanted("u-1", Target::Lease(first.lease))).await.unwrap();
    assert_eq!(again.created, first.created);
    let lease = |lease| Whose { lease: Some(lease), ..Whose::default() };
    let created = |created| Whose { created: Some(created), ..Whose::default() };
    member.revoke(first.lease).await;
    let second = member.register(wanted("u-1", Target::Granted)).await.unwrap();

    for whose in [lease(first.lease), created(first.created)] {
        assert_eq!(member.deregister_if("u-1", whose).await.removed, 0);
    }
    assert!(member.pair(KEY).is_some());
    let both = Whose { lease: Some(second.lease), ..created(second.created) };
    assert_eq!(member.deregister_if("u-1", both).await.removed, 1);
    assert_eq!(member.pair(KEY), None);
}

/// In a store that is full nothing is registered, and what is there can be removed.
#[tokio::test]
async fn a_full_store_can_be_made_emptier() {
    let member = Member::start().await;
    let opened = member.open(None).await;
    member.register(in_session("u-1")).await.unwrap();
    let alarm = Alarm { member: MemberId(1), kind: AlarmKind::NoSpace };
    member.running.propose(Command::Alarm(AlarmCommand { active: true, alarm })).await;

    for target in [Target::Granted, Target::Session(name("s")), Target::Lease(opened.lease)] {
        let error = member.register(wanted("u-2", target)).await.unwrap_err();
        assert_eq!(error, Error::Refused(Refused::NoSpace));
    }
    assert!(!member.register(in_session("u-1")).await.unwrap().changed);
    let owner = "10.0.0.8".to_owned();
    let what = Opening { session: name("s"), ttl: None, lease: None, owner };
    assert!(soon(member.registrar.open(&nobody(), what)).await.unwrap().resumed);
    assert_eq!(member.deregister("u-1", Some("s")).await.removed, 1);
    assert_eq!(member.pair(KEY), None);
    assert_eq!(member.close(None).await.removed, 0);
    assert_eq!(member.leases(), []);
}

/// Overrides are kept until they are cleared, and said once.
#[tokio::test]
async fn overrides_are_kept_until_they_are_cleared() {
    let member = Member::start().await;
    let u1 = || instance("u-1").name;
    let drained = Override { enabled: Some(false), weight: None };
    let set = async || soon(member.registrar.set_override(&nobody(), u1(), drained)).await;
    let (revision, changed) = set().await.unwrap();
    assert!(changed);
    assert_eq!(set().await, Ok((revision, false)));
    let pair = member.pair("/quorate/registry/override/default/user/u-1").unwrap();
    assert_eq!((&pair.value[..], pair.lease), (&br#"{"enabled":false}"#[..], None));
    let clear = async || soon(member.registrar.clear_override(&nobody(), u1())).await;
    assert_eq!(clear().await, Ok((revision.next(), true)));
    assert_eq!(clear().await, Ok((revision.next(), false)));
}

/// A call whose caller leaves goes on, and takes the lease away that nobody knows of.
#[tokio::test]
async fn who_leaves_leaves_no_lease_behind() {
    let member = Member::start().await;
    let before = member.revision();
    let mut calling = Box::pin(member.registrar.register(&NOBODY, wanted("u-1", Target::Granted)));
    begin(&mut calling).await;
    drop(calling);
    // The put, and the end of its lease.
    until(|| member.revision() == Revision(before.0 + 2)).await;
    assert_eq!(member.pair(KEY), None);
    until(|| member.leases().is_empty()).await;

    let mut calling = Box::pin(member.registrar.register(&NOBODY, in_session("u-1")));
    begin(&mut calling).await;
    drop(calling);
    until(|| member.pair(KEY).is_some()).await;
    let found = member.open(None).await;
    assert!(found.resumed, "a session is kept for whoever knows its name");
    assert_eq!(member.pair(KEY).unwrap().lease, Some(found.lease));
}

static NOBODY: Identity = Identity { user: String::new(), auth_revision: 0 };

/// A foreign value under the key of a session counts as none.
#[tokio::test]
async fn a_broken_record_is_replaced() {
    let member = Member::start().await;
    let key = "/quorate/registry/session/s";
    member.running.propose(testing::put(key).value("?")).await;
    assert_eq!(member.pair(key).unwrap().key, Key::new(key).unwrap());
    let opened = member.open(None).await;
    assert!(!opened.resumed);
    assert_eq!(member.pair(key).unwrap().lease, Some(opened.lease));
}
