//! `quorate serve`: one member, until it is told to stop.
//!
//! The flags are made from the table of settings, so that a setting is described in one place.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::{Error, Output};
use crate::{
    config::{self, Config, Inputs, settings},
    server,
    telemetry::{self, LogFormat, LogOptions, LogOutput, LogRotation},
};

/// The arguments of `serve`.
#[derive(Args, Clone, Debug)]
pub(super) struct ServeArgs {
    /// Read settings from this TOML file; keys are the names of the flags
    #[arg(long, value_name = "FILE")]
    config_file: Option<PathBuf>,
    /// Print the settings in force, with the source of each, and exit
    #[arg(long)]
    print_config: bool,
    /// Stop once standard input ends
    #[arg(long, hide = true)]
    exit_with_parent: bool,
    #[command(flatten)]
    settings: SettingFlags,
}

/// The flags given that are settings: name and value.
#[derive(Clone, Debug)]
struct SettingFlags(Vec<(String, String)>);

impl Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        command.args(settings().map(|setting| {
            let flag = Arg::new(setting.name)
                .long(setting.name)
                .value_name(setting.value_name)
                .help(setting.help)
                .action(ArgAction::Set)
                .allow_negative_numbers(true)
                // As for etcd, the last one wins.
                .overrides_with(setting.name);
            if setting.is_switch {
                flag.num_args(0..=1).require_equals(true).default_missing_value("true")
            } else {
                flag
            }
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = settings().filter_map(|setting| {
            let value = matches.get_one::<String>(setting.name)?;
            Some((setting.name.to_owned(), value.clone()))
        });
        Ok(Self(given.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Runs a member, or prints its settings.
pub(super) fn run(
    args: ServeArgs,
    environment: &[(String, String)],
    output: &mut Output,
) -> Result<(), Error> {
    let inputs = Inputs {
        config_file: args.config_file,
        flags: args.settings.0,
        environment: environment.to_vec(),
    };
    let mut loaded = config::load(&inputs).map_err(Error::failed)?;
    if args.print_config {
        return output.text(loaded.printed.as_bytes());
    }
    loaded.config.exit_with_parent = args.exit_with_parent;
    start_log(&loaded.config)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    run_member(loaded.config, environment)
}

/// Runs a member whose log has begun.
pub(super) fn run_member(config: Config, environment: &[(String, String)]) -> Result<(), Error> {
    if let Some((_, text)) = environment.iter().find(|(name, _)| name == "FAILPOINTS") {
        server::arm_fail_points(text).map_err(Error::failed)?;
    }
    server::run(config).map_err(Error::failed)
}

/// Begins the log as the settings say.
pub(super) fn start_log(config: &Config) -> Result<(), Error> {
    let output = |output: &config::LogOutput| match output {
        config::LogOutput::Stderr => LogOutput::Stderr,
        config::LogOutput::Stdout => LogOutput::Stdout,
        config::LogOutput::File(path) => LogOutput::File(path.clone()),
    };
    let rotation = |rotation: &config::LogRotation| LogRotation {
        bytes_max: rotation.bytes_max,
        backups_max: rotation.backups_max,
        kept: rotation.kept,
    };
    let options = LogOptions {
        level: config.log_level.as_str().to_owned(),
        format: match config.log.format {
            config::LogFormat::Text => LogFormat::Text,
            config::LogFormat::Console => LogFormat::Console,
            config::LogFormat::Json => LogFormat::Json,
        },
        outputs: config.log.outputs.iter().map(output).collect(),
        rotation: config.log.rotation.as_ref().map(rotation),
    };
    telemetry::init(&options).map_err(Error::failed)
}
