//! A task of theirs, and the job that it becomes: which id, what is carried over, and what can be no job.

use crate::job::{Envelope, Job, JobId, Json, Limits, Name, NewJob, State, Timestamp};
use crate::store::Exported;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use uuid::Uuid;

/// As their store has it.
pub(super) struct Task {
    /// A ULID in Postgres, any bytes in Redis.
    pub(super) id: Vec<u8>,
    /// Cut short where it is longer than any job's may be.
    pub(super) payload: Vec<u8>,
    /// How long the payload is there.
    pub(super) bytes: usize,
    pub(super) attempts: u32,
    pub(super) max_attempts: u32,
    /// The higher the sooner; 0 where nobody said.
    pub(super) priority: i32,
    pub(super) idempotency_key: Option<String>,
    /// What of the row itself cannot be read.
    pub(super) fault: Option<String>,
}

/// One that is a job of ours and has not ended there.
#[derive(Clone)]
pub(super) struct Open {
    pub(super) id: Vec<u8>,
    pub(super) job: JobId,
    /// Charged before we had it.
    pub(super) attempts: u32,
    pub(super) max_attempts: u32,
}

impl Open {
    pub(super) fn of(bridge: &str, task: &Task) -> Self {
        Self { id: task.id.clone(), job: job_id(bridge, &task.id), attempts: task.attempts, max_attempts: task.max_attempts }
    }
}

/// What tasks of a queue become.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) bridge: Name,
    /// Theirs.
    pub(super) queue: String,
    pub(super) kind: Name,
    /// Ours.
    pub(super) into: Option<Name>,
}

impl Target {
    /// # Errors
    /// A sentence that says why the task can be no job.
    pub(super) fn job(&self, task: &Task, limits: Limits) -> Result<NewJob, String> {
        if let Some(fault) = &task.fault {
            return Err(fault.clone());
        }
        if task.bytes > task.payload.len() {
            return Err(format!("its payload is {} bytes; store the data elsewhere and send a reference", task.bytes));
        }
        let text = std::str::from_utf8(&task.payload).map_err(|error| format!("its payload is not UTF-8: {error}"))?;
        let payload = Json::parse(text).map_err(|error| format!("its payload is not JSON: {error}"))?;
        let envelope = Envelope {
            id: Some(job_id(&self.bridge, &task.id)),
            queue: self.into.clone(),
            priority: priority(task.priority),
            max_attempts: Some(task.max_attempts.saturating_sub(task.attempts).clamp(1, Limits::MAX_ATTEMPTS)),
            meta: Some(self.origin(task)),
            ..Envelope::new(self.kind.clone(), payload)
        };
        let mut job = NewJob::check(Json::of(&envelope).as_str().as_bytes(), limits).map_err(|fault| fault.to_string())?;
        // Kept to be seen. Whether the task is a duplicate was decided where it was pushed, for as long as that store remembers.
        job.extra.idempotency_key.clone_from(&task.idempotency_key);
        Ok(job)
    }

    /// By which the job's task is found again.
    fn origin(&self, task: &Task) -> BTreeMap<String, Json> {
        let shown: String = String::from_utf8_lossy(&task.id).chars().take(256).collect();
        let origin = json!({ "bridge": self.bridge.as_str(), "id": shown });
        BTreeMap::from([("apalis".to_owned(), Json::of(&origin))])
    }

    /// Whether `job` came of this very task, whatever it was configured to become then.
    pub(super) fn made(&self, job: &Job, task: &Task) -> bool {
        job.extra.meta.as_ref() == Some(&Json::of(&self.origin(task)))
    }

    /// What can be no job, as a dead letter in `queue`. It has an id of its own, since its task's may be somebody else's.
    pub(super) fn dead_letter(&self, task: &Task, reason: &str, queue: Name, now: Timestamp) -> Exported {
        let kept = &task.payload[..task.payload.len().min(super::KEPT_BYTES)];
        let id = String::from_utf8_lossy(&task.id);
        let told = json!({"id": id, "queue": self.queue, "bytes": task.bytes, "bytes_base64": STANDARD.encode(kept)});
        let mut letter = NewJob::new(self.kind.clone(), Json::of(&json!({ "apalis": told })));
        letter.extra.meta = Some(Json::of(&self.origin(task)));
        let job = Job {
            id: letter_id(&self.bridge, &task.id),
            kind: letter.kind,
            queue,
            tenant: None,
            priority: priority(task.priority).unwrap_or(5),
            state: State::Dead,
            reason: Some(format!("apalis: {reason}")),
            attempt: 0,
            max_attempts: task.max_attempts.clamp(1, Limits::MAX_ATTEMPTS),
            timeout_ms: None,
            created_at: now,
            run_at: now,
            expires_at: None,
            started_at: None,
            finished_at: Some(now),
            unique_key: None,
            concurrency_key: None,
            ordered: false,
            deaths: 0,
            holder: None,
            progress: None,
            payload: letter.payload,
            result: None,
            checkpoint: None,
            attempts: Vec::new(),
            extra: letter.extra,
        };
        Exported { job, unique: None, due_at: now, waits_for: Vec::new(), token: None, fingerprint: None }
    }
}

/// Theirs has no bounds and says the higher the sooner; ours goes from 0, the first, to 9, and 5 is in the middle. Left to the kind where
/// nobody asked for one.
fn priority(theirs: i32) -> Option<u8> {
    let ours = 5_i32.saturating_sub(theirs).clamp(0, i32::from(Limits::PRIORITY));
    (theirs != 0).then(|| u8::try_from(ours).unwrap_or(Limits::PRIORITY))
}

/// The same id for the same task, whoever asks and whenever: so a task that is enqueued twice is one job.
///
/// A ULID is 48 bits of milliseconds and 80 of chance, a UUIDv7 the same 48, 74 of chance and 6 that are fixed. Two tasks get the same id
/// only if they were made in the same millisecond and agree in those 74 bits; one pair in 2^74 does. An id that is no ULID is hashed,
/// with its bridge, since `1` may be the name of a task in every queue.
pub(super) fn job_id(bridge: &str, id: &[u8]) -> JobId {
    version_7(ulid(id).unwrap_or_else(|| chance(&[b"task", bridge.as_bytes(), id])))
}

/// It stands among the jobs of its task's time, where there is one to be read.
fn letter_id(bridge: &str, id: &[u8]) -> JobId {
    let milliseconds = ulid(id).unwrap_or(0) >> 80;
    version_7(milliseconds << 80 | chance(&[b"dead letter", bridge.as_bytes(), id]))
}

fn version_7(bits: u128) -> JobId {
    const FIXED: u128 = 0xf << 76 | 0b11 << 62;
    JobId(Uuid::from_u128(bits & !FIXED | 7 << 76 | 0b10 << 62))
}

/// Eighty bits, and a time that is none.
fn chance(parts: &[&[u8]]) -> u128 {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part.len().to_be_bytes());
        digest.update(part);
    }
    digest.finalize().iter().take(10).fold(0, |bits, byte| bits << 8 | u128::from(*byte))
}

/// Crockford's base 32 as the ulid crate writes it. Other spellings of the same bits are other names.
pub(super) fn ulid(id: &[u8]) -> Option<u128> {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    if id.len() != 26 || id[0] > b'7' {
        return None;
    }
    id.iter().try_fold(0, |bits, digit| {
        let value = DIGITS.iter().position(|known| known == digit)?;
        Some(bits << 5 | value as u128)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_of_a_ulid_keeps_its_milliseconds_and_is_a_uuid_of_version_7() {
        let id = job_id("b", b"01ARZ3NDEKTSV4RRFFQ69G5FAV");
        assert_eq!(id.to_string(), "01563e3a-b5d3-7676-8c61-efb99302bd5b");
        assert_eq!(id.0.get_version_num(), 7);
        assert_eq!(id, job_id("another bridge", b"01ARZ3NDEKTSV4RRFFQ69G5FAV"));
    }

    #[test]
    fn other_ids_are_told_apart_by_their_bridge_and_never_mistaken_for_a_dead_letter() {
        let ids =
            [job_id("a", b"1"), job_id("b", b"1"), job_id("a", b"2"), letter_id("a", b"1"), job_id("a", b"01arz3ndektsv4rrffq69g5fav")];
        let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
        assert!(ids.iter().all(|id| id.0.get_version_num() == 7));
    }

    #[test]
    fn higher_priorities_of_theirs_are_lower_numbers_of_ours() {
        assert_eq!([i32::MIN, -3, 0, 1, 5, i32::MAX].map(priority), [Some(9), Some(8), None, Some(4), Some(0), Some(0)]);
    }
}
