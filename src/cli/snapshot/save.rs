//! `snapshot save`: what one member sends, in a file that is there as a whole or not at all.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, IsTerminal, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use sha2::{Digest, Sha256};
use tokio::time::timeout;

use crate::{
    cli::{Client, Error, Output, client::RESPONSE_BYTES_MAX, error::Exit, print::size},
    proto::etcdserverpb::{SnapshotRequest, maintenance_client::MaintenanceClient},
};

/// A member that says nothing for so long is given up. The first answer comes when it has read its
/// whole state.
const SILENCE_MAX: Duration = Duration::from_secs(300);
/// What the data are a multiple of, and the length of the hash behind them.
const BLOCK_BYTES: u64 = 512;
const HASH_BYTES: usize = 32;

/// Saves the state of the one member that `client` names.
pub(super) async fn save(path: &Path, client: &Client, output: &mut Output) -> Result<(), Error> {
    let names: Vec<&str> = client.endpoints().iter().map(|it| it.text.as_str()).collect();
    if names.len() != 1 {
        return Err(Error::new(
            Exit::Interrupted,
            format!(
                "snapshot must be requested to one selected node, not multiple [{}]",
                names.join(" ")
            ),
        ));
    }
    let channel = client.connect(0).await?;
    let mut part = Part::begin(path).map_err(Error::from)?;
    let version = receive(MaintenanceClient::new(channel), &mut part).await?;
    part.finish(path)?;
    output.line(format!("Snapshot saved at {}", path.display()))?;
    if version.is_empty() {
        return Ok(());
    }
    output.line(format!("Server version {version}"))
}

/// Takes in all that the member sends, and returns the version that it tells.
async fn receive(
    client: MaintenanceClient<tonic::transport::Channel>,
    part: &mut Part,
) -> Result<String, Error> {
    let mut client = client.max_decoding_message_size(RESPONSE_BYTES_MAX);
    let asked = timeout(SILENCE_MAX, client.snapshot(SnapshotRequest {})).await;
    let mut pieces = asked.map_err(|_| silent())??.into_inner();
    let mut progress = Progress::default();
    let mut version = String::new();
    while let Some(piece) = timeout(SILENCE_MAX, pieces.message()).await.map_err(|_| silent())?? {
        part.take(&piece.blob)?;
        version = piece.version;
        progress.show(part.len, piece.remaining_bytes);
    }
    Ok(version)
}

fn silent() -> Error {
    Error::new(
        Exit::Interrupted,
        format!("the member sent nothing for {} seconds", SILENCE_MAX.as_secs()),
    )
}

/// The file while it is not whole. It goes when it is dropped before that.
struct Part {
    path: Option<PathBuf>,
    file: File,
    len: u64,
    hash: Sha256,
    /// The last bytes so far: at the end, the hash of all before.
    tail: Vec<u8>,
}

impl Part {
    fn begin(target: &Path) -> io::Result<Self> {
        let mut path = target.as_os_str().to_owned();
        path.push(".part");
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        let path = Some(path.into());
        Ok(Self { path, file, len: 0, hash: Sha256::new(), tail: Vec::new() })
    }

    fn take(&mut self, piece: &[u8]) -> io::Result<()> {
        self.file.write_all(piece)?;
        self.len += piece.len() as u64;
        self.tail.extend_from_slice(piece);
        let passed = self.tail.len().saturating_sub(HASH_BYTES);
        self.hash.update(self.tail.get(..passed).unwrap_or_default());
        self.tail.drain(..passed);
        Ok(())
    }

    /// Brings the file to disk and gives it its name, when it is whole.
    fn finish(mut self, target: &Path) -> Result<(), Error> {
        if self.len % BLOCK_BYTES != HASH_BYTES as u64 {
            let what = format!("sha256 checksum not found [bytes: {}]", self.len);
            return Err(Error::new(Exit::Interrupted, what));
        }
        let found: [u8; HASH_BYTES] = self.hash.finalize_reset().into();
        if found.as_slice() != self.tail {
            let what = "the snapshot was damaged on its way: its sha256 is another one";
            return Err(Error::new(Exit::Interrupted, what));
        }
        self.file.sync_all()?;
        if let Some(path) = self.path.take() {
            fs::rename(path, target)?;
        }
        let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
        Ok(File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // Nothing is left to be done about it.
            let _ = fs::remove_file(path);
        }
    }
}

/// How far it is, for who looks on at a terminal.
#[derive(Default)]
struct Progress {
    shown: Option<u64>,
}

impl Progress {
    fn show(&mut self, done: u64, remaining: u64) {
        let all = done.saturating_add(remaining);
        let percent = done.saturating_mul(100).checked_div(all).unwrap_or(100);
        if self.shown == Some(percent) || !io::stderr().is_terminal() {
            return;
        }
        self.shown = Some(percent);
        let size = |bytes| size(i64::try_from(bytes).unwrap_or(i64::MAX));
        let _ = write!(io::stderr(), "\r{percent:3} % of {}  ", size(all));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            let _ = writeln!(io::stderr());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> Vec<u8> {
        let data = vec![7; 1024];
        let hash: [u8; 32] = Sha256::digest(&data).into();
        [data, hash.to_vec()].concat()
    }

    /// A whole file has its name, for its owner alone, however it was cut on its way.
    #[test]
    fn a_whole_file_is_given_its_name() {
        use std::os::unix::fs::PermissionsExt;
        for size in [1, 31, 32, 33, 512, 1056] {
            let dir = tempfile::tempdir().unwrap();
            let target = dir.path().join("s");
            let mut part = Part::begin(&target).unwrap();
            whole().chunks(size).for_each(|piece| part.take(piece).unwrap());
            part.finish(&target).unwrap();
            assert_eq!(fs::read(&target).unwrap(), whole());
            assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
    }

    /// What is not whole leaves neither a file nor a part of one, and an older file alone.
    #[test]
    fn what_is_not_whole_leaves_nothing() {
        let mut flipped = whole();
        flipped[100] ^= 1;
        for (bytes, says) in [
            (&whole()[..1000], "sha256 checksum not found [bytes: 1000]"),
            (&flipped[..], "the snapshot was damaged on its way: its sha256 is another one"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let target = dir.path().join("s");
            fs::write(&target, "older").unwrap();
            let mut part = Part::begin(&target).unwrap();
            part.take(bytes).unwrap();
            assert_eq!(part.finish(&target).unwrap_err().to_string(), says);
            assert_eq!(fs::read(&target).unwrap(), b"older");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
    }
}
