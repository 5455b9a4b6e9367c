//! `quorate member`: who belongs to the cluster, and how that changes.

use std::{fmt::Display, num::IntErrorKind};

use clap::{Args, Subcommand, ValueEnum};

use super::{Client, Error, Output, error::Exit};
use crate::proto::etcdserverpb::{
    Member, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberPromoteRequest,
    MemberRemoveRequest, MemberUpdateRequest, ResponseHeader, cluster_client::ClusterClient,
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
    output: &mut Output,
) -> Result<(), Error> {
    match command {
        MemberCommand::List { consistency } => {
            let linearizable = matches!(consistency, Consistency::Linearizable);
            for member in members(client, linearizable).await? {
                output.line(line(&member))?;
            }
            Ok(())
        }
        MemberCommand::Add(args) => add(args, client, output).await,
        MemberCommand::Remove(id) => {
            let id = id.parse()?;
            let request = MemberRemoveRequest { id };
            let call = async |channel| ClusterClient::new(channel).member_remove(request).await;
            let header = client.write(call).await?.into_inner().header;
            output.line(done(id, "removed from", header))
        }
        MemberCommand::Update { id, peer_urls } => {
            let id = id.parse()?;
            let request = MemberUpdateRequest { id, peer_ur_ls: urls(peer_urls)? };
            let call =
                async |channel| ClusterClient::new(channel).member_update(request.clone()).await;
            let header = client.write(call).await?.into_inner().header;
            output.line(done(id, "updated in", header))
        }
        MemberCommand::Promote(id) => {
            let id = id.parse()?;
            let request = MemberPromoteRequest { id };
            let call = async |channel| ClusterClient::new(channel).member_promote(request).await;
            let header = client.write(call).await?.into_inner().header;
            output.line(done(id, "promoted in", header))
        }
    }
}

/// Asks for the members.
pub(super) async fn members(client: &Client, linearizable: bool) -> Result<Vec<Member>, Error> {
    let request = MemberListRequest { linearizable };
    let call = async |channel| ClusterClient::new(channel).member_list(request).await;
    Ok(client.read(call).await?.into_inner().members)
}

/// Adds a member, and shows the settings to start it with, as a shell could read them.
async fn add(args: &AddArgs, client: &Client, output: &mut Output) -> Result<(), Error> {
    let name = args.name()?;
    let request = MemberAddRequest { peer_ur_ls: urls(&args.peer_urls)?, is_learner: args.learner };
    let call = async |channel| ClusterClient::new(channel).member_add(request.clone()).await;
    let added = client.write(call).await?.into_inner();
    output.text(added_text(name, &args.peer_urls, &added).as_bytes())
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
    /// The id, or etcdctl's words for why it is none.
    fn parse(&self) -> Result<u64, Error> {
        let [text] = self.ids.as_slice() else { return Err(usage("member ID is not provided")) };
        // A sign is no part of an id, although a number may have one.
        let digits = if text.starts_with('+') { "" } else { text.as_str() };
        u64::from_str_radix(digits, 16).map_err(|error| {
            let reason = if *error.kind() == IntErrorKind::PosOverflow {
                "value out of range"
            } else {
                "invalid syntax"
            };
            usage(format!(
                "bad member ID arg (strconv.ParseUint: parsing {text:?}: {reason}), expecting ID in Hex"
            ))
        })
    }
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

fn done(id: u64, what: &str, header: Option<ResponseHeader>) -> String {
    format!("Member {id:16x} {what} cluster {:16x}", header.unwrap_or_default().cluster_id)
}

fn added_text(name: &str, peer_urls: &str, added: &MemberAddResponse) -> String {
    let member = added.member.clone().unwrap_or_default();
    let what = if member.is_learner { "added as learner to" } else { "added to" };
    let first = done(member.id, what, added.header);
    let mut cluster = Vec::new();
    for other in &added.members {
        let name = if other.id == member.id { name } else { &other.name };
        cluster.extend(other.peer_ur_ls.iter().map(|url| format!("{name}={url}")));
    }
    let cluster = cluster.join(",");
    format!(
        "{first}\n\n\
         ETCD_NAME={name:?}\n\
         ETCD_INITIAL_CLUSTER={cluster:?}\n\
         ETCD_INITIAL_ADVERTISE_PEER_URLS={peer_urls:?}\n\
         ETCD_INITIAL_CLUSTER_STATE=\"existing\"\n"
    )
}

fn line(member: &Member) -> String {
    let started = if member.name.is_empty() { "unstarted" } else { "started" };
    format!(
        "{:x}, {started}, {}, {}, {}, {}",
        member.id,
        member.name,
        member.peer_ur_ls.join(","),
        member.client_ur_ls.join(","),
        member.is_learner,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In etcdctl's words.
    #[test]
    fn a_member_reads_as_etcdctls() {
        let member = Member {
            id: 0xce2a_822c_ea30_bfca,
            name: "n1".to_owned(),
            peer_ur_ls: vec!["http://a:1".to_owned(), "http://a:2".to_owned()],
            client_ur_ls: vec!["http://a:3".to_owned()],
            is_learner: false,
        };
        assert_eq!(
            line(&member),
            "ce2a822cea30bfca, started, n1, http://a:1,http://a:2, http://a:3, false"
        );
        assert_eq!(line(&Member { id: 1, ..Member::default() }), "1, unstarted, , , , false");
    }

    /// A new member is started with what is shown: all members under their names, the new one too.
    #[test]
    fn an_added_member_is_shown_with_its_settings() {
        let member = |id, name: &str, urls: &[&str]| Member {
            id,
            name: name.to_owned(),
            peer_ur_ls: urls.iter().map(|url| (*url).to_owned()).collect(),
            is_learner: id == 0xabc,
            ..Member::default()
        };
        let new = member(0xabc, "", &["http://b:1", "http://b:2"]);
        let added = MemberAddResponse {
            header: Some(ResponseHeader { cluster_id: 7, ..ResponseHeader::default() }),
            member: Some(new.clone()),
            members: vec![new, member(0xffff_0000_ffff_0000, "n1", &["http://a:1"])],
        };
        assert_eq!(
            added_text("n2", "http://b:2,http://b:1", &added),
            "Member              abc added as learner to cluster                7\n\
             \n\
             ETCD_NAME=\"n2\"\n\
             ETCD_INITIAL_CLUSTER=\"n2=http://b:1,n2=http://b:2,n1=http://a:1\"\n\
             ETCD_INITIAL_ADVERTISE_PEER_URLS=\"http://b:2,http://b:1\"\n\
             ETCD_INITIAL_CLUSTER_STATE=\"existing\"\n"
        );
    }

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
