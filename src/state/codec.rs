//! Requests to the bytes of a log entry and back. The message is described in `command.proto`.
//!
//! Keys and values are moved, not copied: a decoded request shares the memory of its entry. What
//! cannot be decoded is a [`Fault`]: a member must not skip what the others apply.

mod decode;
mod encode;

use bytes::{BufMut, Bytes, BytesMut};
use prost::{
    Message,
    encoding::{
        WireType, decode_key, decode_varint, encode_key, encode_varint, encoded_len_varint, key_len,
    },
};

use crate::{
    proto::internal as pb,
    state::{Level, Request},
    types::Fault,
};

/// Field number of the requests in a group.
const REQUESTS: u32 = 1;

/// One request, as it stands in a group.
#[must_use]
pub fn encode_request(request: &Request) -> Bytes {
    encode::request(request).encode_to_vec().into()
}

/// A log entry of requests that are encoded already.
#[must_use]
pub fn join_group(requests: &[Bytes]) -> Bytes {
    let framed =
        |request: &Bytes| key_len(REQUESTS) + encoded_len_varint(len(request)) + request.len();
    let mut group = BytesMut::with_capacity(requests.iter().map(framed).sum());
    for request in requests {
        encode_key(REQUESTS, WireType::LengthDelimited, &mut group);
        encode_varint(len(request), &mut group);
        group.put_slice(request);
    }
    group.freeze()
}

/// A log entry of requests.
#[must_use]
pub fn encode_group(requests: &[Request]) -> Bytes {
    let requests: Vec<Bytes> = requests.iter().map(encode_request).collect();
    join_group(&requests)
}

/// The requests of a log entry.
pub fn decode_group(group: Bytes) -> Result<Vec<Request>, Fault> {
    split_group(group)?.into_iter().map(decode_request).collect()
}

/// The encoded requests of a log entry.
fn split_group(mut group: Bytes) -> Result<Vec<Bytes>, Fault> {
    let mut requests = Vec::new();
    while !group.is_empty() {
        let field = decode_key(&mut group).map_err(damaged)?;
        if field != (REQUESTS, WireType::LengthDelimited) {
            return Err(damaged(format!("field {} of a group is unknown", field.0)));
        }
        let len = usize::try_from(decode_varint(&mut group).map_err(damaged)?).map_err(damaged)?;
        if len > group.len() {
            return Err(damaged("it ends too early"));
        }
        requests.push(group.split_to(len));
    }
    Ok(requests)
}

/// One request.
pub fn decode_request(request: Bytes) -> Result<Request, Fault> {
    let mut message = pb::Request::decode(request.clone()).map_err(damaged)?;
    if message.level > Level::OWN.0 {
        let level = Level(message.level);
        return Err(damaged(format!("a request needs {level}, {}", understood())));
    }
    match message.command.take() {
        Some(command) => decode::request(message, command),
        None => Err(damaged(unknown_command(request))),
    }
}

/// Says why a request has no command: its number is the first field above the fixed ones.
fn unknown_command(mut request: Bytes) -> String {
    while let Ok((field, wire_type)) = decode_key(&mut request) {
        if field >= 10 {
            return format!("command {field} is unknown, {}", understood());
        }
        let context = prost::encoding::DecodeContext::default();
        if prost::encoding::skip_field(wire_type, field, &mut request, context).is_err() {
            break;
        }
    }
    "a request has no command".to_owned()
}

fn understood() -> String {
    format!("this program is quorate {} and understands {}", env!("CARGO_PKG_VERSION"), Level::OWN)
}

fn len(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).expect("a length fits in 64 bits")
}

fn damaged(why: impl std::fmt::Display) -> Fault {
    Fault::new(format!("a log entry cannot be decoded: {why}"))
}

#[cfg(test)]
mod tests;
