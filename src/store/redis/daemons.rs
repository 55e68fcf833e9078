//! Who works on what: what each daemon says of itself, by its holder, and how long that holds, all under the common tag.

use super::{RedisStore, connection::function, enqueue::instant, error::Effect};
use crate::{
    job::{Daemon, HolderId, Json, SeenDaemon, Timestamp},
    store::{Result, SILENT, words::seen_daemon},
};
use std::time::Duration;

impl RedisStore {
    pub(super) async fn tell_of(&self, daemon: &Daemon, lasts: Duration, now: Option<Timestamp>) -> Result<()> {
        let mut call = function("announce", &[self.common()]);
        call.arg(instant(now)).arg(daemon.holder.0.as_bytes()).arg(Json::of(daemon).as_str());
        call.arg(lasts.as_micros().to_string()).arg(SILENT.as_micros().to_string());
        self.server.ask::<redis::Value>(Effect::Writes, &call).await.map(drop)
    }

    pub(super) async fn end_holder(&self, holder: HolderId) -> Result<()> {
        let now = self.now_or(None);
        self.on_all_shards("goodbye", now, |call| _ = call.arg(holder.0.as_bytes())).await?;
        let mut call = function("forget_daemon", &[self.common()]);
        call.arg(instant(now)).arg(holder.0.as_bytes());
        self.server.ask::<redis::Value>(Effect::Writes, &call).await.map(drop)
    }

    pub(super) async fn all_daemons(&self) -> Result<Vec<SeenDaemon>> {
        let call = redis::cmd("HVALS").arg(format!("{}:daemons", self.common())).clone();
        let rows: Vec<Vec<u8>> = self.server.ask(Effect::Reads, &call).await?;
        let mut daemons: Vec<SeenDaemon> = rows.iter().filter_map(|row| read(row)).collect();
        daemons.sort_by_key(|seen| seen.daemon.holder);
        Ok(daemons)
    }
}

/// Two instants of eight bytes, when it spoke and until when that holds, and what it said.
fn read(row: &[u8]) -> Option<SeenDaemon> {
    let (seen_at, rest) = row.split_first_chunk()?;
    let (until, text) = rest.split_first_chunk()?;
    let at = |bytes: [u8; 8]| Timestamp(i64::from_be_bytes(bytes));
    seen_daemon(std::str::from_utf8(text).ok()?, at(*seen_at), at(*until))
}
