//! One watch stream, as the body of its answer.
//!
//! There is no task behind it and no queue: the connection polls it when there is room, and then it
//! takes requests, moves the cursors of its watchers, and hands over one frame. A client that does
//! not read is not polled, and costs its cursors and no events.

use std::{
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::http::HeaderMap;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use hyper::body::{Body as HttpBody, Frame};
use tokio::time::{self, Interval, MissedTickBehavior};
use tonic::{Code, Status};

use super::{Source, frames::Frames};
use crate::{
    api::{
        convert::watch::{Asked, request},
        status,
    },
    node::Error,
    proto::etcdserverpb::WatchRequest,
    types::{Millis, limits::WATCH_REQUESTS_PER_TURN_MAX},
    watch::{Polled, Sink, Watchers},
};

/// One stream, with `R` for what its client sends.
pub(super) struct Session<S, R> {
    source: S,
    /// None when the client has closed its side, which does not end the stream.
    requests: Option<R>,
    watchers: Watchers,
    frames: Frames,
    course: Course,
    stopped: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Here while one of the watchers is to be told of progress.
    ticker: Option<Interval>,
    tick_period: Millis,
}

/// How the stream goes on when its frames are taken.
#[derive(Debug)]
enum Course {
    Runs,
    /// With this in its trailers.
    Ends(Status),
    Over,
}

impl<S, R> Session<S, R>
where
    S: Source,
    R: Stream<Item = Result<WatchRequest, Status>> + Unpin,
{
    /// A stream without watchers. Pieces of responses stay below `message_bytes_max`.
    pub(super) fn new(
        source: S,
        requests: R,
        tick_period: Millis,
        message_bytes_max: usize,
    ) -> Self {
        Self {
            watchers: Watchers::new(source.hub()),
            stopped: Box::pin(source.stopped()),
            source,
            requests: Some(requests),
            frames: Frames::new(message_bytes_max),
            course: Course::Runs,
            ticker: None,
            tick_period,
        }
    }

    /// Whether it holds nothing to be sent, nor room for it.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.ticker.is_none() && self.frames.holds_nothing()
    }

    /// Puts the next frames together, or chooses another course.
    fn go_on(&mut self, context: &mut Context<'_>) -> Polled {
        if self.stopped.as_mut().poll(context).is_ready() {
            self.course = Course::Ends(status::of_node(Error::Stopped));
            return Polled::Idle;
        }
        self.frames.set_header(self.source.header());
        let asked = self.take_requests(context);
        if let Course::Ends(_) = self.course {
            return Polled::Idle;
        }
        self.tick(context);
        let polled = self.watchers.poll(context.waker(), &mut self.frames);
        if let Some(status) = self.frames.take_failure() {
            self.course = Course::Ends(status);
        }
        match asked {
            Polled::Idle => polled,
            Polled::More => Polled::More,
        }
    }

    /// Carries out what the client asks for, while there is room for the answers.
    fn take_requests(&mut self, context: &mut Context<'_>) -> Polled {
        for _ in 0..WATCH_REQUESTS_PER_TURN_MAX {
            if !self.frames.has_room() {
                return Polled::More;
            }
            let Some(requests) = &mut self.requests else { return Polled::Idle };
            match requests.poll_next_unpin(context) {
                Poll::Pending => return Polled::Idle,
                Poll::Ready(None) => self.requests = None,
                Poll::Ready(Some(Ok(message))) => self.answer(message),
                Poll::Ready(Some(Err(status))) => {
                    self.course = Course::Ends(ended_by_client(status));
                    return Polled::Idle;
                }
            }
        }
        Polled::More
    }

    fn answer(&mut self, message: WatchRequest) {
        let response = match request(message) {
            None => None,
            Some(Asked::Create(create)) => Some(self.watchers.create(create)),
            Some(Asked::Cancel(id)) => self.watchers.cancel(id),
            Some(Asked::Progress) => {
                self.watchers.progress();
                None
            }
        };
        if let Some(response) = response {
            self.frames.say(response);
        }
    }

    fn tick(&mut self, context: &mut Context<'_>) {
        if !self.watchers.wants_ticks() {
            self.ticker = None;
            return;
        }
        let ticker = self.ticker.get_or_insert_with(|| ticker(self.tick_period));
        while ticker.poll_tick(context).is_ready() {
            self.watchers.tick();
        }
    }
}

impl<S, R> HttpBody for Session<S, R>
where
    S: Source,
    R: Stream<Item = Result<WatchRequest, Status>> + Unpin,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        loop {
            if let Some(bytes) = this.frames.take() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            match mem::replace(&mut this.course, Course::Over) {
                Course::Runs => this.course = Course::Runs,
                Course::Ends(status) => {
                    let mut trailers = HeaderMap::new();
                    status.add_header(&mut trailers)?;
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Course::Over => return Poll::Ready(None),
            }
            let polled = this.go_on(context);
            if let Course::Runs = this.course
                && this.frames.is_empty()
            {
                if polled == Polled::More {
                    // Others have a turn first.
                    context.waker().wake_by_ref();
                }
                return Poll::Pending;
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.course, Course::Over)
    }
}

/// How a stream ends whose client reset it, or sent what cannot be decoded.
fn ended_by_client(status: Status) -> Status {
    if status.code() == Code::Cancelled { status::watch_canceled() } else { status }
}

/// A ticker that ticks for the first time after a period.
fn ticker(period: Millis) -> Interval {
    let mut ticker = time::interval(Duration::from_millis(period.0));
    ticker.reset();
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticker
}
