//! The data directory: made, locked, and known by its identity.

#[cfg(test)]
mod tests;

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{
    node::fail_points,
    storage::{
        DataDirError, IdentityRecord,
        ballast::Ballast,
        files,
        identity::{FORMAT, Life, Unreadable},
        random,
    },
    types::{BootNumber, ClusterId, Incarnation, MemberId},
};

/// A data directory that this process holds: nobody else uses it until this value is dropped.
///
/// A new member first calls [`DataDir::begin`], then fills log and state, then calls
/// [`DataDir::next_boot`]. A boot number of 0 therefore means that a first start did not get to its
/// end, and may be repeated.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    identity: Mutex<Option<IdentityRecord>>,
    ballast: Ballast,
    /// Holds the lock while it is open.
    _lock: File,
}

impl DataDir {
    /// Opens the directory at `path`, making it, for this user only, where there is none.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, DataDirError> {
        let path = path.into();
        make(&path).map_err(|source| DataDirError::NotWritable { path: path.clone(), source })?;
        let lock = lock(&path)?;
        let identity = read_identity(&path)?;
        if identity.is_none() && has_data(&path)? {
            return Err(DataDirError::NoIdentity { path });
        }
        let ballast = Ballast::open(&path);
        Ok(Self { path, identity: Mutex::new(identity), ballast, _lock: lock })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is set aside on its disk.
    pub(super) fn ballast(&self) -> &Ballast {
        &self.ballast
    }

    /// To whom it belongs, or `None` when it is new.
    #[must_use]
    pub fn identity(&self) -> Option<IdentityRecord> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<IdentityRecord>> {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a new directory that of a member. Durable when it returns.
    pub fn begin(
        &self,
        cluster: ClusterId,
        member: MemberId,
        name: &str,
    ) -> Result<(), DataDirError> {
        self.begin_as(Life::Member, cluster, member, name)
    }

    /// The same for a member that joins a cluster, and has no state until it is sent one.
    pub fn begin_joining(
        &self,
        cluster: ClusterId,
        member: MemberId,
        name: &str,
    ) -> Result<(), DataDirError> {
        self.begin_as(Life::Joining, cluster, member, name)
    }

    fn begin_as(
        &self,
        life: Life,
        cluster: ClusterId,
        member: MemberId,
        name: &str,
    ) -> Result<(), DataDirError> {
        if let Some(identity) = self.identity() {
            return Err(DataDirError::Taken { path: self.path.clone(), member: identity.member });
        }
        if name.chars().any(char::is_control) {
            return Err(DataDirError::BadName(name.to_owned()));
        }
        let random = random().map_err(|fault| DataDirError::Io {
            action: "read a random number for",
            path: identity_path(&self.path),
            source: io::Error::other(fault.to_string()),
        })?;
        let begun = IdentityRecord {
            cluster,
            member,
            name: name.to_owned(),
            boot: BootNumber(0),
            incarnation: Incarnation(0).next(u32::try_from(random >> 32).unwrap_or_default()),
            fenced: false,
            life,
        };
        self.write(&mut self.lock(), begun)
    }

    /// Notes that a member which joined has a state. From here on it must not lose it. Durable when
    /// it returns.
    pub fn joined(&self) -> Result<(), DataDirError> {
        self.change(|identity| {
            if identity.life == Life::Joining {
                identity.life = Life::Member;
            }
        })
        .map(drop)
    }

    /// Notes that the member was removed from its cluster. Durable when it returns.
    pub fn removed(&self) -> Result<(), DataDirError> {
        self.change(|identity| identity.life = Life::Removed).map(drop)
    }

    /// Refuses a directory that belongs to another cluster or to another member of this one.
    pub fn require(&self, cluster: ClusterId, member: MemberId) -> Result<(), DataDirError> {
        let path = self.path.clone();
        let Some(identity) = self.identity() else {
            return Err(DataDirError::NoIdentity { path });
        };
        if identity.cluster != cluster {
            let found = identity.cluster;
            return Err(DataDirError::OtherCluster { path, found, expected: cluster });
        }
        if identity.member != member {
            let found = identity.member;
            return Err(DataDirError::OtherMember { path, found, expected: member });
        }
        Ok(())
    }

    /// Counts one more start of the member. Durable when it returns, so that no two starts ever
    /// have the same number.
    pub fn next_boot(&self) -> Result<BootNumber, DataDirError> {
        self.next_boot_above(BootNumber(0))
    }

    /// Data are never stored before it is written whose they are: a crash in between would leave
    /// them to nobody.
    pub(super) fn assert_begun(&self) {
        assert!(self.identity().is_some(), "{} was not begun", self.path.display());
    }

    /// Where the log is.
    pub(super) fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Changes the identity, which must be there, and returns what it is now.
    pub(super) fn change(
        &self,
        change: impl FnOnce(&mut IdentityRecord),
    ) -> Result<IdentityRecord, DataDirError> {
        let mut known = self.lock();
        let Some(mut identity) = known.clone() else {
            return Err(DataDirError::NoIdentity { path: self.path.clone() });
        };
        change(&mut identity);
        if known.as_ref() != Some(&identity) {
            self.write(&mut known, identity.clone())?;
        }
        Ok(identity)
    }

    fn write(
        &self,
        known: &mut Option<IdentityRecord>,
        identity: IdentityRecord,
    ) -> Result<(), DataDirError> {
        let path = identity_path(&self.path);
        files::replace(&path, identity.encode().as_bytes()).map_err(|source| DataDirError::Io {
            action: "write",
            path,
            source,
        })?;
        *known = Some(identity);
        Ok(())
    }
}

/// Makes the directory where there is none, in a way that survives a crash.
fn make(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    fail_points::pass_io("dir-made")?;
    files::sync_dir(parent_of(path))
}

/// The directory that a path lies in.
pub(super) fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn identity_path(path: &Path) -> PathBuf {
    path.join("identity")
}

fn lock(path: &Path) -> Result<File, DataDirError> {
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path.join("lock"))
        .map_err(|source| DataDirError::NotWritable { path: path.to_path_buf(), source })?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(DataDirError::InUse { path: path.to_path_buf() }),
        Err(TryLockError::Error(source)) => {
            Err(DataDirError::Io { action: "lock", path: path.join("lock"), source })
        }
    }
}

fn read_identity(path: &Path) -> Result<Option<IdentityRecord>, DataDirError> {
    let file = identity_path(path);
    let bytes = match fs::read(&file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(DataDirError::Io { action: "read", path: file, source }),
    };
    let text = String::from_utf8_lossy(&bytes);
    match IdentityRecord::decode(&text) {
        Ok(identity) => Ok(Some(identity)),
        Err(Unreadable::Format(found)) => {
            Err(DataDirError::OtherFormat { path: path.to_path_buf(), found, supported: FORMAT })
        }
        Err(Unreadable::Damaged(what)) => Err(DataDirError::BadIdentity { path: file, what }),
    }
}

/// Whether something that only an owner writes is there.
fn has_data(path: &Path) -> Result<bool, DataDirError> {
    let data = |name: &str| name == "log" || name == "state" || name.starts_with("state-");
    let list = || -> io::Result<bool> {
        for entry in fs::read_dir(path)? {
            if entry?.file_name().to_str().is_some_and(data) {
                return Ok(true);
            }
        }
        Ok(false)
    };
    list().map_err(|source| DataDirError::Io { action: "list", path: path.to_path_buf(), source })
}
