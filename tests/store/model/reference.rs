//! The reference: a queue as a list of jobs, with every promise written down the plainest way there is. No indexes, no
//! counters, no lines: each question is answered by looking at all jobs. It shares nothing with any driver.
//!
//! Which of several waiting jobs a lease call must grant is in `grants.rs`; this file takes the grants as they come.

mod leases;
mod operate;

use std::collections::{BTreeMap, BTreeSet};
use windlass::job::{
    Attempt, AttemptOutcome, HolderId, JobId, Json, Lease, Name, NewJob, OnDuplicate, Settings, State, Timestamp, UniqueFor,
};

/// Where a job stands among others: the operation that made it due, then its place in that operation. Equal places are
/// free to go either way; so is a job without a position.
pub type Position = Option<(u64, i64)>;

#[derive(Clone, Debug)]
pub struct RefLease {
    pub lease: Lease,
    pub holder: HolderId,
    pub until: Timestamp,
    pub as_suspect: bool,
    /// Somebody asked to cancel it, and why.
    pub cancel: Option<String>,
}

#[derive(Clone, Debug)]
pub struct RefJob {
    pub id: JobId,
    /// The envelope as it was sent first; the same id with another one is a conflict.
    pub body: NewJob,
    pub kind: Name,
    pub payload: Json,
    pub queue: Name,
    pub tenant: Option<Name>,
    pub priority: u8,
    pub max_attempts: u32,
    pub key: Option<Name>,
    pub ordered: bool,
    pub unique: Option<(Name, UniqueFor)>,
    pub expires_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub finished_at: Option<Timestamp>,
    pub after: BTreeSet<JobId>,
    pub parent: Option<JobId>,
    /// Others whose ends asked for it in the operation that made it. A store may settle a batch in any order, and the first is
    /// its parent.
    pub asked_too: Vec<JobId>,
    made_in: u64,
    pub children: Vec<JobId>,
    pub on_success: Option<Box<NewJob>>,
    pub on_failure: Option<Box<NewJob>>,
    pub state: State,
    /// Any of these is a right reason.
    pub reasons: Vec<String>,
    pub token: Option<String>,
    pub attempt: u32,
    pub run_at: Timestamp,
    pub park_until: Timestamp,
    pub position: Position,
    /// It has a place of its own, known here or not.
    pub placed: bool,
    pub lease: Option<RefLease>,
    /// It was leased at least once, so it expires no more.
    pub started: bool,
    /// It was leased since it took its unique key.
    pub key_started: bool,
    /// An ordered job that was granted and is not through: its successors wait for it.
    pub turn: bool,
    pub suspect: bool,
    pub deaths: u32,
    pub checkpoint: Option<Json>,
    pub result: Option<Json>,
    /// Number and outcome; None where any outcome is right.
    pub attempts: Vec<(u32, Option<AttemptOutcome>)>,
    pub last_settled: Option<Lease>,
    pub settled_before: Vec<Lease>,
}

impl RefJob {
    pub fn is_live(&self) -> bool {
        !self.state.is_final()
    }

    /// What its gate is named by: a key is its tenant's own.
    pub fn key_of_its_tenant(&self) -> Option<String> {
        self.key.as_ref().map(|key| format!("{}/{key}", self.tenant.as_deref().unwrap_or_default()))
    }

    pub fn is_expired(&self, now: Timestamp) -> bool {
        !self.started && self.expires_at.is_some_and(|expires_at| expires_at <= now)
    }

    fn record(&mut self, outcome: Option<AttemptOutcome>) {
        self.attempts.push((self.attempt + 1, outcome));
        let excess = self.attempts.len().saturating_sub(Attempt::KEPT);
        self.attempts.drain(..excess);
    }
}

/// Who holds a unique key.
#[derive(Clone, Debug)]
struct Held {
    id: JobId,
    mode: UniqueFor,
    until: Timestamp,
    /// When the first of a debounced series came; unknown after a redrive.
    first_at: Option<Timestamp>,
}

type Key = (Option<Name>, Name, Name);

#[derive(Clone, Debug)]
pub struct RefAnswer {
    pub id: JobId,
    /// None: any.
    pub status: Option<State>,
    pub duplicate: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Refusal {
    Conflict { index: usize, id: JobId },
    Duplicate { index: usize, holder: JobId },
    NotFound,
    NotAllowed,
}

/// Tenant and key; and the queue, where queues are apart.
type Idempotent = (Option<Name>, String, Option<Name>);

#[derive(Clone, Debug, Default)]
pub struct Reference {
    pub now: Timestamp,
    pub settings: Settings,
    /// What the daemons can run.
    pub kinds: BTreeSet<Name>,
    pub jobs: Vec<RefJob>,
    pub paused: BTreeSet<Name>,
    /// Until when the leases of each holder last by its heartbeat, if not longer by their grant.
    pub holders: BTreeMap<HolderId, Timestamp>,
    /// Every start, for the rates: queue, tenant and key, when.
    pub starts: Vec<(Name, Option<String>, Timestamp)>,
    uniques: BTreeMap<Key, Held>,
    /// In a cluster each queue has its own idempotency keys, since it may be on a server of its own.
    pub queues_are_apart: bool,
    idempotent: BTreeMap<Idempotent, (JobId, NewJob, Timestamp)>,
    /// Counts operations, for positions.
    order: u64,
}

fn without_id(job: &NewJob) -> NewJob {
    let mut job = job.clone();
    (job.id, job.id_is_producers) = (JobId(uuid::Uuid::nil()), false);
    job
}

impl Reference {
    pub fn new(now: Timestamp, settings: Settings) -> Self {
        Self { now, settings, kinds: BTreeSet::from([Name::literal("work")]), ..Self::default() }
    }

    pub fn find(&self, id: JobId) -> Option<&RefJob> {
        self.jobs.iter().find(|job| job.id == id)
    }

    pub fn find_mut(&mut self, id: JobId) -> Option<&mut RefJob> {
        self.jobs.iter_mut().find(|job| job.id == id)
    }

    fn job_mut(&mut self, id: JobId) -> &mut RefJob {
        self.find_mut(id).expect("the caller looked it up")
    }

    /// Every operation calls this first, so that what it makes due stands behind what was due before.
    pub fn begin(&mut self) {
        self.order += 1;
    }

    // ------------------------------------------------------------------ enqueue

    /// What is refused first when unique keys are taken in sorted order.
    pub fn refusal_by_key(&self, jobs: &[NewJob]) -> Option<Refusal> {
        let mut scratch = self.clone();
        let mut order: Vec<usize> = (0..jobs.len()).collect();
        // No tenant and no key last, as Postgres sorts.
        let rank = |text: Option<String>| (text.is_none(), text);
        order.sort_by_key(|&n| {
            let key = jobs[n].unique.as_ref().map(|unique| unique.key.to_string());
            (rank(jobs[n].tenant.as_ref().map(ToString::to_string)), rank(key), n)
        });
        order.into_iter().find_map(|n| scratch.enqueue_one(n, &jobs[n]).err())
    }

    pub fn enqueue(&mut self, jobs: &[NewJob]) -> Result<Vec<RefAnswer>, Refusal> {
        self.begin();
        let before = self.clone();
        let mut answers = Vec::new();
        for (index, job) in jobs.iter().enumerate() {
            match self.enqueue_one(index, job) {
                Ok(answer) => answers.push(answer),
                Err(refusal) => {
                    *self = before;
                    return Err(refusal);
                }
            }
        }
        for (job, answer) in jobs.iter().zip(&mut answers) {
            if job.id == answer.id && answer.status == Some(State::Parked) && !job.extra.after.is_empty() {
                self.look_at_parents(job.id);
                answer.status = self.find(job.id).map(|job| job.state);
            }
        }
        Ok(answers)
    }

    fn enqueue_one(&mut self, index: usize, job: &NewJob) -> Result<RefAnswer, Refusal> {
        if let Some(known) = self.find(job.id) {
            let same = !job.id_is_producers || known.body == *job;
            let again = RefAnswer { id: job.id, status: None, duplicate: false };
            return if same { Ok(again) } else { Err(Refusal::Conflict { index, id: job.id }) };
        }
        let queue = job.queue.clone().unwrap_or_else(|| self.settings.kind(&job.kind).queue);
        if let Some(key) = &job.idempotency_key {
            let place = (job.tenant.clone(), key.clone(), self.queues_are_apart.then(|| queue.clone()));
            if let Some((id, body, _)) = self.idempotent.get(&place).filter(|(_, _, until)| *until > self.now) {
                let id = *id;
                let same = *body == without_id(job);
                let duplicate = RefAnswer { id, status: self.find(id).map(|job| job.state), duplicate: true };
                return if same { Ok(duplicate) } else { Err(Refusal::Conflict { index, id }) };
            }
            self.idempotent.insert(place, (job.id, without_id(job), self.now.plus_ms(job.idempotency_ms)));
        }
        let due = job.run_at.unwrap_or_else(|| self.now.plus_ms(job.delay_ms)).max(self.now);
        if let Some(unique) = &job.unique {
            let key = (job.tenant.clone(), queue.clone(), unique.key.clone());
            if let Some(held) = self.uniques.get(&key).cloned().filter(|held| self.is_held(held)) {
                return self.arrive_at_held_key(index, job, due, &held);
            }
            let until = match unique.held {
                UniqueFor::Window(window) => self.now.plus(window),
                _ => self.now,
            };
            self.uniques.insert(key, Held { id: job.id, mode: unique.held, until, first_at: Some(self.now) });
        }
        let place = i64::try_from(index).expect("a bulk is small");
        let added = self.add(job, queue, due, Some((self.order, place)));
        Ok(RefAnswer { id: job.id, status: Some(added), duplicate: false })
    }

    fn add(&mut self, job: &NewJob, queue: Name, due: Timestamp, position: Position) -> State {
        let kind = self.settings.kind(&job.kind);
        let waits = !job.extra.after.is_empty();
        let state = match (waits, due > self.now) {
            (true, _) => State::Parked,
            (false, true) => State::Scheduled,
            (false, false) => State::Queued,
        };
        self.jobs.push(RefJob {
            id: job.id,
            body: job.clone(),
            kind: job.kind.clone(),
            payload: job.payload.clone(),
            queue,
            tenant: job.tenant.clone(),
            priority: job.priority.unwrap_or(kind.priority),
            max_attempts: job.max_attempts.unwrap_or(kind.max_attempts),
            key: job.concurrency_key.clone(),
            ordered: job.ordered,
            unique: job.unique.as_ref().map(|unique| (unique.key.clone(), unique.held)),
            expires_at: job.expires_at,
            created_at: self.now,
            finished_at: None,
            after: job.extra.after.iter().copied().collect(),
            parent: job.extra.parent,
            asked_too: Vec::new(),
            made_in: self.order,
            children: Vec::new(),
            on_success: job.extra.on_success.clone(),
            on_failure: job.extra.on_failure.clone(),
            state,
            reasons: if waits { vec!["dependency".into()] } else { Vec::new() },
            token: None,
            attempt: 0,
            run_at: due,
            park_until: self.now.plus_ms(kind.park_for_ms),
            position: if state == State::Queued { position } else { None },
            placed: state == State::Queued,
            lease: None,
            started: false,
            key_started: false,
            turn: false,
            suspect: false,
            deaths: 0,
            checkpoint: None,
            result: None,
            attempts: Vec::new(),
            last_settled: None,
            settled_before: Vec::new(),
        });
        state
    }

    fn is_held(&self, held: &Held) -> bool {
        let holder = self.find(held.id);
        let live = holder.is_some_and(RefJob::is_live);
        match held.mode {
            UniqueFor::UntilFinished => live,
            UniqueFor::UntilStarted => live && holder.is_some_and(|job| !job.key_started),
            UniqueFor::Window(_) => live || held.until > self.now,
        }
    }

    /// Whether the key is held, and by whom: what a producer could find out.
    pub fn holder_of(&self, tenant: Option<&Name>, queue: &Name, key: &Name) -> Option<JobId> {
        let held = self.uniques.get(&(tenant.cloned(), queue.clone(), key.clone()))?;
        self.is_held(held).then_some(held.id)
    }

    fn arrive_at_held_key(&mut self, index: usize, job: &NewJob, due: Timestamp, held: &Held) -> Result<RefAnswer, Refusal> {
        let unique = job.unique.as_ref().expect("the caller saw it");
        let mut due = due;
        match unique.on_duplicate {
            OnDuplicate::Reject => return Err(Refusal::Duplicate { index, holder: held.id }),
            OnDuplicate::Return => {}
            OnDuplicate::Replace => self.swap(held.id, job, due),
            OnDuplicate::Debounce => {
                let bound = held.first_at.expect("debounced jobs are not redriven in these histories");
                due = due.min(bound.plus_ms(unique.debounce_max_ms)).max(self.now);
                self.swap(held.id, job, due);
            }
        }
        let status = self.find(held.id).map(|job| job.state);
        Ok(RefAnswer { id: held.id, status, duplicate: true })
    }

    fn swap(&mut self, id: JobId, job: &NewJob, due: Timestamp) {
        let (now, kind) = (self.now, self.settings.kind(&job.kind));
        let old = self.job_mut(id);
        old.kind = job.kind.clone();
        old.payload = job.payload.clone();
        old.priority = job.priority.unwrap_or(kind.priority);
        old.max_attempts = job.max_attempts.unwrap_or(kind.max_attempts);
        old.key = job.concurrency_key.clone();
        old.on_success.clone_from(&job.extra.on_success);
        old.on_failure.clone_from(&job.extra.on_failure);
        old.ordered = job.ordered;
        old.expires_at = job.expires_at;
        old.run_at = due;
        old.state = if due > now { State::Scheduled } else { State::Queued };
        // Whether it keeps its place or goes to the end is nobody's promise.
        old.position = None;
        old.placed = old.state == State::Queued;
    }

    // ------------------------------------------------------------------ dependencies

    /// The parents of `job` that did not complete, and what may be said of them now.
    fn open_parents(&self, job: &RefJob) -> (BTreeSet<JobId>, Vec<String>) {
        let mut reasons = BTreeSet::new();
        let mut open = BTreeSet::new();
        for parent in &job.after {
            let reason = match self.find(*parent).filter(|parent| parent.tenant == job.tenant).map(|parent| parent.state) {
                Some(State::Completed) => continue,
                Some(State::Dead | State::Cancelled) => "dependency_dead",
                Some(_) => "dependency",
                None => "dependency_missing",
            };
            reasons.insert(reason.to_owned());
            open.insert(*parent);
        }
        let dead = "dependency_dead".to_owned();
        let reasons = if reasons.contains(&dead) { vec![dead] } else { reasons.into_iter().collect() };
        (open, reasons)
    }

    /// Whether a parked job may give `reason`: as when its parents were last told of, or as they stand now, since a store may
    /// look again at any time.
    pub fn may_say(&self, job: &RefJob, reason: &String) -> bool {
        job.reasons.contains(reason) || job.state == State::Parked && self.open_parents(job).1.contains(reason)
    }

    fn look_at_parents(&mut self, id: JobId) {
        let job = self.find(id).expect("the caller looked it up").clone();
        let (open, reasons) = self.open_parents(&job);
        let kept = self.job_mut(id);
        // Once seen complete, a parent is done for good, whatever retention does to it.
        kept.after = open;
        kept.reasons = reasons;
        if kept.after.is_empty() {
            self.wake(id, None);
        }
    }

    fn tell_children(&mut self, parent: JobId) {
        let tenant = self.find(parent).and_then(|parent| parent.tenant.clone());
        let children: Vec<RefJob> =
            self.jobs.iter().filter(|job| job.state == State::Parked && job.after.contains(&parent)).cloned().collect();
        for child in children {
            if child.tenant == tenant {
                self.look_at_parents(child.id);
            } else {
                // It is missing to this child, whatever becomes of it: a store may look at the others then, or not.
                let seen = self.open_parents(&child).1;
                self.job_mut(child.id).reasons.extend(seen);
            }
        }
    }

    /// Out of a park: into the line if it is due, else back to waiting for its time.
    fn wake(&mut self, id: JobId, place: Option<i64>) {
        let (now, order) = (self.now, self.order);
        let job = self.job_mut(id);
        job.reasons.clear();
        job.token = None;
        job.after.clear();
        job.state = if job.run_at > now { State::Scheduled } else { State::Queued };
        // An ordered job that has its place in the sequence keeps it.
        if job.state == State::Queued && !(job.ordered && job.placed) {
            job.position = place.map(|place| (order, place));
            job.placed = true;
        }
    }

    // ------------------------------------------------------------------ time

    /// Answers how many expired and how many parks ended.
    pub fn advance(&mut self) -> (u64, u64) {
        self.begin();
        let now = self.now;
        for id in self.ids(|job| job.state == State::Scheduled && job.run_at <= now) {
            let place = self.find(id).map(|job| job.run_at.0);
            self.wake(id, place);
        }
        let expired = self.ids(|job| matches!(job.state, State::Queued | State::Scheduled | State::Parked) && job.is_expired(now));
        for id in &expired {
            self.end(*id, State::Cancelled, "expired");
        }
        let parks = self.ids(|job| job.state == State::Parked && job.park_until <= now);
        for id in &parks {
            // One that died may have woken another meanwhile.
            self.end(*id, State::Dead, "park_expired");
        }
        (expired.len() as u64, parks.len() as u64)
    }

    pub fn ids(&self, which: impl Fn(&RefJob) -> bool) -> Vec<JobId> {
        self.jobs.iter().filter(|job| which(job)).map(|job| job.id).collect()
    }

    fn end(&mut self, id: JobId, state: State, reason: &str) {
        let now = self.now;
        let job = self.job_mut(id);
        job.state = state;
        job.reasons = if reason.is_empty() { Vec::new() } else { vec![reason.to_owned()] };
        job.finished_at = Some(now);
        job.token = None;
        job.lease = None;
        job.turn = false;
        job.suspect = false;
        let next = match state {
            State::Completed => job.on_success.clone(),
            State::Dead => job.on_failure.clone(),
            _ => None,
        };
        if let Some(next) = next {
            // Where it stands among those that the same operation makes due is nobody's promise.
            self.make(id, &next, None);
        }
        self.tell_children(id);
    }

    /// A job that another's end makes, unless it is there already. Both name each other.
    fn make(&mut self, parent: JobId, next: &NewJob, position: Position) {
        let order = self.order;
        if let Some(made) = self.jobs.iter_mut().find(|job| job.id == next.id) {
            if made.made_in == order {
                made.asked_too.push(parent);
            }
        } else {
            let mut next = next.clone();
            next.tenant = self.job_mut(parent).tenant.clone();
            next.extra.parent = Some(parent);
            let queue = next.queue.clone().expect("follow-ups in these histories name their queue");
            let due = self.now.plus_ms(next.delay_ms);
            self.add(&next, queue, due, position);
        }
        let children = &mut self.job_mut(parent).children;
        if !children.contains(&next.id) {
            children.push(next.id);
        }
    }
}

/// The proof of a lease: (job, epoch, nonce).
pub fn same(one: &Lease, other: &Lease) -> bool {
    (one.job, one.epoch, one.nonce) == (other.job, other.epoch, other.nonce)
}
