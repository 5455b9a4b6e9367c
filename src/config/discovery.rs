//! Settings of discovery by another cluster: where it is, and by which token members find each other.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    check::Check,
    duration,
    print::{list, quote},
    settings::{Group, List, Setting, setting},
};

/// How members that are founders find each other in another cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// The token that they share; empty, with no endpoints: they do not.
    pub token: String,
    /// Members of the other cluster, as `host:port`.
    pub endpoints: Vec<String>,
    /// How long a connection may take to be made.
    pub dial_timeout: Duration,
    /// How long a request may take.
    pub request_timeout: Duration,
}

/// The settings as they are written.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct DiscoverySettings {
    discovery_token: String,
    discovery_endpoints: List,
    discovery_dial_timeout: String,
    discovery_request_timeout: String,
}

impl Default for DiscoverySettings {
    fn default() -> Self {
        Self {
            discovery_token: String::new(),
            discovery_endpoints: List(Vec::new()),
            discovery_dial_timeout: "2s".to_owned(),
            discovery_request_timeout: "5s".to_owned(),
        }
    }
}

impl Group for DiscoverySettings {
    const SETTINGS: &'static [Setting] = &[
        setting(
            "discovery-token",
            "TOKEN",
            "Token by which founders find each other in another cluster",
        ),
        setting("discovery-endpoints", "ENDPOINTS", "Members of that cluster, as host:port"),
        setting(
            "discovery-dial-timeout",
            "DURATION",
            "How long a connection to it may take [default: 2s]",
        ),
        setting(
            "discovery-request-timeout",
            "DURATION",
            "How long a request to it may take [default: 5s]",
        ),
    ];
    type Checked = Discovery;

    fn check(self, check: &mut Check<'_>) -> Discovery {
        let setting = "discovery-endpoints";
        let has_token = !self.discovery_token.is_empty();
        if has_token == self.discovery_endpoints.0.is_empty() {
            let reason = "both discovery-token and discovery-endpoints must be set";
            check.problem(if has_token { "discovery-token" } else { setting }, reason);
        }
        if self.discovery_token.contains(|c: char| c.is_control() || c == '/') {
            let reason = format!("{:?} must not contain a slash", self.discovery_token);
            check.problem("discovery-token", reason);
        }
        let mut endpoints = Vec::new();
        for text in &self.discovery_endpoints.0 {
            let authority = text.strip_prefix("http://").unwrap_or(text);
            if authority.contains('/') || !authority.contains(':') {
                check.problem(
                    setting,
                    format!("{text:?} must have the form host:port, without tls"),
                );
            }
            endpoints.push(authority.to_owned());
        }
        if has_token && (check.is_set("initial-cluster") || check.is_set("discovery-srv")) {
            let reason = "multiple discovery or bootstrap flags are set: choose one of \
                          initial-cluster, discovery-endpoints and discovery-srv";
            check.problem(setting, reason);
        }
        Discovery {
            dial_timeout: check.duration("discovery-dial-timeout", &self.discovery_dial_timeout),
            request_timeout: check
                .duration("discovery-request-timeout", &self.discovery_request_timeout),
            token: self.discovery_token,
            endpoints,
        }
    }

    fn print(discovery: &Discovery, setting: &str) -> String {
        match setting {
            "discovery-token" => quote(&discovery.token),
            "discovery-endpoints" => list(&discovery.endpoints),
            "discovery-dial-timeout" => quote(&duration::print(discovery.dial_timeout)),
            "discovery-request-timeout" => quote(&duration::print(discovery.request_timeout)),
            unknown => unreachable!("setting {unknown} is listed but not printed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Inputs, load};

    fn refused(flags: &[(&str, &str)]) -> String {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let inputs = Inputs { flags: flags.iter().map(pair).collect(), ..Inputs::default() };
        load(&inputs).map(|_| String::new()).unwrap_or_else(|error| error.to_string())
    }

    /// A token without endpoints leads nowhere, nor do two ways to one cluster fit together.
    #[test]
    fn tokens_and_endpoints_go_together() {
        let both = [("discovery-token", "t"), ("discovery-endpoints", "http://a:1,b:2")];
        assert_eq!(refused(&both), "");
        let text = "both discovery-token and discovery-endpoints must be set";
        assert!(refused(&both[..1]).contains(text) && refused(&both[1..]).contains(text));
        let cluster = ("initial-cluster", "default=http://localhost:2380");
        let three = [both[0], both[1], cluster];
        assert!(refused(&three).contains("multiple discovery or bootstrap flags are set"));
        let tls = [both[0], ("discovery-endpoints", "https://a:1")];
        assert!(refused(&tls).contains("without tls"), "{}", refused(&tls));
    }
}
