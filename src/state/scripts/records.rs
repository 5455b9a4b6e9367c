//! The records of the state in words, and as they are on disk.

use std::fmt::Write as _;

use bytes::Bytes;
use goldenscript::Context;

use super::Output;
use crate::{
    state::{
        Family, Member,
        schema::{
            self, cnt, cur, evt,
            meta::{
                APPLIED_KEY, CLUSTER_KEY, CONF_STATE_KEY, FORMAT_KEY, STORE_KEY, Store,
                decode_applied, decode_cluster, decode_conf_state, decode_format, decode_member,
                decode_store,
            },
            ver,
        },
        testing::text,
    },
    types::KeyValue,
};

pub(super) fn pair_text(kv: &KeyValue) -> String {
    let lease = kv.lease.map(|id| format!(", lease {id}")).unwrap_or_default();
    let (key, value) = (text(kv.key.as_bytes()), text(&kv.value));
    let (create, modified, version) = (kv.create_revision, kv.mod_revision, kv.version);
    format!("{key}={value} created {create}, modified {modified}, version {version}{lease}")
}

/// A record that is written, or deleted without a value; with `[bytes]` also as it is on disk.
pub(super) fn record_text(
    family: Family,
    key: &[u8],
    value: Option<&Bytes>,
    context: &Context,
) -> Output {
    let name = key_text(family, key)?;
    let mut out = match value {
        Some(value) => format!("{} {name} => {}\n", family.name(), value_text(family, key, value)?),
        None => format!("{} {name} deleted\n", family.name()),
    };
    if context.tags.contains("bytes") {
        let value = value.map(|value| format!(" = {}", hex(value))).unwrap_or_default();
        let value = value.trim_end();
        writeln!(out, "    {}{value}", hex(key))?;
    }
    Ok(out)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn key_text(family: Family, key: &[u8]) -> Output {
    Ok(match (family, key) {
        (Family::Versions, _) => {
            let (escaped, _) = key.split_at(key.len() - 10);
            format!("{} modified {}", text(escaped), ver::modified(key)?)
        }
        (Family::Events, _) => evt::id(key)?.to_string(),
        (Family::Counts, [level, ..]) if cnt::is_former(key) => {
            let boundary = cnt::former_boundary(key)?;
            format!("former level {} {:?}", level - 2, text(&boundary))
        }
        (Family::Counts, [level, boundary @ ..]) => format!("level {level} {:?}", text(boundary)),
        (Family::Leases, [1, ..]) => schema::lease::id(key)?.to_string(),
        (Family::Leases, _) => {
            // Up to the id it is the key of the lease's own record, but for the tag.
            let id = schema::lease::id(&[&[1], &key[1..9]].concat())?;
            format!("{id} key {}", text(schema::lease::attached_key(key)?.as_bytes()))
        }
        (Family::Meta, _) if key.starts_with(b"member/") => format!("member/{}", key[14]),
        _ => text(key),
    })
}

fn value_text(family: Family, key: &[u8], value: &Bytes) -> Output {
    Ok(match family {
        Family::Current => pair_text(&cur::decode(value)?),
        Family::Versions => {
            let (end, pair) = ver::parse(value)?;
            format!("until {end}: {}", pair_text(&pair.to_pair()?))
        }
        Family::Events => {
            let change = evt::decode(key, value)?;
            let (key, retired) = (text(change.key.as_bytes()), change.retired_bytes);
            format!("{:?} of {key}, {retired} bytes retired", change.kind)
        }
        Family::Counts => {
            if cnt::is_former(key) {
                let (counts, end) = cnt::decode_former(key, value)?;
                return Ok(format!("until {end}: {}", counts_text(&counts)));
            }
            let bucket = cnt::decode(key, value)?;
            format!("{}; {} buckets", counts_text(&bucket.counts), bucket.buckets)
        }
        Family::Leases if value.is_empty() => "attached".to_owned(),
        Family::Leases => {
            let record = schema::lease::decode(key, value)?;
            let (times, others) =
                (record.times, if record.has_others { " and others" } else { "" });
            let keys = record.key.map(|key| format!(", key {}{others}", text(key.as_bytes())));
            let left = times.remaining.map(|left| left.0);
            format!("{} s, left {left:?}{}", times.granted.0, keys.unwrap_or_default())
        }
        Family::Meta => meta_text(key, value)?,
        Family::Auth => text(value),
    })
}

/// How many keys from which revision on, newest first.
fn counts_text(counts: &cnt::Counts) -> String {
    let all: Vec<_> = std::iter::once(&counts.newest)
        .chain(&counts.before)
        .map(|held| format!("{} keys from {}", held.keys, held.since))
        .collect();
    all.join(", ")
}

fn meta_text(key: &[u8], value: &Bytes) -> Output {
    Ok(match key {
        APPLIED_KEY => format!("{:?}", decode_applied(value)?),
        CLUSTER_KEY => decode_cluster(value)?.to_string(),
        CONF_STATE_KEY => format!("voters {:?}", decode_conf_state(value)?.voters),
        FORMAT_KEY => decode_format(value)?.to_string(),
        STORE_KEY => store_text(&decode_store(value)?),
        _ => {
            let Member { id, name, peer_urls, client_urls, .. } = decode_member(key, value)?;
            format!("member {id} {name:?} peers {peer_urls:?} clients {client_urls:?}")
        }
    })
}

fn store_text(store: &Store) -> String {
    let Store { revision, compacted, logical_size, retired_bytes, .. } = store;
    let given_up = store.compacted_retired_bytes;
    let alarms = store.alarms.len();
    format!(
        "revision {revision}, compacted {compacted}, {logical_size} bytes, \
         {retired_bytes} retired, {given_up} given up, {alarms} alarms"
    )
}
