//! Settings of what is told of a member's work: figures and traces.

use serde::{Deserialize, Serialize};

use super::{
    check::Check,
    print::quote,
    settings::{Group, Setting, setting, switch},
};

/// What is told of the member's work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observe {
    /// Which figures there are.
    pub metrics: MetricsDetail,
    /// Whether profiles are wanted, which there are not.
    pub enable_pprof: bool,
    /// Whether traces are sent.
    pub enable_distributed_tracing: bool,
    /// Where to: host and port of a collector.
    pub distributed_tracing_address: String,
    /// What traces say of where they come from.
    pub distributed_tracing_service_name: String,
    /// And of which instance; empty: nothing.
    pub distributed_tracing_instance_id: String,
    /// How many of a million calls are traced that are part of no trace.
    pub distributed_tracing_sampling_rate: u32,
}

/// All calls.
const SAMPLING_RATE_MAX: i64 = 1_000_000;

/// How many figures there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsDetail {
    /// All but histograms of single calls.
    Basic,
    /// Those, too.
    Extensive,
}

impl MetricsDetail {
    /// The word that a setting uses for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::Extensive => "extensive",
        }
    }
}

/// The settings as they are written.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct ObserveSettings {
    metrics: String,
    enable_pprof: bool,
    enable_distributed_tracing: bool,
    distributed_tracing_address: String,
    distributed_tracing_service_name: String,
    distributed_tracing_instance_id: String,
    distributed_tracing_sampling_rate: i64,
}

impl Default for ObserveSettings {
    fn default() -> Self {
        Self {
            metrics: "basic".to_owned(),
            enable_pprof: false,
            enable_distributed_tracing: false,
            distributed_tracing_address: "localhost:4317".to_owned(),
            distributed_tracing_service_name: "etcd".to_owned(),
            distributed_tracing_instance_id: String::new(),
            distributed_tracing_sampling_rate: 0,
        }
    }
}

impl Group for ObserveSettings {
    const SETTINGS: &'static [Setting] = &[
        setting(
            "metrics",
            "DETAIL",
            "basic, or extensive: with histograms of calls [default: basic]",
        ),
        switch("enable-pprof", "Without effect: there are no profiles of a Go program here"),
        switch("enable-distributed-tracing", "Send traces to an OpenTelemetry collector"),
        setting(
            "distributed-tracing-address",
            "HOST:PORT",
            "The collector, which takes OTLP over gRPC [default: localhost:4317]",
        ),
        setting(
            "distributed-tracing-service-name",
            "NAME",
            "Service that traces name [default: etcd]",
        ),
        setting("distributed-tracing-instance-id", "ID", "Instance of it that traces name"),
        setting(
            "distributed-tracing-sampling-rate",
            "COUNT",
            "Calls traced of a million that are part of no trace [default: 0]",
        ),
    ];
    type Checked = Observe;

    fn check(self, check: &mut Check<'_>) -> Observe {
        let metrics = match self.metrics.as_str() {
            "basic" => MetricsDetail::Basic,
            "extensive" => MetricsDetail::Extensive,
            other => {
                check.problem("metrics", format!("{other:?} must be basic or extensive"));
                MetricsDetail::Basic
            }
        };
        let rate = self.distributed_tracing_sampling_rate;
        let address = &self.distributed_tracing_address;
        if self.enable_distributed_tracing {
            if !(0..=SAMPLING_RATE_MAX).contains(&rate) {
                let reason = format!("{rate} is not between 0 and {SAMPLING_RATE_MAX}");
                check.problem("distributed-tracing-sampling-rate", reason);
            }
            if !is_address(address) {
                check
                    .problem("distributed-tracing-address", format!("{address:?} is no host:port"));
            }
        }
        Observe {
            metrics,
            enable_pprof: self.enable_pprof,
            enable_distributed_tracing: self.enable_distributed_tracing,
            distributed_tracing_address: self.distributed_tracing_address,
            distributed_tracing_service_name: self.distributed_tracing_service_name,
            distributed_tracing_instance_id: self.distributed_tracing_instance_id,
            distributed_tracing_sampling_rate: u32::try_from(rate).unwrap_or(0),
        }
    }

    fn print(observe: &Observe, setting: &str) -> String {
        match setting {
            "metrics" => quote(observe.metrics.as_str()),
            "enable-pprof" => observe.enable_pprof.to_string(),
            "enable-distributed-tracing" => observe.enable_distributed_tracing.to_string(),
            "distributed-tracing-address" => quote(&observe.distributed_tracing_address),
            "distributed-tracing-service-name" => quote(&observe.distributed_tracing_service_name),
            "distributed-tracing-instance-id" => quote(&observe.distributed_tracing_instance_id),
            "distributed-tracing-sampling-rate" => {
                observe.distributed_tracing_sampling_rate.to_string()
            }
            unknown => unreachable!("setting {unknown} is listed but not printed"),
        }
    }
}

/// Whether a text is a host and a port.
fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let is_plain = host.chars().all(|it| it.is_ascii_alphanumeric() || ".-_:[]".contains(it));
    !host.is_empty() && is_plain && port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Inputs, MetricsDetail, load};

    fn loaded(flags: &[(&str, &str)]) -> Result<Config, String> {
        let flags = flags.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        let inputs = Inputs { flags: flags.collect(), ..Inputs::default() };
        load(&inputs).map(|loaded| loaded.config).map_err(|error| error.to_string())
    }

    /// The defaults are etcd's.
    #[test]
    fn nothing_is_traced_unless_it_is_asked_for() {
        let observe = loaded(&[]).unwrap().observe;
        assert_eq!(observe.metrics, MetricsDetail::Basic);
        assert!(!observe.enable_distributed_tracing && !observe.enable_pprof);
        assert_eq!(observe.distributed_tracing_address, "localhost:4317");
        assert_eq!(observe.distributed_tracing_service_name, "etcd");
        assert_eq!(observe.distributed_tracing_sampling_rate, 0);
    }

    /// What makes no sense is refused, but only when it matters, as in etcd.
    #[test]
    fn settings_of_traces_are_checked_when_they_are_sent() {
        let on = ("enable-distributed-tracing", "true");
        for wrong in [
            ("distributed-tracing-sampling-rate", "1000001"),
            ("distributed-tracing-sampling-rate", "-1"),
            ("distributed-tracing-address", "http://localhost:4317"),
            ("distributed-tracing-address", "localhost"),
        ] {
            assert!(loaded(&[on, wrong]).unwrap_err().contains(wrong.0), "{wrong:?}");
            assert!(loaded(&[wrong]).is_ok(), "{wrong:?}");
        }
        let right = [on, ("distributed-tracing-address", "[::1]:4317")];
        assert!(loaded(&right).unwrap().observe.enable_distributed_tracing);
    }
}
