//! Random requests: good ones in all spellings, and most kinds of broken ones.

use serde_json::{Map, Value, json};

use super::case::Case;
use crate::rng::Rng;

const KEYS: [&str; 6] = ["YQ==", "YWI=", "Yg==", "Yi94", "Yi95", "_-8="];
const ENDS: [&str; 4] = ["Yw==", "AA==", "YWI=", "Yi96"];
const LEASES: [i64; 4] = [31, 32, 33, 34];
const ODD: [&str; 14] = [
    "null",
    "true",
    "[]",
    "{}",
    "\"\"",
    "\"x\"",
    "-1",
    "1.5",
    "7e0",
    "99999999999999999999",
    "\"7\"",
    "[null]",
    "{\"a\":1}",
    "\"!\"",
];

/// A request, when the store has this revision.
pub(super) fn case(rng: &mut Rng, newest: i64) -> Case {
    let (path, message, breaks) = match rng.below(20) {
        0..5 => ("kv/put", put(rng), true),
        5..9 => ("kv/range", range(rng, newest), true),
        9..11 => ("kv/deleterange", delete(rng), true),
        11..15 => ("kv/txn", txn(rng, 2), true),
        // A lease that is granted by mistake for a moment would end at another time on each server.
        15 => ("lease/grant", json!({ "ID": rng.pick(&LEASES), "TTL": 5_000 }), false),
        16 => {
            ("lease/timetolive", json!({ "ID": rng.pick(&LEASES), "keys": rng.once_in(2) }), true)
        }
        17 => ("lease/keepalive", json!({ "ID": rng.pick(&LEASES) }), false),
        18 => ("kv/lease/revoke", json!({ "ID": rng.pick(&LEASES) }), true),
        _ if rng.once_in(4) => {
            ("kv/compaction", json!({ "revision": rng.below(newest + 2) }), true)
        }
        _ => ("maintenance/hashkv", json!({ "revision": newest + rng.below(3) + 1 }), true),
    };
    let message = if breaks && rng.once_in(4) { broken(rng, message) } else { message };
    let mut body = written(rng, &message);
    if rng.once_in(12) && path != "lease/keepalive" {
        body = damaged(rng, &body);
    }
    let root = if rng.once_in(10) { "/v3beta/" } else { "/v3/" };
    let case = Case::post(&format!("{root}{path}"), body);
    match rng.below(40) {
        0 => case.method("PUT"),
        1 => case.method("GET"),
        2..6 => case.header("content-type", "application/x-www-form-urlencoded"),
        _ => case,
    }
}

fn put(rng: &mut Rng) -> Value {
    let mut message =
        json!({ "key": rng.pick(&KEYS), "value": rng.pick(&["MQ==", "PD4m", "", "YWJj"]) });
    if rng.once_in(3) {
        message["prev_kv"] = json!(true);
    }
    if rng.once_in(4) {
        message["lease"] = json!(rng.pick(&LEASES));
    }
    if rng.once_in(8) {
        message["ignore_value"] = json!(true);
    }
    message
}

fn range(rng: &mut Rng, newest: i64) -> Value {
    let mut message = json!({ "key": rng.pick(&KEYS) });
    if rng.once_in(2) {
        message["range_end"] = json!(rng.pick(&ENDS));
    }
    for (name, value) in [
        ("limit", json!(rng.below(4))),
        ("revision", json!(rng.below(newest + 2))),
        ("sort_order", json!(rng.pick(&["NONE", "ASCEND", "DESCEND"]))),
        ("keys_only", json!(true)),
        ("count_only", json!(true)),
        ("serializable", json!(false)),
        ("min_mod_revision", json!(rng.below(newest + 1))),
        ("max_create_revision", json!(rng.below(newest + 1))),
    ] {
        if rng.once_in(5) {
            message[name] = value;
        }
    }
    message
}

fn delete(rng: &mut Rng) -> Value {
    let mut message = json!({ "key": rng.pick(&KEYS), "prev_kv": rng.once_in(2) });
    if rng.once_in(4) {
        message["range_end"] = json!(rng.pick(&ENDS));
    }
    message
}

fn txn(rng: &mut Rng, depth: i64) -> Value {
    let list = |rng: &mut Rng| -> Vec<Value> {
        let count = rng.below(3);
        (0..count).map(|_| operation(rng, depth)).collect()
    };
    let mut message = json!({ "success": list(rng), "failure": list(rng) });
    if rng.once_in(2) {
        let (target, field, value) = rng.pick(&[
            ("VERSION", "version", "1"),
            ("CREATE", "create_revision", "0"),
            ("MOD", "mod_revision", "7"),
            ("VALUE", "value", "MQ=="),
            ("LEASE", "lease", "31"),
        ]);
        let result = rng.pick(&["EQUAL", "GREATER", "LESS", "NOT_EQUAL"]);
        let mut compare = json!({ "key": rng.pick(&KEYS), "target": target, "result": result });
        compare[field] = json!(value);
        message["compare"] = json!([compare]);
    }
    message
}

fn operation(rng: &mut Rng, depth: i64) -> Value {
    match rng.below(if depth > 0 { 7 } else { 6 }) {
        0..2 => {
            // A put that keeps what a delete before it took away ends etcd.
            json!({ "request_put": { "key": rng.pick(&KEYS), "value": "Mg==", "prev_kv": rng.once_in(2) } })
        }
        2..5 => {
            json!({ "request_range": { "key": rng.pick(&KEYS), "range_end": rng.pick(&ENDS) } })
        }
        5 => json!({ "request_delete_range": delete(rng) }),
        _ => json!({ "request_txn": txn(rng, depth - 1) }),
    }
}

/// The message with an odd value, or a name that nobody knows.
fn broken(rng: &mut Rng, mut message: Value) -> Value {
    let Some(fields) = message.as_object_mut() else { return message };
    let odd: Value = serde_json::from_str(rng.pick(&ODD)).unwrap();
    let names: Vec<String> = fields.keys().cloned().collect();
    if names.is_empty() || rng.once_in(3) {
        fields.insert(rng.pick(&["nope", "Key", "", "rangeend"]).to_owned(), odd);
        return message;
    }
    let name = &names[usize::try_from(rng.below(i64::try_from(names.len()).unwrap())).unwrap()];
    match fields.get_mut(name) {
        Some(Value::Array(items)) if !items.is_empty() => items[0] = broken(rng, items[0].take()),
        Some(value @ Value::Object(_)) => *value = broken(rng, value.take()),
        Some(value) => *value = odd,
        None => {}
    }
    message
}

/// The message as text, its names and numbers in one of their spellings.
fn written(rng: &mut Rng, message: &Value) -> String {
    spelled(rng, message).to_string()
}

fn spelled(rng: &mut Rng, value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let spelled: Map<String, Value> = fields
                .iter()
                .map(|(name, value)| {
                    let name = if rng.once_in(2) { camel(name) } else { name.clone() };
                    (name, spelled(rng, value))
                })
                .collect();
            Value::Object(spelled)
        }
        Value::Array(items) => items.iter().map(|item| spelled(rng, item)).collect(),
        Value::Number(number) if rng.once_in(2) => json!(number.to_string()),
        plain => plain.clone(),
    }
}

fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| {
        let (initial, rest) = word.split_at(word.len().min(1));
        name + &initial.to_uppercase() + rest
    })
}

/// The text with a byte lost, a byte too many, an end too early, or a field twice.
fn damaged(rng: &mut Rng, text: &str) -> String {
    let at = usize::try_from(rng.below(i64::try_from(text.len()).unwrap())).unwrap();
    let (before, after) = text.split_at(at);
    match rng.below(4) {
        0 => before.to_owned(),
        1 => format!("{before}{}", after.get(1..).unwrap_or_default()),
        2 => format!(
            "{before}{}{after}",
            rng.pick(&["{", "}", "\"", ",", ":", "x", " ", "0", "[", "\\"])
        ),
        _ => text.replacen('{', r#"{"key":"YQ==","#, 1),
    }
}
