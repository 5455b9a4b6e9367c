//! One client: what it asks, what it is told, and what that means.

use std::{collections::BTreeMap, time::Duration};

use quorate::{
    proto::{
        etcdserverpb::{
            Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, ResponseHeader,
            TxnRequest, compare, kv_client::KvClient, request_op::Request, response_op::Response,
        },
        mvccpb::KeyValue,
    },
    sim::history::{Content, Contents, Fate, KeyId, Operation, ValueId},
    types::{MemberId, Revision},
};
use tonic::{Status, transport::Channel};

/// Keys that clients fight over.
pub(crate) const KEYS: u8 = 4;

/// What a client can ask for. All values are its own and written once.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ask {
    Put(KeyId),
    /// Puts if the key still holds what this client knows; else shows what it holds.
    Swap(KeyId),
    /// The same for deleting.
    Remove(KeyId),
    /// Puts the same value to two keys at once.
    Pair(KeyId, KeyId),
    Get {
        key: KeyId,
        serializable: bool,
    },
    List {
        serializable: bool,
    },
}

impl Ask {
    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::Put(_) => "put",
            Self::Swap(_) => "swap",
            Self::Remove(_) => "remove",
            Self::Pair(..) => "pair",
            Self::Get { serializable: false, .. } => "get",
            Self::List { serializable: false } => "list",
            Self::Get { serializable: true, .. } => "serializable get",
            Self::List { serializable: true } => "serializable list",
        }
    }

    fn is_read(self) -> bool {
        matches!(self, Self::Get { .. } | Self::List { .. })
    }

    fn is_serializable(self) -> bool {
        matches!(self, Self::Get { serializable: true, .. } | Self::List { serializable: true })
    }
}

/// The four things that an answer says, or of a request without one what it would have done.
#[derive(Debug, Default)]
struct Told {
    revision: i64,
    saw: Contents,
    wrote: Contents,
}

/// A client, which makes one call at a time.
pub(crate) struct Client {
    pub(crate) number: u64,
    /// What all its keys begin with.
    pub(crate) prefix: String,
    /// How long it waits for an answer.
    pub(crate) patience: Duration,
    /// What it saw last.
    pub(crate) known: BTreeMap<KeyId, Content>,
}

impl Client {
    pub(crate) fn key(&self, key: KeyId) -> Vec<u8> {
        format!("{}k{}", self.prefix, key.0).into_bytes()
    }

    /// Makes a call, and says what came of it. `now` is the time in microseconds.
    pub(crate) async fn call(
        &mut self,
        ask: Ask,
        value: ValueId,
        member: usize,
        kv: &mut KvClient<Channel>,
        now: impl Fn() -> u64,
    ) -> Operation {
        let ask = match ask {
            // Deleting what is not there is no write, and says nothing.
            Ask::Remove(key) if self.known(key).is_none() => Ask::Swap(key),
            ask => ask,
        };
        let called = now();
        let unanswered = self.unanswered(ask, value);
        let answer = tokio::time::timeout(self.patience, self.send(ask, value, kv)).await;
        let (told, fate) = match answer {
            Ok(Ok(told)) => {
                let (returned, revision) = (now(), Revision(told.revision));
                let serializable = ask.is_serializable();
                (told, Fate::Done { returned, revision, serializable })
            }
            Ok(Err(_)) | Err(_) if ask.is_read() => (Told::default(), Fate::No),
            Ok(Err(status)) if status.message() == "etcdserver: too many requests" => {
                (unanswered, Fate::No)
            }
            Ok(Err(_)) | Err(_) => (unanswered, Fate::Unknown),
        };
        if let Fate::Done { .. } = fate {
            self.known.extend(told.saw.iter().chain(&told.wrote));
        }
        let Told { saw, wrote, .. } = told;
        let (client, member) = (self.number, MemberId(u64::try_from(member).unwrap()));
        Operation { client, member, what: ask.what(), called, saw, wrote, fate }
    }

    /// What a request finds and does if it takes effect.
    fn unanswered(&self, ask: Ask, value: ValueId) -> Told {
        let known = |key| (key, self.known(key));
        let (saw, wrote) = match ask {
            Ask::Put(key) => (Contents::new(), Contents::from([(key, Some(value))])),
            Ask::Swap(key) => (Contents::from([known(key)]), Contents::from([(key, Some(value))])),
            Ask::Remove(key) => (Contents::from([known(key)]), Contents::from([(key, None)])),
            Ask::Pair(one, other) => {
                (Contents::new(), [one, other].map(|key| (key, Some(value))).into())
            }
            Ask::Get { .. } | Ask::List { .. } => (Contents::new(), Contents::new()),
        };
        Told { revision: 0, saw, wrote }
    }

    async fn send(
        &self,
        ask: Ask,
        value: ValueId,
        kv: &mut KvClient<Channel>,
    ) -> Result<Told, Status> {
        match ask {
            Ask::Put(key) => {
                let answer = kv.put(self.put(key, value)).await?.into_inner();
                let saw = Contents::from([(key, answer.prev_kv.as_ref().map(value_of))]);
                let wrote = Contents::from([(key, Some(value))]);
                Ok(Told { revision: revision(answer.header), saw, wrote })
            }
            Ask::Swap(key) => {
                self.guarded(key, Request::RequestPut(self.put(key, value)), Some(value), kv).await
            }
            Ask::Remove(key) => {
                let delete = DeleteRangeRequest { key: self.key(key).into(), ..Default::default() };
                self.guarded(key, Request::RequestDeleteRange(delete), None, kv).await
            }
            Ask::Pair(one, other) => {
                let put = |key| operation(Request::RequestPut(self.put(key, value)));
                let success = vec![put(one), put(other)];
                let answer = kv.txn(TxnRequest { success, ..Default::default() }).await?;
                let wrote = [one, other].map(|key| (key, Some(value))).into();
                let revision = revision(answer.into_inner().header);
                Ok(Told { revision, saw: Contents::new(), wrote })
            }
            Ask::Get { key, serializable } => {
                let answer = kv.range(RangeRequest { serializable, ..self.get(key) }).await?;
                let answer = answer.into_inner();
                let saw = Contents::from([(key, answer.kvs.first().map(value_of))]);
                Ok(Told { revision: revision(answer.header), saw, wrote: Contents::new() })
            }
            Ask::List { serializable } => {
                let end = self.key(KeyId(KEYS)).into();
                let request = RangeRequest { serializable, range_end: end, ..self.get(KeyId(0)) };
                let answer = kv.range(request).await?.into_inner();
                let mut saw: Contents = (0..KEYS).map(|key| (KeyId(key), None)).collect();
                for pair in &answer.kvs {
                    let last = pair.key.last().expect("no key is empty");
                    saw.insert(KeyId(last - b'0'), Some(value_of(pair)));
                }
                Ok(Told { revision: revision(answer.header), saw, wrote: Contents::new() })
            }
        }
    }

    /// Does something if a key still holds what this client knows.
    async fn guarded(
        &self,
        key: KeyId,
        request: Request,
        wrote: Content,
        kv: &mut KvClient<Channel>,
    ) -> Result<Told, Status> {
        let known = self.known(key);
        let (target, held) = match known {
            Some(value) => {
                let text = value.0.to_string().into_bytes();
                (compare::CompareTarget::Value, compare::TargetUnion::Value(text.into()))
            }
            None => (compare::CompareTarget::Create, compare::TargetUnion::CreateRevision(0)),
        };
        let compare = Compare {
            result: compare::CompareResult::Equal.into(),
            target: target.into(),
            key: self.key(key).into(),
            target_union: Some(held),
            ..Default::default()
        };
        let answer = kv
            .txn(TxnRequest {
                compare: vec![compare],
                success: vec![operation(request)],
                failure: vec![operation(Request::RequestRange(self.get(key)))],
            })
            .await?
            .into_inner();
        let revision = revision(answer.header);
        if answer.succeeded {
            let saw = Contents::from([(key, known)]);
            return Ok(Told { revision, saw, wrote: Contents::from([(key, wrote)]) });
        }
        let Some(Response::ResponseRange(range)) = &answer.responses[0].response else {
            panic!("a range was asked for, and this was answered: {:?}", answer.responses)
        };
        let saw = Contents::from([(key, range.kvs.first().map(value_of))]);
        Ok(Told { revision, saw, wrote: Contents::new() })
    }

    /// What a key holds as far as this client knows.
    fn known(&self, key: KeyId) -> Content {
        self.known.get(&key).copied().flatten()
    }

    fn put(&self, key: KeyId, value: ValueId) -> PutRequest {
        let (key, value) = (self.key(key), value.0.to_string().into_bytes());
        PutRequest { key: key.into(), value: value.into(), prev_kv: true, ..Default::default() }
    }

    fn get(&self, key: KeyId) -> RangeRequest {
        RangeRequest { key: self.key(key).into(), ..Default::default() }
    }
}

fn operation(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

fn revision(header: Option<ResponseHeader>) -> i64 {
    header.expect("every answer has a header").revision
}

/// The value of a pair, which is a number.
pub(crate) fn value_of(pair: &KeyValue) -> ValueId {
    ValueId(String::from_utf8_lossy(&pair.value).parse().unwrap())
}
