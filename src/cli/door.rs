//! How a command reaches the jobs: through the control port of the daemon that works on the store, if one answers, else by
//! opening the store itself. Either way the answers have the same shape, which is that of the control port.

use super::{Place, exit::Exit};
use crate::{
    config::{self, Config, show::without_password},
    control::wire::{
        CancelAnswer, ItemError, JobSummary, PageOf, PauseAnswer, PreviewAnswer, RedriveAnswer, RedriveRequest, RedrivenItem, Retried,
        RetryAnswer, ScheduleAnswer,
    },
    job::{
        Envelope, Job, JobId, Limits, Name, NewJob, State, Timestamp,
        schedule::{Occurrence, ScheduleState},
    },
    store::{self, Actor, Cancelled, Enqueued, Exported, Filter, Page, QueueStatus, Role, Store},
};
use std::{path::Path, sync::Arc};

pub struct Door {
    store: Arc<dyn Store>,
    limits: Limits,
}

/// Runs a command on the door that fits, and closes it behind.
pub fn with(place: &Place, command: impl AsyncFnOnce(&Door) -> anyhow::Result<()>) -> anyhow::Result<()> {
    enter(place, MayMake::Nothing, command)
}

/// Whether a command that finds no store may make one. Only those that bring jobs may: a list of a store whose name is
/// mistyped should say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MayMake {
    Store,
    Nothing,
}

pub fn enter(place: &Place, may_make: MayMake, command: impl AsyncFnOnce(&Door) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let config = config::load(&place.sources())?.config;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let door = Door::open(&config, may_make).await?;
        let ended = command(&door).await;
        door.store.close().await;
        ended
    })
}

impl Door {
    async fn open(config: &Config, may_make: MayMake) -> anyhow::Result<Self> {
        let url = &config.store.url;
        if may_make == MayMake::Nothing
            && let Some(path) = store::sqlite::path_of(url)
            && !path.exists()
        {
            let url = without_password(url);
            return Err(Exit::Unavailable.because(format!("{url} does not exist; name another store with --store, or enqueue a first job")));
        }
        let store = store::open(url, Role::Client, config.store_options()).await?;
        Ok(Self { store, limits: config.limits() })
    }

    /// All or nothing, in order. Envelopes get their ids here, so that the call can be made again when its answer was lost.
    pub async fn enqueue(&self, envelopes: &[Envelope]) -> anyhow::Result<Vec<Enqueued>> {
        let jobs = envelopes
            .iter()
            .enumerate()
            .map(|(index, envelope)| envelope.clone().check(self.limits).map_err(|error| store::Error::from((index, error))))
            .collect::<store::Result<Vec<NewJob>>>()?;
        Ok(self.store.enqueue(jobs, None).await?)
    }

    pub async fn get(&self, id: JobId) -> anyhow::Result<Option<Job>> {
        Ok(self.store.get(id).await?)
    }

    pub async fn list(&self, filter: &Filter, cursor: Option<&str>, limit: usize) -> anyhow::Result<PageOf<JobSummary>> {
        let page = self.store.list(filter, cursor, limit).await?;
        Ok(PageOf { items: page.items.into_iter().map(JobSummary::from).collect(), next: page.next })
    }

    pub async fn cancel(&self, id: JobId, reason: &str) -> anyhow::Result<CancelAnswer> {
        let cancelled = match self.store.cancel(id, reason, &actor(), None).await? {
            Cancelled::Now => "now",
            Cancelled::Asked => "asked",
            Cancelled::AlreadyFinal => "already_final",
        };
        Ok(CancelAnswer { id, cancelled: cancelled.into() })
    }

    pub async fn retry(&self, id: JobId) -> anyhow::Result<RetryAnswer> {
        let is_dead = self.store.get(id).await?.is_some_and(|job| job.state == State::Dead);
        let done = if is_dead {
            self.store.redrive(id, &actor(), None).await?;
            Retried::Redriven
        } else {
            self.store.run_now(id, &actor(), None).await?;
            Retried::MadeDue
        };
        Ok(RetryAnswer { id, done })
    }

    /// One call's worth of those that fit.
    pub async fn redrive(&self, request: &RedriveRequest) -> anyhow::Result<RedriveAnswer> {
        let page = self.store.list(&request.filter(), None, MOST_ROWS).await?;
        let ids: Vec<JobId> = page.items.iter().map(|job| job.id).collect();
        Ok(RedriveAnswer { more: page.next.is_some(), ..self.redrive_these(&ids).await? })
    }

    pub async fn redrive_these(&self, ids: &[JobId]) -> anyhow::Result<RedriveAnswer> {
        let mut items = Vec::with_capacity(ids.len());
        for (index, id) in ids.iter().enumerate() {
            let error = self.store.redrive(*id, &actor(), None).await.err().map(|error| ItemError::of(&error, index));
            items.push(RedrivenItem { id: *id, error });
        }
        let redriven = items.iter().filter(|item| item.error.is_none()).count();
        Ok(RedriveAnswer { redriven, items, more: false })
    }

    pub async fn purge(&self, id: JobId) -> anyhow::Result<()> {
        Ok(self.store.purge(id, &actor(), None).await?)
    }

    pub async fn queues(&self) -> anyhow::Result<Vec<QueueStatus>> {
        Ok(self.store.queues(None).await?)
    }

    pub async fn pause(&self, queue: &Name, reason: &str) -> anyhow::Result<PauseAnswer> {
        let actor = actor();
        self.store.pause(queue, reason, &actor, None).await?;
        let paused = store::Pause { at: self.store.now().await?, by: actor.name, reason: reason.to_owned() };
        Ok(PauseAnswer { name: queue.clone(), paused: Some(paused) })
    }

    pub async fn resume(&self, queue: &Name) -> anyhow::Result<PauseAnswer> {
        self.store.resume(queue, &actor(), None).await?;
        Ok(PauseAnswer { name: queue.clone(), paused: None })
    }

    pub async fn schedules(&self) -> anyhow::Result<Vec<ScheduleAnswer>> {
        let now = self.store.now().await?;
        Ok(self.store.schedules().await?.into_iter().map(|state| schedule_answer(state, now)).collect())
    }

    pub async fn schedule(&self, name: &Name) -> anyhow::Result<ScheduleAnswer> {
        let found = self.schedules().await?.into_iter().find(|answer| answer.schedule.name == *name);
        found.ok_or_else(|| Exit::Data.because(format!("schedule {name} does not exist; see `windlass schedules list`")))
    }

    pub async fn preview(&self, name: &Name, count: usize) -> anyhow::Result<PreviewAnswer> {
        let schedule = self.schedule(name).await?.schedule;
        let timetable = schedule.check().map_err(|error| Exit::Data.because(format!("schedule {name}: {error}")))?;
        Ok(PreviewAnswer { name: name.clone(), instants: timetable.preview(self.store.now().await?, count) })
    }

    pub async fn occurrences(&self, name: &Name, limit: usize) -> anyhow::Result<Vec<Occurrence>> {
        self.schedule(name).await?;
        Ok(self.store.occurrences(name, limit).await?)
    }

    pub async fn pause_schedule(&self, name: &Name, paused: bool) -> anyhow::Result<ScheduleAnswer> {
        self.store.pause_schedule(name, paused, &actor()).await?;
        self.schedule(name).await
    }

    pub async fn delete_schedule(&self, name: &Name) -> anyhow::Result<()> {
        Ok(self.store.delete_schedule(name, &actor()).await?)
    }

    /// One job now, besides the schedule's own.
    pub async fn run_schedule(&self, name: &Name) -> anyhow::Result<Enqueued> {
        let job = self.schedule(name).await?.schedule.job;
        let done = self.enqueue(&[job]).await?.into_iter().next();
        done.ok_or_else(|| Exit::Software.because("the store gave no answer for the job"))
    }

    pub async fn export(&self, cursor: Option<&str>) -> anyhow::Result<Page<Exported>> {
        Ok(self.store.export(cursor, MOST_ROWS).await?)
    }

    pub async fn import(&self, jobs: Vec<Exported>) -> anyhow::Result<u64> {
        Ok(self.store.import(jobs, None).await?)
    }
}

/// The most that a store lists in one call.
const MOST_ROWS: usize = 1000;

/// Who acts, for the audit: each act has an id of its own.
fn actor() -> Actor {
    // SAFETY: getuid has no preconditions and cannot fail.
    let by_number = || format!("uid {}", unsafe { libc::getuid() });
    Actor::new(format!("cli:{}", std::env::var("USER").unwrap_or_else(|_| by_number())))
}

fn schedule_answer(state: ScheduleState, now: Timestamp) -> ScheduleAnswer {
    let next = if state.paused { None } else { state.schedule.check().ok().and_then(|timetable| timetable.next_after(now)) };
    ScheduleAnswer { schedule: state.schedule, generation: state.generation, last: state.last, paused: state.paused, next }
}
