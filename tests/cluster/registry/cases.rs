//! Registrations, one request each.

use etcd_client::{DeleteOptions, GetOptions, PutOptions};
use quorate::proto::registry::{ClearOverrideRequest, SetOverrideRequest};

use super::*;
use crate::harness::{Watching, eventually};

/// What is registered is a leased key that every etcd client can read; the second time it is renewed
/// and nothing happens, through whichever member.
#[tokio::test]
async fn an_instance_is_a_leased_key() {
    let cluster = Cluster::start(3).await;
    let mut etcd = cluster.client(0).await;
    let mut full = instance("u-1");
    full.ports.insert("metrics".to_owned(), 9100);
    full.metadata.insert("k".to_owned(), "v".to_owned());
    full.tags = vec!["canary".to_owned()];
    let mut request = registering_in_session("u-1");
    request.instance = Some(full);
    let first = register(&mut client(&cluster, 0), request.clone()).await.unwrap();
    assert_eq!((first.instance_id.as_str(), first.session_id.as_str()), ("u-1", "s"));
    assert_eq!((first.ttl, first.changed), (15, true));

    let found = only(&etcd.get(KEY, None).await.unwrap());
    let (text, lease, revision) = found.clone();
    assert_eq!((lease, revision), (first.lease_id, first.revision));
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(
        text.starts_with(r#"{"Op":0,"Addr":"10.0.0.7:8080","Metadata":{"k":"v"},"id":"u-1","#),
        "{text}"
    );
    let registered_at = value["registered_at"].as_str().unwrap();
    humantime::parse_rfc3339(registered_at).unwrap();
    assert_eq!((&value["session"], &value["weight"]), (&"s".into(), &100.into()));
    let record = etcd.get("/quorate/registry/session/s", None).await.unwrap();
    let expected = r#"{"ttl":15,"owner":"127.0.0.1","instances":["default/user/u-1"]}"#;
    assert_eq!(only(&record), (expected.to_owned(), first.lease_id, first.revision));

    for index in 0..3 {
        let again = register(&mut client(&cluster, index), request.clone()).await.unwrap();
        assert_eq!(again, RegisterResponse { changed: false, ..first.clone() });
    }
    assert_eq!(only(&etcd.get(KEY, None).await.unwrap()), found);
}

/// An instance lives on a lease of its own, which either kind of renewal keeps alive, or on the
/// caller's.
#[tokio::test]
async fn leases_are_granted_or_taken() {
    let cluster = Cluster::start(1).await;
    let mut registry = client(&cluster, 0);
    let mut etcd = cluster.client(0).await;
    let request = RegisterRequest { ttl: 30, ..registering("u-1") };
    let granted = register(&mut registry, request).await.unwrap();
    assert_eq!(granted.ttl, 30);
    let own = etcd.lease_grant(40, None).await.unwrap().id();
    let taken = RegisterRequest { lease_id: own, ttl: 5, ..registering("u-2") };
    let taken = register(&mut registry, taken).await.unwrap();
    assert_eq!((taken.lease_id, taken.ttl), (own, 40), "the time to live of the lease counts");

    let asked = [granted.lease_id, own, 99, granted.lease_id];
    let expected = [(granted.lease_id, 30), (own, 40), (99, 0), (granted.lease_id, 30)];
    assert_eq!(keep_alive(&mut registry, &asked).await, expected);

    let unknown = RegisterRequest { lease_id: 0x99, ..registering("u-3") };
    let expected = (Code::NotFound, "lease 99 does not exist".to_owned());
    assert_eq!(said(register(&mut registry, unknown).await), expected);
    assert_eq!(etcd.leases().await.unwrap().leases().len(), 2);

    etcd.lease_revoke(own).await.unwrap();
    let gone = etcd.get("/services/default/user/u-2", None).await.unwrap();
    assert_eq!(gone.count(), 0);
}

/// The settings of a service say how long its instances live that ask for nothing.
#[tokio::test]
async fn a_service_has_a_time_to_live() {
    let cluster = Cluster::start(1).await;
    let mut etcd = cluster.client(0).await;
    etcd.put("/quorate/registry/service/default/user", r#"{"ttl":42}"#, None).await.unwrap();
    let made = register(&mut client(&cluster, 0), registering_in_session("u-1")).await.unwrap();
    assert_eq!(made.ttl, 42);
}

/// An id belongs to whoever registered it, a plain etcd client included, until somebody says that it
/// is to be taken over.
#[tokio::test]
async fn an_id_that_is_held_can_be_taken_over() {
    let cluster = Cluster::start(1).await;
    let mut registry = client(&cluster, 0);
    let mut etcd = cluster.client(0).await;
    let first = register(&mut registry, registering_in_session("u-1")).await.unwrap();
    let from = |session: &str, takeover| RegisterRequest {
        session_id: session.to_owned(),
        takeover,
        ..registering("u-1")
    };
    let held = "instance default/user/u-1 is held by session s".to_owned();
    let refused = (Code::AlreadyExists, held);
    assert_eq!(said(register(&mut registry, from("t", false)).await), refused);
    assert_eq!(said(register(&mut registry, registering("u-1")).await), refused);
    assert_eq!(etcd.leases().await.unwrap().leases().len(), 1, "who is declined has no lease");

    let taken = register(&mut registry, from("t", true)).await.unwrap();
    assert!(taken.changed && taken.lease_id != first.lease_id);
    let closed = deregister(&mut registry, closing("s")).await.unwrap();
    assert_eq!(closed.removed, 0, "it has nothing any more");
    let pair = etcd.get(KEY, None).await.unwrap();
    assert_eq!(pair.kvs()[0].lease(), taken.lease_id);

    etcd.put("/services/user/u-2", "10.0.0.8:80", None).await.unwrap();
    let foreign = (
        Code::AlreadyExists,
        "instance default/user/u-2 is held by a key without a lease".to_owned(),
    );
    assert_eq!(said(register(&mut registry, registering_in_session("u-2")).await), foreign);
}

/// Whatever form its key has, an instance that is removed is gone; nobody misses one that is not
/// there.
#[tokio::test]
async fn instances_are_removed() {
    let cluster = Cluster::start(1).await;
    let mut registry = client(&cluster, 0);
    let mut etcd = cluster.client(0).await;
    let lease = etcd.lease_grant(60, None).await.unwrap().id();
    let on_lease = Some(PutOptions::new().with_lease(lease));
    etcd.put("/services/user/u-1", "10.0.0.8:80", on_lease).await.unwrap();
    let takeover = RegisterRequest { takeover: true, ..registering("u-1") };
    let made = register(&mut registry, takeover).await.unwrap();

    let removal = |session: &str| DeregisterRequest {
        namespace: "default".to_owned(),
        service: "user".to_owned(),
        id: "u-1".to_owned(),
        session_id: session.to_owned(),
        ..DeregisterRequest::default()
    };
    let nothing = DeregisterResponse { revision: made.revision, removed: 0 };
    assert_eq!(deregister(&mut registry, removal("s")).await.unwrap(), nothing);
    let gone = DeregisterResponse { revision: made.revision + 1, removed: 1 };
    assert_eq!(deregister(&mut registry, removal("")).await.unwrap(), gone);
    let left = etcd.get("/services/", Some(GetOptions::new().with_prefix())).await.unwrap();
    assert_eq!(left.count(), 0);
    let nothing = DeregisterResponse { removed: 0, ..gone };
    assert_eq!(deregister(&mut registry, removal("")).await.unwrap(), nothing);
}

/// Who says on which lease an instance is, or when it was created, removes no other one.
#[tokio::test]
async fn another_instance_of_the_name_stays() {
    let cluster = Cluster::start(1).await;
    let mut registry = client(&cluster, 0);
    let mut etcd = cluster.client(0).await;
    let first = register(&mut registry, registering("u-1")).await.unwrap();
    assert_eq!(first.create_revision, first.revision);
    etcd.lease_revoke(first.lease_id).await.unwrap();
    let second = register(&mut registry, registering("u-1")).await.unwrap();

    let removal = |lease_id, create_revision| DeregisterRequest {
        service: "user".to_owned(),
        id: "u-1".to_owned(),
        lease_id,
        create_revision,
        ..DeregisterRequest::default()
    };
    let nothing = DeregisterResponse { revision: second.revision, removed: 0 };
    for other in [removal(first.lease_id, 0), removal(0, first.create_revision)] {
        assert_eq!(deregister(&mut registry, other).await.unwrap(), nothing);
    }
    let own = removal(second.lease_id, second.create_revision);
    assert_eq!(deregister(&mut registry, own).await.unwrap().removed, 1);

    // The same on the stream of a session.
    let (mut session, _) = Session::open(&cluster, 0, 0).await;
    let created = session.register("u-1").await.create_revision;
    let in_session = |create_revision| {
        let (namespace, service, id) = (String::new(), "user".to_owned(), "u-1".to_owned());
        Request::Deregister(DeregisterInSession { namespace, service, id, create_revision })
    };
    assert!(!session.ack(in_session(first.create_revision)).await.changed);
    assert_eq!(session.register("u-1").await.create_revision, created);
    assert!(session.ack(in_session(created)).await.changed);
}

/// An override has a key without a lease, which outlives the instance.
#[tokio::test]
async fn an_override_outlives_its_instance() {
    let cluster = Cluster::start(1).await;
    let mut registry = client(&cluster, 0);
    let mut etcd = cluster.client(0).await;
    let set = |enabled, weight| SetOverrideRequest {
        namespace: String::new(),
        service: "user".to_owned(),
        id: "u-1".to_owned(),
        enabled,
        weight,
    };
    register(&mut registry, registering_in_session("u-1")).await.unwrap();
    let first = registry.set_override(set(Some(false), None)).await.unwrap().into_inner();
    let second = registry.set_override(set(None, Some(7))).await.unwrap().into_inner();
    let third = registry.set_override(set(None, Some(7))).await.unwrap().into_inner();
    assert!(first.changed && second.changed && !third.changed);
    assert_eq!(third.revision, second.revision);
    deregister(&mut registry, closing("s")).await.unwrap();
    register(&mut registry, registering_in_session("u-1")).await.unwrap();

    let key = "/quorate/registry/override/default/user/u-1";
    let pair = etcd.get(key, None).await.unwrap();
    let pair = &pair.kvs()[0];
    assert_eq!((pair.value(), pair.lease()), (&br#"{"enabled":false,"weight":7}"#[..], 0));
    let request = || ClearOverrideRequest {
        namespace: String::new(),
        service: "user".to_owned(),
        id: "u-1".to_owned(),
    };
    assert!(registry.clear_override(request()).await.unwrap().into_inner().changed);
    assert!(!registry.clear_override(request()).await.unwrap().into_inner().changed);
    assert_eq!(etcd.get(key, None).await.unwrap().count(), 0);
}

/// An instance that nobody renews goes by itself, with its session.
#[tokio::test]
async fn what_is_not_renewed_expires() {
    let cluster = Cluster::start(3).await;
    let mut etcd = cluster.client(0).await;
    let mut watch = Watching::prefix(&mut etcd, "/services/").await;
    let request = RegisterRequest { ttl: 1, ..registering_in_session("u-1") };
    let made = register(&mut client(&cluster, 1), request).await.unwrap();
    let up = watch.next().await;
    assert_eq!((up.what, up.revision), ("PUT", made.revision));
    let down = watch.next().await;
    assert_eq!((down.what, down.key.as_str()), ("DELETE", KEY));
    eventually("the lease to go", SOON, async || {
        etcd.leases().await.ok().filter(|leases| leases.leases().is_empty())
    })
    .await;
    let all = GetOptions::new().with_prefix();
    assert_eq!(etcd.get("/quorate/", Some(all)).await.unwrap().count(), 0);
}

/// What a plain client deletes or overwrites is put right by the next registration.
#[tokio::test]
async fn what_others_break_is_mended() {
    let cluster = Cluster::start(1).await;
    let mut registry = client(&cluster, 0);
    let mut etcd = cluster.client(0).await;
    let first = register(&mut registry, registering_in_session("u-1")).await.unwrap();
    etcd.delete(KEY, Some(DeleteOptions::new())).await.unwrap();
    let second = register(&mut registry, registering_in_session("u-1")).await.unwrap();
    assert!(second.changed);
    assert_eq!(second.lease_id, first.lease_id);

    etcd.delete("/quorate/registry/session/s", None).await.unwrap();
    let third = register(&mut registry, registering_in_session("u-1")).await.unwrap();
    assert!(third.changed, "the session is another one");
    assert_ne!(third.lease_id, first.lease_id);
    assert_eq!(etcd.get(KEY, None).await.unwrap().kvs()[0].lease(), third.lease_id);
}
