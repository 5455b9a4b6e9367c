//! `quorate snapshot`: the state of a member in a file, and data directories made of it.
//!
//! `save` is a client's command, and works against any etcd as well. The others work on files that a
//! member of quorate has sent. `etcdutl` has the same, in its own words.

mod form;
mod restore;
mod save;
mod status;

use std::path::PathBuf;

use clap::{Args, Subcommand};

pub(super) use self::{
    form::Form,
    restore::{RestoreArgs, restore, to_restore},
    status::{hash_kv, status},
};
use super::{Client, Error, print::Printer};

#[derive(Subcommand, Clone, Debug)]
pub(super) enum SnapshotCommand {
    /// Save the state of one member to a file
    Save {
        /// The file
        file: PathBuf,
    },
    /// Show what a file holds, and whether it is whole
    Status(StatusArgs),
    /// Make the data directory of a member of a new cluster
    Restore(RestoreArgs),
}

#[derive(Args, Clone, Debug)]
pub(super) struct StatusArgs {
    /// The file
    file: PathBuf,
}

pub(super) async fn run(
    command: SnapshotCommand,
    client: impl FnOnce() -> Result<Client, Error>,
    environment: &[(String, String)],
    printer: &mut Printer,
) -> Result<(), Error> {
    let (format, output) = (printer.format, &mut printer.output);
    match command {
        SnapshotCommand::Save { file } => save::save(&file, &client()?, output).await,
        SnapshotCommand::Status(StatusArgs { file }) => status(&file, Form::of(format)?, output),
        SnapshotCommand::Restore(args) => {
            let restoration = to_restore(&args, None)?;
            let restored = restore(&restoration, environment)?;
            output.line(restore::sentence(&restoration, &restored))
        }
    }
}
