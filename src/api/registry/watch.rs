//! `Watch`: a snapshot, then everything that happens.
//!
//! A stream has a cursor of its own and makes an answer when there is room for it. What is more than
//! an answer holds comes in several, `more` on all but the last: whoever has read the last one has
//! been told everything up to its revision.

use std::{sync::Arc, vec};

use futures_util::{Stream, stream};
use prost::Message;
use tonic::Status;

use crate::{
    api::status,
    proto::registry::{
        Bookmark, Changes, Snapshot, WatchRequest, WatchResponse, watch_response::Kind,
    },
    registry::{Change, Error, Follow, Snapshot as Instances, Told, Views},
    types::{Revision, limits::REGISTRY_ANSWER_BYTES},
};

use super::{asked, convert, shown};

/// The answers to a request.
pub(super) async fn watch(
    views: &Arc<Views>,
    request: &WatchRequest,
) -> Result<impl Stream<Item = Result<WatchResponse, Status>> + Send + 'static, Error> {
    let (scope, after) = asked::watch(request)?;
    let follow = views.follow(scope, after).await?;
    Ok(stream::unfold(Some((follow, None)), |course| async {
        let (mut follow, left) = course?;
        match next(&mut follow, left).await {
            Ok((answer, left)) => Some((Ok(answer), Some((follow, left)))),
            Err(error) => Some((Err(status::of_registry(error)), None)),
        }
    }))
}

/// The next answer, and what is left for the one after it.
async fn next(
    follow: &mut Follow,
    left: Option<Left>,
) -> Result<(WatchResponse, Option<Left>), Error> {
    let left = match left {
        Some(left) => left,
        None => match follow.next().await? {
            Told::Snapshot { revision, reset, instances } => {
                Left { revision, what: What::Snapshot(reset, instances) }
            }
            Told::Changes { revision, changes } => {
                Left { revision, what: What::Changes(changes.into_iter()) }
            }
            Told::Bookmark(revision) => {
                let kind = Some(Kind::Bookmark(Bookmark {}));
                return Ok((WatchResponse { revision: revision.0, more: false, kind }, None));
            }
        },
    };
    left.answer()
}

/// What of a revision was not told yet.
struct Left {
    revision: Revision,
    what: What,
}

enum What {
    /// Whether it is a reset, and the instances.
    Snapshot(bool, Instances),
    Changes(vec::IntoIter<Change>),
}

impl Left {
    /// An answer with as much as it holds, and the rest.
    fn answer(mut self) -> Result<(WatchResponse, Option<Self>), Error> {
        let (kind, more) = match &mut self.what {
            What::Snapshot(reset, rest) => {
                let next = || Ok(rest.take()?.map(|it| convert::answer(&it)));
                let kind = Kind::Snapshot(Snapshot { instances: portion(next)?, reset: *reset });
                (kind, !rest.is_over())
            }
            What::Changes(rest) => {
                let changes = portion(|| Ok(rest.next().map(|it| shown::change(&it))))?;
                (Kind::Changes(Changes { changes }), rest.len() > 0)
            }
        };
        let answer = WatchResponse { revision: self.revision.0, more, kind: Some(kind) };
        Ok((answer, more.then_some(self)))
    }
}

/// As many as an answer holds, which is one at least.
fn portion<M: Message>(
    mut next: impl FnMut() -> Result<Option<M>, Error>,
) -> Result<Vec<M>, Error> {
    let (mut portion, mut bytes) = (Vec::new(), 0);
    while bytes < REGISTRY_ANSWER_BYTES
        && let Some(item) = next()?
    {
        bytes += item.encoded_len();
        portion.push(item);
    }
    Ok(portion)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Instance, InstanceName, Name, ServiceName};

    fn instances(count: usize, zone_bytes: usize) -> Vec<Arc<Instance>> {
        let [namespace, service] = ["a", "b"].map(|text| Name::new(text).unwrap());
        let service = ServiceName { namespace, service };
        let instance = |n: usize| {
            let id = Name::new(&format!("{n:05}")).unwrap();
            let mut instance = Instance::new(InstanceName { service: service.clone(), id });
            instance.zone = "z".repeat(zone_bytes);
            Arc::new(instance)
        };
        (0..count).map(instance).collect()
    }

    fn snapshot(reset: bool, instances: Vec<Arc<Instance>>) -> What {
        What::Snapshot(reset, Instances::of(instances))
    }

    fn answers(what: What) -> Vec<WatchResponse> {
        let (mut answers, mut left) = (Vec::new(), Some(Left { revision: Revision(7), what }));
        while let Some(more) = left {
            let (answer, rest) = more.answer().unwrap();
            answers.push(answer);
            left = rest;
        }
        answers
    }

    /// Everything comes once, in order, in answers of a bounded size; only the last has nothing more.
    #[tokio::test]
    async fn a_large_snapshot_comes_in_pieces() {
        let answers = answers(snapshot(true, instances(2_000, 1_000)));
        let mut ids = Vec::new();
        for (index, answer) in answers.iter().enumerate() {
            assert!(answer.encoded_len() < REGISTRY_ANSWER_BYTES + 2_000);
            assert_eq!((answer.revision, answer.more), (7, index + 1 < answers.len()));
            let Some(Kind::Snapshot(snapshot)) = &answer.kind else { panic!("{answer:?}") };
            assert!(snapshot.reset);
            ids.extend(snapshot.instances.iter().map(|it| it.id.parse::<usize>().unwrap()));
        }
        assert_eq!(answers.len(), 8);
        assert_eq!(ids, (0..2_000).collect::<Vec<_>>());
    }

    /// One that is too large for an answer has one to itself, and an empty snapshot is told, too.
    #[tokio::test]
    async fn each_answer_has_something_unless_there_is_nothing() {
        let large = instances(2, 2 * REGISTRY_ANSWER_BYTES);
        assert_eq!(answers(snapshot(false, large)).len(), 2);
        let empty = answers(snapshot(false, Vec::new()));
        let [WatchResponse { more: false, kind: Some(Kind::Snapshot(_)), .. }] = empty.as_slice()
        else {
            panic!("{empty:?}");
        };
    }

    /// Changes of a revision come in pieces as well.
    #[test]
    fn many_changes_come_in_pieces() {
        let changes: Vec<_> = instances(600, 1_000)
            .into_iter()
            .map(|it| Change { name: it.name.clone(), before: None, after: Some(it), reason: None })
            .collect();
        let answers = answers(What::Changes(changes.into_iter()));
        assert_eq!(answers.iter().map(|it| it.more).collect::<Vec<_>>(), [true, true, false]);
    }
}
