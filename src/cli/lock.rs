//! `quorate lock`: holds a lock while a program runs, or until it is told to stop.

use std::{ffi::OsString, process::ExitCode};

use bytes::Bytes;
use clap::Args;
use tokio::{process::Command, select};

use super::{
    Client, Error,
    client::RESPONSE_BYTES_MAX,
    print::{Pairs, Printer},
    service::exit_code,
    session::{Ending, Session, wait_for},
};
use crate::proto::{
    etcdserverpb::{RangeRequest, kv_client::KvClient},
    v3lockpb::{LockRequest, UnlockRequest, lock_client::LockClient},
};

#[derive(Args, Clone, Debug)]
pub(super) struct LockArgs {
    /// Name of the lock
    name: OsString,
    /// A program that is run while the lock is held, with its arguments; it is killed when the lock is lost
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<OsString>,
    /// Seconds after which the lock of a process that is gone is free
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    ttl: i64,
}

/// Waits for the lock, and holds it.
pub(super) async fn run(
    args: LockArgs,
    client: &Client,
    printer: &mut Printer,
) -> Result<ExitCode, Error> {
    let mut ending = Ending::new()?;
    let session = Session::open(client, args.ttl).await?;
    let result = select! {
        lost = session.lost(client) => Err(lost),
        held = hold(&args, session.lease, &mut ending, client, printer) => held,
    };
    session.close(client).await;
    result
}

async fn hold(
    args: &LockArgs,
    lease: i64,
    ending: &mut Ending,
    client: &Client,
    printer: &mut Printer,
) -> Result<ExitCode, Error> {
    let name = Bytes::copy_from_slice(args.name.as_encoded_bytes());
    let lock = async |channel| {
        LockClient::new(channel).lock(LockRequest { name: name.clone(), lease }).await
    };
    let mut attempt = 0;
    let locked = select! {
        () = ending.asked() => return Err(Error::failed("context canceled")),
        locked = wait_for(client, &mut attempt, lock) => locked?,
    };
    let code = match args.command.split_first() {
        Some((program, arguments)) => {
            let revision = locked.header.as_ref().map_or(0, |header| header.revision);
            let mut command = Command::new(program);
            command
                .args(arguments)
                // Without the lock it must not go on.
                .kill_on_drop(true)
                .env("ETCD_LOCK_KEY", String::from_utf8_lossy(&locked.key).as_ref())
                .env("ETCD_LOCK_REV", revision.to_string());
            exit_code(command.status().await?)
        }
        None => {
            let request = RangeRequest { key: locked.key.clone(), ..RangeRequest::default() };
            let call = async |channel| {
                let mut kv = KvClient::new(channel).max_decoding_message_size(RESPONSE_BYTES_MAX);
                kv.range(request.clone()).await
            };
            let pair = client.read(call).await?.into_inner();
            if pair.kvs.is_empty() {
                return Err(Error::failed("lock lost on init"));
            }
            printer.show(&Pairs(pair))?;
            ending.asked().await;
            ExitCode::SUCCESS
        }
    };
    let request = UnlockRequest { key: locked.key };
    let call = async |channel| LockClient::new(channel).unlock(request.clone()).await;
    client.write(call).await?;
    Ok(code)
}
