//! What stands in the store beside instances: overrides, sessions, settings of services.
//!
//! A value that is not what it should be counts as absent: anybody may write these keys.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::registry::Instance;

/// What an operator says of an instance, whatever it says itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// Whether it is to be called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Its share of the calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
}

/// A session: what one process registers lives on one lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// Of its lease, in seconds.
    pub ttl: i64,
    /// The client's address, as the member saw it that the session was opened through last.
    #[serde(default)]
    pub owner: String,
    /// The instances: `<namespace>/<service>/<id>`, sorted.
    #[serde(default)]
    pub instances: Vec<String>,
}

/// What the owner of a service says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSettings {
    /// The time to live of registrations that ask for none, in seconds.
    #[serde(default)]
    pub ttl: Option<i64>,
    /// What it is.
    #[serde(default)]
    pub description: String,
    /// Whom to ask.
    #[serde(default)]
    pub owner: String,
    /// What else is to be known.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// A record as its value.
#[must_use]
pub fn encode<T: Serialize>(record: &T) -> Bytes {
    serde_json::to_vec(record).expect("maps have strings for keys").into()
}

/// A value as a record, if it is one.
#[must_use]
pub fn decode<T: DeserializeOwned>(value: &[u8]) -> Option<T> {
    serde_json::from_slice(value).ok()
}

impl Override {
    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The instance as it counts under this override.
    #[must_use]
    pub fn applied_to(&self, instance: &Instance) -> Instance {
        Instance {
            enabled: self.enabled.unwrap_or(instance.enabled),
            weight: self.weight.unwrap_or(instance.weight),
            overridden: !self.is_empty(),
            ..instance.clone()
        }
    }
}
