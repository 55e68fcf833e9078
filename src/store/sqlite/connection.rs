//! Opening the file: pragmas, schema, and the refusals that keep people from losing data.

use super::{Config, error};
use crate::store::{Durability, Error, Result};
use rusqlite::{Connection, OpenFlags, config::DbConfig};
use std::{fs::File, io, os::unix::fs::OpenOptionsExt as _, path::Path, time::Duration};

/// The schema this program knows; a file of a newer one is refused.
pub(super) const SCHEMA_VERSION: i64 = SCHEMA.len() as i64;
const SCHEMA: [&str; 5] = [
    include_str!("../../../migrations/sqlite/0001_jobs.sql"),
    include_str!("../../../migrations/sqlite/0002_tokens.sql"),
    include_str!("../../../migrations/sqlite/0003_operate.sql"),
    include_str!("../../../migrations/sqlite/0004_audit.sql"),
    include_str!("../../../migrations/sqlite/0005_search.sql"),
];
/// "WNDL": tells our files from other people's databases.
pub(super) const APPLICATION_ID: i64 = 0x574e_444c;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Write,
    Read,
}

/// Opens the database for writing, making an empty one that nobody but its owner can read if there is none: jobs carry what must
/// not be public. SQLite gives the files beside it the same mode. One that is there keeps its mode; a group may share it.
pub(super) fn make_private(path: &Path) -> io::Result<File> {
    File::options().read(true).append(true).create(true).mode(0o600).open(path)
}

pub(super) fn open(path: &Path, config: &Config, purpose: Purpose) -> Result<Connection> {
    let flags = match purpose {
        Purpose::Write => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        Purpose::Read => OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    };
    if purpose == Purpose::Write {
        // A file that cannot be made is what SQLite says best.
        let _ = make_private(path);
    }
    let connection = Connection::open_with_flags(path, flags).map_err(|e| named(path, error::before_commit(e)))?;
    let set_up = || -> rusqlite::Result<()> {
        connection.busy_timeout(Duration::from_millis(config.busy_timeout_ms))?;
        connection.set_prepared_statement_cache_capacity(256);
        // Else a statement with a parameter beside a partial index is planned anew whenever the parameter changes.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        connection.pragma_update(None, "cache_size", -i64::from(config.cache_kib))?;
        rusqlite::vtab::array::load_module(&connection)?;
        connection.pragma_update(None, "foreign_keys", false)?;
        connection.pragma_update(None, "temp_store", "memory")?;
        if purpose == Purpose::Write {
            connection.pragma_update(None, "page_size", PAGE)?;
            connection.pragma_update(None, "journal_mode", "wal")?;
            let synchronous = if config.durability == Durability::Strict { "full" } else { "normal" };
            connection.pragma_update(None, "synchronous", synchronous)?;
            connection.pragma_update(None, "wal_autocheckpoint", WAL_PAGES)?;
            connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
        }
        Ok(())
    };
    set_up().map_err(|e| named(path, error::before_commit(e)))?;
    if purpose == Purpose::Write {
        migrate(path, &connection)?;
    }
    Ok(connection)
}

/// Pages of log between checkpoints: 16 MiB. A checkpoint costs two fsyncs and rewrites each touched page once, so larger
/// is cheaper per job; beyond this the gain is small and a restart reads the log for longer.
const WAL_PAGES: i64 = (16 << 20) / PAGE;

/// Bytes of a page, of a file that is made now. Most pages are filled at one end and emptied at the other, so twice SQLite's
/// usual size halves how often a tree is rebalanced; a lone commit waits for the disk anyway.
const PAGE: i64 = 8192;

pub(super) fn named(path: &Path, failed: Error) -> Error {
    let name = path.display();
    match failed {
        Error::Unavailable(text) => Error::Unavailable(format!("{name}: {text}")),
        Error::Corrupt(text) => Error::Corrupt(format!("{name}: {text}")),
        other => other,
    }
}

pub(super) fn too_new(path: &Path, version: i64) -> String {
    format!("{} has schema {version}, this program knows {SCHEMA_VERSION}", path.display())
}

pub(super) fn not_ours(path: &Path) -> String {
    format!("{} is another program's database", path.display())
}

fn migrate(path: &Path, connection: &Connection) -> Result<()> {
    let pragma = |name: &str| -> Result<i64> {
        connection.pragma_query_value(None, name, |row| row.get(0)).map_err(|e| named(path, error::before_commit(e)))
    };
    let version = pragma("user_version")?;
    if version == SCHEMA_VERSION && pragma("application_id")? == APPLICATION_ID {
        return Ok(());
    }
    if version > SCHEMA_VERSION {
        return Err(Error::Refused(format!("{}; use the windlass that wrote it, or a newer one", too_new(path, version))));
    }
    let run = || -> rusqlite::Result<bool> {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        // Another process may have been first while we waited for the lock.
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))?;
        if version == 0 && tables > 0 {
            connection.execute_batch("ROLLBACK")?;
            return Ok(false);
        }
        for (number, script) in SCHEMA.iter().enumerate().skip(usize::try_from(version).unwrap_or(0)) {
            connection.execute_batch(script)?;
            connection.pragma_update(None, "user_version", i64::try_from(number).unwrap_or(0) + 1)?;
        }
        connection.pragma_update(None, "application_id", APPLICATION_ID)?;
        connection.execute_batch("COMMIT")?;
        Ok(true)
    };
    match run() {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::Refused(format!("{}; name a file of its own for windlass", not_ours(path)))),
        Err(failed) => {
            let _ = connection.execute_batch("ROLLBACK");
            Err(named(path, error::before_commit(failed)))
        }
    }
}
