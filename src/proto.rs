//! The messages and services of `proto/`, as generated at build time: no code of ours is here.
//!
//! The modules lie as their packages do, because generated code refers to its neighbours by
//! relative path. Every `bytes` field is a [`bytes::Bytes`].

#![allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    reason = "generated code does not follow the rules of the house"
)]

/// What etcd v3 clients speak: KV, Watch, Lease, Cluster, Maintenance and Auth.
pub mod etcdserverpb {
    tonic::include_proto!("etcdserverpb");
}

/// Keys and events, as etcd v3 clients know them.
pub mod mvccpb {
    tonic::include_proto!("mvccpb");
}

/// Permissions, as etcd v3 clients know them.
pub mod authpb {
    tonic::include_proto!("authpb");
}

/// The Lock service of etcd v3.
pub mod v3lockpb {
    tonic::include_proto!("v3lockpb");
}

/// The Election service of etcd v3.
pub mod v3electionpb {
    tonic::include_proto!("v3electionpb");
}

/// Our own packages.
pub mod quorate {
    /// The service registry.
    pub mod registry {
        /// Its first version.
        pub mod v1 {
            tonic::include_proto!("quorate.registry.v1");
        }
    }

    /// What only members see.
    pub mod internal {
        /// The log, the disk, and what members say to each other.
        pub mod v1 {
            tonic::include_proto!("quorate.internal.v1");
        }
    }
}

pub use self::quorate::{internal::v1 as internal, registry::v1 as registry};

/// The descriptors of every file under `proto/`: an encoded `google.protobuf.FileDescriptorSet`.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("descriptors");
