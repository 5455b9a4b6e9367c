//! Settings of what is served on the client port beside gRPC, and how connections are kept.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    ListenUrl,
    check::Check,
    duration,
    print::list,
    settings::{Group, List, Setting, setting, switch},
};
use crate::types::limits;

/// What HTTP clients are served, and what is expected of connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Whether there is the JSON gateway of etcd's API.
    pub gateway: bool,
    /// The origins whose pages may use what is not gRPC from a browser. Empty, or with `*`: all.
    pub cors: Vec<String>,
    /// The hosts for which it is served on connections that are not encrypted. Empty, or with `*`: all.
    pub host_whitelist: Vec<String>,
    /// Calls of one connection at once.
    pub max_concurrent_streams: u32,
    /// How often a client may ask for a sign of life. It is known and has no effect.
    pub keepalive_min_time: Duration,
    /// After this silence a client is asked for a sign of life; `None`: it is not.
    pub keepalive_interval: Option<Duration>,
    /// How long it may take to give it.
    pub keepalive_timeout: Duration,
    /// Where HTTP is served apart from gRPC; none: where gRPC is, too.
    pub listen_client_http_urls: Vec<ListenUrl>,
    /// Whether several processes may listen on one port.
    pub socket_reuse_port: bool,
    /// Whether a port may be listened on whose last connections have not timed out. It always may.
    pub socket_reuse_address: bool,
}

impl Http {
    /// What somebody set that has no effect here, a sentence each.
    #[must_use]
    pub fn notices(&self) -> Vec<String> {
        if self.keepalive_min_time == KEEPALIVE_MIN_TIME {
            return Vec::new();
        }
        vec![
            "grpc-keepalive-min-time has no effect: clients may ping as often as they like"
                .to_owned(),
        ]
    }
}

/// etcd's default.
const KEEPALIVE_MIN_TIME: Duration = Duration::from_secs(5);
/// Without an answer in any such time a connection would be open for ever.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// The settings as they are written.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct HttpSettings {
    enable_grpc_gateway: bool,
    cors: List,
    host_whitelist: List,
    max_concurrent_streams: u64,
    grpc_keepalive_min_time: String,
    grpc_keepalive_interval: String,
    grpc_keepalive_timeout: String,
    listen_client_http_urls: List,
    socket_reuse_port: bool,
    socket_reuse_address: bool,
}

impl Default for HttpSettings {
    fn default() -> Self {
        let all = || List(vec!["*".to_owned()]);
        Self {
            enable_grpc_gateway: true,
            cors: all(),
            host_whitelist: all(),
            max_concurrent_streams: u64::from(limits::STREAMS_PER_CONNECTION_MAX),
            grpc_keepalive_min_time: "5s".to_owned(),
            grpc_keepalive_interval: "1m".to_owned(),
            grpc_keepalive_timeout: "20s".to_owned(),
            listen_client_http_urls: List::default(),
            socket_reuse_port: false,
            socket_reuse_address: false,
        }
    }
}

impl Group for HttpSettings {
    const SETTINGS: &'static [Setting] = &[
        switch("enable-grpc-gateway", "Serve etcd's API as JSON below /v3 [default: true]"),
        setting("cors", "ORIGINS", "Origins that browsers may use it from [default: *]"),
        setting(
            "host-whitelist",
            "HOSTS",
            "Host names served over HTTP on plain connections [default: *]",
        ),
        setting(
            "max-concurrent-streams",
            "COUNT",
            "Calls of one client connection at once; 0: the default [default: 65536]",
        ),
        setting(
            "grpc-keepalive-min-time",
            "DURATION",
            "Shortest time between pings of a client; has no effect [default: 5s]",
        ),
        setting(
            "grpc-keepalive-interval",
            "DURATION",
            "Silence after which a client is pinged; 0: never [default: 1m]",
        ),
        setting(
            "grpc-keepalive-timeout",
            "DURATION",
            "Time it has to answer; 0: it is never pinged [default: 20s]",
        ),
        setting(
            "listen-client-http-urls",
            "URLS",
            "Where HTTP is served; listen-client-urls serve gRPC only then [default: there, too]",
        ),
        switch("socket-reuse-port", "Let several processes listen on one port [default: false]"),
        switch("socket-reuse-address", "Listen at once after a restart; it always does"),
    ];
    type Checked = Http;

    fn check(self, check: &mut Check<'_>) -> Http {
        for origin in self.cors.0.iter().filter(|origin| !is_origin(origin)) {
            check.problem("cors", format!("{origin:?} is neither * nor has the form http://host"));
        }
        let interval = check.period("grpc-keepalive-interval", &self.grpc_keepalive_interval);
        let timeout = check.period("grpc-keepalive-timeout", &self.grpc_keepalive_timeout);
        Http {
            gateway: self.enable_grpc_gateway,
            cors: self.cors.0,
            host_whitelist: self.host_whitelist.0,
            max_concurrent_streams: streams(self.max_concurrent_streams, check),
            keepalive_min_time: check
                .period("grpc-keepalive-min-time", &self.grpc_keepalive_min_time),
            keepalive_interval: Some(interval)
                .filter(|interval| !interval.is_zero() && !timeout.is_zero()),
            keepalive_timeout: if timeout.is_zero() { KEEPALIVE_TIMEOUT } else { timeout },
            listen_client_http_urls: check.distinct(
                "listen-client-http-urls",
                &self.listen_client_http_urls,
                ListenUrl::parse,
            ),
            socket_reuse_port: self.socket_reuse_port,
            socket_reuse_address: self.socket_reuse_address,
        }
    }

    fn print(http: &Http, setting: &str) -> String {
        let printed = |duration: Duration| format!("\"{}\"", duration::print(duration));
        match setting {
            "enable-grpc-gateway" => http.gateway.to_string(),
            "cors" => list(&http.cors),
            "host-whitelist" => list(&http.host_whitelist),
            "max-concurrent-streams" => http.max_concurrent_streams.to_string(),
            "grpc-keepalive-min-time" => printed(http.keepalive_min_time),
            "grpc-keepalive-interval" => printed(http.keepalive_interval.unwrap_or(Duration::ZERO)),
            "grpc-keepalive-timeout" => printed(http.keepalive_timeout),
            "listen-client-http-urls" => list(&http.listen_client_http_urls),
            "socket-reuse-port" => http.socket_reuse_port.to_string(),
            "socket-reuse-address" => http.socket_reuse_address.to_string(),
            unknown => unreachable!("setting {unknown} is listed but not printed"),
        }
    }
}

fn streams(count: u64, check: &mut Check<'_>) -> u32 {
    match u32::try_from(count) {
        // etcd takes it for its own default, too.
        Ok(0) => limits::STREAMS_PER_CONNECTION_MAX,
        Ok(count) => count,
        Err(_) => {
            let reason = format!("{count} is not between 0 and {}", u32::MAX);
            check.problem("max-concurrent-streams", reason);
            limits::STREAMS_PER_CONNECTION_MAX
        }
    }
}

/// Whether a text is what browsers send as an origin, or `*`.
fn is_origin(text: &str) -> bool {
    let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    text == "*"
        || host.is_some_and(|host| {
            !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || "/?#@".contains(c))
        })
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Error, Inputs, load};

    fn loaded(flags: &[(&str, &str)]) -> Result<Config, Error> {
        let flags = flags.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        let inputs = Inputs { flags: flags.collect(), ..Inputs::default() };
        load(&inputs).map(|loaded| loaded.config)
    }

    fn refused(name: &str, value: &str) -> String {
        loaded(&[(name, value)]).unwrap_err().to_string()
    }

    /// Nobody is kept away, and a silent client is asked after a minute.
    #[test]
    fn defaults() {
        let http = loaded(&[]).unwrap().http;
        assert!(http.gateway && http.notices().is_empty());
        assert_eq!(
            (&http.cors[..], &http.host_whitelist[..]),
            (&["*".to_owned()][..], &["*".to_owned()][..])
        );
        assert_eq!(http.max_concurrent_streams, 65_536);
        assert_eq!(http.keepalive_interval.unwrap().as_secs(), 60);
        assert_eq!(http.keepalive_timeout.as_secs(), 20);
    }

    /// Every setting arrives, in etcd's form.
    #[test]
    fn settings_arrive() {
        let http = loaded(&[
            ("enable-grpc-gateway", "false"),
            ("cors", "https://a.example, http://b:80"),
            ("host-whitelist", "a,b"),
            ("max-concurrent-streams", "4294967295"),
            ("grpc-keepalive-min-time", "10s"),
            ("grpc-keepalive-interval", "2h"),
            ("grpc-keepalive-timeout", "500ms"),
        ]);
        let http = http.unwrap().http;
        assert!(!http.gateway);
        assert_eq!(http.cors, ["https://a.example", "http://b:80"]);
        assert_eq!(http.host_whitelist, ["a", "b"]);
        assert_eq!(http.max_concurrent_streams, u32::MAX);
        assert_eq!(http.keepalive_interval.unwrap().as_secs(), 7_200);
        assert_eq!(http.keepalive_timeout.as_millis(), 500);
        assert_eq!(http.notices().len(), 1);
    }

    /// Either duration switches pings off, and no number of streams is meant by 0.
    #[test]
    fn zero_has_a_meaning() {
        for name in ["grpc-keepalive-interval", "grpc-keepalive-timeout"] {
            assert_eq!(loaded(&[(name, "0s")]).unwrap().http.keepalive_interval, None, "{name}");
        }
        let http = loaded(&[("max-concurrent-streams", "0")]).unwrap().http;
        assert_eq!(http.max_concurrent_streams, 65_536);
    }

    /// What is wrong is named with its setting.
    #[test]
    fn what_is_wrong_is_named() {
        for origin in ["a.example", "ftp://a", "http://", "http://a/b", "http://u@a"] {
            let said = refused("cors", origin);
            assert!(said.contains(&format!("{origin:?} is neither *")), "{said}");
        }
        assert!(refused("max-concurrent-streams", "4294967296").contains("is not between"));
        assert!(refused("grpc-keepalive-interval", "often").contains("is not a duration"));
    }
}
