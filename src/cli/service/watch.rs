//! `watch`: a line for each instance that comes, goes or changes, until the command is stopped.
//!
//! It begins with the instances that are there, as if they came. After a break it goes on after the
//! last revision that was shown, on the next endpoint, so that nothing is missed and nothing shown
//! twice. When that history is gone, what has changed meanwhile is found by comparing, and a DOWN has
//! no reason then.

use std::{collections::BTreeMap, time::Duration};

use clap::Args;
use tokio::time::sleep;
use tonic::{Status, Streaming, transport::Channel};

use super::{
    form::{Form, json, printable},
    instance::{full_name, namespace_or_default, target},
    stream::is_transient,
};
use crate::{
    cli::{Client, Error, Output, client::RESPONSE_BYTES_MAX},
    proto::registry::{
        Change, Instance, WatchRequest, WatchResponse,
        change::{Kind, Reason},
        registry_client::RegistryClient,
        watch_response,
    },
};

/// The pause before another endpoint is tried, so that a cluster that is down is not flooded.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

#[derive(Args, Clone, Debug)]
pub(super) struct WatchArgs {
    /// Name of the service; all of the namespace without it
    #[arg(default_value = "", hide_default_value = true)]
    name: String,
    /// Namespace; without it, that of a service is `default`, and else all are meant
    #[arg(long, default_value = "", hide_default_value = true)]
    namespace: String,
    /// Go on after this revision, instead of with what is there
    #[arg(long, value_name = "REVISION", default_value_t = 0, hide_default_value = true)]
    rev: i64,
}

/// Shows changes until the process is stopped, or the registry will not tell them.
pub(super) async fn run(
    args: WatchArgs,
    form: Form,
    client: &Client,
    output: &mut Output,
) -> Result<(), Error> {
    let namespace = match (args.namespace.as_str(), args.name.as_str()) {
        ("", "") => "",
        (namespace, _) => namespace_or_default(namespace),
    };
    let request =
        WatchRequest { namespace: namespace.to_owned(), service: args.name, revision: args.rev };
    let mut watch = Watch { request, seen: Seen::default() };
    let mut attempt: usize = 0;
    loop {
        match client.connect(attempt).await {
            Ok(channel) => watch.follow(channel, form, output).await?,
            Err(error) if attempt == 0 => return Err(error),
            // Once it has begun, a watch outlives a cluster that is down for a while.
            Err(_) => {}
        }
        attempt = attempt.wrapping_add(1);
        sleep(RETRY_PAUSE).await;
    }
}

/// What is watched, and how far it has come.
struct Watch {
    request: WatchRequest,
    seen: Seen,
}

impl Watch {
    /// Shows changes until the stream breaks, which is no error.
    async fn follow(
        &mut self,
        channel: Channel,
        form: Form,
        output: &mut Output,
    ) -> Result<(), Error> {
        self.seen.pending.clear();
        let mut stub = RegistryClient::new(channel).max_decoding_message_size(RESPONSE_BYTES_MAX);
        let mut responses = match stub.watch(self.request.clone()).await {
            Ok(response) => response.into_inner(),
            Err(status) if is_transient(&status) => return Ok(()),
            Err(status) => return Err(status.into()),
        };
        while let Some(response) = next(&mut responses).await? {
            let Some((revision, changes)) = self.seen.take(response) else { continue };
            let lines = changes.iter().map(|change| line(revision, change, form) + "\n");
            output.text(lines.collect::<String>().as_bytes())?;
            self.request.revision = revision;
        }
        Ok(())
    }
}

/// The next answer; none when the stream broke.
async fn next(responses: &mut Streaming<WatchResponse>) -> Result<Option<WatchResponse>, Status> {
    match responses.message().await {
        Ok(response) => Ok(response),
        Err(status) if is_transient(&status) => Ok(None),
        Err(status) => Err(status),
    }
}

/// What was shown, and what cannot be shown yet.
#[derive(Default)]
struct Seen {
    /// The instances that are there, by their full names.
    instances: BTreeMap<String, Instance>,
    /// Answers of a revision that more follow of.
    pending: Vec<watch_response::Kind>,
}

impl Seen {
    /// Takes an answer in. When it completes its revision, returns that, and what to show: a
    /// revision that was shown in part would have to be shown again after a break.
    fn take(&mut self, response: WatchResponse) -> Option<(i64, Vec<Change>)> {
        self.pending.extend(response.kind);
        if response.more {
            return None;
        }
        let mut snapshot = None;
        let mut changes = Vec::new();
        for kind in std::mem::take(&mut self.pending) {
            match kind {
                watch_response::Kind::Snapshot(part) => {
                    snapshot.get_or_insert_with(Vec::new).extend(part.instances);
                }
                watch_response::Kind::Changes(part) => changes.extend(part.changes),
                watch_response::Kind::Bookmark(_) => {}
            }
        }
        for change in &changes {
            self.apply(change);
        }
        if let Some(instances) = snapshot {
            changes.extend(self.compare(instances));
        }
        Some((response.revision, changes))
    }

    fn apply(&mut self, change: &Change) {
        if let Some(before) = &change.before {
            self.instances.remove(&full_name(before));
        }
        if let Some(after) = &change.after {
            self.instances.insert(full_name(after), after.clone());
        }
    }

    /// What makes the instances that were there into those of a snapshot.
    fn compare(&mut self, instances: Vec<Instance>) -> Vec<Change> {
        let named = instances.into_iter().map(|instance| (full_name(&instance), instance));
        let mut before = std::mem::replace(&mut self.instances, named.collect());
        let mut changes = Vec::new();
        for (name, after) in &self.instances {
            let before = before.remove(name);
            let kind = match &before {
                None => Kind::Up,
                Some(before) if is_same(before, after) => continue,
                Some(_) => Kind::Changed,
            };
            let after = Some(after.clone());
            changes.push(Change { kind: kind.into(), before, after, ..Change::default() });
        }
        let gone = before.into_values().map(|before| Change {
            kind: Kind::Down.into(),
            before: Some(before),
            ..Change::default()
        });
        changes.extend(gone);
        changes
    }
}

/// Whether nothing has changed but that it was written again.
fn is_same(before: &Instance, after: &Instance) -> bool {
    let before = Instance { mod_revision: after.mod_revision, ..before.clone() };
    before == *after
}

/// A change in a line.
fn line(revision: i64, change: &Change, form: Form) -> String {
    if form == Form::Json {
        return format!(r#"{{"revision":"{revision}","change":{}}}"#, json(change));
    }
    let kind = match change.kind() {
        Kind::Unspecified => "?",
        Kind::Up => "UP",
        Kind::Down => "DOWN",
        Kind::Changed => "CHANGED",
    };
    let reason = match change.reason() {
        Reason::Unspecified => "",
        Reason::Deregistered => " DEREGISTERED",
        Reason::Expired => " EXPIRED",
    };
    let instance = change.after.as_ref().or(change.before.as_ref());
    let (name, target) = instance.map_or_else(
        || ("?".to_owned(), "-".to_owned()),
        |instance| (full_name(instance), target(instance)),
    );
    printable(&format!("{revision} {kind} {name} {target}{reason}")).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::registry::{Bookmark, Changes, Snapshot};

    fn instance(id: &str, port: u32) -> Instance {
        Instance {
            namespace: "prod".to_owned(),
            service: "web".to_owned(),
            id: id.to_owned(),
            address: "h".to_owned(),
            port,
            ..Instance::default()
        }
    }

    fn snapshot(revision: i64, more: bool, instances: &[Instance]) -> WatchResponse {
        let snapshot = Snapshot { instances: instances.to_vec(), reset: revision > 1 };
        WatchResponse { revision, more, kind: Some(watch_response::Kind::Snapshot(snapshot)) }
    }

    fn changes(revision: i64, more: bool, changes: &[Change]) -> WatchResponse {
        let changes = Changes { changes: changes.to_vec() };
        WatchResponse { revision, more, kind: Some(watch_response::Kind::Changes(changes)) }
    }

    fn down(before: Instance, reason: Reason) -> Change {
        Change {
            kind: Kind::Down.into(),
            before: Some(before),
            reason: reason.into(),
            ..Change::default()
        }
    }

    fn lines(seen: &mut Seen, response: WatchResponse) -> Option<Vec<String>> {
        let (revision, changes) = seen.take(response)?;
        Some(changes.iter().map(|change| line(revision, change, Form::Simple)).collect())
    }

    /// What is there comes first, then what happens, each revision when all of it has come.
    #[test]
    fn a_revision_is_shown_when_it_is_complete() {
        let mut seen = Seen::default();

        assert_eq!(lines(&mut seen, snapshot(1, true, &[instance("a", 1)])), None);
        let shown = lines(&mut seen, snapshot(1, false, &[instance("b", 2)])).unwrap();
        assert_eq!(shown, ["1 UP prod/web/a h:1", "1 UP prod/web/b h:2"]);

        let first = changes(5, true, &[down(instance("a", 1), Reason::Expired)]);
        assert_eq!(lines(&mut seen, first), None);
        let second = changes(5, false, &[down(instance("b", 2), Reason::Deregistered)]);
        let shown = lines(&mut seen, second).unwrap();
        assert_eq!(shown, ["5 DOWN prod/web/a h:1 EXPIRED", "5 DOWN prod/web/b h:2 DEREGISTERED"]);

        let bookmark = Some(watch_response::Kind::Bookmark(Bookmark {}));
        let bookmark = WatchResponse { revision: 9, more: false, kind: bookmark };
        assert_eq!(lines(&mut seen, bookmark), Some(Vec::new()));
    }

    /// After a loss of history only what is different is shown.
    #[test]
    fn a_new_snapshot_is_compared_with_what_was_shown() {
        let mut seen = Seen::default();
        let before = [instance("a", 1), instance("b", 2), instance("c", 3)];
        seen.take(snapshot(1, false, &before)).unwrap();

        let after = [instance("a", 1), instance("c", 4), instance("d", 5)];
        let shown = lines(&mut seen, snapshot(7, false, &after)).unwrap();

        assert_eq!(
            shown,
            ["7 CHANGED prod/web/c h:4", "7 UP prod/web/d h:5", "7 DOWN prod/web/b h:2"]
        );
    }

    /// A line of JSON has the revision beside the change.
    #[test]
    fn a_change_can_be_shown_as_json() {
        let text = line(5, &down(instance("a", 1), Reason::Expired), Form::Json);
        assert!(
            text.starts_with(r#"{"revision":"5","change":{"kind":"DOWN","before":{"#),
            "{text}"
        );
        assert!(text.contains(r#""reason":"EXPIRED""#), "{text}");
    }
}
