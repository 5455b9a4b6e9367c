//! How a client encrypts: the flags, and the variables of etcdctl and ours.

use std::path::PathBuf;

use clap::{ArgAction, Args};

use super::error::Error;
use crate::tls::{DialSettings, Dialer, Pair, SettingFile, TlsMetrics};

/// The arguments that say how to encrypt.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct TlsArgs {
    /// Trust servers with certificates that this file's authorities have signed [env: QUORATE_CACERT,
    /// ETCDCTL_CACERT]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Client options")]
    cacert: Option<PathBuf>,
    /// Show servers this certificate [env: QUORATE_CERT, ETCDCTL_CERT]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Client options")]
    cert: Option<PathBuf>,
    /// Its key [env: QUORATE_KEY, ETCDCTL_KEY]
    // Commands have arguments of that name.
    #[arg(id = "tls-key", long = "key", global = true, value_name = "FILE")]
    #[arg(help_heading = "Client options")]
    key: Option<PathBuf>,
    /// Accept whatever certificate a server shows [env: QUORATE_INSECURE_SKIP_TLS_VERIFY,
    /// ETCDCTL_INSECURE_SKIP_TLS_VERIFY]
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(value_name = "BOOL", action = ArgAction::Set, help_heading = "Client options")]
    insecure_skip_tls_verify: Option<bool>,
    /// Speak plainly to endpoints without a scheme, unless another of these options is given [env:
    /// QUORATE_INSECURE_TRANSPORT, ETCDCTL_INSECURE_TRANSPORT] [default: true]
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(value_name = "BOOL", action = ArgAction::Set, help_heading = "Client options")]
    insecure_transport: Option<bool>,
}

/// How endpoints are dialled.
#[derive(Clone)]
pub(super) struct Secrets {
    dialer: Dialer,
    /// Whether endpoints without a scheme are encrypted.
    by_default: bool,
}

impl Secrets {
    /// What the flags say, else the environment.
    pub(super) fn new(args: &TlsArgs, environment: &[(String, String)]) -> Result<Self, Error> {
        let file = |setting: &'static str, given: &Option<PathBuf>, name: &str| {
            let path = given.clone().or_else(|| variable(environment, name).map(PathBuf::from));
            path.map(|path| SettingFile { setting, path })
        };
        let switch = |given: Option<bool>, name: &str| match given {
            Some(given) => Ok(Some(given)),
            None => variable(environment, name).map(|text| truth(name, &text)).transpose(),
        };
        let authorities = file("cacert", &args.cacert, "CACERT");
        let (cert, key) = (file("cert", &args.cert, "CERT"), file("key", &args.key, "KEY"));
        let insecure = switch(args.insecure_skip_tls_verify, "INSECURE_SKIP_TLS_VERIFY")?;
        let plain = switch(args.insecure_transport, "INSECURE_TRANSPORT")?.unwrap_or(true);
        let pair = match (cert, key) {
            (Some(cert), Some(key)) => Some(Pair { cert, key }),
            (None, None) => None,
            (Some(_), None) => return Err(Error::input("cert is given without key")),
            (None, Some(_)) => return Err(Error::input("key is given without cert")),
        };
        let insecure = insecure.unwrap_or(false);
        let by_default = !plain || insecure || pair.is_some() || authorities.is_some();
        let settings = DialSettings { pair, authorities, insecure, ..DialSettings::default() };
        let dialer = Dialer::new(settings, TlsMetrics::default()).map_err(Error::input)?;
        Ok(Self { dialer, by_default })
    }

    pub(super) fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    /// The scheme of endpoints that name none.
    pub(super) fn scheme(&self) -> &'static str {
        if self.by_default { "https" } else { "http" }
    }
}

/// A variable of ours, or else of etcdctl's.
pub(super) fn variable(environment: &[(String, String)], name: &str) -> Option<String> {
    ["QUORATE_", "ETCDCTL_"].iter().find_map(|prefix| {
        let is = |(other, value): &&(String, String)| {
            other.strip_prefix(prefix).is_some_and(|rest| rest == name) && !value.is_empty()
        };
        environment.iter().find(is).map(|(_, value)| value.clone())
    })
}

/// A truth value in any spelling that Go takes.
fn truth(name: &str, text: &str) -> Result<bool, Error> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Error::input(format!("variable {name}: {text:?} is neither true nor false"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(args: TlsArgs, environment: &[(&str, &str)]) -> Result<Secrets, String> {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let environment: Vec<_> = environment.iter().map(pair).collect();
        Secrets::new(&args, &environment).map_err(|error| error.to_string())
    }

    /// Endpoints without a scheme are plain unless something says otherwise; a flag wins over a variable.
    #[test]
    fn endpoints_are_encrypted_when_something_says_so() {
        let scheme =
            |args, environment: &[(&str, &str)]| secrets(args, environment).unwrap().scheme();
        let none = TlsArgs::default;
        assert_eq!(scheme(none(), &[]), "http");
        assert_eq!(scheme(none(), &[("ETCDCTL_INSECURE_TRANSPORT", "false")]), "https");
        assert_eq!(scheme(none(), &[("QUORATE_INSECURE_SKIP_TLS_VERIFY", "1")]), "https");
        let plain = TlsArgs { insecure_transport: Some(true), ..none() };
        assert_eq!(scheme(plain, &[("ETCDCTL_INSECURE_TRANSPORT", "false")]), "http");
    }

    /// Files go in pairs, and what cannot be read is named.
    #[test]
    fn bad_files_are_named() {
        let refusal =
            |environment: &[(&str, &str)]| secrets(TlsArgs::default(), environment).err().unwrap();
        assert_eq!(refusal(&[("ETCDCTL_CERT", "c")]), "cert is given without key");
        let missing = refusal(&[("QUORATE_CACERT", "/nowhere/ca.crt")]);
        assert!(missing.starts_with("cacert /nowhere/ca.crt: No such file"), "{missing}");
        let neither = refusal(&[("ETCDCTL_INSECURE_TRANSPORT", "perhaps")]);
        assert_eq!(neither, "variable INSECURE_TRANSPORT: \"perhaps\" is neither true nor false");
    }
}
