//! Wraps any store once: every call leaves its time and result in the metrics and runs in a span, so that drivers carry
//! neither. The daemon wraps the store it hands out; a command that opens one for a moment does not.

use super::{
    Actor, Advanced, Beat, Cancelled, Enqueued, Error, Exported, Filter, Health, Keys, LeaseReply, LeaseRequest, Now, Page, Progress,
    Pruned, Quarantined, QueueStatus, Reaped, Result, Retention, Store, TenantLoad,
    examine::{Extent, Finding},
};
use crate::{
    job::{
        Applied, Audited, Daemon, Edit, Head, HolderId, Job, JobId, Json, Lease, Leased, LimitsInForce, LiveLimits, Name, NewJob, Nonce,
        SeenDaemon, Settings, Settlement, Standing, Timestamp, Token, TokenId,
        schedule::{Occurrence, Plan, Schedule, ScheduleState},
    },
    telemetry::Metrics,
};
use async_trait::async_trait;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::watch;
use tracing::Instrument as _;

pub struct Instrumented {
    store: Arc<dyn Store>,
    metrics: Metrics,
}

impl Instrumented {
    #[must_use]
    pub fn new(store: Arc<dyn Store>, metrics: Metrics) -> Self {
        Self { store, metrics }
    }

    async fn measure<T>(&self, op: &'static str, call: impl Future<Output = Result<T>>) -> Result<T> {
        let began = Instant::now();
        let answer = call.instrument(tracing::debug_span!("store", op)).await;
        let result = answer.as_ref().map_or_else(Error::label, |_| "ok");
        self.metrics.store_operations.with_label_values(&[op, result]).observe(began.elapsed().as_secs_f64());
        self.metrics.store_up.with_label_values::<&str>(&[]).set(i64::from(answer.as_ref().err().is_none_or(is_an_answer)));
        answer
    }
}

/// The store did its work and said no; everything else means that it could not work.
const fn is_an_answer(error: &Error) -> bool {
    !matches!(error, Error::Unavailable(_) | Error::Unknown(_) | Error::Corrupt(_))
}

#[async_trait]
impl Store for Instrumented {
    async fn enqueue(&self, jobs: Vec<NewJob>, now: Now) -> Result<Vec<Enqueued>> {
        self.measure("enqueue", self.store.enqueue(jobs, now)).await
    }

    async fn lease(&self, request: LeaseRequest, now: Now) -> Result<LeaseReply> {
        self.measure("lease", self.store.lease(request, now)).await
    }

    async fn leased_by(&self, nonce: Nonce) -> Result<Vec<Leased>> {
        self.measure("leased_by", self.store.leased_by(nonce)).await
    }

    async fn heartbeat(&self, holder: HolderId, lease: Duration, held: Vec<Lease>, progress: Vec<Progress>, now: Now) -> Result<Beat> {
        self.measure("heartbeat", self.store.heartbeat(holder, lease, held, progress, now)).await
    }

    async fn announce(&self, daemon: &Daemon, lasts: Duration, now: Now) -> Result<()> {
        self.measure("announce", self.store.announce(daemon, lasts, now)).await
    }

    async fn goodbye(&self, holder: HolderId) -> Result<()> {
        self.measure("goodbye", self.store.goodbye(holder)).await
    }

    async fn settle(&self, batch: Vec<Settlement>, now: Now) -> Result<Vec<Applied>> {
        self.measure("settle", self.store.settle(batch, now)).await
    }

    async fn advance(&self, now: Now) -> Result<Advanced> {
        let advanced = self.measure("advance", self.store.advance(now)).await?;
        self.metrics.store_rewinds.with_label_values::<&str>(&[]).inc_by(u64::from(advanced.rewound));
        Ok(advanced)
    }

    async fn reap(&self, now: Now) -> Result<Reaped> {
        self.measure("reap", self.store.reap(now)).await
    }

    async fn prune(&self, retention: Retention, limit: usize, now: Now) -> Result<Pruned> {
        self.measure("prune", self.store.prune(retention, limit, now)).await
    }

    async fn cancel(&self, id: JobId, reason: &str, actor: &Actor, now: Now) -> Result<Cancelled> {
        self.measure("cancel", self.store.cancel(id, reason, actor, now)).await
    }

    async fn run_now(&self, id: JobId, actor: &Actor, now: Now) -> Result<()> {
        self.measure("run_now", self.store.run_now(id, actor, now)).await
    }

    async fn edit(&self, id: JobId, edit: &Edit, actor: &Actor, now: Now) -> Result<()> {
        self.measure("edit", self.store.edit(id, edit, actor, now)).await
    }

    async fn redrive(&self, id: JobId, actor: &Actor, now: Now) -> Result<()> {
        self.measure("redrive", self.store.redrive(id, actor, now)).await
    }

    async fn unpark(&self, token: &str, answer: Option<Json>, actor: &Actor, now: Now) -> Result<JobId> {
        self.measure("unpark", self.store.unpark(token, answer, actor, now)).await
    }

    async fn unpark_kinds(&self, kinds: &[Name], now: Now) -> Result<u64> {
        self.measure("unpark_kinds", self.store.unpark_kinds(kinds, now)).await
    }

    async fn pause(&self, queue: &Name, reason: &str, until: Option<Timestamp>, actor: &Actor, now: Now) -> Result<()> {
        self.measure("pause", self.store.pause(queue, reason, until, actor, now)).await
    }

    async fn repartition(&self, queue: &Name, partitions: u32, actor: &Actor) -> Result<()> {
        self.measure("repartition", self.store.repartition(queue, partitions, actor)).await
    }

    async fn set_limits(&self, queue: &Name, limits: Option<&LiveLimits>, reason: &str, actor: &Actor, now: Now) -> Result<LimitsInForce> {
        self.measure("set_limits", self.store.set_limits(queue, limits, reason, actor, now)).await
    }

    async fn resume(&self, queue: &Name, actor: &Actor, now: Now) -> Result<()> {
        self.measure("resume", self.store.resume(queue, actor, now)).await
    }

    async fn purge(&self, id: JobId, actor: &Actor, now: Now) -> Result<()> {
        self.measure("purge", self.store.purge(id, actor, now)).await
    }

    async fn get(&self, id: JobId) -> Result<Option<Job>> {
        self.measure("get", self.store.get(id)).await
    }

    async fn get_each(&self, ids: &[JobId]) -> Result<Vec<Job>> {
        self.measure("get_each", self.store.get_each(ids)).await
    }

    async fn standing(&self, job: &Job, now: Now) -> Result<Standing> {
        self.measure("standing", self.store.standing(job, now)).await
    }

    async fn list(&self, filter: &Filter, cursor: Option<&str>, limit: usize) -> Result<Page<Job>> {
        self.measure("list", self.store.list(filter, cursor, limit)).await
    }

    async fn queues(&self, now: Now) -> Result<Vec<QueueStatus>> {
        self.measure("queues", self.store.queues(now)).await
    }

    async fn tenants(&self, after: Option<&str>, limit: usize) -> Result<Vec<TenantLoad>> {
        self.measure("tenants", self.store.tenants(after, limit)).await
    }

    async fn daemons(&self) -> Result<Vec<SeenDaemon>> {
        self.measure("daemons", self.store.daemons()).await
    }

    async fn quarantined(&self, limit: usize) -> Result<Vec<Quarantined>> {
        self.measure("quarantined", self.store.quarantined(limit)).await
    }

    async fn record(&self, tenant: Option<&Name>, collection: &Name, key: &str) -> Result<Option<Json>> {
        self.measure("record", self.store.record(tenant, collection, key)).await
    }

    async fn health(&self) -> Result<Health> {
        self.measure("health", self.store.health()).await
    }

    async fn examine(&self, extent: Extent) -> Result<Vec<Finding>> {
        self.measure("examine", self.store.examine(extent)).await
    }

    async fn settings(&self) -> Result<Settings> {
        self.measure("settings", self.store.settings()).await
    }

    async fn configure(&self, settings: &Settings) -> Result<()> {
        self.measure("configure", self.store.configure(settings)).await
    }

    async fn export(&self, cursor: Option<&str>, limit: usize) -> Result<Page<Exported>> {
        self.measure("export", self.store.export(cursor, limit)).await
    }

    async fn import(&self, jobs: Vec<Exported>, now: Now) -> Result<u64> {
        self.measure("import", self.store.import(jobs, now)).await
    }

    async fn put_schedule(&self, schedule: &Schedule, actor: &Actor, now: Now) -> Result<()> {
        self.measure("put_schedule", self.store.put_schedule(schedule, actor, now)).await
    }

    async fn schedules(&self) -> Result<Vec<ScheduleState>> {
        self.measure("schedules", self.store.schedules()).await
    }

    async fn delete_schedule(&self, name: &Name, actor: &Actor) -> Result<()> {
        self.measure("delete_schedule", self.store.delete_schedule(name, actor)).await
    }

    async fn put_token(&self, token: &Token, actor: &Actor) -> Result<()> {
        self.measure("put_token", self.store.put_token(token, actor)).await
    }

    async fn tokens(&self) -> Result<Vec<Token>> {
        self.measure("tokens", self.store.tokens()).await
    }

    async fn keys(&self) -> Result<Keys> {
        self.measure("keys", self.store.keys()).await
    }

    async fn end_token(&self, id: &TokenId, at: Timestamp, actor: &Actor) -> Result<()> {
        self.measure("end_token", self.store.end_token(id, at, actor)).await
    }

    async fn pause_schedule(&self, name: &Name, paused: bool, actor: &Actor) -> Result<()> {
        self.measure("pause_schedule", self.store.pause_schedule(name, paused, actor)).await
    }

    async fn fire(&self, state: &ScheduleState, plan: Plan, now: Now) -> Result<bool> {
        self.measure("fire", self.store.fire(state, plan, now)).await
    }

    async fn occurrences(&self, name: &Name, limit: usize) -> Result<Vec<Occurrence>> {
        self.measure("occurrences", self.store.occurrences(name, limit)).await
    }

    async fn note(&self, actor: &Actor, action: &str, object: &str, detail: Option<&str>) -> Result<bool> {
        self.measure("note", self.store.note(actor, action, object, detail)).await
    }

    async fn audit(&self, cursor: Option<&str>, limit: usize) -> Result<Page<Audited>> {
        self.measure("audit", self.store.audit(cursor, limit)).await
    }

    async fn audit_heads(&self) -> Result<Vec<Head>> {
        self.measure("audit_heads", self.store.audit_heads()).await
    }

    fn wakes(&self) -> watch::Receiver<u64> {
        self.store.wakes()
    }

    fn cancels(&self) -> watch::Receiver<u64> {
        self.store.cancels()
    }

    async fn now(&self) -> Result<Timestamp> {
        // Asked for with every look of every loop; a driver's own clock is no operation of the store.
        self.store.now().await
    }

    async fn close(&self) {
        self.store.close().await;
    }
}
