//! Whether the server has gone back in time: a restart that lost the last second, a failover to a replica that lagged, FLUSHALL. A
//! queue's epoch only grows, so one that is lower than it was, or gone, says so (contract P3). What was lost may happen again, each
//! under a new lease; here it is told, and what the server must know of us is put there again.

use super::{RedisStore, error::Effect};
use crate::{
    job::{Json, Name},
    store::Result,
};
use std::{collections::BTreeMap, sync::Arc};

/// The highest epoch that was seen of each queue.
#[derive(Default)]
pub(super) struct Epochs(BTreeMap<Name, i64>);

impl Epochs {
    /// The queue stands at `epoch`. What it stood at before, if that was later.
    fn see(&mut self, queue: &Name, epoch: i64) -> Option<i64> {
        let before = self.0.insert(queue.clone(), epoch);
        before.filter(|before| *before > epoch)
    }
}

impl RedisStore {
    /// All queues stand at these epochs. Answers whether the server went back.
    pub(super) async fn look_for_rewind(&self, epochs: &BTreeMap<Name, i64>) -> Result<bool> {
        let went_back: Vec<(Name, i64, i64)> = {
            let mut known = self.known();
            let gone: Vec<Name> = known.epochs.0.keys().filter(|queue| !epochs.contains_key(*queue)).cloned().collect();
            let all = epochs.iter().map(|(queue, epoch)| (queue.clone(), *epoch)).chain(gone.into_iter().map(|queue| (queue, 0)));
            all.filter_map(|(queue, epoch)| known.epochs.see(&queue, epoch).map(|before| (queue, before, epoch))).collect()
        };
        for (queue, before, now) in &went_back {
            tracing::error!(
                %queue, before, now,
                "this Redis has forgotten what it acknowledged: a queue's epoch is lower than it was; jobs that were lost must be enqueued again, \
                and jobs whose end was lost run again"
            );
        }
        if !went_back.is_empty() {
            self.tell_settings_again().await?;
            self.wakes.work();
        }
        Ok(!went_back.is_empty())
    }

    /// They may be among what was lost; so may the queues' numbers.
    async fn tell_settings_again(&self) -> Result<()> {
        let settings = {
            let mut known = self.known();
            known.queues = Arc::default();
            known.settings.clone()
        };
        let Some(settings) = settings else { return Ok(()) };
        let put = redis::cmd("SET").arg(format!("{}:settings", self.common())).arg(Json::of(&settings).as_str()).arg("NX").clone();
        self.server.ask::<redis::Value>(Effect::Writes, &put).await.map(drop)
    }
}
