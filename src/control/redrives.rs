//! `/v1/dead/redrives`: putting many dead letters back at a rate, one of them first. A run belongs to the daemon that began it and ends with
//! it; what it did not come to stays a dead letter.

use super::{
    Problem, State,
    body::Sent,
    caller::Caller,
    coded::Coded,
    dead,
    extract::{Id, MOST_ROWS},
    places::{Place, Places},
    wire::{ItemError, RedriveRun, RedriveRunRequest, RunStatus},
};
use crate::{
    job::{Job, JobId, Scope, State as JobState, Timestamp},
    store::{Page, dead::Order},
};
use axum::{Json, extract, http::StatusCode};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// Runs that are remembered; the oldest that ended goes first.
const KEPT: usize = 100;
/// At once, over all callers, and of one token.
const AT_ONCE: usize = 8;
const OF_ONE: usize = 2;
const RATE_PER_S: u32 = 1000;
const MOST: u64 = 100_000;
/// Between two batches.
const TICK: Duration = Duration::from_secs(1);
/// So long a rate lasts before it is doubled, until it is what was asked for.
const STEP_TICKS: u32 = 5;
/// A run begins with this part of its rate.
const FIRST_PART: u32 = 16;
/// One look at the one that went first.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Redrives {
    runs: Mutex<BTreeMap<JobId, Arc<Run>>>,
    places: Places,
}

impl Default for Redrives {
    fn default() -> Self {
        Self { runs: Mutex::default(), places: Places::new(AT_ONCE, OF_ONE) }
    }
}

struct Run {
    request: RedriveRunRequest,
    order: Order,
    caller: Caller,
    told: Mutex<RedriveRun>,
    stop: CancellationToken,
}

impl Redrives {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<JobId, Arc<Run>>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self, caller: &Caller) -> Result<Place, Problem> {
        let sentence =
            || format!("at most {AT_ONCE} redrives, and {OF_ONE} of one token, are under way at once; wait for one to end, or stop one");
        self.places.take(caller).ok_or_else(|| Problem::new(StatusCode::CONFLICT, "too_many_runs", sentence()))
    }

    fn add(&self, id: JobId, run: Arc<Run>) {
        let mut runs = self.lock();
        while runs.len() >= KEPT {
            let ended = runs.iter().find(|(_, run)| run.told().ended_at.is_some()).map(|(id, _)| *id);
            runs.remove(&ended.unwrap_or(id));
        }
        runs.insert(id, run);
    }

    /// Those that this caller may know of: its tenant's own, or all.
    fn of(&self, caller: &Caller) -> Vec<Arc<Run>> {
        self.lock().values().rev().filter(|run| caller.tenant().is_none() || run.caller.tenant() == caller.tenant()).cloned().collect()
    }

    fn find(&self, caller: &Caller, id: JobId) -> Result<Arc<Run>, Problem> {
        let found = self.of(caller).into_iter().find(|run| run.told().id == id);
        found.ok_or_else(|| Problem::not_found(format!("redrive {id}")))
    }
}

/// `GET /v1/dead/redrives`, newest first.
pub(super) async fn list(extract::State(state): extract::State<State>, caller: Caller) -> Json<Vec<RedriveRun>> {
    Json(state.redrives.of(&caller).iter().map(|run| run.shown_to(&caller)).collect())
}

/// `GET /v1/dead/redrives/{id}`.
pub(super) async fn show(extract::State(state): extract::State<State>, caller: Caller, Id(id): Id) -> Result<Json<RedriveRun>, Problem> {
    Ok(Json(state.redrives.find(&caller, id)?.shown_to(&caller)))
}

/// `POST /v1/dead/redrives/{id}/stop`: what it did not come to stays.
pub(super) async fn stop(extract::State(state): extract::State<State>, caller: Caller, Id(id): Id) -> Result<Json<RedriveRun>, Problem> {
    let run = state.redrives.find(&caller, id)?;
    state.store().note(&caller.actor(), "stop_redrive", &id.to_string(), None).await?;
    run.stop.cancel();
    run.end(RunStatus::Stopped, "somebody stopped it", &state);
    Ok(Json(run.shown_to(&caller)))
}

/// `POST /v1/dead/redrives`.
pub(super) async fn start(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Sent(request): Sent<RedriveRunRequest>,
) -> Result<Coded<RedriveRun, 202>, Problem> {
    let order = dead::ordered(&state, &caller, &request.which)?;
    check(&request)?;
    let place = state.redrives.place(&caller)?;
    let id = JobId::mint();
    let started_at = state.clock.now();
    let told = RedriveRun {
        id,
        status: if request.canary { RunStatus::Canary } else { RunStatus::Running },
        says: "it begins".into(),
        redriven: 0,
        stayed: 0,
        rate_per_s: 0,
        canary: None,
        by: caller.actor().name,
        started_at,
        ended_at: None,
        request: request.clone(),
    };
    let words = format!("at most {} a second, {} in all", request.rate_per_s, request.most);
    state.store().note(&caller.actor(), "begin_redrive", &id.to_string(), Some(&words)).await?;
    let caller = caller.beyond_its_session();
    let run = Arc::new(Run { request, order, caller, told: Mutex::new(told.clone()), stop: CancellationToken::new() });
    state.redrives.add(id, run.clone());
    tokio::spawn(async move {
        let _place = place;
        let (going, own) = (run.clone(), state.clone());
        if let Err(error) = tokio::spawn(async move { going.go(&own).await }).await {
            tracing::error!(%error, %id, "a redrive failed");
            run.end(RunStatus::Failed, "the daemon failed on this run, which is a bug; what is left stays dead", &state);
        }
    });
    Ok(Coded(StatusCode::ACCEPTED, told))
}

fn check(request: &RedriveRunRequest) -> Result<(), Problem> {
    let mut errors = Vec::new();
    if !(1..=RATE_PER_S).contains(&request.rate_per_s) {
        errors.push(ItemError::new("/rate_per_s", "out_of_range", format!("must be 1 to {RATE_PER_S}")));
    }
    if !(1..=MOST).contains(&request.most) {
        errors.push(ItemError::new("/most", "out_of_range", format!("must be 1 to {MOST}")));
    }
    for (given, member) in
        [(!request.which.ids.is_empty(), "ids"), (request.which.limit.is_some(), "limit"), (request.which.dry_run, "dry_run")]
    {
        if given {
            let message = "has no meaning for a run; leave it out, or call /v1/dead/redrive";
            errors.push(ItemError::new(&format!("/which/{member}"), "conflict", message));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(Problem::invalid(errors)) }
}

/// How a run came to its end.
type End = (RunStatus, String);

impl Run {
    fn told(&self) -> MutexGuard<'_, RedriveRun> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A change may quote a payload.
    fn shown_to(&self, caller: &Caller) -> RedriveRun {
        let mut told = self.told().clone();
        if !caller.may(Scope::ReadPayload) {
            told.request.which.change = None;
        }
        told
    }

    fn tell(&self, status: RunStatus, says: impl Into<String>) {
        let mut told = self.told();
        if told.ended_at.is_none() {
            (told.status, told.says) = (status, says.into());
        }
    }

    fn end(&self, status: RunStatus, says: impl Into<String>, state: &State) {
        self.tell(status, says);
        let ended_at: Timestamp = state.clock.now();
        self.told().ended_at.get_or_insert(ended_at);
    }

    async fn go(&self, state: &State) {
        let (status, says) = tokio::select! {
            () = self.stop.cancelled() => (RunStatus::Stopped, "somebody stopped it".to_owned()),
            end = self.run(state) => end,
        };
        self.end(status, says, state);
    }

    async fn run(&self, state: &State) -> End {
        if self.request.canary
            && let Some(end) = self.canary(state).await
        {
            return end;
        }
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut cursor = None;
        for tick in 0.. {
            ticks.tick().await;
            if let Some(end) = self.hindrance(state).await {
                return end;
            }
            let RedriveRun { redriven, stayed, .. } = self.told().clone();
            let left = self.request.most.saturating_sub(redriven + stayed);
            if left == 0 {
                return (RunStatus::Done, format!("{redriven} were put back, as many as it may"));
            }
            let rate = self.rate_at(tick);
            self.told().rate_per_s = rate;
            let batch = usize::try_from(left).unwrap_or(MOST_ROWS).min(rate as usize);
            match self.batch(state, cursor.as_deref(), batch).await {
                Ok(found) if found.next.is_none() => return (RunStatus::Done, "all that fit were tried".into()),
                Ok(found) => cursor = found.next,
                Err(problem) => self.tell(RunStatus::Running, format!("it waits: {}", problem.detail())),
            }
        }
        unreachable!("ticks do not end")
    }

    /// The rate in this second: doubled again and again until it is what was asked for.
    fn rate_at(&self, tick: u32) -> u32 {
        let first = (self.request.rate_per_s / FIRST_PART).max(1);
        first.checked_shl((tick / STEP_TICKS).min(16)).unwrap_or(u32::MAX).min(self.request.rate_per_s)
    }

    /// What speaks against going on.
    async fn hindrance(&self, state: &State) -> Option<End> {
        if state.is_draining() {
            return Some((RunStatus::Stopped, "the daemon ends; what is left stays dead".into()));
        }
        if !self.caller.is_still_let_in(state).await {
            return Some((RunStatus::Stopped, "the token of who began it has ended".into()));
        }
        None
    }

    /// Puts one back and waits for what becomes of it. An answer ends the run.
    async fn canary(&self, state: &State) -> Option<End> {
        let mut cursor = None;
        let first = loop {
            if let Some(end) = self.hindrance(state).await {
                return Some(end);
            }
            // A look is bounded: none of those that it passed may fit.
            match self.batch(state, cursor.as_deref(), 1).await {
                Ok(Page { items, .. }) if !items.is_empty() => break items[0].id,
                Ok(Page { next: None, .. }) => return Some((RunStatus::Done, "none fits".into())),
                Ok(Page { next, .. }) => cursor = next,
                Err(problem) => return Some((RunStatus::Failed, problem.detail().to_owned())),
            }
        };
        if self.told().redriven == 0 {
            return Some((RunStatus::Failed, format!("job {first} could not be put back")));
        }
        self.told().canary = Some(first);
        self.tell(RunStatus::Canary, format!("it waits for job {first}, which went first"));
        loop {
            if let Some(end) = self.hindrance(state).await {
                return Some(end);
            }
            match self.caller.jobs(state).get_when_final(first, PATIENCE, || true).await {
                Ok(Some(job)) if job.state == JobState::Completed => {
                    self.tell(RunStatus::Running, format!("job {first} went first and completed"));
                    return None;
                }
                Ok(Some(job)) if job.state.is_final() => {
                    return Some((RunStatus::Failed, format!("job {first} went first and is {}; the others stay", job.state)));
                }
                Ok(None) => return Some((RunStatus::Failed, format!("job {first} went first and is gone; the others stay"))),
                Ok(Some(_)) => {}
                Err(_) => tokio::time::sleep(TICK).await,
            }
        }
    }

    async fn batch(&self, state: &State, cursor: Option<&str>, most: usize) -> Result<Page<Job>, Problem> {
        let store = self.caller.jobs(state);
        let found = store.list(&self.order.filter, cursor, most).await?;
        let done = store.redrive_each(&self.order, found.items.clone(), &self.caller.actor()).await;
        let stayed = done.iter().filter(|done| done.error.is_some()).count() as u64;
        let mut told = self.told();
        told.stayed += stayed;
        told.redriven += done.len() as u64 - stayed;
        if let Some(error) = done.iter().find_map(|done| done.error.as_ref()) {
            told.says = format!("the last that stayed: {}", super::error::outside(error).1);
        }
        Ok(found)
    }
}
