//! One watch stream, as the body of its answer.
//!
//! There is no task behind it and no queue: the connection polls it when there is room, and then it
//! takes requests, moves the cursors of its watchers, and hands over one frame. It looks only where
//! a bell was rung, because most frames are about events, and to ask for requests takes a lock of
//! the connection. A client that does not read is not polled, and costs its cursors and no more than
//! what [`Frames`] hold of one response.

use std::{
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::http::HeaderMap;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use hyper::body::{Body as HttpBody, Frame};
use tokio::time::{self, Interval, MissedTickBehavior};
use tonic::{Code, Status};

use super::{Source, bell::Bell, frames::Frames};
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
    /// Rung by requests, the stop of the member and the ticker.
    outside: Arc<Bell>,
    /// Rung by what is ready for the watchers.
    inside: Arc<Bell>,
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
            outside: Bell::new(),
            inside: Bell::new(),
        }
    }

    /// Whether it holds nothing to be sent, nor room for it.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.ticker.is_none() && self.frames.holds_nothing()
    }

    /// What waits to be sent: the bytes that nobody shares, and those that others share.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> (usize, usize) {
        self.frames.held_bytes()
    }

    /// Puts the next frames together, or chooses another course.
    fn go_on(&mut self, stream: &Waker) -> Polled {
        let (outside, inside) = (self.outside.hear(stream), self.inside.hear(stream));
        if !outside && !inside {
            return Polled::Idle;
        }
        self.frames.set_header(self.source.header());
        let asked = if outside { self.look_outside() } else { Ok(Polled::Idle) };
        let asked = match asked {
            Ok(asked) => asked,
            Err(status) => {
                self.course = Course::Ends(status);
                return Polled::Idle;
            }
        };
        let waker = Waker::from(Arc::clone(&self.inside));
        let polled = self.watchers.poll(&waker, &mut self.frames);
        if let Some(status) = self.frames.take_failure() {
            self.course = Course::Ends(status);
        }
        for (bell, polled) in [(&self.outside, asked), (&self.inside, polled)] {
            if polled == Polled::More {
                bell.repeat();
            }
        }
        match asked {
            Polled::Idle => polled,
            Polled::More => Polled::More,
        }
    }

    /// Looks after everything but the watchers. A status ends the stream.
    fn look_outside(&mut self) -> Result<Polled, Status> {
        let waker = Waker::from(Arc::clone(&self.outside));
        let context = &mut Context::from_waker(&waker);
        if self.stopped.as_mut().poll(context).is_ready() {
            return Err(status::of_node(Error::Stopped));
        }
        let asked = self.take_requests(context).map_err(ended_by_client)?;
        self.tick(context);
        Ok(asked)
    }

    /// Carries out what the client asks for, while there is room for the answers.
    fn take_requests(&mut self, context: &mut Context<'_>) -> Result<Polled, Status> {
        for _ in 0..WATCH_REQUESTS_PER_TURN_MAX {
            if !self.frames.has_room() {
                return Ok(Polled::More);
            }
            let Some(requests) = &mut self.requests else { return Ok(Polled::Idle) };
            match requests.poll_next_unpin(context) {
                Poll::Pending => return Ok(Polled::Idle),
                Poll::Ready(None) => self.requests = None,
                Poll::Ready(Some(message)) => self.answer(message?),
            }
        }
        Ok(Polled::More)
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
        this.frames.fill();
        // While the chunk has room, what comes next goes into the same frame.
        if matches!(this.course, Course::Runs) && this.frames.has_room() {
            let polled = this.go_on(context.waker());
            if matches!(this.course, Course::Runs) && this.frames.is_empty() {
                if polled == Polled::More {
                    // Others have a turn first.
                    context.waker().wake_by_ref();
                }
                return Poll::Pending;
            }
        }
        if let Some(bytes) = this.frames.take() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        let course = mem::replace(&mut this.course, Course::Over);
        let Course::Ends(status) = course else { return Poll::Ready(None) };
        let mut trailers = HeaderMap::new();
        status.add_header(&mut trailers)?;
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
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
