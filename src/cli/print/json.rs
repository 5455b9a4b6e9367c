//! JSON as Go writes the structs of etcd's messages: fields under their names in the `.proto`, in
//! their order there, zeros left out, numbers as numbers, bytes in base64.

use std::{fmt::Write, sync::LazyLock};

use base64::{Engine, engine::general_purpose::STANDARD};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MapKey, ReflectMessage, Value};

use crate::proto::FILE_DESCRIPTOR_SET;

/// An object that is being written.
pub(in crate::cli) struct Json {
    text: String,
    close: char,
}

impl Json {
    /// An object without fields.
    pub(in crate::cli) fn object() -> Self {
        Self { text: "{".to_owned(), close: '}' }
    }

    /// A list without elements.
    pub(in crate::cli) fn list() -> Self {
        Self { text: "[".to_owned(), close: ']' }
    }

    /// Adds a field whose value is JSON already.
    pub(in crate::cli) fn raw(mut self, name: &str, json: &str) -> Self {
        self.separate();
        self.text.push_str(&string(name));
        self.text.push(':');
        self.text.push_str(json);
        self
    }

    /// Adds a field with a number or a truth value.
    pub(in crate::cli) fn plain(self, name: &str, value: impl std::fmt::Display) -> Self {
        self.raw(name, &value.to_string())
    }

    /// Adds a field with a text.
    pub(in crate::cli) fn text(self, name: &str, value: &str) -> Self {
        self.raw(name, &string(value))
    }

    /// Adds an element that is JSON already.
    pub(in crate::cli) fn element(mut self, json: &str) -> Self {
        self.separate();
        self.text.push_str(json);
        self
    }

    /// Adds the fields of an object.
    pub(super) fn fields_of(mut self, object: &str) -> Self {
        let inside = object.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        if let Some(inside) = inside.filter(|inside| !inside.is_empty()) {
            self.separate();
            self.text.push_str(inside);
        }
        self
    }

    pub(in crate::cli) fn end(mut self) -> String {
        self.text.push(self.close);
        self.text
    }

    fn separate(&mut self) {
        if self.text.len() > 1 {
            self.text.push(',');
        }
    }
}

/// All messages that we know.
pub(in crate::cli) fn descriptors() -> &'static DescriptorPool {
    static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
        DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("the descriptors are those of the build")
    });
    &POOL
}

/// A message by the full name of its type.
pub(super) fn of(name: &str, message: &impl Message) -> String {
    let bytes = message.encode_to_vec();
    let descriptor =
        descriptors().get_message_by_name(name).expect("the descriptors are those of the build");
    let message = DynamicMessage::decode(descriptor, bytes.as_slice())
        .expect("what was encoded as a message decodes as one");
    object(&message)
}

fn object(message: &DynamicMessage) -> String {
    let mut json = Json::object();
    // In the order in which they are declared, which is that of Go's structs.
    let descriptor = message.descriptor();
    let declared = descriptor.descriptor_proto().field.iter().map(|field| field.name());
    for field in declared.filter_map(|name| descriptor.get_field_by_name(name)) {
        if message.has_field(&field) {
            json = json.raw(field.name(), &value(&message.get_field(&field)));
        }
    }
    json.end()
}

fn value(it: &Value) -> String {
    match it {
        Value::Bool(value) => value.to_string(),
        Value::I32(value) | Value::EnumNumber(value) => value.to_string(),
        Value::I64(value) => value.to_string(),
        Value::U32(value) => value.to_string(),
        Value::U64(value) => value.to_string(),
        Value::F32(value) => value.to_string(),
        Value::F64(value) => value.to_string(),
        Value::String(value) => string(value),
        Value::Bytes(value) => bytes(value),
        Value::Message(message) => object(message),
        Value::List(values) => {
            values.iter().fold(Json::list(), |list, one| list.element(&value(one))).end()
        }
        Value::Map(entries) => entries
            .iter()
            .fold(Json::object(), |json, (key, one)| match key {
                MapKey::String(name) => json.raw(name, &value(one)),
                MapKey::Bool(_)
                | MapKey::I32(_)
                | MapKey::I64(_)
                | MapKey::U32(_)
                | MapKey::U64(_) => json.raw(&format!("{key:?}"), &value(one)),
            })
            .end(),
    }
}

/// Bytes as a text in base64.
pub(super) fn bytes(bytes: &[u8]) -> String {
    format!("\"{}\"", STANDARD.encode(bytes))
}

/// A text in quotes, with the escapes that Go's encoder chooses.
pub(super) fn string(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len().saturating_add(2));
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            // So that it can stand in a page of HTML.
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                write!(quoted, "\\u{:04x}", u32::from(character))
                    .expect("writing to a string succeeds");
            }
            plain => quoted.push(plain),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::etcdserverpb::{Member, MemberListResponse, RangeResponse, ResponseHeader};
    use crate::proto::mvccpb::KeyValue;

    /// Names, order and zeros are those of etcdctl.
    #[test]
    fn messages_are_written_as_gos_structs() {
        let header =
            ResponseHeader { cluster_id: u64::MAX, member_id: 5, revision: 0, raft_term: 2 };
        let kvs = vec![KeyValue { key: "a<b".into(), mod_revision: 9, ..KeyValue::default() }];
        let range = RangeResponse { header: Some(header), kvs, more: false, count: 1 };
        assert_eq!(
            of("etcdserverpb.RangeResponse", &range),
            "{\"header\":{\"cluster_id\":18446744073709551615,\"member_id\":5,\"raft_term\":2},\
             \"kvs\":[{\"key\":\"YTxi\",\"mod_revision\":9}],\"count\":1}"
        );
        let member = Member { id: 7, name: "a&b".to_owned(), ..Member::default() };
        let list = MemberListResponse { header: None, members: vec![member] };
        assert_eq!(
            of("etcdserverpb.MemberListResponse", &list),
            "{\"members\":[{\"ID\":7,\"name\":\"a\\u0026b\"}]}"
        );
    }

    /// All lengths that padding knows.
    #[test]
    fn bytes_are_base64() {
        for (text, base64) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(bytes(text.as_bytes()), format!("\"{base64}\""));
        }
        assert_eq!(bytes(b"v\x01\xff\n"), "\"dgH/Cg==\"");
    }
}
