//! [`Files`]: what was read, so that it is noticed when it has changed.

use std::{
    fs::File,
    io::{self, Read},
};

use super::{Error, SettingFile};

/// A list of revoked certificates may be long; nothing else is.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Files with what they held when they were read. Comparing bytes is cheaper than a handshake by far,
/// and cannot miss a change as times can.
#[derive(Debug, Default)]
pub(super) struct Files(Vec<(SettingFile, Vec<u8>)>);

impl Files {
    /// Reads a file, and remembers it.
    pub(super) fn read(&mut self, file: &SettingFile) -> Result<Vec<u8>, Error> {
        let bytes = read(file)?;
        self.0.push((file.clone(), bytes.clone()));
        Ok(bytes)
    }

    /// Whether all files hold what they held.
    pub(super) fn unchanged(&self) -> bool {
        self.0.iter().all(|(file, bytes)| read(file).is_ok_and(|now| now == *bytes))
    }
}

fn read(file: &SettingFile) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::Read { file: file.clone(), source };
    let opened = File::open(&file.path).map_err(failed)?;
    let mut bytes = Vec::new();
    // Somebody may name a device, which has no end.
    let read = opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if u64::try_from(read).map_err(io::Error::other).map_err(failed)? > FILE_BYTES_MAX {
        return Err(Error::TooLarge { file: file.clone(), max: FILE_BYTES_MAX });
    }
    Ok(bytes)
}
