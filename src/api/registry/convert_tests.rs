//! What may stand in each field, at its limits, and what the complaints begin with.

use super::*;

/// As little as can be registered.
fn least() -> InstanceMessage {
    InstanceMessage {
        service: "user".to_owned(),
        address: "10.0.0.7".to_owned(),
        port: 80,
        ..InstanceMessage::default()
    }
}

fn request(change: impl FnOnce(&mut RegisterRequest)) -> RegisterRequest {
    let mut request = RegisterRequest { instance: Some(least()), ..RegisterRequest::default() };
    change(&mut request);
    request
}

fn of_instance(change: impl FnOnce(&mut InstanceMessage)) -> RegisterRequest {
    request(|request| change(request.instance.as_mut().unwrap()))
}

fn checked(request: RegisterRequest) -> Result<Registration, Error> {
    registration(request, Known::default())
}

#[track_caller]
fn complains(request: RegisterRequest, field: &str) {
    let error = checked(request).expect_err(field);
    assert!(matches!(error, Error::Invalid(..)), "{error:?}");
    assert!(error.to_string().starts_with(&format!("{field}: ")), "{error}");
}

/// What is left out has its default, and the id is where the instance is called.
#[test]
fn what_is_left_out_has_a_default() {
    let known = Known { owner: "10.0.0.9".to_owned(), now: "now".to_owned() };
    let made = registration(of_instance(|_| {}), known).unwrap();
    assert_eq!((made.target, made.ttl, made.takeover), (Target::Granted, None, false));
    assert_eq!(made.owner, "10.0.0.9");
    let instance = made.instance;
    assert_eq!(instance.name.to_string(), "default/user/10.0.0.7:80");
    assert_eq!((instance.weight, instance.enabled), (100, true));
    assert_eq!(instance.registered_at, "now");

    for address in ["::1", "[::1]"] {
        let made = checked(of_instance(|it| it.address = address.to_owned())).unwrap().instance;
        assert_eq!((made.name.id.as_str(), made.target().as_str()), ("[::1]:80", "[::1]:80"));
        assert_eq!(made.address, "::1");
    }
}

/// Each field as it was said.
#[test]
fn what_is_said_is_kept() {
    let made = checked(request(|request| {
        request.session_id = "s".to_owned();
        request.ttl = 86_400;
        request.takeover = true;
        let it = request.instance.as_mut().unwrap();
        it.namespace = "prod".to_owned();
        it.id = "u-1".to_owned();
        it.ports.insert("metrics".to_owned(), 65_535);
        (it.version, it.zone) = ("v1".to_owned(), "cn".to_owned());
        it.weight = Some(0);
        it.enabled = Some(false);
        it.tags = ["b", "a", "b"].map(str::to_owned).to_vec();
        it.metadata.insert("k".to_owned(), "v".to_owned());
        // These are told and not taken.
        (it.session, it.lease_id, it.overridden) = ("x".to_owned(), 9, true);
        (it.registered_at, it.mod_revision) = ("then".to_owned(), 9);
    }))
    .unwrap();
    assert_eq!(made.target, Target::Session(Name::new("s").unwrap()));
    assert_eq!((made.ttl, made.takeover), (Some(Seconds(86_400)), true));
    let shown = answer(&made.instance);
    let expected = InstanceMessage {
        namespace: "prod".to_owned(),
        id: "u-1".to_owned(),
        ports: BTreeMap::from([("metrics".to_owned(), 65_535)]),
        version: "v1".to_owned(),
        zone: "cn".to_owned(),
        weight: Some(0),
        enabled: Some(false),
        tags: ["a", "b"].map(str::to_owned).to_vec(),
        metadata: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
        ..least()
    };
    assert_eq!(shown, expected);

    let on_lease = checked(request(|request| request.lease_id = -3)).unwrap();
    assert_eq!(on_lease.target, Target::Lease(LeaseId(-3)));
}

/// Names have few characters, and not too many.
#[test]
fn bad_names_are_named() {
    let long = "x".repeat(254);
    for bad in ["a/b", "a b", "ü", "*", long.as_str()] {
        let bad = || bad.to_owned();
        complains(of_instance(|it| it.namespace = bad()), "instance.namespace");
        complains(of_instance(|it| it.service = bad()), "instance.service");
        complains(of_instance(|it| it.id = bad()), "instance.id");
        complains(request(|request| request.session_id = bad()), "session_id");
    }
    complains(of_instance(|it| it.service = String::new()), "instance.service");
    complains(request(|request| request.instance = None), "instance");
    let shown = checked(of_instance(|it| it.id = "/".repeat(100_000))).unwrap_err().to_string();
    assert!(shown.len() < 300, "a complaint is short: {} bytes", shown.len());
}

/// An address is a host and no port.
#[test]
fn bad_addresses_are_named() {
    let long = "x".repeat(254);
    let bad = ["", "10.0.0.7:80", "[::1]:80", "::g", "[10.0.0.7]", "a/b", "a b", "ü", &long];
    for bad in bad {
        complains(of_instance(|it| it.address = bad.to_owned()), "instance.address");
    }
    for port in [0, 65_536, u32::MAX] {
        complains(of_instance(|it| it.port = port), "instance.port");
        let add = |it: &mut InstanceMessage| it.ports = BTreeMap::from([("m".to_owned(), port)]);
        complains(of_instance(add), "instance.ports.m");
    }
    let add = |it: &mut InstanceMessage| it.ports = BTreeMap::from([("a/b".to_owned(), 1)]);
    complains(of_instance(add), "instance.ports");
}

/// Numbers and lists have limits, and what is at them passes.
#[test]
fn too_much_is_named() {
    complains(of_instance(|it| it.weight = Some(65_536)), "instance.weight");
    checked(of_instance(|it| it.weight = Some(65_535))).unwrap();
    for ttl in [-1, 86_401, i64::MAX, i64::MIN] {
        complains(request(|request| request.ttl = ttl), "ttl");
    }
    let numbers = |count: usize| (0..count).map(|number| format!("n{number}"));
    let tags = |count| of_instance(|it| it.tags = numbers(count).collect());
    checked(tags(INSTANCE_TAGS_MAX)).unwrap();
    complains(tags(INSTANCE_TAGS_MAX + 1), "instance.tags");
    let ports = |count| of_instance(|it| it.ports = numbers(count).map(|name| (name, 1)).collect());
    checked(ports(INSTANCE_PORTS_MAX)).unwrap();
    complains(ports(INSTANCE_PORTS_MAX + 1), "instance.ports");
    let metadata = |count| {
        let named = numbers(count).map(|name| (name, String::new()));
        of_instance(|it| it.metadata = named.collect())
    };
    checked(metadata(INSTANCE_METADATA_MAX)).unwrap();
    complains(metadata(INSTANCE_METADATA_MAX + 1), "instance.metadata");
}

/// Texts have limits in characters, values of metadata in bytes.
#[test]
fn texts_that_are_too_long_are_named() {
    let text = |count| "ü".repeat(count);
    checked(of_instance(|it| (it.version, it.zone) = (text(253), text(253)))).unwrap();
    complains(of_instance(|it| it.version = text(254)), "instance.version");
    complains(of_instance(|it| it.zone = text(254)), "instance.zone");
    checked(of_instance(|it| it.tags = vec![text(253)])).unwrap();
    complains(of_instance(|it| it.tags = vec![text(254)]), "instance.tags");
    complains(of_instance(|it| it.tags = vec![String::new()]), "instance.tags");

    let one = |name: String, value: String| {
        of_instance(|it| it.metadata = BTreeMap::from([(name, value)]))
    };
    checked(one(text(128), "x".repeat(4_096))).unwrap();
    complains(one(text(129), String::new()), "instance.metadata");
    complains(one(String::new(), String::new()), "instance.metadata");
    complains(one("k".to_owned(), "x".repeat(4_097)), "instance.metadata.k");

    let large = (0..17).map(|number| (number.to_string(), "x".repeat(4_000)));
    complains(of_instance(|it| it.metadata = large.collect()), "instance");
}

/// A session has a lease of its own.
#[test]
fn a_session_and_a_lease_exclude_each_other() {
    let both = request(|request| (request.session_id, request.lease_id) = ("s".to_owned(), 7));
    complains(both, "lease_id");
}

/// What is removed is one instance, or a session.
#[test]
fn what_to_remove_is_named() {
    let request = |service: &str, id: &str, session: &str| {
        removal(&DeregisterRequest {
            namespace: String::new(),
            service: service.to_owned(),
            id: id.to_owned(),
            session_id: session.to_owned(),
            ..DeregisterRequest::default()
        })
    };
    let session = Name::new("s").unwrap();
    assert_eq!(request("", "", "s"), Ok(Removal::Session(session.clone())));
    let u1 = instance_name("", "user", "u-1").unwrap();
    assert_eq!(request("user", "u-1", ""), Ok(Removal::Instance(u1.clone(), Whose::default())));
    let whose = Whose { session: Some(session), ..Whose::default() };
    assert_eq!(request("user", "u-1", "s"), Ok(Removal::Instance(u1.clone(), whose.clone())));
    let one = DeregisterRequest {
        lease_id: 7,
        create_revision: 9,
        ..DeregisterRequest { service: "user".into(), id: "u-1".into(), ..Default::default() }
    };
    let of_one = Whose { session: None, lease: Some(LeaseId(7)), created: Some(Revision(9)) };
    assert_eq!(removal(&one), Ok(Removal::Instance(u1.clone(), of_one)));
    let in_session = DeregisterInSession {
        service: "user".into(),
        id: "u-1".into(),
        create_revision: 9,
        ..Default::default()
    };
    let created = Whose { created: Some(Revision(9)), ..whose };
    let removed = removal_in_session(&in_session, Name::new("s").unwrap());
    assert_eq!(removed, Ok((u1, created)));
    let all = |lease_id, create_revision| DeregisterRequest {
        session_id: "s".to_owned(),
        lease_id,
        create_revision,
        ..DeregisterRequest::default()
    };
    for (request, field) in [
        (all(7, 0), "lease_id"),
        (all(0, 9), "create_revision"),
        (DeregisterRequest { create_revision: -1, ..one }, "create_revision"),
    ] {
        let error = removal(&request).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{field}: ")), "{error}");
    }
    for (service, id, session, field) in
        [("", "", "", "service"), ("user", "", "s", "id"), ("", "u-1", "s", "service")]
    {
        let error = request(service, id, session).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{field}: ")), "{error}");
    }
}

/// An override says something.
#[test]
fn an_override_says_something() {
    let request = |enabled, weight| {
        overriding(&SetOverrideRequest {
            namespace: "prod".to_owned(),
            service: "user".to_owned(),
            id: "u-1".to_owned(),
            enabled,
            weight,
        })
    };
    let name = instance_name("prod", "user", "u-1").unwrap();
    let said = Override { enabled: Some(false), weight: Some(3) };
    assert_eq!(request(Some(false), Some(3)), Ok((name, said)));
    let said = |result: Result<_, Error>| result.unwrap_err().to_string();
    assert_eq!(said(request(None, None)), "enabled: neither it nor a weight is given");
    assert_eq!(said(request(None, Some(65_536))), "weight: 65536 is more than 65535");
}

/// A session without a name is given one.
#[test]
fn a_session_without_a_name_is_given_one() {
    let made = || Name::new("made-up").unwrap();
    let request = OpenSession { session_id: String::new(), ttl: 5, lease_id: 0 };
    let made_of = opening(&request, "10.0.0.9".to_owned(), made).unwrap();
    assert_eq!((made_of.session, made_of.ttl), (made(), Some(Seconds(5))));
    assert_eq!((made_of.lease, made_of.owner.as_str()), (None, "10.0.0.9"));
    let request = OpenSession { session_id: "s".to_owned(), ttl: 0, lease_id: 7 };
    let made_of = opening(&request, String::new(), made).unwrap();
    assert_eq!((made_of.session.as_str(), made_of.ttl), ("s", None));
    assert_eq!(made_of.lease, Some(LeaseId(7)));
}
