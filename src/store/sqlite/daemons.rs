//! Who works on what.

use super::{
    read::own,
    tx::{Tx, sql},
};
use crate::{
    job::{Daemon, HolderId, Json, SeenDaemon, Timestamp},
    store::{Result, SILENT, words::seen_daemon},
};
use rusqlite::Connection;
use std::time::Duration;

impl Tx<'_> {
    pub(super) fn announce(&mut self, daemon: &Daemon, lasts: Duration, now: Timestamp) -> Result<()> {
        let row = (daemon.holder.0.as_bytes(), Json::of(daemon).as_str().to_owned(), now.0, now.plus(lasts).0);
        self.run(sql!("daemon_put"), row)?;
        self.run(sql!("daemons_silent"), [now.minus(SILENT).0]).map(drop)
    }

    pub(super) fn goodbye(&mut self, holder: HolderId) -> Result<()> {
        self.run(sql!("holder_drop"), [holder.0.as_bytes()])?;
        self.run(sql!("daemon_drop"), [holder.0.as_bytes()]).map(drop)
    }
}

pub(super) fn all(connection: &Connection) -> Result<Vec<SeenDaemon>> {
    let mut statement = connection.prepare_cached(sql!("daemons_all")).map_err(own)?;
    let rows =
        statement.query_map([], |row| Ok((row.get::<_, String>(0)?, Timestamp(row.get(1)?), Timestamp(row.get(2)?)))).map_err(own)?;
    let rows = rows.collect::<rusqlite::Result<Vec<_>>>().map_err(own)?;
    Ok(rows.into_iter().filter_map(|(text, seen_at, until)| seen_daemon(&text, seen_at, until)).collect())
}
