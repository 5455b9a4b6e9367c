//! Says on the log which calls took too long, and what kind of request each was: its size, its keys as
//! far as they are short, never a value.
//!
//! Calls of the KV service are told with what they asked for and got, as etcd tells them; all other
//! unary calls by their name, which the [`Guard`](crate::api::layers::Guard) knows. A call costs two
//! looks at the clock, and a count of its request's bytes.
//!
//! Absent: streams, which last, and the calls that wait for somebody else's lock.

mod shape;

use std::{cell::Cell, net::SocketAddr, sync::Arc};

use prost::Message;
use tonic::{Code, Status};

use self::shape::Shape;
pub(super) use self::shape::{Counted, Shaped};
use crate::{
    node::{Handle, Throttle, duration_text},
    types::Millis,
};

/// Calls that wait for others on purpose.
const WAITING: [&str; 2] = ["/v3lockpb.Lock/Lock", "/v3electionpb.Election/Campaign"];
/// The service whose calls are told with their requests.
const KV: &str = "/etcdserverpb.KV/";

thread_local! {
    /// Who has opened the connection of the call that is polled.
    static REMOTE: Cell<Option<SocketAddr>> = const { Cell::new(None) };
}

/// Polls a call for somebody, whom slow calls are told with. Not with the request, where each call would
/// have to allocate for it.
pub fn on_behalf_of<T>(remote: Option<SocketAddr>, poll: impl FnOnce() -> T) -> T {
    let before = REMOTE.replace(remote);
    let polled = poll();
    REMOTE.set(before);
    polled
}

/// Tells which calls took too long. Clones share how much they may tell.
#[derive(Clone, Debug)]
pub struct SlowCalls {
    node: Handle,
    /// What may take longer without a word: everything, if there is none.
    limit: Option<Millis>,
    throttle: Arc<Throttle>,
}

/// A call under way.
pub(super) struct Watched<'a> {
    calls: &'a SlowCalls,
    began: Millis,
    shape: Shape,
    request_bytes: usize,
}

/// What is told of a call.
struct Told<'a> {
    took: Millis,
    method: &'a str,
    request: String,
    /// Of the request: things in it, and bytes. Below 0: not known.
    asked: (i64, i64),
    /// The same of the response.
    answered: (i64, i64),
    code: Code,
}

impl SlowCalls {
    /// Tells of the calls of this member that take longer than `limit`.
    #[must_use]
    pub fn new(node: Handle, limit: Option<Millis>) -> Self {
        Self { node, limit, throttle: Arc::default() }
    }

    /// Follows a call of the KV service from now on.
    pub(super) fn watch(&self, request: &impl Shaped) -> Watched<'_> {
        let (shape, request_bytes) = (request.shape(), request.encoded_len());
        Watched { calls: self, began: self.node.now(), shape, request_bytes }
    }

    /// When a call began, if it is one that is told by its name alone.
    pub(super) fn begin(&self, path: &str) -> Option<Millis> {
        let by_name = self.limit.is_some() && !path.starts_with(KV) && !WAITING.contains(&path);
        by_name.then(|| self.node.now())
    }

    /// The call is over.
    pub(super) fn end(&self, path: &str, began: Millis, code: Code) {
        let took = self.node.now().since(began);
        if self.is_slow(took) {
            let (asked, answered) = ((-1, -1), (-1, -1));
            self.tell(&Told { took, method: path, request: String::new(), asked, answered, code });
        }
    }

    fn is_slow(&self, took: Millis) -> bool {
        self.limit.is_some_and(|limit| took > limit)
    }

    fn tell(&self, told: &Told<'_>) {
        self.node.note_slow_call();
        let Some(held_back) = self.throttle.pass(self.node.now()) else { return };
        let ((request_count, request_size), (response_count, response_size)) =
            (told.asked, told.answered);
        tracing::warn!(
            "time spent" = duration_text(told.took.0.saturating_mul(1_000)),
            remote = REMOTE.get().map(tracing::field::display),
            "response type" = told.method,
            "request count" = request_count,
            "request size" = request_size,
            "response count" = response_count,
            "response size" = response_size,
            "request content" = told.request,
            code = ?told.code,
            held_back = Some(held_back).filter(|lines| *lines > 0),
            "request stats"
        );
    }
}

impl Watched<'_> {
    /// The call is over, with this answer.
    pub(super) fn ended<A: Message + Counted>(self, answer: &Result<A, Status>) {
        self.ended_with(answer, |answer| (answer.things(), answer.encoded_len()));
    }

    /// The call is over, with an answer whose things and bytes `measure` counts.
    pub(super) fn ended_with<A>(
        self,
        answer: &Result<A, Status>,
        measure: impl Fn(&A) -> (i64, usize),
    ) {
        let took = self.calls.node.now().since(self.began);
        if let Some(prefix) = self.shape.read_prefix() {
            self.calls.node.note_read(took, prefix, || {
                let response = answer.as_ref().map(|answer| {
                    let (things, bytes) = measure(answer);
                    self.shape.response(things, bytes)
                });
                (self.shape.text(), response.unwrap_or_default())
            });
        }
        if self.calls.is_slow(took) {
            let code = answer.as_ref().map_or_else(Status::code, |_| Code::Ok);
            let answered = answer.as_ref().map(&measure);
            let answered = answered.map_or((-1, -1), |(things, bytes)| (things, count(bytes)));
            let asked = (self.shape.things(), count(self.request_bytes));
            let (method, request) = (self.shape.method(), self.shape.text());
            self.calls.tell(&Told { took, method, request, asked, answered, code });
        }
    }
}

fn count(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
