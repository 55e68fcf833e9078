//! The store on an embedded SQLite file. One writer thread, a few readers; leasing is one daemon's at a time, while other
//! processes may enqueue, read and administer by their own short transactions.

mod admin;
mod audit;
mod connection;
mod daemons;
mod edit;
mod enqueue;
mod error;
mod examine;
mod lease;
mod limits;
mod listing;
mod lock;
mod read;
mod rows;
mod schedules;
mod settle;
mod standing;
mod tenants;
mod tokens;
mod tx;
mod upkeep;
mod waiting;
mod writer;

pub(super) use examine::examine;
pub use examine::examine_deep;
pub use lock::{Announced, announced};

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
        search,
        wakes::Wakes,
        words::place_of,
    },
};
use async_trait::async_trait;
use lock::Lock;
use read::Readers;
use serde::{Deserialize, Serialize};
use std::{
    path::{Path, PathBuf},
    sync::Mutex,
    thread::JoinHandle,
    time::Duration,
};
use tokio::sync::watch;
use tx::Tx;
use writer::Writer;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `strict`: an acknowledged job survives a power cut. `relaxed`: about a second may be lost with the machine.
    pub durability: Durability,
    /// Milliseconds to wait for another program's write lock before a call answers `Unavailable`.
    pub busy_timeout_ms: u64,
    /// Page cache of each connection in KiB; it is filled only as far as it is used.
    pub cache_kib: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { durability: Durability::Strict, busy_timeout_ms: 10_000, cache_kib: 16 << 10 }
    }
}

pub struct SqliteStore {
    path: PathBuf,
    config: Config,
    clock: Clock,
    writer: Writer,
    readers: Readers,
    wakes: Wakes,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Of a daemon; given back when the store is closed or dropped.
    lock: Mutex<Option<Lock>>,
}

impl SqliteStore {
    /// Opens `path`, making the file if there is none.
    ///
    /// # Errors
    /// `Refused` when another daemon leases from it, or it is not ours; `Corrupt` when it is damaged; `Unavailable` when it
    /// cannot be opened, with the remedy.
    pub fn open(path: &Path, role: Role, config: Config, clock: Clock) -> Result<Self> {
        refuse_network_disk(path)?;
        refuse_unwritable(path)?;
        let lock = match role {
            Role::Daemon { control } => Some(Lock::take(path, control)?),
            Role::Client => None,
        };
        let wakes = Wakes::new();
        let readers = Readers::new(path.to_owned(), config.clone());
        let takes_back = lock.is_some();
        let (writer, thread) = Writer::start(path.to_owned(), config.clone(), clock.clone(), wakes.clone(), |tx: &mut Tx<'_>| {
            if takes_back {
                let now = tx.now(None);
                let reaped = tx.take_back_all(now)?;
                if reaped != Reaped::default() {
                    tracing::warn!(requeued = reaped.requeued, poisoned = reaped.poisoned, "took back the leases of a daemon that died");
                }
            }
            Ok(())
        })?;
        let (thread, lock) = (Mutex::new(Some(thread)), Mutex::new(lock));
        Ok(Self { path: path.to_owned(), config, clock, writer, readers, wakes, thread, lock })
    }

    /// Looks through the whole file for damage; slow on a large one.
    ///
    /// # Errors
    /// `Corrupt`, with what is damaged.
    pub async fn check(&self) -> Result<()> {
        self.readers.call(read::check).await
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// See `examine::file_system`.
fn refuse_network_disk(path: &Path) -> Result<()> {
    match examine::network_below(path) {
        Some(kind) => Err(Error::Refused(format!("{}, name a file on one", examine::on_network(path, kind)))),
        None => Ok(()),
    }
}

/// Waiting does not help against a missing folder or a missing right, as it does against a lock or a full disk.
fn refuse_unwritable(path: &Path) -> Result<()> {
    use std::io::ErrorKind::{IsADirectory, NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem};
    match connection::make_private(path) {
        Err(e) if matches!(e.kind(), IsADirectory | NotADirectory | NotFound | PermissionDenied | ReadOnlyFilesystem) => {
            let name = path.display();
            Err(Error::Refused(format!("{name} cannot be written ({e}); check that its folder exists and that you may write to both")))
        }
        _ => Ok(()),
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn enqueue(&self, jobs: Vec<NewJob>, now: Now) -> Result<Vec<Enqueued>> {
        self.writer.call(move |tx| tx.enqueue(&jobs, tx.now(now))).await
    }

    async fn lease(&self, request: LeaseRequest, now: Now) -> Result<LeaseReply> {
        self.may_lease()?;
        self.writer.call(move |tx| tx.lease(&request, tx.now(now))).await
    }

    async fn leased_by(&self, nonce: Nonce) -> Result<Vec<Leased>> {
        self.writer.call(move |tx| tx.leased_by(nonce)).await
    }

    async fn heartbeat(&self, holder: HolderId, lease: Duration, held: Vec<Lease>, progress: Vec<Progress>, now: Now) -> Result<Beat> {
        self.writer.call(move |tx| tx.heartbeat(holder, lease, &held, &progress, tx.now(now))).await
    }

    async fn announce(&self, daemon: &Daemon, lasts: Duration, now: Now) -> Result<()> {
        let daemon = daemon.clone();
        self.writer.call(move |tx| tx.announce(&daemon, lasts, tx.now(now))).await
    }

    async fn goodbye(&self, holder: HolderId) -> Result<()> {
        self.writer.call(move |tx| tx.goodbye(holder)).await
    }

    async fn settle(&self, batch: Vec<Settlement>, now: Now) -> Result<Vec<Applied>> {
        self.writer.call(move |tx| tx.settle(&batch, tx.now(now))).await
    }

    async fn advance(&self, now: Now) -> Result<Advanced> {
        self.writer
            .call(move |tx| {
                let now = tx.now(now);
                let advanced = tx.advance(now)?;
                let next_due = tx.next_due(&[], now)?;
                Ok(Advanced { next_due, ..advanced })
            })
            .await
    }

    async fn reap(&self, now: Now) -> Result<Reaped> {
        self.writer.call(move |tx| tx.reap(tx.now(now))).await
    }

    async fn prune(&self, retention: Retention, limit: usize, now: Now) -> Result<Pruned> {
        self.writer.call(move |tx| tx.prune(retention, limit, tx.now(now))).await
    }

    async fn cancel(&self, id: JobId, reason: &str, actor: &Actor, now: Now) -> Result<Cancelled> {
        let (reason, actor) = (reason.to_owned(), actor.clone());
        self.writer.call(move |tx| tx.cancel(id, &reason, &actor, tx.now(now))).await
    }

    async fn run_now(&self, id: JobId, actor: &Actor, now: Now) -> Result<()> {
        let actor = actor.clone();
        self.writer.call(move |tx| tx.run_now(id, &actor, tx.now(now))).await
    }

    async fn edit(&self, id: JobId, edit: &Edit, actor: &Actor, now: Now) -> Result<()> {
        let (edit, actor) = (edit.clone(), actor.clone());
        self.writer.call(move |tx| tx.edit(id, &edit, &actor, tx.now(now))).await
    }

    async fn redrive(&self, id: JobId, actor: &Actor, now: Now) -> Result<()> {
        let actor = actor.clone();
        self.writer.call(move |tx| tx.redrive(id, &actor, tx.now(now))).await
    }

    async fn unpark(&self, token: &str, answer: Option<Json>, actor: &Actor, now: Now) -> Result<JobId> {
        let (token, actor) = (token.to_owned(), actor.clone());
        self.writer.call(move |tx| tx.unpark(&token, answer.as_ref(), &actor, tx.now(now))).await
    }

    async fn unpark_kinds(&self, kinds: &[Name], now: Now) -> Result<u64> {
        let kinds = kinds.to_vec();
        self.writer.call(move |tx| tx.unpark_kinds(&kinds, tx.now(now))).await
    }

    async fn pause(&self, queue: &Name, reason: &str, until: Option<Timestamp>, actor: &Actor, now: Now) -> Result<()> {
        let (queue, reason, actor) = (queue.clone(), reason.to_owned(), actor.clone());
        self.writer.call(move |tx| tx.pause(&queue, &reason, until, &actor, tx.now(now))).await
    }

    async fn set_limits(&self, queue: &Name, limits: Option<&LiveLimits>, reason: &str, actor: &Actor, now: Now) -> Result<LimitsInForce> {
        let (queue, limits, reason, actor) = (queue.clone(), limits.cloned(), reason.to_owned(), actor.clone());
        self.writer.call(move |tx| tx.set_limits(&queue, limits.as_ref(), &reason, &actor, tx.now(now))).await
    }

    async fn resume(&self, queue: &Name, actor: &Actor, now: Now) -> Result<()> {
        let (queue, actor) = (queue.clone(), actor.clone());
        self.writer.call(move |tx| tx.resume(&queue, &actor, tx.now(now))).await
    }

    async fn purge(&self, id: JobId, actor: &Actor, now: Now) -> Result<()> {
        let actor = actor.clone();
        self.writer.call(move |tx| tx.purge(id, &actor, tx.now(now))).await
    }

    async fn get(&self, id: JobId) -> Result<Option<Job>> {
        self.readers.call(move |connection| read::get(connection, id)).await
    }

    async fn standing(&self, job: &Job, now: Now) -> Result<Standing> {
        let (job, now) = (job.clone(), now.unwrap_or_else(|| self.clock.now()));
        self.readers.call(move |connection| standing::standing(connection, &job, now)).await
    }

    async fn list(&self, filter: &Filter, cursor: Option<&str>, limit: usize) -> Result<Page<Job>> {
        if !filter.ids.is_empty() {
            return search::named(self, filter, cursor, limit).await;
        }
        search::page(filter, cursor, limit, |leg, room| {
            let filter = filter.clone();
            self.readers.call(move |connection| listing::look(connection, &filter, leg, room))
        })
        .await
    }

    async fn queues(&self, now: Now) -> Result<Vec<QueueStatus>> {
        let now = now.unwrap_or_else(|| self.clock.now());
        self.readers.call(move |connection| read::queues(connection, now)).await
    }

    async fn tenants(&self, after: Option<&str>, limit: usize) -> Result<Vec<TenantLoad>> {
        let after = after.map(ToOwned::to_owned);
        self.readers.call(move |connection| tenants::loads(connection, after.as_deref(), limit)).await
    }

    async fn daemons(&self) -> Result<Vec<SeenDaemon>> {
        self.readers.call(daemons::all).await
    }

    async fn quarantined(&self, limit: usize) -> Result<Vec<Quarantined>> {
        self.readers.call(move |connection| read::quarantined(connection, limit)).await
    }

    async fn record(&self, tenant: Option<&Name>, collection: &Name, key: &str) -> Result<Option<Json>> {
        let (tenant, collection, key) = (tenant.cloned(), collection.clone(), key.to_owned());
        self.readers.call(move |connection| read::record(connection, tenant.as_ref(), &collection, &key)).await
    }

    async fn health(&self) -> Result<Health> {
        // Through the writer: a store that can only be read is not healthy.
        self.writer.call(|tx| tx.one("SELECT 1", [], |_| Ok(())).map(drop)).await?;
        Ok(Health {
            store: "sqlite",
            version: rusqlite::version().to_owned(),
            schema_version: connection::SCHEMA_VERSION,
            durability: self.config.durability,
        })
    }

    async fn examine(&self, extent: Extent) -> Result<Vec<Finding>> {
        examine(&self.path, &self.config, extent).await
    }

    async fn settings(&self) -> Result<Settings> {
        self.readers.call(read::settings).await
    }

    async fn configure(&self, settings: &Settings) -> Result<()> {
        let settings = settings.clone();
        self.writer.call(move |tx| tx.configure(&settings, tx.now(None))).await
    }

    async fn export(&self, cursor: Option<&str>, limit: usize) -> Result<Page<Exported>> {
        let cursor = cursor.map(ToOwned::to_owned);
        self.readers.call(move |connection| read::export(connection, cursor.as_deref(), limit.clamp(1, 1000))).await
    }

    async fn import(&self, jobs: Vec<Exported>, now: Now) -> Result<u64> {
        self.writer.call(move |tx| tx.import(&jobs, tx.now(now))).await
    }

    async fn put_schedule(&self, schedule: &Schedule, actor: &Actor, now: Now) -> Result<()> {
        let (schedule, actor) = (schedule.clone(), actor.clone());
        self.writer.call(move |tx| tx.put_schedule(&schedule, &actor, tx.now(now))).await
    }

    async fn schedules(&self) -> Result<Vec<ScheduleState>> {
        self.readers.call(read::schedule_states).await
    }

    async fn delete_schedule(&self, name: &Name, actor: &Actor) -> Result<()> {
        let (name, actor) = (name.clone(), actor.clone());
        self.writer.call(move |tx| tx.delete_schedule(&name, &actor, tx.now(None))).await
    }

    async fn pause_schedule(&self, name: &Name, paused: bool, actor: &Actor) -> Result<()> {
        let (name, actor) = (name.clone(), actor.clone());
        self.writer.call(move |tx| tx.pause_schedule(&name, paused, &actor, tx.now(None))).await
    }

    async fn fire(&self, state: &ScheduleState, plan: Plan, now: Now) -> Result<bool> {
        let state = state.clone();
        self.writer.call(move |tx| tx.fire(&state, &plan, tx.now(now))).await
    }

    async fn occurrences(&self, name: &Name, limit: usize) -> Result<Vec<Occurrence>> {
        let name = name.clone();
        self.readers.call(move |connection| read::occurrences(connection, &name, limit)).await
    }

    async fn put_token(&self, token: &Token, actor: &Actor) -> Result<()> {
        let (token, actor) = (token.clone(), actor.clone());
        self.writer.call(move |tx| tx.put_token(&token, &actor, tx.now(None))).await
    }

    async fn tokens(&self) -> Result<Vec<Token>> {
        self.readers.call(tokens::all).await
    }

    async fn keys(&self) -> Result<Keys> {
        let now = self.clock.now();
        self.readers.call(move |connection| tokens::keys(connection, now)).await
    }

    async fn end_token(&self, id: &TokenId, at: Timestamp, actor: &Actor) -> Result<()> {
        let (id, actor) = (id.clone(), actor.clone());
        self.writer.call(move |tx| tx.end_token(&id, at, &actor, tx.now(None))).await
    }

    async fn note(&self, actor: &Actor, action: &str, object: &str, detail: Option<&str>) -> Result<bool> {
        let (actor, action, object, detail) = (actor.clone(), action.to_owned(), object.to_owned(), detail.map(ToOwned::to_owned));
        self.writer.call(move |tx| tx.audit(&actor, &action, &object, detail.as_deref(), tx.now(None))).await
    }

    async fn audit(&self, cursor: Option<&str>, limit: usize) -> Result<Page<Audited>> {
        let place = place_of(cursor)?;
        self.readers.call(move |connection| audit::page(connection, place.as_ref(), limit.clamp(1, 1000))).await
    }

    async fn audit_heads(&self) -> Result<Vec<Head>> {
        self.readers.call(audit::heads).await
    }

    fn wakes(&self) -> watch::Receiver<u64> {
        self.wakes.on_work()
    }

    fn cancels(&self) -> watch::Receiver<u64> {
        self.wakes.on_cancel()
    }

    async fn now(&self) -> Result<Timestamp> {
        Ok(self.clock.now())
    }

    async fn close(&self) {
        // The writer last: whoever closes last merges the log into the file, and a reader may not write.
        self.readers.close();
        self.writer.stop().await;
        let thread = self.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // It has ended; joining only collects it.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
        self.lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    }
}

impl SqliteStore {
    fn may_lease(&self) -> Result<()> {
        let holds = self.lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner).is_some();
        if holds { Ok(()) } else { Err(Error::Refused("only the daemon that holds the lock may lease from SQLite".into())) }
    }
}
