//! Throw-away stores, by name. Every conformance function runs once on each; `WINDLASS_TEST_STORES=sqlite,…` leaves others
//! out, and the closing lines of the run say so.

use super::{Daemon, at, ids, note, postgres, redis};
use std::{
    collections::BTreeMap,
    ops::Deref,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};
use tempfile::TempDir;
use windlass::{
    clock::Clock,
    job::{Applied, Job, JobId, Leased, Name, NewJob, Settings, Settlement, State, Transition},
    store::{self, Durability, Filter, Now, Options, QueueStatus, Role, Store, postgres::PostgresStore, redis::RedisStore, sqlite},
};

/// Makes one test of each named function and store: `store::lease::sqlite::oldest_due_job_is_leased_first`.
/// A function that is missing from the list is dead code, which `tests/store/mod.rs` denies.
macro_rules! on_every_store {
    ($($function:ident),+ $(,)?) => {
        $crate::support::on_every_store!(in sqlite: $($function)+);
        $crate::support::on_every_store!(in postgres: $($function)+);
        $crate::support::on_every_store!(in redis: $($function)+);
        $crate::support::on_every_store!(in cluster: $($function)+);
    };
    (in $store:ident: $($function:ident)+) => {
        mod $store {
            $(
                #[tokio::test]
                async fn $function() {
                    let name = stringify!($store);
                    if let Some(mut store) = $crate::support::TestStore::open_for_test(name).await {
                        super::$function(&mut store).await;
                        store.assert_sound().await;
                    }
                }
            )+
        }
    };
}
pub(crate) use on_every_store;

/// The stores that this package can be tested on.
const KNOWN: [&str; 4] = ["sqlite", "postgres", "redis", "cluster"];

/// Whether `WINDLASS_TEST_STORES` lets tests run on store `name`.
///
/// # Panics
/// When the variable names a store that nobody knows: a run that tests nothing must not pass.
fn is_wanted(name: &str) -> bool {
    let Ok(wanted) = std::env::var("WINDLASS_TEST_STORES") else { return true };
    let wanted: Vec<&str> = wanted.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    for asked in &wanted {
        assert!(KNOWN.contains(asked), "WINDLASS_TEST_STORES names `{asked}`; it takes a list of {}", KNOWN.join(", "));
    }
    wanted.is_empty() || wanted.contains(&name)
}

/// What another program might put into a row.
pub enum Broken {
    Text(&'static str),
    Number(i64),
    Bytes(&'static [u8]),
}

/// A store of one test alone, gone with it.
pub struct TestStore {
    name: &'static str,
    /// None only between a crash and the reopening.
    store: Option<Arc<dyn Store>>,
    directory: TempDir,
    /// The database, of a Postgres store; None for a file.
    database: Option<String>,
    /// What the keys of a Redis store begin with.
    prefix: Option<String>,
    /// Whether the database may serve another test.
    again: bool,
    /// The store's clock, for calls that are given no instant; it only moves when a test moves it.
    pub clock: Clock,
    /// The test damages rows on purpose.
    damaged: bool,
}

impl Deref for TestStore {
    type Target = dyn Store;
    fn deref(&self) -> &Self::Target {
        self.store.as_deref().expect("a store is open except while it crashes")
    }
}

impl TestStore {
    pub fn is_wanted(name: &str) -> bool {
        is_wanted(name)
    }

    /// None: the run leaves this store out.
    pub async fn open_for_test(name: &'static str) -> Option<Self> {
        if is_wanted(name) {
            note(&format!("conformance functions ran on {name}"), 1);
            Some(Self::open(name).await)
        } else {
            note(&format!("conformance functions left out on {name}, by WINDLASS_TEST_STORES"), 1);
            None
        }
    }

    /// By the real clock, as other programs' calls go by it; a minute ahead, so that what they bring is due.
    pub async fn open_beside_others(name: &'static str) -> Option<Self> {
        if !is_wanted(name) {
            return None;
        }
        let store = Self::open(name).await;
        if let Clock::Manual(micros) = &store.clock {
            micros.store(Clock::System.now().plus_ms(60_000).0, Ordering::SeqCst);
        }
        Some(store)
    }

    pub async fn open(name: &'static str) -> Self {
        Self::open_in(name, tempfile::tempdir().expect("a temporary folder can be made")).await
    }

    /// In memory where the machine has a folder that is: making a database costs some twenty fsyncs on a disk, which is most
    /// of the time of a test that makes thousands of small ones.
    pub async fn open_quick(name: &'static str) -> Self {
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a temporary folder can be made");
        let mut store = Self::at(name, directory);
        if name == "postgres" {
            (store.database, store.again) = (Some(postgres::server().await.emptied().await), true);
        }
        if name == "redis" {
            store.prefix = Some(redis::server().await.fresh());
        }
        if name == "cluster" {
            store.prefix = Some(redis::cluster().await.fresh());
        }
        store.reopen().await;
        store
    }

    async fn open_in(name: &'static str, directory: TempDir) -> Self {
        let mut store = Self::at(name, directory);
        if name == "postgres" {
            store.database = Some(postgres::server().await.fresh().await);
        }
        if name == "redis" {
            store.prefix = Some(redis::server().await.fresh());
        }
        if name == "cluster" {
            store.prefix = Some(redis::cluster().await.fresh());
        }
        store.reopen().await;
        store
    }

    fn at(name: &'static str, directory: TempDir) -> Self {
        Self { name, store: None, directory, database: None, prefix: None, again: false, clock: Clock::manual(at(0)), damaged: false }
    }

    /// Closes the store of a test that has waited for all it began.
    pub async fn finish(mut self) {
        if let Some(store) = self.store.take() {
            store.close().await;
        }
        if let (true, Some(database)) = (self.again, self.database.take()) {
            postgres::server().await.give_back(database);
        }
    }

    /// The process dies: nobody says goodbye, nothing is flushed by hand, and another process opens the store.
    pub async fn crash(&mut self) {
        self.store = None;
        self.reopen().await;
    }

    async fn reopen(&mut self) {
        self.store = Some(match (&self.database, &self.prefix) {
            (Some(database), _) => open_postgres(&postgres::server().await.url(database), self.clock.clone()).await,
            (_, Some(prefix)) => open_redis(&self.redis_url().await, prefix, self.clock.clone()).await,
            (None, None) => open_sqlite(&self.sqlite_file(), self.clock.clone()).await,
        });
    }

    async fn redis_url(&self) -> String {
        if self.name == "cluster" { redis::cluster().await.url() } else { redis::server().await.url() }
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    /// For an engine, which keeps its store.
    pub fn shared(&self) -> Arc<dyn Store> {
        Arc::clone(self.store.as_ref().expect("a store is open except while it crashes"))
    }

    /// A connection of somebody else's to the database of a Postgres store.
    pub async fn connection(&self) -> tokio_postgres::Client {
        postgres::server().await.connect(self.database.as_deref().expect("only a Postgres store has connections")).await
    }

    /// A connection of somebody else's to the server of a Redis store.
    pub async fn redis_connection(&self) -> ::redis::aio::MultiplexedConnection {
        redis::server().await.connect().await
    }

    /// Where a Redis store is for a user who may do what docs/redis.md says of `role`, and no more.
    pub async fn redis_user(&self, role: &str) -> String {
        redis::server().await.user(role, self.prefix()).await
    }

    /// What the keys of a Redis store begin with.
    pub fn prefix(&self) -> &str {
        self.prefix.as_deref().expect("only a Redis store has a prefix")
    }

    /// Where a Postgres store's database is.
    pub async fn url(&self) -> String {
        postgres::server().await.url(self.database.as_deref().expect("only a Postgres store has an address"))
    }

    /// Another daemon's view of the same Postgres store, or of the same cluster.
    pub async fn beside(&self) -> Arc<dyn Store> {
        if let Some(prefix) = &self.prefix {
            return open_redis(&redis::cluster().await.url(), prefix, self.clock.clone()).await;
        }
        let url = self.url().await;
        let store = PostgresStore::open(&url, Role::Daemon { control: None }, sound_sleeper(), self.clock.clone()).await;
        Arc::new(store.expect("the store opens"))
    }

    pub fn sqlite_file(&self) -> PathBuf {
        self.directory.path().join("windlass.db")
    }

    /// Breaks a live row by hand. `false`: the store does not let it happen.
    pub async fn break_row(&self, id: JobId, column: &str, value: Broken) -> bool {
        if let Some(prefix) = &self.prefix {
            return match self.name {
                "cluster" => break_redis(&mut redis::cluster().await.connect().await, prefix, id, column, value).await,
                _ => break_redis(&mut redis::server().await.connect().await, prefix, id, column, value).await,
            };
        }
        let Some(database) = &self.database else {
            let file = rusqlite::Connection::open(self.sqlite_file()).expect("the file can be opened beside the store");
            file.busy_timeout(std::time::Duration::from_secs(10)).expect("a timeout can be set");
            file.pragma_update(None, "ignore_check_constraints", true).expect("the pragma is known");
            let value: &dyn rusqlite::ToSql = match &value {
                Broken::Text(text) => text,
                Broken::Number(number) => number,
                Broken::Bytes(bytes) => bytes,
            };
            let changed = file.execute(&format!("UPDATE jobs SET {column} = ?1 WHERE id = ?2"), rusqlite::params![value, id.0.as_bytes()]);
            assert_eq!(changed.expect("the row can be broken"), 1);
            return true;
        };
        let value = match value {
            Broken::Text(text) if column == "attempts" => format!("ARRAY['{text}']"),
            Broken::Text(text) => format!("'{text}'"),
            Broken::Number(number) => number.to_string(),
            // A column of type uuid takes no others.
            Broken::Bytes(_) => return false,
        };
        let client = postgres::server().await.connect(database).await;
        for table in ["jobs", "waiting"] {
            match client.execute(&format!("UPDATE windlass.{table} SET {column} = {value} WHERE id = '{id}'"), &[]).await {
                Ok(0) => {}
                Ok(_) => return true,
                Err(error) if error.code().is_some_and(|code| code.code() == "23514") => return false,
                Err(error) => panic!("the row cannot be broken: {error}"),
            }
        }
        panic!("there is no live row of job {id}");
    }

    /// What the store said before and after must be told apart: the test is going to break rows by hand.
    pub fn expect_damage(&mut self) {
        self.damaged = true;
    }
}

/// A job of the default queue, with one thing about it changed.
async fn break_redis(server: &mut impl ::redis::aio::ConnectionLike, prefix: &str, id: JobId, column: &str, value: Broken) -> bool {
    const SCRIPT: &str = r#"
        local blob, name, value = redis.call('HGET', KEYS[1], ARGV[1]), ARGV[2], ARGV[3]
        local kind = blob:byte(11)
        local length = struct.unpack('>I4', blob, 12 + kind)
        local head, payload = cmsgpack.unpack(blob:sub(16 + kind, 15 + kind + length)), blob:sub(16 + kind + length)
        local state, words = blob:sub(2, 2), blob:sub(12, 11 + kind)
        if name == 'kind' then words = value
        elseif name == 'payload' then payload = value
        elseif name == 'state' then state = value:sub(1, 1)
        elseif name == 'extra' then head.tags = { value }
        elseif name == 'attempts' then head.attempts = { value }
        else head[name] = tonumber(value) or value end
        local packed = cmsgpack.pack(head)
        redis.call('HSET', KEYS[1], ARGV[1], blob:sub(1, 1) .. state .. blob:sub(3, 10) .. string.char(#words) .. words ..
            struct.pack('>I4', #packed) .. packed .. payload)"#;
    let value = match value {
        Broken::Text(text) => text.to_owned(),
        Broken::Number(number) => number.to_string(),
        // An id is the name of its field, and there is no other.
        Broken::Bytes(_) => return false,
    };
    if column == "queue" {
        // It is in the name of the key.
        return false;
    }
    let mut call = ::redis::cmd("EVAL");
    call.arg(SCRIPT).arg(1).arg(format!("{prefix}:{{default}}:jobs")).arg(id.0.as_bytes()).arg(column).arg(value);
    call.query_async::<()>(server).await.expect("the job can be broken");
    true
}

async fn open_redis(url: &str, prefix: &str, clock: Clock) -> Arc<dyn Store> {
    let control = Some(std::net::SocketAddr::from(([127, 0, 0, 1], 1)));
    let config = store::redis::Config { prefix: prefix.to_owned(), accept: vec![store::redis::Risk::NoPersistence], ..Default::default() };
    let store = RedisStore::open(url, Role::Daemon { control }, config, clock).await;
    Arc::new(store.expect("the store opens"))
}

/// It looks for nothing while it sleeps, so that a wake-up that is lost shows.
fn sound_sleeper() -> windlass::store::postgres::Config {
    windlass::store::postgres::Config { light_sleep_ms: 0, ..Default::default() }
}

/// Always at the same place, so that one that is opened again is known to be the only one there.
async fn open_postgres(url: &str, clock: Clock) -> Arc<dyn Store> {
    let control = Some(std::net::SocketAddr::from(([127, 0, 0, 1], 1)));
    let store = PostgresStore::open(url, Role::Daemon { control }, sound_sleeper(), clock).await;
    Arc::new(store.expect("the store opens"))
}

/// Durability is relaxed: the page cache outlives a crash of the process, which is all that a test can cause, and an fsync a
/// commit would be most of the run.
async fn open_sqlite(file: &Path, clock: Clock) -> Arc<dyn Store> {
    let sqlite = sqlite::Config { durability: Durability::Relaxed, ..sqlite::Config::default() };
    let options = Options { sqlite, clock, ..Options::default() };
    let url = format!("sqlite:{}", file.display());
    // A program that another test starts has all our descriptors, the former store's lock among them, until it is executed.
    let mut ticks = tokio::time::interval(std::time::Duration::from_millis(10));
    for _ in 0..100 {
        ticks.tick().await;
        match store::open(&url, Role::Daemon { control: None }, options.clone()).await {
            Err(store::Error::Refused(why)) if why.contains("another daemon") => {}
            opened => return opened.expect("the store opens"),
        }
    }
    panic!("{} stays locked", file.display());
}

/// What many tests do to a store.
impl TestStore {
    pub async fn put(&self, jobs: Vec<NewJob>, now: Now) -> Vec<JobId> {
        let answers = self.enqueue(jobs, now).await.expect("the store takes the jobs");
        answers.into_iter().map(|answer| answer.id).collect()
    }

    pub async fn put_one(&self, job: NewJob, now: Now) -> JobId {
        self.put(vec![job], now).await[0]
    }

    pub async fn configure_with(&self, change: impl FnOnce(&mut Settings)) {
        let mut settings = self.settings().await.expect("settings can be read").as_configured();
        change(&mut settings);
        self.configure(&settings).await.expect("settings can be written");
    }

    pub async fn job(&self, id: JobId) -> Job {
        self.get(id).await.expect("a job can be read").unwrap_or_else(|| panic!("job {id} does not exist"))
    }

    pub async fn state(&self, id: JobId) -> State {
        self.job(id).await.state
    }

    pub async fn states(&self, ids: &[JobId]) -> Vec<State> {
        let mut states = Vec::new();
        for id in ids {
            states.push(self.state(*id).await);
        }
        states
    }

    /// Ends an attempt that began when it was granted.
    pub async fn end(&self, leased: &Leased, transition: Transition, now: Now) -> Applied {
        self.settle_one(Settlement::new(leased.lease, transition, leased.lease.granted_at), now).await
    }

    pub async fn settle_one(&self, settlement: Settlement, now: Now) -> Applied {
        self.settle(vec![settlement], now).await.expect("the store settles")[0]
    }

    pub async fn complete(&self, jobs: &[Leased], now: Now) {
        let batch = jobs.iter().map(|leased| Settlement::new(leased.lease, Transition::Complete, leased.lease.granted_at)).collect();
        let answers = self.settle(batch, now).await.expect("the store settles");
        assert!(answers.iter().all(|answer| *answer == Applied::Applied), "a live lease was not accepted: {answers:?}");
    }

    /// Leases and completes one job at a time until nothing is left; the order in which they came.
    pub async fn drain(&self, daemon: &Daemon, queue: &str, now: Now) -> Vec<JobId> {
        let mut order = Vec::new();
        loop {
            let reply = daemon.ask(&**self, queue, 1, now).await;
            if reply.jobs.is_empty() && !reply.more {
                return order;
            }
            order.extend(ids(&reply.jobs));
            self.complete(&reply.jobs, now).await;
        }
    }

    /// Every job, newest first, read page by page.
    pub async fn all(&self) -> Vec<Job> {
        self.all_of(&Filter::default(), 100).await
    }

    pub async fn all_of(&self, filter: &Filter, limit: usize) -> Vec<Job> {
        let (mut jobs, mut cursor) = (Vec::new(), None);
        loop {
            let page = self.list(filter, cursor.as_deref(), limit).await.expect("jobs can be listed");
            assert!(page.items.len() <= limit, "a page of {limit} has {} jobs", page.items.len());
            jobs.extend(page.items);
            cursor = page.next;
            if cursor.is_none() {
                return jobs;
            }
        }
    }

    pub async fn queue_status(&self, queue: &str, now: Now) -> QueueStatus {
        let queues = self.queues(now).await.expect("queues can be listed");
        queues.into_iter().find(|status| status.name == queue).unwrap_or_default()
    }

    /// What must hold after any test: counters equal a recount, and no row was put aside that the test did not damage.
    pub async fn assert_sound(&self) {
        if self.damaged {
            return;
        }
        let mut recount: BTreeMap<(Name, State), u64> = BTreeMap::new();
        for job in self.all().await {
            *recount.entry((job.queue, job.state)).or_default() += 1;
        }
        let mut counted = BTreeMap::new();
        for status in self.queues(None).await.expect("queues can be listed") {
            for (state, jobs) in status.jobs {
                counted.insert((super::name(&status.name), state), jobs);
            }
        }
        counted.retain(|_, jobs| *jobs > 0);
        assert_eq!(counted, recount, "the counters (left) differ from a recount (right)");
        let quarantined = self.quarantined(10).await.expect("the quarantine can be read");
        assert!(quarantined.is_empty(), "the store put rows of its own making into quarantine: {quarantined:?}");
    }
}
