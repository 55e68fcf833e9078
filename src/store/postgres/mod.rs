//! The store on Postgres. Every step is one statement: a call of a routine that `windlass migrate` installed, which does the
//! step in the database, in a transaction of its own.

mod admin;
mod audit;
mod claims;
mod connection;
mod daemons;
mod edit;
mod enqueue;
mod error;
mod examine;
mod install;
mod lease;
mod listing;
pub mod migrate;
mod params;
mod pooler;
mod read;
mod rows;
mod settle;
mod standing;
mod tls;
mod tokens;
mod wake;

pub(super) use examine::examine;
pub use tls::connector as tls_connector;

use crate::{
    clock::Clock,
    job::{
        Applied, Audited, Daemon, Edit, Head, HolderId, Job, JobId, Json, Lease, Leased, LimitsInForce, LiveLimits, Name, NewJob, Nonce,
        SeenDaemon, Settings, Settlement, Standing, Timestamp, Token, TokenId,
        schedule::{Occurrence, Plan, Schedule, ScheduleState},
    },
    store::{
        Actor, Advanced, Beat, Cancelled, Durability, Enqueued, Error, Exported, Filter, Health, Keys, LeaseReply, LeaseRequest, Now, Page,
        Progress, Pruned, Quarantined, QueueStatus, Reaped, Result, Retention, Role, Store, TenantLoad,
        examine::{Extent, Finding},
        hostname, search,
        wakes::Wakes,
    },
};
use async_trait::async_trait;
use claims::Claims;
use connection::Lanes;
use enqueue::Desk;
use error::Effect;
use params::params;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wake::{Calls, Listener};

/// Times a process may die under a job that ran as the only suspect before the job is dead (contract 1).
const DEATHS: i32 = 3;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Milliseconds that a statement may take, connection and all, before the call answers `Unavailable`.
    pub timeout_ms: u64,
    /// A direct connection for notifications, where the store's own goes through a transaction pooler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen_url: Option<String>,
    /// Milliseconds for which a daemon that ran out of work still looks for more, 40 times a second, though it would be
    /// notified: its session stays in the processor's caches, and the next job starts sooner.
    pub light_sleep_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { timeout_ms: 10_000, listen_url: None, light_sleep_ms: 10_000 }
    }
}

pub struct PostgresStore {
    url: String,
    config: Config,
    lanes: Lanes,
    desk: Desk,
    clock: Clock,
    wakes: Wakes,
    calls: Calls,
    claims: Claims,
    /// The place where no other daemon can be; see `windlass.holders`.
    node: Option<String>,
    stop: CancellationToken,
}

impl PostgresStore {
    /// Connects to the database that `url` names.
    ///
    /// # Errors
    /// `Refused` when the URL cannot be read, or the database is not migrated; `Unavailable` when it does not answer.
    pub async fn open(url: &str, role: Role, config: Config, clock: Clock) -> Result<Self> {
        let lanes = Lanes::new(url, &config)?;
        let wakes = Wakes::new();
        let stop = CancellationToken::new();
        let calls = Calls::new();
        if matches!(role, Role::Daemon { .. }) {
            let direct = config.listen_url.is_none().then(|| lanes.direct.clone());
            let url = config.listen_url.clone().unwrap_or_else(|| url.to_owned());
            let (wakes, calls, lane, stop) = (wakes.clone(), calls.clone(), lanes.other.clone(), stop.clone());
            let light_sleep = Duration::from_millis(config.light_sleep_ms);
            let listener = Listener { url, wakes, calls, lane, direct, light_sleep, stop };
            tokio::spawn(listener.run());
        }
        let desk = Desk::open(lanes.enqueue.clone());
        let node = match &role {
            Role::Daemon { control: Some(address) } => Some(format!("{} {address}", hostname())),
            _ => None,
        };
        let store = Self { url: url.to_owned(), config, lanes, desk, clock, wakes, calls, claims: Claims::default(), node, stop };
        store.check_migrated().await?;
        store.take_back().await?;
        if matches!(role, Role::Daemon { .. }) {
            if store.health().await?.durability == Durability::Relaxed {
                tracing::warn!(
                    "by its settings (fsync, full_page_writes, synchronous_commit) this server may lose what it acknowledged; durability is relaxed"
                );
            }
            store.warm_up().await?;
        }
        Ok(store)
    }

    /// A database that lacks this release's routines was not migrated yet, or has left this release behind.
    async fn check_migrated(&self) -> Result<()> {
        let row = self.lanes.other.one(Effect::Reads, install::FIND, params![]).await?;
        match install::lack(row.get(0), row.get(1)) {
            Some((lack, remedy)) => Err(Error::Refused(format!("{lack}; {remedy}"))),
            None => Ok(()),
        }
    }

    /// The first job need not wait until its statements are planned.
    async fn warm_up(&self) -> Result<()> {
        const WARM: &str = "SELECT windlass_v1.warm()::text";
        let (leasing, settling) =
            tokio::join!(self.lanes.lease.one(Effect::Reads, WARM, params![]), self.lanes.settle.one(Effect::Reads, WARM, params![]));
        leasing.and(settling).map(drop)
    }

    /// A daemon that was here before is dead: its jobs run alone from now on, until one of them proves harmless.
    async fn take_back(&self) -> Result<()> {
        let Some(node) = &self.node else { return self.server_time().await.map(drop) };
        loop {
            let params = params![self.at(None), node.clone(), DEATHS];
            let row = self.lanes.settle.one(Effect::Writes, "SELECT * FROM windlass_v1.take_back($1, $2, $3)", params).await?;
            let (requeued, poisoned) = (count(row.get(0)), count(row.get(2)));
            if requeued + poisoned > 0 {
                tracing::warn!(requeued, poisoned, "took back the leases of a daemon that died");
            }
            if !row.get::<_, bool>(3) {
                return Ok(());
            }
        }
    }

    /// The server's clock decides, but where a test moves time by hand.
    fn now_or(&self, now: Now) -> Option<Timestamp> {
        now.or_else(|| self.clock_now())
    }

    fn clock_now(&self) -> Option<Timestamp> {
        match &self.clock {
            Clock::System => None,
            clock @ Clock::Manual(_) => Some(clock.now()),
        }
    }

    async fn instant_or_now(&self, now: Now) -> Result<Timestamp> {
        match self.now_or(now) {
            Some(now) => Ok(now),
            None => self.server_time().await,
        }
    }

    /// As a parameter.
    fn at(&self, now: Now) -> Option<i64> {
        self.now_or(now).map(|t| t.0)
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What a commit of ours survives by the server's settings; `on_disk` is whether its files survive their machine at all.
fn durability(synchronous_commit: &str, on_disk: bool, has_standbys: bool) -> Durability {
    match synchronous_commit {
        _ if !on_disk => Durability::Relaxed,
        "off" => Durability::Relaxed,
        // `remote_write` and up wait for a standby, where one is named.
        "on" | "remote_apply" | "remote_write" if has_standbys => Durability::Replicated,
        _ => Durability::Strict,
    }
}

fn count(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

#[async_trait]
impl Store for PostgresStore {
    async fn enqueue(&self, jobs: Vec<NewJob>, now: Now) -> Result<Vec<Enqueued>> {
        let answers = self.desk.enqueue(jobs, self.now_or(now)).await?;
        self.wakes.work();
        Ok(answers)
    }

    async fn lease(&self, request: LeaseRequest, now: Now) -> Result<LeaseReply> {
        self.lease_jobs(request, self.now_or(now)).await
    }

    async fn leased_by(&self, nonce: Nonce) -> Result<Vec<Leased>> {
        self.leased_under(nonce).await
    }

    async fn heartbeat(&self, holder: HolderId, lease: Duration, held: Vec<Lease>, progress: Vec<Progress>, now: Now) -> Result<Beat> {
        self.beat(holder, lease, held, progress, self.now_or(now)).await
    }

    async fn announce(&self, daemon: &Daemon, lasts: Duration, now: Now) -> Result<()> {
        self.tell_of(daemon, lasts, self.now_or(now)).await
    }

    async fn goodbye(&self, holder: HolderId) -> Result<()> {
        self.end_holder(holder).await
    }

    async fn settle(&self, batch: Vec<Settlement>, now: Now) -> Result<Vec<Applied>> {
        let answers = self.settle_batch(batch, self.now_or(now)).await?;
        self.wakes.work();
        Ok(answers)
    }

    async fn advance(&self, now: Now) -> Result<Advanced> {
        let row = self.lanes.lease.one(Effect::Writes, "SELECT * FROM windlass_v1.advance($1)", params![self.at(now)]).await?;
        let counts: Vec<i64> = row.get(0);
        let of = |n: usize| counts.get(n).copied().map_or(0, count);
        let advanced = Advanced {
            due: of(0),
            admitted: of(1),
            expired: of(2),
            park_expired: of(3),
            more: row.get(1),
            next_due: row.get::<_, Option<i64>>(2).map(Timestamp),
            rewound: false,
        };
        if advanced.due + advanced.admitted > 0 {
            self.wakes.work();
        }
        Ok(advanced)
    }

    async fn reap(&self, now: Now) -> Result<Reaped> {
        let row =
            self.lanes.settle.one(Effect::Writes, "SELECT * FROM windlass_v1.reap($1, NULL, $2)", params![self.at(now), DEATHS]).await?;
        let reaped = Reaped { requeued: count(row.get(0)), suspects: count(row.get(1)), poisoned: count(row.get(2)) };
        if reaped.requeued > 0 {
            self.wakes.work();
        }
        Ok(reaped)
    }

    async fn prune(&self, retention: Retention, limit: usize, now: Now) -> Result<Pruned> {
        // A settlement can be asked about for an hour, whatever the retention (contract 3).
        let us = |hours: u64| i64::try_from(hours.max(1).saturating_mul(3_600_000_000)).unwrap_or(i64::MAX);
        let dead = (retention.dead_hours > 0).then(|| us(retention.dead_hours));
        let finished = us(retention.finished_hours);
        let turn = "SELECT * FROM windlass_v1.turn_partitions($1, $2)";
        let dropped = self.lanes.other.one(Effect::Writes, turn, params![finished, self.at(now)]).await?;
        let audit = (retention.audit_days > 0).then(|| us(retention.audit_days.saturating_mul(24)));
        let tokens = i64::try_from(Token::KEPT.as_micros()).unwrap_or(i64::MAX);
        let params = params![finished, dead, audit, tokens, i32::try_from(limit).unwrap_or(i32::MAX), self.at(now)];
        let pruned = self.lanes.other.one(Effect::Writes, "SELECT * FROM windlass_v1.prune($1, $2, $3, $4, $5, $6)", params).await?;
        let more = dropped.get::<_, bool>(1) || pruned.get::<_, bool>(1);
        Ok(Pruned { jobs: count(dropped.get(0)) + count(pruned.get(0)), more })
    }

    async fn cancel(&self, id: JobId, reason: &str, actor: &Actor, now: Now) -> Result<Cancelled> {
        self.cancel_job(id.0, reason, actor, self.now_or(now)).await
    }

    async fn run_now(&self, id: JobId, actor: &Actor, now: Now) -> Result<()> {
        let params = params![id.0, actor.op_id, actor.name.clone(), self.at(now)];
        self.act("SELECT windlass_v1.run_now($1, $2, $3, $4)", params).await
    }

    async fn edit(&self, id: JobId, edit: &Edit, actor: &Actor, now: Now) -> Result<()> {
        self.edit_job(id, edit, actor, self.now_or(now)).await
    }

    async fn redrive(&self, id: JobId, actor: &Actor, now: Now) -> Result<()> {
        let params = params![id.0, actor.op_id, actor.name.clone(), self.at(now)];
        self.act("SELECT windlass_v1.redrive($1, $2, $3, $4)", params).await
    }

    async fn unpark(&self, token: &str, answer: Option<Json>, actor: &Actor, now: Now) -> Result<JobId> {
        let answer = answer.map(|json| json.as_str().to_owned());
        let params = params![token.to_owned(), answer, actor.op_id, actor.name.clone(), self.at(now)];
        let row = self.lanes.other.one(Effect::Writes, "SELECT windlass_v1.answer($1, $2, $3, $4, $5)", params).await?;
        self.wakes.work();
        Ok(JobId(row.get(0)))
    }

    async fn unpark_kinds(&self, kinds: &[Name], now: Now) -> Result<u64> {
        let kinds: Vec<String> = kinds.iter().map(ToString::to_string).collect();
        let row = self.lanes.other.one(Effect::Writes, "SELECT windlass_v1.unpark_kinds($1, $2)", params![kinds, self.at(now)]).await?;
        self.wakes.work();
        Ok(count(row.get(0)))
    }

    async fn pause(&self, queue: &Name, reason: &str, until: Option<Timestamp>, actor: &Actor, now: Now) -> Result<()> {
        let params = params![queue.to_string(), reason.to_owned(), until.map(|t| t.0), actor.op_id, actor.name.clone(), self.at(now)];
        self.act("SELECT windlass_v1.pause($1, $2, $3, $4, $5, $6)", params).await
    }

    async fn set_limits(&self, queue: &Name, limits: Option<&LiveLimits>, reason: &str, actor: &Actor, now: Now) -> Result<LimitsInForce> {
        self.change_limits(queue, limits, reason, actor, self.now_or(now)).await
    }

    async fn resume(&self, queue: &Name, actor: &Actor, now: Now) -> Result<()> {
        let params = params![queue.to_string(), actor.op_id, actor.name.clone(), self.at(now)];
        self.act("SELECT windlass_v1.resume($1, $2, $3, $4)", params).await
    }

    async fn purge(&self, id: JobId, actor: &Actor, now: Now) -> Result<()> {
        let params = params![id.0, actor.op_id, actor.name.clone(), self.at(now)];
        self.act("SELECT windlass_v1.purge($1, $2, $3, $4)", params).await
    }

    async fn get(&self, id: JobId) -> Result<Option<Job>> {
        self.job(id).await
    }

    async fn get_each(&self, ids: &[JobId]) -> Result<Vec<Job>> {
        self.jobs(ids).await
    }

    async fn standing(&self, job: &Job, now: Now) -> Result<Standing> {
        self.standing_of(job, self.now_or(now)).await
    }

    async fn list(&self, filter: &Filter, cursor: Option<&str>, limit: usize) -> Result<Page<Job>> {
        if !filter.ids.is_empty() {
            return search::named(self, filter, cursor, limit).await;
        }
        search::page(filter, cursor, limit, |leg, room| self.look(filter, leg, room)).await
    }

    async fn queues(&self, now: Now) -> Result<Vec<QueueStatus>> {
        self.queue_list(self.instant_or_now(now).await?).await
    }

    async fn tenants(&self, after: Option<&str>, limit: usize) -> Result<Vec<TenantLoad>> {
        self.tenant_loads(after, limit).await
    }

    async fn daemons(&self) -> Result<Vec<SeenDaemon>> {
        self.all_daemons().await
    }

    async fn quarantined(&self, limit: usize) -> Result<Vec<Quarantined>> {
        self.quarantine_list(limit).await
    }

    async fn record(&self, tenant: Option<&Name>, collection: &Name, key: &str) -> Result<Option<Json>> {
        self.record_value(tenant, collection, key).await
    }

    async fn health(&self) -> Result<Health> {
        let ask = "SELECT current_setting('server_version'), pg_is_in_recovery(), current_setting('synchronous_commit'), \
            current_setting('fsync')::boolean AND current_setting('full_page_writes')::boolean, current_setting('synchronous_standby_names') <> '', \
            (SELECT max(version)::bigint FROM windlass.migrations)";
        let row = self.lanes.other.one(Effect::Reads, ask, params![]).await?;
        if row.get(1) {
            return Err(Error::Unavailable("this server is a standby; waiting for the one that takes writes".into()));
        }
        let durability = durability(row.get(2), row.get(3), row.get(4));
        Ok(Health { store: "postgres", version: row.get(0), schema_version: row.get::<_, Option<i64>>(5).unwrap_or(0), durability })
    }

    async fn examine(&self, extent: Extent) -> Result<Vec<Finding>> {
        examine(&self.url, &self.config, extent).await
    }

    async fn settings(&self) -> Result<Settings> {
        read::settings(self.settings_text().await?.as_deref())
    }

    async fn configure(&self, settings: &Settings) -> Result<()> {
        self.write_settings(settings).await
    }

    async fn export(&self, cursor: Option<&str>, limit: usize) -> Result<Page<Exported>> {
        self.export_page(cursor, limit).await
    }

    async fn import(&self, jobs: Vec<Exported>, now: Now) -> Result<u64> {
        self.import_jobs(jobs, self.now_or(now)).await
    }

    async fn put_schedule(&self, schedule: &Schedule, actor: &Actor, now: Now) -> Result<()> {
        self.write_schedule(schedule, actor, self.now_or(now)).await
    }

    async fn schedules(&self) -> Result<Vec<ScheduleState>> {
        self.schedule_list().await
    }

    async fn delete_schedule(&self, name: &Name, actor: &Actor) -> Result<()> {
        self.change_schedule(name, None, actor).await
    }

    async fn pause_schedule(&self, name: &Name, paused: bool, actor: &Actor) -> Result<()> {
        self.change_schedule(name, Some(paused), actor).await
    }

    async fn fire(&self, state: &ScheduleState, plan: Plan, now: Now) -> Result<bool> {
        self.fire_plan(state, plan, self.now_or(now)).await
    }

    async fn occurrences(&self, name: &Name, limit: usize) -> Result<Vec<Occurrence>> {
        self.occurrence_list(name, limit).await
    }

    async fn put_token(&self, token: &Token, actor: &Actor) -> Result<()> {
        self.keep_token(token, actor).await
    }

    async fn tokens(&self) -> Result<Vec<Token>> {
        self.all_tokens().await
    }

    async fn keys(&self) -> Result<Keys> {
        self.live_tokens().await
    }

    async fn end_token(&self, id: &TokenId, at: Timestamp, actor: &Actor) -> Result<()> {
        self.end_kept_token(id, at, actor).await
    }

    async fn note(&self, actor: &Actor, action: &str, object: &str, detail: Option<&str>) -> Result<bool> {
        self.leave_note(actor, action, object, detail).await
    }

    async fn audit(&self, cursor: Option<&str>, limit: usize) -> Result<Page<Audited>> {
        self.audit_page(cursor, limit.clamp(1, 1000)).await
    }

    async fn audit_heads(&self) -> Result<Vec<Head>> {
        self.last_links().await
    }

    fn wakes(&self) -> watch::Receiver<u64> {
        self.wakes.on_work()
    }

    fn cancels(&self) -> watch::Receiver<u64> {
        self.wakes.on_cancel()
    }

    async fn now(&self) -> Result<Timestamp> {
        self.instant_or_now(None).await
    }

    async fn close(&self) {
        self.stop.cancel();
        self.lanes.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durability_is_what_the_server_s_settings_make_of_a_commit() {
        let table = [
            ("on", true, false, Durability::Strict),
            ("local", true, true, Durability::Strict),
            ("on", true, true, Durability::Replicated),
            ("remote_apply", true, true, Durability::Replicated),
            ("remote_write", true, false, Durability::Strict),
            ("off", true, true, Durability::Relaxed),
            ("on", false, true, Durability::Relaxed),
        ];
        for (synchronous_commit, on_disk, has_standbys, expected) in table {
            assert_eq!(durability(synchronous_commit, on_disk, has_standbys), expected, "{synchronous_commit} {on_disk} {has_standbys}");
        }
    }
}
