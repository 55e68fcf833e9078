//! Examines the file and the disk it is on, beside whoever works on it: nothing is made, migrated or kept.

use super::{Config, Lock, connection, lock, read};
use crate::store::{
    Durability, Error, Result,
    examine::{CONNECTION, Extent, Finding, WHOLE, bytes, disk_space, percent, shown, sync_latency, too_late, warn_if, within},
};
use futures_util::future::join_all;
use rusqlite::{Connection, OpenFlags};
use std::{
    ffi::CString,
    fs,
    io::Write as _,
    mem::MaybeUninit,
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// A look at the file's surroundings.
type Check = (&'static str, fn(&Path) -> Finding);

const CHECKS: [Check; 6] = [
    ("file_system", file_system),
    ("permissions", permissions),
    ("disk_space", space),
    ("fsync_latency", latency),
    ("wal_size", log_size),
    ("daemon", daemon),
];

/// A file that is not there yet is made by the first daemon or job; there is nothing to examine.
///
/// # Errors
/// `Unavailable` when there is no such file.
pub(in crate::store) async fn examine(path: &Path, config: &Config, extent: Extent) -> Result<Vec<Finding>> {
    if !path.exists() {
        return Err(Error::Unavailable(format!("{} does not exist; a daemon or a first job makes it", path.display())));
    }
    if extent == Extent::DataLoss {
        return Ok(vec![file_system(path)]);
    }
    let config = config.clone();
    let all = async {
        let others = CHECKS.map(|(name, check)| within(name, blocking(path, move |path| vec![check(path)])));
        let (file, others) = tokio::join!(within(CONNECTION, blocking(path, move |path| file(path, &config))), join_all(others));
        [file, others.concat()].concat()
    };
    Ok(tokio::time::timeout(WHOLE, all).await.unwrap_or_else(|_| vec![too_late(CONNECTION)]))
}

/// A dead disk holds a thread for good, and never the examination.
async fn blocking(path: &Path, check: impl FnOnce(&Path) -> Vec<Finding> + Send + 'static) -> Result<Vec<Finding>> {
    let path = path.to_owned();
    let done = tokio::task::spawn_blocking(move || check(&path)).await;
    done.map_err(|_| Error::Unavailable("the check was cut short".into()))
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

// ------------------------------------------------------------------------------------------------------------------ the file

/// For the check of who holds the write lock, so that it never waits for long.
const BUSY: Duration = Duration::from_millis(500);

/// What the file says of itself.
fn file(path: &Path, config: &Config) -> Vec<Finding> {
    let begun = Instant::now();
    let asked = open(path).and_then(|connection| {
        let answered = begun.elapsed();
        let mut findings = vec![Finding::ok(CONNECTION, format!("{} was opened within {}", path.display(), shown(answered)))];
        findings.push(Finding::ok("store_version", format!("SQLite {}, compiled in", rusqlite::version())));
        findings.push(schema(path, number(&connection, "application_id")?, number(&connection, "user_version")?));
        findings.push(durability(config.durability, &text(&connection, "journal_mode")?));
        let page = unsigned(number(&connection, "page_size")?);
        let (free, all) = (unsigned(number(&connection, "freelist_count")?), unsigned(number(&connection, "page_count")?));
        findings.push(free_pages(free * page, all * page));
        findings.push(write_lock(&connection));
        findings.push(Finding::ok("clock_skew", "the store goes by this machine's clock"));
        Ok(findings)
    });
    asked.unwrap_or_else(|error| vec![Finding::unreachable(&connection::named(path, super::error::before_commit(error)))])
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY)?;
    Ok(connection)
}

fn number(connection: &Connection, pragma: &str) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, pragma, |row| row.get(0))
}

fn text(connection: &Connection, pragma: &str) -> rusqlite::Result<String> {
    connection.pragma_query_value(None, pragma, |row| row.get(0))
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn schema(path: &Path, application: i64, version: i64) -> Finding {
    const CHECK: &str = "migrations";
    let known = connection::SCHEMA_VERSION;
    match version {
        0 if application == 0 => Finding::warn(CHECK, "the file has no tables yet", "run `windlass run`, which makes them"),
        _ if application != connection::APPLICATION_ID => {
            Finding::fail(CHECK, connection::not_ours(path), "name a file of its own with `store.url`")
        }
        _ if version > known => Finding::fail(CHECK, connection::too_new(path, version), "use the windlass that wrote it, or a newer one"),
        _ if version < known => {
            let says = format!("the file has schema {version}, and this program's is {known}");
            Finding::warn(CHECK, says, "start this version's daemon, or any of its commands: the first to open the file brings it up")
        }
        _ => Finding::ok(CHECK, format!("the schema is {version}, as in this program")),
    }
}

fn durability(asked: Durability, journal_mode: &str) -> Finding {
    const CHECK: &str = "durability";
    if journal_mode != "wal" {
        let says = format!("the journal mode is {journal_mode}, and ours is wal");
        return Finding::warn(CHECK, says, "start the daemon, which sets it back, and see that no other program changes it");
    }
    match asked {
        Durability::Relaxed => Finding::warn(
            CHECK,
            "relaxed: what was acknowledged within the last second may be lost with the machine",
            "set `store.sqlite.durability = \"strict\"`",
        ),
        Durability::Strict | Durability::Replicated => {
            Finding::ok(CHECK, "strict: what is acknowledged survives a power cut (wal, synchronous=full)")
        }
    }
}

/// Pages that were once in use. They are used again before the file grows, so only many of them are worth a word.
fn free_pages(free: u64, all: u64) -> Finding {
    let says = format!("{} of the file's {} are free pages", bytes(free), bytes(all));
    let is_much = free > 1 << 30 && percent(free, all) > 50;
    let remedy = "they are used again as jobs come; to shrink the file, stop the daemon and run `VACUUM` on it";
    warn_if(is_much, "free_pages", says, remedy).measured(free as f64, "bytes")
}

/// Takes the lock that each writer has for a moment.
fn write_lock(connection: &Connection) -> Finding {
    let begun = Instant::now();
    match connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK") {
        Ok(()) => {
            let waited = begun.elapsed();
            Finding::ok("oldest_transaction", format!("the write lock was to be had within {}", shown(waited)))
        }
        Err(error) => Finding::warn(
            "oldest_transaction",
            format!("the write lock was not to be had within {}: {}", shown(BUSY), super::error::before_commit(error)),
            "find the program that has the file open (`fuser`), and end its transaction",
        ),
    }
}

// ------------------------------------------------------------------------------------------------------------ the disk below

/// By their magic numbers, statfs(2).
const NETWORKS: [(i64, &str); 4] = [(0x6969, "NFS"), (0xff53_4d42, "CIFS"), (0xfe53_4d42, "SMB2"), (0x0102_1997, "9P")];
const FUSE: i64 = 0x6573_5546;
const MEMORY: [i64; 2] = [0x0102_1994, 0x8584_58f6_u32 as i64];

/// WAL needs shared memory between the processes that open the file, which network file systems do not give.
fn file_system(path: &Path) -> Finding {
    const CHECK: &str = "file_system";
    let shown = path.display();
    match kind(folder(path)) {
        None => Finding::unknown(CHECK, "the system does not say on what the file is", "see that its folder may be read"),
        Some(kind) if network(kind).is_some() => {
            let name = network(kind).unwrap_or_default();
            Finding::fail(CHECK, on_network(path, name), "name a file on a local disk with `store.url`").losing_data()
        }
        Some(FUSE) => Finding::warn(
            CHECK,
            format!("{shown} is on FUSE, of which some lock files and sync them, and some only say so"),
            "name a file on a local disk with `store.url`, unless you know that yours does both",
        ),
        Some(kind) if MEMORY.contains(&kind) => Finding::warn(
            CHECK,
            format!("{shown} is in memory, and gone when the machine is"),
            "name a file on a disk with `store.url`, unless no job needs to outlive the machine",
        ),
        Some(_) => Finding::ok(CHECK, format!("{shown} is on a local disk")),
    }
}

pub(super) fn on_network(path: &Path, kind: &str) -> String {
    format!("{} is on {kind}; SQLite needs a local disk", path.display())
}

/// The name of the network file system that `folder` is on, if it is on one.
pub(super) fn network_below(path: &Path) -> Option<&'static str> {
    kind(folder(path)).and_then(network)
}

fn network(kind: i64) -> Option<&'static str> {
    NETWORKS.iter().find(|(magic, _)| *magic == kind).map(|(_, name)| *name)
}

fn c_path(path: &Path) -> Option<CString> {
    CString::new(path.as_os_str().as_bytes()).ok()
}

fn kind(folder: &Path) -> Option<i64> {
    let name = c_path(folder)?;
    let mut stat = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: `name` ends in NUL and `stat` is large enough; it is read only if the call says it was filled.
    let filled = unsafe { libc::statfs(name.as_ptr(), stat.as_mut_ptr()) } == 0;
    // SAFETY: as above.
    filled.then(|| unsafe { stat.assume_init() }.f_type)
}

fn space(path: &Path) -> Finding {
    let shown = path.display().to_string();
    crate::store::examine::space_below(folder(path)).map_or_else(
        || Finding::unknown("disk_space", "the system does not say how much is left", "see that the folder may be read"),
        |(free, total)| disk_space(&shown, free, total),
    )
}

/// Jobs carry what must not be public, and a store that cannot be written is none.
fn permissions(path: &Path) -> Finding {
    const CHECK: &str = "permissions";
    let shown = path.display();
    let folder = folder(path);
    if let Some(place) = [path, folder].into_iter().find(|place| !is_writable(place)) {
        let remedy = "run as the user who owns both, or give that user the right to write to the file and to its folder";
        return Finding::fail(CHECK, format!("{} cannot be written to by this user", place.display()), remedy);
    }
    let mode = |place: &Path| fs::metadata(place).map_or(0, |metadata| metadata.permissions().mode());
    let (is_readable, is_reachable) = (mode(path) & 0o004 != 0, mode(folder) & 0o001 != 0);
    let says = format!("the mode of {shown} is {:03o}", mode(path) & 0o777);
    if is_readable && is_reachable {
        let says = format!("{says}: everybody on this machine can read the jobs in it");
        return Finding::warn(CHECK, says, format!("stop the daemon and run `chmod o-rwx {shown}*`"));
    }
    Finding::ok(CHECK, says)
}

fn is_writable(place: &Path) -> bool {
    // SAFETY: the name ends in NUL.
    c_path(place).is_some_and(|name| unsafe { libc::faccessat(libc::AT_FDCWD, name.as_ptr(), libc::W_OK, libc::AT_EACCESS) } == 0)
}

/// Writes of a page each, as a commit makes them, to a file beside the database that is gone afterwards.
const WRITES: usize = 9;
const ENOUGH: Duration = Duration::from_millis(700);

fn latency(path: &Path) -> Finding {
    let times = || -> std::io::Result<Vec<Duration>> {
        let mut file = tempfile::tempfile_in(folder(path))?;
        let (begun, page) = (Instant::now(), [0x5a_u8; 8192]);
        let mut times = Vec::new();
        while times.len() < WRITES && begun.elapsed() < ENOUGH {
            let write = Instant::now();
            file.write_all(&page)?;
            file.sync_data()?;
            times.push(write.elapsed());
        }
        Ok(times)
    };
    match times() {
        Ok(times) => sync_latency(
            &times,
            "a write to the disk",
            "use a disk with a faster sync, such as an SSD with a cache that outlives a power cut",
        ),
        Err(error) => Finding::unknown(
            "fsync_latency",
            format!("no file can be written beside the store ({error})"),
            "see `permissions` and `disk_space`",
        ),
    }
}

/// Beyond this many bytes of log no checkpoint has come to its end for long.
const LOG_TO_WARN: u64 = 256 << 20;

fn log_size(path: &Path) -> Finding {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    let size = fs::metadata(PathBuf::from(name)).map_or(0, |metadata| metadata.len());
    let says = format!("the log beside the file has {}", bytes(size));
    let remedy = "find the program that has long read from the file (`fuser`) and end it: the log cannot shrink before that";
    warn_if(size > LOG_TO_WARN, "wal_size", says, remedy).measured(size as f64, "bytes")
}

fn daemon(path: &Path) -> Finding {
    const CHECK: &str = "daemon";
    match lock::announced(path) {
        Some(daemon) => Finding::ok(CHECK, format!("the daemon with the control port {} works on the file", daemon.address)),
        None if Lock::is_held(path) => Finding::ok(CHECK, "a daemon without a control port works on the file"),
        None => Finding::ok(CHECK, "no daemon works on the file just now"),
    }
}

// ------------------------------------------------------------------------------------------------------------------- at leisure

/// Reads the whole file.
///
/// # Errors
/// `Unavailable` when the reading was cut short.
pub async fn examine_deep(path: &Path, config: &Config) -> Result<Finding> {
    const CHECK: &str = "integrity";
    if !path.exists() {
        return Ok(Finding::unknown(CHECK, format!("{} is not on this machine", path.display()), "examine it where it is"));
    }
    let config = config.clone();
    let looked = blocking(path, move |path| {
        let begun = Instant::now();
        let found = connection::open(path, &config, connection::Purpose::Read).and_then(|connection| read::check(&connection));
        vec![match found {
            Ok(()) => Finding::ok(CHECK, format!("the file is whole; reading it took {}", shown(begun.elapsed()))),
            Err(Error::Corrupt(damage)) => {
                let damage = damage.trim_end_matches(super::error::RESTORE).trim_end_matches("; ");
                Finding::fail(CHECK, format!("the file is damaged: {damage}"), super::error::RESTORE)
            }
            Err(error) => Finding::unknown(CHECK, error, "mend what the message names, and examine again"),
        }]
    });
    Ok(looked.await?.remove(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::examine::Level;

    #[test]
    fn file_of_another_program_or_of_a_newer_one_fails_and_an_older_one_is_a_warning() {
        let (ours, known) = (connection::APPLICATION_ID, connection::SCHEMA_VERSION);
        let level = |application, version| schema(Path::new("a.db"), application, version).level;
        assert_eq!([level(ours, known), level(ours, known - 1), level(ours, known + 1)], [Level::Ok, Level::Warn, Level::Fail]);
        assert_eq!([level(7, known), level(0, known), level(0, 0)], [Level::Fail, Level::Fail, Level::Warn]);
    }

    #[test]
    fn many_free_pages_are_a_warning_and_few_are_not() {
        let level = |free: u64, all: u64| free_pages(free, all).level;
        assert_eq!([level(2 << 30, 3 << 30), level(2 << 30, 30 << 30), level(1 << 20, 1 << 20)], [Level::Warn, Level::Ok, Level::Ok]);
    }

    #[test]
    fn network_file_systems_are_known_by_their_numbers() {
        assert_eq!((network(0x6969), network(0xef53)), (Some("NFS"), None), "NFS and ext4");
    }
}
