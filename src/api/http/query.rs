//! The few parameters of the health pages: words without anything that would need escaping.

use std::collections::BTreeSet;

/// The parameters of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Query<'a> {
    /// What not to look at.
    pub(super) exclude: BTreeSet<&'a str>,
    /// Look at this member alone.
    pub(super) serializable: bool,
    /// Say what was looked at.
    pub(super) verbose: bool,
}

impl<'a> Query<'a> {
    /// The parameters in the part of a URI after the question mark; unknown ones are passed over.
    pub(super) fn parse(query: Option<&'a str>) -> Self {
        let mut parsed = Self::default();
        let mut serializable = None;
        for pair in query.unwrap_or_default().split('&') {
            match pair.split_once('=').unwrap_or((pair, "")) {
                ("exclude", name) if !name.is_empty() => {
                    parsed.exclude.insert(name);
                }
                // The first one counts.
                ("serializable", value) => {
                    serializable.get_or_insert(value == "true");
                }
                ("verbose", _) => parsed.verbose = true,
                _ => {}
            }
        }
        parsed.serializable = serializable.unwrap_or(false);
        parsed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `exclude` may be repeated, `verbose` needs no value, `serializable` must be `true`.
    #[test]
    fn parameters_are_read_as_etcd_reads_them() {
        let query = Query::parse(Some("exclude=NOSPACE&exclude=&verbose&exclude=CORRUPT&x=y"));
        assert_eq!(query.exclude, BTreeSet::from(["CORRUPT", "NOSPACE"]));
        assert!(query.verbose);
        assert!(!query.serializable);

        assert!(Query::parse(Some("serializable=true&serializable=false")).serializable);
        assert!(!Query::parse(Some("serializable=1")).serializable);
        assert_eq!(Query::parse(None), Query::default());
    }
}
