//! A file of the log, which is put aside and begun anew when it has grown.
//!
//! Older ones stand beside it with the moment of the change in their names: `etcd.log` becomes
//! `etcd-2026-01-02T15-04-05.000.log`. They are not compressed.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::LogRotation;

/// `2026-01-02T15-04-05.000`
const MOMENT_LEN: usize = 23;

/// A file that lines are added to.
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    /// Only looked at when the file is rotated.
    bytes: u64,
    rotation: Option<LogRotation>,
}

impl LogFile {
    pub(super) fn open(path: &Path, rotation: Option<LogRotation>) -> io::Result<Self> {
        let file = append(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, bytes, rotation })
    }

    /// Adds a line. Where the file cannot be put aside it grows on: a log is worth more than its size.
    pub(super) fn line(&mut self, line: &[u8]) -> io::Result<()> {
        let len = u64::try_from(line.len()).unwrap_or(u64::MAX);
        if let Some(rotation) = &self.rotation
            && self.bytes > 0
            && self.bytes.saturating_add(len) > rotation.bytes_max
        {
            let rotation = rotation.clone();
            self.rotate(&rotation, now())?;
        }
        self.file.write_all(line)?;
        self.bytes = self.bytes.saturating_add(len);
        Ok(())
    }

    fn rotate(&mut self, rotation: &LogRotation, now: SystemTime) -> io::Result<()> {
        let Some(names) = Names::of(&self.path) else { return Ok(()) };
        if names.backup(now).and_then(|backup| fs::rename(&self.path, backup)).is_ok() {
            self.file = append(&self.path)?;
            self.bytes = 0;
            // What cannot be removed now is tried again at the next change.
            let _ = names.prune(rotation, now);
        }
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

#[expect(clippy::disallowed_methods, reason = "the names of older files say when they ended")]
fn now() -> SystemTime {
    SystemTime::now()
}

/// How files that were put aside are called.
struct Names {
    folder: PathBuf,
    stem: String,
    /// With its dot.
    extension: String,
}

impl Names {
    /// `None` for a path that no file can have, or no name that is a text.
    fn of(path: &Path) -> Option<Self> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let extension = path.extension().map_or(Some(""), |it| it.to_str())?;
        Some(Self {
            folder: folder.unwrap_or(Path::new(".")).to_owned(),
            stem: path.file_stem()?.to_str()?.to_owned(),
            extension: if extension.is_empty() { String::new() } else { format!(".{extension}") },
        })
    }

    /// A name that sorts behind those of earlier files, wherever the clock has gone meanwhile.
    fn backup(&self, now: SystemTime) -> io::Result<PathBuf> {
        let now = humantime::format_rfc3339_millis(now).to_string();
        let now = now.trim_end_matches('Z').replace(':', "-");
        let backups = self.backups()?;
        let moment = match backups.keys().next_back().filter(|last| **last >= now) {
            None => now,
            Some(last) => {
                let (moment, number) = last.split_at_checked(MOMENT_LEN).unwrap_or((last, ""));
                let number = number.trim_start_matches('-').parse().unwrap_or(0_u64);
                format!("{moment}-{:06}", number.saturating_add(1))
            }
        };
        Ok(self.folder.join(format!("{}-{moment}{}", self.stem, self.extension)))
    }

    /// The names of older files by their moments, the newest last.
    fn backups(&self) -> io::Result<BTreeMap<String, OsString>> {
        let mut backups = BTreeMap::new();
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            let rest = name
                .to_str()
                .and_then(|name| name.strip_prefix(&self.stem))
                .and_then(|rest| rest.strip_prefix('-')?.strip_suffix(&self.extension));
            // Nothing but what we have named ourselves.
            let ours = |rest: &&str| {
                rest.len() >= MOMENT_LEN
                    && rest.bytes().all(|byte| byte.is_ascii_digit() || b"-T.".contains(&byte))
            };
            if let Some(moment) = rest.filter(ours) {
                backups.insert(moment.to_owned(), name);
            }
        }
        Ok(backups)
    }

    /// Removes what is too much or too old.
    fn prune(&self, rotation: &LogRotation, now: SystemTime) -> io::Result<()> {
        let backups = self.backups()?;
        let kept = if rotation.backups_max == 0 { backups.len() } else { rotation.backups_max };
        let surplus = backups.len().saturating_sub(kept);
        for (index, name) in backups.values().enumerate() {
            let path = self.folder.join(name);
            let age = || now.duration_since(fs::metadata(&path).ok()?.modified().ok()?).ok();
            let too_old = !rotation.kept.is_zero() && age().is_some_and(|age| age > rotation.kept);
            if index < surplus || too_old {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The file stays below its bound, the newest older files are kept, and nothing else is touched.
    #[test]
    fn a_file_that_has_grown_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("etcd.log");
        let other = dir.path().join("etcd-other.log");
        fs::write(&other, "").unwrap();
        let rotation = LogRotation { bytes_max: 10, backups_max: 2, kept: Duration::ZERO };
        let mut file = LogFile::open(&path, Some(rotation)).unwrap();

        for number in 0..5 {
            file.line(format!("line {number}\n").as_bytes()).unwrap();
        }

        assert_eq!(fs::read_to_string(&path).unwrap(), "line 4\n");
        let names = Names::of(&path).unwrap().backups().unwrap();
        let texts: Vec<String> =
            names.values().map(|name| fs::read_to_string(dir.path().join(name)).unwrap()).collect();
        assert_eq!(texts, ["line 2\n", "line 3\n"]);
        assert!(other.exists());
    }

    /// A line that is larger than the bound is written, and what was there before is counted.
    #[test]
    fn what_was_there_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, "12345678\n").unwrap();
        let rotation = LogRotation { bytes_max: 10, backups_max: 0, kept: Duration::ZERO };
        let mut file = LogFile::open(&path, Some(rotation)).unwrap();

        file.line(b"longer than all\n").unwrap();

        assert_eq!(fs::read_to_string(&path).unwrap(), "longer than all\n");
        let names = Names::of(&path).unwrap().backups().unwrap();
        assert_eq!(
            fs::read_to_string(dir.path().join(names.values().next().unwrap())).unwrap(),
            "12345678\n"
        );
    }
}
