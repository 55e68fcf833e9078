//! Whether the server has gone back in time: a restart that lost the last second, a failover to a replica that lagged, FLUSHALL. A
//! queue's epoch only grows, so one that is lower than it was, or gone, says so (contract P3). What was lost may happen again, each
//! under a new lease; here it is told, and what the server must know of us is put there again.

use super::{RedisStore, shards::Tag};
use crate::store::Result;
use std::collections::BTreeMap;

/// The highest epoch that was seen of each shard.
pub(super) type Epochs = BTreeMap<Tag, i64>;

impl RedisStore {
    /// A lease of this epoch was granted; of two that were granted at once the answers may come in any order.
    pub(super) fn saw_epoch(&self, shard: &Tag, epoch: i64) {
        let mut known = self.known();
        match known.epochs.get_mut(shard) {
            Some(seen) => *seen = epoch.max(*seen),
            None => _ = known.epochs.insert(shard.clone(), epoch),
        }
    }

    /// The epoch that was last seen of a shard, before it is asked for more.
    pub(super) fn epoch_of(&self, shard: &Tag) -> i64 {
        self.known().epochs.get(shard).copied().unwrap_or(0)
    }

    /// A lease of this epoch was granted to a call that was made when the shard stood at `before`. It does not wait for upkeep to be noticed that
    /// this is no more: by then the shard may stand higher again.
    pub(super) fn granted_epoch(&self, shard: &Tag, before: i64, epoch: i64) {
        if epoch > before {
            return self.saw_epoch(shard, epoch);
        }
        tell(shard, before, epoch);
        let mut known = self.known();
        known.epochs.insert(shard.clone(), epoch);
        known.went_back = true;
    }

    /// All shards stand `now`, and stood at least `before` when they were asked. Answers whether the server went back.
    pub(super) async fn look_for_rewind(&self, before: &Epochs, now: &Epochs) -> Result<bool> {
        let mut rewound = std::mem::take(&mut self.known().went_back);
        for (shard, before) in before {
            let now = now.get(shard).copied().unwrap_or(0);
            if now < *before {
                tell(shard, *before, now);
                self.known().epochs.insert(shard.clone(), now);
                rewound = true;
            }
        }
        for (shard, now) in now {
            self.saw_epoch(shard, *now);
        }
        if rewound {
            // The settings may be among what was lost. Until that is done, it is not told of.
            self.tell_settings_again().await.inspect_err(|_| self.known().went_back = true)?;
            self.wakes.work();
        }
        Ok(rewound)
    }
}

fn tell(shard: &Tag, before: i64, now: i64) {
    tracing::error!(
        queue = %shard, before, now,
        "this Redis has forgotten what it acknowledged: a queue's epoch is lower than it was; jobs that were lost must be enqueued again, \
        and jobs whose end was lost run again"
    );
}
