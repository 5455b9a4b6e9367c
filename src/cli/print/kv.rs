//! Answers about keys.

use super::{Answer, Json, Page, json, wire};
use crate::proto::{
    etcdserverpb::{
        DeleteRangeResponse, PutResponse, RangeResponse, ResponseOp, TxnResponse, WatchResponse,
        response_op::Response,
    },
    mvccpb::{KeyValue, event::EventType},
};

/// What a range found.
pub(in crate::cli) struct Pairs(pub(in crate::cli) RangeResponse);

/// The same, of which only values are to be seen.
pub(in crate::cli) struct Values(pub(in crate::cli) RangeResponse);

/// Events of a watch.
pub(in crate::cli) struct Watched(pub(in crate::cli) WatchResponse);

impl Page {
    /// A pair as two lines.
    fn pair(&mut self, pair: &KeyValue) {
        self.bytes(&pair.key);
        self.bytes(&pair.value);
    }

    /// A pair as fields.
    fn pair_fields(&mut self, prefix: &str, pair: &KeyValue) {
        self.text(&format!("{prefix}Key"), &pair.key);
        self.field(&format!("{prefix}CreateRevision"), pair.create_revision);
        self.field(&format!("{prefix}ModRevision"), pair.mod_revision);
        self.field(&format!("{prefix}Version"), pair.version);
        self.text(&format!("{prefix}Value"), &pair.value);
        self.lease(&format!("{prefix}Lease"), pair.lease);
    }
}

impl Answer for Pairs {
    fn simple(&self, page: &mut Page) {
        self.0.kvs.iter().for_each(|pair| page.pair(pair));
    }

    fn fields(&self, page: &mut Page) -> bool {
        page.header(self.0.header.as_ref());
        self.0.kvs.iter().for_each(|pair| page.pair_fields("", pair));
        page.field("More", self.0.more);
        page.field("Count", self.0.count);
        true
    }

    fn json(&self, _: bool) -> String {
        json::of("etcdserverpb.RangeResponse", &self.0)
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        wire(&self.0)
    }
}

impl Answer for Values {
    fn simple(&self, page: &mut Page) {
        self.0.kvs.iter().for_each(|pair| page.bytes(&pair.value));
    }

    fn json(&self, _: bool) -> String {
        json::of("etcdserverpb.RangeResponse", &self.0)
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        wire(&self.0)
    }
}

impl Answer for PutResponse {
    fn simple(&self, page: &mut Page) {
        page.line("OK");
        self.prev_kv.iter().for_each(|pair| page.pair(pair));
    }

    fn fields(&self, page: &mut Page) -> bool {
        page.header(self.header.as_ref());
        self.prev_kv.iter().for_each(|pair| page.pair_fields("Prev", pair));
        true
    }

    fn json(&self, _: bool) -> String {
        json::of("etcdserverpb.PutResponse", self)
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        wire(self)
    }
}

impl Answer for DeleteRangeResponse {
    fn simple(&self, page: &mut Page) {
        page.line(self.deleted.to_string());
        self.prev_kvs.iter().for_each(|pair| page.pair(pair));
    }

    fn fields(&self, page: &mut Page) -> bool {
        page.header(self.header.as_ref());
        page.field("Deleted", self.deleted);
        self.prev_kvs.iter().for_each(|pair| page.pair_fields("Prev", pair));
        true
    }

    fn json(&self, _: bool) -> String {
        json::of("etcdserverpb.DeleteRangeResponse", self)
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        wire(self)
    }
}

impl Answer for TxnResponse {
    fn simple(&self, page: &mut Page) {
        page.line(if self.succeeded { "SUCCESS" } else { "FAILURE" });
        for answer in &self.responses {
            page.line("");
            match &answer.response {
                Some(Response::ResponseRange(range)) => {
                    range.kvs.iter().for_each(|pair| page.pair(pair));
                }
                Some(Response::ResponsePut(put)) => put.simple(page),
                Some(Response::ResponseDeleteRange(deleted)) => deleted.simple(page),
                Some(Response::ResponseTxn(inner)) => inner.simple(page),
                None => page.line("unexpected response"),
            }
        }
    }

    fn fields(&self, page: &mut Page) -> bool {
        page.header(self.header.as_ref());
        page.field("Succeeded", self.succeeded);
        for answer in &self.responses {
            match answer.response.clone() {
                Some(Response::ResponseRange(range)) => Pairs(range).fields(page),
                Some(Response::ResponsePut(put)) => put.fields(page),
                Some(Response::ResponseDeleteRange(deleted)) => deleted.fields(page),
                Some(Response::ResponseTxn(inner)) => inner.fields(page),
                None => true,
            };
        }
        true
    }

    fn json(&self, hex: bool) -> String {
        let mut object = Json::object();
        if let Some(header) = &self.header {
            object = object.raw("header", &json::of("etcdserverpb.ResponseHeader", header));
        }
        if self.succeeded {
            object = object.plain("succeeded", true);
        }
        if !self.responses.is_empty() {
            let answers = self.responses.iter();
            let answers = answers.fold(Json::list(), |all, one| all.element(&operation(one, hex)));
            object = object.raw("responses", &answers.end());
        }
        object.end()
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        wire(self)
    }
}

/// The answer of one operation, which Go's encoder wraps twice.
fn operation(answer: &ResponseOp, hex: bool) -> String {
    let named = match &answer.response {
        Some(Response::ResponseRange(range)) => {
            Some(("response_range", json::of("etcdserverpb.RangeResponse", range)))
        }
        Some(Response::ResponsePut(put)) => Some(("response_put", put.json(hex))),
        Some(Response::ResponseDeleteRange(deleted)) => {
            Some(("response_delete_range", deleted.json(hex)))
        }
        Some(Response::ResponseTxn(inner)) => Some(("response_txn", inner.json(hex))),
        None => None,
    };
    let inner = named.map_or_else(Json::object, |(name, json)| Json::object().raw(name, &json));
    Json::object().raw("Response", &inner.end()).end()
}

impl Answer for Watched {
    fn simple(&self, page: &mut Page) {
        for event in &self.0.events {
            page.line(match event.r#type() {
                EventType::Put => "PUT",
                EventType::Delete => "DELETE",
            });
            event.prev_kv.iter().chain(&event.kv).for_each(|pair| page.pair(pair));
        }
    }

    fn fields(&self, page: &mut Page) -> bool {
        page.header(self.0.header.as_ref());
        for event in &self.0.events {
            page.field("Type", event.r#type().as_str_name());
            event.prev_kv.iter().for_each(|pair| page.pair_fields("Prev", pair));
            event.kv.iter().for_each(|pair| page.pair_fields("", pair));
        }
        true
    }

    /// The struct of Go's client, not the message: no name of it is of the `.proto`.
    fn json(&self, _: bool) -> String {
        let header = self.0.header.unwrap_or_default();
        let events = if self.0.events.is_empty() {
            "null".to_owned()
        } else {
            let events = self.0.events.iter();
            let events =
                events.fold(Json::list(), |all, one| all.element(&json::of("mvccpb.Event", one)));
            events.end()
        };
        Json::object()
            .raw("Header", &json::of("etcdserverpb.ResponseHeader", &header))
            .raw("Events", &events)
            .plain("CompactRevision", self.0.compact_revision)
            .plain("Canceled", self.0.canceled)
            .plain("Created", self.0.created)
            .text("CancelReason", &self.0.cancel_reason)
            .end()
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        let WatchResponse { header, created, canceled, compact_revision, events, .. } =
            self.0.clone();
        let shown = WatchResponse {
            header,
            created,
            canceled,
            compact_revision,
            events,
            ..WatchResponse::default()
        };
        wire(&shown)
    }
}
