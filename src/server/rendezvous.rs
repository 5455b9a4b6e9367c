//! The initial cluster out of another one: founders that share a token write there who they are.
//!
//! Keys and values are those of etcd's v3 discovery, so that what sets such a token up for etcd does
//! for us: `/_etcd/registry/<token>/_config/size` says how many founders there are, and below
//! `/_etcd/registry/<token>/members/` each writes its name and peer URLs. Those that came first are
//! the cluster. Nothing is waited for in vain but the other founders: who cannot be reached is asked
//! again.

use std::time::Duration;

use tokio::time::sleep;
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};
use tracing::{info, warn};

use crate::{
    config::{Config, InitialMember, Url},
    proto::etcdserverpb::{PutRequest, RangeRequest, RangeResponse, kv_client::KvClient},
    state::member,
};

/// Where etcd keeps what founders tell each other.
const PREFIX: &str = "/_etcd/registry";
/// The pause before the other founders are looked for again.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(200);
/// The pause before somebody is tried again who could not be reached; twice as long each time.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(500);
const TRY_AGAIN_AFTER_MAX: Duration = Duration::from_secs(8);

/// Why another cluster names no initial cluster for this member.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RendezvousError {
    /// Nobody has said how many founders there are.
    #[error("discovery: size key not found: {0}")]
    NoSize(String),
    /// What was said is no number of founders.
    #[error("discovery: size key is bad: {0} is {1:?}")]
    BadSize(String, String),
    /// All founders are there, and this member is none of them.
    #[error("discovery: cluster is full: {0} founders have registered under this token")]
    Full(usize),
    /// A founder wrote what cannot be read.
    #[error("discovery: invalid peer URL: {0:?}")]
    BadMember(String),
}

/// Why a try came to nothing.
enum Failure {
    /// It may come to something another time.
    Unreachable(String),
    Final(RendezvousError),
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::Unreachable(status.message().to_owned())
    }
}

/// Registers this member, and waits for the others.
pub(super) async fn initial_cluster(
    config: &Config,
) -> Result<Vec<InitialMember>, RendezvousError> {
    let mut pause = TRY_AGAIN_AFTER;
    loop {
        match meet(config).await {
            Ok(members) => return Ok(members),
            Err(Failure::Final(error)) => return Err(error),
            Err(Failure::Unreachable(reason)) => {
                let again_in = pause.as_millis();
                warn!(reason, again_in, "discovery service cannot be used: trying again");
            }
        }
        sleep(pause).await;
        pause = TRY_AGAIN_AFTER_MAX.min(pause * 2);
    }
}

async fn meet(config: &Config) -> Result<Vec<InitialMember>, Failure> {
    let mut service = Service::connect(config).await?;
    let (own_key, own_value) = registration(config);
    let size_key = format!("{PREFIX}/{}/_config/size", config.discovery.token);
    let members_prefix = format!("{PREFIX}/{}/members/", config.discovery.token);
    let mut seen = 0;
    loop {
        let size = size(&size_key, &service.range(&size_key, "").await?).map_err(Failure::Final)?;
        let end = after(&members_prefix);
        let mut found = service.range(&members_prefix, &end).await?.kvs;
        found.sort_by_key(|it| it.create_revision);
        let place = found.iter().position(|it| it.key == own_key.as_bytes());
        match place {
            Some(place) if place < size => {}
            None if found.len() < size => {
                service.put(&own_key, &own_value).await?;
                info!(key = own_key, value = own_value, "registered with the discovery service");
                continue;
            }
            Some(_) | None => return Err(Failure::Final(RendezvousError::Full(size))),
        }
        if found.len() >= size {
            let values = found.iter().take(size).map(|it| &*it.value);
            return members(values).map_err(Failure::Final);
        }
        if found.len() != seen {
            seen = found.len();
            info!(size, found = seen, "waiting for peers from discovery service");
        }
        sleep(LOOK_AGAIN_AFTER).await;
    }
}

/// What this member writes, and where.
fn registration(config: &Config) -> (String, String) {
    let urls: Vec<String> = config.initial_advertise_peer_urls.iter().map(Url::to_string).collect();
    let id = member::member_id(&urls, &config.discovery.token);
    let key = format!("{PREFIX}/{}/members/{id}", config.discovery.token);
    let entries: Vec<String> = urls.iter().map(|url| format!("{}={url}", config.name)).collect();
    (key, entries.join(","))
}

/// The end of a range that holds all keys with a prefix that ends in a slash.
fn after(prefix: &str) -> String {
    format!("{}0", prefix.trim_end_matches('/')) // what follows a slash among characters
}

fn size(key: &str, answer: &RangeResponse) -> Result<usize, RendezvousError> {
    let Some(found) = answer.kvs.first() else {
        return Err(RendezvousError::NoSize(key.to_owned()));
    };
    let text = String::from_utf8_lossy(&found.value);
    match text.trim().parse() {
        Ok(size @ 1..) => Ok(size),
        Ok(_) | Err(_) => Err(RendezvousError::BadSize(key.to_owned(), text.into_owned())),
    }
}

/// The founders that values name, each with its URLs.
fn members<'a>(
    values: impl Iterator<Item = &'a [u8]>,
) -> Result<Vec<InitialMember>, RendezvousError> {
    let mut members: Vec<InitialMember> = Vec::new();
    for value in values {
        let text = String::from_utf8_lossy(value);
        for entry in text.trim().split(',') {
            let bad = || RendezvousError::BadMember(entry.to_owned());
            let (name, url) = entry.split_once('=').ok_or_else(bad)?;
            let url = Url::parse(url).map_err(|_| bad())?;
            match members.iter_mut().find(|member| member.name == name) {
                Some(member) => member.peer_urls.push(url),
                None => {
                    members.push(InitialMember { name: name.to_owned(), peer_urls: vec![url] });
                }
            }
        }
    }
    for member in &mut members {
        member.peer_urls.sort_by_key(Url::to_string);
    }
    members.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(members)
}

/// A member of the other cluster.
struct Service(KvClient<Channel>);

impl Service {
    /// The first that can be reached.
    async fn connect(config: &Config) -> Result<Self, Failure> {
        let mut reasons = Vec::new();
        for endpoint in &config.discovery.endpoints {
            let url = format!("http://{endpoint}");
            let connected = match Endpoint::from_shared(url) {
                Ok(url) => {
                    let url = url.connect_timeout(config.discovery.dial_timeout);
                    url.timeout(config.discovery.request_timeout).connect().await
                }
                Err(error) => Err(error),
            };
            match connected {
                Ok(channel) => return Ok(Self(KvClient::new(channel))),
                Err(error) => reasons.push(format!("{endpoint}: {error}")),
            }
        }
        Err(Failure::Unreachable(reasons.join("; ")))
    }

    async fn range(&mut self, key: &str, end: &str) -> Result<RangeResponse, Status> {
        let request = RangeRequest {
            key: key.as_bytes().to_vec().into(),
            range_end: end.as_bytes().to_vec().into(),
            ..RangeRequest::default()
        };
        self.0.range(request).await.map(tonic::Response::into_inner)
    }

    async fn put(&mut self, key: &str, value: &str) -> Result<(), Status> {
        let request = PutRequest {
            key: key.as_bytes().to_vec().into(),
            value: value.as_bytes().to_vec().into(),
            ..PutRequest::default()
        };
        self.0.put(request).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of several founders, and of one with several URLs, are put together by name.
    #[test]
    fn members_are_read() {
        let values = ["b=http://b:1,b=http://a:1\n", "a=http://c:1"];
        let found = members(values.iter().map(|value| value.as_bytes())).unwrap();
        let text = |it: &InitialMember| {
            let urls: Vec<String> = it.peer_urls.iter().map(Url::to_string).collect();
            format!("{} {}", it.name, urls.join(" "))
        };
        let texts: Vec<String> = found.iter().map(text).collect();
        assert_eq!(texts, ["a http://c:1", "b http://a:1 http://b:1"]);

        let bad = members([b"nonsense".as_slice()].into_iter()).unwrap_err().to_string();
        assert_eq!(bad, "discovery: invalid peer URL: \"nonsense\"");
    }

    /// The range of a prefix ends behind its last key.
    #[test]
    fn a_prefix_has_an_end() {
        assert_eq!(after("/a/"), "/a0");
        assert!("/a/~" < after("/a/").as_str());
    }
}
