//! The settings in force, as a file that would set them.

use std::fmt::{Display, Write};

use super::{
    Config, InitialMember,
    discovery::DiscoverySettings,
    duration,
    http::HttpSettings,
    layers::Sources,
    log::LogSettings,
    observe::ObserveSettings,
    settings::{Group, MEMBER, Setting},
    tls::TlsSettings,
    upkeep::UpkeepSettings,
};

/// TOML with the source of each value behind it.
pub(super) fn print(config: &Config, sources: &Sources) -> String {
    let mut page = Page { text: String::new(), sources };
    page.lines(MEMBER, |setting| value(config, setting));
    page.group::<DiscoverySettings>(&config.discovery);
    page.group::<TlsSettings>(&config.tls);
    page.group::<HttpSettings>(&config.http);
    page.group::<LogSettings>(&config.log);
    page.group::<UpkeepSettings>(&config.upkeep);
    page.group::<ObserveSettings>(&config.observe);
    page.text
}

struct Page<'a> {
    text: String,
    sources: &'a Sources,
}

impl Page<'_> {
    fn group<G: Group>(&mut self, checked: &G::Checked) {
        self.lines(G::SETTINGS, |setting| G::print(checked, setting));
    }

    fn lines(&mut self, settings: &[Setting], value: impl Fn(&str) -> String) {
        for setting in settings {
            let (value, source) = (value(setting.name), self.sources.of(setting.name));
            writeln!(self.text, "{} = {value} # {source}", setting.name)
                .expect("writing to a string succeeds");
        }
    }
}

/// The value of a setting as TOML.
fn value(config: &Config, setting: &str) -> String {
    match setting {
        "name" => quote(&config.name),
        "data-dir" => quote(&config.data_dir.to_string_lossy()),
        "listen-client-urls" => list(&config.listen_client_urls),
        "advertise-client-urls" => list(&config.advertise_client_urls),
        "listen-peer-urls" => list(&config.listen_peer_urls),
        "initial-advertise-peer-urls" => list(&config.initial_advertise_peer_urls),
        "initial-cluster" => list(config.initial_cluster.iter().flat_map(entries)),
        "initial-cluster-state" => quote(config.initial_cluster_state.as_str()),
        "initial-cluster-token" => quote(&config.initial_cluster_token),
        "discovery-srv" => quote(config.discovery_srv.as_deref().unwrap_or_default()),
        "discovery-srv-name" => quote(&config.discovery_srv_name),
        "discovery-srv-resolver" => {
            quote(&config.discovery_srv_resolver.map(|it| it.to_string()).unwrap_or_default())
        }
        "force-new-cluster" => config.force_new_cluster.to_string(),
        "heartbeat-interval" => config.heartbeat_interval.as_millis().to_string(),
        "election-timeout" => config.election_timeout.as_millis().to_string(),
        "log-level" => quote(config.log_level.as_str()),
        "max-request-bytes" => config.max_request_bytes.to_string(),
        "max-txn-ops" => config.max_txn_ops.to_string(),
        "watch-progress-notify-interval" => {
            quote(&duration::print(config.watch_progress_notify_interval))
        }
        "quota-backend-bytes" => config.quota_backend_bytes.to_string(),
        "block-cache-bytes" => config.block_cache_bytes.to_string(),
        "snapshot-send-rate" => config.snapshot_send_rate.to_string(),
        "registry-view-bytes" => config.registry_view_bytes.to_string(),
        "corrupt-check-time" => quote(&duration::print(config.corrupt_check_time)),
        "listen-metrics-urls" => list(&config.listen_metrics_urls),
        "strict-reconfig-check" => config.strict_reconfig_check.to_string(),
        "max-learners" => config.max_learners.to_string(),
        "learner-serves-reads" => config.learner_serves_reads.to_string(),
        unknown => unreachable!("setting {unknown} is listed but not printed"),
    }
}

fn entries(member: &InitialMember) -> impl Iterator<Item = String> {
    member.peer_urls.iter().map(|url| format!("{}={url}", member.name))
}

/// A TOML array of texts.
pub(super) fn list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    let quoted: Vec<String> = items.into_iter().map(|item| quote(&item.to_string())).collect();
    format!("[{}]", quoted.join(", "))
}

/// A TOML basic string.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control.is_control() => {
                write!(quoted, "\\u{:04X}", u32::from(control))
                    .expect("writing to a string succeeds");
            }
            plain => quoted.push(plain),
        }
    }
    quoted.push('"');
    quoted
}
