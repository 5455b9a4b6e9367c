//! Reflection, as tools without `.proto` files use it.

use prost::Message;
use prost_types::FileDescriptorProto;
use tonic::transport::Endpoint;
use tonic_reflection::pb::{v1, v1alpha};

use crate::harness::Cluster;

/// Asks with one version of the protocol, and gives the services and the file of each symbol.
macro_rules! asked {
    ($version:ident, $cluster:expr, $symbols:expr) => {{
        use $version::{
            ServerReflectionRequest,
            server_reflection_client::ServerReflectionClient,
            server_reflection_request::MessageRequest::{FileContainingSymbol, ListServices},
            server_reflection_response::MessageResponse,
        };
        let endpoint = Endpoint::from_shared($cluster.endpoint(0)).unwrap();
        let mut client = ServerReflectionClient::new(endpoint.connect().await.unwrap());
        let mut ask = async |question| {
            let request = ServerReflectionRequest {
                message_request: Some(question),
                ..ServerReflectionRequest::default()
            };
            let requests = tokio_stream::iter([request]);
            let mut answers = client.server_reflection_info(requests).await?.into_inner();
            let answer = answers.message().await?.expect("each question has an answer");
            Ok::<_, tonic::Status>(answer.message_response.unwrap())
        };
        let MessageResponse::ListServicesResponse(services) =
            ask(ListServices(String::new())).await.unwrap()
        else {
            panic!("services were asked for");
        };
        let services: Vec<String> = services.service.into_iter().map(|it| it.name).collect();
        let mut files = Vec::new();
        for symbol in $symbols {
            files.push(match ask(FileContainingSymbol(symbol.to_string())).await {
                Ok(MessageResponse::FileDescriptorResponse(files)) => {
                    let file = files.file_descriptor_proto.first().unwrap();
                    FileDescriptorProto::decode(file.as_slice()).unwrap().name().to_owned()
                }
                Ok(other) => panic!("a file was asked for: {other:?}"),
                Err(status) => format!("{:?}", status.code()),
            });
        }
        (services, files)
    }};
}

const SERVICES: [&str; 10] = [
    "etcdserverpb.Auth",
    "etcdserverpb.Cluster",
    "etcdserverpb.KV",
    "etcdserverpb.Lease",
    "etcdserverpb.Maintenance",
    "etcdserverpb.Watch",
    "grpc.health.v1.Health",
    "quorate.registry.v1.Registry",
    "v3electionpb.Election",
    "v3lockpb.Lock",
];

const SYMBOLS: [&str; 5] = [
    "quorate.registry.v1.Registry.Resolve",
    "quorate.registry.v1.Instance",
    "mvccpb.KeyValue",
    "grpc.health.v1.HealthCheckRequest",
    "quorate.internal.v1.Peer",
];

const FILES: [&str; 5] = [
    "quorate/registry/v1/registry.proto",
    "quorate/registry/v1/registry.proto",
    "etcd/kv.proto",
    "health.proto",
    "NotFound",
];

/// All that clients may call is described, in both versions of the protocol, and nothing of what
/// members say to each other.
#[tokio::test]
async fn reflection_shows_what_clients_may_call() {
    let cluster = Cluster::start(1).await;
    let (services, files) = asked!(v1, cluster, SYMBOLS);
    let (old_services, old_files) = asked!(v1alpha, cluster, SYMBOLS);

    for (mut services, itself) in [
        (services, "grpc.reflection.v1.ServerReflection"),
        (old_services, "grpc.reflection.v1alpha.ServerReflection"),
    ] {
        services.sort();
        let mut expected = SERVICES.to_vec();
        expected.push(itself);
        expected.sort_unstable();
        assert_eq!(services, expected);
    }
    assert_eq!(files, FILES);
    assert_eq!(old_files, FILES);
}
