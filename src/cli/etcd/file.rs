//! A configuration file of etcd's: YAML, of which JSON is a part, with the names of flags as keys.
//!
//! As for etcd, the file stands in place of all flags and variables, its certificates stand in two
//! blocks, durations are whole nanoseconds, and keys that nobody knows are passed over. We also take
//! durations as texts.

use std::{fs, path::Path};

use serde_yaml_ng::{Mapping, Value as Yaml};

use super::{
    resolve::{Value, Values},
    table,
    value::Kind,
};

/// The blocks, what their keys have in front as flags, and those whose flags have other names.
const BLOCKS: &[Block] = &[
    Block {
        key: "client-transport-security",
        prefix: "",
        renamed: &[("allowed-hostname", "client-cert-allowed-hostname")],
    },
    Block {
        key: "peer-transport-security",
        prefix: "peer-",
        renamed: &[
            ("allowed-cn", "peer-cert-allowed-cn"),
            ("allowed-hostname", "peer-cert-allowed-hostname"),
            ("client-cert-file", "peer-client-cert-file"),
            ("client-key-file", "peer-client-key-file"),
        ],
    },
    Block { key: "socket-options", prefix: "socket-", renamed: &[] },
    Block { key: "discovery-config", prefix: "discovery-", renamed: &[] },
];

struct Block {
    key: &'static str,
    prefix: &'static str,
    renamed: &'static [(&'static str, &'static str)],
}

/// What etcd's files have in a block, and not beside it.
const ONLY_IN_BLOCKS: &[&str] = &[
    "cert-file",
    "key-file",
    "client-cert-file",
    "client-key-file",
    "client-cert-auth",
    "trusted-ca-file",
    "auto-tls",
    "client-cert-allowed-hostname",
    "peer-cert-file",
    "peer-key-file",
    "peer-client-cert-file",
    "peer-client-key-file",
    "peer-client-cert-auth",
    "peer-trusted-ca-file",
    "peer-auto-tls",
    "peer-cert-allowed-cn",
    "peer-cert-allowed-hostname",
    "peer-skip-client-san-verification",
];

/// What a file said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) values: Values,
    /// Keys that nobody knows.
    pub(super) unknown: Vec<String>,
}

/// Reads a file.
pub(super) fn read(path: &str) -> Result<Read, String> {
    let text = fs::read_to_string(Path::new(path));
    let text = text.map_err(|error| format!("config file {path}: {error}"))?;
    parse(&text, &format!("file {path}"))
}

fn parse(text: &str, source: &str) -> Result<Read, String> {
    let yaml: Yaml = serde_yaml_ng::from_str(text).map_err(|error| format!("{source}: {error}"))?;
    let top = match yaml {
        Yaml::Mapping(top) => top,
        Yaml::Null => Mapping::new(),
        Yaml::Bool(_) | Yaml::Number(_) | Yaml::String(_) | Yaml::Sequence(_) | Yaml::Tagged(_) => {
            return Err(format!("{source}: must have keys with values"));
        }
    };
    let mut reader = Reader { source, read: Read::default() };
    for (key, value) in &top {
        let key = reader.key(key)?;
        match BLOCKS.iter().find(|block| block.key == key) {
            Some(block) => reader.block(block, value)?,
            None if ONLY_IN_BLOCKS.contains(&key) => reader.read.unknown.push(key.to_owned()),
            None => reader.value(key, key, value)?,
        }
    }
    let mut read = reader.read;
    // etcd's default stays in force here, other than on a command line.
    if read.values.contains_key("listen-client-urls") {
        let text = "http://localhost:2379".to_owned();
        let default = Value { text, source: "default".to_owned() };
        read.values.entry("advertise-client-urls".to_owned()).or_insert(default);
    }
    Ok(read)
}

struct Reader<'a> {
    source: &'a str,
    read: Read,
}

impl Reader<'_> {
    fn key<'a>(&self, key: &'a Yaml) -> Result<&'a str, String> {
        key.as_str().ok_or_else(|| format!("{}: a key is not a text: {key:?}", self.source))
    }

    fn block(&mut self, block: &Block, value: &Yaml) -> Result<(), String> {
        let Yaml::Mapping(entries) = value else {
            if value.is_null() {
                return Ok(());
            }
            return Err(format!("{}: invalid {}", self.source, block.key));
        };
        for (key, value) in entries {
            let key = self.key(key)?;
            let shown = format!("{}.{key}", block.key);
            let renamed = block.renamed.iter().find(|(name, _)| *name == key);
            let flag = renamed
                .map_or_else(|| format!("{}{key}", block.prefix), |(_, it)| (*it).to_owned());
            if block.key == "client-transport-security" && key == "allowed-cn" && !value.is_null() {
                // To pass over it would let everybody in.
                return Err(format!(
                    "{}: {shown}: clients are not admitted by the common names of their certificates; \
                     allowed-hostname can be used",
                    self.source
                ));
            }
            if block.key == "discovery-config" && value.is_mapping() {
                // Certificates and users stand one level deeper still; alone they do nothing.
                self.read.unknown.push(shown);
            } else {
                self.value(&flag, &shown, value)?;
            }
        }
        Ok(())
    }

    fn value(&mut self, flag: &str, shown: &str, value: &Yaml) -> Result<(), String> {
        let Some(kind) = table::kind(flag).filter(|_| !NO_KEYS.contains(&flag)) else {
            self.read.unknown.push(shown.to_owned());
            return Ok(());
        };
        let wrong = |why: String| format!("{}: {shown}: {why}", self.source);
        let Some(text) = text(kind, value).map_err(wrong)? else { return Ok(()) };
        let text =
            kind.read(&text).map_err(|why| wrong(format!("invalid value {text:?}: {why}")))?;
        let value = Value { text, source: self.source.to_owned() };
        self.read.values.insert(flag.to_owned(), value);
        Ok(())
    }
}

/// Flags that a file cannot give.
const NO_KEYS: &[&str] = &["config-file", "version", table::PRINT_CONFIG];

/// A value as a flag would be given it; `None` for one that is left out.
fn text(kind: Kind, value: &Yaml) -> Result<Option<String>, String> {
    let one = |value: &Yaml| match value {
        Yaml::Bool(it) => Ok(it.to_string()),
        Yaml::Number(it) => Ok(it.to_string()),
        Yaml::String(it) => Ok(it.clone()),
        Yaml::Null | Yaml::Sequence(_) | Yaml::Mapping(_) | Yaml::Tagged(_) => {
            Err("must be a text, a number, true or false".to_owned())
        }
    };
    Ok(Some(match value {
        Yaml::Null => return Ok(None),
        Yaml::Number(number) if kind == Kind::Duration => {
            let nanoseconds = number.as_i64().map(i128::from);
            let Some(nanoseconds) = nanoseconds else {
                return Err(format!("{number} is not a whole number of nanoseconds"));
            };
            Kind::of_nanoseconds(nanoseconds)
        }
        // Go reads YAML 1.1, where these words are no texts.
        Yaml::String(word) if kind == Kind::Switch => match word.to_ascii_lowercase().as_str() {
            "yes" | "on" | "y" => "true".to_owned(),
            "no" | "off" | "n" => "false".to_owned(),
            _ => word.clone(),
        },
        Yaml::Sequence(items) => items.iter().map(one).collect::<Result<Vec<_>, _>>()?.join(","),
        Yaml::Bool(_) | Yaml::Number(_) | Yaml::String(_) | Yaml::Mapping(_) | Yaml::Tagged(_) => {
            one(value)?
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(read: &Read, name: &str) -> Option<String> {
        read.values.get(name).map(|value| value.text.clone())
    }

    /// A file with everything in it that etcd's sample has.
    #[test]
    fn a_file_of_etcds_is_read() {
        let read = parse(
            "# This is the configuration file for the etcd server.\n\
             name: 'n1'\n\
             data-dir:\n\
             snapshot-count: 10000\n\
             heartbeat-interval: 100\n\
             election-timeout: 1000\n\
             quota-backend-bytes: 8589934592\n\
             listen-peer-urls: http://localhost:2380\n\
             listen-client-urls: http://localhost:2379,http://127.0.0.1:4001\n\
             initial-cluster: n1=http://localhost:2380\n\
             strict-reconfig-check: false\n\
             watch-progress-notify-interval: 600000000000\n\
             corrupt-check-time: 1m\n\
             auto-compaction-retention: 1\n\
             proxy: 'off'\n\
             client-transport-security:\n  cert-file: c\n  client-cert-auth: true\n  nonsense: 1\n\
             peer-transport-security:\n  key-file: k\n  allowed-cn: [a, b]\n  client-cert-auth: no\n\
             cert-file: outside\n\
             log-outputs: [stderr, /var/log/etcd]\n\
             force-new-cluster: false\n",
            "file f",
        )
        .unwrap();

        for (name, expected) in [
            ("name", Some("n1")),
            ("data-dir", None),
            ("heartbeat-interval", Some("100")),
            ("quota-backend-bytes", Some("8589934592")),
            ("listen-client-urls", Some("http://127.0.0.1:4001,http://localhost:2379")),
            ("advertise-client-urls", Some("http://localhost:2379")),
            ("strict-reconfig-check", Some("false")),
            ("watch-progress-notify-interval", Some("600s")),
            ("corrupt-check-time", Some("60s")),
            ("auto-compaction-retention", Some("1")),
            ("cert-file", Some("c")),
            ("client-cert-auth", Some("true")),
            ("peer-key-file", Some("k")),
            ("peer-cert-allowed-cn", Some("a,b")),
            ("peer-client-cert-auth", Some("false")),
            ("log-outputs", Some("stderr,/var/log/etcd")),
        ] {
            assert_eq!(value(&read, name).as_deref(), expected, "{name}");
        }
        assert_eq!(read.unknown, ["proxy", "client-transport-security.nonsense", "cert-file"]);
        assert_eq!(read.values["name"].source, "file f");
    }

    /// JSON is YAML.
    #[test]
    fn json_is_read() {
        let read = parse(r#"{"name": "n1", "pre-vote": true, "max-txn-ops": 7}"#, "f").unwrap();
        assert_eq!(value(&read, "max-txn-ops").as_deref(), Some("7"));
        assert_eq!(value(&read, "pre-vote").as_deref(), Some("true"));
        assert_eq!(parse("", "f").unwrap(), Read::default());
    }

    /// What is wrong is told with its key.
    #[test]
    fn bad_files_are_refused() {
        for (text, refusal) in [
            ("just words", "f: must have keys with values"),
            (
                "heartbeat-interval: soon",
                "f: heartbeat-interval: invalid value \"soon\": parse error",
            ),
            ("name: {a: b}", "f: name: must be a text, a number, true or false"),
            ("peer-transport-security: 7", "f: invalid peer-transport-security"),
            (
                "corrupt-check-time: 1.5",
                "f: corrupt-check-time: 1.5 is not a whole number of nanoseconds",
            ),
        ] {
            assert_eq!(parse(text, "f").unwrap_err(), refusal);
        }
        assert!(parse("a: [", "f").unwrap_err().starts_with("f: "));
        assert!(read("/no/such/file").unwrap_err().starts_with("config file /no/such/file: "));
    }
}
