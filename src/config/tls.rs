//! Settings of encryption: the certificates of both listeners.

use serde::{Deserialize, Serialize};

use super::{
    check::Check,
    print::quote,
    settings::{Group, Setting, setting},
};

/// Encryption of both listeners.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The certificate that clients are shown.
    pub cert_file: String,
}

/// The settings as they are written.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct TlsSettings {
    cert_file: String,
}

impl Group for TlsSettings {
    const SETTINGS: &'static [Setting] =
        &[setting("cert-file", "FILE", "Certificate that clients are shown")];
    type Checked = Tls;

    fn check(self, _: &mut Check<'_>) -> Tls {
        Tls { cert_file: self.cert_file }
    }

    fn print(tls: &Tls, setting: &str) -> String {
        match setting {
            "cert-file" => quote(&tls.cert_file),
            unknown => unreachable!("setting {unknown} is listed but not printed"),
        }
    }
}
