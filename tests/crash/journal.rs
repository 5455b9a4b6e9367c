//! What clients were told, and whether a cluster stands by it.

use std::collections::{BTreeMap, BTreeSet};

use etcd_client::{Client, GetOptions, KeyValue};

/// All that clients asked for, with what is known to have come of it.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    /// Every key that was ever asked to be put; each only once.
    keys: BTreeMap<String, Expected>,
    /// Keys that were put together.
    pairs: Vec<(String, String)>,
    leases: BTreeSet<i64>,
    compacted: i64,
    /// The highest revision that any answer named.
    revision: i64,
    pub(crate) acknowledged: usize,
    pub(crate) unknown: usize,
}

/// What is known of a key.
#[derive(Debug)]
struct Expected {
    value: String,
    /// The revision of the acknowledged put.
    put: Option<i64>,
    delete: Delete,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delete {
    None,
    Unknown,
    Acknowledged,
}

/// What came of a request: the revision it was answered with, or nothing that is known.
pub(crate) type Outcome = Option<i64>;

impl Journal {
    pub(crate) fn put(&mut self, key: &str, value: &str, outcome: Outcome) {
        self.count(outcome);
        let expected = Expected { value: value.to_owned(), put: outcome, delete: Delete::None };
        assert!(self.keys.insert(key.to_owned(), expected).is_none(), "{key} is put twice");
    }

    pub(crate) fn pair(&mut self, one: &str, other: &str, value: &str, outcome: Outcome) {
        self.put(one, value, outcome);
        let expected = Expected { value: value.to_owned(), put: outcome, delete: Delete::None };
        self.keys.insert(other.to_owned(), expected);
        self.pairs.push((one.to_owned(), other.to_owned()));
    }

    pub(crate) fn delete(&mut self, key: &str, outcome: Outcome) {
        self.count(outcome);
        let expected = self.keys.get_mut(key).unwrap();
        expected.delete = outcome.map_or(Delete::Unknown, |_| Delete::Acknowledged);
    }

    pub(crate) fn lease(&mut self, id: i64, outcome: Outcome) {
        self.count(outcome);
        if outcome.is_some() {
            self.leases.insert(id);
        }
    }

    pub(crate) fn compact(&mut self, to: i64, outcome: Outcome) {
        self.count(outcome);
        if outcome.is_some() {
            self.compacted = self.compacted.max(to);
        }
    }

    /// Whether a put of this key was acknowledged.
    pub(crate) fn was_acknowledged(&self, key: &str) -> bool {
        self.keys.get(key).is_some_and(|expected| expected.put.is_some())
    }

    /// The highest revision that any answer named.
    pub(crate) fn revision(&self) -> i64 {
        self.revision
    }

    fn count(&mut self, outcome: Outcome) {
        match outcome {
            Some(revision) => {
                self.acknowledged += 1;
                self.revision = self.revision.max(revision);
            }
            None => self.unknown += 1,
        }
    }

    /// Holds what a member says against all that was acknowledged. Returns its revision.
    pub(crate) async fn verify(&self, client: &mut Client) -> Result<i64, String> {
        let (revision, found) = everything(client).await?;
        let mut wrong = Vec::new();
        if revision < self.revision {
            wrong.push(format!("revision {revision} after an answer with {}", self.revision));
        }
        for (key, expected) in &self.keys {
            wrong.extend(expected.complaint(key, found.get(key)));
        }
        for (key, pair) in &found {
            if !self.keys.contains_key(key) {
                wrong.push(format!("{pair:?} was never asked for"));
            }
        }
        for (one, other) in &self.pairs {
            let revisions = [one, other].map(|key| found.get(key).map(KeyValue::mod_revision));
            if revisions[0] != revisions[1] {
                wrong.push(format!("{one} and {other} were put together: {revisions:?}"));
            }
        }
        let leases = client.leases().await.map_err(|error| format!("leases: {error}"))?;
        let granted: BTreeSet<i64> =
            leases.leases().iter().map(etcd_client::LeaseStatus::id).collect();
        for lost in self.leases.difference(&granted) {
            wrong.push(format!("lease {lost} is lost"));
        }
        if self.compacted > 1 {
            let option = GetOptions::new().with_revision(self.compacted - 1);
            let read = client.get("k", Some(option)).await;
            let told = read.as_ref().err().map(ToString::to_string).unwrap_or_default();
            if !told.contains("has been compacted") {
                wrong.push(format!("compaction to {} is lost: {read:?}", self.compacted));
            }
        }
        wrong.truncate(20);
        if wrong.is_empty() { Ok(revision) } else { Err(wrong.join("\n")) }
    }
}

impl Expected {
    fn complaint(&self, key: &str, found: Option<&KeyValue>) -> Option<String> {
        let Some(found) = found else {
            let may_be_absent = self.put.is_none() || self.delete != Delete::None;
            return (!may_be_absent).then(|| format!("{key}: lost, {self:?}"));
        };
        // Each key is put once: a second version is a request that took effect twice.
        let right = self.delete != Delete::Acknowledged
            && found.value() == self.value.as_bytes()
            && found.version() == 1
            && self.put.is_none_or(|revision| revision == found.mod_revision());
        (!right).then(|| format!("{key}: {self:?}, but {found:?}"))
    }
}

/// All pairs, page by page as of one revision.
pub(crate) async fn everything(
    client: &mut Client,
) -> Result<(i64, BTreeMap<String, KeyValue>), String> {
    const PAGE: i64 = 500;
    let mut found = BTreeMap::new();
    let mut start = "a".to_owned();
    let mut revision = 0;
    loop {
        let option = GetOptions::new().with_range("z").with_limit(PAGE).with_revision(revision);
        let page = client.get(start.as_str(), Some(option)).await;
        let mut page = page.map_err(|error| format!("read from {start}: {error}"))?;
        if revision == 0 {
            revision = page.header().unwrap().revision();
        }
        for kv in page.take_kvs() {
            found.insert(kv.key_str().unwrap().to_owned(), kv);
        }
        if !page.more() {
            return Ok((revision, found));
        }
        start = format!("{}\0", found.last_key_value().unwrap().0);
    }
}
