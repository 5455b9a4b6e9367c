mod damage;

use std::{fs, path::PathBuf};

use tempfile::TempDir;

use super::*;
use crate::{
    storage::{
        DataDirError,
        testing::{crash, data_dir, temporary},
    },
    types::MemberId,
};

/// Small files, so that a test fills several; nothing written ahead.
const SMALL: LogOptions =
    LogOptions { file_bytes: 64 * 1024, purge_bytes: 256 * 1024, prefill_bytes: 0 };

fn open(dir: &TempDir) -> Log {
    Log::open(&data_dir(dir), SMALL).unwrap()
}

fn open_fault(dir: &TempDir) -> String {
    match Log::open(&data_dir(dir), SMALL) {
        Ok(_) => panic!("a damaged log was opened"),
        Err(fault) => fault.to_string(),
    }
}

fn entry(index: u64, term: u64) -> LogEntry {
    entry_of(index, term, 100)
}

fn entry_of(index: u64, term: u64, len: usize) -> LogEntry {
    let data = vec![u8::try_from(index % 251).unwrap(); len].into();
    LogEntry { index, term, data, ..LogEntry::default() }
}

fn position(index: u64, term: u64) -> Position {
    Position { index: Index(index), term: Term(term) }
}

fn hard_state(term: u64, commit: u64) -> HardState {
    HardState { term: Term(term), vote: Some(MemberId(7)), commit: Index(commit) }
}

fn append(log: &Log, entries: Vec<LogEntry>) {
    log.write(LogWrite { entries, hard_state: None }).unwrap();
}

fn commit(log: &Log, state: HardState) {
    log.write(LogWrite { entries: vec![], hard_state: Some(state) }).unwrap();
}

fn indexes(log: &Log, low: u64, high: u64, bytes_max: u64) -> Vec<u64> {
    let entries = log.entries(Index(low), Index(high), bytes_max).unwrap();
    entries.iter().map(|entry| entry.index).collect()
}

/// The newest file that entries are appended to.
fn newest_file(dir: &TempDir) -> PathBuf {
    files_of(dir).pop().unwrap()
}

fn files_of(dir: &TempDir) -> Vec<PathBuf> {
    let list = fs::read_dir(dir.path().join("log")).unwrap();
    let mut files: Vec<_> = list.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "raftlog"));
    files.sort();
    files
}

/// Where in a file the data of an entry is, by its length in bytes.
fn place_of(content: &[u8], index: u64, len: usize) -> usize {
    let data = entry_of(index, 1, len).data;
    content.windows(len).position(|window| *window == *data).unwrap()
}

fn holds(content: &[u8], index: u64, len: usize) -> bool {
    let data = entry_of(index, 1, len).data;
    content.windows(len).any(|window| *window == *data)
}

/// An empty log has no entries, and is about to append the first.
#[test]
fn an_empty_log_is_empty() {
    let dir = temporary();
    let state = open(&dir).load().unwrap();
    assert_eq!(state.hard_state, HardState::default());
    assert_eq!((state.truncated, state.last), (position(0, 0), position(0, 0)));
    assert!(state.term_runs.is_empty());
}

/// What was written is there after the log was closed, and after the process was killed.
#[test]
fn a_write_survives() {
    let dir = temporary();
    let log = open(&dir);
    log.write(LogWrite {
        entries: vec![entry(1, 1), entry(2, 1), entry(3, 4)],
        hard_state: Some(hard_state(4, 2)),
    })
    .unwrap();
    let killed = crash(&dir);
    drop(log);

    for dir in [dir, killed] {
        let log = open(&dir);
        let state = log.load().unwrap();
        assert_eq!(state.hard_state, hard_state(4, 2));
        assert_eq!(state.last, position(3, 4));
        assert_eq!(state.term_runs, [position(1, 1), position(3, 4)]);
        let entries = log.entries(Index(1), Index(4), u64::MAX).unwrap();
        assert_eq!(entries, [entry(1, 1), entry(2, 1), entry(3, 4)]);
    }
}

/// Entries that conflict with a suffix of the log replace all of it.
#[test]
fn a_conflicting_suffix_is_replaced() {
    let dir = temporary();
    let log = open(&dir);
    append(&log, (1..=6).map(|index| entry(index, 1)).collect());
    append(&log, vec![entry(3, 2), entry(4, 2)]);
    assert_eq!(log.load().unwrap().last, position(4, 2));
    drop(log);

    let state = open(&dir).load().unwrap();
    assert_eq!(state.last, position(4, 2));
    assert_eq!(state.term_runs, [position(1, 1), position(3, 2)]);
}

/// Entries that leave a gap, overlap what was dropped, or skip an index are refused, and nothing of
/// them is written.
#[test]
fn entries_that_do_not_join_are_refused() {
    let dir = temporary();
    let log = open(&dir);
    append(&log, (1..=4).map(|index| entry(index, 1)).collect());
    log.truncate(position(2, 1)).unwrap();
    for entries in [vec![entry(6, 1)], vec![entry(2, 1)], vec![entry(5, 1), entry(7, 1)]] {
        let refused = log.write(LogWrite { entries, hard_state: Some(hard_state(9, 4)) });
        assert!(refused.unwrap_err().to_string().contains("do not join a log of 3 to 4"));
    }
    let state = log.load().unwrap();
    assert_eq!((state.hard_state, state.last), (HardState::default(), position(4, 1)));
}

/// A read gives what fits, and at least one entry.
#[test]
fn reads_respect_their_bound() {
    let dir = temporary();
    let log = open(&dir);
    append(&log, (1..=5).map(|index| entry_of(index, 1, 1000)).collect());
    assert_eq!(indexes(&log, 1, 6, 2500), [1, 2]);
    assert_eq!(indexes(&log, 3, 6, 1), [3]);
    assert_eq!(indexes(&log, 2, 4, u64::MAX), [2, 3]);
    assert!(indexes(&log, 2, 2, u64::MAX).is_empty());
}

/// A truncated log begins after the entry named, also after a restart, and also when it was the
/// last one.
#[test]
fn truncation_survives() {
    let dir = temporary();
    let log = open(&dir);
    append(&log, (1..=9).map(|index| entry(index, index)).collect());
    log.truncate(position(4, 4)).unwrap();
    drop(log);

    let log = open(&dir);
    let state = log.load().unwrap();
    assert_eq!((state.truncated, state.last), (position(4, 4), position(9, 9)));
    assert_eq!(state.term_runs.first(), Some(&position(5, 5)));
    assert!(log.entries(Index(4), Index(6), u64::MAX).is_err());
    assert!(log.truncate(position(10, 9)).is_err());

    log.truncate(position(9, 9)).unwrap();
    drop(log);
    let log = open(&dir);
    let state = log.load().unwrap();
    assert_eq!((state.truncated, state.last), (position(9, 9), position(9, 9)));
    append(&log, vec![entry(10, 9)]);
    assert_eq!(log.load().unwrap().term_runs, [position(10, 9)]);
}

/// A reset log is empty after the position given, whatever was in it, and goes on from there.
#[test]
fn reset_begins_anew() {
    let dir = temporary();
    let log = open(&dir);
    append(&log, (1..=9).map(|index| entry(index, 1)).collect());
    log.reset(position(100, 6), hard_state(6, 100)).unwrap();
    let killed = crash(&dir);
    append(&log, vec![entry(101, 7)]);
    drop(log);

    let state = open(&killed).load().unwrap();
    assert_eq!((state.truncated, state.last), (position(100, 6), position(100, 6)));
    assert_eq!(state.hard_state, hard_state(6, 100));
    assert!(state.term_runs.is_empty());
    assert_eq!(open(&dir).load().unwrap().last, position(101, 7));
}

/// Files of dropped entries are given up, so the log's size stays bounded, and what is left can be
/// opened after a kill at any time.
#[test]
fn dropped_entries_give_up_their_files() {
    let dir = temporary();
    let log = open(&dir);
    for end in (40..=2_000).step_by(40) {
        append(&log, (end - 39..=end).map(|index| entry_of(index, 1, 4096)).collect());
        commit(&log, hard_state(1, end));
        log.truncate(position(end - 10, 1)).unwrap();
    }
    let bytes: u64 = files_of(&dir).iter().map(|file| file.metadata().unwrap().len()).sum();
    assert!(bytes < 4 * SMALL.purge_bytes, "{bytes} bytes of files for ten entries");
    let killed = crash(&dir);
    drop(log);

    for dir in [dir, killed] {
        let log = open(&dir);
        let state = log.load().unwrap();
        assert_eq!((state.truncated, state.last), (position(1_990, 1), position(2_000, 1)));
        assert_eq!(state.hard_state, hard_state(1, 2_000));
        append(&log, vec![entry(2_001, 1)]);
    }
}

/// Dropped entries that the engine had copied elsewhere do not come back when the file with the
/// command that dropped them is given up.
#[test]
fn dropped_entries_do_not_come_back() {
    let dir = temporary();
    let log = open(&dir);
    let fill = || {
        for _ in 0..10 {
            append(&log, vec![entry_of(11, 1, 64 * 1024)]);
        }
        log.purge().unwrap();
    };
    append(&log, (1..=10).map(|index| entry(index, 1)).collect());
    fill();
    log.truncate(position(5, 1)).unwrap();
    fill();
    drop(log);

    let log = open(&dir);
    let state = log.load().unwrap();
    assert_eq!((state.truncated, state.last), (position(5, 1), position(11, 1)));
    assert_eq!(state.term_runs, [position(6, 1)]);
    assert!(log.entries(Index(5), Index(6), u64::MAX).is_err());
}

/// A record that a crash left half written is dropped, wherever it was cut, and only it.
#[test]
fn a_torn_last_record_is_dropped() {
    let dir = temporary();
    let log = open(&dir);
    for index in 1..=5 {
        append(&log, vec![entry_of(index, 1, 500)]);
    }
    let killed = crash(&dir);
    let file = newest_file(&killed);
    let content = fs::read(&file).unwrap();
    // Behind the footer of entry 4. Files are allocated ahead, so zeros may follow what was written.
    let start = place_of(&content, 4, 500) + 500 + 60;
    let end = place_of(&content, 5, 500) + 500;
    for cut in (start..end).step_by(53) {
        for zeros in [0, 9_000] {
            let torn = content.iter().take(cut).copied().chain(vec![0; zeros]);
            fs::write(&file, torn.collect::<Vec<u8>>()).unwrap();
            let log = open(&killed);
            assert_eq!(log.load().unwrap().last, position(4, 1), "cut at {cut}");
            append(&log, vec![entry(5, 2)]);
            assert_eq!(log.load().unwrap().last, position(5, 2));
        }
    }
}

/// No single flipped bit takes away more than the last record without a word.
#[test]
fn a_flipped_bit_is_noticed() {
    let dir = temporary();
    let log = open(&dir);
    for index in 1..=20 {
        append(&log, vec![entry_of(index, 1, 500)]);
    }
    commit(&log, hard_state(1, 19));
    let killed = crash(&dir);
    let file = newest_file(&killed);
    let content = fs::read(&file).unwrap();
    let end = place_of(&content, 20, 500);
    let mut noticed = 0;
    for at in (0..end).step_by(127) {
        let mut damaged = content.clone();
        damaged[at] ^= 1 << (at % 8);
        fs::write(&file, damaged).unwrap();
        match Log::open(&data_dir(&killed), SMALL).and_then(|log| log.load()) {
            Err(_) => noticed += 1,
            Ok(state) => assert_eq!((state.last, at > 0), (position(20, 1), true), "byte {at}"),
        }
    }
    assert_eq!(noticed, end.div_ceil(127), "every byte before the last record counts");
}

/// A damaged record with valid ones behind it is no crash: the log is refused, and the file left
/// as it was.
#[test]
fn a_damaged_record_in_the_middle_is_refused() {
    let dir = temporary();
    let log = open(&dir);
    for index in 1..=50 {
        append(&log, vec![entry_of(index, 1, 500)]);
    }
    let killed = crash(&dir);
    let file = newest_file(&killed);
    let mut content = fs::read(&file).unwrap();
    // The first byte behind the data of entry 20 belongs to the footer of its record.
    let footer = place_of(&content, 20, 500) + 500;
    content[footer..footer + 24].iter_mut().for_each(|byte| *byte ^= 0x40);
    fs::write(&file, &content).unwrap();

    let fault = open_fault(&killed);
    assert!(fault.contains("synced entries would be lost"), "{fault}");
    assert!(fault.contains(file.to_str().unwrap()), "{fault}");
    assert_eq!(fs::read(&file).unwrap(), content);

    // Neither do zeros hide what is behind them.
    let (start, end) = (place_of(&content, 10, 500), place_of(&content, 50, 500));
    content[start..end - 300].fill(0);
    assert!(end - start > 2 * 4096);
    fs::write(&file, &content).unwrap();
    let fault = open_fault(&killed);
    assert!(fault.contains("synced entries would be lost"), "{fault}");
}

/// A file that others follow must be whole, its last record too.
#[test]
fn a_damaged_older_file_is_refused() {
    let dir = temporary();
    let log = open(&dir);
    for index in 1..=50 {
        append(&log, vec![entry_of(index, 1, 4096)]);
    }
    let cut = crash(&dir);
    let file = files_of(&cut).remove(0);
    let content = fs::read(&file).unwrap();
    fs::write(&file, &content[..content.len() - 10]).unwrap();
    let fault = open_fault(&cut);
    assert!(fault.contains(cut.path().to_str().unwrap()), "{fault}");

    let damaged = crash(&dir);
    let file = files_of(&damaged).remove(0);
    let mut content = content;
    let last = (1..=50).rev().find(|index| holds(&content, *index, 4096)).unwrap();
    let at = place_of(&content, last, 4096) + 100;
    content[at] ^= 1;
    fs::write(&file, content).unwrap();
    let fault = open_fault(&damaged);
    assert!(fault.contains(file.to_str().unwrap()) && fault.contains("follows it"), "{fault}");
}

/// Damage within an entry's data is found when the log is loaded, not when a member asks for it.
#[test]
fn a_damaged_entry_is_refused() {
    let dir = temporary();
    let log = open(&dir);
    for index in 1..=50 {
        append(&log, vec![entry_of(index, 1, 500)]);
    }
    let killed = crash(&dir);
    let file = newest_file(&killed);
    let mut content = fs::read(&file).unwrap();
    let at = place_of(&content, 20, 500) + 100;
    content[at] ^= 1;
    fs::write(&file, content).unwrap();

    let fault = open(&killed).load().unwrap_err().to_string();
    assert!(fault.contains("read entries"), "{fault}");
}

/// A log that ends before what was committed has lost synced entries.
#[test]
fn a_log_that_ends_before_its_commit_is_refused() {
    let dir = temporary();
    let log = open(&dir);
    append(&log, vec![entry(1, 1), entry(2, 1)]);
    commit(&log, hard_state(1, 3));
    let fault = log.load().unwrap_err().to_string();
    assert!(fault.contains("ends with entry 2, but entry 3 was committed"), "{fault}");
}

/// Writing ahead makes files that a log then uses, and a killed log with them opens.
#[test]
fn prefilled_files_are_used() {
    let dir = temporary();
    let options = LogOptions { prefill_bytes: 2 * SMALL.file_bytes, ..SMALL };
    let log = Log::open(&data_dir(&dir), options).unwrap();
    for index in 1..=40 {
        append(&log, vec![entry_of(index, 1, 4096)]);
    }
    let killed = crash(&dir);
    assert!(files_of(&killed).len() > 1);
    let log = Log::open(&data_dir(&killed), options).unwrap();
    assert_eq!(log.load().unwrap().last, position(40, 1));
}

/// The log holds its data directory: nobody else opens that before the log is closed.
#[test]
fn an_open_log_keeps_others_out() {
    let dir = temporary();
    let log = open(&dir);
    assert!(matches!(DataDir::open(dir.path()), Err(DataDirError::InUse { .. })));
    drop(log);
    DataDir::open(dir.path()).unwrap();
}
