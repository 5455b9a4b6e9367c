//! Whether all that clients were told holds together.
//!
//! - Some order of all operations explains what each saw, in real time ([`linearizable`]).
//! - The history that survived explains it too, revision by revision ([`revisions`]): so nothing that
//!   was acknowledged is lost, and what members know by themselves was true at its revision.
//! - No client that stays with a member sees its revision go back.
//! - All members tell the same history, and have the same hash.

use std::{collections::BTreeMap, fs, path::Path};

use quorate::{
    proto::{
        etcdserverpb::{
            HashKvRequest, PutRequest, kv_client::KvClient, maintenance_client::MaintenanceClient,
        },
        mvccpb::event::EventType,
    },
    sim::{
        checks::{
            Violation, linearizable,
            revisions::{self, Survived},
        },
        history::{Fate, KeyId, Operation},
    },
    types::{MemberId, Revision},
};
use tonic::transport::Channel;

use crate::{
    client::value_of,
    harness::{
        eventually,
        streams::{WatchStream, channel, watcher},
        within,
    },
    load::SOON,
};

/// Judges what clients did to keys that begin with `prefix` since it was marked, once all is calm.
pub(crate) async fn judge(urls: &[String], prefix: &str, first: i64, operations: &[Operation]) {
    let last = mark(urls, prefix).await;
    let mut histories = Vec::new();
    for url in urls {
        let member = channel(url);
        let history = history(&member, prefix, first, last);
        histories.push(within("the history", SOON, history).await);
    }
    let survived = &histories[0];
    if let Err(violation) = check(operations, survived) {
        panic!("{violation}\nall of it is in {}", written(prefix, operations, survived));
    }
    for (url, other) in urls.iter().zip(&histories) {
        assert_eq!(other, survived, "{url} tells another history than {}", urls[0]);
    }
    let hashes = hashes(urls, last).await;
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "hashes at {last} differ: {hashes:?}");
}

fn check(operations: &[Operation], survived: &Survived) -> Result<(), Violation> {
    revisions::check(operations, survived)?;
    linearizable::check(operations)?;
    revisions_grow(operations)
}

/// Puts a key that begins or ends a history; its revision.
pub(crate) async fn mark(urls: &[String], prefix: &str) -> i64 {
    let mut kv = KvClient::new(channel(&urls[0]));
    eventually("a mark", SOON, async || {
        let put = PutRequest { key: format!("{prefix}~").into(), ..Default::default() };
        Some(kv.put(put).await.ok()?.into_inner().header?.revision)
    })
    .await
}

/// What a member says happened below a prefix between two marks.
async fn history(member: &Channel, prefix: &str, first: i64, last: i64) -> Survived {
    let mut stream = WatchStream::open(member).await.unwrap();
    let mut request = watcher(prefix, &format!("{prefix}\x7f"));
    request.start_revision = first;
    stream.create(request).await;
    let mut survived = Survived::new();
    loop {
        let response = stream.next().await;
        assert!(!response.canceled, "{response:?}");
        for event in &response.events {
            let pair = event.kv.as_ref().expect("every event has a pair");
            // A try to mark it may have succeeded unheard.
            if pair.key.ends_with(b"~") {
                if pair.mod_revision == last {
                    return survived;
                }
                continue;
            }
            let key = KeyId(pair.key.last().expect("no key is empty") - b'0');
            let content = (event.r#type() == EventType::Put).then(|| value_of(pair));
            let revision = Revision(pair.mod_revision);
            survived.entry(revision).or_default().insert(key, content);
        }
    }
}

async fn hashes(urls: &[String], revision: i64) -> Vec<(u32, i64)> {
    let mut hashes = Vec::new();
    for url in urls {
        let mut client = MaintenanceClient::new(channel(url));
        let answer = within("a hash", SOON, client.hash_kv(HashKvRequest { revision })).await;
        let answer = answer.unwrap().into_inner();
        hashes.push((answer.hash, answer.compact_revision));
    }
    hashes
}

/// What one client hears from one member is never older than what it heard before.
fn revisions_grow(operations: &[Operation]) -> Result<(), Violation> {
    let mut heard: BTreeMap<(u64, MemberId), Revision> = BTreeMap::new();
    for op in operations {
        if let Fate::Done { revision, .. } = op.fate {
            let before = heard.entry((op.client, op.member)).or_insert(revision);
            if revision < *before {
                return Err(Violation(format!("it was at revision {before} before\n  {op}")));
            }
            *before = revision;
        }
    }
    Ok(())
}

/// Where a history that does not hold can be looked at.
fn written(prefix: &str, operations: &[Operation], survived: &Survived) -> String {
    let mut lines: Vec<String> = operations.iter().map(Operation::to_string).collect();
    lines.extend(survived.iter().map(|(revision, contents)| format!("{revision}: {contents:?}")));
    let name = format!("history-{}-{}", std::process::id(), prefix.trim_end_matches('/'));
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, lines.join("\n")).unwrap();
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use quorate::sim::history::{Contents, ValueId};

    use super::*;

    fn operation(client: u64, called: u64, revision: i64, serializable: bool) -> Operation {
        let fate = Fate::Done { returned: called + 10, revision: Revision(revision), serializable };
        let (saw, wrote) = (Contents::new(), Contents::new());
        let member = MemberId(client);
        Operation { client, member, what: "test", called, saw, wrote, fate }
    }

    fn holds(value: Option<u64>) -> Contents {
        Contents::from([(KeyId(0), value.map(ValueId))])
    }

    fn put(called: u64, revision: i64) -> Operation {
        let wrote = holds(Some(revision.unsigned_abs()));
        Operation { wrote, ..operation(1, called, revision, false) }
    }

    fn read(called: u64, revision: i64, serializable: bool) -> Operation {
        let saw = holds(Some(revision.unsigned_abs()));
        Operation { saw, ..operation(2, called, revision, serializable) }
    }

    fn survived() -> Survived {
        [2, 3].map(|revision| (Revision(revision), holds(Some(revision.unsigned_abs())))).into()
    }

    /// A member that led may read what was there when it did, and call it no more than that.
    #[test]
    fn a_read_from_the_time_before_is_found() {
        let writes = [put(0, 2), put(20, 3)];
        for (read, sound) in [
            (read(40, 3, false), true),
            (read(40, 2, true), true),
            // Called before the second write returned: it may be older.
            (read(25, 2, false), true),
            (read(40, 2, false), false),
        ] {
            let operations = [&writes[..], std::slice::from_ref(&read)].concat();
            assert_eq!(check(&operations, &survived()).is_ok(), sound, "{read}");
            assert_eq!(linearizable::check(&operations).is_ok(), sound, "{read}");
        }
    }

    #[test]
    fn a_member_that_goes_back_is_found() {
        let mut operations = vec![put(0, 2), put(20, 3), read(40, 2, true), read(60, 3, true)];
        assert_eq!(check(&operations, &survived()), Ok(()));
        operations.push(read(80, 2, true));
        assert!(check(&operations, &survived()).is_err());
    }

    #[test]
    fn an_acknowledged_write_that_is_lost_is_found() {
        let lost = Survived::from([(Revision(2), holds(Some(2)))]);
        assert!(check(&[put(0, 2), put(20, 3)], &lost).is_err());
    }
}
