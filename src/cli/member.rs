//! `quorate member`: who belongs to the cluster, and how that changes.

use std::{fmt::Display, num::IntErrorKind};

use clap::{Args, Subcommand, ValueEnum};

use super::{
    Client, Error,
    error::Exit,
    print::{Added, Changed, Printer},
};
use crate::proto::etcdserverpb::{
    Member, MemberAddRequest, MemberListRequest, MemberListResponse, MemberPromoteRequest,
    MemberRemoveRequest, MemberUpdateRequest, cluster_client::ClusterClient,
};

#[derive(Subcommand, Clone, Debug)]
pub(super) enum MemberCommand {
    /// Show all members
    List {
        /// Linearizable (l), or serializable (s): whatever the member knows
        #[arg(long, value_enum, default_value_t = Consistency::Linearizable)]
        consistency: Consistency,
    },
    /// Add a member, which is then to be started with the settings shown
    Add(AddArgs),
    /// Remove a member
    Remove(IdArgs),
    /// Change under which peer URLs the others reach a member
    Update {
        #[command(flatten)]
        id: IdArgs,
        /// Peer URLs of the member, separated by commas
        #[arg(long, value_name = "URLS", default_value = "", hide_default_value = true)]
        peer_urls: String,
    },
    /// Give a learner a vote
    Promote(IdArgs),
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Consistency {
    #[value(name = "l")]
    Linearizable,
    #[value(name = "s")]
    Serializable,
}

#[derive(Args, Clone, Debug)]
pub(super) struct AddArgs {
    /// Name of the new member
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Peer URLs of the new member, separated by commas
    #[arg(long, value_name = "URLS", default_value = "", hide_default_value = true)]
    peer_urls: String,
    /// Without a vote
    #[arg(long)]
    learner: bool,
}

#[derive(Args, Clone, Debug)]
pub(super) struct IdArgs {
    /// Id of the member, in hex
    #[arg(value_name = "ID")]
    ids: Vec<String>,
}

pub(super) async fn run(
    command: &MemberCommand,
    client: &Client,
    printer: &mut Printer,
) -> Result<(), Error> {
    match command {
        MemberCommand::List { consistency } => {
            let linearizable = matches!(consistency, Consistency::Linearizable);
            printer.show(&list(client, linearizable).await?)
        }
        MemberCommand::Add(args) => add(args, client, printer).await,
        MemberCommand::Remove(id) => {
            let id = id.parse()?;
            let request = MemberRemoveRequest { id };
            let call = async |channel| ClusterClient::new(channel).member_remove(request).await;
            printer.show(&Changed::Removed(id, client.write(call).await?.into_inner()))
        }
        MemberCommand::Update { id, peer_urls } => {
            let id = id.parse()?;
            let request = MemberUpdateRequest { id, peer_ur_ls: urls(peer_urls)? };
            let call =
                async |channel| ClusterClient::new(channel).member_update(request.clone()).await;
            printer.show(&Changed::Updated(id, client.write(call).await?.into_inner()))
        }
        MemberCommand::Promote(id) => {
            let id = id.parse()?;
            let request = MemberPromoteRequest { id };
            let call = async |channel| ClusterClient::new(channel).member_promote(request).await;
            printer.show(&Changed::Promoted(id, client.write(call).await?.into_inner()))
        }
    }
}

/// Asks for the members.
pub(super) async fn members(client: &Client, linearizable: bool) -> Result<Vec<Member>, Error> {
    Ok(list(client, linearizable).await?.members)
}

async fn list(client: &Client, linearizable: bool) -> Result<MemberListResponse, Error> {
    let request = MemberListRequest { linearizable };
    let call = async |channel| ClusterClient::new(channel).member_list(request).await;
    Ok(client.read(call).await?.into_inner())
}

/// Adds a member, and shows the settings to start it with, as a shell could read them.
async fn add(args: &AddArgs, client: &Client, printer: &mut Printer) -> Result<(), Error> {
    let (name, peer_urls) = (args.name()?, args.peer_urls.as_str());
    let request = MemberAddRequest { peer_ur_ls: urls(peer_urls)?, is_learner: args.learner };
    let call = async |channel| ClusterClient::new(channel).member_add(request.clone()).await;
    let response = client.write(call).await?.into_inner();
    printer.show(&Added { name, peer_urls, response })
}

impl AddArgs {
    fn name(&self) -> Result<&str, Error> {
        match self.names.as_slice() {
            [] => Err(usage("member name not provided")),
            [name] => Ok(name),
            names => {
                let mut text = "too many arguments".to_owned();
                for url in names.iter().filter(|it| it.to_lowercase().starts_with("http")) {
                    text = format!("{text}, did you mean --peer-urls={url}");
                }
                Err(usage(text))
            }
        }
    }
}

impl IdArgs {
    /// The id of the member that is to lead, or etcdctl's words for why it is none.
    pub(super) fn parse_bare(&self) -> Result<u64, Error> {
        let [text] = self.ids.as_slice() else {
            return Err(usage("move-leader command needs 1 argument"));
        };
        id(text).map_err(usage)
    }

    /// The id, or etcdctl's words for why it is none.
    pub(super) fn parse(&self) -> Result<u64, Error> {
        let [text] = self.ids.as_slice() else { return Err(usage("member ID is not provided")) };
        id(text)
            .map_err(|reason| usage(format!("bad member ID arg ({reason}), expecting ID in Hex")))
    }
}

/// An id in hex, or Go's words for why it is none.
fn id(text: &str) -> Result<u64, String> {
    // A sign is no part of an id, although a number may have one.
    let digits = if text.starts_with('+') { "" } else { text };
    u64::from_str_radix(digits, 16).map_err(|error| {
        let reason = if *error.kind() == IntErrorKind::PosOverflow {
            "value out of range"
        } else {
            "invalid syntax"
        };
        format!("strconv.ParseUint: parsing {text:?}: {reason}")
    })
}

fn usage(message: impl Display) -> Error {
    Error::new(Exit::Usage, message)
}

/// The URLs of a list.
fn urls(list: &str) -> Result<Vec<String>, Error> {
    if list.is_empty() {
        return Err(usage("member peer urls not provided"));
    }
    Ok(list.split(',').map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is no id is refused in etcdctl's words.
    #[test]
    fn ids_are_read_as_hex() {
        let parse = |words: &[&str]| {
            let ids = words.iter().map(|word| (*word).to_owned()).collect();
            IdArgs { ids }.parse().map_err(|error| error.to_string())
        };
        let bad = |text: &str, reason: &str| {
            Err(format!(
                "bad member ID arg (strconv.ParseUint: parsing \"{text}\": {reason}), expecting ID in Hex"
            ))
        };
        assert_eq!(parse(&["8e9e05c52164694d"]), Ok(0x8e9e_05c5_2164_694d));
        assert_eq!(parse(&["xyz"]), bad("xyz", "invalid syntax"));
        assert_eq!(parse(&["+1"]), bad("+1", "invalid syntax"));
        assert_eq!(parse(&["1ffffffffffffffff"]), bad("1ffffffffffffffff", "value out of range"));
        assert_eq!(parse(&[]), Err("member ID is not provided".to_owned()));
        assert_eq!(parse(&["1", "2"]), Err("member ID is not provided".to_owned()));
    }
}
