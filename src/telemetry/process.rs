//! Figures of the process itself, read from `/proc` whenever somebody asks for metrics.
//!
//! On systems without `/proc` they are absent.

use std::{
    fmt, fs,
    time::{SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};

/// Clock ticks in a second, as `/proc` counts them: the same on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Reads the process' figures when they are asked for.
#[derive(Debug)]
pub(super) struct Process {
    start_seconds: f64,
}

impl Process {
    /// To be made at the start of the process, which is the time it reports.
    #[expect(
        clippy::disallowed_methods,
        reason = "wall-clock time for people, no decision rests on it"
    )]
    pub(super) fn new() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start_seconds: since_epoch.as_secs_f64() }
    }

    fn gauges(&self) -> impl Iterator<Item = (&'static str, &'static str, f64)> {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let (open, max) = (open_fds(), limit(&limits, "Max open files"));
        [
            ("process_start_time_seconds", "When the process started", Some(self.start_seconds)),
            ("process_resident_memory_bytes", "Memory in use", size(&status, "VmRSS:")),
            ("process_virtual_memory_bytes", "Address space in use", size(&status, "VmSize:")),
            (
                "process_virtual_memory_max_bytes",
                "Limit of the address space",
                limit(&limits, "Max address space"),
            ),
            ("process_open_fds", "Open file descriptors", open),
            ("process_max_fds", "Limit of open file descriptors", max),
            ("os_fd_used", "Open file descriptors", open),
            ("os_fd_limit", "Limit of open file descriptors", max),
        ]
        .into_iter()
        .filter_map(|(name, help, value)| Some((name, help, value?)))
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (name, help, value) in self.gauges() {
            let gauge = ConstGauge::new(value);
            let kind = gauge.metric_type();
            gauge.encode(encoder.encode_descriptor(name, help, None, kind)?)?;
        }
        let network = octets();
        let (received, sent) = network.map_or((None, None), |(in_, out)| (Some(in_), Some(out)));
        for (name, help, value) in [
            ("process_cpu_seconds", "Processor time used", cpu_seconds()),
            ("process_network_receive_bytes", "Bytes that this network has received", received),
            ("process_network_transmit_bytes", "Bytes that this network has sent", sent),
        ] {
            if let Some(value) = value {
                let counter = ConstCounter::new(value);
                let kind = counter.metric_type();
                counter.encode(encoder.encode_descriptor(name, help, None, kind)?)?;
            }
        }
        Ok(())
    }
}

/// A line of `/proc/self/status` that is in kibibytes.
#[expect(clippy::float_arithmetic, reason = "figures for people")]
fn size(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024.0)
}

/// The soft limit that a line of `/proc/self/limits` tells.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn limit(limits: &str, name: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX as f64),
        limit => limit.parse().ok(),
    }
}

fn open_fds() -> Option<f64> {
    let open = fs::read_dir("/proc/self/fd").ok()?.count();
    u32::try_from(open).ok().map(f64::from)
}

/// The time that the process was on a processor, for itself and within the system.
#[expect(clippy::float_arithmetic, reason = "figures for people")]
fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program is in brackets, and may have any characters.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut ticks = fields.split_whitespace().skip(11).map(str::parse::<f64>);
    let (user, system) = (ticks.next()?.ok()?, ticks.next()?.ok()?);
    Some((user + system) / TICKS_PER_SECOND)
}

/// Bytes received and sent by everybody in the network namespace of this process.
fn octets() -> Option<(f64, f64)> {
    let netstat = fs::read_to_string("/proc/self/net/netstat").ok()?;
    let mut lines = netstat.lines().filter_map(|line| line.strip_prefix("IpExt: "));
    let (names, values) = (lines.next()?, lines.next()?);
    let find = |name: &str| {
        let mut pairs = names.split_whitespace().zip(values.split_whitespace());
        pairs.find(|(found, _)| *found == name)?.1.parse().ok()
    };
    Some((find("InOctets")?, find("OutOctets")?))
}

/// How many files this process may have open at once.
pub(super) fn open_fds_max() -> Option<i64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}
