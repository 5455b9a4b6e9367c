//! The one check of all settings, alone and against each other.
//!
//! It goes on after a problem, so that somebody who sets up a member hears of all of them at once.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use super::{
    Config, InitialClusterState, InitialMember, ListenPlace, ListenUrl, LogLevel, Problem, Url,
    UrlError,
    discovery::DiscoverySettings,
    duration,
    http::HttpSettings,
    layers::Sources,
    log::LogSettings,
    observe::ObserveSettings,
    settings::{Group, List, Settings},
    tls::{self, TlsSettings},
    upkeep::UpkeepSettings,
};
use crate::types::limits;

/// An election must outlast a few lost heartbeats, or leaders fall without need.
const HEARTBEATS_PER_ELECTION_MIN: u64 = 5;
/// etcd's bound: beyond it a dead leader is noticed too late for anybody.
const ELECTION_TIMEOUT_MS_MAX: u64 = 50_000;
/// A request goes to the other members in one message, with some room for what is around it.
const REQUEST_BYTES_MAX: u64 = (limits::PEER_MESSAGE_BYTES_MAX - limits::GROUP_BYTES_MAX) as u64;
/// A transaction is applied in one go, during which nothing else is.
const TXN_OPS_MAX: u64 = 65_536;
/// A leader sends each of them everything.
const LEARNERS_MAX: u64 = 1_000;
/// A cache must hold the parts of indexes and filters that reads of the moment share.
const BLOCK_CACHE_BYTES_MIN: u64 = 8 * 1024 * 1024;
/// More is a mistake: it would be all of a large machine.
const BLOCK_CACHE_BYTES_MAX: u64 = 1024 * 1024 * 1024 * 1024;
/// Slower, a chunk would take so long that its receiver gives up.
const SNAPSHOT_SEND_RATE_MIN: u64 = 1024 * 1024;

/// Makes the configuration, or says all that is wrong.
pub(super) fn check(
    settings: &Settings,
    groups: Groups,
    sources: &Sources,
) -> Result<Config, Vec<Problem>> {
    let mut check = Check { sources, problems: Vec::new() };
    let (heartbeat, election) = check.timing(settings);
    let advertised = check.urls(
        "initial-advertise-peer-urls",
        &settings.initial_advertise_peer_urls,
        Url::parse,
    );
    let config = Config {
        name: check.name(&settings.name),
        data_dir: check.data_dir(settings),
        listen_client_urls: check.urls(
            "listen-client-urls",
            &settings.listen_client_urls,
            ListenUrl::parse,
        ),
        advertise_client_urls: check.advertise_client_urls(settings),
        listen_peer_urls: check.urls(
            "listen-peer-urls",
            &settings.listen_peer_urls,
            ListenUrl::parse,
        ),
        initial_cluster: check.initial_cluster(settings, &advertised),
        initial_cluster_is_set: settings.initial_cluster.is_some(),
        initial_advertise_peer_urls: advertised,
        initial_cluster_state: check.cluster_state(&settings.initial_cluster_state),
        initial_cluster_token: settings.initial_cluster_token.clone(),
        discovery_srv: check.discovery_srv(settings),
        discovery_srv_name: settings.discovery_srv_name.clone(),
        discovery_srv_resolver: check.resolver(&settings.discovery_srv_resolver),
        force_new_cluster: settings.force_new_cluster,
        heartbeat_interval: heartbeat,
        election_timeout: election,
        log_level: check.log_level(&settings.log_level),
        max_request_bytes: check.count(
            "max-request-bytes",
            settings.max_request_bytes,
            REQUEST_BYTES_MAX,
        ),
        max_txn_ops: check.count("max-txn-ops", settings.max_txn_ops, TXN_OPS_MAX),
        watch_progress_notify_interval: check
            .duration("watch-progress-notify-interval", &settings.watch_progress_notify_interval),
        quota_backend_bytes: settings.quota_backend_bytes,
        block_cache_bytes: check.block_cache_bytes(settings.block_cache_bytes),
        snapshot_send_rate: check.snapshot_send_rate(settings.snapshot_send_rate),
        registry_view_bytes: settings.registry_view_bytes,
        corrupt_check_time: check.period("corrupt-check-time", &settings.corrupt_check_time),
        listen_metrics_urls: check.distinct(
            "listen-metrics-urls",
            &settings.listen_metrics_urls,
            ListenUrl::parse,
        ),
        strict_reconfig_check: settings.strict_reconfig_check,
        max_learners: check.max_learners(settings.max_learners),
        learner_serves_reads: settings.learner_serves_reads,
        discovery: groups.discovery.check(&mut check),
        tls: groups.tls.check(&mut check),
        http: groups.http.check(&mut check),
        log: groups.log.check(&mut check),
        upkeep: groups.upkeep.check(&mut check),
        observe: groups.observe.check(&mut check),
        exit_with_parent: false,
    };
    check.listeners_differ(&config);
    tls::check_urls(&config, &mut check);
    if check.problems.is_empty() { Ok(config) } else { Err(check.problems) }
}

/// The settings of the groups, before anybody has looked at what they mean.
pub(super) struct Groups {
    pub(super) discovery: DiscoverySettings,
    pub(super) tls: TlsSettings,
    pub(super) http: HttpSettings,
    pub(super) log: LogSettings,
    pub(super) upkeep: UpkeepSettings,
    pub(super) observe: ObserveSettings,
}

/// Collects what is wrong.
pub(super) struct Check<'a> {
    sources: &'a Sources,
    problems: Vec<Problem>,
}

impl Check<'_> {
    pub(super) fn problem(&mut self, setting: &str, reason: impl ToString) {
        let source = self.sources.of(setting);
        self.problems.push(Problem {
            setting: setting.to_owned(),
            source,
            reason: reason.to_string(),
        });
    }

    pub(super) fn is_set(&self, setting: &str) -> bool {
        self.sources.is_set(setting)
    }

    pub(super) fn duration(&mut self, setting: &str, text: &str) -> Duration {
        duration::parse(text).unwrap_or_else(|reason| {
            self.problem(setting, reason);
            Duration::ZERO
        })
    }

    /// A duration of something that can be switched off.
    pub(super) fn period(&mut self, setting: &str, text: &str) -> Duration {
        if matches!(text, "0" | "0s") { Duration::ZERO } else { self.duration(setting, text) }
    }

    fn name(&mut self, name: &str) -> String {
        if name.is_empty() {
            self.problem("name", "must not be empty");
        } else if name.contains(|c: char| c.is_control() || "=,".contains(c)) {
            // Such a name could not be written in initial-cluster, or not on one line.
            let reason = format!("{name:?} must not contain =, a comma or a control character");
            self.problem("name", reason);
        }
        name.to_owned()
    }

    fn data_dir(&mut self, settings: &Settings) -> PathBuf {
        match settings.data_dir.as_deref() {
            Some("") => {
                self.problem("data-dir", "must not be empty");
                PathBuf::new()
            }
            Some(path) => PathBuf::from(path),
            None => PathBuf::from(format!("{}.quorate", settings.name)),
        }
    }

    /// At least one URL, each of them readable, none of them twice.
    fn urls<T: PartialEq>(
        &mut self,
        setting: &str,
        list: &List,
        parse: fn(&str) -> Result<T, UrlError>,
    ) -> Vec<T> {
        if list.0.is_empty() {
            self.problem(setting, "must name at least one url");
        }
        self.distinct(setting, list, parse)
    }

    pub(super) fn distinct<T: PartialEq>(
        &mut self,
        setting: &str,
        list: &List,
        parse: fn(&str) -> Result<T, UrlError>,
    ) -> Vec<T> {
        let mut urls = Vec::with_capacity(list.0.len());
        for text in &list.0 {
            match parse(text) {
                Ok(url) if urls.contains(&url) => {
                    self.problem(setting, format!("{text:?} is listed twice"))
                }
                Ok(url) => urls.push(url),
                Err(error) => self.problem(setting, error),
            }
        }
        urls
    }

    /// A member that listens elsewhere than by default would send its clients to the default URL.
    fn advertise_client_urls(&mut self, settings: &Settings) -> Vec<Url> {
        let setting = "advertise-client-urls";
        if self.sources.is_set("listen-client-urls") && !self.sources.is_set(setting) {
            self.problem(setting, "is required when listen-client-urls is set");
        }
        self.urls(setting, &settings.advertise_client_urls, Url::parse)
    }

    /// The founding members by name. As for etcd, a member with several URLs is listed once for each.
    fn initial_cluster(&mut self, settings: &Settings, advertised: &[Url]) -> Vec<InitialMember> {
        let own_urls = sorted(advertised);
        let Some(list) = &settings.initial_cluster else {
            return vec![InitialMember { name: settings.name.clone(), peer_urls: own_urls }];
        };
        let members = self.members(list);
        match members.get(&settings.name) {
            None => {
                let reason = format!("has no member {:?}, which is this one's name", settings.name);
                self.problem("initial-cluster", reason);
            }
            Some(urls) if sorted(urls) != own_urls => {
                let reason = format!(
                    "lists {:?} with {}, but initial-advertise-peer-urls is {} ({})",
                    settings.name,
                    join(&sorted(urls)),
                    join(&own_urls),
                    self.sources.of("initial-advertise-peer-urls"),
                );
                self.problem("initial-cluster", reason);
            }
            Some(_) => {}
        }
        let member =
            |(name, urls): (String, Vec<Url>)| InitialMember { name, peer_urls: sorted(&urls) };
        members.into_iter().map(member).collect()
    }

    fn members(&mut self, list: &List) -> BTreeMap<String, Vec<Url>> {
        let mut members: BTreeMap<String, Vec<Url>> = BTreeMap::new();
        for entry in &list.0 {
            let Some((name, url)) = entry.split_once('=').filter(|(name, _)| !name.is_empty())
            else {
                self.problem("initial-cluster", format!("{entry:?} must have the form name=url"));
                continue;
            };
            match Url::parse(url) {
                Ok(url) if members.values().flatten().any(|other| *other == url) => {
                    self.problem("initial-cluster", format!("{url} is listed twice"));
                }
                Ok(url) => members.entry(name.trim().to_owned()).or_default().push(url),
                Err(error) => self.problem("initial-cluster", error),
            }
        }
        members
    }

    fn cluster_state(&mut self, text: &str) -> InitialClusterState {
        match text {
            "new" => InitialClusterState::New,
            "existing" => InitialClusterState::Existing,
            _ => {
                self.problem("initial-cluster-state", format!("{text:?} must be new or existing"));
                InitialClusterState::New
            }
        }
    }

    fn discovery_srv(&mut self, settings: &Settings) -> Option<String> {
        let domain = settings.discovery_srv.trim();
        if domain.is_empty() {
            return None;
        }
        if settings.initial_cluster.is_some() {
            let reason = "multiple discovery or bootstrap flags are set: choose one of \
                          initial-cluster and discovery-srv";
            self.problem("discovery-srv", reason);
        }
        Some(domain.to_owned())
    }

    fn resolver(&mut self, text: &str) -> Option<SocketAddr> {
        if text.is_empty() {
            return None;
        }
        let parsed = text.parse();
        if parsed.is_err() {
            self.problem("discovery-srv-resolver", format!("{text:?} must have the form ip:port"));
        }
        parsed.ok()
    }

    fn log_level(&mut self, text: &str) -> LogLevel {
        match text.to_ascii_lowercase().as_str() {
            "trace" => LogLevel::Trace,
            "debug" => LogLevel::Debug,
            "info" => LogLevel::Info,
            "warn" => LogLevel::Warn,
            // etcd has three levels above error; we log nothing that only they would show.
            "error" | "dpanic" | "panic" | "fatal" => LogLevel::Error,
            _ => {
                self.problem(
                    "log-level",
                    format!("{text:?} must be trace, debug, info, warn or error"),
                );
                LogLevel::Info
            }
        }
    }

    fn timing(&mut self, settings: &Settings) -> (Duration, Duration) {
        let (heartbeat, election) = (settings.heartbeat_interval, settings.election_timeout);
        if heartbeat == 0 {
            self.problem("heartbeat-interval", "must be at least 1 ms");
        }
        if election > ELECTION_TIMEOUT_MS_MAX {
            let reason = format!("{election} ms is more than {ELECTION_TIMEOUT_MS_MAX} ms");
            self.problem("election-timeout", reason);
        }
        if election < heartbeat.saturating_mul(HEARTBEATS_PER_ELECTION_MIN) {
            let reason = format!(
                "{election} ms is less than {HEARTBEATS_PER_ELECTION_MIN} times heartbeat-interval, which is \
                 {heartbeat} ms ({})",
                self.sources.of("heartbeat-interval"),
            );
            self.problem("election-timeout", reason);
        }
        (Duration::from_millis(heartbeat), Duration::from_millis(election))
    }

    pub(super) fn count(&mut self, setting: &str, value: u64, max: u64) -> usize {
        if !(1..=max).contains(&value) {
            self.problem(setting, format!("{value} is not between 1 and {max}"));
        }
        usize::try_from(value.min(max)).unwrap_or(usize::MAX)
    }

    fn max_learners(&mut self, value: u64) -> u32 {
        let learners = self.count("max-learners", value, LEARNERS_MAX);
        u32::try_from(learners).unwrap_or(u32::MAX)
    }

    fn block_cache_bytes(&mut self, value: u64) -> usize {
        if value != 0 && !(BLOCK_CACHE_BYTES_MIN..=BLOCK_CACHE_BYTES_MAX).contains(&value) {
            let reason = format!(
                "{value} is neither 0 nor between {BLOCK_CACHE_BYTES_MIN} and {BLOCK_CACHE_BYTES_MAX}"
            );
            self.problem("block-cache-bytes", reason);
        }
        usize::try_from(value.min(BLOCK_CACHE_BYTES_MAX)).unwrap_or(usize::MAX)
    }

    fn snapshot_send_rate(&mut self, value: u64) -> u64 {
        if (1..SNAPSHOT_SEND_RATE_MIN).contains(&value) {
            let reason = format!("{value} is neither 0 nor at least {SNAPSHOT_SEND_RATE_MIN}");
            self.problem("snapshot-send-rate", reason);
        }
        value
    }

    /// Two listeners on one address would fail only later, one after the other has opened.
    fn listeners_differ(&mut self, config: &Config) {
        let mut taken: Vec<(&str, &ListenUrl)> = Vec::new();
        for (setting, urls) in [
            ("listen-client-urls", &config.listen_client_urls),
            ("listen-client-http-urls", &config.http.listen_client_http_urls),
            ("listen-peer-urls", &config.listen_peer_urls),
            ("listen-metrics-urls", &config.listen_metrics_urls),
        ] {
            for url in urls {
                let same = |(_, other): &&(&str, &ListenUrl)| other.place == url.place;
                // One listener may speak both plainly and over TLS, unless its first byte cannot be seen.
                let is_socket = matches!(url.place, ListenPlace::Socket(_));
                if is_socket && taken.iter().any(|it| it.0 == setting && same(&it)) {
                    let reason = format!("{url}: a unix socket is either plain or encrypted");
                    self.problem(setting, reason);
                }
                if let Some((other, _)) = taken.iter().find(same).filter(|it| it.0 != setting) {
                    self.problem(setting, format!("{url} is also in {other}"));
                }
                taken.push((setting, url));
            }
        }
    }
}

fn sorted(urls: &[Url]) -> Vec<Url> {
    let mut urls = urls.to_vec();
    // By their text, which is the order in which member ids take them in.
    urls.sort_by_key(Url::to_string);
    urls
}

fn join(urls: &[Url]) -> String {
    urls.iter().map(Url::to_string).collect::<Vec<_>>().join(",")
}
