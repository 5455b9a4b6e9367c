//! Registers and finds services with a stock etcd client: an instance is a key on a lease, and finding
//! is a range and a watch from the revision after it.
//!
//!     stock register --service user --id u1 --addr 10.0.0.7:8080 --ttl 15
//!     stock resolve --service user
//!     stock watch --service user

use std::{collections::BTreeMap, error::Error, time::Duration};

use etcd_client::{Client, ConnectOptions, EventType, GetOptions, PutOptions, WatchOptions};
use registry_examples::{Command, Given, RETRY_PAUSE, complain, end_on_signals};
use serde_json::{Value, json};
use tokio::{sync::watch, time::sleep};

type Failure = Box<dyn Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let given = <Given as clap::Parser>::parse();
    let end = end_on_signals()?;
    // One client for all members: it goes to whichever can be reached. A member that vanished without
    // a word is noticed.
    let options = ConnectOptions::new()
        .with_timeout(given.patience())
        .with_connect_timeout(Duration::from_secs(1))
        .with_keep_alive(Duration::from_secs(10), Duration::from_secs(3));
    let mut example =
        Stock { client: Client::connect(&given.endpoints, Some(options)).await?, given };
    match example.given.command {
        Command::Register => example.register(end).await,
        Command::Resolve => example.resolve().await,
        Command::Watch => example.watch(end).await,
    }
}

struct Stock {
    client: Client,
    given: Given,
}

impl Stock {
    /// Below which the instances of the service stand.
    fn prefix(&self) -> String {
        format!("/services/{}/{}/", self.given.namespace, self.given.service)
    }

    /// Keeps the instance there until the program is told to end, and then takes it away.
    async fn register(&mut self, mut end: watch::Receiver<bool>) -> Result<(), Failure> {
        let value = self.value()?;
        let mut held = None;
        while !*end.borrow() {
            let lease = match self.put(&value).await {
                Ok(lease) => *held.insert(lease),
                Err(error) => {
                    complain("register", error);
                    sleep(RETRY_PAUSE).await;
                    continue;
                }
            };
            println!("REGISTERED {} {lease}", self.given.id());
            tokio::select! {
                () = self.keep_alive(lease) => complain("register", "the lease is gone, registering again"),
                _ = end.wait_for(|end| *end) => {}
            }
        }
        if let Some(lease) = held {
            // The lease takes its key along. Were this to fail, it would run out by itself.
            self.client.lease_revoke(lease).await?;
            println!("DEREGISTERED {}", self.given.id());
        }
        Ok(())
    }

    /// What stands under the key. Op, Addr and Metadata are what etcd's resolver for gRPC reads.
    fn value(&self) -> Result<String, Failure> {
        let (address, port) = self.given.host_and_port()?;
        let Given { addr, namespace, service, .. } = &self.given;
        let value = json!({
            "Op": 0, "Addr": addr, "Metadata": {}, "id": self.given.id(),
            "namespace": namespace, "service": service, "address": address, "port": port,
        });
        Ok(value.to_string())
    }

    /// Hangs the instance on a lease of its own.
    async fn put(&mut self, value: &str) -> Result<i64, Failure> {
        let lease = self.client.lease_grant(self.given.ttl.into(), None).await?.id();
        let key = self.prefix() + self.given.id();
        self.client.put(key, value, Some(PutOptions::new().with_lease(lease))).await?;
        Ok(lease)
    }

    /// Returns when the lease is gone.
    async fn keep_alive(&mut self, lease: i64) {
        loop {
            if let Err(error) = self.renew(lease).await {
                complain("register", error);
            }
            // Was it the stream or the lease that ended?
            match self.client.lease_time_to_live(lease, None).await {
                Ok(answer) if answer.ttl() <= 0 => return,
                Ok(_) => {}
                Err(error) => complain("register", error),
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    /// Renews the lease until that fails.
    async fn renew(&mut self, lease: i64) -> Result<(), Failure> {
        let patience = self.given.patience();
        let opening = self.client.lease_keep_alive(lease);
        let (mut keeper, mut answers) = tokio::time::timeout(patience, opening).await??;
        loop {
            sleep(Duration::from_secs(self.given.ttl.into()) / 3).await;
            keeper.keep_alive().await?;
            match tokio::time::timeout(patience, answers.message()).await?? {
                Some(answer) if answer.ttl() > 0 => {}
                _ => return Ok(()),
            }
        }
    }

    /// Prints the instances as they are now.
    async fn resolve(&mut self) -> Result<(), Failure> {
        for (id, value) in self.list().await?.0 {
            if let Some(addr) = addr(&value) {
                println!("{id} {addr}");
            }
        }
        Ok(())
    }

    /// Values by id, and the revision that this shows.
    async fn list(&mut self) -> Result<(BTreeMap<String, String>, i64), Failure> {
        let prefix = self.prefix();
        let answer =
            self.client.get(prefix.as_str(), Some(GetOptions::new().with_prefix())).await?;
        let mut found = BTreeMap::new();
        for pair in answer.kvs() {
            let id = pair.key_str()?.strip_prefix(&prefix).unwrap_or_default();
            found.insert(id.to_owned(), String::from_utf8_lossy(pair.value()).into_owned());
        }
        Ok((found, answer.header().map_or(0, |header| header.revision())))
    }

    /// Prints what there is, and then each change, until the program is told to end.
    async fn watch(&mut self, mut end: watch::Receiver<bool>) -> Result<(), Failure> {
        let mut known = Known::default();
        let follow = async {
            loop {
                if let Err(error) = self.follow(&mut known).await {
                    complain("watch", error);
                }
                sleep(RETRY_PAUSE).await;
            }
        };
        tokio::select! {
            () = follow => {}
            _ = end.wait_for(|end| *end) => {}
        }
        Ok(())
    }

    /// Prints changes, from where it was, until the stream ends.
    async fn follow(&mut self, known: &mut Known) -> Result<(), Failure> {
        if known.next == 0 {
            let (found, revision) = self.list().await?;
            known.replace(found);
            known.next = revision + 1;
        }
        let prefix = self.prefix();
        let options = WatchOptions::new().with_prefix().with_start_revision(known.next);
        let (_watcher, mut answers) = self.client.watch(prefix.as_str(), Some(options)).await?;
        while let Some(answer) = answers.message().await? {
            if answer.compact_revision() > 0 {
                known.next = 0; // the difference is found with a new list
            }
            if answer.canceled() {
                return Err(format!("the watch was canceled: {}", answer.cancel_reason()).into());
            }
            for event in answer.events() {
                let Some(pair) = event.kv() else { continue };
                let id = pair.key_str()?.strip_prefix(&prefix).unwrap_or_default();
                match event.event_type() {
                    EventType::Put => {
                        known.put(id, String::from_utf8_lossy(pair.value()).into_owned())
                    }
                    EventType::Delete => known.remove(id),
                }
                known.next = pair.mod_revision() + 1; // one answer has all of a revision
            }
        }
        Err("the watch has ended".into())
    }
}

/// What is known of a service.
#[derive(Default)]
struct Known {
    values: BTreeMap<String, String>,
    /// The first revision not seen yet; 0: nothing is known.
    next: i64,
}

impl Known {
    /// Makes known what was found, and prints the difference.
    fn replace(&mut self, found: BTreeMap<String, String>) {
        let gone: Vec<_> =
            self.values.keys().filter(|id| !found.contains_key(*id)).cloned().collect();
        for id in gone {
            self.remove(&id);
        }
        for (id, value) in found {
            self.put(&id, value);
        }
    }

    fn put(&mut self, id: &str, value: String) {
        let addr = addr(&value).unwrap_or_else(|| "-".to_owned());
        match self.values.insert(id.to_owned(), value.clone()) {
            None => println!("UP {id} {addr}"),
            Some(before) if before != value => println!("CHANGED {id} {addr}"),
            Some(_) => {}
        }
    }

    fn remove(&mut self, id: &str) {
        if self.values.remove(id).is_some() {
            println!("DOWN {id} - -"); // a plain event has no reason
        }
    }
}

/// host:port, or nothing when the value has no address that this program understands.
fn addr(value: &str) -> Option<String> {
    let value: Value = serde_json::from_str(value).ok()?;
    Some(value.get("Addr")?.as_str()?.to_owned())
}
