//! Plays one history on a store and on the reference, and compares: every reply, and after every step every job and every
//! counter. At its end the history is played out, so that a job which can never finish is noticed too.

mod compare;
mod operate;

use super::{
    grants::Fairness,
    history::{End, Fresh, History, Nth, Operation, Queue, Settle, Unique},
    reference::{RefAnswer, Reference, Refusal},
};
use crate::support::{Build as _, Daemon, LEASE, TestStore, WINDOW, at, json, name, work};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    sync::Arc,
    time::Duration,
};
use windlass::{
    job::{
        Applied, ErrorClass, HolderId, JobError, JobId, Lease, Name, NewJob, Nonce, OnDuplicate, QueueSettings, Settings, Settlement,
        State, Transition, UniqueFor,
    },
    store::{Actor, Error, LeaseRequest, Now},
};

type Verdict = Result<(), String>;

const QUEUES: [&str; 2] = ["a", "b"];
/// Beyond any history that is played out; a job that is not final by then never will be.
const ROUNDS: usize = 500;

pub struct Player {
    store: TestStore,
    reference: Reference,
    fairness: Fairness,
    daemons: [Daemon; 2],
    /// What was ever sent, granted or handed out, for operations that come back to it.
    sent: Vec<NewJob>,
    known: Vec<JobId>,
    leases: Vec<(HolderId, Lease)>,
    nonces: Vec<Nonce>,
    tokens: Vec<String>,
    minted: u64,
    /// What came of each step, for people who look at a history that failed.
    told: Vec<String>,
    pub steps: u64,
}

fn same<T: PartialEq + Debug>(what: &str, store: T, reference: T) -> Verdict {
    if store == reference { Ok(()) } else { Err(format!("{what}: the store says {store:?}, the reference {reference:?}")) }
}

fn works<T>(what: &str, answer: windlass::store::Result<T>) -> Result<T, String> {
    answer.map_err(|e| format!("{what}: the store refuses with {e:?}"))
}

impl Player {
    pub async fn new(store: TestStore, queues: &[Queue; 2]) -> Result<Self, String> {
        let mut settings = Settings::default();
        for (queue_name, queue) in QUEUES.iter().zip(queues) {
            settings.queues.insert(name(queue_name), queue_settings(queue));
        }
        works("configure", store.configure(&settings).await)?;
        let mut reference = Reference::new(at(0), settings);
        reference.queues_are_apart = store.name() == "cluster";
        let mut player = Self {
            store,
            reference,
            fairness: Fairness::default(),
            daemons: [Daemon::new(), Daemon::new()],
            sent: Vec::new(),
            known: Vec::new(),
            leases: Vec::new(),
            nonces: Vec::new(),
            tokens: Vec::new(),
            minted: 0,
            told: Vec::new(),
            steps: 0,
        };
        // Stays for ever and is never due: what a call conflicts with that must write nothing.
        let anchor = work().id(player.mint()).queue("anchor").run_at(at(300_000_000));
        player.enqueue(vec![anchor], false).await?;
        Ok(player)
    }

    pub async fn play(mut self, history: &History) -> Result<u64, String> {
        for operation in &history.operations {
            self.told.push(format!("{} {operation:?}", self.reference.now));
            let done = self.step(operation).await;
            done.map_err(|e| self.retold(&e))?;
        }
        self.told.push("playing the history out".into());
        self.play_out().await.map_err(|e| self.retold(&e))?;
        self.store.finish().await;
        Ok(self.steps)
    }

    fn retold(&self, difference: &str) -> String {
        format!("{difference}\n{}", self.told.join("\n"))
    }

    fn tell(&mut self, what: &str, of: &impl Debug) {
        self.told.push(format!("    {what}: {of:?}"));
    }

    async fn step(&mut self, operation: &Operation) -> Verdict {
        self.steps += 1;
        self.act(operation).await?;
        self.reference.forget_idle_lines(&mut self.fairness);
        self.compare().await
    }

    async fn act(&mut self, operation: &Operation) -> Verdict {
        match operation {
            Operation::Tick { seconds } => self.tick(u64::from(*seconds)),
            Operation::Advance => self.advance().await,
            Operation::Enqueue { jobs, lost } => {
                let jobs = self.envelopes(jobs);
                self.enqueue(jobs, *lost).await
            }
            Operation::EnqueueAgain { which, changed } => self.enqueue_again(*which, *changed).await,
            Operation::Lease { daemon, most, lost } => self.lease(usize::from(*daemon), *most, *lost).await,
            Operation::LeasedBy { which } => match pick(&self.nonces, *which) {
                Some(nonce) => self.leased_by(nonce).await,
                None => Ok(()),
            },
            Operation::Settle { batch, lost } => {
                let batch = batch.iter().filter_map(|settle| self.settlement(settle)).collect();
                self.settle(batch, *lost).await
            }
            Operation::Heartbeat { daemon } => self.heartbeat(usize::from(*daemon)).await,
            Operation::Reap => self.reap().await,
            Operation::Goodbye { daemon } => self.goodbye(usize::from(*daemon)).await,
            Operation::Crash => self.crash().await,
            Operation::Cancel { which } => self.cancel(*which).await,
            Operation::RunNow { which } => self.run_now(*which).await,
            Operation::Redrive { which } => self.redrive(*which).await,
            Operation::Purge { which } => self.purge(*which).await,
            Operation::Unpark { which } => self.unpark(*which).await,
            Operation::LearnKind => self.learn_kind().await,
            Operation::Pause { queue } => self.pause(*queue, true).await,
            Operation::Resume { queue } => self.pause(*queue, false).await,
            Operation::Prune { dead } => self.prune(*dead).await,
            Operation::ProbeKeys => self.probe_keys().await,
        }
    }

    fn now(&self) -> Now {
        Some(self.reference.now)
    }

    fn mint(&mut self) -> JobId {
        self.minted += 1;
        let millis = 1_893_456_000_000 + self.minted;
        JobId(uuid::Builder::from_unix_timestamp_millis(millis, &[0; 10]).into_uuid())
    }

    /// One microsecond on top, so that no two instants of different steps are ever exactly a retention or a lease apart.
    fn tick(&mut self, seconds: u64) -> Verdict {
        let by = Duration::from_secs(seconds) + Duration::from_micros(1);
        self.store.clock.advance(by);
        self.reference.now = self.reference.now.plus(by);
        Ok(())
    }

    async fn advance(&mut self) -> Verdict {
        let (mut expired, mut park_expired) = (0, 0);
        loop {
            let advanced = works("advance", self.store.advance(self.now()).await)?;
            expired += advanced.expired;
            park_expired += advanced.park_expired;
            if !advanced.more {
                break;
            }
        }
        same("expired and ended parks", (expired, park_expired), self.reference.advance())
    }

    // ------------------------------------------------------------------ enqueue

    fn envelopes(&mut self, fresh: &[Fresh]) -> Vec<NewJob> {
        let ids: Vec<JobId> = fresh.iter().map(|_| self.mint()).collect();
        fresh.iter().zip(&ids).map(|(fresh, id)| self.envelope(fresh, *id, &ids)).collect()
    }

    fn envelope(&self, fresh: &Fresh, id: JobId, bulk: &[JobId]) -> NewJob {
        let queue = QUEUES[usize::from(fresh.queue)];
        let number = id.0.as_u128() >> 80;
        let mut job = work().queue(queue).priority(fresh.priority).payload(&format!("{{\"n\":{number}}}"));
        (job.id, job.id_is_producers) = (id, fresh.producers_id);
        if let Some((key, other_body)) = fresh.idempotent {
            return job.payload(if other_body { "1" } else { "0" }).priority(5).idempotent(&format!("i{key}"));
        }
        if fresh.tenant > 0 {
            job = job.tenant(&format!("t{}", fresh.tenant));
        }
        if fresh.strange_kind {
            job = job.kind("strange");
        }
        job.delay_ms = u64::from(fresh.delay_s) * 1_000;
        job.expires_at = fresh.expires_s.map(|seconds| self.reference.now.plus(Duration::from_secs(u64::from(seconds))));
        if fresh.key > 0 {
            // A key is either a sequence or a limit.
            job = if fresh.ordered { job.ordered(&format!("o{}", fresh.key)) } else { job.key(&format!("k{}", fresh.key)) };
        }
        if let Some((number, unique)) = &fresh.unique {
            job = with_unique(job, *number, unique);
        }
        if let Some(queue) = fresh.on_success {
            job = job.on_success(at_the_end_of(id, 1, queue));
        }
        if let Some(queue) = fresh.on_failure {
            job = job.on_failure(at_the_end_of(id, 2, queue));
        }
        let candidates: Vec<JobId> = self.known.iter().chain(bulk).copied().filter(|parent| *parent != id).collect();
        let after: Vec<JobId> = fresh.after.iter().filter_map(|nth| self.parent(&candidates, *nth)).collect();
        job.after(&after)
    }

    /// Now and then a parent that nobody ever enqueued.
    fn parent(&self, candidates: &[JobId], nth: Nth) -> Option<JobId> {
        if nth.is_multiple_of(16) { Some(JobId(uuid::Uuid::from_u128(u128::from(nth)))) } else { pick(candidates, nth) }
    }

    async fn enqueue(&mut self, jobs: Vec<NewJob>, lost: bool) -> Verdict {
        let first = self.enqueue_once(&jobs).await?;
        self.tell("enqueued", &first);
        for job in &jobs {
            self.known.push(job.id);
            self.sent.push(job.clone());
        }
        if lost {
            let again = self.enqueue_once(&jobs).await?;
            same("the same question again", again, first)?;
        }
        Ok(())
    }

    async fn enqueue_once(&mut self, jobs: &[NewJob]) -> Result<Result<Vec<(JobId, bool)>, Refusal>, String> {
        let answer = self.store.enqueue(jobs.to_vec(), self.now()).await;
        let by_key = self.reference.refusal_by_key(jobs);
        match (answer, self.reference.enqueue(jobs)) {
            (Ok(answers), Ok(expected)) => {
                same("answers", answers.len(), expected.len())?;
                for (answer, expected) in answers.iter().zip(expected) {
                    let RefAnswer { id, status, duplicate } = expected;
                    same("answer", (answer.id, answer.duplicate), (id, duplicate))?;
                    same("status", answer.status, status.unwrap_or(answer.status))?;
                }
                Ok(Ok(answers.into_iter().map(|answer| (answer.id, answer.duplicate)).collect()))
            }
            (Err(error), Err(refusal)) => {
                // Of several, any that the store meets first.
                if refused(&error) != by_key {
                    same("refusal", refused(&error), Some(refusal))?;
                }
                Ok(Err(refusal))
            }
            (answer, expected) => Err(format!("enqueue: the store says {answer:?}, the reference {expected:?}")),
        }
    }

    async fn enqueue_again(&mut self, which: Nth, changed: bool) -> Verdict {
        let Some(mut job) = pick(&self.sent, which) else { return Ok(()) };
        if changed && job.id_is_producers {
            job.payload = json("[\"another body\"]");
        }
        self.enqueue_once(&[job]).await.map(drop)
    }

    async fn probe_keys(&mut self) -> Verdict {
        let anchor = self.sent[0].clone().priority(0);
        let keys: BTreeSet<(Option<Name>, Option<Name>, Name)> = self
            .sent
            .iter()
            .filter_map(|job| job.unique.as_ref().map(|unique| (job.tenant.clone(), job.queue.clone(), unique.key.clone())))
            .collect();
        for (tenant, queue, key) in keys {
            let mut probe = work().unique(&key, UniqueFor::UntilFinished, OnDuplicate::Reject);
            (probe.tenant, probe.queue) = (tenant.clone(), queue.clone());
            let answer = self.store.enqueue(vec![probe, anchor.clone()], self.now()).await;
            let holder = self.reference.holder_of(tenant.as_ref(), &queue.expect("every job here names its queue"), &key);
            let expected = match holder {
                Some(holder) => Refusal::Duplicate { index: 0, holder },
                None => Refusal::Conflict { index: 1, id: anchor.id },
            };
            let told = answer.as_ref().err().and_then(refused);
            same(&format!("holder of {key} of {tenant:?}"), told, Some(expected))?;
        }
        Ok(())
    }

    // ------------------------------------------------------------------ lease

    async fn lease(&mut self, daemon: usize, most: [u8; 2], lost: bool) -> Verdict {
        self.advance().await?;
        let request = LeaseRequest {
            queues: QUEUES.iter().zip(most).map(|(queue, most)| (name(queue), usize::from(most))).collect(),
            kinds: Arc::new(self.reference.kinds.clone()),
            ..self.daemons[daemon].request("a", 0)
        };
        let nonce = request.nonce;
        let reply = works("lease", self.store.lease(request.clone(), self.now()).await)?;
        let parked = self.newly_parked().await?;
        let granted: Vec<JobId> = reply.jobs.iter().map(|leased| leased.job.id).collect();
        self.tell("granted", &granted);
        self.reference.take_grants(&request, &reply, &parked, &mut self.fairness)?;
        self.nonces.push(nonce);
        for leased in &reply.jobs {
            if self.leases.iter().any(|(_, old)| old.job == leased.lease.job && old.epoch >= leased.lease.epoch) {
                return Err(format!("the epoch of {} did not grow", leased.lease.job));
            }
            self.leases.push((request.holder, leased.lease));
        }
        if lost {
            self.leased_by(nonce).await?;
        }
        Ok(())
    }

    /// What the store parked as unknown and the reference still thinks queued.
    async fn newly_parked(&self) -> Result<BTreeSet<JobId>, String> {
        let strange = self.reference.ids(|job| job.state == State::Queued && !self.reference.kinds.contains(&job.kind));
        let mut parked = BTreeSet::new();
        for id in strange {
            let job = works("get", self.store.get(id).await)?.ok_or_else(|| format!("{id} is gone"))?;
            if job.state == State::Parked && job.reason.as_deref() == Some("unknown_kind") {
                parked.insert(id);
            }
        }
        Ok(parked)
    }

    async fn leased_by(&mut self, nonce: Nonce) -> Verdict {
        let told = works("leased_by", self.store.leased_by(nonce).await)?;
        for leased in &told {
            let granted = self.leases.iter().any(|(_, lease)| *lease == leased.lease);
            same("the lease told again was granted", granted, true)?;
        }
        let ids: BTreeSet<JobId> = told.iter().map(|leased| leased.job.id).collect();
        same("leased by the nonce", ids, self.reference.leased_by(nonce))
    }

    // ------------------------------------------------------------------ settle

    fn settlement(&mut self, settle: &Settle) -> Option<Settlement> {
        let lease = if settle.stale {
            pick(&self.leases, settle.lease)?.1
        } else {
            let running: Vec<Lease> = self.reference.jobs.iter().filter_map(|job| job.lease.as_ref()).map(|own| own.lease).collect();
            pick(&running, settle.lease)?
        };
        let started_at = lease.granted_at;
        let mut settlement = Settlement::new(lease, self.transition(&settle.end), started_at);
        let number = self.steps;
        if settle.checkpoint {
            settlement.checkpoint = Some(json(&format!("{{\"at\":{number}}}")));
        }
        if matches!(settle.end, End::Complete) {
            settlement.result = Some(json(&number.to_string()));
        }
        if settle.follow_up {
            let next = work().queue(QUEUES[usize::from(settle.lease % 2)]).payload("\"next\"");
            let id = self.mint();
            settlement.follow_ups.push(NewJob { id, delay_ms: u64::from(settle.lease % 3) * 7_000, ..next });
        }
        Some(settlement)
    }

    fn transition(&mut self, end: &End) -> Transition {
        let after = |seconds: u16| self.reference.now.plus(Duration::from_secs(u64::from(seconds)));
        let error = || JobError::new(ErrorClass::Retry, "x", "it failed");
        match end {
            End::Complete => Transition::Complete,
            End::Retry { seconds } => Transition::Retry { at: after(*seconds), error: error() },
            End::Dead => Transition::Dead { reason: "rejected", error: error() },
            End::Snooze { seconds } => Transition::Snooze { until: after(*seconds) },
            End::Park { seconds, token } => {
                let until = after(*seconds);
                let token = token.then(|| format!("token-{}-{}", self.steps, self.tokens.len()));
                self.tokens.extend(token.clone());
                Transition::Park { reason: "outside".into(), until, token, error: None }
            }
            End::Cancel => Transition::Cancel { reason: "unwanted".into() },
            End::Release => Transition::Release,
        }
    }

    async fn settle(&mut self, batch: Vec<Settlement>, lost: bool) -> Verdict {
        for _ in 0..=u8::from(lost) {
            let answers = works("settle", self.store.settle(batch.clone(), self.now()).await)?;
            let expected = self.reference.settle(&batch);
            let settled: Vec<_> = batch.iter().map(|s| (s.lease.job, s.transition.to_state())).zip(&answers).collect();
            self.tell("settled", &settled);
            let right = answers.len() == expected.len() && answers.iter().zip(&expected).all(|(answer, right)| right.contains(answer));
            if !right {
                return Err(format!("settle: the store says {answers:?}, the reference {expected:?}"));
            }
            for (settlement, answer) in batch.iter().zip(answers) {
                if answer == Applied::Applied {
                    self.known.extend(settlement.follow_ups.iter().map(|next| next.id));
                }
            }
        }
        Ok(())
    }

    async fn heartbeat(&mut self, daemon: usize) -> Verdict {
        let holder = self.daemons[daemon].holder;
        let held: Vec<Lease> = self.leases.iter().filter(|(own, _)| *own == holder).map(|(_, lease)| *lease).collect();
        let beat = works("heartbeat", self.store.heartbeat(holder, LEASE, held.clone(), Vec::new(), self.now()).await)?;
        self.reference.beat(holder, LEASE);
        same("lost and to cancel", (beat.lost, beat.cancel), self.reference.heartbeat(&held))
    }

    async fn reap(&mut self) -> Verdict {
        let reaped = works("reap", self.store.reap(self.now()).await)?;
        same("suspects and poisoned by a reap", (reaped.suspects, reaped.poisoned), (0, 0))?;
        same("requeued", reaped.requeued, self.reference.reap())
    }

    /// Only a daemon that handed everything back says goodbye.
    async fn goodbye(&mut self, daemon: usize) -> Verdict {
        let holder = self.daemons[daemon].holder;
        if self.reference.jobs.iter().any(|job| job.lease.as_ref().is_some_and(|own| own.holder == holder)) {
            return Ok(());
        }
        works("goodbye", self.store.goodbye(holder).await)?;
        self.reference.holders.remove(&holder);
        self.daemons[daemon] = Daemon::new();
        Ok(())
    }

    async fn crash(&mut self) -> Verdict {
        self.store.crash().await;
        self.reference.crash();
        self.daemons = [Daemon::new(), Daemon::new()];
        Ok(())
    }

    // ------------------------------------------------------------------ the end

    /// Lets everything happen that is left to happen. Every job must reach a final state, in the steps that were compared so far.
    async fn play_out(&mut self) -> Verdict {
        self.probe_keys().await?;
        let anchor = self.known[0];
        agree("cancel", self.store.cancel(anchor, "done", &actor(), self.now()).await, self.reference.cancel(anchor, "done"))?;
        self.pause(0, false).await?;
        self.pause(1, false).await?;
        self.learn_kind().await?;
        for _ in 0..ROUNDS {
            if self.reference.jobs.iter().all(|job| !job.is_live()) {
                return self.compare().await;
            }
            // Parks end, rates open, lost holders are noticed.
            self.tick(400)?;
            self.reap().await?;
            for daemon in [0, 1] {
                self.lease(daemon, [200, 200], false).await?;
            }
            let running: Vec<Lease> = self.reference.jobs.iter().filter_map(|job| job.lease.as_ref()).map(|own| own.lease).collect();
            let batch = running.iter().map(|lease| Settlement::new(*lease, Transition::Complete, lease.granted_at)).collect();
            self.settle(batch, false).await?;
            let due_at_last = self.reference.jobs.iter().filter(|job| job.is_live()).all(|job| job.state == State::Parked);
            if due_at_last {
                self.tick(8 * 86_400)?;
            }
        }
        let left = self.reference.jobs.iter().find(|job| job.is_live());
        Err(format!("after {ROUNDS} rounds there is still {left:?}"))
    }
}

fn queue_settings(queue: &Queue) -> QueueSettings {
    QueueSettings {
        partitions: 1,
        concurrency: queue.concurrency,
        key_concurrency: queue.key_concurrency,
        rate: queue.rate,
        key_rate: queue.key_rate,
        tenant_concurrency: queue.tenant_concurrency,
        fair: queue.fair,
        tenant_weights: BTreeMap::from([(name("t1"), queue.weight)]),
        on_head: queue.on_head,
    }
}

/// The letter of a key says how long it is held, so that all arrivals at one key mean the same by it.
fn with_unique(job: NewJob, number: u8, unique: &Unique) -> NewJob {
    match unique {
        Unique::Finished { reject } => {
            let on_duplicate = if *reject { OnDuplicate::Reject } else { OnDuplicate::Return };
            job.unique(&format!("f{number}"), UniqueFor::UntilFinished, on_duplicate)
        }
        Unique::Started { on_duplicate } => {
            let on_duplicate = [OnDuplicate::Return, OnDuplicate::Reject, OnDuplicate::Replace][usize::from(*on_duplicate)];
            job.unique(&format!("s{number}"), UniqueFor::UntilStarted, on_duplicate)
        }
        Unique::Window => job.unique(&format!("w{number}"), WINDOW, OnDuplicate::Return),
        Unique::Debounce => job.debounced(&format!("d{number}"), 3_000, 10_000),
    }
}

/// Under an id of its producer's own: a job that is redriven and ends again makes no second one.
fn at_the_end_of(id: JobId, which: u128, queue: u8) -> NewJob {
    let next = work().queue(QUEUES[usize::from(queue)]).payload("\"end\"");
    NewJob { id: JobId(uuid::Uuid::from_u128(id.0.as_u128() | which)), id_is_producers: true, ..next }
}

fn actor() -> Actor {
    Actor::new("test")
}

fn pick<T: Clone>(from: &[T], nth: Nth) -> Option<T> {
    if from.is_empty() { None } else { from.get(usize::from(nth) % from.len()).cloned() }
}

fn refused(error: &Error) -> Option<Refusal> {
    match error {
        Error::Conflict { index, id } => Some(Refusal::Conflict { index: *index, id: *id }),
        Error::Duplicate { index, holder } => Some(Refusal::Duplicate { index: *index, holder: *holder }),
        Error::NotFound { .. } => Some(Refusal::NotFound),
        Error::NotAllowed(_) => Some(Refusal::NotAllowed),
        _ => None,
    }
}

fn agree<T: PartialEq + Debug>(what: &str, answer: windlass::store::Result<T>, expected: Result<T, Refusal>) -> Verdict {
    match (&answer, &expected) {
        (Ok(answer), Ok(expected)) if answer == expected => Ok(()),
        (Err(error), Err(refusal)) if refused(error) == Some(*refusal) => Ok(()),
        _ => Err(format!("{what}: the store says {answer:?}, the reference {expected:?}")),
    }
}
