//! The store on Redis. Every step is one call of a function of our library, which does the step on the server, where nothing
//! comes between. A queue's keys carry its name as their tag, so that they live together in a cluster too.

mod admin;
mod asked;
mod audit;
mod cluster;
mod connection;
mod daemons;
mod durability;
mod edit;
mod enqueue;
mod error;
mod examine;
mod gather;
mod lease;
mod library;
mod post;
mod read;
mod repartition;
mod reply;
mod rewind;
mod rows;
mod settings;
mod settle;
mod shards;
mod standing;
mod tenants;
mod tokens;
mod told;
mod wake;
mod witness;

pub use cluster::seeds;
pub use durability::Risk;
pub(super) use examine::examine;

use crate::{
    clock::Clock,
    job::{
        Applied, Audited, Daemon, Edit, Head, HolderId, Job, JobId, Json, Lease, Leased, LimitsInForce, LiveLimits, Name, NewJob, Nonce,
        SeenDaemon, Settings, Settlement, Standing, Timestamp, Token, TokenId,
        schedule::{Occurrence, Plan, Schedule, ScheduleState},
    },
    store::{
        Actor, Advanced, Beat, Cancelled, Enqueued, Exported, Filter, Health, Keys, LeaseReply, LeaseRequest, Now, Page, Progress, Pruned,
        Quarantined, QueueStatus, Reaped, Result, Retention, Role, Store, TenantLoad,
        examine::{Extent, Finding},
        hostname, search,
        wakes::Wakes,
        words::place_of,
    },
};
use async_trait::async_trait;
use connection::{Server, function};
use enqueue::instant;
use error::Effect;
use gather::Gathering;
use serde::{Deserialize, Serialize};
use shards::{Partitions, Tag};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
    time::Duration,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wake::Listener;

/// Times a process may die under a job that ran as the only suspect before the job is dead (contract 1).
const DEATHS: u32 = 3;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What the names of all keys begin with.
    pub prefix: String,
    /// Milliseconds that a call may take before it answers `Unavailable`.
    pub timeout_ms: u64,
    /// Replicas that must have what is acknowledged before it is: with 1 or more and a server that syncs each write, durability is
    /// `replicated`.
    pub replicas: u32,
    /// It must also be on the server's disk, and on those of these replicas, however often the server syncs by itself.
    pub on_disk: bool,
    /// Settings of the server that may lose jobs, and are put up with.
    pub accept: Vec<Risk>,
}

impl Default for Config {
    fn default() -> Self {
        Self { prefix: "windlass".into(), timeout_ms: 10_000, replicas: 0, on_disk: false, accept: Vec::new() }
    }
}

pub struct RedisStore {
    server: Server,
    config: Config,
    prefix: String,
    clock: Clock,
    wakes: Wakes,
    /// The place where no other daemon can be.
    node: Option<String>,
    known: Mutex<Known>,
    gathering: Gathering,
    /// Shards that others have made, and we have not enrolled yet.
    made: Arc<Mutex<BTreeSet<Tag>>>,
    /// Another program may have changed the settings.
    settings_are_old: Arc<AtomicBool>,
    stop: CancellationToken,
}

/// What the store needs not ask for again.
#[derive(Default)]
struct Known {
    settings: Option<Arc<Settings>>,
    /// Nobody has told us of any: the server had none when it was asked.
    settings_are_assumed: bool,
    partitions: Arc<Partitions>,
    /// By its number.
    shards: Arc<BTreeMap<i64, Tag>>,
    leased_from: BTreeSet<Tag>,
    turns: lease::Turns,
    epochs: rewind::Epochs,
    /// The server went back, and upkeep has not said so yet.
    went_back: bool,
    /// In a cluster, the suspect that each of our holders runs.
    suspects: BTreeMap<HolderId, Lease>,
}

impl RedisStore {
    /// Connects to the server that `url` names.
    ///
    /// # Errors
    /// `Refused` when the URL cannot be read, or the server lacks our functions; `Unavailable` when it does not answer.
    pub async fn open(url: &str, role: Role, config: Config, clock: Clock) -> Result<Self> {
        let (wakes, stop, made) = (Wakes::new(), CancellationToken::new(), Arc::<Mutex<BTreeSet<Tag>>>::default());
        let settings_are_old = Arc::<AtomicBool>::default();
        let server = Server::connect(url, &config, stop.clone()).await?;
        durability::check(&server, &config).await?;
        library::check(&server).await?;
        let node = match &role {
            Role::Daemon { control: Some(address) } => Some(format!("{} {address}", hostname())),
            _ => None,
        };
        if matches!(role, Role::Daemon { .. }) {
            let channel = format!("{}:wake", config.prefix);
            let listener = Listener {
                clients: server.clients.clone(),
                made: made.clone(),
                settings_are_old: settings_are_old.clone(),
                channel,
                wakes: wakes.clone(),
                stop: stop.clone(),
            };
            tokio::spawn(listener.run());
        }
        let store = Self {
            server,
            prefix: config.prefix.clone(),
            config,
            clock,
            wakes,
            node,
            known: Mutex::default(),
            gathering: Gathering::default(),
            settings_are_old,
            made,
            stop,
        };
        store.take_back().await?;
        Ok(store)
    }

    /// Loads our functions into the server that `url` names.
    ///
    /// # Errors
    /// As those of [`RedisStore::open`].
    pub async fn migrate(url: &str, config: &Config) -> Result<()> {
        library::load(&Server::connect(url, config, CancellationToken::new()).await?).await
    }

    /// Whether the server that `url` names has them as they are in this program.
    ///
    /// # Errors
    /// As those of [`RedisStore::open`].
    pub async fn is_migrated(url: &str, config: &Config) -> Result<bool> {
        library::is_loaded(&Server::connect(url, config, CancellationToken::new()).await?).await
    }

    fn base(&self, shard: &Tag) -> String {
        format!("{}:{{{shard}}}", self.prefix)
    }

    /// Of what belongs to no queue.
    fn common(&self) -> String {
        format!("{}:{{_}}", self.prefix)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All shards of a queue: those that its jobs go to now, and others of it that are known.
    async fn shards_of(&self, queue: &Name) -> Result<BTreeSet<Tag>> {
        let partitions = self.partitions().await?;
        let mut shards: BTreeSet<Tag> = partitions.tags_of(queue).into_iter().collect();
        if shards.len() > 1 {
            shards.extend(self.shards_by_number().await?.values().filter(|tag| partitions.queue_of(tag) == *queue).cloned());
        }
        Ok(shards)
    }

    /// All shards that ever had a job, with their numbers.
    async fn all_shards(&self) -> Result<BTreeMap<Tag, i64>> {
        let call = redis::cmd("HGETALL").arg(format!("{}:queues", self.common())).clone();
        let rows: Vec<(String, i64)> = self.server.ask(Effect::Reads, &call).await?;
        let shards: BTreeMap<Tag, i64> = rows.into_iter().filter_map(|(tag, number)| Tag::new(&tag).map(|tag| (tag, number))).collect();
        self.known().shards = Arc::new(shards.iter().map(|(tag, number)| (*number, tag.clone())).collect());
        Ok(shards)
    }

    async fn shards_by_number(&self) -> Result<Arc<BTreeMap<i64, Tag>>> {
        let known = Arc::clone(&self.known().shards);
        if known.is_empty() {
            self.all_shards().await?;
            return Ok(Arc::clone(&self.known().shards));
        }
        Ok(known)
    }

    async fn shard_number(&self, shard: &Tag) -> Result<i64> {
        let known = self.known().shards.iter().find(|(_, tag)| *tag == shard).map(|(number, _)| *number);
        match known {
            Some(number) => Ok(number),
            None => {
                let shards = self.all_shards().await?;
                shards.get(shard).copied().map_or_else(|| error::odd("the shard's number"), Ok)
            }
        }
    }

    fn leases_from<'t>(&self, shards: impl Iterator<Item = &'t Tag>) {
        let mut known = self.known();
        for shard in shards {
            if !known.leased_from.contains(shard) {
                known.leased_from.insert(shard.clone());
            }
        }
    }

    fn leased_from(&self) -> Vec<Tag> {
        self.known().leased_from.iter().cloned().collect()
    }

    /// The answers of all shards to the same call.
    async fn on_all_shards(
        &self,
        name: &str,
        now: Option<Timestamp>,
        arguments: impl Fn(&mut redis::Cmd),
    ) -> Result<Vec<(Tag, redis::Value)>> {
        let shards = self.all_shards().await?;
        let calls: Vec<redis::Cmd> = shards
            .keys()
            .map(|shard| {
                let mut call = function(name, &[self.base(shard)]);
                call.arg(instant(now));
                arguments(&mut call);
                call
            })
            .collect();
        let told = self.server.ask_each(Effect::Writes, &calls).await?;
        self.deliver(now).await;
        Ok(shards.into_keys().zip(told).collect())
    }

    /// A daemon that was here before is dead: its jobs run alone from now on, until one of them proves harmless.
    async fn take_back(&self) -> Result<()> {
        let Some(node) = &self.node else { return Ok(()) };
        let daemons = self.all_daemons().await?;
        let remote: Vec<HolderId> = daemons.iter().filter(|seen| seen.daemon.remote).map(|seen| seen.daemon.holder).collect();
        loop {
            let (reaped, more) = self.reap_as(node, &remote, self.now_or(None)).await?;
            if reaped != Reaped::default() {
                tracing::warn!(requeued = reaped.requeued, poisoned = reaped.poisoned, "took back the leases of a daemon that died");
            }
            if !more {
                return Ok(());
            }
        }
    }

    /// `node`: whose holders are dead, if anybody's, but for `spared`.
    async fn reap_as(&self, node: &str, spared: &[HolderId], now: Option<Timestamp>) -> Result<(Reaped, bool)> {
        let (mut reaped, mut more) = (Reaped::default(), false);
        let arguments = |call: &mut ::redis::Cmd| {
            call.arg(node).arg(DEATHS);
            for holder in spared {
                call.arg(holder.0.as_bytes());
            }
        };
        for (_, told) in self.on_all_shards("reap", now, arguments).await? {
            let [requeued, suspects, poisoned, is_more] = reply::fixed(told)?;
            reaped.requeued += reply::count(requeued)?;
            reaped.suspects += reply::count(suspects)?;
            reaped.poisoned += reply::count(poisoned)?;
            more |= reply::number(is_more)? == 1;
        }
        Ok((reaped, more))
    }

    async fn server_time(&self) -> Result<Timestamp> {
        let (seconds, micros): (i64, i64) = self.server.ask(Effect::Reads, &redis::cmd("TIME")).await?;
        Ok(Timestamp(seconds * 1_000_000 + micros))
    }

    /// The server's clock decides, but where a test moves time by hand.
    fn now_or(&self, now: Now) -> Option<Timestamp> {
        now.or_else(|| match &self.clock {
            Clock::System => None,
            clock @ Clock::Manual(_) => Some(clock.now()),
        })
    }

    async fn instant_or_now(&self, now: Now) -> Result<Timestamp> {
        match self.now_or(now) {
            Some(now) => Ok(now),
            None => self.server_time().await,
        }
    }
}

impl Drop for RedisStore {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[async_trait]
impl Store for RedisStore {
    async fn enqueue(&self, jobs: Vec<NewJob>, now: Now) -> Result<Vec<Enqueued>> {
        self.enqueue_together(jobs, self.now_or(now)).await
    }

    async fn lease(&self, request: LeaseRequest, now: Now) -> Result<LeaseReply> {
        self.lease_jobs(request, self.now_or(now)).await
    }

    async fn leased_by(&self, nonce: Nonce) -> Result<Vec<Leased>> {
        self.leased_under(nonce).await
    }

    async fn heartbeat(&self, holder: HolderId, lease: Duration, held: Vec<Lease>, progress: Vec<Progress>, now: Now) -> Result<Beat> {
        self.beat(holder, lease, &held, &progress, self.now_or(now)).await
    }

    async fn announce(&self, daemon: &Daemon, lasts: Duration, now: Now) -> Result<()> {
        self.tell_of(daemon, lasts, self.now_or(now)).await
    }

    async fn goodbye(&self, holder: HolderId) -> Result<()> {
        self.end_holder(holder).await
    }

    async fn settle(&self, batch: Vec<Settlement>, now: Now) -> Result<Vec<Applied>> {
        // What this brings to those who sleep, the library tells them.
        self.settle_batch(&batch, self.now_or(now)).await
    }

    async fn advance(&self, now: Now) -> Result<Advanced> {
        let now = self.now_or(now);
        let mut advanced = Advanced::default();
        let made = std::mem::take(&mut *self.made.lock().unwrap_or_else(PoisonError::into_inner));
        self.enrol(&made).await?;
        let seen = self.known().epochs.clone();
        let mut epochs = BTreeMap::new();
        for (shard, told) in self.on_all_shards("advance", now, |_| ()).await? {
            let [due, admitted, expired, parks, more, next_due, epoch] = reply::fixed(told)?;
            epochs.insert(shard, reply::number(epoch)?);
            advanced.due += reply::count(due)?;
            advanced.admitted += reply::count(admitted)?;
            advanced.expired += reply::count(expired)?;
            advanced.park_expired += reply::count(parks)?;
            advanced.more |= reply::number(more)? == 1;
            advanced.next_due = [advanced.next_due, reply::maybe_time(next_due)?].into_iter().flatten().min();
        }
        advanced.rewound = self.look_for_rewind(&seen, &epochs).await?;
        if advanced.due + advanced.admitted > 0 {
            self.wakes.work();
        }
        Ok(advanced)
    }

    async fn reap(&self, now: Now) -> Result<Reaped> {
        let (reaped, _) = self.reap_as("", &[], self.now_or(now)).await?;
        if reaped.requeued > 0 {
            self.wakes.work();
        }
        Ok(reaped)
    }

    async fn prune(&self, retention: Retention, limit: usize, now: Now) -> Result<Pruned> {
        let now = self.instant_or_now(now).await?;
        // A settlement can be asked about for an hour, whatever the retention (contract 3).
        let before = |hours: u64| now.minus(Duration::from_secs(hours.max(1).saturating_mul(3600)));
        let finished = before(retention.finished_hours);
        let dead = if retention.dead_hours == 0 { 0 } else { before(retention.dead_hours).0 };
        let audit = if retention.audit_days == 0 { String::new() } else { before(retention.audit_days.saturating_mul(24)).0.to_string() };
        let mut pruned = Pruned::default();
        let told = self.on_all_shards("prune", Some(now), |call| _ = call.arg(finished.0).arg(dead).arg(limit).arg(&audit)).await?;
        for (_, told) in told {
            let [jobs, more] = reply::fixed(told)?;
            pruned.jobs += reply::count(jobs)?;
            pruned.more |= reply::number(more)? == 1;
        }
        let call = function("prune_common", &[self.common()])
            .arg(now.0)
            .arg(limit)
            .arg(finished.0)
            .arg(&audit)
            .arg(now.minus(Token::KEPT).0)
            .clone();
        pruned.more |= self.server.ask::<i64>(Effect::Writes, &call).await? == 1;
        Ok(pruned)
    }

    async fn cancel(&self, id: JobId, reason: &str, actor: &Actor, now: Now) -> Result<Cancelled> {
        self.cancel_job(id, reason, actor, self.now_or(now)).await
    }

    async fn run_now(&self, id: JobId, actor: &Actor, now: Now) -> Result<()> {
        self.make_due(id, actor, self.now_or(now)).await
    }

    async fn edit(&self, id: JobId, edit: &Edit, actor: &Actor, now: Now) -> Result<()> {
        self.edit_job(id, edit, actor, self.now_or(now)).await
    }

    async fn redrive(&self, id: JobId, actor: &Actor, now: Now) -> Result<()> {
        self.redrive_job(id, actor, self.now_or(now)).await
    }

    async fn unpark(&self, token: &str, answer: Option<Json>, actor: &Actor, now: Now) -> Result<JobId> {
        self.unpark_by(token, answer.as_ref(), actor, self.now_or(now)).await
    }

    async fn unpark_kinds(&self, kinds: &[Name], now: Now) -> Result<u64> {
        self.wake_kinds(kinds, self.now_or(now)).await
    }

    async fn pause(&self, queue: &Name, reason: &str, until: Option<Timestamp>, actor: &Actor, now: Now) -> Result<()> {
        self.pause_queue(queue, reason, until, actor, self.now_or(now)).await
    }

    async fn set_limits(&self, queue: &Name, limits: Option<&LiveLimits>, reason: &str, actor: &Actor, now: Now) -> Result<LimitsInForce> {
        self.change_limits(queue, limits, reason, actor, self.now_or(now)).await
    }

    async fn resume(&self, queue: &Name, actor: &Actor, now: Now) -> Result<()> {
        self.resume_queue(queue, actor, self.now_or(now)).await
    }

    async fn repartition(&self, queue: &Name, partitions: u32, actor: &Actor) -> Result<()> {
        self.spread_over(queue, partitions, actor).await
    }

    async fn purge(&self, id: JobId, actor: &Actor, now: Now) -> Result<()> {
        self.purge_job(id, actor, self.now_or(now)).await
    }

    async fn get(&self, id: JobId) -> Result<Option<Job>> {
        self.get_job(id).await
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
        self.queue_statuses(self.instant_or_now(now).await?).await
    }

    async fn tenants(&self, after: Option<&str>, limit: usize) -> Result<Vec<TenantLoad>> {
        self.tenant_loads(after, limit).await
    }

    async fn daemons(&self) -> Result<Vec<SeenDaemon>> {
        self.all_daemons().await
    }

    async fn quarantined(&self, limit: usize) -> Result<Vec<Quarantined>> {
        self.quarantine_rows(limit).await
    }

    async fn record(&self, tenant: Option<&Name>, collection: &Name, key: &str) -> Result<Option<Json>> {
        self.read_record(tenant, collection, key).await
    }

    async fn health(&self) -> Result<Health> {
        let settings = durability::read(&self.server).await?;
        let store = if self.server.is_cluster() { "redis-cluster" } else { "redis" };
        Ok(Health { store, version: settings.version, schema_version: 1, durability: settings.durability })
    }

    async fn examine(&self, extent: Extent) -> Result<Vec<Finding>> {
        examine::examine_server(&self.server, &self.config, extent).await
    }

    async fn settings(&self) -> Result<Settings> {
        // What a server has forgotten, we still know.
        let stored = settings::parse(&self.stored_settings().await?)?;
        Ok(stored.map(|stored| (*self.know_settings(stored)).clone()).unwrap_or_default())
    }

    async fn configure(&self, settings: &Settings) -> Result<()> {
        self.configure_as(settings).await
    }

    async fn export(&self, cursor: Option<&str>, limit: usize) -> Result<Page<Exported>> {
        self.export_jobs(cursor, limit.min(1000)).await
    }

    async fn import(&self, jobs: Vec<Exported>, now: Now) -> Result<u64> {
        self.import_jobs(&jobs, self.now_or(now)).await
    }

    async fn put_schedule(&self, schedule: &Schedule, actor: &Actor, now: Now) -> Result<()> {
        self.write_schedule(schedule, actor, self.now_or(now)).await
    }

    async fn schedules(&self) -> Result<Vec<ScheduleState>> {
        self.all_schedules().await
    }

    async fn delete_schedule(&self, name: &Name, actor: &Actor) -> Result<()> {
        self.drop_schedule(name, actor).await
    }

    async fn pause_schedule(&self, name: &Name, paused: bool, actor: &Actor) -> Result<()> {
        self.hold_schedule(name, paused, actor).await
    }

    async fn fire(&self, state: &ScheduleState, plan: Plan, now: Now) -> Result<bool> {
        self.fire_plan(state, plan, self.now_or(now)).await
    }

    async fn occurrences(&self, name: &Name, limit: usize) -> Result<Vec<Occurrence>> {
        self.past_occurrences(name, limit).await
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
        self.leave_note(&audit::Act { actor, action, object, detail }).await
    }

    async fn audit(&self, cursor: Option<&str>, limit: usize) -> Result<Page<Audited>> {
        self.audit_page(place_of(cursor)?.as_ref(), limit.clamp(1, 1000)).await
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
    }
}
