//! Asking who the members of a cluster are, for whoever is not one of them yet.

use std::time::Duration;

use tokio::time::timeout;

use super::{link::chain, wire};
use crate::{
    node::ports::Membership,
    proto::internal::peer_client::PeerClient,
    tls::{Dialer, Way},
    types::ClusterId,
};

/// The members of a cluster, as one of them knows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterMembers {
    /// The cluster.
    pub cluster: ClusterId,
    /// Its members.
    pub membership: Membership,
}

/// Asks whoever listens at `url` for the members of its cluster, which must be `cluster` when that is
/// known.
///
/// # Errors
///
/// Why there is no answer, in words for an operator.
pub async fn membership_at(
    dialer: &Dialer,
    url: &str,
    cluster: Option<ClusterId>,
    patience: Duration,
) -> Result<ClusterMembers, String> {
    let ask = async {
        let way = Way::to(url, dialer)?
            .with(|endpoint| endpoint.connect_timeout(patience).tcp_nodelay(true));
        let channel = way.connect().await.map_err(|error| chain(&error))?;
        let answer = PeerClient::new(channel).members(wire::members_request(cluster)).await;
        answer.map(|answer| wire::cluster_members(answer.into_inner())).map_err(|status| {
            if status.message().is_empty() { chain(&status) } else { status.message().to_owned() }
        })
    };
    let within = || format!("no answer within {} ms", patience.as_millis());
    timeout(patience, ask).await.unwrap_or_else(|_| Err(within()))
}
