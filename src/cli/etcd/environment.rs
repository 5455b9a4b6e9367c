//! Variables: `ETCD_` before the name of a flag in capitals, and `QUORATE_` for what etcd lacks.

use super::{
    Refusal,
    resolve::{Value, Values},
    syntax::Line,
    table,
};

/// Names the file, in place of the flag.
const CONFIG_FILE: &str = "ETCD_CONFIG_FILE";

/// What variables said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Read {
    /// Those that set something: the variable, and its value as it was written.
    pub(super) used: Vec<(String, String)>,
    /// Those that look as if they should, and do not.
    pub(super) unknown: Vec<String>,
}

/// The file that the environment names.
pub(super) fn config_file(environment: &[(String, String)]) -> Option<&str> {
    let value = environment.iter().find(|(name, _)| name == CONFIG_FILE).map(|(_, value)| value);
    value.map(String::as_str).filter(|path| !path.is_empty())
}

/// Adds what variables say to what flags say. The same thing must not be said by both.
pub(super) fn read(
    environment: &[(String, String)],
    line: &Line,
    values: &mut Values,
) -> Result<Read, Refusal> {
    let mut read = Read::default();
    for (variable, text) in environment {
        if !["ETCD_", "QUORATE_"].iter().any(|prefix| variable.starts_with(prefix)) {
            continue;
        }
        // A variable called ETCD_VERSION tells many programs which etcd there is.
        let mut names = table::names().filter(|name| !["version", "config-file"].contains(name));
        let Some(name) = names.find(|name| variable_of(name) == *variable) else {
            read.unknown.push(variable.clone());
            continue;
        };
        if line.flags.contains_key(name) {
            return Err(Refusal::Conflict(variable.clone()));
        }
        // As for etcd, an empty variable is one that is not set.
        if text.is_empty() {
            continue;
        }
        let kind = table::kind(name).expect("every name has a kind");
        let wrong = |why| Refusal::Flags(format!("invalid value {text:?} for {variable}: {why}"));
        let value = kind.read(text).map_err(wrong)?;
        let source = format!("environment variable {variable}");
        values.insert(name.to_owned(), Value { text: value, source });
        read.used.push((variable.clone(), text.clone()));
    }
    Ok(read)
}

/// The variable of a flag.
fn variable_of(name: &str) -> String {
    let prefix = if table::find(name).is_some() { "ETCD_" } else { "QUORATE_" };
    format!("{prefix}{}", name.to_ascii_uppercase().replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// Variables of etcd's flags and of our own settings are read, others are told of.
    #[test]
    fn variables_are_read() {
        let environment = environment(&[
            ("ETCD_NAME", "n1"),
            ("ETCD_HEARTBEAT_INTERVAL", "0x64"),
            ("ETCD_DATA_DIR", ""),
            ("ETCD_VERSION", "3"),
            ("ETCDCTL_API", "3"),
            ("QUORATE_LEARNER_SERVES_READS", "t"),
            ("QUORATE_NAME", "n2"),
            ("PATH", "/bin"),
        ]);
        let mut values = Values::new();

        let read = read(&environment, &Line::default(), &mut values).unwrap();

        let value = |name: &str| values.get(name).map(|value| value.text.as_str());
        assert_eq!((value("name"), value("heartbeat-interval")), (Some("n1"), Some("100")));
        assert_eq!((value("learner-serves-reads"), value("data-dir")), (Some("true"), None));
        assert_eq!(values["name"].source, "environment variable ETCD_NAME");
        assert_eq!(read.unknown, ["ETCD_VERSION", "QUORATE_NAME"]);
        assert_eq!(read.used.len(), 3, "{read:?}");
    }

    /// etcd does not choose between a flag and a variable, even an empty one, and reads the latter as strictly.
    #[test]
    fn conflicts_and_bad_values_are_refused() {
        let line = Line { flags: [("name".to_owned(), "n1".to_owned())].into(), word: None };
        let refused = read(&environment(&[("ETCD_NAME", "")]), &line, &mut Values::new());
        assert_eq!(refused.unwrap_err(), Refusal::Conflict("ETCD_NAME".to_owned()));

        let refused =
            read(&environment(&[("ETCD_PRE_VOTE", "x")]), &Line::default(), &mut Values::new());
        let text = "invalid value \"x\" for ETCD_PRE_VOTE: parse error".to_owned();
        assert_eq!(refused.unwrap_err(), Refusal::Flags(text));
    }

    /// A file may be named by a variable.
    #[test]
    fn the_file_is_found() {
        assert_eq!(config_file(&environment(&[("ETCD_CONFIG_FILE", "/f")])), Some("/f"));
        assert_eq!(config_file(&environment(&[("ETCD_CONFIG_FILE", "")])), None);
    }
}
