//! `Downgrade`: whether a cluster could go back to an earlier version.
//!
//! A target is checked by etcd's rules, against the version of etcd's API that the members have
//! agreed on. Beginning a downgrade is refused: in etcd it lets the members be replaced by programs of
//! the version before, which read what these have written. There is no program before this one that
//! could, so to answer that it has begun would be a lie. To cancel what never began succeeds, as in etcd.

use tonic::Status;

use crate::{
    api::{
        convert::{self, Invalid},
        header::header,
        status, version,
    },
    node::Handle,
    proto::etcdserverpb::{
        DowngradeRequest, DowngradeResponse, downgrade_request::DowngradeAction,
    },
    state::Level,
};

/// Answers a request about a downgrade.
pub(super) async fn answer(
    node: &Handle,
    request: DowngradeRequest,
) -> Result<DowngradeResponse, Status> {
    match DowngradeAction::try_from(request.action) {
        Ok(DowngradeAction::Validate) => check(node, &request.version).await?,
        Ok(DowngradeAction::Enable) => {
            check(node, &request.version).await?;
            return Err(status::no_downgrade());
        }
        Ok(DowngradeAction::Cancel) => {}
        Err(_) => return Err(status::unknown_downgrade_action()),
    }
    Ok(DowngradeResponse {
        header: Some(header(node, node.revision())),
        version: agreed(node.cluster_version()).unwrap_or_default().to_owned(),
    })
}

async fn check(node: &Handle, target: &str) -> Result<(), Status> {
    let target = convert::maintenance::cluster_version(target).map_err(status::of_invalid)?;
    let Some(agreed) = agreed(node.cluster_version()) else {
        return Err(status::no_cluster_version());
    };
    // What others have agreed on meanwhile counts.
    node.read_barrier().await.map_err(status::of_node)?;
    let (major, minor) =
        convert::maintenance::cluster_version(agreed).map_err(status::of_invalid)?;
    if target == (major, minor - 1) {
        Ok(())
    } else {
        Err(status::of_invalid(Invalid::DowngradeTarget))
    }
}

/// The version of etcd's API that the members have agreed on: its first two numbers.
fn agreed(level: Option<Level>) -> Option<&'static str> {
    let whole = version::cluster(Some(level?));
    whole.rsplit_once('.').map(|(version, _)| version)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The version is told without its third number, once there is one.
    #[test]
    fn the_agreed_version_has_two_numbers() {
        assert_eq!(agreed(None), None);
        assert_eq!(agreed(Some(Level::FIRST)), Some("3.7"));
    }
}
