//! Settings that somebody else has layered: the start line of etcd has rules of its own for that.

use std::collections::BTreeMap;

use figment::{
    Metadata, Profile, Provider,
    value::{Dict, Map, Value},
};

use super::{
    Error,
    layers::{LAYER, Loaded, Sources, defaults, finish},
};

/// A setting, its value, and where that came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// A name of [`settings`](super::settings()).
    pub setting: String,
    /// Its value as a text.
    pub value: String,
    /// The origin as a phrase: `environment variable ETCD_NAME`.
    pub source: String,
}

/// The same as [`load`](super::load) for one layer that wins over the defaults, of which those for
/// the log and the data directory are etcd's.
pub fn load_given(given: &[Given]) -> Result<Loaded, Error> {
    let name = given.iter().find(|it| it.setting == "name").map_or("default", |it| &it.value);
    let etcd = [("data-dir", format!("{name}.etcd")), ("log-format", "json".to_owned())];
    let etcd = etcd.map(|(setting, value)| (setting.to_owned(), Value::from(value)));
    let figment = defaults().merge(EtcdDefaults(etcd.into())).merge(Layered(given.to_vec()));
    finish(Sources::new(figment), Vec::new())
}

/// Where etcd's defaults are others than ours.
struct EtcdDefaults(Dict);

impl Provider for EtcdDefaults {
    fn metadata(&self) -> Metadata {
        Metadata::named("defaults of etcd")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.0.clone())]))
    }
}

struct Layered(Vec<Given>);

impl Provider for Layered {
    fn metadata(&self) -> Metadata {
        let source = |it: &Given| (it.setting.clone(), it.source.clone());
        let sources: BTreeMap<String, String> = self.0.iter().map(source).collect();
        Metadata::named(LAYER).interpolater(move |_: &Profile, keys: &[&str]| {
            sources.get(&keys.join(".")).cloned().unwrap_or_default()
        })
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let pair = |it: &Given| (it.setting.clone(), Value::from(it.value.clone()));
        Ok(Map::from([(Profile::Default, self.0.iter().map(pair).collect())]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(list: &[(&str, &str)]) -> Vec<Given> {
        let give = |(setting, value): &(&str, &str)| Given {
            setting: (*setting).to_owned(),
            value: (*value).to_owned(),
            source: format!("line {setting}"),
        };
        list.iter().map(give).collect()
    }

    /// What nobody says is as etcd has it, where somebody would notice.
    #[test]
    fn defaults_are_those_of_etcd() {
        let loaded = load_given(&[]).unwrap();

        assert_eq!(loaded.config.data_dir.to_str(), Some("default.etcd"));
        assert!(loaded.printed.contains("log-format = \"json\" # default\n"), "{}", loaded.printed);
        let loaded = load_given(&given(&[("name", "n1")])).unwrap();
        assert_eq!(loaded.config.data_dir.to_str(), Some("n1.etcd"));
    }

    /// The origin that came with a value is the one that is told.
    #[test]
    fn sources_are_those_that_were_given() {
        let loaded = load_given(&given(&[("data-dir", "/d"), ("max-learners", "7")])).unwrap();

        assert_eq!((loaded.config.data_dir.to_str(), loaded.config.max_learners), (Some("/d"), 7));
        let line = "max-learners = 7 # line max-learners\n";
        assert!(loaded.printed.contains(line), "{}", loaded.printed);

        let refused = load_given(&given(&[("max-learners", "0")])).unwrap_err().to_string();
        assert!(refused.ends_with("(line max-learners)"), "{refused}");
        let refused = load_given(&given(&[("no-such", "0")])).unwrap_err().to_string();
        assert_eq!(refused, "no-such: no such setting (line no-such)");
    }
}
