//! The bytes of responses, looked at where they lie.
//!
//! Objects of every response would cost the client more than the server spends on it, and the two
//! share a machine. So a stream is cut into messages and a message into fields, and only what is
//! wanted is looked for.

use bytes::{BufMut, BytesMut};
use prost::Message;

use crate::cli::client::RESPONSE_BYTES_MAX;

/// A message begins with whether it is compressed, and with its length.
const HEAD_BYTES: usize = 5;

/// Adds a message to the bytes of a stream.
pub(super) fn put_message(bytes: &mut BytesMut, message: &impl Message) {
    let len = u32::try_from(message.encoded_len()).expect("a request is far below 4 GiB");
    bytes.put_u8(0);
    bytes.put_u32(len);
    message.encode(bytes).expect("the buffer grows as it must");
}

/// What a server sent is not what it should be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    /// A field or its length ends before it is whole.
    #[error("a response is cut off")]
    Cut,
    /// A number that no field has.
    #[error("a response has a field of type {0}")]
    Type(u64),
    /// A frame that was not asked for.
    #[error("a response is compressed")]
    Compressed,
    /// More than a client would take.
    #[error("a response has {0} bytes")]
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

/// The bytes of the first field with this number; empty if there is none.
pub(super) fn find(message: &[u8], wanted: u64) -> Result<&[u8], Malformed> {
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
pub(super) enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// What is left of a message.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    /// The next field and its number. Etcd's messages have numbers and bytes only.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Field<'a>)>, Malformed> {
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
    use super::*;
    use crate::proto::etcdserverpb::LeaseKeepAliveRequest;

    /// Messages are the same wherever the stream is cut, into chunks of any one size.
    #[test]
    fn chunks_are_put_together() {
        let ids = [1, 0, -1, 300]; // that of no bytes is 0
        let mut stream = BytesMut::new();
        for id in ids {
            put_message(&mut stream, &LeaseKeepAliveRequest { id });
        }

        for size in 1..=stream.len() {
            let (mut frames, mut found) = (Frames::default(), Vec::new());
            for chunk in stream.chunks(size) {
                let each = |message: &[u8]| {
                    found.push(LeaseKeepAliveRequest::decode(message).unwrap().id);
                    Ok(())
                };
                frames.push(chunk, each).unwrap();
            }
            assert_eq!((&found[..], frames.partial.len()), (&ids[..], 0), "chunks of {size}");
        }
    }

    /// Frames that no server may send are refused.
    #[test]
    fn nonsense_is_refused() {
        let push = |bytes: &[u8]| Frames::default().push(bytes, |_| Ok(()));
        assert_eq!(push(&[1, 0, 0, 0, 0]), Err(Malformed::Compressed));
        assert_eq!(push(&[0, 0xff, 0, 0, 0]), Err(Malformed::Large(0xff00_0000)));
    }
}
