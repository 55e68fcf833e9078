//! What holds one job back.

use super::{RedisStore, connection::reading, enqueue::instant, error::Effect};
use crate::{
    job::{Job, Standing, Timestamp},
    store::{Error, Result},
};

impl RedisStore {
    pub(super) async fn standing_of(&self, job: &Job, now: Option<Timestamp>) -> Result<Standing> {
        let shard = self.shard_with(job.id).await?;
        let mut call = reading("standing", &[self.base(&shard)]);
        call.arg(instant(now)).arg(job.id.0.as_bytes()).arg(Standing::MOST).arg(Standing::LINES).arg(Standing::SHOWN);
        let text: String = self.server.ask(Effect::Reads, &call).await?;
        serde_json::from_str(&text).map_err(|e| Error::Corrupt(format!("how job {} stands cannot be read: {e}", job.id)))
    }
}
