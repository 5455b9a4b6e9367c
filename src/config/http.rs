//! Settings of what is served on the client port beside gRPC, and how connections are kept.

use serde::{Deserialize, Serialize};

use super::{
    check::Check,
    settings::{Group, Setting, switch},
};

/// What HTTP clients are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Whether there is the JSON gateway of etcd's API.
    pub gateway: bool,
}

/// The settings as they are written.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct HttpSettings {
    enable_grpc_gateway: bool,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self { enable_grpc_gateway: true }
    }
}

impl Group for HttpSettings {
    const SETTINGS: &'static [Setting] =
        &[switch("enable-grpc-gateway", "Serve etcd's API as JSON below /v3 [default: true]")];
    type Checked = Http;

    fn check(self, _: &mut Check<'_>) -> Http {
        Http { gateway: self.enable_grpc_gateway }
    }

    fn print(http: &Http, setting: &str) -> String {
        match setting {
            "enable-grpc-gateway" => http.gateway.to_string(),
            unknown => unreachable!("setting {unknown} is listed but not printed"),
        }
    }
}
