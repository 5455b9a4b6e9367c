//! What the flags of a start line, its environment or its file mean together.
//!
//! A flag that we have a setting for becomes one; another is told of in a line of the log; and where
//! etcd, or reason, finds that flags do not fit, nothing starts.

use std::collections::BTreeMap;

use super::{
    gates,
    table::{self, Fate},
};
use crate::config::Given;

/// The values that were given by the names of their flags, and where each came from.
pub(super) type Values = BTreeMap<String, Value>;

/// A value that was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value {
    /// As a setting of ours reads it.
    pub(super) text: String,
    /// The origin as a phrase.
    pub(super) source: String,
}

/// What came of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Resolved {
    /// What our settings are given.
    pub(super) settings: Vec<Given>,
    /// What has no effect, and why, a sentence each.
    pub(super) notices: Vec<String>,
    /// What etcd warns of.
    pub(super) warnings: Vec<String>,
}

/// Sorts the values out, or says in one sentence why nothing may start.
pub(super) fn resolve(values: &Values) -> Result<Resolved, String> {
    let mut resolved = Resolved::default();
    let mut gated = gates_given(values)?;
    for (name, value) in values {
        match table::find(name).map(|flag| flag.fate) {
            Some(Fate::Alias(successor)) => {
                refuse_both(values, name, successor)?;
                resolved.warnings.push(format!("--{name} is deprecated: use --{successor}"));
                resolved.take(successor, value)?;
            }
            Some(Fate::Gate(gate)) => {
                if gated.contains_key(gate) {
                    return Err(both_gates(name, gate, value, &gated));
                }
                resolved.warnings.push(format!(
                    "--{name} is deprecated: use --feature-gates={gate}={}",
                    value.text
                ));
            }
            Some(Fate::Notice(_) | Fate::Guard | Fate::Refused(_) | Fate::Here(_)) | None => {
                resolved.take(name, value)?;
            }
        }
    }
    for (name, value) in values {
        if let Some(Fate::Gate(gate)) = table::find(name).map(|flag| flag.fate) {
            gated.insert(gate.to_owned(), value.text == "true");
        }
    }
    if let Some(conflict) = gates::conflict(&gated) {
        return Err(conflict.to_owned());
    }
    for (gate, enabled) in &gated {
        if let Some(reason) = gates::reason(gate) {
            let notice =
                format!("feature gate {gate}={enabled} is accepted and has no effect: {reason}");
            resolved.notices.push(notice);
        }
    }
    what_etcd_checks(values)?;
    Ok(resolved)
}

impl Resolved {
    /// Sets what we have, and tells what we do not have.
    fn take(&mut self, name: &str, value: &Value) -> Result<(), String> {
        if table::setting(name).is_some() {
            if !is_default(name, &value.text) {
                self.settings.push(Given {
                    setting: name.to_owned(),
                    value: value.text.clone(),
                    source: value.source.clone(),
                });
            }
            return Ok(());
        }
        let says_nothing = matches!(value.text.as_str(), "" | "false")
            || (name == "host-whitelist" && value.text == "*");
        match table::find(name).map(|flag| flag.fate) {
            Some(Fate::Notice(reason)) => {
                let notice = format!("flag --{name} is accepted and has no effect: {reason}");
                self.notices.push(notice);
            }
            Some(Fate::Guard) if !says_nothing => {
                let reason = "this version cannot guard a member with it";
                return Err(format!("--{name} is set ({}), but {reason}", value.source));
            }
            Some(Fate::Refused(reason)) if !says_nothing => {
                return Err(format!("--{name} is set ({}), but {reason}", value.source));
            }
            // Read elsewhere, or empty.
            Some(Fate::Guard | Fate::Refused(_) | Fate::Here(_)) => {}
            Some(Fate::Alias(_) | Fate::Gate(_)) | None => {}
        }
        Ok(())
    }
}

/// Whether a value says what is in force without it: an empty one often does.
fn is_default(name: &str, text: &str) -> bool {
    text.is_empty() && name != "initial-cluster-token"
}

fn gates_given(values: &Values) -> Result<BTreeMap<String, bool>, String> {
    values.get("feature-gates").map_or(Ok(BTreeMap::new()), |value| gates::parse(&value.text))
}

/// An old spelling beside its successor: etcd does not choose.
fn refuse_both(values: &Values, old: &str, new: &str) -> Result<(), String> {
    if !values.contains_key(new) {
        return Ok(());
    }
    if new == "warning-unary-request-duration" {
        return Err(format!("both --{old} and --{new} flags are set. Use only --{new}"));
    }
    Err(format!("cannot set --{old} and --{new} at the same time, please use --{new} only"))
}

fn both_gates(name: &str, gate: &str, value: &Value, gated: &BTreeMap<String, bool>) -> String {
    let (old, on) = (&value.text, gated.get(gate).copied().unwrap_or_default());
    format!(
        "cannot specify both flags: --{name}={old} and --feature-gates={gate}={on} at the same \
         time, please just use --feature-gates={gate}={on}"
    )
}

/// What etcd refuses although it has no meaning here, and what we would refuse in other words.
fn what_etcd_checks(values: &Values) -> Result<(), String> {
    let text = |name: &str| values.get(name).map(|value| value.text.as_str());
    if text("discovery-fallback") == Some("proxy") {
        return Err(
            "v2 proxy is deprecated, and --discovery-fallback can't be configured as \"proxy\""
                .to_owned(),
        );
    }
    for name in ["compact-hash-check-time", "experimental-compact-hash-check-time"] {
        if let Some(time) = text(name).filter(|time| *time == "0s" || time.starts_with('-')) {
            return Err(format!("--{name} must be >0 (set to {time})"));
        }
    }
    let given = |name: &str| text(name).is_some_and(|text| !text.is_empty());
    let bootstraps = ["initial-cluster", "discovery-endpoints", "discovery-srv"];
    if bootstraps.into_iter().filter(|name| given(name)).count() > 1 {
        return Err("multiple discovery or bootstrap flags are set. Choose one of \
                    \"initial-cluster\", \"discovery-endpoints\" or \"discovery-srv\""
            .to_owned());
    }
    if given("discovery-token") != given("discovery-endpoints") {
        return Err("both --discovery-token and --discovery-endpoints must be set".to_owned());
    }
    if given("listen-client-urls") && !given("advertise-client-urls") {
        return Err(
            "--advertise-client-urls is required when --listen-client-urls is set explicitly"
                .to_owned(),
        );
    }
    let number = |name: &str, default: u64| text(name).map_or(Some(default), |it| it.parse().ok());
    let (heartbeat, election) =
        (number("heartbeat-interval", 100), number("election-timeout", 1000));
    match (heartbeat, election) {
        (Some(heartbeat @ 1..), Some(election @ 1..)) if heartbeat.saturating_mul(5) > election => {
            Err(format!(
                "--election-timeout[{election}ms] should be at least as 5 times as \
                 --heartbeat-interval[{heartbeat}ms]"
            ))
        }
        (Some(_) | None, Some(_) | None) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(list: &[(&str, &str)]) -> Values {
        let value = |(name, text): &(&str, &str)| {
            let source = format!("flag --{name}");
            ((*name).to_owned(), Value { text: (*text).to_owned(), source })
        };
        list.iter().map(value).collect()
    }

    fn refused(list: &[(&str, &str)]) -> String {
        resolve(&values(list)).unwrap_err()
    }

    /// What we have a setting for is set, also by the older name; the rest is told of.
    #[test]
    fn flags_become_settings_or_notices() {
        let resolved = resolve(&values(&[
            ("name", "n1"),
            ("snapshot-count", "7"),
            ("experimental-corrupt-check-time", "60s"),
            ("experimental-enable-lease-checkpoint", "true"),
            ("data-dir", ""),
        ]))
        .unwrap();

        let set: Vec<_> =
            resolved.settings.iter().map(|it| (it.setting.as_str(), it.value.as_str())).collect();
        assert_eq!(set, [("corrupt-check-time", "60s"), ("name", "n1")]);
        assert_eq!(resolved.settings[0].source, "flag --experimental-corrupt-check-time");
        let [flag, gate] = &resolved.notices[..] else { panic!("{resolved:?}") };
        assert!(
            flag.starts_with("flag --snapshot-count is accepted and has no effect: "),
            "{flag}"
        );
        assert!(gate.starts_with("feature gate LeaseCheckpoint=true is accepted"), "{gate}");
        assert_eq!(resolved.warnings.len(), 2, "{resolved:?}");
    }

    /// etcd's words where an old and a new spelling meet.
    #[test]
    fn both_spellings_are_refused() {
        for (flags, text) in [
            (
                [("experimental-corrupt-check-time", "1s"), ("corrupt-check-time", "1s")],
                "cannot set --experimental-corrupt-check-time and --corrupt-check-time at the same \
                 time, please use --corrupt-check-time only",
            ),
            (
                [
                    ("experimental-warning-unary-request-duration", "1s"),
                    ("warning-unary-request-duration", "1s"),
                ],
                "both --experimental-warning-unary-request-duration and \
                 --warning-unary-request-duration flags are set. Use only \
                 --warning-unary-request-duration",
            ),
            (
                [
                    ("experimental-initial-corrupt-check", "true"),
                    ("feature-gates", "InitialCorruptCheck=false"),
                ],
                "cannot specify both flags: --experimental-initial-corrupt-check=true and \
                 --feature-gates=InitialCorruptCheck=false at the same time, please just use \
                 --feature-gates=InitialCorruptCheck=false",
            ),
        ] {
            assert_eq!(refused(&flags), text);
        }
    }

    /// A cluster must not become another one than was meant, nor open to others.
    #[test]
    fn what_would_do_harm_when_ignored_is_refused() {
        let text = refused(&[("discovery", "https://discovery.etcd.io/x")]);
        assert!(text.starts_with("--discovery is set"), "{text}");
        assert_eq!(
            resolve(&values(&[("discovery", ""), ("discovery-token", "")])).unwrap(),
            Resolved::default()
        );
    }

    /// What makes etcd stop makes us stop, too.
    #[test]
    fn etcds_own_checks_hold() {
        assert!(refused(&[("discovery-fallback", "proxy")]).starts_with("v2 proxy is deprecated"));
        assert_eq!(
            refused(&[("heartbeat-interval", "300")]),
            "--election-timeout[1000ms] should be at least as 5 times as --heartbeat-interval[300ms]"
        );
        assert_eq!(
            refused(&[("compact-hash-check-time", "0s")]),
            "--compact-hash-check-time must be >0 (set to 0s)"
        );
        let text = refused(&[("experimental-enable-lease-checkpoint-persist", "true")]);
        assert!(
            text.starts_with("enabling feature gate LeaseCheckpointPersist requires"),
            "{text}"
        );
    }
}
