//! gRPC reflection: what services and messages there are, for tools that have no `.proto` files.
//!
//! In both versions of the protocol, since tools still ask for the older one. Whatever clients may
//! call is described; what members say to each other is not.

use prost_reflect::prost_types::{FileDescriptorProto, FileDescriptorSet};
use tonic_reflection::server::{
    Builder,
    v1::{ServerReflection, ServerReflectionServer},
    v1alpha::{
        ServerReflection as OldServerReflection,
        ServerReflectionServer as OldServerReflectionServer,
    },
};

use crate::api::gateway::descriptors;

/// The package that is between members.
const INTERNAL: &str = "quorate.internal.v1";

/// The service.
pub fn service() -> ServerReflectionServer<impl ServerReflection> {
    builder().build_v1().expect("the descriptors are those of the build")
}

/// The same in the version before.
pub fn old_service() -> OldServerReflectionServer<impl OldServerReflection> {
    builder().build_v1alpha().expect("the descriptors are those of the build")
}

fn builder() -> Builder<'static> {
    let is_public = |file: &&FileDescriptorProto| file.package() != INTERNAL;
    let file = descriptors().file_descriptor_protos().filter(is_public).cloned().collect();
    Builder::configure()
        .register_file_descriptor_set(FileDescriptorSet { file })
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}
