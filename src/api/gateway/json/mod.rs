//! Messages as JSON and back, by their descriptors.
//!
//! Requests are read as Go's `protojson` reads them, which etcd's gateway is made of: [`syntax`] finds
//! where a value ends and whether it is JSON at all, [`read`] makes a message of it. Answers are written by
//! the library of the descriptors.

mod number;
mod read;
mod syntax;

use std::{str, sync::LazyLock};

use bytes::Bytes;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::{Serializer, Value, value};
use tonic::Status;

pub(super) use self::{number::base64, syntax::Splitter};

use self::read::Reader;
use super::Manners;
use crate::{api::status, proto::FILE_DESCRIPTOR_SET};

/// What is wrong with a body, in a sentence.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Problem(String);

/// The shape of every message and service under `proto/`.
pub(in crate::api) fn descriptors() -> &'static DescriptorPool {
    static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
        DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("the descriptors are those of the build")
    });
    &POOL
}

/// Reads the message that a body begins with, which has nothing but defaults when the body is empty.
/// What follows it is passed over as etcd does it, or refused.
pub(super) fn only(
    kind: &MessageDescriptor,
    manners: Manners,
    body: &[u8],
) -> Result<Bytes, Problem> {
    let mut splitter = Splitter::default();
    splitter.push(body);
    let Some(value) = splitter.end()? else { return Ok(Bytes::new()) };
    match manners {
        Manners::Etcd => {}
        Manners::Own => {
            if splitter.end()?.is_some() {
                return Err(Problem("trailing characters behind the request".to_owned()));
            }
        }
    }
    message(kind, manners, &value)
}

/// Reads a message from one value.
pub(super) fn message(
    kind: &MessageDescriptor,
    manners: Manners,
    value: &[u8],
) -> Result<Bytes, Problem> {
    let value = str::from_utf8(value)
        .map_err(|_| Problem("proto: syntax error: invalid UTF-8 in string".to_owned()))?;
    let is_strict = match manners {
        Manners::Own => true,
        Manners::Etcd => false,
    };
    Ok(Reader::new(value, is_strict).read(kind)?.encode_to_vec().into())
}

/// A message as the text of its JSON.
pub(super) fn text(
    kind: &MessageDescriptor,
    manners: Manners,
    message: Bytes,
) -> Result<String, Status> {
    match manners {
        Manners::Own => Ok(write(kind, message)?.to_string()),
        // In the order of the fields, as etcd writes it. No message of etcd has maps.
        Manners::Etcd => {
            let message = DynamicMessage::decode(kind.clone(), message)
                .map_err(|error| status::not_a_message(&error))?;
            let mut text = Vec::new();
            message
                .serialize_with_options(&mut Serializer::new(&mut text), &OPTIONS)
                .map_err(|error| status::not_a_message(&error))?;
            String::from_utf8(text).map_err(|error| status::not_a_message(&error))
        }
    }
}

/// Names of fields are those of the `.proto` files.
const OPTIONS: SerializeOptions = SerializeOptions::new().use_proto_field_name(true);

/// A message as JSON. Objects have their names in order: maps of messages have none of their own.
pub(in crate::api) fn write(kind: &MessageDescriptor, message: Bytes) -> Result<Value, Status> {
    let message = DynamicMessage::decode(kind.clone(), message)
        .map_err(|error| status::not_a_message(&error))?;
    message
        .serialize_with_options(value::Serializer, &OPTIONS)
        .map_err(|error| status::not_a_message(&error))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::proto::{
        etcdserverpb::{PutRequest, RangeRequest, RangeResponse},
        mvccpb::KeyValue,
        registry::{Instance, RegisterRequest, ResolveResponse},
    };

    fn kind(name: &str) -> MessageDescriptor {
        descriptors().get_message_by_name(name).unwrap()
    }

    fn register(body: &str) -> Result<RegisterRequest, String> {
        let kind = kind("quorate.registry.v1.RegisterRequest");
        let message = only(&kind, Manners::Own, body.as_bytes());
        message
            .map(|message| RegisterRequest::decode(message).unwrap())
            .map_err(|problem| problem.to_string())
    }

    fn range(body: &str) -> Result<RangeRequest, String> {
        let message = only(&kind("etcdserverpb.RangeRequest"), Manners::Etcd, body.as_bytes());
        message
            .map(|message| RangeRequest::decode(message).unwrap())
            .map_err(|problem| problem.to_string())
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
            (r#"{"instnce":{}}"#, r#"proto: (line 1:2): unknown field "instnce""#),
            (r#"{"ttl":"x"}"#, r#"proto: (line 1:8): invalid value for int64 field ttl: "x""#),
            (r#"{"ttl":1.5}"#, "proto: (line 1:8): invalid value for int64 field ttl: 1.5"),
            (r#"{"instance":[]}"#, "proto: syntax error (line 1:13): unexpected token ["),
            (
                r#"{"instance":{"port":-1}}"#,
                "proto: (line 1:21): invalid value for uint32 field port: -1",
            ),
            (
                "{\n \"instance\":{\"port\":4294967296}}",
                "proto: (line 2:21): invalid value for uint32 field port: 4294967296",
            ),
            (
                r#"{"instance":{"metadata":{"k":1}}}"#,
                "proto: (line 1:30): invalid value for string field value: 1",
            ),
            (
                r#"{"instance":{"metadata":{"k":"1","k":"2"}}}"#,
                r#"proto: (line 1:34): duplicate map key "k""#,
            ),
            ("[]", "proto: syntax error (line 1:1): unexpected token ["),
            ("{", "unexpected EOF"),
            ("{}{}", "trailing characters behind the request"),
            ("{} x", "invalid character 'x' looking for beginning of value"),
            ("\u{ff}", "invalid character '\u{c3}' looking for beginning of value"),
        ] {
            assert_eq!(register(body), Err(complaint.to_owned()), "{body}");
        }
    }

    /// etcd's gateway is more patient: what it does not know it passes over.
    #[test]
    fn requests_for_etcd_are_read_with_patience() {
        let foo = RangeRequest { key: "foo".into(), ..RangeRequest::default() };
        for body in [
            r#"{"key":"Zm9v"}x"#,
            r#"{"key":"Zm9v","nope":{"a":["\"]}",1,{}],"b":true},"limit":null}"#,
            r#"{"key":"Zm9v","limit":0.0,"sort_order":"NOPE","serializable":false}"#,
            r#" {"\u006bey":"Z\u006d9v"} "#,
        ] {
            assert_eq!(range(body), Ok(foo.clone()), "{body}");
        }
        let sorted = RangeRequest { sort_order: 2, limit: 5, ..foo };
        for body in [
            r#"{"key":"Zm9v","sort_order":"DESCEND","limit":"5"}"#,
            r#"{"key":"Zm9v","sortOrder":2,"limit":5e0}"#,
        ] {
            assert_eq!(range(body), Ok(sorted.clone()), "{body}");
        }
        for (body, complaint) in [
            (r#"{"key":"!"}"#, r#"proto: (line 1:8): invalid value for bytes field key: "!""#),
            (r#"{"key":"Zg==","key":""}"#, r#"proto: (line 1:15): duplicate field "key""#),
            (
                r#"{"sort_order":null,"sortOrder":1}"#,
                r#"proto: (line 1:20): duplicate field "sortOrder""#,
            ),
            (
                r#"{"serializable":"true"}"#,
                r#"proto: (line 1:17): invalid value for bool field serializable: "true""#,
            ),
            (
                r#"{"sort_order":1.5}"#,
                "proto: (line 1:15): invalid value for enum field sortOrder: 1.5",
            ),
            (
                r#"{"limit":99999999999999999999}"#,
                "proto: (line 1:10): invalid value for int64 field limit: 99999999999999999999",
            ),
            ("null", "proto: syntax error (line 1:1): unexpected token null"),
        ] {
            assert_eq!(range(body), Err(complaint.to_owned()), "{body}");
        }
    }

    /// Of fields that exclude each other one is taken, and messages do not lie in each other without end.
    #[test]
    fn what_cannot_be_meant_is_refused() {
        let kind = kind("etcdserverpb.TxnRequest");
        let txn =
            |body: &str| only(&kind, Manners::Etcd, body.as_bytes()).map_err(|it| it.to_string());
        let both = r#"{"success":[{"request_put":{},"requestRange":{}}]}"#;
        let complaint = "proto: (line 1:31): error parsing \"requestRange\", \
                         oneof etcdserverpb.RequestOp.request is already set";
        assert_eq!(txn(both), Err(complaint.to_owned()));
        let nested = |depth: usize| {
            let (open, close) = (r#"{"success":[{"request_txn":"#, "}]}");
            format!("{}{{}}{}", open.repeat(depth), close.repeat(depth))
        };
        assert!(txn(&nested(40)).is_ok());
        assert_eq!(txn(&nested(60)), Err("proto: exceeded max recursion depth".to_owned()));
        assert_eq!(
            txn(r#"{"success":[null]}"#),
            Err("proto: syntax error (line 1:13): unexpected token null".to_owned())
        );
    }

    /// Escapes in names and texts are taken back, characters outside of the first plane included.
    #[test]
    fn escapes_are_taken_back() {
        let body = r#"{"instance":{"service":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00ü"}}"#;
        let instance = register(body).unwrap().instance.unwrap();
        assert_eq!(instance.service, "\"\\/\u{8}\u{c}\n\r\té😀ü");
        for broken in [r"\ud83d", r"\ud83dx", r"\ud83d\u0041", r"\ude00"] {
            let said = register(&format!(r#"{{"instance":{{"service":"{broken}"}}}}"#));
            assert!(said.unwrap_err().contains("invalid escape code"), "{broken}");
        }
        let said = only(&kind("etcdserverpb.RangeRequest"), Manners::Etcd, b"{\"a\":\"\xff\"}");
        assert!(said.unwrap_err().to_string().contains("invalid UTF-8"));
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
        let put = br#"{"key":"AP8=","value":"eA"}"#;
        let put = only(&kind("etcdserverpb.PutRequest"), Manners::Etcd, put);
        let put = PutRequest::decode(put.unwrap()).unwrap();
        assert_eq!((put.key, put.value), (Bytes::from_static(b"\0\xff"), "x".into()));

        let pair = KeyValue { key: Bytes::from_static(b"\0\xff"), ..KeyValue::default() };
        let answer = RangeResponse { kvs: vec![pair], ..RangeResponse::default() };
        let answer = RangeResponse { count: 1, ..answer };
        let kind = kind("etcdserverpb.RangeResponse");
        let written = text(&kind, Manners::Etcd, answer.encode_to_vec().into());
        assert_eq!(written.unwrap(), r#"{"kvs":[{"key":"AP8="}],"count":"1"}"#);
    }

    /// An answer that cannot be decoded is our mistake.
    #[test]
    fn a_broken_answer_is_an_internal_error() {
        let broken = write(&kind("etcdserverpb.RangeResponse"), Bytes::from_static(b"\xff"));
        assert_eq!(broken.unwrap_err().code(), tonic::Code::Internal);
    }
}
