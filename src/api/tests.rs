//! The list of what is not served yet, held to the services.

use std::collections::BTreeSet;

use super::*;

const SERVICES: &[&str] = &[
    include_str!("auth.rs"),
    include_str!("cluster.rs"),
    include_str!("kv.rs"),
    include_str!("lease.rs"),
    include_str!("maintenance.rs"),
    include_str!("watch.rs"),
];

/// A method that answers UNIMPLEMENTED is in the list, and only such a method.
#[test]
fn the_list_of_what_is_not_served_is_true() {
    let call = r#"status::unimplemented(""#;
    let unserved: Vec<&str> = SERVICES
        .iter()
        .flat_map(|source| source.split(call).skip(1))
        .map(|rest| rest.split('"').next().unwrap())
        .collect();
    assert_eq!(unserved.len(), UNIMPLEMENTED.len());
    assert_eq!(
        unserved.into_iter().collect::<BTreeSet<_>>(),
        UNIMPLEMENTED.iter().copied().collect()
    );
    assert!(UNIMPLEMENTED.is_sorted());
}

/// Each entry of the list is a method that clients could call: its counters exist.
#[test]
fn the_list_names_methods_that_exist() {
    let metrics = Metrics::new();
    for method in UNIMPLEMENTED {
        assert!(metrics.grpc(&format!("/{method}")).is_some(), "{method}");
    }
}

/// The transport takes half a mebibyte more than a request may have, as etcd's does.
#[test]
fn the_transport_takes_more_than_a_request() {
    assert_eq!(Config::default().message_bytes_max(), 2_097_152);
}
