//! The gateway as a client of the services: messages as bytes, without a connection.

use axum::http::{HeaderMap, uri::PathAndQuery};
use bytes::{Buf, BufMut, Bytes};
use futures_util::stream;
use tonic::{
    Request, Status, Streaming,
    body::Body,
    client::{Grpc, GrpcService},
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    metadata::{AsciiMetadataKey, MetadataMap},
};
use tower::BoxError;

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
    request: Request<Vec<Bytes>>,
) -> Result<Bytes, Status> {
    let mut client = client(services).await?;
    let answer = client.client_streaming(request.map(stream::iter), path, Raw).await?;
    Ok(answer.into_inner())
}

/// Calls a method whose answers are a stream.
pub(super) async fn streaming(
    services: impl Service,
    path: PathAndQuery,
    request: Request<Vec<Bytes>>,
) -> Result<Streaming<Bytes>, Status> {
    let mut client = client(services).await?;
    let answer = client.streaming(request.map(stream::iter), path, Raw).await?;
    Ok(answer.into_inner())
}

async fn client<S: Service>(services: S) -> Result<Grpc<S>, Status> {
    let mut client = Grpc::new(services)
        .max_decoding_message_size(SENT_BYTES_MAX)
        .max_encoding_message_size(SENT_BYTES_MAX);
    client.ready().await.map_err(|error| status::not_reached(error.into()))?;
    Ok(client)
}

/// What of the headers of a request the service is told: who asks, and what is meant for it.
pub(super) fn metadata(headers: &HeaderMap) -> MetadataMap {
    /// Headers that begin so are metadata of the call, without it.
    const MEANT_FOR_IT: &str = "grpc-metadata-";
    let mut metadata = MetadataMap::new();
    for (name, value) in headers {
        let name = match name.as_str() {
            "authorization" => "authorization",
            name => match name.strip_prefix(MEANT_FOR_IT) {
                Some(name) => name,
                None => continue,
            },
        };
        let name = AsciiMetadataKey::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, value.as_bytes().try_into()) {
            metadata.append(name, value);
        }
    }
    metadata
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
    use super::*;

    /// Who asks is passed on, and what is marked as metadata; nothing else.
    #[test]
    fn some_headers_are_metadata() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "token"),
            ("grpc-metadata-hasleader", "true"),
            ("grpc-metadata-x-bin", "!"),
            ("content-type", "application/json"),
            ("hasleader", "true"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        let metadata = metadata(&headers);
        assert_eq!(metadata.get("authorization").unwrap(), "token");
        assert_eq!(metadata.get("hasleader").unwrap(), "true");
        assert_eq!(metadata.len(), 2);
    }
}
