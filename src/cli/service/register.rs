//! `register`: an instance that is there for as long as this command, or the program it runs.

use std::{
    ffi::OsString,
    hash::{BuildHasher, RandomState},
    process::{self, ExitCode},
};

use clap::Args;

use super::{
    ServiceName,
    form::{Form, tell},
    instance::{full_name, parse_address, parse_pair, parse_port, target, to_map},
    keeper::{Keeper, Session, Wanted},
    program::{self, Program},
    remark,
    signals::Signals,
};
use crate::{
    cli::{Client, Error, Output},
    proto::registry::{
        Instance, RegisterRequest, RegisterResponse, registry_client::RegistryClient,
    },
};

#[derive(Args, Clone, Debug)]
#[command(
    after_help = "A program after `--` is run while it is registered. It gets the signals HUP, \
                        INT, QUIT, TERM, USR1 and USR2 that come here, and this command ends as it \
                        does."
)]
pub(super) struct RegisterArgs {
    #[command(flatten)]
    service: ServiceName,
    /// Where the instance is called; an IPv6 address stands in brackets
    #[arg(long = "addr", value_name = "HOST:PORT", value_parser = parse_address)]
    address: (String, u16),
    /// Id of the instance [default: HOST:PORT]
    #[arg(long, default_value = "", hide_default_value = true)]
    id: String,
    /// Seconds that the instance stays when nobody renews it [default: that of the service, or 15]
    #[arg(long, value_name = "SECONDS", default_value_t = 0, hide_default_value = true)]
    ttl: i64,
    /// A word that the instance is found by; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Version of what runs there
    #[arg(long, default_value = "", hide_default_value = true)]
    version: String,
    /// Zone that it runs in
    #[arg(long, default_value = "", hide_default_value = true)]
    zone: String,
    /// Its share of the calls, compared with others [default: 100]
    #[arg(long)]
    weight: Option<u32>,
    /// What else is to be known of it; may be repeated
    #[arg(long = "meta", value_name = "KEY=VALUE", value_parser = parse_pair)]
    metadata: Vec<(String, String)>,
    /// A further port; may be repeated
    #[arg(long = "port", value_name = "NAME=NUMBER", value_parser = parse_port)]
    ports: Vec<(String, u32)>,
    /// The session to register in, which goes on if it is there: a process that comes back under it
    /// finds its instance where it was
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    session: String,
    /// Take the id from whoever has it
    #[arg(long)]
    takeover: bool,
    /// Register, and leave the instance to its TTL
    #[arg(long, conflicts_with = "program")]
    once: bool,
    /// The program to run, and its arguments
    #[arg(last = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

/// Registers an instance, and sees to it for as long as is wanted.
pub(super) async fn run(
    args: RegisterArgs,
    form: Form,
    client: &Client,
    environment: &[(String, String)],
    output: &mut Output,
) -> Result<ExitCode, Error> {
    let instance = args.instance()?;
    if args.once {
        once(&args, instance, form, client, output).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let program = Program::find(&args.program, environment)?;
    // From here on a signal finds somebody who deregisters.
    let mut signals = Signals::new()?;
    let session = match args.session.as_str() {
        "" => Session::Own(new_session()),
        session => Session::Shared(session.to_owned()),
    };
    let wanted = Wanted { instance, ttl: args.ttl, takeover: args.takeover, session };
    let mut keeper = Keeper::new(client.clone(), wanted);
    let registered = tokio::select! {
        registered = keeper.register() => Ok(registered),
        signal = signals.next_end() => Err(signal),
    };
    let registered = match registered {
        Ok(Ok(registered)) => registered,
        Ok(Err(error)) => {
            // Of a session that was opened for nothing; it ends by itself, if need be.
            let _ = keeper.close().await;
            return Err(error);
        }
        Err(signal) => {
            close(&mut keeper).await?;
            return Ok(program::signalled(signal.number()));
        }
    };
    match program {
        Some(program) => run_program(&program, &registered, &mut keeper, &mut signals).await,
        None => {
            let sentence = sentence(&keeper.name(), &registered);
            let told = tell(&sentence, form, &registered, output);
            if told.is_ok() {
                until_signalled(&mut keeper, &mut signals).await;
            }
            close(&mut keeper).await.and(told)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Registers on a lease that nobody renews.
async fn once(
    args: &RegisterArgs,
    instance: Instance,
    form: Form,
    client: &Client,
    output: &mut Output,
) -> Result<(), Error> {
    let request = RegisterRequest {
        instance: Some(instance.clone()),
        session_id: args.session.clone(),
        lease_id: 0,
        ttl: args.ttl,
        takeover: args.takeover,
    };
    let call = async |channel| RegistryClient::new(channel).register(request.clone()).await;
    let registered = client.write(call).await?.into_inner();
    let name = full_name(&Instance { id: registered.instance_id.clone(), ..instance });
    tell(&sentence(&name, &registered), form, &registered, output)
}

/// Runs the program while it is registered.
async fn run_program(
    program: &Program,
    registered: &RegisterResponse,
    keeper: &mut Keeper,
    signals: &mut Signals,
) -> Result<ExitCode, Error> {
    let mut child = match program.start() {
        Ok(child) => child,
        Err(error) => {
            let _ = keeper.close().await;
            return Err(error);
        }
    };
    // Standard output is the program's.
    remark(&format!("quorate: {}", sentence(&keeper.name(), registered)));
    let status = program::watch_over(&mut child, keeper, signals).await;
    let closed = keeper.close().await;
    let status = status?;
    if let Err(error) = closed {
        // How the program ended is what counts for whoever waits for it.
        remark(&format!("quorate: {}", left(keeper, &error)));
    }
    Ok(program::exit_code(status))
}

/// Keeps the registration until it is time to end.
async fn until_signalled(keeper: &mut Keeper, signals: &mut Signals) {
    let name = keeper.name();
    tokio::select! {
        never = keeper.keep(|what| remark(&format!("quorate: {name} {what}"))) => match never {},
        _ = signals.next_end() => {}
    }
}

async fn close(keeper: &mut Keeper) -> Result<(), Error> {
    let closed = keeper.close().await;
    closed.map_err(|error| Error::failed(left(keeper, &error)))
}

/// Says what becomes of an instance that could not be removed.
fn left(keeper: &Keeper, error: &Error) -> String {
    format!("{} is not deregistered, and expires within {:?}: {error}", keeper.name(), keeper.ttl())
}

fn sentence(name: &str, registered: &RegisterResponse) -> String {
    let done = if registered.changed { "registered" } else { "is registered already" };
    let RegisterResponse { revision, lease_id, ttl, .. } = registered;
    format!("{name} {done} at revision {revision}, on lease {lease_id:016x} with TTL({ttl}s)")
}

/// An id that no other session has: two numbers of 64 bits that the system draws.
fn new_session() -> String {
    let draw = || RandomState::new().hash_one(process::id());
    format!("cli-{:016x}{:016x}", draw(), draw())
}

impl RegisterArgs {
    fn instance(&self) -> Result<Instance, Error> {
        let wrong = |flag: &str| {
            let flag = flag.to_owned();
            move |error: String| Error::input(format!("{flag}: {error}"))
        };
        let (address, port) = self.address.clone();
        let mut instance = Instance {
            namespace: self.service.namespace.clone(),
            service: self.service.name.clone(),
            id: self.id.clone(),
            address,
            port: port.into(),
            ports: to_map(&self.ports).map_err(wrong("--port"))?,
            version: self.version.clone(),
            zone: self.zone.clone(),
            weight: self.weight,
            tags: self.tags.clone(),
            metadata: to_map(&self.metadata).map_err(wrong("--meta"))?,
            ..Instance::default()
        };
        if instance.id.is_empty() {
            instance.id = target(&instance);
        }
        Ok(instance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two processes never share a session by accident.
    #[test]
    fn sessions_have_ids_of_their_own() {
        let [one, other] = [new_session(), new_session()];
        assert_ne!(one, other);
        assert!(one.starts_with("cli-") && one.len() == 36, "{one}");
    }
}
