//! The end of attempts: plain completions in arrays, everything else as objects, both in one statement.

use super::{
    PostgresStore,
    error::Effect,
    lease::ord,
    params::{Text, params},
};
use crate::{
    job::{Applied, JobId, Json, Lease, Settlement, Timestamp, Transition},
    store::Result,
};
use serde_json::{Map, Value, json, value::to_raw_value};
use std::collections::HashSet;
use uuid::Uuid;

const SETTLE: &str = "SELECT CASE WHEN $1::bigint[] <> '{}' THEN windlass_v1.complete($1, $2, $3, $4, $5, $6, $7, $8, $11) END,
  CASE WHEN $9 <> '{}' THEN windlass_v1.settle($9::text[]::json[], $11) END,
  CASE WHEN $10::bigint[] <> '{}' THEN windlass_v1.drop_claims($10) END::text";
const SETTLED_BEFORE: &str = "SELECT windlass_v1.settled_before($1, $2, $3)";

impl PostgresStore {
    pub(super) async fn settle_batch(&self, batch: Vec<Settlement>, now: Option<Timestamp>) -> Result<Vec<Applied>> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        // Of a lease that is settled twice in one batch the first counts; the others are told what became of it.
        let mut seen = HashSet::with_capacity(batch.len());
        let mut first: Vec<usize> =
            (0..batch.len()).filter(|&n| seen.insert((batch[n].lease.job, batch[n].lease.epoch, batch[n].lease.nonce))).collect();
        let mut answers = vec![Applied::LeaseLost; batch.len()];
        let jobs: HashSet<JobId> = first.iter().map(|&n| batch[n].lease.job).collect();
        if jobs.len() < first.len() {
            // Two leases of one job: what the older one did must be told before the younger one's end writes over it.
            self.tell_again(&batch, &mut answers).await?;
            first.retain(|&n| answers[n] == Applied::LeaseLost);
        }
        let first = first.into_iter();
        let (mut plain, other): (Vec<usize>, Vec<usize>) = first.partition(|&n| is_plain(&batch[n]));
        plain.sort_by_key(|&n| (batch[n].lease.epoch, batch[n].lease.nonce));
        let claims = Claims::of(plain.iter().map(|&n| batch[n].lease));
        let of = |n: &usize| &batch[*n];
        let results: Vec<Option<Text<Json>>> = plain.iter().map(of).map(|s| s.result.clone().map(Text)).collect();
        let params = params![
            claims.epochs,
            claims.nonces,
            claims.first,
            claims.last,
            plain.iter().map(of).map(|s| ord(s.lease)).collect::<Vec<i32>>(),
            plain.iter().map(of).map(|s| s.lease.job.0).collect::<Vec<Uuid>>(),
            plain.iter().map(of).map(|s| s.started_at.0).collect::<Vec<i64>>(),
            results.iter().any(Option::is_some).then_some(results),
            other.iter().map(of).map(|s| Text(object(s))).collect::<Vec<_>>(),
            self.claims.take_over(),
            now.map(|t| t.0),
        ];
        let row = self.lanes.settle.one(Effect::Writes, SETTLE, params).await?;
        for n in row.get::<_, Option<Vec<i32>>>(0).unwrap_or_default() {
            if let Some(place) = usize::try_from(n - 1).ok().and_then(|n| plain.get(n)) {
                answers[*place] = Applied::Applied;
            }
        }
        for (place, applied) in other.iter().zip(row.get::<_, Option<Vec<bool>>>(1).unwrap_or_default()) {
            if applied {
                answers[*place] = Applied::Applied;
            }
        }
        self.tell_again(&batch, &mut answers).await?;
        let over = |answer: &Applied| *answer == Applied::Applied;
        self.claims.ended(batch.iter().zip(&answers).filter(|(_, answer)| over(answer)).map(|(s, _)| s.lease));
        Ok(answers)
    }

    /// Of those that found no lease, which ended it themselves.
    async fn tell_again(&self, batch: &[Settlement], answers: &mut [Applied]) -> Result<()> {
        let lost: Vec<usize> = (0..batch.len()).filter(|&n| answers[n] == Applied::LeaseLost).collect();
        if lost.is_empty() {
            return Ok(());
        }
        let params = params![
            lost.iter().map(|&n| batch[n].lease.job.0).collect::<Vec<Uuid>>(),
            lost.iter().map(|&n| batch[n].lease.epoch).collect::<Vec<i64>>(),
            lost.iter().map(|&n| batch[n].lease.nonce.0).collect::<Vec<Uuid>>(),
        ];
        let row = self.lanes.settle.one(Effect::Reads, SETTLED_BEFORE, params).await?;
        for (place, before) in lost.into_iter().zip(row.get::<_, Vec<bool>>(0)) {
            if before {
                answers[place] = Applied::AlreadyApplied;
            }
        }
        Ok(())
    }
}

/// The claims of a sorted batch, each with its first and last place in it, from 1.
#[derive(Default)]
struct Claims {
    epochs: Vec<i64>,
    nonces: Vec<Uuid>,
    first: Vec<i32>,
    last: Vec<i32>,
}

impl Claims {
    fn of(leases: impl Iterator<Item = Lease>) -> Self {
        let mut claims = Self::default();
        for (n, lease) in (1..).zip(leases) {
            if claims.epochs.last() != Some(&lease.epoch) || claims.nonces.last() != Some(&lease.nonce.0) {
                claims.epochs.push(lease.epoch);
                claims.nonces.push(lease.nonce.0);
                claims.first.push(n);
                claims.last.push(n);
            }
            if let Some(last) = claims.last.last_mut() {
                *last = n;
            }
        }
        claims
    }
}

fn is_plain(s: &Settlement) -> bool {
    matches!(s.transition, Transition::Complete) && s.usage.is_empty() && s.effects.is_empty() && s.follow_ups.is_empty()
}

/// A settlement as `windlass_v1.settle` reads it. Raw values keep the bytes of results, checkpoints and payloads.
fn object(s: &Settlement) -> Json {
    #[derive(serde::Serialize)]
    struct Item<'s> {
        #[serde(flatten)]
        plain: Map<String, Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        result: Option<&'s Json>,
        #[serde(skip_serializing_if = "Option::is_none")]
        checkpoint: Option<&'s Json>,
        usage: &'s [crate::job::Usage],
        effects: Box<serde_json::value::RawValue>,
        follow_ups: Box<serde_json::value::RawValue>,
    }
    let lease = s.lease;
    let mut plain = json!({
        "epoch": lease.epoch, "ord": ord(lease), "id": lease.job, "nonce": lease.nonce, "started": s.started_at.0,
        "verdict": verdict(&s.transition), "error": s.transition.error(),
    });
    match &s.transition {
        Transition::Complete | Transition::Release => {}
        Transition::Retry { at, .. } | Transition::Snooze { until: at } => plain["at"] = json!(at.0),
        Transition::Dead { reason, .. } => plain["reason"] = json!(reason),
        Transition::Park { reason, until, token, .. } => {
            plain["reason"] = json!(reason);
            plain["at"] = json!(until.0);
            plain["token"] = json!(token);
        }
        Transition::Cancel { reason } => plain["reason"] = json!(reason),
    }
    let Value::Object(plain) = plain else { return Json::trusted("{}") };
    let raw = |value: std::result::Result<Box<serde_json::value::RawValue>, serde_json::Error>| value.expect("our own values are JSON");
    Json::of(&Item {
        plain,
        result: s.result.as_ref(),
        checkpoint: s.checkpoint.as_ref(),
        usage: &s.usage,
        effects: raw(to_raw_value(&s.effects)),
        follow_ups: raw(to_raw_value(&s.follow_ups)),
    })
}

/// As attempts are recorded.
const fn verdict(transition: &Transition) -> &'static str {
    match transition {
        Transition::Complete => "completed",
        Transition::Retry { .. } => "retried",
        Transition::Dead { .. } => "dead",
        Transition::Snooze { .. } => "snoozed",
        Transition::Park { .. } => "parked",
        Transition::Cancel { .. } => "cancelled",
        Transition::Release => "released",
    }
}
