//! Reading beside the writer: a few read-only connections, each call on a blocking thread, a snapshot of its own.

use super::{
    Config,
    connection::{self, Purpose},
    error, rows, schedules,
    tx::sql,
};
use crate::{
    job::{
        InvalidEnvelope, Job, JobId, Json, Name, Pause, Settings, State, Timestamp, Unique, UniqueFor,
        schedule::{Occurrence, ScheduleState},
    },
    store::{
        Error, Exported, Page, Quarantined, QueueStatus, Result,
        search::{PAGE_BYTES, weight},
    },
};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

#[derive(Clone)]
pub(super) struct Readers {
    path: PathBuf,
    config: Config,
    /// None once closed.
    idle: Arc<Mutex<Option<Vec<Connection>>>>,
}

impl Readers {
    pub(super) fn new(path: PathBuf, config: Config) -> Self {
        Self { path, config, idle: Arc::new(Mutex::new(Some(Vec::new()))) }
    }

    pub(super) async fn call<T: Send + 'static>(&self, work: impl FnOnce(&Connection) -> Result<T> + Send + 'static) -> Result<T> {
        let readers = self.clone();
        let done = tokio::task::spawn_blocking(move || {
            let kept = match &mut *readers.idle.lock().unwrap_or_else(PoisonError::into_inner) {
                Some(idle) => idle.pop(),
                None => return Err(Error::Unavailable("the store is closed".into())),
            };
            let connection = match kept {
                Some(connection) => connection,
                None => connection::open(&readers.path, &readers.config, Purpose::Read)?,
            };
            let outcome = work(&connection);
            if outcome.is_ok()
                && let Some(idle) = &mut *readers.idle.lock().unwrap_or_else(PoisonError::into_inner)
            {
                idle.push(connection);
            }
            outcome
        });
        done.await.unwrap_or_else(|_| Err(Error::Unavailable("the reader was stopped".into())))
    }

    pub(super) fn close(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

pub(super) fn own(e: rusqlite::Error) -> Error {
    error::before_commit(e)
}

pub(super) fn get(connection: &Connection, id: JobId) -> Result<Option<Job>> {
    for statement in [sql!("job_live"), sql!("job_history"), sql!("job_dead")] {
        let mut statement = connection.prepare_cached(statement).map_err(own)?;
        let found = statement.query_row([id.0.as_bytes()], |row| Ok(rows::job(row))).optional().map_err(own)?;
        if let Some(job) = found {
            return job.map(Some).map_err(|e| Error::Corrupt(format!("job {id}: {e}")));
        }
    }
    Ok(None)
}

/// A cursor is the id of the last job shown.
fn cursor_id(text: &str) -> Result<[u8; 16]> {
    let id: JobId = text.parse().map_err(|_| {
        let message = "the cursor is none of ours; begin again without one";
        Error::Invalid { index: 0, error: InvalidEnvelope::new("/cursor", "bad_cursor", message) }
    })?;
    Ok(*id.0.as_bytes())
}

pub(super) fn export(connection: &Connection, cursor: Option<&str>, limit: usize) -> Result<Page<Exported>> {
    let above = match cursor {
        None => [0; 16],
        Some(text) => cursor_id(text)?,
    };
    let mut exported = BTreeMap::new();
    // Where the first of the tables stopped before its end: what the others have beyond that belongs to the next page.
    let mut stopped: Option<JobId> = None;
    for text in [sql!("export_live"), sql!("export_dead")] {
        let mut statement = connection.prepare_cached(text).map_err(own)?;
        let mut rows = statement.query(params![above, limit]).map_err(own)?;
        let (mut count, mut bytes, mut last) = (0, 0, None);
        while bytes < PAGE_BYTES
            && let Some(row) = rows.next().map_err(own)?
        {
            count += 1;
            match exported_row(connection, row)? {
                Ok(job) => {
                    last = Some(job.job.id);
                    bytes += weight(&job.job);
                    exported.insert(job.job.id, job);
                }
                Err(reason) => tracing::error!(reason, "a stored job cannot be exported"),
            }
        }
        if count == limit || bytes >= PAGE_BYTES {
            stopped = [stopped, last].into_iter().flatten().min();
        }
    }
    if exported.len() > limit {
        stopped = [stopped, exported.keys().nth(limit - 1).copied()].into_iter().flatten().min();
    }
    let items = exported.into_values().take_while(|exported| stopped.is_none_or(|last| exported.job.id <= last)).collect();
    Ok(Page { items, next: stopped.map(|id| id.to_string()), ..Page::default() })
}

fn exported_row(connection: &Connection, row: &Row<'_>) -> Result<std::result::Result<Exported, String>> {
    let job = match rows::job(row) {
        Ok(job) => job,
        Err(reason) => return Ok(Err(reason)),
    };
    let unique = unique_of(connection, &job)?;
    let waits_for: String = row.get(rows::export::PARENTS).map_err(own)?;
    Ok(Ok(Exported {
        job,
        unique,
        due_at: Timestamp(row.get(rows::export::DUE_AT).map_err(own)?),
        waits_for: serde_json::from_str(&waits_for).unwrap_or_default(),
        token: row.get(rows::export::TOKEN).map_err(own)?,
        fingerprint: row.get::<_, Option<String>>(rows::export::FINGERPRINT).map_err(own)?.filter(|text| !text.is_empty()),
    }))
}

fn unique_of(connection: &Connection, job: &Job) -> Result<Option<Unique>> {
    let Some(key) = &job.unique_key else { return Ok(None) };
    let mut statement = connection.prepare_cached(sql!("unique_get")).map_err(own)?;
    let tenant = job.tenant.as_deref().unwrap_or("");
    let held: Option<(String, i64, i64)> = statement
        .query_row(params![tenant, job.queue.as_str(), key.as_str()], |row| Ok((row.get(1)?, row.get(2)?, row.get(4)?)))
        .optional()
        .map_err(own)?;
    Ok(held.map(|(held, until, first_at)| Unique {
        key: key.clone(),
        held: match held.as_str() {
            "started" => UniqueFor::UntilStarted,
            "window" => UniqueFor::Window(Timestamp(until).since(Timestamp(first_at))),
            _ => UniqueFor::UntilFinished,
        },
        on_duplicate: crate::job::OnDuplicate::default(),
        debounce_max_ms: 0,
    }))
}

pub(super) fn queues(connection: &Connection, now: Timestamp) -> Result<Vec<QueueStatus>> {
    let mut queues: BTreeMap<String, QueueStatus> = BTreeMap::new();
    let mut statement = connection.prepare_cached(sql!("counts_all")).map_err(own)?;
    let counts =
        statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?))).map_err(own)?;
    for count in counts {
        let (queue, state, jobs) = count.map_err(own)?;
        let Some(state) = State::parse(&state) else { continue };
        let status = queues.entry(queue.clone()).or_insert_with(|| QueueStatus { name: queue, ..QueueStatus::default() });
        status.jobs.insert(state, u64::try_from(jobs).unwrap_or(0));
    }
    let mut statement = connection.prepare_cached(sql!("pauses_all")).map_err(own)?;
    let pauses = statement
        .query_map([now.0], |row| {
            let until = row.get::<_, Option<i64>>(4)?.map(Timestamp);
            Ok((row.get::<_, String>(0)?, Pause { at: Timestamp(row.get(1)?), by: row.get(2)?, reason: row.get(3)?, until }))
        })
        .map_err(own)?;
    for pause in pauses {
        let (queue, pause) = pause.map_err(own)?;
        queues.entry(queue.clone()).or_insert_with(|| QueueStatus { name: queue, ..QueueStatus::default() }).paused = Some(pause);
    }
    let mut oldest = connection.prepare_cached(sql!("queue_oldest")).map_err(own)?;
    for (queue, status) in &mut queues {
        for state in State::ALL {
            status.jobs.entry(state).or_insert(0);
        }
        let due: Option<i64> = oldest.query_row([queue], |row| row.get(0)).map_err(own)?;
        let age = |due: i64| u64::try_from(now.since(Timestamp(due)).as_millis()).unwrap_or(u64::MAX);
        status.oldest_queued_ms = due.map(age);
    }
    Ok(queues.into_values().collect())
}

pub(super) fn quarantined(connection: &Connection, limit: usize) -> Result<Vec<Quarantined>> {
    let mut statement = connection.prepare_cached(sql!("quarantine_all")).map_err(own)?;
    let rows = statement
        .query_map(params![limit], |row| {
            Ok(Quarantined { at: Timestamp(row.get(0)?), place: row.get(1)?, reason: row.get(2)?, row: row.get(3)? })
        })
        .map_err(own)?;
    rows.collect::<rusqlite::Result<_>>().map_err(own)
}

pub(super) fn record(connection: &Connection, tenant: Option<&Name>, collection: &Name, key: &str) -> Result<Option<Json>> {
    let mut statement = connection.prepare_cached(sql!("record_get")).map_err(own)?;
    let tenant = tenant.map_or("", |t| t.as_str());
    let value: Option<String> = statement.query_row(params![tenant, collection.as_str(), key], |row| row.get(0)).optional().map_err(own)?;
    Ok(value.as_deref().map(Json::trusted))
}

pub(super) fn settings(connection: &Connection) -> Result<Settings> {
    let mut statement = connection.prepare_cached(sql!("settings_get")).map_err(own)?;
    let text: Option<String> = statement.query_row([], |row| row.get(0)).optional().map_err(own)?;
    text.map_or_else(
        || Ok(Settings::default()),
        |text| serde_json::from_str(&text).map_err(|e| Error::Corrupt(format!("the stored settings cannot be read: {e}"))),
    )
}

pub(super) fn schedule_states(connection: &Connection) -> Result<Vec<ScheduleState>> {
    schedules::all(connection).map_err(own)
}

pub(super) fn occurrences(connection: &Connection, name: &Name, limit: usize) -> Result<Vec<Occurrence>> {
    schedules::occurrences(connection, name, limit).map_err(own)
}

/// For tests and `doctor`: whether the file is whole.
pub(super) fn check(connection: &Connection) -> Result<()> {
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(own)?;
    if verdict == "ok" { Ok(()) } else { Err(Error::Corrupt(format!("{verdict}; {}", error::RESTORE))) }
}
