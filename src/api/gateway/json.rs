//! Messages as JSON and back, by their descriptors.

use std::sync::LazyLock;

use bytes::Bytes;
use prost::Message as _;
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions,
};
use serde_json::{Deserializer, Value, value};
use tonic::Status;

use crate::{api::status, proto::FILE_DESCRIPTOR_SET, types::limits::GATEWAY_MESSAGES_MAX};

/// The shape of every message and service under `proto/`.
pub(in crate::api) fn descriptors() -> &'static DescriptorPool {
    static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
        DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("the descriptors are those of the build")
    });
    &POOL
}

/// Reads what is in a body: one message, which has nothing but defaults when the body is empty, or
/// when there may be `many` one after the other.
pub(super) fn read(
    kind: &MessageDescriptor,
    many: bool,
    body: &[u8],
) -> Result<Vec<Bytes>, Problem> {
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    let mut json = Deserializer::from_slice(body);
    let mut messages = Vec::new();
    while let Err(more) = json.end() {
        let max = if many { GATEWAY_MESSAGES_MAX } else { 1 };
        if messages.len() == max {
            return Err(if many { Problem::TooMany(max) } else { Problem::Json(more) });
        }
        let message = DynamicMessage::deserialize_with_options(kind.clone(), &mut json, &options)?;
        messages.push(message.encode_to_vec().into());
    }
    if messages.is_empty() && !many {
        messages.push(Bytes::new());
    }
    Ok(messages)
}

/// What is wrong with a body.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    /// It is not JSON, or not of this message.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// So many messages are taken.
    #[error("more than {0} messages in a request")]
    TooMany(usize),
}

/// A message as JSON. Objects have their names in order: maps of messages have none of their own.
pub(in crate::api) fn write(kind: &MessageDescriptor, message: Bytes) -> Result<Value, Status> {
    let options = SerializeOptions::new().use_proto_field_name(true);
    let message = DynamicMessage::decode(kind.clone(), message)
        .map_err(|error| status::not_a_message(&error))?;
    message
        .serialize_with_options(value::Serializer, &options)
        .map_err(|error| status::not_a_message(&error))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::proto::{
        etcdserverpb::{PutRequest, RangeResponse, WatchRequest, watch_request::RequestUnion},
        mvccpb::KeyValue,
        registry::{Instance, RegisterRequest, ResolveResponse},
    };

    fn kind(name: &str) -> MessageDescriptor {
        descriptors().get_message_by_name(name).unwrap()
    }

    fn register(body: &str) -> Result<RegisterRequest, String> {
        let messages = read(&kind("quorate.registry.v1.RegisterRequest"), false, body.as_bytes());
        let messages = messages.map_err(|problem| problem.to_string())?;
        Ok(RegisterRequest::decode(messages[0].clone()).unwrap())
    }

    /// Both names of a field, and 64-bit integers as numbers and as strings.
    #[test]
    fn requests_are_read_in_both_spellings() {
        let expected = RegisterRequest {
            instance: Some(Instance {
                service: "user".to_owned(),
                port: 80,
                ports: [("metrics".to_owned(), 9100)].into(),
                weight: Some(0),
                enabled: Some(false),
                registered_at: "x".to_owned(),
                ..Instance::default()
            }),
            session_id: "s".to_owned(),
            lease_id: i64::MAX,
            ttl: 15,
            ..RegisterRequest::default()
        };
        for body in [
            r#"{"instance":{"service":"user","port":80,"ports":{"metrics":9100},"weight":0,
                "enabled":false,"registered_at":"x"},
                "session_id":"s","lease_id":"9223372036854775807","ttl":15}"#,
            r#"{"instance":{"service":"user","port":"80","ports":{"metrics":"9100"},"weight":0,
                "enabled":false,"registeredAt":"x","session":null},
                "sessionId":"s","leaseId":9223372036854775807,"ttl":"15"} "#,
        ] {
            assert_eq!(register(body), Ok(expected.clone()), "{body}");
        }
        assert_eq!(register(""), Ok(RegisterRequest::default()));
        assert_eq!(register(" \n"), Ok(RegisterRequest::default()));
        assert_eq!(register("{}"), Ok(RegisterRequest::default()));
    }

    /// What is not a message of the kind is refused, with the place where it is not.
    #[test]
    fn what_is_no_message_is_refused() {
        for (body, complaint) in [
            (r#"{"instnce":{}}"#, "instnce"),
            (r#"{"ttl":"x"}"#, "invalid digit"),
            (r#"{"ttl":1.5}"#, "integer"),
            (r#"{"instance":[]}"#, "invalid type"),
            (r#"{"instance":{"port":-1}}"#, "out of range"),
            (r#"{"instance":{"port":4294967296}}"#, "out of range"),
            (r#"{"instance":{"metadata":{"k":1}}}"#, "invalid type"),
            ("[]", "invalid type"),
            ("{", "EOF"),
            ("{}{}", "trailing"),
            ("{} x", "trailing"),
            ("\u{ff}", "expected value"),
        ] {
            let said = register(body).unwrap_err();
            assert!(said.contains(complaint), "{body}: {said}");
        }
    }

    /// Requests of a stream follow one another.
    #[test]
    fn a_stream_of_requests_is_read() {
        let kind = kind("etcdserverpb.WatchRequest");
        let body = br#"{"create_request":{"key":"Zm9v"}} {"progressRequest":{}}"#;
        let messages = read(&kind, true, body).unwrap();
        let messages: Vec<_> = messages
            .into_iter()
            .map(|it| WatchRequest::decode(it).unwrap().request_union)
            .collect();
        let [Some(RequestUnion::CreateRequest(create)), Some(RequestUnion::ProgressRequest(_))] =
            messages.as_slice()
        else {
            panic!("{messages:?}");
        };
        assert_eq!(create.key, "foo");
        assert!(read(&kind, true, b"").unwrap().is_empty());

        let many = "{}".repeat(GATEWAY_MESSAGES_MAX);
        assert_eq!(read(&kind, true, many.as_bytes()).unwrap().len(), GATEWAY_MESSAGES_MAX);
        let said = read(&kind, true, (many + "{}").as_bytes()).unwrap_err().to_string();
        assert_eq!(said, "more than 1024 messages in a request");
    }

    /// Names of fields as in the `.proto` file, 64-bit integers as strings, no defaults, and the same
    /// text each time.
    #[test]
    fn answers_are_written_as_grpc_gateway_writes_them() {
        let metadata = (0..20).map(|n| (format!("k{n:02}"), n.to_string())).collect();
        let answer = ResolveResponse {
            revision: 1 << 60,
            instances: vec![Instance {
                id: "a".to_owned(),
                port: 80,
                weight: Some(0),
                enabled: Some(false),
                lease_id: -1,
                mod_revision: 7,
                metadata,
                ..Instance::default()
            }],
        };
        let kind = kind("quorate.registry.v1.ResolveResponse");
        let bytes = Bytes::from(answer.encode_to_vec());
        let written = write(&kind, bytes.clone()).unwrap();
        let metadata: Value = (0..20).map(|n| (format!("k{n:02}"), json!(n.to_string()))).collect();
        let expected = json!({
            "revision": "1152921504606846976",
            "instances": [{
                "id": "a", "port": 80, "weight": 0, "enabled": false, "lease_id": "-1",
                "mod_revision": "7", "metadata": metadata,
            }],
        });
        assert_eq!(written, expected);
        let text = written.to_string();
        for _ in 0..5 {
            assert_eq!(write(&kind, bytes.clone()).unwrap().to_string(), text);
        }
    }

    /// Keys and values of etcd are base64, both ways.
    #[test]
    fn bytes_are_base64() {
        let messages =
            read(&kind("etcdserverpb.PutRequest"), false, br#"{"key":"AP8=","value":"eA"}"#);
        let put = PutRequest::decode(messages.unwrap()[0].clone()).unwrap();
        assert_eq!((put.key, put.value), (Bytes::from_static(b"\0\xff"), "x".into()));

        let pair = KeyValue { key: Bytes::from_static(b"\0\xff"), ..KeyValue::default() };
        let answer = RangeResponse { kvs: vec![pair], ..RangeResponse::default() };
        let written = write(&kind("etcdserverpb.RangeResponse"), answer.encode_to_vec().into());
        assert_eq!(written.unwrap(), json!({"kvs": [{"key": "AP8="}]}));
    }

    /// An answer that cannot be decoded is our mistake.
    #[test]
    fn a_broken_answer_is_an_internal_error() {
        let broken = write(&kind("etcdserverpb.RangeResponse"), Bytes::from_static(b"\xff"));
        assert_eq!(broken.unwrap_err().code(), tonic::Code::Internal);
    }
}
