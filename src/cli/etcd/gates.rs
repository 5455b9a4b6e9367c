//! Feature gates: what etcd knows by that name, and what each means here.

use std::collections::BTreeMap;

use super::value;

/// Gates for which etcd has a switch over all of their stage.
const ALL: &[(&str, &[&str])] = &[
    (
        "AllAlpha",
        &[
            "StopGRPCServiceOnDefrag",
            "InitialCorruptCheck",
            "CompactHashCheck",
            "LeaseCheckpoint",
            "LeaseCheckpointPersist",
            "SetMemberLocalAddr",
            "PriorityRequest",
        ],
    ),
    ("AllBeta", &["TxnModeWriteWithSharedBuffer", "FastLeaseKeepAlive"]),
];

/// Every other gate of etcd's servers, and why setting it changes nothing here.
pub(super) const GATES: &[(&str, &str)] = &[
    ("CompactHashCheck", "members compare all their data every corrupt-check-time"),
    ("FastLeaseKeepAlive", "a renewal never waits for the log"),
    ("InitialCorruptCheck", "members compare all their data while they serve"),
    ("LeaseCheckpoint", "what leases have left is always kept"),
    ("LeaseCheckpointPersist", "what leases have left is always kept"),
    ("PriorityRequest", "all requests go the same way"),
    ("SetMemberLocalAddr", "the system picks the address that a member dials from"),
    ("StopGRPCServiceOnDefrag", "defragmentation never stops a member"),
    ("TxnModeWriteWithSharedBuffer", "no transaction copies a buffer"),
];

/// Reads `Name=bool,...`; the last of several wins.
pub(super) fn parse(text: &str) -> Result<BTreeMap<String, bool>, String> {
    let mut gates = BTreeMap::new();
    for pair in text.split(',').filter(|pair| !pair.is_empty()) {
        let Some((name, value)) = pair.split_once('=') else {
            return Err(format!("missing bool value for {}", pair.trim()));
        };
        let (name, value) = (name.trim(), value.trim());
        let Ok(enabled) = value::boolean(value) else {
            let why = format!("err: strconv.ParseBool: parsing {value:?}: invalid syntax");
            return Err(format!("invalid value of {name}={value}, {why}"));
        };
        if reason(name).is_none() && !ALL.iter().any(|(all, _)| *all == name) {
            return Err(format!("unrecognized feature gate: {name}"));
        }
        gates.insert(name.to_owned(), enabled);
    }
    Ok(gates)
}

/// What etcd says to gates that do not go together.
pub(super) fn conflict(gates: &BTreeMap<String, bool>) -> Option<&'static str> {
    let unfit = is_on(gates, "LeaseCheckpointPersist") && !is_on(gates, "LeaseCheckpoint");
    unfit.then_some(
        "enabling feature gate LeaseCheckpointPersist requires enabling feature gate LeaseCheckpoint",
    )
}

fn is_on(gates: &BTreeMap<String, bool>, name: &str) -> bool {
    let all = |(all, names): &&(&str, &[&str])| names.contains(&name) && gates.contains_key(*all);
    let all = || ALL.iter().find(all).and_then(|(all, _)| gates.get(*all));
    gates.get(name).or_else(all).copied().unwrap_or_default()
}

/// Why setting a gate changes nothing; `None` for what is no gate.
pub(super) fn reason(name: &str) -> Option<&'static str> {
    GATES.iter().find(|(gate, _)| *gate == name).map(|(_, reason)| *reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gates are read as etcd reads them, and refused in its words.
    #[test]
    fn gates_are_etcds() {
        let gates = parse("LeaseCheckpoint=1, FastLeaseKeepAlive = false,,AllBeta=t").unwrap();
        let expected =
            [("AllBeta", true), ("FastLeaseKeepAlive", false), ("LeaseCheckpoint", true)];
        assert!(gates.iter().map(|(name, on)| (name.as_str(), *on)).eq(expected), "{gates:?}");
        for (text, refusal) in [
            ("NoSuch=true", "unrecognized feature gate: NoSuch"),
            ("LeaseCheckpoint", "missing bool value for LeaseCheckpoint"),
            (
                "LeaseCheckpoint=on",
                "invalid value of LeaseCheckpoint=on, err: strconv.ParseBool: parsing \"on\": invalid syntax",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err(), refusal);
        }
    }

    /// What is kept must be there first.
    #[test]
    fn gates_that_do_not_go_together_are_told() {
        let conflict = |text| conflict(&parse(text).unwrap()).is_some();
        assert!(conflict("LeaseCheckpointPersist=true"));
        assert!(!conflict("LeaseCheckpointPersist=true,LeaseCheckpoint=true"));
        assert!(!conflict("AllAlpha=true"));
        assert!(conflict("AllAlpha=true,LeaseCheckpoint=false"));
    }
}
