use std::ops::ControlFlow;

use proptest::prelude::*;

use super::{
    head::{CHUNK_BYTES, HEAD_BYTES, PAYLOAD_BYTES},
    read::Reader,
    *,
};
use crate::{
    state::{
        hash, image,
        testing::{Machine, MapView, compact, delete, grant, put},
    },
    types::{ClusterId, MemberId, Revision},
};

fn origin() -> Origin {
    Origin { cluster: ClusterId(0xc1), member: MemberId(0xa1), version: "3.7.0".into() }
}

fn go_on(_: usize) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn pieces_of(view: &MapView) -> Vec<Vec<u8>> {
    let head = measure(view, origin(), &mut go_on).unwrap().unwrap();
    let mut pieces = Vec::new();
    let mut sink = |piece: bytes::Bytes| {
        pieces.push(piece.to_vec());
        ControlFlow::Continue(())
    };
    assert!(write(view, &head, &mut go_on, &mut sink).unwrap());
    pieces
}

fn file_of(view: &MapView) -> Vec<u8> {
    pieces_of(view).concat()
}

fn read_all(file: &[u8], check: HashCheck) -> Result<(Head, Vec<Record>), Error> {
    let mut reader = Reader::new(file, file.len() as u64, check)?;
    let mut records = Vec::new();
    while let Some(record) = reader.next_record()? {
        records.push(record);
    }
    Ok((reader.head().clone(), records))
}

fn records_of(view: &MapView) -> Vec<Record> {
    let mut records = Vec::new();
    image::records(view, &mut |family, key, value| {
        let (key, value) = (key.to_vec().into(), value.to_vec().into());
        records.push(Record { family, key, value });
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    records
}

fn small() -> Machine {
    let mut machine = Machine::after([
        grant(7),
        put("a").value("1").into(),
        put("b").attached_to(7).into(),
        put("a").value("2").into(),
    ]);
    machine.apply(delete("b"));
    machine.apply(put("c"));
    machine.apply(compact(4));
    machine
}

/// A state of several chunks, with values that are longer than one.
fn large() -> Machine {
    let mut machine = small();
    for (name, len) in [("l1", 100), ("l2", 80_000), ("l3", 40_000), ("l4", 32_764)] {
        machine.apply(put(name).value(&"x".repeat(len)));
    }
    machine
}

/// What is read is what was written, and the head tells what it is.
#[test]
fn a_file_gives_back_what_was_saved() {
    for machine in [Machine::new(), small(), large()] {
        let file = file_of(machine.view());

        let (head, records) = read_all(&file, HashCheck::Required).unwrap();

        assert_eq!(records, records_of(machine.view()));
        assert_eq!(head.origin, origin());
        assert_eq!(head.revision, Revision(machine.revision()));
        assert_eq!(head.keys, machine.keys().len() as u64);
        assert_eq!(head.records, records.len() as u64);
        assert_eq!(head.file_bytes(), file.len() as u64);
        assert_eq!(file.len() % 512, 32, "or etcd's clients refuse it");
    }
}

/// A piece is never larger than a client's buffer, and none is empty.
#[test]
fn a_file_comes_in_pieces() {
    let pieces = pieces_of(large().view());
    assert_eq!(pieces.first().unwrap().len(), HEAD_BYTES);
    assert_eq!(pieces.last().unwrap().len(), 32);
    let chunks = &pieces[1..pieces.len() - 1];
    let (last, full) = chunks.split_last().unwrap();
    assert!(full.len() > 3 && full.iter().all(|chunk| chunk.len() == CHUNK_BYTES));
    assert!(!last.is_empty() && last.len().is_multiple_of(512));
}

/// No changed byte goes unnoticed; without a look at the SHA-256, none before it.
#[test]
fn every_changed_byte_is_noticed() {
    let file = file_of(small().view());
    for at in 0..file.len() {
        let mut damaged = file.clone();
        damaged[at] ^= 0x10;
        assert!(read_all(&damaged, HashCheck::Required).is_err(), "byte {at}");
        assert!(read_all(&damaged, HashCheck::IfThere).is_err(), "byte {at}");
        let in_hash = at >= file.len() - 32;
        assert_eq!(read_all(&damaged, HashCheck::Skipped).is_ok(), in_hash, "byte {at}");
        if at < file.len() - 32 {
            let data = &damaged[..file.len() - 32];
            assert!(read_all(data, HashCheck::Skipped).is_err(), "byte {at}");
        }
    }
}

/// Damage is told with its place.
#[test]
fn damage_is_told_with_its_place() {
    let file = file_of(large().view());
    let flipped = |at: usize| {
        let mut damaged = file.clone();
        damaged[at] ^= 1;
        read_all(&damaged, HashCheck::Skipped).unwrap_err().to_string()
    };
    assert!(flipped(3).contains("does not begin as a snapshot"));
    assert!(flipped(100).contains("the checksum of its head"));
    assert!(flipped(HEAD_BYTES).contains("chunk 0 (bytes 512 to 33280)"));
    let in_third = HEAD_BYTES + 2 * CHUNK_BYTES + 77;
    assert!(flipped(in_third).contains("chunk 2 (bytes 66048 to 98816)"), "{}", flipped(in_third));
    let mut other = file.clone();
    *other.last_mut().unwrap() ^= 1;
    let told = read_all(&other, HashCheck::Required).unwrap_err().to_string();
    assert!(told.starts_with("expected sha256 "), "{told}");
}

/// A file that was cut off, or that more was added to, is refused.
#[test]
fn another_length_is_noticed() {
    let file = file_of(small().view());
    for check in [HashCheck::Required, HashCheck::IfThere, HashCheck::Skipped] {
        for len in 0..file.len() {
            let whole = len == file.len() - 32 && check != HashCheck::Required;
            assert_eq!(read_all(&file[..len], check).is_ok(), whole, "{len} {check:?}");
        }
        for more in [1, 31, 32, 512] {
            let longer = [&file[..], &vec![0; more][..]].concat();
            assert!(read_all(&longer, check).is_err(), "{more} {check:?}");
        }
    }
}

/// Chunks that changed places, or come from another file, are no whole file.
#[test]
fn chunks_have_a_place() {
    let pieces = pieces_of(large().view());
    let mut swapped = pieces.clone();
    swapped.swap(2, 3);
    assert!(read_all(&swapped.concat(), HashCheck::Skipped).is_err());
    let mut machine = large();
    machine.apply(put("l1").value(&"y".repeat(100)));
    let mut mixed = pieces_of(machine.view());
    assert_eq!(mixed.len(), pieces.len());
    mixed[3] = pieces[3].clone();
    let told = read_all(&mixed.concat(), HashCheck::Skipped).unwrap_err().to_string();
    assert!(told.contains("chunk 2"), "{told}");
}

/// What is no snapshot is told apart from a damaged one, and etcd's by its name.
#[test]
fn other_files_are_recognised() {
    let told = |file: &[u8]| read_all(file, HashCheck::Skipped).unwrap_err().to_string();
    assert!(told(b"").contains("does not begin as a snapshot"));
    assert!(told(&[7; 2_000]).contains("does not begin as a snapshot"));
    let mut bbolt = vec![0; 4096];
    bbolt[16..20].copy_from_slice(&[0xed, 0xda, 0x0c, 0xed]);
    assert!(told(&bbolt).contains("etcd (bbolt)"));
}

/// Checksums of a file are those that a member tells of the same state.
#[test]
fn checksums_are_those_of_members() {
    let machine = large();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    std::fs::write(&path, file_of(machine.view())).unwrap();

    let found = survey(&path).unwrap();
    assert_eq!(found.hash, hash::whole(machine.view()).unwrap());
    assert_eq!(found.data_bytes + 32, std::fs::metadata(&path).unwrap().len());
    for revision in [4, 5, 0] {
        let at = if revision == 0 { machine.revision() } else { revision };
        let found = kv_hash(&path, Revision(revision)).unwrap();
        assert_eq!(found.hash, hash::state(machine.view(), Revision(at)).unwrap(), "{revision}");
        assert_eq!((found.revision, found.compacted), (Revision(at), Revision(4)));
    }
    for revision in [3, 1_000] {
        assert!(kv_hash(&path, Revision(revision)).is_err(), "{revision}");
    }
}

/// A walk that is ended leaves a file without an end; one that meets another state is a fault.
#[test]
fn a_walk_can_be_ended() {
    let (machine, other) = (large(), small());
    let mut left = 3;
    let mut ending = |_: usize| {
        left -= 1;
        if left > 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    assert_eq!(measure(machine.view(), origin(), &mut ending).unwrap(), None);
    let head = measure(machine.view(), origin(), &mut go_on).unwrap().unwrap();
    let mut full = |_: bytes::Bytes| ControlFlow::Break(());
    assert!(!write(machine.view(), &head, &mut go_on, &mut full).unwrap());
    let mut sink = |_: bytes::Bytes| ControlFlow::Continue(());
    assert!(write(other.view(), &head, &mut go_on, &mut sink).is_err());
    let head = measure(other.view(), origin(), &mut go_on).unwrap().unwrap();
    assert!(write(machine.view(), &head, &mut go_on, &mut sink).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the lengths, the file is a multiple of 512 and comes back.
    #[test]
    fn every_length_fits(around in -40_i64..600, chunks in 0_i64..3) {
        let len = chunks * i64::try_from(PAYLOAD_BYTES).unwrap() + around;
        let len = usize::try_from(len.max(1)).unwrap();
        let mut machine = Machine::new();
        machine.apply(put("k").value(&"v".repeat(len)));
        let file = file_of(machine.view());
        prop_assert_eq!(file.len() % 512, 32);
        prop_assert_eq!(
            read_all(&file, HashCheck::Required).unwrap().1,
            records_of(machine.view())
        );
    }

    /// Whatever bytes a file has, reading them ends, and not in a panic.
    #[test]
    fn any_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        let mut file = file_of(small().view());
        let end = bytes.len().min(file.len());
        file[..end].copy_from_slice(&bytes[..end]);
        let _ = read_all(&file, HashCheck::Skipped);
    }
}
