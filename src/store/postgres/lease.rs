//! Granting, and keeping what was granted: lease calls and heartbeats.

use super::{
    PostgresStore,
    error::Effect,
    params::{Text, params},
    rows,
};
use crate::{
    job::{HolderId, JobId, Lease, Leased, Name, Nonce, Timestamp},
    store::{Beat, LeaseReply, LeaseRequest, Progress, Result},
};
use std::time::Duration;
use tokio_postgres::Row;
use uuid::Uuid;

const LEASE: &str = "SELECT * FROM windlass_v1.lease($1, $2, $3, $4, $5, $6, $7, $8, $9)";
const LEASED_BY: &str =
    "SELECT r.* FROM windlass_v1.read_claims(ARRAY(SELECT epoch FROM windlass.claims WHERE nonce = $1 ORDER BY epoch)) r";
const BEAT: &str = "SELECT p_lost, p_cancel, p_strays::text FROM windlass_v1.beat($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
const QUARANTINE: &str = "SELECT windlass_v1.quarantine($1, $2, $3)";

/// What a lease call says beyond its jobs.
const MORE: i32 = 1;
/// Another daemon was just leasing from one of the queues.
const BUSY: i32 = 2;
/// Tries of a call that found a queue busy; the other daemon's call takes some milliseconds.
const BUSY_TRIES: u32 = 8;

/// Whether a call that brought nothing is made again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    No,
    /// Rows were put aside.
    Now,
    /// Another daemon was busy.
    Soon,
}

impl PostgresStore {
    pub(super) async fn lease_jobs(&self, request: LeaseRequest, now: Option<Timestamp>) -> Result<LeaseReply> {
        for tries in 0_u32.. {
            let (reply, again) = self.lease_once(&request, now).await?;
            self.calls.ended(!reply.jobs.is_empty() || reply.more);
            if again == Again::No || !reply.jobs.is_empty() || tries == BUSY_TRIES {
                return Ok(LeaseReply { more: reply.more || again != Again::No, ..reply });
            }
            if again == Again::Soon {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        Ok(LeaseReply::default())
    }

    async fn lease_once(&self, request: &LeaseRequest, now: Option<Timestamp>) -> Result<(LeaseReply, Again)> {
        let (queues, wants): (Vec<Text<Name>>, Vec<i32>) =
            request.queues.iter().map(|(queue, n)| (Text(queue.clone()), i32::try_from(*n).unwrap_or(i32::MAX))).unzip();
        let kinds: Vec<Text<Name>> = request.kinds.iter().cloned().map(Text).collect();
        let bytes = i64::try_from(request.max_bytes).unwrap_or(i64::MAX);
        let lease = i64::try_from(request.lease.as_micros()).unwrap_or(i64::MAX);
        let params = params![request.holder.0, request.nonce.0, queues, wants, kinds, bytes, lease, self.node.clone(), now.map(|t| t.0)];
        let asking = self.claims.ask();
        let mut rows = self.lanes.lease.rows(Effect::Writes, LEASE, params).await?;
        let mut reply = LeaseReply::default();
        let mut again = Again::No;
        if let Some(last) = rows.pop() {
            let said: i32 = last.get(rows::granted::ORD);
            reply.next_due = last.get::<_, Option<i64>>(rows::granted::GRANTED_AT).map(Timestamp);
            reply.more = said == MORE;
            again = if said == BUSY { Again::Soon } else { Again::No };
        }
        reply.jobs = self.read_granted(&rows, now).await?;
        if reply.jobs.len() < rows.len() {
            again = Again::Now;
        }
        asking.answered(&reply.jobs);
        Ok((reply, again))
    }

    /// One row that cannot be read is put aside, and the others go on.
    async fn read_granted(&self, rows: &[Row], now: Option<Timestamp>) -> Result<Vec<Leased>> {
        let mut jobs = Vec::with_capacity(rows.len());
        for row in rows {
            match rows::leased(row) {
                Ok(leased) => jobs.push(leased),
                Err(reason) => {
                    let id: Uuid = row.get(rows::granted::ID);
                    tracing::error!(%id, reason, "a row of jobs cannot be read; it is quarantined");
                    self.lanes.lease.rows(Effect::Writes, QUARANTINE, params![id, reason, now.map(|t| t.0)]).await?;
                }
            }
        }
        Ok(jobs)
    }

    pub(super) async fn leased_under(&self, nonce: Nonce) -> Result<Vec<Leased>> {
        let rows = self.lanes.lease.rows(Effect::Reads, LEASED_BY, params![nonce.0]).await?;
        let jobs = self.read_granted(&rows, None).await?;
        self.claims.granted(&jobs);
        Ok(jobs)
    }

    pub(super) async fn beat(
        &self,
        holder: HolderId,
        lease: Duration,
        held: Vec<Lease>,
        progress: Vec<Progress>,
        now: Option<Timestamp>,
    ) -> Result<Beat> {
        let look = self.claims.look();
        let lease_us = i64::try_from(lease.as_micros()).unwrap_or(i64::MAX);
        let params = params![
            holder.0,
            lease_us,
            held.iter().map(|lease| lease.epoch).collect::<Vec<i64>>(),
            held.iter().map(|lease| ord(*lease)).collect::<Vec<i32>>(),
            held.iter().map(|lease| lease.job.0).collect::<Vec<Uuid>>(),
            progress.iter().map(|report| report.lease.job.0).collect::<Vec<Uuid>>(),
            progress.iter().map(|report| report.lease.epoch).collect::<Vec<i64>>(),
            progress.iter().map(|report| Text(report.value.clone())).collect::<Vec<_>>(),
            self.node.clone(),
            now.map(|t| t.0),
            look.from,
        ];
        let row = self.lanes.settle.one(Effect::Writes, BEAT, params).await?;
        let named = |column: usize| -> Vec<Lease> {
            let places: Option<Vec<i32>> = row.get(column);
            places.unwrap_or_default().into_iter().filter_map(|n| held.get(usize::try_from(n - 1).ok()?).copied()).collect()
        };
        let strays: Option<&str> = row.get(2);
        let strays: Vec<Stray> = strays.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        self.claims.looked(look, strays.iter().map(|stray| stray.epoch));
        Ok(Beat { lost: named(0), cancel: named(1), strays: strays.into_iter().map(Stray::lease).collect() })
    }
}

#[derive(serde::Deserialize)]
struct Stray {
    epoch: i64,
    ord: i64,
    id: Uuid,
    nonce: Uuid,
    granted_at: i64,
}

impl Stray {
    fn lease(self) -> Lease {
        Lease { job: JobId(self.id), epoch: self.epoch, nonce: Nonce(self.nonce), row: self.ord, granted_at: Timestamp(self.granted_at) }
    }
}

/// The place of the job in its claim: all that this store needs to find it again.
pub(super) fn ord(lease: Lease) -> i32 {
    i32::try_from(lease.row).unwrap_or(0)
}
