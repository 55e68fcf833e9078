//! The end of attempts: one call a queue, all in one round trip.

use super::{
    RedisStore,
    connection::function,
    enqueue::instant,
    error::{Effect, odd},
    lease::{place_of, shard_of},
    reply,
    shards::Tag,
    told,
};
use crate::{
    job::{Applied, Settlement, Timestamp},
    store::Result,
};
use std::collections::BTreeMap;

/// Settlements of one call to the server: a millisecond or two of its time.
const PORTION: usize = 500;

impl RedisStore {
    pub(super) async fn settle_batch(&self, batch: &[Settlement], now: Option<Timestamp>) -> Result<Vec<Applied>> {
        let numbers = self.shards_by_number().await?;
        let mut by_shard: BTreeMap<&Tag, Vec<usize>> = BTreeMap::new();
        for (index, settlement) in batch.iter().enumerate() {
            if let Some(shard) = numbers.get(&shard_of(settlement.lease.row)) {
                by_shard.entry(shard).or_default().push(index);
            }
        }
        // Claim by claim, each of them once.
        for indexes in by_shard.values_mut() {
            indexes.sort_by_key(|&index| (batch[index].lease.epoch, batch[index].lease.nonce));
        }
        let portions: Vec<(&Tag, &[usize])> =
            by_shard.iter().flat_map(|(shard, indexes)| indexes.chunks(PORTION).map(|portion| (*shard, portion))).collect();
        let calls: Vec<_> = portions
            .iter()
            .map(|(shard, portion)| {
                let mut call = function("settle", &[self.base(shard)]);
                call.arg(instant(now));
                let of = |index: &usize| batch[*index].lease;
                for claim in portion.chunk_by(|a, b| (of(a).epoch, of(a).nonce) == (of(b).epoch, of(b).nonce)) {
                    call.arg(of(&claim[0]).epoch).arg(of(&claim[0]).nonce.0.as_bytes()).arg(claim.len());
                    for settlement in claim.iter().map(|&index| &batch[index]) {
                        let lease = settlement.lease;
                        call.arg(place_of(lease.row)).arg(lease.job.0.as_bytes()).arg(told::verdict(settlement));
                    }
                }
                call
            })
            .collect();
        let mut answers = vec![Applied::LeaseLost; batch.len()];
        for ((_, portion), told) in portions.into_iter().zip(self.server.ask_each(Effect::Promises, &calls).await?) {
            let told = reply::bytes(told)?;
            if told.len() != portion.len() {
                return odd("an answer a settlement");
            }
            for (&index, letter) in portion.iter().zip(told) {
                answers[index] = match letter {
                    b'a' => Applied::Applied,
                    b'b' => Applied::AlreadyApplied,
                    _ => Applied::LeaseLost,
                };
            }
        }
        self.forget_suspects(batch.iter().map(|settlement| &settlement.lease));
        self.deliver(now).await;
        Ok(answers)
    }
}
