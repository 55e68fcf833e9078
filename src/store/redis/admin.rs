//! What people and programs ask for beside the flow: acts on one job, configuration, import, schedules.

use super::{
    RedisStore,
    asked::{self, Asked},
    audit::audit,
    connection::function,
    enqueue::instant,
    error::{Effect, odd},
    reply, rows,
    shards::Tag,
};
use crate::{
    job::{
        JobId, Json, Name, Pause, Timestamp,
        schedule::{Fate, Occurrence, Plan, Schedule, ScheduleState, SkipReason},
    },
    store::{
        Actor, Cancelled, Error, Exported, Result,
        words::{STEPS_OWED, owed, schedule_words},
    },
};
use redis::{Cmd, Value};
use uuid::Uuid;

impl RedisStore {
    /// An act on one job; answers what the library said beside `ok`.
    async fn act(
        &self,
        name: &str,
        id: JobId,
        detail: Option<&str>,
        actor: &Actor,
        now: Option<Timestamp>,
        only: &str,
    ) -> Result<Vec<Value>> {
        let mut call = function(name, &[self.base(&self.shard_with(id).await?)]);
        call.arg(instant(now)).arg(id.0.as_bytes());
        if let Some(detail) = detail {
            call.arg(detail);
        }
        audit(&mut call, actor, name, &id.to_string(), detail);
        let mut said = reply::list(self.server.ask(Effect::Promises, &call).await?)?.into_iter();
        self.deliver(now).await;
        let Some(word) = said.next() else { return odd("a word") };
        match reply::text(word)?.as_str() {
            "missing" => Err(Error::NotFound { what: format!("job {id}") }),
            "not_allowed" => {
                let state = said.next().map(reply::text).transpose()?.unwrap_or_default();
                Err(Error::NotAllowed(format!("job {id} is {state}; only {only}")))
            }
            "duplicate" => {
                let holder = said.next().map(reply::id).transpose()?.unwrap_or(id);
                Err(Error::Duplicate { index: 0, holder })
            }
            word => {
                self.wakes.work();
                Ok(vec![Value::SimpleString(word.to_owned())])
            }
        }
    }

    pub(super) async fn cancel_job(&self, id: JobId, reason: &str, actor: &Actor, now: Option<Timestamp>) -> Result<Cancelled> {
        let said = self.act("cancel", id, Some(reason), actor, now, "").await?;
        Ok(match said.into_iter().next().map(reply::text).transpose()?.as_deref() {
            Some("now") => Cancelled::Now,
            Some("asked") => {
                self.wakes.cancel();
                Cancelled::Asked
            }
            _ => Cancelled::AlreadyFinal,
        })
    }

    pub(super) async fn make_due(&self, id: JobId, actor: &Actor, now: Option<Timestamp>) -> Result<()> {
        self.act("run_now", id, None, actor, now, "a scheduled or parked job can be made due").await.map(drop)
    }

    pub(super) async fn redrive_job(&self, id: JobId, actor: &Actor, now: Option<Timestamp>) -> Result<()> {
        self.act("redrive", id, None, actor, now, "a dead job can be redriven").await.map(drop)
    }

    pub(super) async fn purge_job(&self, id: JobId, actor: &Actor, now: Option<Timestamp>) -> Result<()> {
        self.act("purge", id, None, actor, now, "a dead job can be purged").await.map(drop)
    }

    /// The shard is not known by the token: all are asked.
    pub(super) async fn unpark_by(&self, token: &str, answer: Option<&Json>, actor: &Actor, now: Option<Timestamp>) -> Result<JobId> {
        let shards = self.all_shards().await?;
        let calls: Vec<Cmd> = shards
            .keys()
            .map(|shard| {
                let mut call = function("unpark", &[self.base(shard)]);
                call.arg(instant(now)).arg(token).arg(answer.map(Json::as_str).unwrap_or_default());
                // Which job it is, the library finds.
                audit(&mut call, actor, "unpark", "", None);
                call
            })
            .collect();
        for told in self.server.ask_each(Effect::Promises, &calls).await? {
            let mut said = reply::list(told)?.into_iter();
            if let (Some(word), Some(id)) = (said.next(), said.next())
                && reply::text(word)? == "ok"
            {
                self.wakes.work();
                return reply::id(id);
            }
        }
        Err(Error::NotFound { what: "a job parked with this token".into() })
    }

    pub(super) async fn wake_kinds(&self, kinds: &[Name], now: Option<Timestamp>) -> Result<u64> {
        let kinds: Vec<&str> = kinds.iter().map(Name::as_str).collect();
        let told = self.on_all_shards("unpark_kinds", now, |call| _ = call.arg(&kinds)).await?;
        let woken = told.into_iter().map(|(_, told)| reply::count(told)).sum::<Result<u64>>()?;
        if woken > 0 {
            self.wakes.work();
        }
        Ok(woken)
    }

    pub(super) async fn pause_queue(
        &self,
        queue: &Name,
        reason: &str,
        until: Option<Timestamp>,
        actor: &Actor,
        now: Option<Timestamp>,
    ) -> Result<()> {
        let at = self.instant_or_now(now).await?;
        let shards = self.shards_of(queue).await?;
        self.enrol(&shards).await?;
        let row = Json::of(&Pause { at, by: actor.name.clone(), reason: reason.to_owned(), until });
        let calls: Vec<Cmd> = shards
            .iter()
            .map(|shard| {
                let mut call = function("pause", &[self.base(shard)]);
                call.arg(instant(now)).arg(row.as_str()).arg(instant(until));
                audit(&mut call, actor, "pause", queue, Some(reason));
                call
            })
            .collect();
        self.server.ask_each(Effect::Promises, &calls).await.map(drop)
    }

    pub(super) async fn resume_queue(&self, queue: &Name, actor: &Actor, now: Option<Timestamp>) -> Result<()> {
        let shards = self.shards_of(queue).await?;
        self.enrol(&shards).await?;
        let calls: Vec<Cmd> = shards
            .iter()
            .map(|shard| {
                let mut call = function("resume", &[self.base(shard)]);
                call.arg(instant(now));
                audit(&mut call, actor, "resume", queue, None);
                call
            })
            .collect();
        self.server.ask_each(Effect::Promises, &calls).await?;
        self.wakes.work();
        Ok(())
    }

    pub(super) async fn import_jobs(&self, jobs: &[Exported], now: Option<Timestamp>) -> Result<u64> {
        let at = self.instant_or_now(now).await?;
        let partitions = self.partitions().await?;
        let shards: Vec<Tag> = jobs.iter().map(|exported| partitions.tag_of_known(&exported.job)).collect();
        self.enrol(&shards).await?;
        let calls: Vec<Cmd> = jobs
            .iter()
            .zip(&shards)
            .map(|(exported, shard)| {
                let job = &exported.job;
                let mut call = function("import", &[self.base(shard)]);
                call.arg(instant(now)).arg(job.id.0.as_bytes()).arg(rows::imported(exported, at)).arg(job.payload.as_str());
                call
            })
            .collect();
        let new = self.server.ask_each(Effect::Promises, &calls).await?.into_iter().map(reply::count).sum::<Result<u64>>()?;
        self.deliver(now).await;
        self.wakes.work();
        Ok(new)
    }

    // ------------------------------------------------------------------ schedules

    async fn schedule_row(&self, name: &Name) -> Result<Option<ScheduleState>> {
        let call = redis::cmd("HGET").arg(format!("{}:schedules", self.common())).arg(name.as_str()).clone();
        let row: Option<Vec<u8>> = self.server.ask(Effect::Reads, &call).await?;
        Ok(row.and_then(|row| schedule(&row).ok()))
    }

    pub(super) async fn write_schedule(&self, schedule: &Schedule, actor: &Actor, now: Option<Timestamp>) -> Result<()> {
        let at = self.instant_or_now(now).await?;
        let text = Json::of(schedule);
        loop {
            let old = self.schedule_row(&schedule.name).await?;
            let Some(words) = schedule_words(old.as_ref(), schedule) else { return Ok(()) };
            let is_same_rule = old.as_ref().is_some_and(|old| old.schedule.rule == schedule.rule);
            let generation = old.as_ref().map_or(0, |old| old.generation);
            if let Some(old) = old.filter(|_| !is_same_rule) {
                self.close_generation(old, at).await?;
            }
            let mut call = function("put_schedule", &[self.common()]);
            call.arg(instant(now)).arg(schedule.name.as_str()).arg(text.as_str()).arg(generation).arg(i64::from(is_same_rule));
            audit(&mut call, actor, "put_schedule", &schedule.name, Some(&words));
            // Unless somebody else has put it meanwhile.
            if self.server.ask::<i64>(Effect::Promises, &call).await? == 1 {
                self.wakes.work();
                return Ok(());
            }
        }
    }

    /// What the former rule owes up to now is recorded while somebody still knows the rule (contract P8).
    async fn close_generation(&self, mut old: ScheduleState, now: Timestamp) -> Result<()> {
        for _ in 0..STEPS_OWED {
            let Some(plan) = owed(&old, now) else { return Ok(()) };
            let (through, more) = (plan.through, plan.more);
            self.fire_plan(&old, plan, Some(now)).await?;
            old.last = through;
            if !more {
                return Ok(());
            }
        }
        tracing::warn!(schedule = %old.schedule.name, through = %old.last, "the rule changed; the instants since of the former one are not recorded");
        Ok(())
    }

    pub(super) async fn fire_plan(&self, state: &ScheduleState, plan: Plan, now: Option<Timestamp>) -> Result<bool> {
        let mut call = function("fire", &[self.common()]);
        call.arg(instant(now)).arg(state.schedule.name.as_str()).arg(state.generation).arg(state.last.0).arg(plan.through.0);
        match plan.skipped {
            Some(run) => call.arg(run.from.0).arg(run.through.0).arg(run.count).arg(run.reason.as_str()),
            None => call.arg("").arg("").arg("").arg(""),
        };
        let (settings, partitions) = (self.known_settings().await?, self.partitions().await?);
        for due in &plan.jobs {
            let job = &due.job;
            let queue = job.queue.clone().unwrap_or_else(|| settings.kind(&job.kind).queue);
            let shard = partitions.tag_for(&queue, job).map_err(|error| Error::Invalid { index: 0, error })?;
            call.arg(due.due.0).arg(shard.as_str()).arg(job.id.0.as_bytes()).arg(asked::packed(&Asked::of(job))).arg(job.payload.as_str());
        }
        let fired = self.server.ask::<i64>(Effect::Promises, &call).await? == 1;
        self.deliver(now).await;
        self.wakes.work();
        Ok(fired)
    }

    pub(super) async fn all_schedules(&self) -> Result<Vec<ScheduleState>> {
        let call = redis::cmd("HVALS").arg(format!("{}:schedules", self.common())).clone();
        let rows: Vec<Vec<u8>> = self.server.ask(Effect::Reads, &call).await?;
        let mut states = Vec::with_capacity(rows.len());
        for row in rows {
            match schedule(&row) {
                Ok(state) => states.push(state),
                Err(error) => tracing::error!(error, "a stored schedule cannot be read; put it again"),
            }
        }
        states.sort_by(|a, b| a.schedule.name.cmp(&b.schedule.name));
        Ok(states)
    }

    pub(super) async fn drop_schedule(&self, name: &Name, actor: &Actor) -> Result<()> {
        let mut call = function("delete_schedule", &[self.common()]);
        call.arg("").arg(name.as_str());
        audit(&mut call, actor, "delete_schedule", name, None);
        self.touched_schedule(name, &call).await
    }

    pub(super) async fn hold_schedule(&self, name: &Name, paused: bool, actor: &Actor) -> Result<()> {
        let mut call = function("pause_schedule", &[self.common()]);
        call.arg("").arg(name.as_str()).arg(i64::from(paused));
        audit(&mut call, actor, if paused { "pause_schedule" } else { "resume_schedule" }, name, None);
        self.touched_schedule(name, &call).await
    }

    async fn touched_schedule(&self, name: &Name, call: &Cmd) -> Result<()> {
        match self.server.ask::<i64>(Effect::Promises, call).await? {
            0 => Err(Error::NotFound { what: format!("schedule {name}") }),
            _ => Ok(()),
        }
    }

    pub(super) async fn past_occurrences(&self, name: &Name, limit: usize) -> Result<Vec<Occurrence>> {
        let Some(last) = limit.checked_sub(1) else { return Ok(Vec::new()) };
        let call = redis::cmd("ZRANGE").arg(format!("{}:occurrences:{name}", self.common())).arg(0).arg(last).clone();
        let rows: Vec<Vec<u8>> = self.server.ask(Effect::Reads, &call).await?;
        Ok(rows.iter().filter_map(|row| occurrence(row)).collect())
    }
}

fn number(bytes: &[u8], at: usize) -> Option<i64> {
    bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map(i64::from_be_bytes)
}

/// paused, generation, last, the schedule.
fn schedule(row: &[u8]) -> std::result::Result<ScheduleState, String> {
    let short = || "cut short".to_owned();
    Ok(ScheduleState {
        schedule: serde_json::from_slice(row.get(17..).ok_or_else(short)?).map_err(|e| e.to_string())?,
        generation: number(row, 1).ok_or_else(short)?,
        last: Timestamp(number(row, 9).ok_or_else(short)?),
        paused: row.first() == Some(&b'1'),
    })
}

/// due, generation; then `j` and the job, or `s`, through, count and reason.
fn occurrence(row: &[u8]) -> Option<Occurrence> {
    let due = Timestamp(number(row, 0)?);
    let fate = row.get(16..)?;
    let fate = match fate.first()? {
        b'j' => Fate::Job { id: JobId(Uuid::from_slice(&fate[1..]).ok()?) },
        _ => Fate::Skipped {
            through: Timestamp(number(fate, 1)?),
            count: u64::try_from(number(fate, 9)?).ok()?,
            reason: std::str::from_utf8(&fate[17..]).ok().and_then(SkipReason::parse).unwrap_or(SkipReason::Missed),
        },
    };
    Some(Occurrence { due, fate })
}
