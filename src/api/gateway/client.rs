//! The gateway as a client of the services: messages as bytes, without a connection.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, uri::PathAndQuery};
use bytes::{Buf, BufMut, Bytes};
use futures_util::Stream;
use tonic::{
    Request, Status, Streaming,
    body::Body,
    client::{Grpc, GrpcService},
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    metadata::{AsciiMetadataKey, BinaryMetadataKey, MetadataMap, MetadataValue},
};
use tower::BoxError;

use super::json::base64;
use crate::api::{SENT_BYTES_MAX, status};

/// Services that can be called within this process.
pub trait Service:
    GrpcService<
        Body,
        ResponseBody: hyper::body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
        Future: Send,
        Error: Send,
    > + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> Service for S where
    S: GrpcService<
            Body,
            ResponseBody: hyper::body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
            Future: Send,
            Error: Send,
        > + Clone
        + Send
        + Sync
        + 'static
{
}

/// Calls a method with one answer.
pub(super) async fn unary(
    services: impl Service,
    path: PathAndQuery,
    request: Request<impl Stream<Item = Bytes> + Send + 'static>,
) -> Result<Bytes, Status> {
    let mut client = client(services).await?;
    let answer = client.client_streaming(request, path, Raw).await?;
    Ok(answer.into_inner())
}

/// Calls a method whose answers are a stream.
pub(super) async fn streaming(
    services: impl Service,
    path: PathAndQuery,
    request: Request<impl Stream<Item = Bytes> + Send + 'static>,
) -> Result<Streaming<Bytes>, Status> {
    let mut client = client(services).await?;
    let answer = client.streaming(request, path, Raw).await?;
    Ok(answer.into_inner())
}

async fn client<S: Service>(services: S) -> Result<Grpc<S>, Status> {
    let mut client = Grpc::new(services)
        .max_decoding_message_size(SENT_BYTES_MAX)
        .max_encoding_message_size(SENT_BYTES_MAX);
    client.ready().await.map_err(|error| status::not_reached(error.into()))?;
    Ok(client)
}

/// How long a call may take, if its headers say so.
pub(super) fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Status> {
    let Some(text) = headers.get("grpc-timeout").filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(text.as_bytes());
    let wrong = || status::bad_timeout(&text);
    let (count, unit) = text.split_at_checked(text.len() - 1).ok_or_else(wrong)?;
    let count: i64 = count.parse().map_err(|_| wrong())?;
    let nanos: u64 = match unit {
        "H" => 3_600_000_000_000,
        "M" => 60_000_000_000,
        "S" => 1_000_000_000,
        "m" => 1_000_000,
        "u" => 1_000,
        "n" => 1,
        _ => return Err(wrong()),
    };
    Ok(match u64::try_from(count) {
        Ok(0) => None,
        Ok(count) => Some(Duration::from_nanos(count.saturating_mul(nanos))),
        // It was over before it began.
        Err(_) => Some(Duration::ZERO),
    })
}

/// What of the headers of a request the service is told: who asks, and what is meant for it.
pub(super) fn metadata(headers: &HeaderMap) -> Result<MetadataMap, Status> {
    /// Headers that begin so are metadata of the call, without it.
    const MEANT_FOR_IT: &str = "grpc-metadata-";
    let mut metadata = MetadataMap::new();
    for (header, value) in headers {
        let name = match header.as_str() {
            "authorization" => "authorization",
            name => match name.strip_prefix(MEANT_FOR_IT) {
                // What the protocol keeps for itself is no metadata.
                Some(name) if !name.starts_with("grpc-") => name,
                Some(_) | None => continue,
            },
        };
        if name.ends_with("-bin") {
            let bytes = value.to_str().ok().and_then(decode);
            let bytes = bytes.ok_or_else(|| status::bad_binary_header(&canonical(header)))?;
            if let Ok(name) = BinaryMetadataKey::from_bytes(name.as_bytes()) {
                metadata.append_bin(name, MetadataValue::from_bytes(&bytes));
            }
        } else if let Ok(name) = AsciiMetadataKey::from_bytes(name.as_bytes())
            && let Ok(value) = value.as_bytes().try_into()
        {
            metadata.append(name, value);
        }
    }
    Ok(metadata)
}

/// The bytes of a binary header, which has the standard alphabet only.
fn decode(text: &str) -> Option<Vec<u8>> {
    if text.contains(['-', '_']) { None } else { base64(text) }
}

/// The name of a header as Go writes it.
fn canonical(name: &HeaderName) -> String {
    let capital = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
    };
    name.as_str().split('-').map(capital).collect::<Vec<String>>().join("-")
}

/// Messages as the bytes that they are.
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    /// Who asks is passed on, and what is marked as metadata; nothing else.
    #[test]
    fn some_headers_are_metadata() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "token"),
            ("grpc-metadata-hasleader", "true"),
            ("grpc-metadata-x-bin", "AP8"),
            ("grpc-metadata-grpc-timeout", "1S"),
            ("content-type", "application/json"),
            ("hasleader", "true"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        let metadata = metadata(&headers).unwrap();
        assert_eq!(metadata.get("authorization").unwrap(), "token");
        assert_eq!(metadata.get("hasleader").unwrap(), "true");
        assert_eq!(metadata.get_bin("x-bin").unwrap().to_bytes().unwrap(), &b"\0\xff"[..]);
        assert_eq!(metadata.len(), 3);
    }

    /// Bytes that are in no base64 are refused with the name of the header.
    #[test]
    fn broken_binary_headers_are_refused() {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-metadata-x-bin", "!".parse().unwrap());
        let refused = metadata(&headers).unwrap_err();
        let message = "invalid binary header Grpc-Metadata-X-Bin: illegal base64 data";
        assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, message));
    }

    /// A timeout is a number with a unit; none is no limit, and one of the past is over at once.
    #[test]
    fn timeouts_are_read() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().unwrap());
            timeout(&headers).map_err(|status| status.message().to_owned())
        };
        assert_eq!(timeout(&HeaderMap::new()).unwrap(), None);
        for (text, expected) in [
            ("2H", Some(Duration::from_secs(7_200))),
            ("3M", Some(Duration::from_secs(180))),
            ("5S", Some(Duration::from_secs(5))),
            ("7m", Some(Duration::from_millis(7))),
            ("7u", Some(Duration::from_micros(7))),
            ("1n", Some(Duration::from_nanos(1))),
            ("0S", None),
            ("-1S", Some(Duration::ZERO)),
            ("9223372036854775807H", Some(Duration::from_nanos(u64::MAX))),
        ] {
            assert_eq!(read(text), Ok(expected), "{text}");
        }
        for text in ["5x", "S", "5", "1.5S", "9223372036854775808H", "5é"] {
            assert_eq!(read(text), Err(format!("invalid grpc-timeout: {text}")), "{text}");
        }
    }
}
