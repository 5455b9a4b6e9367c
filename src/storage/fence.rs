//! What a data directory keeps of the fence: the incarnation, whether the member is whole, and what a
//! damaged log was set aside as.

use std::{
    fs::{self, File},
    io::{self, Read},
};

use crate::{
    node::ports::FenceStore,
    storage::{DataDir, DataDirError, files},
    types::{BootNumber, Fault, Incarnation},
};

/// Where a log that could not be opened lies afterwards, for whoever looks into it.
const DAMAGED_LOG: &str = "log.damaged";

impl DataDir {
    /// Counts one more start of the member, as [`next_boot`](Self::next_boot) does, with a number
    /// above `known` as well.
    pub fn next_boot_above(&self, known: BootNumber) -> Result<BootNumber, DataDirError> {
        self.change(|identity| identity.boot = BootNumber(identity.boot.max(known).0 + 1))
            .map(|identity| identity.boot)
    }

    /// Moves the log out of the way. The next one to be opened is empty. Only the last one that was
    /// moved is kept.
    pub fn set_log_aside(&self) -> Result<(), DataDirError> {
        let (log, aside) = (self.log(), self.path().join(DAMAGED_LOG));
        let moved = || -> io::Result<()> {
            if !log.try_exists()? {
                return Ok(());
            }
            files::remove_dir(&aside)?;
            fs::rename(&log, &aside)?;
            files::sync_dir(self.path())
        };
        moved().map_err(|source| DataDirError::Io {
            action: "set aside",
            path: log.clone(),
            source,
        })
    }
}

impl FenceStore for DataDir {
    fn raise(&self, above: Incarnation) -> Result<Incarnation, Fault> {
        let random = u32::try_from(random()? >> 32).unwrap_or_default();
        let raised = self.change(|identity| {
            identity.incarnation = identity.incarnation.max(above).next(random);
            identity.fenced = true;
        })?;
        Ok(raised.incarnation)
    }

    fn lift(&self) -> Result<(), Fault> {
        self.change(|identity| identity.fenced = false)?;
        Ok(())
    }
}

/// A number that nobody can know beforehand.
pub fn random() -> Result<u64, Fault> {
    const SOURCE: &str = "/dev/urandom";
    let mut bytes = [0; 8];
    File::open(SOURCE)
        .and_then(|mut source| source.read_exact(&mut bytes))
        .map_err(|error| Fault::new(format!("no random number from {SOURCE}: {error}")))?;
    Ok(u64::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        storage::testing::temporary,
        types::{ClusterId, MemberId},
    };

    /// The fence survives a restart, each loss makes another incarnation, and a new one is above
    /// whatever others know.
    #[test]
    fn the_fence_is_kept_with_the_identity() {
        let dir = temporary();
        let data_dir = DataDir::open(dir.path()).unwrap();
        data_dir.begin(ClusterId(1), MemberId(2), "one").unwrap();
        let born = data_dir.identity().unwrap();
        assert!(!born.fenced && born.incarnation > Incarnation(0));

        let first = data_dir.raise(Incarnation(0)).unwrap();
        assert!(first > born.incarnation);
        drop(data_dir);
        let data_dir = DataDir::open(dir.path()).unwrap();
        let found = data_dir.identity().unwrap();
        assert_eq!((found.fenced, found.incarnation), (true, first));

        let told = Incarnation(77 << 32 | 5);
        let second = data_dir.raise(told).unwrap();
        assert!(second > told);
        data_dir.lift().unwrap();
        let found = data_dir.identity().unwrap();
        assert_eq!((found.fenced, found.incarnation), (false, second));
    }

    /// A start that the log knows of and the identity does not is not counted twice.
    #[test]
    fn boot_numbers_rise_above_what_the_log_knows() {
        let dir = temporary();
        let data_dir = DataDir::open(dir.path()).unwrap();
        data_dir.begin(ClusterId(1), MemberId(2), "one").unwrap();
        assert_eq!(data_dir.next_boot_above(BootNumber(0)).unwrap(), BootNumber(1));
        assert_eq!(data_dir.next_boot_above(BootNumber(5)).unwrap(), BootNumber(6));
        assert_eq!(data_dir.next_boot_above(BootNumber(2)).unwrap(), BootNumber(7));
    }
}
