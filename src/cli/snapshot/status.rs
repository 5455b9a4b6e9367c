//! What a file holds, and whether it is whole.

use std::path::Path;

use serde::Serialize;

use super::form::{Answer, Form};
use crate::{
    backup::{self, KvHash, Survey},
    cli::{Error, Output, print::size},
    types::Revision,
};

/// The names are those of etcdutl's JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    hash: u32,
    revision: i64,
    total_key: u64,
    total_size: u64,
    version: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HashKv {
    hash: u32,
    hash_revision: i64,
    compact_revision: i64,
}

/// Reads a file to its end and tells what is in it.
pub(in crate::cli) fn status(file: &Path, form: Form, output: &mut Output) -> Result<(), Error> {
    let Survey { head, hash, data_bytes } =
        backup::survey(file).map_err(|error| of(file, &error))?;
    let status = Status {
        hash,
        revision: head.revision.0,
        total_key: head.keys,
        total_size: data_bytes,
        version: &head.origin.version,
    };
    let (keys, revision) = (status.total_key.to_string(), status.revision.to_string());
    let answer = Answer {
        columns: &[
            ("hash", format!("{hash:x}")),
            ("revision", revision.clone()),
            ("total keys", keys.clone()),
            ("total size", size(i64::try_from(data_bytes).unwrap_or(i64::MAX))),
            ("version", status.version.to_owned()),
        ],
        fields: &[
            ("Hash", hash.to_string()),
            ("Revision", revision),
            ("Keys", keys),
            ("Size", data_bytes.to_string()),
            ("Version", status.version.to_owned()),
        ],
        json: json(&status),
    };
    form.write(&answer, output)
}

/// Tells the checksum of the pairs that a file holds as of a revision.
pub(in crate::cli) fn hash_kv(
    file: &Path,
    revision: i64,
    form: Form,
    output: &mut Output,
) -> Result<(), Error> {
    let found = backup::kv_hash(file, Revision(revision)).map_err(|error| of(file, &error))?;
    let KvHash { hash, revision, compacted } = found;
    let json = json(&HashKv { hash, hash_revision: revision.0, compact_revision: compacted.0 });
    let (hash, revision) = (hash.to_string(), revision.to_string());
    let compacted = compacted.to_string();
    let columns = ["hash", "hash revision", "compact revision"];
    let fields = ["Hash", "Hash revision", "Compact revision"];
    let values = [hash, revision, compacted];
    let named =
        |names: [&'static str; 3]| names.into_iter().zip(values.clone()).collect::<Vec<_>>();
    form.write(&Answer { columns: &named(columns), fields: &named(fields), json }, output)
}

fn of(file: &Path, error: &backup::Error) -> Error {
    if matches!(error, backup::Error::Revision(_)) {
        return Error::failed(error);
    }
    Error::failed(format!("{}: {error}", file.display()))
}

fn json(of: &impl Serialize) -> String {
    serde_json::to_string(of).expect("numbers and a text make JSON")
}
