//! `quorate service`: registers instances of services, shows who serves what, and takes instances out
//! of service.
//!
//! It is a client of the registry like any other. [`keeper`] keeps a registration over whatever
//! happens to connections and members; [`program`] runs what is registered.
//!
//! Absent on purpose: checks of an instance's health. An instance is there while its process is.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{Args, Subcommand};

use super::{Client, Error, print::Printer};

mod form;
mod instance;
mod keeper;
mod operate;
mod program;
mod register;
mod show;
mod signals;
mod stream;
mod watch;

pub(super) use program::exit_code;

use form::Form;

#[derive(Args, Clone, Debug)]
pub(super) struct ServiceArgs {
    #[command(subcommand)]
    command: ServiceCommand,
}

#[derive(Subcommand, Clone, Debug)]
enum ServiceCommand {
    /// Register an instance for as long as this command runs, or the program that it is given
    Register(Box<register::RegisterArgs>),
    /// Remove an instance
    Deregister(operate::DeregisterArgs),
    /// Show the services, with the numbers of instances and of those that are enabled
    List(show::ListArgs),
    /// Show all instances of a service, those that are disabled included
    Show(show::ShowArgs),
    /// Show where a service can be called
    Resolve(show::ResolveArgs),
    /// Follow instances as they come, go and change
    Watch(watch::WatchArgs),
    /// Take an instance out of service, whatever it says of itself
    Drain(InstanceArgs),
    /// Take back what was said with drain and weigh
    Enable(InstanceArgs),
    /// Say what share of the calls an instance is to get, whatever it says of itself
    Weigh(operate::WeighArgs),
}

/// Which service.
#[derive(Args, Clone, Debug)]
struct ServiceName {
    /// Name of the service
    name: String,
    /// Namespace of the service [default: default]
    #[arg(long, default_value = "", hide_default_value = true)]
    namespace: String,
}

/// Which instance.
#[derive(Args, Clone, Debug)]
struct InstanceArgs {
    #[command(flatten)]
    service: ServiceName,
    /// Id of the instance
    #[arg(long)]
    id: String,
}

/// Runs a command, which ends like the program that it was given, if it was.
pub(super) async fn run(
    args: ServiceArgs,
    client: &Client,
    environment: &[(String, String)],
    printer: &mut Printer,
) -> Result<ExitCode, Error> {
    let (form, output) = (Form::of(printer.format)?, &mut printer.output);
    match args.command {
        ServiceCommand::Register(args) => {
            return register::run(*args, form, client, environment, output).await;
        }
        ServiceCommand::Deregister(args) => operate::deregister(args, form, client, output).await,
        ServiceCommand::List(args) => show::list(args, form, client, output).await,
        ServiceCommand::Show(args) => show::show(args, form, client, output).await,
        ServiceCommand::Resolve(args) => show::resolve(args, form, client, output).await,
        ServiceCommand::Watch(args) => watch::run(args, form, client, output).await,
        ServiceCommand::Drain(args) => operate::drain(args, form, client, output).await,
        ServiceCommand::Enable(args) => operate::enable(args, form, client, output).await,
        ServiceCommand::Weigh(args) => operate::weigh(args, form, client, output).await,
    }?;
    Ok(ExitCode::SUCCESS)
}

impl ServiceName {
    /// The namespace as it is written, also when none was given.
    fn namespace(&self) -> &str {
        instance::namespace_or_default(&self.namespace)
    }
}

impl InstanceArgs {
    /// `namespace/service/id`.
    fn full_name(&self) -> String {
        format!("{}/{}/{}", self.service.namespace(), self.service.name, self.id)
    }
}

/// Says something that is not part of the answer. Nobody is told when nobody can read it.
fn remark(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
