//! `quorate member`: who belongs to the cluster.

use clap::{Subcommand, ValueEnum};

use super::{Client, Error, Output};
use crate::proto::etcdserverpb::{Member, MemberListRequest, cluster_client::ClusterClient};

#[derive(Subcommand, Clone, Debug)]
pub(super) enum MemberCommand {
    /// Show all members
    List {
        /// Linearizable (l), or serializable (s): whatever the member knows
        #[arg(long, value_enum, default_value_t = Consistency::Linearizable)]
        consistency: Consistency,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Consistency {
    #[value(name = "l")]
    Linearizable,
    #[value(name = "s")]
    Serializable,
}

pub(super) async fn run(
    command: &MemberCommand,
    client: &Client,
    output: &mut Output,
) -> Result<(), Error> {
    let MemberCommand::List { consistency } = command;
    for member in members(client, matches!(consistency, Consistency::Linearizable)).await? {
        output.line(line(&member))?;
    }
    Ok(())
}

/// Asks for the members.
pub(super) async fn members(client: &Client, linearizable: bool) -> Result<Vec<Member>, Error> {
    let request = MemberListRequest { linearizable };
    let call = async |channel| ClusterClient::new(channel).member_list(request).await;
    Ok(client.read(call).await?.into_inner().members)
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
}
