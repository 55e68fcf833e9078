//! The durable truth. One trait, one method per arrow of a job's life; each says what is true once it returns.
//!
//! Rules for every driver:
//! - A call that has begun runs to its own deadline; dropping the future does not cut it in half.
//! - The store's own clock decides; `now` is given by tests only.
//! - A write whose answer was lost can be asked about by its `op_id` (contract 3): enqueue by job id, lease by nonce,
//!   settle by (job, epoch, nonce), administration by the id of its audit row.
//! - One bad row never blocks the rest: it is quarantined with its reason.

pub mod dead;
mod error;
pub mod examine;
mod instrumented;
mod overview;
pub mod postgres;
pub mod redis;
mod search;
pub mod sqlite;
pub mod trail;
mod wakes;
pub mod within;
mod words;

pub use error::{Error, Result};
pub use instrumented::Instrumented;
pub use overview::{limits, queues};
pub use search::{Filter, LOOK, MOST_IDS, Page, Span};
pub use words::hostname;

use crate::job::{
    Applied, Audited, Daemon, Edit, Head, HolderId, InvalidEnvelope, Job, JobId, Json, Lease, Leased, LimitsInForce, LiveLimits, Name,
    NewJob, Nonce, Pause, SeenDaemon, Settings, Settlement, Standing, State, Timestamp, Token, TokenId,
    schedule::{Occurrence, Plan, Schedule, ScheduleState},
};
use async_trait::async_trait;
use examine::{Extent, Finding};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};
use tokio::sync::watch;
use uuid::Uuid;

/// Jobs that are read by their ids at the same time.
const READS_AT_ONCE: usize = 8;

/// `None` in production: the store's clock. Tests pass their own instants.
pub type Now = Option<Timestamp>;

/// The answer to one enqueued envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Enqueued {
    pub id: JobId,
    /// `queued` or `scheduled`; `parked` while dependencies are open. For a duplicate: where the holder stands.
    pub status: State,
    /// An earlier job holds the unique key or the idempotency key; `id` is that job's. The same id with the same body again
    /// is no duplicate but the same question, and gets the same answer.
    pub duplicate: bool,
}

/// A request for work. One round trip per store node.
#[derive(Clone, Debug)]
pub struct LeaseRequest {
    pub holder: HolderId,
    /// The call's `op_id`.
    pub nonce: Nonce,
    /// How many jobs of which queue at most; a queue that is not named is not looked at. Queues never wait for each other.
    pub queues: Vec<(Name, usize)>,
    /// Kinds this daemon can run. A job of another kind is parked with reason `unknown_kind`; [`Store::unpark_kinds`] wakes it.
    pub kinds: std::sync::Arc<std::collections::BTreeSet<Name>>,
    /// Stop once this many bytes of payload are in the batch (at least one job is granted).
    pub max_bytes: usize,
    /// How long the granted leases last without a heartbeat.
    pub lease: Duration,
}

#[derive(Debug, Default)]
pub struct LeaseReply {
    pub jobs: Vec<Leased>,
    /// When the next job becomes due or the next gate opens by time, so that the poller need not guess. None: nothing waits for time.
    pub next_due: Option<Timestamp>,
    /// The store stopped at a bound of its own and there may be more at once.
    pub more: bool,
    /// Nothing else is due, and whoever brings work from now on wakes this daemon: there is no need to ask again. A store that cannot tell
    /// says so of no reply with jobs.
    pub drained: bool,
}

/// What a running job wants known about itself.
#[derive(Clone, Debug)]
pub struct Progress {
    pub lease: Lease,
    pub value: Json,
}

#[derive(Debug, Default)]
pub struct Beat {
    /// Leases that are no longer the holder's: stop those runs.
    pub lost: Vec<Lease>,
    /// Leases whose job somebody asked to cancel: stop those runs and settle them as cancelled.
    pub cancel: Vec<Lease>,
    /// Live leases of the holder's that it did not name, at most 100: granted in an answer that is still on its way, or forgotten.
    pub strays: Vec<Lease>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reaped {
    /// Jobs back at the head of their lines.
    pub requeued: u64,
    /// Of those, jobs that will run alone (their holder's process died).
    pub suspects: u64,
    /// Jobs that took too many processes with them: dead, `poison`.
    pub poisoned: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Advanced {
    /// Scheduled jobs that became due.
    pub due: u64,
    /// Jobs that a gate let back into their line.
    pub admitted: u64,
    /// Jobs that reached `expires_at` unstarted.
    pub expired: u64,
    /// Parks that reached their deadline.
    pub park_expired: u64,
    pub next_due: Option<Timestamp>,
    /// A bound was reached; call again at once.
    pub more: bool,
    /// The store was seen to have forgotten what it acknowledged (contract P3).
    pub rewound: bool,
}

/// Who does an administrative act, and its `op_id`: the id of the audit row it leaves.
#[derive(Clone, Debug)]
pub struct Actor {
    pub op_id: Uuid,
    /// `cli:root`, `http:127.0.0.1`, a token's id …
    pub name: String,
}

impl Actor {
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { op_id: Uuid::now_v7(), name: name.into() }
    }

    /// The same, in another act.
    #[must_use]
    pub fn again(&self) -> Self {
        Self::new(self.name.clone())
    }
}

/// What a call on one job did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cancelled {
    /// It is cancelled now.
    Now,
    /// It runs; its holder was told and will settle it as cancelled.
    Asked,
    /// It was final before.
    AlreadyFinal,
}

/// One queue as people see it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QueueStatus {
    pub name: String,
    /// From counters, never from a scan. Final states count what is still kept.
    pub jobs: BTreeMap<State, u64>,
    pub paused: Option<Pause>,
    /// Age of the job at the head of the oldest line, in milliseconds since it became due.
    pub oldest_queued_ms: Option<u64>,
    /// A driver leaves it out; [`queues`] puts it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsInForce>,
}

/// A tenant that has jobs in lines or running now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TenantLoad {
    /// None: the jobs of no tenant, and those of queues that are not fair, in which tenants have no lines of their own.
    pub tenant: Option<Name>,
    /// Jobs that are due and stand in a line: neither scheduled nor parked, nor held back by a key.
    pub waiting: u64,
    pub running: u64,
}

/// A row that could not be read, out of everybody's way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quarantined {
    pub at: Timestamp,
    /// The table it stood in.
    pub place: String,
    pub reason: String,
    /// As much of the row as could be saved, as text.
    pub row: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pruned {
    /// Final jobs that are gone.
    pub jobs: u64,
    /// A bound was reached; call again.
    pub more: bool,
}

/// How long what is over stays.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Hours that completed and cancelled jobs stay.
    pub finished_hours: u64,
    /// Hours that dead letters stay; 0 = for ever.
    pub dead_hours: u64,
    /// Days that rows of the audit stay; 0 = for ever. The first row that is kept anchors the chain.
    pub audit_days: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { finished_hours: 7 * 24, dead_hours: 0, audit_days: 400 }
    }
}

/// The tokens that let somebody in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    pub live: Vec<Token>,
    /// Whether any was ever made, whatever became of it.
    pub is_any: bool,
}

/// What a positive enqueue answer survives (contract P1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// A crash of the store and of its machine.
    Strict,
    /// The same, and the loss of that machine: another has it too. What a server does, never what a configuration asks for.
    #[serde(skip_deserializing)]
    Replicated,
    /// A crash of the process; about a second may be lost with the machine.
    Relaxed,
}

#[derive(Clone, Debug, Serialize)]
pub struct Health {
    /// `sqlite`, `postgres`, `redis`, `redis-cluster`.
    pub store: &'static str,
    pub version: String,
    pub schema_version: i64,
    pub durability: Durability,
}

/// A job with everything that a fresh store needs to hold it, for `export` and `import`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Exported {
    pub job: Job,
    pub unique: Option<crate::job::Unique>,
    /// When it is due; for a parked job that is not when its park ends.
    pub due_at: Timestamp,
    /// The jobs it still waits for, of those its envelope named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits_for: Vec<JobId>,
    /// What an outside answer names a parked job by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Of the envelope, in hexadecimal, where the same id may come again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
}

#[async_trait]
pub trait Store: Send + Sync + 'static {
    // ------------------------------------------------------------------ enqueue

    /// Once it returns `Ok`, every job is durable in the store's declared class, or was a duplicate of one that is. All or
    /// nothing: on `Err` none of them was written. Asking again with the same ids gives the same answer and no second job.
    async fn enqueue(&self, jobs: Vec<NewJob>, now: Now) -> Result<Vec<Enqueued>>;

    // ------------------------------------------------------------------ lease and heartbeat

    /// Grants due jobs in order: priority, then tenant line by virtual time, then position. Limits and rates are checked in
    /// the same step; jobs refused by a gate leave their line for the gate's own.
    async fn lease(&self, request: LeaseRequest, now: Now) -> Result<LeaseReply>;

    /// What the lease call `nonce` granted that is still leased, for a caller whose answer was lost.
    async fn leased_by(&self, nonce: Nonce) -> Result<Vec<Leased>>;

    /// Renews all leases of `holder` for `lease` from now, in one statement, and records progress. Tells which of `held`
    /// are lost and which are to be cancelled.
    async fn heartbeat(&self, holder: HolderId, lease: Duration, held: Vec<Lease>, progress: Vec<Progress>, now: Now) -> Result<Beat>;

    /// From now on, for `lasts`, everybody sees the daemon as it says it is, in place of what it said before.
    async fn announce(&self, daemon: &Daemon, lasts: Duration, now: Now) -> Result<()>;

    /// The holder ends in order: it holds nothing any more, will not be taken for dead, and is no daemon any more.
    async fn goodbye(&self, holder: HolderId) -> Result<()>;

    // ------------------------------------------------------------------ settle

    /// Each item is applied under its own fence, in one commit, with its result, follow-ups, effects and usage; answers come
    /// in the order of the batch. A stale lease changes nothing. Asked again, an applied one answers `AlreadyApplied` for at
    /// least an hour.
    async fn settle(&self, batch: Vec<Settlement>, now: Now) -> Result<Vec<Applied>>;

    // ------------------------------------------------------------------ time passing

    /// Moves what is due: scheduled jobs, expired jobs, ended parks, gates that open by time. Bounded; see [`Advanced::more`].
    async fn advance(&self, now: Now) -> Result<Advanced>;

    /// Takes back the leases of holders whose time ran out. Jobs return to the head of their lines, no attempt charged.
    async fn reap(&self, now: Now) -> Result<Reaped>;

    /// Removes final jobs past their retention, and what only mattered for a time; at most `limit` of each sort a call.
    async fn prune(&self, retention: Retention, limit: usize, now: Now) -> Result<Pruned>;

    // ------------------------------------------------------------------ administration

    /// Cancels a job that waits, or asks the holder of one that runs.
    async fn cancel(&self, id: JobId, reason: &str, actor: &Actor, now: Now) -> Result<Cancelled>;

    /// Makes a scheduled or parked job due now. `NotAllowed` in any other state.
    async fn run_now(&self, id: JobId, actor: &Actor, now: Now) -> Result<()>;

    /// Changes a job that waits, or a dead letter. `NotAllowed` in any other state, where the change makes no sense, and when the payload
    /// that it was made for is another by now.
    async fn edit(&self, id: JobId, edit: &Edit, actor: &Actor, now: Now) -> Result<()>;

    /// Puts a dead job back into its queue with its attempts counted anew. Takes its unique key again, or answers
    /// `Error::Duplicate` and leaves it dead.
    async fn redrive(&self, id: JobId, actor: &Actor, now: Now) -> Result<()>;

    /// Wakes a parked job by the token its worker parked it with; `answer`, if given, becomes its checkpoint's `answer`.
    async fn unpark(&self, token: &str, answer: Option<Json>, actor: &Actor, now: Now) -> Result<JobId>;

    /// Wakes every job parked as `unknown_kind` whose kind is now known. Bounded; returns how many.
    async fn unpark_kinds(&self, kinds: &[Name], now: Now) -> Result<u64>;

    /// Nothing of the queue is leased before `until`, or until it is resumed. What runs goes on. The last pause is the one that holds.
    async fn pause(&self, queue: &Name, reason: &str, until: Option<Timestamp>, actor: &Actor, now: Now) -> Result<()>;

    async fn resume(&self, queue: &Name, actor: &Actor, now: Now) -> Result<()>;

    /// Changes a queue's limits, over what was changed before and over what the daemons' configuration says; None lifts all that was changed.
    /// In force with the next lease at every daemon, whatever is configured meanwhile: [`Store::configure`] leaves it standing. What runs goes on.
    /// Answers the queue's limits as they are from then on, so that nobody has to read them to tell that they were changed.
    ///
    /// # Errors
    /// `Invalid`, which names the limit, when one cannot hold; `NotAllowed` where the store has lost what was configured.
    async fn set_limits(&self, queue: &Name, limits: Option<&LiveLimits>, reason: &str, actor: &Actor, now: Now) -> Result<LimitsInForce>;

    /// Spreads a queue over another number of shards (see [`crate::job::QueueSettings::partitions`]).
    ///
    /// # Errors
    /// `NotAllowed` while jobs with keys live, and where the store is no Redis Cluster.
    async fn repartition(&self, queue: &Name, _partitions: u32, _actor: &Actor) -> Result<()> {
        Err(Error::NotAllowed(format!("only in a Redis Cluster has a queue several partitions; `{queue}` is in another store")))
    }

    /// Removes one dead letter for good.
    async fn purge(&self, id: JobId, actor: &Actor, now: Now) -> Result<()>;

    // ------------------------------------------------------------------ reading

    async fn get(&self, id: JobId) -> Result<Option<Job>>;

    /// Those of these jobs that there are, in any order.
    async fn get_each(&self, ids: &[JobId]) -> Result<Vec<Job>> {
        let found: Vec<Option<Job>> = stream::iter(ids.to_vec()).map(|id| self.get(id)).buffered(READS_AT_ONCE).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// What holds `job` back, or what becomes of it. Reads at most 2,000 rows.
    async fn standing(&self, job: &Job, now: Now) -> Result<Standing>;

    /// Newest first, at most `limit` (≤ 1000), and no more once they come to 8 MiB. Looks at [`LOOK`] rows at most.
    ///
    /// # Errors
    /// `Invalid` when the filter cannot be, or the cursor is none of this filter's.
    async fn list(&self, filter: &Filter, cursor: Option<&str>, limit: usize) -> Result<Page<Job>>;

    async fn queues(&self, now: Now) -> Result<Vec<QueueStatus>>;

    /// The tenants with jobs in lines or running, by name after `after`, at most `limit`; `""` stands for no tenant and is the first. From what
    /// the lines know of themselves, never from a scan of jobs; a moment old where producers write beside the daemon.
    async fn tenants(&self, after: Option<&str>, limit: usize) -> Result<Vec<TenantLoad>>;

    /// The daemons by their age, the oldest first; those that fell silent in the last hour too.
    async fn daemons(&self) -> Result<Vec<SeenDaemon>>;

    async fn quarantined(&self, limit: usize) -> Result<Vec<Quarantined>>;

    /// A record that an effect wrote.
    async fn record(&self, tenant: Option<&Name>, collection: &Name, key: &str) -> Result<Option<Json>>;

    async fn health(&self) -> Result<Health>;

    /// What is well with the store and what is not, a line a check, within five seconds. Changes nothing, scans nothing. A check that
    /// cannot be made is a warning and no error.
    ///
    /// # Errors
    /// When the store does not answer at all.
    async fn examine(&self, extent: Extent) -> Result<Vec<Finding>>;

    /// Settings in force: as last configured, and what was changed live.
    async fn settings(&self) -> Result<Settings>;

    /// Makes `settings` what every door and every lease call goes by, under the limits that were changed live; what it says of those itself is
    /// not looked at.
    async fn configure(&self, settings: &Settings) -> Result<()>;

    /// Live jobs and dead letters, oldest id first, in pages bounded as those of [`Store::list`].
    async fn export(&self, cursor: Option<&str>, limit: usize) -> Result<Page<Exported>>;

    /// Takes exported jobs in; those whose id exists already are left as they are. Returns how many were new.
    async fn import(&self, jobs: Vec<Exported>, now: Now) -> Result<u64>;

    // ------------------------------------------------------------------ schedules

    /// Creates or changes a schedule. A changed rule begins a new generation, of which nothing before `now` is due. One that is there as it
    /// is leaves no row in the audit.
    async fn put_schedule(&self, schedule: &Schedule, actor: &Actor, now: Now) -> Result<()>;

    /// Enqueues `job` of the schedule `name` besides its occurrences. The audit's row comes first: without it there is no job, and it names
    /// the job that was asked for, also when the store refuses that one.
    async fn run_schedule(&self, name: &Name, job: NewJob, actor: &Actor) -> Result<Enqueued> {
        self.note(actor, "run_schedule", name, Some(&format!("job {}", job.id))).await?;
        let enqueued = self.enqueue(vec![job], None).await?.into_iter().next();
        enqueued.ok_or_else(|| Error::Corrupt("the store gave no answer for the job".into()))
    }

    async fn schedules(&self) -> Result<Vec<ScheduleState>>;

    async fn delete_schedule(&self, name: &Name, actor: &Actor) -> Result<()>;

    async fn pause_schedule(&self, name: &Name, paused: bool, actor: &Actor) -> Result<()>;

    /// Records `plan` of the schedule `state`: its skipped run, a job for each of its other instants, and `last` moved to
    /// `through`; all in one step, and only if generation and `last` are still as given. A job refused because a live one
    /// holds its unique key is recorded as skipped, `duplicate`. `false`: somebody else was first, nothing written.
    async fn fire(&self, state: &ScheduleState, plan: Plan, now: Now) -> Result<bool>;

    /// What became of a schedule's instants, oldest first.
    async fn occurrences(&self, name: &Name, limit: usize) -> Result<Vec<Occurrence>>;

    // ------------------------------------------------------------------ access

    /// Keeps a token. `NotAllowed` when another has its id.
    async fn put_token(&self, token: &Token, actor: &Actor) -> Result<()>;

    /// All that were made, also those that ended in the last [`Token::KEPT`].
    async fn tokens(&self) -> Result<Vec<Token>>;

    /// Those that are worth something.
    async fn keys(&self) -> Result<Keys>;

    /// From `at` on it is worth nothing; one that ends earlier stays so.
    async fn end_token(&self, id: &TokenId, at: Timestamp, actor: &Actor) -> Result<()>;

    // ------------------------------------------------------------------ audit

    /// Leaves the row of an act that is not the store's own. `false`: it was left before.
    async fn note(&self, actor: &Actor, action: &str, object: &str, detail: Option<&str>) -> Result<bool>;

    /// What was done by whom, newest first, at most `limit` (≤ 1000). Rows are never changed; each is bound to the one before it
    /// ([`crate::job::Verifier`]).
    async fn audit(&self, cursor: Option<&str>, limit: usize) -> Result<Page<Audited>>;

    /// The last link of each chain, as the store wrote it down beside the rows; pruning leaves that row. A chain that has not begun has none.
    async fn audit_heads(&self) -> Result<Vec<Head>>;

    // ------------------------------------------------------------------ hints

    /// Changes whenever there may be work. A hint only: polling is the truth.
    fn wakes(&self) -> watch::Receiver<u64>;

    /// Changes whenever somebody asked to cancel a running job, so that the holder's next heartbeat need not wait its turn.
    fn cancels(&self) -> watch::Receiver<u64>;

    /// The store's clock.
    async fn now(&self) -> Result<Timestamp>;

    /// Waits for what was begun and closes. Later calls answer `Unavailable`.
    async fn close(&self);
}

/// How long a daemon that fell silent is still told of.
pub(crate) const SILENT: Duration = Duration::from_secs(3600);

/// How a program opens a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Leases jobs. `control`: where its control port answers, for programs that find the store taken.
    Daemon { control: Option<std::net::SocketAddr> },
    /// Enqueues, reads and administers.
    Client,
}

/// What a store may be told when it is opened; each driver takes its own part.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub sqlite: sqlite::Config,
    pub postgres: postgres::Config,
    pub redis: redis::Config,
    pub clock: crate::clock::Clock,
}

/// Opens the store that `url` names: `sqlite:windlass.db`, `postgres://…`, `redis://…`.
///
/// # Errors
/// `Refused` when the URL names no store this program has, or the store must not be used like this; otherwise the driver's.
pub async fn open(url: &str, role: Role, options: Options) -> Result<std::sync::Arc<dyn Store>> {
    use std::sync::Arc;
    Ok(match kind(url)? {
        Kind::Postgres => Arc::new(postgres::PostgresStore::open(url, role, options.postgres, options.clock).await?),
        Kind::Redis => Arc::new(redis::RedisStore::open(url, role, options.redis, options.clock).await?),
        Kind::Sqlite(path) => {
            let opened = tokio::task::spawn_blocking(move || sqlite::SqliteStore::open(&path, role, options.sqlite, options.clock)).await;
            Arc::new(opened.map_err(|_| Error::Unavailable("opening the store was cut short".into()))??)
        }
    })
}

/// Examines the store that `url` names without opening it, so that one which would be refused can be examined too.
///
/// # Errors
/// As those of [`Store::examine`], and `Refused` when the URL names no store this program has.
pub async fn examine(url: &str, options: &Options, extent: Extent) -> Result<Vec<Finding>> {
    match kind(url)? {
        Kind::Postgres => postgres::examine(url, &options.postgres, extent).await,
        Kind::Redis => redis::examine(url, &options.redis, extent).await,
        Kind::Sqlite(path) => sqlite::examine(&path, &options.sqlite, extent).await,
    }
}

enum Kind {
    Postgres,
    Redis,
    Sqlite(std::path::PathBuf),
}

fn kind(url: &str) -> Result<Kind> {
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        return Ok(Kind::Postgres);
    }
    if ["redis://", "rediss://", "redis+cluster://", "rediss+cluster://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Ok(Kind::Redis);
    }
    match sqlite_path(url) {
        Some(path) if path.as_os_str().is_empty() => {
            Err(Error::Refused("the store URL names no file; use sqlite:FILE, such as sqlite:windlass.db".into()))
        }
        Some(path) => Ok(Kind::Sqlite(path)),
        None => {
            let scheme = url.split(':').next().unwrap_or_default();
            Err(Error::Refused(format!("`{scheme}` is no store of this version; use sqlite:FILE, postgres://… or redis://…")))
        }
    }
}

/// The file that a store's URL names, if it is one of SQLite.
#[must_use]
pub fn sqlite_path(url: &str) -> Option<std::path::PathBuf> {
    let path = url.strip_prefix("sqlite:")?;
    Some(path.strip_prefix("//").unwrap_or(path).into())
}

/// Turns a bad item of a bulk call into the store's error.
impl From<(usize, InvalidEnvelope)> for Error {
    fn from((index, error): (usize, InvalidEnvelope)) -> Self {
        Self::Invalid { index, error }
    }
}
