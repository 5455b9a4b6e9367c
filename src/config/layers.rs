//! Puts the layers over each other and remembers where each value came from.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use figment::{
    Figment, Metadata, Profile, Provider, Source,
    providers::{Format, Serialized, Toml},
    value::{Dict, Map, Value},
};
use serde::de::DeserializeOwned;

use super::{
    Config, Error, Problem,
    check::{self, Groups},
    discovery::DiscoverySettings,
    http::HttpSettings,
    log::LogSettings,
    observe::ObserveSettings,
    print::print,
    settings::{Group, Settings, settings},
    tls::TlsSettings,
    upkeep::UpkeepSettings,
};

/// Variables of the client commands. They share our prefix and mean nothing to a member.
const CLIENT_VARIABLES: &[&str] = &[
    "QUORATE_ENDPOINTS",
    "QUORATE_COMMAND_TIMEOUT",
    "QUORATE_CACERT",
    "QUORATE_CERT",
    "QUORATE_KEY",
    "QUORATE_INSECURE_SKIP_TLS_VERIFY",
    "QUORATE_INSECURE_TRANSPORT",
];

/// Names the file; it cannot be a setting, since the file does not name itself.
const FILE_VARIABLE: &str = "QUORATE_CONFIG_FILE";

/// Where settings may come from, apart from the file.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// The file named on the command line.
    pub config_file: Option<PathBuf>,
    /// The flags given: a name of [`settings`], and the value.
    pub flags: Vec<(String, String)>,
    /// The environment, whole.
    pub environment: Vec<(String, String)>,
}

/// A configuration, and what is worth saying about how it came to be.
#[derive(Debug)]
pub struct Loaded {
    /// The settings in force.
    pub config: Config,
    /// Variables that etcd knows and we do not read, a sentence each.
    pub warnings: Vec<String>,
    /// The settings in force as a file that would set them, with the source of each.
    pub printed: String,
}

/// Layers the inputs over the defaults, and checks the result as a whole.
pub fn load(inputs: &Inputs) -> Result<Loaded, Error> {
    let etcd = Layer::of_environment("ETCD_", &inputs.environment);
    let own = Layer::of_environment("QUORATE_", &inputs.environment);
    refuse_unknown(&own)?;
    let warnings = etcd.unknown.iter().map(|name| format!("{name} is set but not read")).collect();

    let mut figment = defaults();
    if let Some(path) = config_file(inputs) {
        if !path.is_file() {
            return Err(Error::File { path, reason: "no such file".to_owned() });
        }
        figment = figment.merge(Toml::file_exact(path));
    }
    let flags = Layer::of_flags(&inputs.flags);
    finish(Sources(figment.merge(etcd).merge(own).merge(flags)), warnings)
}

/// Checks the values of all layers together.
pub(super) fn finish(sources: Sources, warnings: Vec<String>) -> Result<Loaded, Error> {
    sources.refuse_unknown()?;
    let groups = Groups {
        discovery: sources.group()?,
        tls: sources.group()?,
        http: sources.group()?,
        log: sources.group()?,
        upkeep: sources.group()?,
        observe: sources.group()?,
    };
    let settings: Settings = sources.group()?;
    let config = check::check(&settings, groups, &sources).map_err(Error::Invalid)?;
    let printed = print(&config, &sources);
    Ok(Loaded { config, warnings, printed })
}

/// What is in force when nobody says anything.
pub(super) fn defaults() -> Figment {
    fn of<G: Group>() -> Serialized<G> {
        Serialized::defaults(G::default())
    }
    Figment::from(Serialized::defaults(Settings::default()))
        .merge(of::<DiscoverySettings>())
        .merge(of::<TlsSettings>())
        .merge(of::<HttpSettings>())
        .merge(of::<LogSettings>())
        .merge(of::<UpkeepSettings>())
        .merge(of::<ObserveSettings>())
}

fn config_file(inputs: &Inputs) -> Option<PathBuf> {
    let from_environment = || {
        let named = inputs.environment.iter().find(|(name, _)| name == FILE_VARIABLE);
        named.filter(|(_, path)| !path.is_empty()).map(|(_, path)| PathBuf::from(path))
    };
    inputs.config_file.clone().or_else(from_environment)
}

/// A variable with our own prefix is meant for us, so one that we do not know is a mistake.
fn refuse_unknown(own: &Layer) -> Result<(), Error> {
    let problem = |variable: &String| Problem {
        setting: variable.clone(),
        source: format!("environment variable {variable}"),
        reason: "no such setting".to_owned(),
    };
    let problems: Vec<Problem> = own.unknown.iter().map(problem).collect();
    if problems.is_empty() { Ok(()) } else { Err(Error::Invalid(problems)) }
}

/// Says in our words what the extraction met.
fn refusal(error: figment::Error, sources: &Sources) -> Error {
    let file = error.metadata.as_ref().and_then(file_of);
    let Some(setting) = error.path.first().cloned() else {
        // Only the file is parsed, so an error without a setting is about its syntax.
        let path = file.map(PathBuf::from).unwrap_or_default();
        return Error::File { path, reason: error.kind.to_string() };
    };
    let reason = error.kind.to_string();
    let source = sources.of(&setting);
    Error::Invalid(vec![Problem { setting, source, reason }])
}

/// Where the values came from.
pub(super) struct Sources(Figment);

impl Sources {
    pub(super) fn new(figment: Figment) -> Self {
        Self(figment)
    }

    /// The settings of one group.
    fn group<T: DeserializeOwned>(&self) -> Result<T, Error> {
        // Lossy, because a variable or a flag is a text, also where a number is meant.
        self.0.extract_lossy().map_err(|error| refusal(error, self))
    }

    /// Only the file can hold a key that nobody knows.
    fn refuse_unknown(&self) -> Result<(), Error> {
        let keys = self.group::<Dict>()?.into_keys();
        let unknown = keys.filter(|key| !settings().any(|setting| setting.name == key));
        let problems: Vec<Problem> = unknown
            .map(|setting| {
                let (source, reason) = (self.of(&setting), "no such setting".to_owned());
                Problem { setting, source, reason }
            })
            .collect();
        if problems.is_empty() { Ok(()) } else { Err(Error::Invalid(problems)) }
    }

    /// The origin of a setting's value, as a phrase.
    pub(super) fn of(&self, setting: &str) -> String {
        let Some(metadata) = self.0.find_metadata(setting) else { return "default".to_owned() };
        match file_of(metadata) {
            Some(path) => format!("file {}", path.display()),
            None if self.is_set(setting) => metadata.interpolate(&Profile::Default, &[setting]),
            None => "default".to_owned(),
        }
    }

    /// Whether anybody but the defaults has set it.
    pub(super) fn is_set(&self, setting: &str) -> bool {
        let by_somebody =
            |metadata: &Metadata| file_of(metadata).is_some() || metadata.name == LAYER;
        self.0.find_metadata(setting).is_some_and(by_somebody)
    }
}

fn file_of(metadata: &Metadata) -> Option<&Path> {
    metadata.source.as_ref().and_then(Source::file_path)
}

/// The name by which a layer of ours is known among the providers.
pub(super) const LAYER: &str = "layer";

/// The variables of one prefix, or the flags.
struct Layer {
    values: Dict,
    /// What follows is put before the name of a setting to say where it was set.
    prefix: &'static str,
    unknown: Vec<String>,
}

impl Layer {
    fn of_environment(prefix: &'static str, environment: &[(String, String)]) -> Self {
        let known: BTreeMap<String, &str> =
            settings().map(|setting| (variable(prefix, setting.name), setting.name)).collect();
        let mut layer = Self { values: Dict::new(), prefix, unknown: Vec::new() };
        for (name, value) in environment {
            // As for etcd, an empty variable is one that is not set.
            if !name.starts_with(prefix) || value.is_empty() {
                continue;
            }
            match known.get(name) {
                Some(setting) => {
                    layer.values.insert((*setting).to_owned(), Value::from(value.clone()));
                }
                None if name == FILE_VARIABLE || CLIENT_VARIABLES.contains(&name.as_str()) => {}
                None => layer.unknown.push(name.clone()),
            }
        }
        layer
    }

    fn of_flags(flags: &[(String, String)]) -> Self {
        let pair = |(name, value): &(String, String)| (name.clone(), Value::from(value.clone()));
        Self { values: flags.iter().map(pair).collect(), prefix: "--", unknown: Vec::new() }
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        let prefix = self.prefix;
        Metadata::named(LAYER).interpolater(move |_: &Profile, keys: &[&str]| {
            let setting = keys.join(".");
            if prefix == "--" {
                format!("flag --{setting}")
            } else {
                format!("environment variable {}", variable(prefix, &setting))
            }
        })
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}

/// The variable of a setting.
fn variable(prefix: &str, setting: &str) -> String {
    format!("{prefix}{}", setting.to_ascii_uppercase().replace('-', "_"))
}
