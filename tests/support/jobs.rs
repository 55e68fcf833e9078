//! Jobs, names and instants, short enough that a test reads as its sentence.

use std::time::Duration;
use windlass::{
    job::{JobId, Json, Name, NewJob, OnDuplicate, Timestamp, Unique, UniqueFor},
    store::{Actor, Now},
};

/// The beginning of time in tests: 2030-01-01T00:00:00Z. Neither near the real clock nor at a round number of anything,
/// so that a driver which reads its own clock instead of the given instant is found out.
const START_SECS: i64 = 1_893_456_000;

/// `seconds` after the beginning.
pub const fn at(seconds: i64) -> Timestamp {
    Timestamp::from_secs(START_SECS + seconds)
}

/// The same as the argument that store calls take.
pub const fn now(seconds: i64) -> Now {
    Some(at(seconds))
}

pub fn name(text: &str) -> Name {
    Name::new(text).expect("a test's name follows the grammar")
}

pub fn names(texts: &[&str]) -> Vec<Name> {
    texts.iter().map(|text| name(text)).collect()
}

pub fn json(text: &str) -> Json {
    Json::parse(text).expect("a test's JSON is JSON")
}

/// A plain job of kind `work` in queue `default`.
pub fn work() -> NewJob {
    NewJob::new(name("work"), json(r#"{"n":1}"#))
}

/// The members of an envelope, one call each.
pub trait Build: Sized {
    fn change(self, change: impl FnOnce(&mut NewJob)) -> Self;

    fn kind(self, kind: &str) -> Self {
        self.change(|job| job.kind = name(kind))
    }
    fn payload(self, payload: &str) -> Self {
        self.change(|job| job.payload = json(payload))
    }
    /// As a producer that mints its own ids sends it.
    fn id(self, id: JobId) -> Self {
        self.change(|job| (job.id, job.id_is_producers) = (id, true))
    }
    fn queue(self, queue: &str) -> Self {
        self.change(|job| job.queue = Some(name(queue)))
    }
    fn tenant(self, tenant: &str) -> Self {
        self.change(|job| job.tenant = Some(name(tenant)))
    }
    fn priority(self, priority: u8) -> Self {
        self.change(|job| job.priority = Some(priority))
    }
    fn run_at(self, instant: Timestamp) -> Self {
        self.change(|job| job.run_at = Some(instant))
    }
    fn delay_ms(self, ms: u64) -> Self {
        self.change(|job| job.delay_ms = ms)
    }
    fn expires_at(self, instant: Timestamp) -> Self {
        self.change(|job| job.expires_at = Some(instant))
    }
    fn max_attempts(self, attempts: u32) -> Self {
        self.change(|job| job.max_attempts = Some(attempts))
    }
    fn key(self, key: &str) -> Self {
        self.change(|job| job.concurrency_key = Some(name(key)))
    }
    fn ordered(self, key: &str) -> Self {
        self.key(key).change(|job| job.ordered = true)
    }
    fn unique(self, key: &str, held: UniqueFor, on_duplicate: OnDuplicate) -> Self {
        self.change(|job| job.unique = Some(Unique { key: name(key), held, on_duplicate, debounce_max_ms: 0 }))
    }
    /// Unique until started, put off by `quiet_ms`, at most by `max_ms` after the first.
    fn debounced(self, key: &str, quiet_ms: u64, max_ms: u64) -> Self {
        self.delay_ms(quiet_ms).change(|job| {
            job.unique = Some(Unique {
                key: name(key),
                held: UniqueFor::UntilStarted,
                on_duplicate: OnDuplicate::Debounce,
                debounce_max_ms: max_ms,
            });
        })
    }
    fn idempotent(self, key: &str) -> Self {
        self.change(|job| {
            job.idempotency_key = Some(key.to_owned());
            job.extra.idempotency_key = Some(key.to_owned());
        })
    }
    fn after(self, parents: &[JobId]) -> Self {
        self.change(|job| job.extra.after = parents.to_vec())
    }
    fn on_success(self, next: NewJob) -> Self {
        self.change(|job| job.extra.on_success = Some(Box::new(next)))
    }
    fn on_failure(self, next: NewJob) -> Self {
        self.change(|job| job.extra.on_failure = Some(Box::new(next)))
    }
    fn tags(self, tags: &[&str]) -> Self {
        self.change(|job| job.extra.tags = names(tags))
    }
}

impl Build for NewJob {
    fn change(mut self, change: impl FnOnce(&mut NewJob)) -> Self {
        change(&mut self);
        self
    }
}

/// Ten minutes, as a unique key's window.
pub const WINDOW: UniqueFor = UniqueFor::Window(Duration::from_secs(600));

/// Whoever does what a test asks for; each call's act is another.
pub fn operator() -> Actor {
    Actor::new("test")
}
