//! The bytes of watch responses, looked at where they lie.
//!
//! Objects of every response would cost the client more than the server spends on it, and the two
//! share a machine. So a stream is cut into messages and a message into fields, and of an event
//! only the value is looked for.

use bytes::BytesMut;

use crate::cli::client::RESPONSE_BYTES_MAX;

/// A message begins with whether it is compressed, and with its length.
const HEAD_BYTES: usize = 5;

// Fields of `WatchResponse`.
const CREATED: u64 = 3;
const CANCELED: u64 = 4;
const CANCEL_REASON: u64 = 6;
const EVENTS: u64 = 11;
/// The pair in an event.
const PAIR: u64 = 2;
/// The value in a pair.
const VALUE: u64 = 5;

/// What a server sent is not what it should be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    /// A field or its length ends before it is whole.
    #[error("a watch response is cut off")]
    Cut,
    /// A number that no field has.
    #[error("a watch response has a field of type {0}")]
    Type(u64),
    /// A frame that was not asked for.
    #[error("a watch response is compressed")]
    Compressed,
    /// More than a client would take.
    #[error("a watch response has {0} bytes")]
    Large(usize),
}

/// Cuts a stream into messages, however the chunks that it arrives in are cut.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// The beginning of a message whose end has not arrived.
    partial: BytesMut,
}

impl Frames {
    /// Looks at each message that is whole now.
    pub(super) fn push(
        &mut self,
        mut chunk: &[u8],
        mut each: impl FnMut(&[u8]) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        loop {
            if self.partial.is_empty() {
                let Some((message, rest)) = first_message(chunk)? else {
                    self.partial.extend_from_slice(chunk);
                    return Ok(());
                };
                each(message)?;
                chunk = rest;
                continue;
            }
            let missing = frame_len(&self.partial)?.saturating_sub(self.partial.len());
            let (next, rest) = chunk.split_at(missing.min(chunk.len()));
            self.partial.extend_from_slice(next);
            chunk = rest;
            if let Some((message, _)) = first_message(&self.partial)? {
                each(message)?;
                self.partial.clear();
            } else if chunk.is_empty() {
                return Ok(());
            }
        }
    }
}

/// The bytes of the frame that begins here, as far as that is known yet.
fn frame_len(bytes: &[u8]) -> Result<usize, Malformed> {
    let Some(([compressed, len @ ..], _)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
        return Ok(HEAD_BYTES);
    };
    if *compressed != 0 {
        return Err(Malformed::Compressed);
    }
    let len = usize::try_from(u32::from_be_bytes(*len)).unwrap_or(usize::MAX);
    if len > RESPONSE_BYTES_MAX {
        return Err(Malformed::Large(len));
    }
    Ok(HEAD_BYTES + len)
}

/// A message, and what follows it.
type Split<'a> = (&'a [u8], &'a [u8]);

/// The first message, if it is whole.
fn first_message(bytes: &[u8]) -> Result<Option<Split<'_>>, Malformed> {
    let Some((frame, rest)) = bytes.split_at_checked(frame_len(bytes)?) else { return Ok(None) };
    Ok(frame.get(HEAD_BYTES..).map(|message| (message, rest)))
}

/// What a response is, apart from its events.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) created: bool,
    pub(super) canceled: bool,
    pub(super) reason: String,
}

/// Goes through a response; each event is shown as the value of its pair.
pub(super) fn walk(message: &[u8], mut event: impl FnMut(&[u8])) -> Result<Head, Malformed> {
    let mut head = Head::default();
    let mut fields = Fields(message);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (EVENTS, Field::Bytes(bytes)) => event(value_of(bytes)?),
            (CREATED, Field::Number(number)) => head.created = number != 0,
            (CANCELED, Field::Number(number)) => head.canceled = number != 0,
            (CANCEL_REASON, Field::Bytes(text)) => {
                head.reason = String::from_utf8_lossy(text).into_owned();
            }
            (_, Field::Number(_) | Field::Bytes(_)) => {}
        }
    }
    Ok(head)
}

/// The value in an event; empty if there is none.
fn value_of(event: &[u8]) -> Result<&[u8], Malformed> {
    find(find(event, PAIR)?, VALUE)
}

/// The bytes of the first field with this number; empty if there is none.
fn find(message: &[u8], wanted: u64) -> Result<&[u8], Malformed> {
    let mut fields = Fields(message);
    while let Some((number, field)) = fields.next()? {
        if let Field::Bytes(bytes) = field
            && number == wanted
        {
            return Ok(bytes);
        }
    }
    Ok(&[])
}

/// One field of a message.
#[derive(Clone, Copy)]
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// What is left of a message.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// The next field and its number. Etcd's watch messages have numbers and bytes only.
    fn next(&mut self) -> Result<Option<(u64, Field<'a>)>, Malformed> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.number()?;
        let field = match tag & 7 {
            0 => Field::Number(self.number()?),
            2 => {
                let len = usize::try_from(self.number()?).map_err(|_| Malformed::Cut)?;
                let (bytes, rest) = self.0.split_at_checked(len).ok_or(Malformed::Cut)?;
                self.0 = rest;
                Field::Bytes(bytes)
            }
            other => return Err(Malformed::Type(other)),
        };
        Ok(Some((tag >> 3, field)))
    }

    /// A number of seven bits in each byte, the lowest first.
    fn number(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or(Malformed::Cut)?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if *byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Malformed::Cut)
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::proto::{
        etcdserverpb::{ResponseHeader, WatchResponse},
        mvccpb::{Event, KeyValue},
    };

    fn response(values: &[&'static [u8]]) -> WatchResponse {
        let event = |value: &&'static [u8]| {
            let kv = KeyValue {
                key: "k".into(),
                mod_revision: i64::MAX,
                value: (*value).into(),
                lease: -1,
                ..KeyValue::default()
            };
            Event { kv: Some(kv.clone()), prev_kv: Some(kv), ..Event::default() }
        };
        let header = ResponseHeader { revision: 300, member_id: u64::MAX, ..Default::default() };
        WatchResponse {
            header: Some(header),
            watch_id: 1000,
            events: values.iter().map(event).collect(),
            ..WatchResponse::default()
        }
    }

    fn frame(response: &WatchResponse) -> Vec<u8> {
        let message = response.encode_to_vec();
        let mut frame = vec![0];
        frame.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
        frame.extend(message);
        frame
    }

    fn values(message: &[u8]) -> (Head, Vec<Vec<u8>>) {
        let mut values = Vec::new();
        let head = walk(message, |value| values.push(value.to_vec())).unwrap();
        (head, values)
    }

    /// Every event is seen, with the value of its pair and not with the one before.
    #[test]
    fn events_are_seen() {
        let (head, values) = values(&response(&[b"one", b"", b"three"]).encode_to_vec());

        assert_eq!(head, Head::default());
        assert_eq!(values, [&b"one"[..], b"", b"three"]);
    }

    /// Answers to requests are told from events.
    #[test]
    fn answers_are_seen() {
        let created = WatchResponse { created: true, ..response(&[]) };
        let canceled =
            WatchResponse { canceled: true, cancel_reason: "no".to_owned(), ..response(&[]) };

        assert!(values(&created.encode_to_vec()).0.created);
        let head = Head { created: false, canceled: true, reason: "no".to_owned() };
        assert_eq!(values(&canceled.encode_to_vec()), (head, Vec::new()));
    }

    /// Messages are the same wherever the stream is cut, into chunks of any one size.
    #[test]
    fn chunks_are_put_together() {
        let parts: [&[&'static [u8]]; 4] = [&[b"one"], &[], &[b"two", b"three"], &[b"four"]];
        let mut stream: Vec<u8> =
            parts.iter().flat_map(|values| frame(&response(values))).collect();
        stream.extend(frame(&WatchResponse::default())); // of no bytes

        for size in 1..=stream.len() {
            let (mut frames, mut messages, mut found) = (Frames::default(), 0, Vec::new());
            for chunk in stream.chunks(size) {
                let each = |message: &[u8]| {
                    messages += 1;
                    walk(message, |value| found.push(value.to_vec())).map(drop)
                };
                frames.push(chunk, each).unwrap();
            }
            assert_eq!((messages, frames.partial.len()), (5, 0), "chunks of {size}");
            assert_eq!(found, [&b"one"[..], b"two", b"three", b"four"]);
        }
    }

    /// What is no watch response is refused, and nothing is read past an end.
    #[test]
    fn nonsense_is_refused() {
        let whole = response(&[b"value"]).encode_to_vec();
        let readable = (1..whole.len()).filter(|end| walk(&whole[..*end], |_| {}).is_ok());
        assert_eq!(readable.count(), 2, "cuts between two of the three fields");
        assert_eq!(walk(&[0x5a, 5, 1], |_| {}), Err(Malformed::Cut));
        assert_eq!(walk(&[0xff; 11], |_| {}), Err(Malformed::Cut));
        assert_eq!(walk(&[0x0d, 0, 0, 0, 0], |_| {}), Err(Malformed::Type(5)));
        let push = |bytes: &[u8]| Frames::default().push(bytes, |_| Ok(()));
        assert_eq!(push(&[1, 0, 0, 0, 0]), Err(Malformed::Compressed));
        assert_eq!(push(&[0, 0xff, 0, 0, 0]), Err(Malformed::Large(0xff00_0000)));
    }
}
