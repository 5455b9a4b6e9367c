//! The bytes of watch responses: of an event only what is wanted is looked for.

use crate::cli::bench::wire::{Field, Fields, Malformed, find};

// Fields of `WatchResponse`.
const CREATED: u64 = 3;
const CANCELED: u64 = 4;
const CANCEL_REASON: u64 = 6;
const EVENTS: u64 = 11;
// Fields of an event, and of the pair in it.
const TYPE: u64 = 1;
const PAIR: u64 = 2;
const KEY: u64 = 1;
const VALUE: u64 = 5;

/// What a response is, apart from its events.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) created: bool,
    pub(super) canceled: bool,
    pub(super) reason: String,
}

/// Goes through a response; each event is shown as it lies there.
pub(super) fn walk(
    message: &[u8],
    mut event: impl FnMut(&[u8]) -> Result<(), Malformed>,
) -> Result<Head, Malformed> {
    let mut head = Head::default();
    let mut fields = Fields(message);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (EVENTS, Field::Bytes(bytes)) => event(bytes)?,
            (CREATED, Field::Number(number)) => head.created = number != 0,
            (CANCELED, Field::Number(number)) => head.canceled = number != 0,
            (CANCEL_REASON, Field::Bytes(text)) => {
                head.reason = String::from_utf8_lossy(text).into_owned();
            }
            (_, Field::Number(_) | Field::Bytes(_)) => {}
        }
    }
    Ok(head)
}

/// The value in an event; empty if there is none.
pub(super) fn value_of(event: &[u8]) -> Result<&[u8], Malformed> {
    find(find(event, PAIR)?, VALUE)
}

/// The key that an event deletes, if it is a DELETE.
pub(super) fn deleted_key(event: &[u8]) -> Result<Option<&[u8]>, Malformed> {
    let mut fields = Fields(event);
    while let Some((number, field)) = fields.next()? {
        if let Field::Number(kind) = field
            && number == TYPE
            && kind != 0
        {
            return find(find(event, PAIR)?, KEY).map(Some);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::proto::{
        etcdserverpb::{ResponseHeader, WatchResponse},
        mvccpb::{Event, KeyValue, event::EventType},
    };

    fn response(values: &[&'static [u8]]) -> WatchResponse {
        let event = |value: &&'static [u8]| {
            let kv = KeyValue {
                key: "k".into(),
                mod_revision: i64::MAX,
                value: (*value).into(),
                lease: -1,
                ..KeyValue::default()
            };
            Event { kv: Some(kv.clone()), prev_kv: Some(kv), ..Event::default() }
        };
        let header = ResponseHeader { revision: 300, member_id: u64::MAX, ..Default::default() };
        WatchResponse {
            header: Some(header),
            watch_id: 1000,
            events: values.iter().map(event).collect(),
            ..WatchResponse::default()
        }
    }

    fn values(message: &[u8]) -> (Head, Vec<Vec<u8>>) {
        let mut values = Vec::new();
        let head = walk(message, |event| value_of(event).map(|value| values.push(value.to_vec())));
        (head.unwrap(), values)
    }

    /// Every event is seen, with the value of its pair and not with the one before.
    #[test]
    fn events_are_seen() {
        let (head, values) = values(&response(&[b"one", b"", b"three"]).encode_to_vec());

        assert_eq!(head, Head::default());
        assert_eq!(values, [&b"one"[..], b"", b"three"]);
    }

    /// Deletions are told from puts, and by the key of what was deleted.
    #[test]
    fn deletions_are_seen() {
        let event = |key: &'static str, kind: EventType| {
            let kv = |key: &'static str| KeyValue { key: key.into(), ..KeyValue::default() };
            Event { r#type: kind.into(), kv: Some(kv(key)), prev_kv: Some(kv("other")) }
        };
        let deleted = |event: Event| {
            let bytes = event.encode_to_vec();
            deleted_key(&bytes).unwrap().map(<[u8]>::to_vec)
        };

        assert_eq!(deleted(event("a", EventType::Delete)), Some(b"a".to_vec()));
        assert_eq!(deleted(event("b", EventType::Put)), None);
    }

    /// Answers to requests are told from events.
    #[test]
    fn answers_are_seen() {
        let created = WatchResponse { created: true, ..response(&[]) };
        let canceled =
            WatchResponse { canceled: true, cancel_reason: "no".to_owned(), ..response(&[]) };

        assert!(values(&created.encode_to_vec()).0.created);
        let head = Head { created: false, canceled: true, reason: "no".to_owned() };
        assert_eq!(values(&canceled.encode_to_vec()), (head, Vec::new()));
    }

    /// What is no watch response is refused, and nothing is read past an end.
    #[test]
    fn nonsense_is_refused() {
        let whole = response(&[b"value"]).encode_to_vec();
        let readable = (1..whole.len())
            .filter(|end| walk(&whole[..*end], |event| value_of(event).map(drop)).is_ok());
        assert_eq!(readable.count(), 2, "cuts between two of the three fields");
        assert_eq!(walk(&[0x5a, 5, 1], |_| Ok(())), Err(Malformed::Cut));
        assert_eq!(walk(&[0xff; 11], |_| Ok(())), Err(Malformed::Cut));
        assert_eq!(walk(&[0x0d, 0, 0, 0, 0], |_| Ok(())), Err(Malformed::Type(5)));
    }
}
