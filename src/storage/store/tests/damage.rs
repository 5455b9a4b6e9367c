//! Flipped bits in the state's files: each is told, with the file's name, or does no harm. What is
//! read is never wrong, and never less than it was.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::*;
use crate::storage::testing::copy_of;

type Dump = BTreeMap<(Family, Vec<u8>), Vec<u8>>;

const RECORDS: u64 = 600;

/// Bytes that do not compress.
fn noise(seed: u64, len: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_be_bytes());
    }
    bytes.truncate(len);
    bytes.into()
}

/// A state in several files and levels, closed.
fn build(dir: &TempDir) -> Dump {
    let store = open(dir);
    for round in 0..3 {
        for number in (round..RECORDS).step_by(3) {
            let mut writes = writes("a", "x", number);
            for family in [Family::Current, Family::Counts] {
                let key = Bytes::copy_from_slice(&number.to_be_bytes());
                writes.records.insert((family, key), Some(noise(number, 200)));
            }
            store.commit(writes).unwrap();
        }
        store.flush().unwrap();
        if round == 1 {
            compact(&store.current(), Family::Current);
        }
    }
    dump(&store).unwrap()
}

fn dump(store: &Store) -> Result<Dump, Fault> {
    let view = store.view()?;
    let mut dump = Dump::new();
    for family in Family::ALL {
        view.scan(family, &[], None, Direction::Forward, &mut |key, value| {
            dump.insert((family, key.to_vec()), value.to_vec());
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(dump)
}

fn files_named(dir: &TempDir, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let list = fs::read_dir(dir.path().join("state-1")).unwrap();
    let mut files: Vec<_> = list.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| wanted(path.file_name().unwrap().to_str().unwrap()));
    files.sort();
    files
}

/// Flips one bit of the file at this place in the state's directory.
fn flip(dir: &TempDir, file: &Path, at: usize) {
    let path = dir.path().join("state-1").join(file.file_name().unwrap());
    let mut content = fs::read(&path).unwrap();
    content[at] ^= 1 << (at % 8);
    fs::write(&path, content).unwrap();
}

/// Some places all over a file, and those at its end.
fn places(file: &Path, count: usize, at_end: usize) -> Vec<usize> {
    let len = usize::try_from(fs::metadata(file).unwrap().len()).unwrap();
    let step = (len / count).max(1);
    let mut places: Vec<usize> = (step / 2..len).step_by(step).collect();
    places.extend((len.saturating_sub(at_end)..len).step_by(7));
    places
}

/// What comes of a start with this damage, and of reading everything.
fn open_and_read(dir: &TempDir) -> Result<Dump, Fault> {
    let store = Store::open(&data_dir(dir), StoreOptions::default())?;
    dump(&store)
}

/// Wherever a bit of a table's file is flipped, what is read is right or an error that names it.
#[test]
fn a_damaged_table_is_named_or_harmless() {
    let dir = temporary();
    let whole = build(&dir);
    let mut noticed = 0;
    let files = files_named(&dir, |name| name.ends_with(".sst"));
    assert!(files.len() > 3, "{files:?}");
    for file in files.iter().filter(|file| fs::metadata(file).unwrap().len() > 4_096) {
        for at in places(file, 12, 56) {
            let damaged = copy_of(&dir);
            flip(&damaged, file, at);
            match open_and_read(&damaged) {
                Ok(found) => assert_eq!(found, whole, "{} at {at}", file.display()),
                Err(fault) => {
                    noticed += 1;
                    let name = file.file_name().unwrap().to_str().unwrap();
                    assert!(fault.to_string().contains(name), "{name} at {at}: {fault}");
                }
            }
        }
    }
    assert!(noticed > 20, "{noticed}");
}

/// The list of tables, and the file that names it: a flipped bit is noticed at start, by name. But
/// for one that makes the list's last record look unfinished, as a crash within a flush leaves it:
/// then the state is that of the flush before, whole, and says so. The log is replayed from there,
/// or is found to begin too late.
#[test]
fn a_damaged_list_of_tables_is_refused_or_harmless() {
    let dir = temporary();
    let whole = build(&dir);
    let flushed = open(&copy_of(&dir)).flushed().unwrap();
    let mut noticed = 0;
    for file in files_named(&dir, |name| name.starts_with("MANIFEST") || name == "CURRENT") {
        for at in places(&file, 20, 140) {
            let damaged = copy_of(&dir);
            flip(&damaged, &file, at);
            match open_and_read(&damaged) {
                Ok(found) if found == whole => (), // what the last record said was known anyway
                Ok(found) => {
                    let place = format!("{} at {at}", file.display());
                    let earlier = open(&damaged).flushed().unwrap();
                    assert!(earlier.index < flushed.index, "{place} went unnoticed");
                    assert!(whole.len() > found.len(), "{place}");
                    let is_kept = |record: &(&(Family, Vec<u8>), &Vec<u8>)| {
                        record.0.0 == Family::Meta || whole.get(record.0) == Some(record.1)
                    };
                    assert!(found.iter().all(|record| is_kept(&record)), "{place}");
                }
                Err(fault) => {
                    noticed += 1;
                    let state = damaged.path().join("state-1");
                    let text = fault.to_string();
                    assert!(text.contains(state.to_str().unwrap()), "{}: {text}", file.display());
                }
            }
        }
    }
    assert!(noticed > 30, "{noticed}");
}

/// Damage that only a compaction comes upon, in the background, is found by the next check.
#[test]
fn damage_found_in_the_background_is_told() {
    let dir = temporary();
    build(&dir);
    let store = open(&dir);
    let live = store.current().db().live_files().unwrap();
    let table = live.iter().find(|file| file.column_family_name == "cnt").unwrap();
    let file = dir.path().join("state-1").join(table.name.trim_start_matches('/'));
    drop(store);
    flip(&dir, &file, 3_000);

    let store = open(&dir);
    store.check().unwrap();
    compact(&store.current(), Family::Counts);
    let fault = store.check().unwrap_err().to_string();
    assert!(fault.contains(file.file_name().unwrap().to_str().unwrap()), "{fault}");
    let refused = store.commit(writes("b", "y", 9_999)).unwrap_err().to_string();
    assert!(refused.contains("block checksum mismatch"), "{refused}");
}
