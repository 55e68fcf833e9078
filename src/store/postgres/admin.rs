//! What people and programs ask for beside the flow: configuration, import, schedules. The acts on one job are one statement
//! each and stand in `mod.rs`.

use super::{
    PostgresStore,
    error::Effect,
    params::{Param, Text, params},
    read,
};
use crate::{
    job::{
        HolderId, Json, KindSettings, Limits, LimitsInForce, LiveLimits, Name, OnExpire, OnHead, QueueSettings, Rate, Settings, State,
        Timestamp, Turn,
        schedule::{Plan, Schedule, ScheduleState},
    },
    store::{
        Actor, Cancelled, Error, Exported, Result,
        words::{STEPS_OWED, fingerprint, held_until, held_word, limits_action, ms, over_stored, owed, schedule_words},
    },
};
use serde_json::{Value, json};
use uuid::Uuid;

/// Whether they were put, or this act was done before, which changes nothing; and whether it was.
const PUT_LIMITS: &str = "SELECT windlass_v1.put_settings($1, $2, $3::text::json, $4, $5, $6, $7, $8, $9),
    EXISTS (SELECT FROM windlass.audit WHERE op_id = $4)";

impl PostgresStore {
    /// Runs an administrative statement that answers nothing.
    pub(super) async fn act(&self, statement: &'static str, params: Vec<Param>) -> Result<()> {
        self.lanes.other.rows(Effect::Writes, statement, params).await?;
        self.wakes.work();
        Ok(())
    }

    pub(super) async fn cancel_job(&self, id: Uuid, reason: &str, actor: &Actor, now: Option<Timestamp>) -> Result<Cancelled> {
        let params = params![id, reason.to_owned(), actor.op_id, actor.name.clone(), now.map(|t| t.0)];
        let row = self.lanes.other.one(Effect::Writes, "SELECT windlass_v1.cancel($1, $2, $3, $4, $5)", params).await?;
        self.wakes.work();
        Ok(match row.get(0) {
            "now" => Cancelled::Now,
            "asked" => {
                self.wakes.cancel();
                Cancelled::Asked
            }
            _ => Cancelled::AlreadyFinal,
        })
    }

    pub(super) async fn write_settings(&self, settings: &Settings) -> Result<()> {
        loop {
            let before = self.settings_text().await?;
            let after = over_stored(settings, before.as_deref());
            let payload_bytes = i64::try_from(after.payload_bytes.min(Limits::PAYLOAD_HARD)).unwrap_or(i64::MAX);
            let params = params![before, Json::of(&after).as_str().to_owned(), rules(&after), kinds(&after), payload_bytes];
            let put = "SELECT windlass_v1.configure($1, $2, $3::text::json, $4::text::json, $5)";
            // Unless somebody else has changed them meanwhile.
            if self.lanes.other.one(Effect::Writes, put, params).await?.get(0) {
                self.wakes.work();
                return Ok(());
            }
        }
    }

    pub(super) async fn change_limits(
        &self,
        queue: &Name,
        limits: Option<&LiveLimits>,
        reason: &str,
        actor: &Actor,
        now: Option<Timestamp>,
    ) -> Result<LimitsInForce> {
        let at = self.instant_or_now(now).await?;
        let turn = Turn { limits, at, by: &actor.name, reason };
        loop {
            let before = self.settings_text().await?;
            let stood = read::settings(before.as_deref())?;
            let (after, words) = stood.turned(queue, turn).map_err(|error| Error::from((0, error)))?;
            let (text, action, by) = (Json::of(&after).as_str().to_owned(), limits_action(limits).to_owned(), actor.name.clone());
            let params = params![before, text, rules(&after), actor.op_id, by, action, queue.to_string(), words, at.0];
            let row = self.lanes.other.one(Effect::Writes, PUT_LIMITS, params).await?;
            if row.get(0) {
                self.wakes.work();
                let was_done_before: bool = row.get(1);
                return Ok(if was_done_before { stood } else { after }.limits(queue));
            }
        }
    }

    pub(super) async fn import_jobs(&self, jobs: Vec<Exported>, now: Option<Timestamp>) -> Result<u64> {
        let at = self.instant_or_now(now).await?;
        let items: Vec<Text<Json>> = jobs.iter().map(|exported| Text(import_item(exported, at))).collect();
        let row = self
            .lanes
            .other
            .one(Effect::Writes, "SELECT windlass_v1.import($1::text[]::json[], $2)", params![items, now.map(|t| t.0)])
            .await?;
        self.wakes.work();
        Ok(u64::try_from(row.get::<_, i64>(0)).unwrap_or(0))
    }

    pub(super) async fn server_time(&self) -> Result<Timestamp> {
        let row = self.lanes.other.one(Effect::Reads, "SELECT windlass_v1.clock(NULL)", params![]).await?;
        Ok(Timestamp(row.get(0)))
    }

    pub(super) async fn write_schedule(&self, schedule: &Schedule, actor: &Actor, now: Option<Timestamp>) -> Result<()> {
        let at = self.instant_or_now(now).await?;
        let name = schedule.name.to_string();
        let get = "SELECT schedule, generation, last, paused FROM windlass.schedules WHERE name = $1";
        loop {
            let rows = self.lanes.other.rows(Effect::Reads, get, params![name.clone()]).await?;
            let seen = rows.first().map_or(0, |row| row.get::<_, i64>(1));
            let old = rows.first().map(read::schedule).and_then(std::result::Result::ok);
            let Some(words) = schedule_words(old.as_ref(), schedule) else { return Ok(()) };
            let is_same_rule = old.as_ref().is_some_and(|old| old.schedule.rule == schedule.rule);
            if let Some(old) = old.filter(|_| !is_same_rule) {
                self.close_generation(old, at).await?;
            }
            let text = Json::of(schedule).as_str().to_owned();
            let params = params![name.clone(), text, seen, is_same_rule, words, actor.op_id, actor.name.clone(), at.0];
            let put = "SELECT windlass_v1.put_schedule($1, $2, $3, $4, $5, $6, $7, $8)";
            // Unless somebody else has put it meanwhile.
            if self.lanes.other.one(Effect::Writes, put, params).await?.get(0) {
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
        let jobs: Vec<Text<Json>> = plan.jobs.iter().map(|due| Text(Json::of(&due.job))).collect();
        let prints: Vec<Option<Vec<u8>>> = plan
            .jobs
            .iter()
            .map(|due| (due.job.id_is_producers || due.job.idempotency_key.is_some()).then(|| fingerprint(&due.job).to_vec()))
            .collect();
        let skipped = plan.skipped.as_ref();
        let params = params![
            state.schedule.name.to_string(),
            state.generation,
            state.last.0,
            plan.through.0,
            skipped.map(|s| s.from.0),
            skipped.map(|s| s.through.0),
            skipped.map(|s| ms(s.count)),
            skipped.map(|s| s.reason.as_str().to_owned()),
            jobs,
            prints,
            plan.jobs.iter().map(|due| due.due.0).collect::<Vec<i64>>(),
            now.map(|t| t.0),
        ];
        let statement = "SELECT windlass_v1.fire($1, $2, $3, $4, $5, $6, $7, $8, $9::text[]::json[], $10, $11, $12)";
        let row = self.lanes.other.one(Effect::Writes, statement, params).await?;
        self.wakes.work();
        Ok(row.get(0))
    }

    pub(super) async fn change_schedule(&self, name: &Name, paused: Option<bool>, actor: &Actor) -> Result<()> {
        let now = self.clock_now();
        let params = params![name.to_string(), paused, actor.op_id, actor.name.clone(), now.map(|t| t.0)];
        self.act("SELECT windlass_v1.change_schedule($1, $2, $3, $4, $5)", params).await
    }
}

/// The kinds as statements look at them: rows of `windlass.kinds`.
fn kinds(settings: &Settings) -> String {
    let row = |(kind, s): (&Name, &KindSettings)| {
        json!({"kind": kind, "queue": s.queue, "priority": s.priority, "max_attempts": s.max_attempts, "timeout_ms": ms(s.timeout_ms),
            "park_for_ms": ms(s.park_for_ms), "dead_on_expire": s.on_expire == OnExpire::Dead})
    };
    settings.kinds.iter().map(row).collect::<Value>().to_string()
}

/// The queues' rules as statements look at them: rows of `windlass.rules`.
fn rules(settings: &Settings) -> String {
    let row = |(queue, s): (&Name, &QueueSettings)| {
        json!({"queue": queue, "fair": s.fair, "concurrency": s.concurrency, "tenant_concurrency": s.tenant_concurrency,
            "key_concurrency": s.key_concurrency, "rate_interval": s.rate.map(Rate::interval_us), "rate_burst": s.rate.map(|r| r.burst),
            "key_interval": s.key_rate.map(Rate::interval_us), "key_burst": s.key_rate.map(|r| r.burst),
            "skips_heads": s.on_head == OnHead::Skip, "weights": s.tenant_weights})
    };
    settings.queues.iter().map(row).collect::<Value>().to_string()
}

/// A job as `windlass_v1.import` reads it: the row's columns by name, and what stands beside the row.
fn import_item(exported: &Exported, now: Timestamp) -> Json {
    #[derive(serde::Serialize)]
    struct Item<'e> {
        #[serde(flatten)]
        plain: serde_json::Map<String, Value>,
        payload: &'e Json,
        extra: Json,
        #[serde(skip_serializing_if = "Option::is_none")]
        checkpoint: Option<&'e Json>,
    }
    let job = &exported.job;
    // What ran when it was exported runs again here.
    let ran = job.state == State::Running;
    let mut attempts: Vec<String> = job.attempts.iter().map(|attempt| Json::of(attempt).as_str().to_owned()).collect();
    if ran {
        let holder = job.holder.unwrap_or(HolderId(Uuid::nil()));
        let lost = crate::job::Attempt {
            number: job.attempt,
            started_at: job.started_at.unwrap_or(now),
            ended_at: now,
            holder,
            outcome: crate::job::AttemptOutcome::Lost,
            error: None,
            retry_at: None,
        };
        attempts.push(Json::of(&lost).as_str().to_owned());
    }
    let state = if ran { State::Queued } else { job.state };
    let unique = exported.unique.as_ref();
    let plain = json!({
        "id": job.id, "kind": job.kind, "queue": job.queue, "tenant": job.tenant, "priority": job.priority, "state": state.as_str(),
        "attempt": if ran { job.attempt.saturating_sub(1) } else { job.attempt }, "max_attempts": job.max_attempts,
        "timeout_ms": job.timeout_ms.map(ms), "created_at": job.created_at.0, "run_at": exported.due_at.0,
        "expires_at": job.expires_at.map(|t| t.0), "concurrency_key": job.concurrency_key, "ordered": job.ordered,
        "unique_key": job.unique_key, "unique_for": unique.map(|u| held_word(&u.held)), "deaths": job.deaths, "special": false,
        "attempts": (!attempts.is_empty()).then_some(attempts),
        "reason": job.reason, "park_until": job.run_at.0, "token": exported.token, "print": exported.fingerprint,
        "started_at": job.started_at.map(|t| t.0), "finished_at": job.finished_at.map(|t| t.0), "waits_for": exported.waits_for,
        "held": unique.map(|u| held_word(&u.held)), "held_until": unique.map(|u| held_until(&u.held, now)),
    });
    let Value::Object(plain) = plain else { return Json::trusted("{}") };
    Json::of(&Item { plain, payload: &job.payload, extra: Json::of(&job.extra), checkpoint: job.checkpoint.as_ref() })
}
