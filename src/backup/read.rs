//! Reading: records come out only of chunks whose checksums match.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
};

use bytes::{Buf, Bytes, BytesMut};
use sha2::{Digest, Sha256};

use super::{
    Error, Head,
    content::{self, END, TOTALS_BYTES},
    head::{CHUNK_BYTES, HASH_BYTES, HEAD_BYTES, SUM_BYTES},
    write::chunk_sum,
};
use crate::state::Family;

/// What is asked of the SHA-256 at the end of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashCheck {
    /// It must be there, and match.
    Required,
    /// It must match if it is there.
    IfThere,
    /// Nothing.
    Skipped,
}

/// A saved record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What it is of.
    pub family: Family,
    /// Its key.
    pub key: Bytes,
    /// Its value.
    pub value: Bytes,
}

/// Reads a saved state from its beginning to its end, which is where the last checks are made.
pub struct Reader<R> {
    source: R,
    head: Head,
    sum: u32,
    hash: Sha256,
    hash_check: HashCheck,
    has_hash: bool,
    /// The next chunk, and the bytes of data from there on.
    number: u64,
    left: u64,
    /// What was read and not taken yet.
    bytes: BytesMut,
    /// Bytes of content that were not taken yet.
    content_left: u64,
    records: u64,
    keys: u64,
    last: Option<(Family, Bytes)>,
}

impl Reader<BufReader<File>> {
    /// Begins to read a file.
    pub fn open(path: &Path, hash_check: HashCheck) -> Result<Self, Error> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        Self::new(BufReader::with_capacity(4 * CHUNK_BYTES, file), len, hash_check)
    }
}

impl<R: Read> Reader<R> {
    /// Begins to read `len` bytes.
    pub fn new(mut source: R, len: u64, hash_check: HashCheck) -> Result<Self, Error> {
        let mut encoded = [0; HEAD_BYTES];
        source.read_exact(&mut encoded).map_err(|error| {
            let is_short = error.kind() == io::ErrorKind::UnexpectedEof;
            if is_short { Error::NoSnapshot } else { Error::Io(error) }
        })?;
        let head = Head::decode(&encoded)?;
        let has_hash = len != head.data_bytes();
        if has_hash && len != head.file_bytes() {
            return Err(Error::Length { found: len, expected: head.file_bytes() });
        }
        if !has_hash && hash_check == HashCheck::Required {
            return Err(Error::NoHash);
        }
        Ok(Self {
            source,
            sum: Head::sum(&encoded),
            hash: Sha256::new_with_prefix(encoded),
            hash_check,
            has_hash,
            number: 0,
            left: head.data_bytes() - HEAD_BYTES as u64,
            bytes: BytesMut::new(),
            content_left: head.content_bytes,
            records: 0,
            keys: 0,
            last: None,
            head,
        })
    }

    /// What the file says of itself.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The next record. `None`: all were read, and the file is whole up to its last byte.
    pub fn next_record(&mut self) -> Result<Option<Record>, Error> {
        self.fill(1)?;
        let tag = self.take_byte()?;
        if tag == END {
            self.finish()?;
            return Ok(None);
        }
        let family =
            content::family(tag).ok_or_else(|| self.senseless("an unknown kind follows"))?;
        let (key, value) = (self.take_piece()?, self.take_piece()?);
        let place = (family, key.clone());
        if self.last.as_ref().is_some_and(|last| *last >= place) {
            return Err(self.senseless("the next one is out of order"));
        }
        self.last = Some(place);
        self.records += 1;
        self.keys += u64::from(family == Family::Current);
        Ok(Some(Record { family, key, value }))
    }

    fn take_byte(&mut self) -> Result<u8, Error> {
        let byte = self.bytes.try_get_u8().map_err(|_| self.senseless("it ends in between"))?;
        self.content_left = self.content_left.saturating_sub(1);
        Ok(byte)
    }

    fn take_piece(&mut self) -> Result<Bytes, Error> {
        loop {
            let before = self.bytes.len();
            let taken = content::take(&mut self.bytes, self.content_left)
                .map_err(|()| self.senseless("a length cannot be"))?;
            if let Some(piece) = taken {
                let passed = (before - self.bytes.len()) as u64;
                self.content_left = self.content_left.saturating_sub(passed);
                return Ok(piece);
            }
            self.fill(before + 1)?;
        }
    }

    /// Reads on until so many bytes are there.
    fn fill(&mut self, len: usize) -> Result<(), Error> {
        while self.bytes.len() < len {
            if self.left == 0 {
                return Err(self.senseless("it ends in between"));
            }
            self.read_chunk()?;
        }
        Ok(())
    }

    fn read_chunk(&mut self) -> Result<(), Error> {
        let len = self.left.min(CHUNK_BYTES as u64);
        let start = self.head.data_bytes() - self.left;
        let len_here = usize::try_from(len).expect("a chunk is small");
        let mut chunk = vec![0; len_here];
        self.source.read_exact(&mut chunk)?;
        self.hash.update(&chunk);
        let (sum, payload) = chunk.split_at_checked(SUM_BYTES).unwrap_or_default();
        if sum != chunk_sum(self.sum, self.number, payload).to_be_bytes() {
            return Err(Error::Chunk { number: self.number, bytes: start..start + len });
        }
        self.bytes.extend_from_slice(payload);
        self.number += 1;
        self.left -= len;
        Ok(())
    }

    /// What comes after the last record.
    fn finish(&mut self) -> Result<(), Error> {
        self.fill(TOTALS_BYTES)?;
        let totals = (self.bytes.get_u64(), self.bytes.get_u64());
        let counted = (self.records, self.keys);
        if totals != counted || totals != (self.head.records, self.head.keys) {
            return Err(self.senseless("the totals are others"));
        }
        self.content_left = self.content_left.saturating_sub(TOTALS_BYTES as u64);
        if self.content_left > 0 || self.left > 0 || self.bytes.iter().any(|byte| *byte != 0) {
            return Err(self.senseless("more follows behind the end"));
        }
        self.bytes.clear();
        if !self.has_hash {
            return Ok(());
        }
        let mut expected = [0; HASH_BYTES];
        self.source.read_exact(&mut expected)?;
        let found: [u8; HASH_BYTES] = self.hash.finalize_reset().into();
        if self.hash_check != HashCheck::Skipped && found != expected {
            return Err(Error::Hash { expected: hex(&expected), found: hex(&found) });
        }
        Ok(())
    }

    fn senseless(&self, what: &'static str) -> Error {
        Error::Content { records: self.records, what }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
