use std::sync::Arc;

use proptest::prelude::*;

use crate::{
    node::ports::{CheckpointFile, CheckpointId, StateStore},
    transport::{
        source::{self, Source},
        testing::{Files, Recorder},
    },
};

use super::*;

fn chunk(file: &str, offset: u64, data: &'static [u8], last_of_file: bool) -> SnapshotChunk {
    SnapshotChunk {
        file: file.to_owned(),
        offset,
        data: Bytes::from_static(data),
        crc32: crc32fast::hash(data),
        last_of_file,
        ..SnapshotChunk::default()
    }
}

/// The last chunk of a file of which `all` is the whole.
fn last(file: &str, offset: u64, data: &'static [u8], all: &[u8]) -> SnapshotChunk {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(all);
    SnapshotChunk { file_crc32: file_checksum(hasher, file), ..chunk(file, offset, data, true) }
}

fn announcement() -> SnapshotChunk {
    SnapshotChunk { raft: Bytes::from_static(b"m"), ..SnapshotChunk::default() }
}

fn assembly(files: usize, bytes: u64) -> Assembly {
    Assembly::new(Totals { files, bytes }).unwrap()
}

/// The error that the last of these chunks meets, the others being in order.
fn error(chunks: impl IntoIterator<Item = SnapshotChunk>) -> ChunkError {
    let mut assembly = assembly(3, 1 << 20);
    let mut results: Vec<_> = chunks.into_iter().map(|chunk| assembly.take(chunk)).collect();
    let last = results.pop().unwrap().unwrap_err();
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    last
}

/// Files in pieces, an empty file, and the message at the end; the place says how far it is.
#[test]
fn files_come_in_order_and_the_message_last() {
    let mut assembly = assembly(2, 3);
    let write = |file: &str, offset, data: &'static [u8]| Step::Write {
        file: file.to_owned(),
        offset,
        data: Bytes::from_static(data),
    };

    assert_eq!(assembly.take(chunk("a", 0, b"12", false)), Ok(write("a", 0, b"12")));
    assert_eq!(assembly.place(), Place { files: 0, open_bytes: 2 });
    assert_eq!(assembly.take(last("a", 2, b"3", b"123")), Ok(write("a", 2, b"3")));
    assert_eq!(assembly.place(), Place { files: 1, open_bytes: 0 });
    assert_eq!(assembly.take(last("b", 0, b"", b"")), Ok(write("b", 0, b"")));
    assert_eq!(assembly.take(announcement()), Ok(Step::Announce(Bytes::from_static(b"m"))));
}

/// A byte that changed on the way is found, and what came before it is still good.
#[test]
fn a_changed_byte_is_refused() {
    let mut assembly = assembly(1, 4);
    assembly.take(chunk("a", 0, b"12", false)).unwrap();
    let place = assembly.place();
    let flipped = SnapshotChunk { data: Bytes::from_static(b"3x"), ..last("a", 2, b"34", b"1234") };

    let error = assembly.take(flipped).unwrap_err();

    assert_eq!(error, ChunkError::Checksum { file: "a".to_owned(), offset: 2 });
    assert!(!error.spoils());
    assert_eq!((assembly.place(), assembly.bytes()), (place, 2));
    assert!(assembly.take(last("a", 2, b"34", b"1234")).is_ok());
}

/// A file whose chunks are each right, but which is not the sender's, is found at its end.
#[test]
fn a_file_is_proved_as_a_whole() {
    let error = error([chunk("a", 0, b"1x", false), last("a", 2, b"3", b"123")]);

    assert_eq!(error, ChunkError::FileChecksum("a".to_owned()));
    assert!(error.spoils());
}

/// Bytes are neither missing nor repeated, and files do not interleave or come again.
#[test]
fn gaps_and_repeats_are_refused() {
    let name = || "a".to_owned();

    assert_eq!(
        error([chunk("a", 0, b"12", false), last("a", 3, b"4", b"1234")]),
        ChunkError::Offset { file: name(), expected: 2, found: 3 }
    );
    assert_eq!(
        error([chunk("a", 0, b"12", false), last("b", 0, b"1", b"1")]),
        ChunkError::Unfinished { open: name(), found: "b".to_owned() }
    );
    assert_eq!(
        error([last("a", 0, b"1", b"1"), last("a", 0, b"1", b"1")]),
        ChunkError::Repeated(name())
    );
    assert_eq!(error([chunk("a", 0, b"", false)]), ChunkError::Empty(name()));
}

/// The message that announces a snapshot comes after all that was promised, and alone.
#[test]
fn an_early_announcement_is_refused() {
    assert_eq!(
        error([chunk("a", 0, b"1", false), announcement()]),
        ChunkError::Early("a".to_owned())
    );
    assert_eq!(error([announcement()]), ChunkError::Announcement);
    assert_eq!(
        error([last("a", 0, b"1", b"1"), announcement()]),
        ChunkError::Incomplete { files: 1, bytes: 1, of_files: 3, of_bytes: 1 << 20 }
    );
    let with_data = SnapshotChunk { data: Bytes::from_static(b"x"), ..announcement() };
    assert_eq!(error([last("a", 0, b"1", b"1"), with_data]), ChunkError::Announcement);
}

/// Only plain names name files.
#[test]
fn names_that_lead_elsewhere_are_refused() {
    for name in ["", ".", "..", "a/b", "../a", "/a", "a\\b", "a\0"] {
        assert_eq!(error([last(name, 0, b"1", b"1")]), ChunkError::FileName(name.to_owned()));
    }
}

/// Neither a chunk nor a snapshot grows beyond what was said, and that has a limit.
#[test]
fn rr_58_a_snapshot_is_no_larger_than_promised() {
    let data = Bytes::from(vec![0; limits::SNAPSHOT_CHUNK_BYTES + 1]);
    let large = SnapshotChunk { crc32: crc32fast::hash(&data), data, ..chunk("a", 0, b"", true) };
    assert_eq!(error([large]), ChunkError::ChunkTooLarge(limits::SNAPSHOT_CHUNK_BYTES + 1));

    let mut small = assembly(1, 2);
    assert_eq!(small.take(last("a", 0, b"123", b"123")), Err(ChunkError::TooLarge(2)));
    small.take(last("a", 0, b"12", b"12")).unwrap();
    assert_eq!(small.take(last("b", 0, b"", b"")), Err(ChunkError::TooManyFiles(1)));

    let (files, bytes) = (limits::SNAPSHOT_FILES_MAX, limits::SNAPSHOT_BYTES_MAX);
    let refused = |files, bytes| Assembly::new(Totals { files, bytes }).unwrap_err();
    assert_eq!(refused(files + 1, 1), ChunkError::TooManyFiles(files));
    assert_eq!(refused(1, bytes + 1), ChunkError::TooLarge(bytes));
}

/// What happens to a chunk on its way.
#[derive(Clone, Debug)]
enum Trouble {
    Cut,
    Lose,
    Repeat,
    Flip(usize),
    FlipChecksum(u32),
    FlipFileChecksum(u32),
    Move(u64),
    Rename(String),
    End,
    Oversize,
    Announce,
}

fn trouble() -> impl Strategy<Value = Trouble> {
    prop_oneof![
        4 => Just(Trouble::Cut),
        1 => Just(Trouble::Lose),
        1 => Just(Trouble::Repeat),
        2 => any::<usize>().prop_map(Trouble::Flip),
        1 => (1..u32::MAX).prop_map(Trouble::FlipChecksum),
        1 => (1..u32::MAX).prop_map(Trouble::FlipFileChecksum),
        1 => (1..u64::MAX).prop_map(Trouble::Move),
        1 => "[a-c]{0,2}".prop_map(Trouble::Rename),
        1 => Just(Trouble::End),
        1 => Just(Trouble::Oversize),
        1 => Just(Trouble::Announce),
    ]
}

/// What arrives instead of a chunk; `None`: the stream ends before it.
fn meddle(trouble: &Trouble, mut chunk: SnapshotChunk) -> Option<Vec<SnapshotChunk>> {
    match trouble {
        Trouble::Cut => return None,
        Trouble::Lose => return Some(Vec::new()),
        Trouble::Repeat => return Some(vec![chunk.clone(), chunk]),
        Trouble::Flip(at) => {
            let mut data = chunk.data.to_vec();
            if let Some(bit) = at.checked_rem(data.len() * 8) {
                data[bit / 8] ^= 1 << (bit % 8);
            }
            chunk.data = data.into();
        }
        Trouble::FlipChecksum(bits) => chunk.crc32 ^= bits,
        Trouble::FlipFileChecksum(bits) => chunk.file_crc32 ^= bits,
        Trouble::Move(by) => chunk.offset = chunk.offset.wrapping_add(*by),
        Trouble::Rename(name) => chunk.file.clone_from(name),
        Trouble::End => chunk.last_of_file = !chunk.last_of_file,
        Trouble::Oversize => {
            chunk.data = vec![7; limits::SNAPSHOT_CHUNK_BYTES + 1].into();
            chunk.crc32 = crc32fast::hash(&chunk.data);
        }
        Trouble::Announce => chunk = announcement(),
    }
    Some(vec![chunk])
}

/// A receiver and what it has written.
struct Received {
    assembly: Assembly,
    files: Files,
}

/// One stream, with trouble at one chunk; whether the snapshot was announced at its end.
fn stream(
    (store, list): (&Arc<Recorder>, &Arc<[CheckpointFile]>),
    received: &mut Received,
    trouble: Option<&(usize, Trouble)>,
) -> bool {
    let (store, place): (Arc<dyn StateStore>, _) = (store.clone(), received.assembly.place());
    assert_eq!(source::bytes_before(list, place), Some(received.assembly.bytes()));
    let mut source = Source::at(store, CheckpointId(1), list.clone(), place).unwrap();
    for number in 0.. {
        let chunk = source.next().unwrap().unwrap_or_else(announcement);
        let chunks = match trouble {
            Some((at, trouble)) if *at == number => meddle(trouble, chunk),
            Some(_) | None => Some(vec![chunk]),
        };
        let Some(chunks) = chunks else { return false };
        for chunk in chunks {
            match received.assembly.take(chunk) {
                Ok(Step::Write { file, offset, data }) => {
                    let written = received.files.entry(file).or_default();
                    assert_eq!(written.len() as u64, offset);
                    written.extend_from_slice(&data);
                }
                Ok(Step::Announce(_)) => return true,
                Err(error) => {
                    if error.spoils() {
                        received.assembly = Assembly::new(source::totals(list)).unwrap();
                        received.files.clear();
                    }
                    return false;
                }
            }
        }
    }
    false
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However often streams are cut and bytes are flipped, lost, repeated or too many: what is
    /// announced in the end is what was sent, byte for byte, and the end comes once the trouble does
    /// not.
    #[test]
    fn rr_58_what_arrives_whole_is_what_was_sent(
        lengths in prop::collection::vec((0_usize..4, -2_isize..3), 1..5),
        troubles in prop::collection::vec((0_usize..8, trouble()), 0..12),
    ) {
        let mut files = Files::new();
        for (number, (chunks, more)) in lengths.into_iter().enumerate() {
            let len = (chunks * limits::SNAPSHOT_CHUNK_BYTES).saturating_add_signed(more);
            let pattern: Vec<u8> = (u8::try_from(number).unwrap()..251).collect();
            let mut data = pattern.repeat(len / pattern.len() + 1);
            data.truncate(len);
            files.insert(format!("{number}"), data);
        }
        let store = Recorder::with(files.clone());
        let list: Arc<[CheckpointFile]> = store.checkpoint_files(CheckpointId(1)).unwrap().into();
        let assembly = Assembly::new(source::totals(&list)).unwrap();
        let mut received = Received { assembly, files: Files::new() };

        let early = troubles.iter().any(|trouble| stream((&store, &list), &mut received, Some(trouble)));
        let whole = early || stream((&store, &list), &mut received, None);

        prop_assert!(whole);
        prop_assert_eq!(received.files == files, true);
    }
}
