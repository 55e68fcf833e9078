//! Reading: one job, pages of jobs, queues, and what stands beside them.

use super::{PostgresStore, error::Effect, params::params, rows};
use crate::{
    job::{
        InvalidEnvelope, Job, JobId, Json, Name, OnDuplicate, Pause, Settings, State, Timestamp, Unique, UniqueFor,
        schedule::{Fate, Occurrence, ScheduleState, SkipReason},
    },
    store::{Error, Exported, Page, Quarantined, QueueStatus, Result, TenantLoad},
};
use std::sync::LazyLock;
use tokio_postgres::Row;
use uuid::Uuid;

const JOB: &str = include_str!("queries/job.sql");
static JOBS: LazyLock<String> = LazyLock::new(|| JOB.replace("id = $1", "id = ANY ($1::uuid[])"));
const EXPORT: &str = include_str!("queries/export.sql");
const QUEUES: &str = "SELECT s.*, p.until FROM windlass_v1.queue_states() s LEFT JOIN windlass.pauses p ON p.queue = s.name";

/// A cursor is the id of the last job looked at.
fn cursor_id(text: &str) -> Result<Uuid> {
    let id: JobId = text.parse().map_err(|_| {
        let message = "the cursor is none of ours; begin again without one";
        Error::Invalid { index: 0, error: InvalidEnvelope::new("/cursor", "bad_cursor", message) }
    })?;
    Ok(id.0)
}

/// The last row of a page tells where the next begins; it has an id and nothing else.
fn split_end(rows: &mut Vec<Row>) -> Option<String> {
    let is_end = rows.last().is_some_and(|row| row.try_get::<_, Option<&str>>(1).is_ok_and(|kind| kind.is_none()));
    let end = if is_end { rows.pop() } else { None };
    end.map(|row| row.get::<_, Uuid>(0).to_string())
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

pub(super) fn settings(stored: Option<&str>) -> Result<Settings> {
    let read = stored.map_or_else(|| Ok(Settings::default()), serde_json::from_str);
    read.map_err(|e| Error::Corrupt(format!("the stored settings cannot be read: {e}")))
}

impl PostgresStore {
    pub(super) async fn job(&self, id: JobId) -> Result<Option<Job>> {
        let rows = self.lanes.other.rows(Effect::Reads, JOB, params![id.0]).await?;
        rows.first().map(|row| rows::job(row).map_err(|e| Error::Corrupt(format!("job {id}: {e}")))).transpose()
    }

    pub(super) async fn jobs(&self, ids: &[JobId]) -> Result<Vec<Job>> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        let rows = self.lanes.other.rows(Effect::Reads, &JOBS, params![ids]).await?;
        let unreadable = |reason: &String| tracing::error!(reason, "a stored job cannot be shown");
        Ok(rows.iter().filter_map(|row| rows::job(row).inspect_err(unreadable).ok()).collect())
    }

    pub(super) async fn export_page(&self, cursor: Option<&str>, limit: usize) -> Result<Page<Exported>> {
        let above = cursor.map_or(Ok(Uuid::nil()), cursor_id)?;
        let limit = i64::try_from(limit.clamp(1, 1000)).unwrap_or(1000);
        let mut rows = self.lanes.other.rows(Effect::Reads, EXPORT, params![above, limit]).await?;
        let next = split_end(&mut rows);
        let mut items = Vec::with_capacity(rows.len());
        for row in &rows {
            match exported(row) {
                Ok(job) => items.push(job),
                Err(reason) => tracing::error!(reason, "a stored job cannot be exported"),
            }
        }
        Ok(Page { items, next, ..Page::default() })
    }

    pub(super) async fn queue_list(&self, now: Timestamp) -> Result<Vec<QueueStatus>> {
        let rows = self.lanes.other.rows(Effect::Reads, QUEUES, params![]).await?;
        let status = |row: &Row| {
            let counts: Vec<i64> = row.get(1);
            let until = row.get::<_, Option<i64>>(6).map(Timestamp);
            let paused = row.get::<_, Option<i64>>(2).map(|at| Pause { at: Timestamp(at), by: row.get(3), reason: row.get(4), until });
            let paused = paused.filter(|pause| pause.holds(now));
            let age = |due: i64| u64::try_from(now.since(Timestamp(due)).as_millis()).unwrap_or(u64::MAX);
            QueueStatus {
                name: row.get(0),
                jobs: ORDER.into_iter().zip(counts.into_iter().map(unsigned)).collect(),
                paused,
                oldest_queued_ms: row.get::<_, Option<i64>>(5).map(age),
                limits: None,
            }
        };
        Ok(rows.iter().map(status).collect())
    }

    pub(super) async fn tenant_loads(&self, after: Option<&str>, limit: usize) -> Result<Vec<TenantLoad>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let statement = "SELECT lane, waiting, running FROM windlass_v1.tenant_loads($1, $2)";
        let rows = self.lanes.other.rows(Effect::Reads, statement, params![after.map(ToOwned::to_owned), limit]).await?;
        let load =
            |row: &Row| TenantLoad { tenant: Name::new(row.get(0)).ok(), waiting: unsigned(row.get(1)), running: unsigned(row.get(2)) };
        Ok(rows.iter().map(load).collect())
    }

    pub(super) async fn quarantine_list(&self, limit: usize) -> Result<Vec<Quarantined>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let statement = "SELECT at, place, reason, data FROM windlass.quarantine ORDER BY n DESC LIMIT $1";
        let rows = self.lanes.other.rows(Effect::Reads, statement, params![limit]).await?;
        Ok(rows
            .iter()
            .map(|row| Quarantined { at: Timestamp(row.get(0)), place: row.get(1), reason: row.get(2), row: row.get(3) })
            .collect())
    }

    pub(super) async fn record_value(&self, tenant: Option<&Name>, collection: &Name, key: &str) -> Result<Option<Json>> {
        let tenant = tenant.map_or_else(String::new, ToString::to_string);
        let statement = "SELECT value FROM windlass.records WHERE tenant = $1 AND collection = $2 AND key = $3";
        let rows = self.lanes.other.rows(Effect::Reads, statement, params![tenant, collection.to_string(), key.to_owned()]).await?;
        Ok(rows.first().map(|row| Json::trusted(row.get(0))))
    }

    /// The settings as they stand there, if they do.
    pub(super) async fn settings_text(&self) -> Result<Option<String>> {
        let rows = self.lanes.other.rows(Effect::Reads, "SELECT settings FROM windlass.settings", params![]).await?;
        Ok(rows.first().map(|row| row.get(0)))
    }

    pub(super) async fn schedule_list(&self) -> Result<Vec<ScheduleState>> {
        let statement = "SELECT schedule, generation, last, paused FROM windlass.schedules ORDER BY name";
        let rows = self.lanes.other.rows(Effect::Reads, statement, params![]).await?;
        let mut schedules = Vec::new();
        for row in &rows {
            match schedule(row) {
                Ok(state) => schedules.push(state),
                Err(error) => tracing::error!(error, "a stored schedule cannot be read; put it again"),
            }
        }
        Ok(schedules)
    }

    pub(super) async fn occurrence_list(&self, name: &Name, limit: usize) -> Result<Vec<Occurrence>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let statement =
            "SELECT due, job, skipped, through, count FROM windlass.occurrences WHERE schedule = $1 ORDER BY generation, due LIMIT $2";
        let rows = self.lanes.other.rows(Effect::Reads, statement, params![name.to_string(), limit]).await?;
        let occurrence = |row: &Row| {
            let fate = match row.get::<_, Option<Uuid>>(1) {
                Some(job) => Fate::Job { id: JobId(job) },
                None => Fate::Skipped {
                    reason: row.get::<_, Option<&str>>(2).and_then(SkipReason::parse).unwrap_or(SkipReason::Missed),
                    through: Timestamp(row.get(3)),
                    count: unsigned(row.get(4)),
                },
            };
            Occurrence { due: Timestamp(row.get(0)), fate }
        };
        Ok(rows.iter().map(occurrence).collect())
    }
}

/// States in the order of their numbers in `windlass.events`.
const ORDER: [State; 7] = [State::Scheduled, State::Queued, State::Running, State::Parked, State::Completed, State::Cancelled, State::Dead];

/// The columns schedule, generation, last, paused.
pub(super) fn schedule(row: &Row) -> std::result::Result<ScheduleState, String> {
    let schedule = serde_json::from_str(row.get(0)).map_err(|e| e.to_string())?;
    Ok(ScheduleState { schedule, generation: row.get(1), last: Timestamp(row.get(2)), paused: row.get(3) })
}

fn exported(row: &Row) -> std::result::Result<Exported, String> {
    let job = rows::job(row)?;
    let held: Option<&str> = row.get(rows::export::HELD);
    let unique = job.unique_key.clone().zip(held).map(|(key, held)| Unique {
        key,
        held: match held {
            "started" => UniqueFor::UntilStarted,
            "window" => {
                let (until, from): (i64, i64) = (row.get(rows::export::HELD_UNTIL), row.get(rows::export::HELD_FROM));
                UniqueFor::Window(Timestamp(until).since(Timestamp(from)))
            }
            _ => UniqueFor::UntilFinished,
        },
        on_duplicate: OnDuplicate::default(),
        debounce_max_ms: 0,
    });
    let parents: Option<Vec<Uuid>> = row.get(rows::export::PARENTS);
    Ok(Exported {
        job,
        unique,
        due_at: Timestamp(row.get(rows::export::DUE_AT)),
        waits_for: parents.unwrap_or_default().into_iter().map(JobId).collect(),
        token: row.get(rows::export::TOKEN),
        fingerprint: row.get(rows::export::FINGERPRINT),
    })
}
