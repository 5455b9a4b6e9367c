//! The service registry: instances of services, each a key on a lease.
//!
//! Registration is a leased key below `/services/`, discovery a range at a revision and a watch from
//! the next one. Everything written here can be read, watched and repaired by any etcd client, and
//! what a plain etcd client writes there is an instance, too: [`place`] says which keys there are,
//! [`instance`] and [`records`] what stands under them.
//!
//! [`Registrar`] writes: leases and transactions of [`Handle`](crate::node::Handle), nothing else.
//! [`Views`] answers: what is registered, kept in memory as of a revision by following the keys, and
//! read from the store where memory does not have it.
//!
//! Promised: registering again what stands there changes nothing; an instance, its operator's
//! override and its service's settings have different keys, and never overwrite each other; every
//! answer names the revision that it reflects; who follows a service is told of each change once, in
//! order, and never that it has been told more than it was.
//!
//! Absent on purpose: state beside keys and leases, and the wire.

mod catalog;
mod error;
pub mod instance;
pub mod name;
pub mod place;
pub mod records;
mod registrar;
mod select;
mod views;

pub use self::{
    catalog::{Catalog, Change, DownReason, Scope, Service},
    error::{Error, Field, Holder},
    instance::Instance,
    name::{InstanceName, Name, ServiceName},
    registrar::{
        Deregistered, Opened, Opening, Registered, Registrar, Registration, Target, Whose,
    },
    select::Selector,
    views::{At, Figures, Follow, Listed, Page, Resolved, Snapshot, Told, Views},
};
