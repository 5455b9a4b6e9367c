//! What a member tells about itself: its log, and its metrics.
//!
//! [`init`] starts the log: one line per event, whatever an event contains, with the time in UTC.
//! [`Metrics`] holds a typed handle for every figure; whoever has one counts without asking anybody
//! and without taking a lock. Other rooms may add figures of their own with [`Metrics::register`].
//!
//! [`Spans`] makes the spans of traces, when somebody wants them.
//!
//! Nothing here decides anything, and once it has begun nothing here fails: a log that cannot be
//! written is lost, a figure that cannot be read is left out. Label values come from closed lists or are member ids,
//! never keys, users or addresses.

mod callers;
mod grpc;
mod log;
mod metrics;
mod probes;
mod process;
mod spans;
mod spread;
mod text;

pub use callers::Callers;
pub use grpc::{CallKind, GrpcMethod};
pub use log::{LogFormat, LogOptions, LogOutput, LogRotation, init};
pub use metrics::{ListenerMetrics, Metrics};
pub use probes::{Probes, Scrape};
pub use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
pub use spans::{CallSpan, Spans, Step, TraceParent, TraceSettings};
pub use spread::{MICROS_PER_SECOND, SeriesLabels, Spread};
