//! The end of attempts: one call a queue, all in one round trip.

use super::{
    RedisStore,
    connection::function,
    enqueue::instant,
    error::{Effect, odd},
    lease::{place_of, queue_of},
    reply, told,
};
use crate::{
    job::{Applied, Name, Settlement, Timestamp},
    store::Result,
};
use std::collections::BTreeMap;

/// Settlements of one call to the server: a millisecond or two of its time.
const PORTION: usize = 500;

impl RedisStore {
    pub(super) async fn settle_batch(&self, batch: &[Settlement], now: Option<Timestamp>) -> Result<Vec<Applied>> {
        let numbers = self.queues_by_number().await?;
        let mut by_queue: BTreeMap<&Name, Vec<usize>> = BTreeMap::new();
        for (index, settlement) in batch.iter().enumerate() {
            if let Some(queue) = numbers.get(&queue_of(settlement.lease.row)) {
                by_queue.entry(queue).or_default().push(index);
            }
        }
        // Claim by claim, each of them once.
        for indexes in by_queue.values_mut() {
            indexes.sort_by_key(|&index| (batch[index].lease.epoch, batch[index].lease.nonce));
        }
        let portions: Vec<(&Name, &[usize])> =
            by_queue.iter().flat_map(|(queue, indexes)| indexes.chunks(PORTION).map(|portion| (*queue, portion))).collect();
        let calls: Vec<_> = portions
            .iter()
            .map(|(queue, portion)| {
                let mut call = function("settle", &[self.base(queue)]);
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
