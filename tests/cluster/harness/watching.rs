//! A watch whose events are taken one by one.

use std::{collections::VecDeque, time::Duration};

use etcd_client::{Client, EventType, WatchOptions, WatchResponse, WatchStream, Watcher};

use super::within;

/// How long an event may take that is on its way.
const DELIVERY: Duration = Duration::from_secs(20);

/// One event, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) what: &'static str,
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) revision: i64,
}

/// An open watch that has been confirmed.
pub(crate) struct Watching {
    pub(crate) watcher: Watcher,
    stream: WatchStream,
    waiting: VecDeque<Change>,
}

impl Watching {
    pub(crate) async fn open(client: &mut Client, key: &str, options: WatchOptions) -> Self {
        // The client has taken the response that confirms the watch.
        let opening = client.watch(key, Some(options));
        let (watcher, stream) = within("a watch", DELIVERY, opening).await.unwrap();
        Self { watcher, stream, waiting: VecDeque::new() }
    }

    /// All keys below a prefix.
    pub(crate) async fn prefix(client: &mut Client, prefix: &str) -> Self {
        Self::open(client, prefix, WatchOptions::new().with_prefix()).await
    }

    /// The next response, whatever it is.
    pub(crate) async fn response(&mut self) -> WatchResponse {
        within("a watch response", DELIVERY, self.stream.message()).await.unwrap().unwrap()
    }

    /// The next event.
    pub(crate) async fn next(&mut self) -> Change {
        while self.waiting.is_empty() {
            let response = self.response().await;
            assert!(!response.canceled(), "the watch was canceled: {response:?}");
            self.waiting.extend(changes(&response));
        }
        self.waiting.pop_front().expect("the queue is not empty")
    }
}

/// The events of a response.
pub(crate) fn changes(response: &WatchResponse) -> Vec<Change> {
    let change = |event: &etcd_client::Event| {
        let pair = event.kv().unwrap();
        let what = match event.event_type() {
            EventType::Put => "PUT",
            EventType::Delete => "DELETE",
        };
        Change {
            what,
            key: pair.key_str().unwrap().to_owned(),
            value: pair.value_str().unwrap().to_owned(),
            revision: pair.mod_revision(),
        }
    };
    response.events().iter().map(change).collect()
}
