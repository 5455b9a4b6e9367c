//! A member tells the cluster its name and where clients reach it.

use std::time::Duration;

use tokio::time::sleep;
use tracing::{info, warn};

use crate::{
    config::{Config, Url},
    node::{self, Error, Handle, RequestError},
    state::{Command, Member, member},
    types::Identity,
};

/// The pause after an attempt that failed: by then there may be a leader.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Publishes until it has worked, or the member stops. Returns at once when nothing has changed
/// since the last start, but not before a leader is known.
pub(super) async fn publish(node: &Handle, config: &Config) {
    let client_urls: Vec<String> =
        config.advertise_client_urls.iter().map(Url::to_string).collect();
    let mut told = None;
    let mut leader = node.leadership();
    loop {
        // Without one the attempt would only wait for it, and longer than it takes.
        if leader.wait_for(Option::is_some).await.is_err() {
            return;
        }
        match attempt(node, &config.name, &client_urls).await {
            Ok(()) => return,
            Err(RequestError::Node(Error::Stopped | Error::Fault(_))) => return,
            Err(error) => {
                let reason = error.to_string();
                if told.as_ref() != Some(&reason) {
                    warn!(member = %node.member_id(), reason, "not published to the cluster yet");
                    told = Some(reason);
                }
            }
        }
        sleep(RETRY_AFTER).await;
    }
}

async fn attempt(node: &Handle, name: &str, client_urls: &[String]) -> Result<(), RequestError> {
    // What was published last may not be applied here yet.
    node.read_barrier().await?;
    let id = node.member_id();
    let view = node.view()?;
    let record = member::find(&*view, id).map_err(Error::Fault)?;
    drop(view);
    let level = node::understood();
    let is_known =
        |it: Member| (&*it.name, &*it.client_urls, it.level) == (name, client_urls, level);
    if record.is_some_and(is_known) {
        return Ok(());
    }
    let (name, client_urls) = (name.to_owned(), client_urls.to_vec());
    info!(member = %id, name, ?client_urls, %level, "publishing to the cluster");
    let publish = Command::PublishMember { id, name, client_urls, level };
    node.propose(Identity::anonymous(), publish).await?;
    Ok(())
}
