//! Who works on what.

use super::{PostgresStore, error::Effect, params::params};
use crate::{
    job::{Daemon, HolderId, Json, SeenDaemon, Timestamp},
    store::{Result, SILENT, words::seen_daemon},
};
use std::time::Duration;

impl PostgresStore {
    pub(super) async fn tell_of(&self, daemon: &Daemon, lasts: Duration, now: Option<Timestamp>) -> Result<()> {
        let us = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        let params = params![daemon.holder.0, Json::of(daemon).as_str().to_owned(), us(lasts), us(SILENT), now.map(|t| t.0)];
        self.lanes.other.rows(Effect::Writes, "SELECT windlass_v1.announce($1, $2, $3, $4, $5)", params).await.map(drop)
    }

    pub(super) async fn end_holder(&self, holder: HolderId) -> Result<()> {
        self.lanes.settle.rows(Effect::Writes, "SELECT windlass_v1.goodbye($1)", params![holder.0]).await.map(drop)
    }

    pub(super) async fn all_daemons(&self) -> Result<Vec<SeenDaemon>> {
        let statement = "SELECT daemon, seen_at, until FROM windlass.daemons ORDER BY holder";
        let rows = self.lanes.other.rows(Effect::Reads, statement, params![]).await?;
        Ok(rows.iter().filter_map(|row| seen_daemon(row.get(0), Timestamp(row.get(1)), Timestamp(row.get(2)))).collect())
    }
}
