//! Cut and flipped at every byte: a torn record is dropped, a damaged one is told.

use std::ops::Range;

use super::*;

const LEN: usize = 48;

/// A log of entries with one record each, as a kill leaves it, and its newest file's content.
fn killed_log(entries: u64) -> (TempDir, PathBuf, Vec<u8>) {
    let dir = temporary();
    let log = open(&dir);
    commit(&log, hard_state(1, 0));
    for index in 1..=entries {
        let entries = vec![entry_of(index, 1, LEN)];
        log.write(LogWrite { entries, hard_state: Some(hard_state(1, index - 1)) }).unwrap();
    }
    let killed = crash(&dir);
    let file = newest_file(&killed);
    let content = fs::read(&file).unwrap();
    (killed, file, content)
}

/// Where the records of a file are: each begins with its length, and the first follows the head.
fn records(content: &[u8]) -> Vec<Range<usize>> {
    let mut records = Vec::new();
    let mut start = files::HEAD.len();
    while let Some(Ok(head)) = content.get(start..start + 8).map(<[u8; 8]>::try_from) {
        let len = usize::try_from(u64::from_be_bytes(head) >> 8).unwrap();
        if len == 0 {
            break;
        }
        records.push(start..start + len);
        start += len;
    }
    records
}

/// The log with this content in its newest file.
fn load(dir: &TempDir) -> Result<LogState, Fault> {
    Log::open(&data_dir(dir), SMALL)?.load()
}

/// Cut at every byte of the last three records, the log ends with the last whole one, and goes on
/// from there.
#[test]
fn rr_59_a_log_cut_anywhere_ends_with_its_last_whole_record() {
    let (dir, file, content) = killed_log(6);
    // The first holds no entry.
    let records = records(&content);
    assert_eq!(records.len(), 7);
    let end = records[6].end;
    for cut in records[4].start..end {
        let whole = records.iter().filter(|record| record.end <= cut).count() as u64 - 1;
        let mut torn = content.clone();
        // A record whose missing bytes are zeros anyway is whole.
        let rest = cut..records.iter().find(|record| cut < record.end).unwrap().end;
        let expected = if torn[rest].iter().any(|byte| *byte != 0) { whole } else { whole + 1 };
        torn[cut..].fill(0);
        fs::write(&file, torn).unwrap();
        let log = open(&dir);
        let state = log.load().unwrap();
        assert_eq!(state.last, position(expected, 1), "cut at {cut} of {end}");
        assert_eq!(state.hard_state, hard_state(1, expected - 1), "cut at {cut} of {end}");
        append(&log, vec![entry(expected + 1, 2)]);
    }
}

/// A flipped bit anywhere in the last three records is told, the last record among them, and the
/// file is left for whoever looks into it.
#[test]
fn rr_60_a_flipped_bit_in_the_tail_is_told() {
    let (dir, file, content) = killed_log(6);
    let records = records(&content);
    let end = records[6].end;
    for at in records[4].start..end {
        let mut damaged = content.clone();
        damaged[at] ^= 1 << (at % 8);
        fs::write(&file, &damaged).unwrap();
        match load(&dir) {
            Ok(state) => panic!("byte {at} of {end} went unnoticed: {state:?}"),
            Err(fault) => {
                let fault = fault.to_string();
                assert!(fault.contains(file.to_str().unwrap()), "byte {at}: {fault}");
            }
        }
        assert_eq!(fs::read(&file).unwrap()[..end], damaged[..end], "byte {at}");
    }
}

/// A flipped bit in an older file is told with that file's name.
#[test]
fn rr_60_a_flipped_bit_in_an_older_file_is_told() {
    let dir = temporary();
    let log = open(&dir);
    for index in 1..=40 {
        append(&log, vec![entry_of(index, 1, 4096)]);
    }
    let killed = crash(&dir);
    let file = files_of(&killed).remove(0);
    let content = fs::read(&file).unwrap();
    let last = (1..=40).rev().find(|index| holds(&content, *index, 4096)).unwrap();
    let end = place_of(&content, last, 4096) + 4096;
    for at in (0..end).step_by(1_709) {
        let mut damaged = content.clone();
        damaged[at] ^= 1 << (at % 8);
        fs::write(&file, &damaged).unwrap();
        let fault = load(&killed).map(|state| state.last).unwrap_err().to_string();
        assert!(fault.contains(file.to_str().unwrap()), "byte {at}: {fault}");
    }
}

/// A log whose last record, the fourth, spans many pages, and where that is in its newest file.
fn log_with_long_record() -> (TempDir, PathBuf, Vec<u8>, Range<usize>) {
    let dir = temporary();
    let log = open(&dir);
    for index in 1..=3 {
        append(&log, vec![entry_of(index, 1, LEN)]);
    }
    append(&log, vec![entry_of(4, 1, 64 * 1024)]);
    let killed = crash(&dir);
    let file = newest_file(&killed);
    let content = fs::read(&file).unwrap();
    let last = records(&content).pop().unwrap();
    assert!(last.len() > 64 * 1024);
    (killed, file, content, last)
}

/// Power is lost while a long record is synced: any of its pages may be missing, in any order.
#[test]
fn rr_59_a_long_record_may_miss_any_page() {
    const PAGE: usize = 4096;
    let (dir, file, content, last) = log_with_long_record();
    let pages: Vec<usize> = (last.start / PAGE..last.end.div_ceil(PAGE)).collect();
    let mut subsets: Vec<Vec<usize>> = pages.iter().map(|page| vec![*page]).collect();
    subsets.extend((2..6).map(|step| pages.iter().copied().step_by(step).collect()));
    subsets.extend((2..6).map(|step| pages.iter().copied().skip(1).step_by(step).collect()));
    subsets.push(pages.iter().copied().skip(1).collect());
    subsets.push(pages);
    for subset in subsets {
        let mut torn = content.clone();
        for page in &subset {
            let start = last.start.max(page * PAGE);
            torn[start..last.end.min((page + 1) * PAGE)].fill(0);
        }
        fs::write(&file, torn).unwrap();
        assert_eq!(load(&dir).unwrap().last, position(3, 1), "without pages {subset:?}");
        let log = open(&dir);
        append(&log, vec![entry(4, 2)]);
        drop(log);
        assert_eq!(load(&dir).unwrap().last, position(4, 2), "without pages {subset:?}");
    }
}

/// One flipped bit in a long last record is told, in its data and the kind of compression too.
#[test]
fn rr_60_a_flipped_bit_in_a_long_record_is_told() {
    let (dir, file, content, last) = log_with_long_record();
    let ends = (last.start..last.start + 24).chain(last.end - 80..last.end);
    let mut bits: Vec<_> = ends.map(|at| (at, at % 8)).collect();
    bits.push((last.start + 7, 0));
    bits.extend(last.clone().step_by(1_709).map(|at| (at, at % 8)));
    for (at, bit) in bits {
        let mut damaged = content.clone();
        damaged[at] ^= 1 << bit;
        fs::write(&file, &damaged).unwrap();
        assert!(load(&dir).is_err(), "byte {at}, bit {bit} in {last:?} went unnoticed");
        assert_eq!(fs::read(&file).unwrap(), damaged, "byte {at}");
    }
}

/// A crash while a file is begun: the log starts, takes an entry, and starts again with it.
#[test]
fn rr_59_a_file_that_was_only_begun_is_begun_again() {
    let fronts = [0, 1, 20, 53, 60, 61, 68].map(|len| files::HEAD[..len].to_vec());
    let zeros = fronts.iter().map(|front| {
        let mut front = front.clone();
        front.resize(64 * 1024, 0);
        front
    });
    for front in fronts.iter().cloned().chain(zeros) {
        for name in ["0000000000000001.rewrite", "0000000000000002.raftlog"] {
            let dir = temporary();
            let log = open(&dir);
            append(&log, (1..=3).map(|index| entry(index, 1)).collect());
            drop(log);
            fs::write(dir.path().join("log").join(name), &front).unwrap();
            goes_on_twice(&dir, 3);
        }
        let dir = temporary();
        drop(open(&dir));
        fs::write(newest_file(&dir), &front).unwrap();
        goes_on_twice(&dir, 0);
    }
}

/// A reused file still has the head and the records of its earlier life when it is begun.
#[test]
fn rr_59_a_reused_file_that_was_only_renamed_is_begun_again() {
    let dir = temporary();
    let log = open(&dir);
    append(&log, (1..=3).map(|index| entry(index, 1)).collect());
    drop(log);
    let file = newest_file(&dir);
    fs::copy(&file, file.with_file_name("0000000000000002.raftlog")).unwrap();
    goes_on_twice(&dir, 3);
}

/// The log has this many entries, and all that is appended between three starts.
fn goes_on_twice(dir: &TempDir, entries: u64) {
    for last in entries..entries + 3 {
        let log = open(dir);
        assert_eq!(log.load().unwrap().last.index, Index(last));
        append(&log, vec![entry(last + 1, 1)]);
    }
    let log = open(dir);
    assert_eq!(indexes(&log, 1, entries + 4, u64::MAX), (1..=entries + 3).collect::<Vec<_>>());
}
