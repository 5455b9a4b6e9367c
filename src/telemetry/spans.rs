//! Traces: a span for each call, and one for what it asks of the log, sent to an OpenTelemetry collector.
//!
//! Spans wait in a bounded queue and leave in batches, on a thread of the library's own; what finds the
//! queue full is dropped. A collector that cannot be reached is told of once. A call belongs to the
//! trace that its client names, and is sampled as that is; others as the settings say.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use opentelemetry::{
    Context, KeyValue,
    propagation::{Extractor, TextMapPropagator},
    trace::{
        Span as _, SpanContext, SpanKind, Status, TraceContextExt, Tracer as _, TracerProvider,
    },
};
use opentelemetry_otlp::{SpanExporter as OtlpExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    propagation::TraceContextPropagator,
    trace::{
        BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider, Span,
        SpanData, SpanExporter,
    },
};

/// Spans that wait at most.
const QUEUE_MAX: usize = 2_048;
/// How long the first span of a batch waits for others.
const BATCH_EVERY: Duration = Duration::from_secs(1);
/// How long a collector may take to accept a batch.
const EXPORT_WITHIN: Duration = Duration::from_secs(5);
/// How long spans that wait may take to leave when the process ends.
const END_WITHIN: Duration = Duration::from_millis(500);
/// The name of the propagated headers.
const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
/// The rate at which every call is sampled.
const ALL: u32 = 1_000_000;

/// Codes that say that the server did not do well, as OpenTelemetry's rules for gRPC have it: Unknown,
/// DeadlineExceeded, Unimplemented, Internal, Unavailable and DataLoss.
const SERVER_ERRORS: [i32; 6] = [2, 4, 12, 13, 14, 15];

/// Where traces go, and which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceSettings {
    /// The collector's host and port, without encryption.
    pub address: String,
    /// What the traces say of where they come from.
    pub service_name: String,
    /// And of which instance; empty: nothing.
    pub instance_id: String,
    /// How many of a million calls are sampled that are part of no trace.
    pub per_million: u32,
}

/// Makes spans. Clones share where they go.
#[derive(Clone, Debug)]
pub struct Spans {
    tracer: SdkTracer,
    provider: SdkTracerProvider,
}

/// A call under way. Dropped, its span ends.
#[derive(Debug)]
pub struct CallSpan {
    span: Span,
    spans: Spans,
}

/// The span of a call, for what is done on its behalf. Stands in the extensions of its request.
#[derive(Clone, Debug)]
pub struct TraceParent {
    context: SpanContext,
    spans: Spans,
}

/// A step of a call. Dropped, its span ends.
#[derive(Debug)]
pub struct Step(#[expect(dead_code, reason = "it ends when it is dropped")] Span);

impl Spans {
    /// Begins to send spans to a collector. To be called on a runtime, which the connection then uses.
    ///
    /// # Errors
    ///
    /// What is wrong with the address.
    pub fn start(settings: &TraceSettings) -> Result<Self, String> {
        let exporter = OtlpExporter::builder()
            .with_tonic()
            .with_endpoint(format!("http://{}", settings.address))
            .with_timeout(EXPORT_WITHIN)
            .build()
            .map_err(|error| error.to_string())?;
        let told =
            Telling { inner: exporter, address: settings.address.clone(), fails: Fails::default() };
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE_MAX)
            .with_scheduled_delay(BATCH_EVERY)
            .build();
        let processor = BatchSpanProcessor::builder(told).with_batch_config(batches).build();
        let mut resource =
            Resource::builder_empty().with_service_name(settings.service_name.clone());
        if !settings.instance_id.is_empty() {
            let id = KeyValue::new("service.instance.id", settings.instance_id.clone());
            resource = resource.with_attribute(id);
        }
        let provider = SdkTracerProvider::builder()
            .with_span_processor(processor)
            .with_resource(resource.build())
            .with_sampler(Sampler::ParentBased(Box::new(sampler(settings.per_million))))
            .build();
        Ok(Self { tracer: provider.tracer("quorate"), provider })
    }

    /// Begins the span of a call of this path, such as `/etcdserverpb.KV/Range`. `header` finds what
    /// the client sent under a name.
    #[must_use]
    pub fn call<'a>(&self, path: &str, header: impl Fn(&str) -> Option<&'a str>) -> CallSpan {
        let parent = TraceContextPropagator::new()
            .extract(&Headers { traceparent: header(TRACEPARENT), tracestate: header(TRACESTATE) });
        let name = path.trim_start_matches('/');
        let (service, method) = name.split_once('/').unwrap_or((name, ""));
        let span = self
            .tracer
            .span_builder(name.to_owned())
            .with_kind(SpanKind::Server)
            .with_attributes([
                KeyValue::new("rpc.system", "grpc"),
                KeyValue::new("rpc.service", service.to_owned()),
                KeyValue::new("rpc.method", method.to_owned()),
            ])
            .start_with_context(&self.tracer, &parent);
        CallSpan { span, spans: self.clone() }
    }

    /// Sends what waits, for a moment at most, and ends. It blocks.
    pub fn end(&self) {
        // What cannot be sent was told of already.
        let _ = self.provider.shutdown_with_timeout(END_WITHIN);
    }
}

/// How to decide about a call that is part of no trace.
#[expect(clippy::float_arithmetic, reason = "a ratio is what the library takes")]
fn sampler(per_million: u32) -> Sampler {
    match per_million {
        0 => Sampler::AlwaysOff,
        ALL.. => Sampler::AlwaysOn,
        some => Sampler::TraceIdRatioBased(f64::from(some) / f64::from(ALL)),
    }
}

impl CallSpan {
    /// For what is done on the call's behalf, if somebody will see it.
    #[must_use]
    pub fn parent(&self) -> Option<TraceParent> {
        let context = self.span.span_context();
        let parent = || TraceParent { context: context.clone(), spans: self.spans.clone() };
        context.is_sampled().then(parent)
    }

    /// The call has ended with this gRPC status code.
    pub fn end(mut self, code: i32) {
        self.span.set_attribute(KeyValue::new("rpc.grpc.status_code", i64::from(code)));
        if SERVER_ERRORS.contains(&code) {
            self.span.set_status(Status::error(""));
        }
    }
}

impl TraceParent {
    /// Begins a step of the call.
    #[must_use]
    pub fn step(&self, name: &'static str) -> Step {
        let parent = Context::new().with_remote_span_context(self.context.clone());
        Step(self.spans.tracer.start_with_context(name, &parent))
    }
}

/// What a client says of the trace that its call is part of.
struct Headers<'a> {
    traceparent: Option<&'a str>,
    tracestate: Option<&'a str>,
}

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            TRACEPARENT => self.traceparent,
            TRACESTATE => self.tracestate,
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT, TRACESTATE]
    }
}

/// Sends spans, and says once when that fails, and once when it works again.
#[derive(Debug)]
struct Telling {
    inner: OtlpExporter,
    address: String,
    fails: Fails,
}

/// Whether something failed when it was last tried.
#[derive(Debug, Default)]
struct Fails(AtomicBool);

impl Fails {
    /// It was tried: whether how it ended is another end than the last one.
    fn is_news(&self, failed: bool) -> bool {
        self.0.swap(failed, Ordering::Relaxed) != failed
    }
}

impl SpanExporter for Telling {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let result = self.inner.export(batch).await;
        if self.fails.is_news(result.is_err()) {
            match &result {
                Err(error) => {
                    tracing::warn!(collector = self.address, %error, "traces cannot be sent");
                }
                Ok(()) => tracing::info!(collector = self.address, "traces are sent again"),
            }
        }
        result
    }

    fn shutdown_with_timeout(&mut self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of many failures in a row the first is told of, and that it works again.
    #[test]
    fn failures_in_a_row_are_told_of_once() {
        let fails = Fails::default();
        let told = [false, true, true, false, false, true].map(|failed| fails.is_news(failed));
        assert_eq!(told, [false, true, false, true, false, true]);
    }

    /// None, all, or some of the calls that are part of no trace.
    #[test]
    fn the_rate_is_of_a_million() {
        assert!(matches!(sampler(0), Sampler::AlwaysOff));
        assert!(matches!(sampler(ALL), Sampler::AlwaysOn));
        let Sampler::TraceIdRatioBased(ratio) = sampler(250_000) else { panic!("a ratio") };
        assert!((0.249..0.251).contains(&ratio), "{ratio}");
    }
}
