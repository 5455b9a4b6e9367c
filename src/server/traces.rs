//! Traces of a member: begun when the settings ask for them, and told of what there is not.

use tracing::{info, warn};

use crate::{
    config::Observe,
    telemetry::{Spans, TraceSettings},
};

/// Begins to send traces, if they are wanted.
pub(super) fn start(observe: &Observe) -> Option<Spans> {
    if observe.enable_pprof {
        info!("enable-pprof has no effect: there are no profiles here");
    }
    if !observe.enable_distributed_tracing {
        return None;
    }
    let settings = TraceSettings {
        address: observe.distributed_tracing_address.clone(),
        service_name: observe.distributed_tracing_service_name.clone(),
        instance_id: observe.distributed_tracing_instance_id.clone(),
        per_million: observe.distributed_tracing_sampling_rate,
    };
    match Spans::start(&settings) {
        Ok(spans) => {
            info!(
                collector = settings.address,
                per_million = settings.per_million,
                "calls are traced"
            );
            Some(spans)
        }
        Err(reason) => {
            warn!(collector = settings.address, reason, "calls are not traced");
            None
        }
    }
}

/// Sends what is left.
pub(super) async fn end(spans: Option<Spans>) {
    if let Some(spans) = spans {
        // Whether the last of them arrived matters to nobody who waits here.
        let _ = tokio::task::spawn_blocking(move || spans.end()).await;
    }
}
