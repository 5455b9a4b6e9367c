//! `Resolve`: the instances of a service, put together from bytes.
//!
//! Who asks for all that can be called, which most do, is answered with bytes that were encoded
//! once for each change of the service, behind a head with the revision.

use bytes::{BufMut, Bytes};
use prost::{Message as _, encoding::message};
use tonic::Status;

use crate::{
    api::{
        SENT_BYTES_MAX,
        raw::{Message, PREFIX_BYTES},
        status,
    },
    node::Handle,
    proto::registry::{ResolveRequest, ResolveResponse},
    registry::{At, Error, Instance, Resolved, Selector, Service, Views},
};

use super::{asked, convert};

/// The field of instances in an answer.
const INSTANCES: u32 = 2;

/// The answer to a request, as it is sent.
pub(super) async fn resolve(
    node: &Handle,
    views: &Views,
    request: ResolveRequest,
) -> Result<Message, Status> {
    let asked = asked::resolve(request).map_err(status::of_registry)?;
    reach(node, asked.at).await.map_err(status::of_registry)?;
    let resolved = views.resolve(&asked.service, asked.at).await.map_err(status::of_registry)?;
    answer(&resolved, &asked.selector).await
}

/// Has this member come to the revision that is asked for: another may have shown it already.
pub(super) async fn reach(node: &Handle, at: At) -> Result<(), Error> {
    match at {
        At::Revision(revision) if revision > node.revision() => Ok(node.read_barrier().await?),
        At::Revision(_) | At::Here | At::Linearizable => Ok(()),
    }
}

async fn answer(resolved: &Resolved, selector: &Selector) -> Result<Message, Status> {
    let Resolved { revision, service } = resolved;
    let instances = if selector.is_plain() {
        service.encoded(callable).await
    } else {
        encode(selector.of(service))
    };
    let head = ResolveResponse { revision: revision.0, instances: Vec::new() };
    let len = head.encoded_len() + instances.len();
    let prefix_len = u32::try_from(len)
        .ok()
        .filter(|_| len <= SENT_BYTES_MAX)
        .ok_or_else(|| status::answer_too_large(len, SENT_BYTES_MAX))?;
    let mut front = Vec::with_capacity(PREFIX_BYTES + head.encoded_len());
    front.put_u8(0); // not compressed
    front.put_u32(prefix_len);
    head.encode(&mut front).expect("a vector has room for everything");
    let pieces = [front.into(), instances];
    Ok(Message { pieces: pieces.into(), slot: None })
}

/// The instances of a service that can be called.
fn callable(service: &Service) -> Bytes {
    encode(service.instances.values().filter(|it| it.is_callable()))
}

/// Instances as they stand in an answer.
fn encode<'a>(instances: impl IntoIterator<Item = impl AsRef<Instance> + 'a>) -> Bytes {
    let mut bytes = Vec::new();
    for instance in instances {
        message::encode(INSTANCES, &convert::answer(instance.as_ref()), &mut bytes);
    }
    bytes.into()
}
