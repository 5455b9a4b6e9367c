//! Runs the scripts in `src/watch/testdata/`: a store, and client streams that watch it; below each
//! command stands what the stream is told.
//!
//! A script tells a story and is read as one. [`Step`] lists what it can say. Run with
//! `UPDATE_GOLDENFILES=1`, the tests write down what comes out now; what changed is then reviewed
//! like code. A prefix names a stream, as in `alice: watch a`; without one it is the stream `""`.
//! Responses are written as `id@revision what`.

use std::{collections::BTreeMap, error::Error};

use goldenscript::Context;

use super::store::{Change, Seen, Store, drain, poll, text, texts, watch};
use crate::{
    types::{Event, Revision},
    watch::{Filter, WatchId, Watchers},
};

macro_rules! scripts {
    ($($name:ident)+) => {
        $(#[test]
        fn $name() {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/watch/testdata/");
            let path = format!("{folder}{}", stringify!($name));
            goldenscript::run(&mut Script::keeping(1_000), path).unwrap();
        })+
    };
}

scripts! { lifecycle catch_up compaction progress }

/// What a script can say.
#[derive(goldenscript::Command)]
enum Step {
    /// Begins with a hub that keeps so many revisions.
    Keep(usize),
    /// Puts keys, all in one request.
    Put(Vec<String>),
    /// Deletes keys, all in one request.
    Delete(Vec<String>),
    /// Puts keys without the hub being told.
    Hold(Vec<String>),
    /// Tells the hub what was held back.
    Publish,
    Compact(i64),
    /// Tags: `prev`, `notify` (of progress), `no-put`, `no-delete`.
    Watch {
        key: String,
        #[arg(key, optional)]
        to: String,
        #[arg(key, optional)]
        from: i64,
        #[arg(key)]
        id: Option<i64>,
    },
    Cancel(i64),
    /// The client asks how far its stream has come.
    Progress,
    /// The stream's progress ticker ticks.
    Tick,
    /// One poll, with room for so many responses.
    Poll(usize),
    /// Polls with room for everything, until nothing is left to do.
    Drain,
}

struct Script {
    store: Store,
    held: Vec<(Revision, Vec<Event>)>,
    streams: BTreeMap<String, Watchers>,
}

impl goldenscript::Runner for Script {
    type Command = Step;

    fn run(&mut self, step: &Step, context: &Context) -> Result<String, Box<dyn Error>> {
        let reads = self.store.reads.get();
        let store = &mut self.store;
        let name = context.prefix.clone().unwrap_or_default();
        let stream = self.streams.entry(name).or_insert_with(|| Watchers::new(&store.hub));
        let mut lines = match step {
            Step::Keep(revisions) => {
                *self = Self::keeping(*revisions);
                return Ok(String::new());
            }
            Step::Put(keys) => changed(store.apply(&changes(keys, Change::Put))),
            Step::Delete(keys) => changed(store.apply(&changes(keys, Change::Delete))),
            Step::Hold(keys) => {
                self.held.extend(store.apply_unpublished(&changes(keys, Change::Put)));
                changed(store.revision())
            }
            Step::Publish => {
                store.hub.publish(self.held.drain(..));
                Vec::new()
            }
            Step::Compact(revision) => {
                store.compact(*revision);
                Vec::new()
            }
            Step::Watch { key, to, from, id } => {
                let has = |tag: &str| context.tags.contains(tag);
                let mut create = watch(key, to);
                create.start = Revision(*from);
                create.id = id.map(WatchId);
                create.prev_kv = has("prev");
                create.progress_notify = has("notify");
                create.filter = Filter { no_put: has("no-put"), no_delete: has("no-delete") };
                vec![text(&stream.create(create).into())]
            }
            Step::Cancel(id) => match stream.cancel(WatchId(*id)) {
                Some(response) => vec![text(&response.into())],
                None => vec!["no answer".to_owned()],
            },
            Step::Progress => {
                stream.progress();
                Vec::new()
            }
            Step::Tick => {
                stream.tick();
                Vec::new()
            }
            Step::Poll(budget) => {
                let Seen { responses, more } = poll(stream, store, *budget);
                let more = more.then(|| "and more".to_owned());
                texts(&responses).into_iter().chain(more).collect()
            }
            Step::Drain => texts(&drain(stream, store)),
        };
        let reads = self.store.reads.get() - reads;
        if reads > 0 {
            lines.push(format!("(history was read: {reads})"));
        }
        if lines.is_empty() && matches!(step, Step::Poll(_) | Step::Drain) {
            lines.push("nothing".to_owned());
        }
        Ok(lines.join("\n"))
    }
}

impl Script {
    fn keeping(revisions: usize) -> Self {
        Self { store: Store::keeping(revisions), held: Vec::new(), streams: BTreeMap::new() }
    }
}

fn changes<'a>(keys: &'a [String], change: fn(&'a str) -> Change<'a>) -> Vec<Change<'a>> {
    keys.iter().map(|key| change(key)).collect()
}

fn changed(revision: Revision) -> Vec<String> {
    vec![format!("revision {revision}")]
}
