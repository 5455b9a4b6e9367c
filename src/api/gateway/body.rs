//! The bodies of requests: one that is a message, and one that is many, of which each is taken as soon
//! as it has come.

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, header},
    response::Response,
};
use futures_util::{StreamExt, stream};
use http_body_util::BodyExt;
use hyper::body::Body as HttpBody;
use prost_reflect::MessageDescriptor;
use tokio::sync::oneshot;
use tonic::Status;

use super::{
    Asked, Manners, answer,
    json::{self, Problem, Splitter},
};
use crate::{api::status, types::limits::GATEWAY_PASSED_OVER_BYTES_MAX};

/// What a method takes.
pub(super) struct Intake {
    pub(super) kind: MessageDescriptor,
    pub(super) manners: Manners,
    pub(super) message_bytes_max: usize,
}

impl Intake {
    /// The bytes of JSON in which a message of the largest size fits, even if it is in base64.
    fn body_bytes_max(&self) -> usize {
        self.message_bytes_max.div_ceil(3).saturating_mul(4)
    }

    /// The message in a body, or the refusal of it.
    pub(super) async fn only(&self, headers: &HeaderMap, body: Body) -> Result<Bytes, Response> {
        let body = self.read(headers, body).await?;
        let message = json::only(&self.kind, self.manners, &body);
        let message = message
            .map_err(|problem| answer::refused(self.manners, &status::bad_json(&problem)))?;
        match self.too_large(message.len()) {
            Some(refusal) => Err(refusal),
            None => Ok(message),
        }
    }

    /// The messages in a body. What is wrong with the first one is told at once, and what is wrong with
    /// another when the answers to those before it are over.
    pub(super) async fn many(self, body: Body) -> Result<Asked, Response> {
        let mut requests =
            Requests { intake: self, body, splitter: Splitter::default(), is_over: false };
        let first = match requests.next().await {
            Ok(first) => first,
            Err(status) => return Err(answer::failed_stream(requests.intake.manners, &status)),
        };
        let (tell, problem) = oneshot::channel();
        let is_over = first.is_none();
        let others =
            stream::unfold((requests, tell, is_over), async |(mut requests, tell, over)| {
                if over {
                    return None;
                }
                match requests.next().await {
                    Ok(Some(message)) => Some((message, (requests, tell, false))),
                    Ok(None) => None,
                    Err(status) => {
                        // Nobody wants to know when the answers are gone.
                        let _ = tell.send(status);
                        None
                    }
                }
            });
        let messages = stream::iter(first).chain(others).boxed();
        Ok(Asked { messages, problem: Some(problem) })
    }

    /// The bytes of a body, or the refusal of one that is too large. That is read as well, within
    /// reason: a client that is still writing might see its connection fail instead of the answer.
    async fn read(&self, headers: &HeaderMap, mut body: Body) -> Result<Vec<u8>, Response> {
        let max = self.body_bytes_max();
        let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        let waits = headers.contains_key(header::EXPECT);
        if announced > if waits { max } else { GATEWAY_PASSED_OVER_BYTES_MAX } {
            return Err(answer::too_large(self.manners, announced, max));
        }
        let (mut bytes, mut len) = (Vec::new(), 0_usize);
        while let Some(frame) = body.frame().await {
            let frame =
                frame.map_err(|error| answer::refused(self.manners, &status::bad_json(&error)))?;
            let Ok(data) = frame.into_data() else { break };
            len = len.saturating_add(data.len());
            if len <= max {
                bytes.extend_from_slice(&data);
            } else if len > GATEWAY_PASSED_OVER_BYTES_MAX {
                break;
            }
        }
        if len > max { Err(answer::too_large(self.manners, len, max)) } else { Ok(bytes) }
    }

    fn too_large(&self, len: usize) -> Option<Response> {
        let max = self.message_bytes_max;
        (len > max).then(|| answer::too_large(self.manners, len, max))
    }

    /// One message of many.
    fn message(&self, value: &[u8]) -> Result<Bytes, Status> {
        let message = json::message(&self.kind, self.manners, value).map_err(undecoded)?;
        let (len, max) = (message.len(), self.message_bytes_max);
        if len > max { Err(status::message_too_large(&len.to_string(), max)) } else { Ok(message) }
    }
}

/// A body with messages that come one after the other.
struct Requests {
    intake: Intake,
    body: Body,
    splitter: Splitter,
    is_over: bool,
}

impl Requests {
    /// The next message, when it has come; none when the body is over.
    async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        let max = self.intake.body_bytes_max();
        loop {
            let value = if self.is_over { self.splitter.end() } else { self.splitter.next() };
            let value = value.map_err(undecoded)?;
            let len = value.as_ref().map_or(self.splitter.len(), Vec::len);
            if len > max {
                return Err(status::message_too_large(&len.to_string(), max));
            }
            match value {
                Some(value) => return self.intake.message(&value).map(Some),
                None if self.is_over => return Ok(None),
                None => {}
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.splitter.push(&data);
                    }
                }
                // A client that is gone hears no complaint.
                Some(Err(_)) | None => self.is_over = true,
            }
        }
    }
}

fn undecoded(problem: Problem) -> Status {
    status::bad_json(&format!("Failed to decode request: {problem}"))
}
