//! What both examples share: the command line, how they are told to end, and the stubs.

use std::{fmt::Display, time::Duration};

use clap::{Parser, ValueEnum};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// The stubs that tonic made of registry.proto.
pub mod registry {
    tonic::include_proto!("quorate.registry.v1");
}

pub const RETRY_PAUSE: Duration = Duration::from_millis(200);

#[derive(Parser)]
pub struct Given {
    pub command: Command,
    /// Members, host:port,...
    #[arg(long, value_delimiter = ',', default_value = "127.0.0.1:2379")]
    pub endpoints: Vec<String>,
    #[arg(long, default_value = "default")]
    pub namespace: String,
    #[arg(long)]
    pub service: String,
    /// Of the instance; its address when left out
    #[arg(long)]
    id: Option<String>,
    /// host:port where the instance is called
    #[arg(long, required_if_eq("command", "register"), default_value = "")]
    pub addr: String,
    /// Seconds that the instance outlives its process
    #[arg(long, default_value_t = 15)]
    pub ttl: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Command {
    Register,
    Resolve,
    Watch,
}

impl Given {
    pub fn id(&self) -> &str {
        self.id.as_deref().unwrap_or(&self.addr)
    }

    /// Host and port of `--addr`.
    pub fn host_and_port(&self) -> Result<(String, u16), String> {
        let parts =
            self.addr.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
        let (host, port) =
            parts.ok_or_else(|| format!("--addr has to be host:port, not {:?}", self.addr))?;
        Ok((host.trim_matches(['[', ']']).to_owned(), port))
    }

    /// A member that does not answer in this time is left: there is still some to ask another one.
    pub fn patience(&self) -> Duration {
        (Duration::from_secs(self.ttl.into()) / 2).max(Duration::from_secs(1))
    }
}

/// Becomes true when the program is told to end.
pub fn end_on_signals() -> std::io::Result<watch::Receiver<bool>> {
    let (sender, receiver) = watch::channel(false);
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        sender.send_replace(true);
        sender.closed().await;
    });
    Ok(receiver)
}

/// host:port, or a dash when there is no host.
pub fn join(host: &str, port: u32) -> String {
    match host {
        "" => "-".to_owned(),
        host if host.contains(':') => format!("[{host}]:{port}"),
        host => format!("{host}:{port}"),
    }
}

pub fn complain(doing: &str, error: impl Display) {
    eprintln!("{doing}: {error}");
}
