//! A data directory made of a saved state: that of one of the first members of a new cluster.
//!
//! Each of the first members restores the same file under its own name. All of them begin alike: with
//! the records of the file, with the members that the initial cluster names, and with the origin of
//! the log, entry 1 of term 1, as applied, which is where the first members of any cluster begin. Then the
//! member is started as far as a start goes before it serves. So a directory is left as that of a
//! member which ran once: a later start needs no initial cluster.

use std::path::PathBuf;

use super::{
    Error,
    identity::{self, founders, own_id},
};
use crate::{
    backup::{self, HashCheck, Head, Reader},
    config::Config,
    node::{fail_points, ports::StateStore},
    raft::Position,
    state::{Writes, image::Founding, meta},
    storage::{DataDirError, DraftDir, Store, StoreOptions},
    types::{ClusterId, Fault, MemberId, Revision},
};

/// Bytes of records that are stored at a time.
const BATCH_BYTES: usize = 1024 * 1024;

/// What is to be restored, and as which member.
#[derive(Clone, Debug)]
pub struct Restoration {
    /// The file.
    pub snapshot: PathBuf,
    /// Who the member is, who the others are, and where its data directory is to be.
    pub config: Config,
    /// What is asked of the file's SHA-256.
    pub hash_check: HashCheck,
    /// By how much the revision is raised; all history is given up when it is not 0.
    pub bump: u64,
}

/// What was restored.
#[derive(Clone, Debug)]
pub struct Restored {
    /// What the file says of itself.
    pub head: Head,
    /// The new cluster.
    pub cluster: ClusterId,
    /// The member.
    pub member: MemberId,
    /// Its revision.
    pub revision: Revision,
    /// Whether the data of the member that sent the file were known to be wrong.
    pub is_suspect: bool,
}

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The file cannot be read.
    #[error("{}", of_file(path, source))]
    Snapshot {
        /// Which.
        path: PathBuf,
        /// Why.
        source: backup::Error,
    },
    /// The data directory cannot be made.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The state cannot be written.
    #[error("{0}")]
    Store(#[from] Fault),
    /// A member cannot begin with it.
    #[error(transparent)]
    Start(#[from] Error),
}

/// etcd's words for a missing or wrong hash stand alone.
fn of_file(path: &std::path::Path, error: &backup::Error) -> String {
    if matches!(error, backup::Error::NoHash | backup::Error::Hash { .. }) {
        return error.to_string();
    }
    format!("{}: {error}", path.display())
}

/// Makes a member's data directory of a saved state. A crash leaves none, or a whole one.
pub fn restore(restoration: &Restoration) -> Result<Restored, RestoreError> {
    let Restoration { snapshot, config, hash_check, bump } = restoration;
    let of_file = |source| RestoreError::Snapshot { path: snapshot.clone(), source };
    let mut reader = Reader::open(snapshot, *hash_check).map_err(of_file)?;
    let (cluster, members) = founders(config);
    let member = own_id(config);
    let mut draft = DraftDir::begin(&config.data_dir)?;
    let dir = std::sync::Arc::new(draft.open()?);
    dir.begin(cluster, member, &config.name)?;
    let store = Store::open(&dir, StoreOptions::default())?;
    drop(dir);
    let mut founding = Founding::new(cluster, members, *bump);
    let (mut writes, mut bytes) = (Writes::default(), 0);
    while let Some(record) = reader.next_record().map_err(of_file)? {
        if let Some((key, value)) = founding.take(record.family, record.key, record.value)? {
            bytes += key.len() + value.len();
            writes.records.insert((record.family, key), Some(value));
        }
        if bytes >= BATCH_BYTES {
            store.commit(std::mem::take(&mut writes))?;
            bytes = 0;
        }
    }
    let is_suspect = founding.is_corrupt(reader.head().origin.member);
    let (last, numbers) = founding.finish()?;
    store.commit(writes)?;
    store.commit(last)?;
    store.flush()?;
    // A flush puts off what a full disk has no room for, and here no log would make up for it.
    let (index, term) = meta::applied(&*store.view()?)?;
    if store.flushed()? != (Position { index, term }) {
        return Err(Fault::new("the disk is full: the state is not stored").into());
    }
    fail_points::pass("restore-stored")?;
    drop(store);
    // The directory is let go of with all that was opened in it.
    drop(identity::prepare(config, draft.open()?, None)?);
    draft.finish()?;
    let head = reader.head().clone();
    Ok(Restored { head, cluster, member, revision: numbers.revision, is_suspect })
}
