//! What this room is told, each file with the setting that names it.

use std::path::PathBuf;

use crate::types::tls::{CipherSuite, TlsVersion};

/// A file, and the setting that names it: refusals tell both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingFile {
    /// The setting.
    pub setting: &'static str,
    /// The file.
    pub path: PathBuf,
}

/// A certificate with what signed it up to the authority, and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The certificates, the own one first.
    pub cert: SettingFile,
    /// The key of the first of them.
    pub key: SettingFile,
}

/// Versions and suites that are spoken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// The oldest version.
    pub min: TlsVersion,
    /// The newest version.
    pub max: TlsVersion,
    /// The suites of TLS 1.2; none: all there are.
    pub suites: Vec<CipherSuite>,
}

impl Default for Protocol {
    fn default() -> Self {
        Self { min: TlsVersion::V12, max: TlsVersion::V13, suites: Vec::new() }
    }
}

/// Whose certificates are accepted, of those that an authority has signed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Allowed {
    /// Everybody's.
    #[default]
    Anybody,
    /// Those with one of these common names.
    CommonNames(Vec<String>),
    /// Those that are good for one of these hosts.
    Hostnames(Vec<String>),
}

/// What is demanded of callers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callers {
    /// Who must have signed their certificates; none: somebody whom the system trusts.
    pub authorities: Option<SettingFile>,
    /// Which are revoked.
    pub revoked: Option<SettingFile>,
    /// Which of the others are accepted.
    pub allowed: Allowed,
}

/// What a listener works with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenSettings {
    /// What it shows.
    pub pair: Pair,
    /// What it demands; none: nothing.
    pub callers: Option<Callers>,
    /// What it speaks.
    pub protocol: Protocol,
}

/// What calls are made with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DialSettings {
    /// What is shown when it is asked for.
    pub pair: Option<Pair>,
    /// Who must have signed what is shown; none: somebody whom the system trusts.
    pub authorities: Option<SettingFile>,
    /// Which of those are accepted.
    pub allowed: Allowed,
    /// Whether anything that is shown is accepted.
    pub insecure: bool,
    /// What is spoken.
    pub protocol: Protocol,
}
