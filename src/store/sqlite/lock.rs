//! Who may lease. One daemon at a time holds the lock on `<db>.lock`; the file names the address of its control port, so
//! that other programs can ask it instead of opening the file. Holding the lock proves that the former daemon is dead.
//!
//! Whoever may read the file may also lock it, and so pass for the daemon under an address that a dead one left behind. Hence
//! the file is its owner's alone when it is made, and whoever asks for the address is told whose it is.

use crate::store::{Error, Result};
use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    net::SocketAddr,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// Held for as long as the daemon may lease.
pub(super) struct Lock {
    file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // An address at which nobody answers any more is an invitation to answer there.
        let _ = self.file.set_len(0);
    }
}

fn lock_path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

impl Lock {
    /// Whether a daemon has it.
    pub(super) fn is_held(database: &Path) -> bool {
        File::open(lock_path(database)).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    pub(super) fn take(database: &Path, control: Option<SocketAddr>) -> Result<Self> {
        let path = lock_path(database);
        let shown = path.display();
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|e| Error::Unavailable(format!("{shown} cannot be written ({e}); check the folder's permissions")))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                let holder = holder.trim();
                let address = if holder.is_empty() { "an unknown address".to_owned() } else { holder.replace('\n', ", ") };
                return Err(Error::Refused(format!(
                    "another daemon works on {} (control port {address}); SQLite has one at a time, stop that one or use another file",
                    database.display()
                )));
            }
            Err(TryLockError::Error(e)) => {
                return Err(Error::Unavailable(format!("{shown} cannot be locked ({e}); is it on a network disk?")));
            }
        }
        let text = control.map(|address| format!("{address}\n")).unwrap_or_default();
        let write = |file: &mut File| -> std::io::Result<()> {
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
            file.write_all(text.as_bytes())
        };
        write(&mut file).map_err(|e| Error::Unavailable(format!("{shown} cannot be written ({e})")))?;
        Ok(Self { file })
    }
}

/// What a lock file says while somebody holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    /// Where the daemon's control port answers.
    pub address: SocketAddr,
    /// The user whose file it is, and who therefore chose what it says.
    pub owner: u32,
}

/// Where the daemon that works on `database` answers; `None` when none does, or when the lock is not ours to read.
#[must_use]
pub fn announced(database: &Path) -> Option<Announced> {
    let mut file = File::open(lock_path(database)).ok()?;
    if file.try_lock_shared().is_ok() {
        // Nobody holds it: the address is a dead daemon's.
        return None;
    }
    let owner = file.metadata().ok()?.uid();
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    Some(Announced { address: text.trim().parse().ok()?, owner })
}
