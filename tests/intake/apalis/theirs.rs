//! A queue of apalis' own, on the servers of this run: filled by the stock crates, which a package of its own builds, and looked into.

use crate::support::{TestStore, note, postgres_server, redis_server};
use ::redis::{aio::MultiplexedConnection, cmd};
use serde_json::Value;
use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};
use tokio::{sync::OnceCell, task::JoinHandle};

pub(super) struct Theirs {
    /// For the bridge, as a user that may do what docs/apalis.md says and no more.
    pub(super) url: String,
    /// For producers.
    own_url: String,
    pub(super) queue: String,
    store: Kept,
}

enum Kept {
    Redis(MultiplexedConnection),
    Postgres(tokio_postgres::Client),
}

/// What their store says of a task.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) status: String,
    pub(super) attempts: i64,
    pub(super) result: Option<Value>,
    pub(super) locked_by: Option<String>,
}

impl Theirs {
    /// None: the run leaves this store out.
    pub(super) async fn open(name: &str) -> Option<Self> {
        if !TestStore::is_wanted(name) {
            note("tests of bridges left out, by WINDLASS_TEST_STORES", 1);
            return None;
        }
        Some(if name == "redis" { Self::redis().await } else { Self::postgres().await })
    }

    async fn redis() -> Self {
        let server = redis_server().await;
        let (queue, mut connection) = (server.fresh(), server.connect().await);
        let page = include_str!("../../../docs/apalis.md");
        let recipe = page.lines().find(|line| line.starts_with("ACL SETUSER")).expect("the page has a recipe");
        let mut call = cmd("ACL");
        call.arg("SETUSER").arg(format!("bridge-{queue}"));
        for rule in recipe.split_whitespace().skip(3) {
            call.arg(rule.replace("orders:", &format!("{queue}:")).replace(">PASSWORD", ">secret"));
        }
        let () = call.query_async(&mut connection).await.expect("the recipe is good");
        let own_url = server.url();
        let url = own_url.replace("redis://", &format!("redis://bridge-{queue}:secret@"));
        Self { url, own_url, queue, store: Kept::Redis(connection) }
    }

    async fn postgres() -> Self {
        static ROLE: OnceCell<()> = OnceCell::const_new();
        let server = postgres_server().await;
        let database = server.empty("migrator").await;
        let client = server.connect(&database).await;
        ROLE.get_or_init(|| async { client.batch_execute("CREATE ROLE bridge LOGIN").await.expect("a role can be made") }).await;
        let own_url = server.url_of("windlass", &database);
        let theirs = Self { url: server.url_of("bridge", &database), own_url, queue: "orders".into(), store: Kept::Postgres(client) };
        theirs.produce(&["setup"]).await;
        let grants = include_str!("../../../docs/apalis.md").lines().filter(|line| line.starts_with("GRANT"));
        let grants: Vec<String> = grants.map(|line| line.replace("TO windlass;", "TO bridge;")).collect();
        assert!(!grants.is_empty(), "the page says what the bridge's user needs");
        theirs.execute(&grants.join("\n")).await;
        theirs
    }

    pub(super) async fn produce(&self, words: &[&str]) -> String {
        self.start(words).await.expect("the producer ends")
    }

    /// Runs the stock program; answers what it said.
    pub(super) fn start(&self, words: &[&str]) -> JoinHandle<String> {
        let words: Vec<String> = [self.own_url.as_str(), &self.queue].iter().chain(words).map(|word| (*word).to_owned()).collect();
        tokio::task::spawn_blocking(move || {
            let done = Command::new(producer()).args(&words).output().expect("the producer runs");
            assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
            String::from_utf8_lossy(&done.stdout).into_owned()
        })
    }

    pub(super) async fn rows(&self) -> Vec<Row> {
        match &self.store {
            Kept::Redis(server) => self.redis_rows(&mut server.clone()).await,
            Kept::Postgres(client) => {
                let all = "SELECT id, status, attempts, last_result::text, lock_by FROM apalis.jobs ORDER BY id";
                let rows = client.query(all, &[]).await.expect("their rows can be read");
                let read = |row: &tokio_postgres::Row| Row {
                    id: row.get(0),
                    status: row.get(1),
                    attempts: row.get::<_, i32>(2).into(),
                    result: row.get::<_, Option<&str>>(3).map(|text| serde_json::from_str(text).expect("a jsonb is JSON")),
                    locked_by: row.get(4),
                };
                rows.iter().map(read).collect()
            }
        }
    }

    async fn redis_rows(&self, server: &mut MultiplexedConnection) -> Vec<Row> {
        let mut ids: Vec<String> = cmd("HKEYS").arg(self.key("data")).query_async(server).await.expect("ids");
        ids.sort();
        let mut reads = ::redis::pipe();
        for id in &ids {
            reads.cmd("HGETALL").arg(format!("{}:{id}", self.key("meta")));
        }
        let all: Vec<HashMap<String, String>> = reads.query_async(server).await.expect("fields");
        let mut rows = Vec::new();
        for (id, fields) in ids.into_iter().zip(all) {
            let text = |name: &str| fields.get(name).cloned();
            rows.push(Row {
                id,
                status: text("status").unwrap_or_default(),
                attempts: text("attempts").and_then(|text| text.parse().ok()).unwrap_or(-1),
                result: text("result").map(|text| serde_json::from_str(&text).expect("a result is JSON")),
                locked_by: text("locked_by"),
            });
        }
        rows
    }

    pub(super) async fn statuses(&self) -> BTreeMap<String, usize> {
        let mut statuses = BTreeMap::new();
        for row in self.rows().await {
            *statuses.entry(row.status).or_default() += 1;
        }
        statuses
    }

    pub(super) async fn has(&self, status: &str, count: usize) -> Option<()> {
        (self.statuses().await.get(status).copied().unwrap_or(0) == count).then_some(())
    }

    /// Tasks that workers hold, as their scheme has it.
    pub(super) async fn held(&self) -> usize {
        match &self.store {
            Kept::Redis(_) => {
                let mut held = 0;
                for key in self.ask::<Vec<String>>(&["KEYS", &format!("{}:*", self.key("inflight"))]).await {
                    held += self.ask::<usize>(&["SCARD", &key]).await;
                }
                held
            }
            Kept::Postgres(_) => self.rows().await.iter().filter(|row| ["Queued", "Running"].contains(&row.status.as_str())).count(),
        }
    }

    /// As other programs push one: `payload` under `id`, due, with one attempt of three behind it.
    pub(super) async fn put(&self, id: &str, payload: &[u8]) {
        match &self.store {
            Kept::Redis(server) => {
                let mut pushes = ::redis::pipe();
                pushes.cmd("HSET").arg(self.key("data")).arg(id).arg(payload);
                pushes.cmd("HSET").arg(format!("{}:{id}", self.key("meta"))).arg(&[
                    "attempts",
                    "1",
                    "max_attempts",
                    "3",
                    "status",
                    "Pending",
                ]);
                pushes.cmd("RPUSH").arg(self.key("active")).arg(id);
                let () = pushes.query_async(&mut server.clone()).await.expect("a push");
            }
            Kept::Postgres(client) => {
                let push =
                    "INSERT INTO apalis.jobs (id, job_type, job, status, attempts, max_attempts) VALUES ($1, $2, $3, 'Failed', 1, 3)";
                client.execute(push, &[&id, &self.queue, &payload]).await.expect("a push");
            }
        }
    }

    /// As if whoever holds tasks had given no word for a long time.
    pub(super) async fn silence_workers(&self) {
        match &self.store {
            Kept::Redis(_) => {
                for worker in self.ask::<Vec<String>>(&["ZRANGE", &self.key("workers"), "0", "-1"]).await {
                    self.ask::<i64>(&["ZADD", &self.key("workers"), "1", &worker]).await;
                }
            }
            Kept::Postgres(_) => self.execute("UPDATE apalis.workers SET last_seen = 'epoch'::timestamptz + interval '1 s'").await,
        }
    }

    /// As if the holder had died after it took `id` and before it marked it.
    pub(super) async fn unmark(&self, id: &str) {
        match &self.store {
            Kept::Redis(_) => _ = self.ask::<i64>(&["HSET", &format!("{}:{id}", self.key("meta")), "status", "Pending"]).await,
            Kept::Postgres(_) => self.execute(&format!("UPDATE apalis.jobs SET status = 'Queued' WHERE id = '{id}'")).await,
        }
    }

    /// Seconds from now to the end of the word that each worker gave.
    pub(super) async fn words(&self) -> Vec<f64> {
        match &self.store {
            Kept::Redis(_) => {
                let now: (f64, f64) = self.ask(&["TIME"]).await;
                let workers: Vec<(String, f64)> = self.ask(&["ZRANGE", &self.key("workers"), "0", "-1", "WITHSCORES"]).await;
                workers.into_iter().map(|(_, until)| until - now.0).collect()
            }
            Kept::Postgres(client) => {
                let all = "SELECT extract(epoch FROM last_seen - now())::float8 FROM apalis.workers WHERE worker_type = $1";
                let rows = client.query(all, &[&self.queue]).await.expect("their workers can be read");
                rows.iter().map(|row| row.get(0)).collect()
            }
        }
    }

    pub(super) fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.queue)
    }

    /// Of their Redis.
    pub(super) async fn ask<T: ::redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let Kept::Redis(server) = &self.store else { panic!("this is no Redis") };
        let mut call = cmd(words[0]);
        call.arg(&words[1..]);
        call.query_async(&mut server.clone()).await.expect("their Redis answers")
    }

    /// On their Postgres.
    pub(super) async fn execute(&self, statements: &str) {
        let Kept::Postgres(client) = &self.store else { panic!("this is no Postgres") };
        client.batch_execute(statements).await.expect("their Postgres takes the statement");
    }
}

/// Builds the stock program on first use. It has a lock file of its own.
fn producer() -> &'static Path {
    static PRODUCER: OnceLock<PathBuf> = OnceLock::new();
    PRODUCER.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("apalis");
        note("stock apalis producers built by `cargo build`; the first time takes a minute or two", 1);
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/apalis/Cargo.toml");
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.args(["build", "--quiet", "--locked", "--manifest-path", manifest, "--target-dir"]).arg(&target);
        let done = build.output().expect("cargo runs");
        assert!(done.status.success(), "the stock producer cannot be built:\n{}", String::from_utf8_lossy(&done.stderr));
        target.join("debug/apalis-producer")
    })
}
