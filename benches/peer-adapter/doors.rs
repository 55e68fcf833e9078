//! The producer's side: SQL from a connection of its own, our crate on Redis, Redis as any language has it, or HTTP to the daemon.

use crate::{
    Payload,
    daemon::{self, Daemon, LISTEN},
};
use serde::Serialize;
use serde_json::Value;
use std::{
    collections::HashMap,
    process::Command,
    sync::{Arc, Mutex},
};
use tokio::sync::Semaphore;
use tokio_postgres::{Client, NoTls, Statement, types::Type};
use windlass::{
    job::{Json, Name, NewJob},
    store::{Options, Role, Store},
};

const KIND: &str = "bench.noop";

/// One job as HTTP takes it.
#[derive(Serialize)]
struct Envelope {
    kind: &'static str,
    payload: Payload,
}

#[derive(Clone)]
pub enum Door {
    Sql(Arc<Sessions>),
    /// Our crate's client of the store, one for all callers.
    Crate(Arc<dyn Store>),
    /// By the function, all callers on one connection.
    Function(redis::aio::MultiplexedConnection),
    /// With the daemon behind it, where it is this program's own.
    Http(reqwest::Client, Option<Arc<Daemon>>),
}

/// Sessions that callers share as in other pools: who calls gets the one that was used last.
pub struct Sessions {
    free: Mutex<Vec<(Client, Statement)>>,
    permits: Semaphore,
}

impl Sessions {
    async fn open(count: usize) -> Self {
        let mut free = Vec::new();
        for _ in 0..count {
            let client = connect().await;
            let enqueue = client.prepare_typed("SELECT windlass.enqueue($1, $2::text::jsonb)", &[Type::TEXT, Type::TEXT]).await;
            let enqueue = enqueue.expect("the function is there");
            // A session that lives: what its first call plans is planned.
            client.batch_execute("BEGIN").await.expect("a transaction begins");
            client.query_one(&enqueue, &[&KIND, &"0"]).await.expect("the job is taken");
            client.batch_execute("ROLLBACK").await.expect("and never was");
            free.push((client, enqueue));
        }
        Self { free: Mutex::new(free), permits: Semaphore::new(count) }
    }

    async fn with<T>(&self, call: impl AsyncFnOnce(&Client, &Statement) -> T) -> T {
        let _permit = self.permits.acquire().await.expect("it is never closed");
        let session = self.free.lock().expect("nobody panics").pop().expect("as many as permits");
        let answer = call(&session.0, &session.1).await;
        self.free.lock().expect("nobody panics").push(session);
        answer
    }
}

impl Door {
    pub async fn open(system: &str, callers: u64) -> Self {
        match system {
            "pg" => Self::sql(callers).await,
            "redis" => Self::Crate(open_redis().await),
            "redis-fcall" => Self::Function(redis_server().await),
            _ => Self::Http(daemon::http(), Some(Arc::new(Daemon::start_as_door(&store(system)).await))),
        }
    }

    /// While another process runs the daemon.
    pub async fn open_beside_daemon(system: &str, callers: u64) -> Self {
        match system {
            "pg" => Self::sql(callers).await,
            "redis" => Self::Crate(open_redis().await),
            "redis-fcall" => Self::Function(redis_server().await),
            _ => Self::Http(daemon::http(), None),
        }
    }

    /// Ends the daemon that was started for it.
    pub async fn close(self) {
        if let Self::Http(_, Some(daemon)) = self
            && let Some(daemon) = Arc::into_inner(daemon)
        {
            daemon.stop().await;
        }
    }

    async fn sql(callers: u64) -> Self {
        Self::Sql(Arc::new(Sessions::open(usize::try_from(callers).expect("few callers")).await))
    }

    pub async fn one(&self, payload: Payload) {
        match self {
            Self::Sql(sessions) => {
                let payload = text(&payload);
                let row = sessions.with(async |client, enqueue| client.query_one(enqueue, &[&KIND, &payload]).await);
                row.await.expect("the job is taken");
            }
            Self::Crate(store) => put(store, vec![payload]).await,
            Self::Function(server) => enqueue(server.clone(), vec![payload]).await,
            Self::Http(http, _) => post(http, text(&Envelope { kind: KIND, payload })).await,
        }
    }

    pub async fn many(&self, payloads: Vec<Payload>) {
        match self {
            Self::Sql(sessions) => {
                let enqueue = "SELECT count(*) FROM windlass.enqueue_many($1, $2::text[]::json[])";
                let payloads: Vec<String> = payloads.iter().map(text).collect();
                sessions.with(async |client, _| client.query_one(enqueue, &[&KIND, &payloads]).await).await.expect("the jobs are taken");
            }
            Self::Crate(store) => put(store, payloads).await,
            Self::Function(server) => enqueue(server.clone(), payloads).await,
            Self::Http(http, _) => {
                let jobs: Vec<Envelope> = payloads.into_iter().map(|payload| Envelope { kind: KIND, payload }).collect();
                post(http, text(&jobs)).await;
            }
        }
    }
}

async fn open_redis() -> Arc<dyn Store> {
    windlass::store::open(&store("redis"), Role::Client, Options::default()).await.expect("the server answers")
}

async fn put(store: &Arc<dyn Store>, payloads: Vec<Payload>) {
    let kind = Name::new(KIND).expect("a name");
    let jobs: Vec<NewJob> = payloads.iter().map(|payload| NewJob::new(kind.clone(), Json::of(payload))).collect();
    let count = jobs.len();
    let answers = store.enqueue(jobs, None).await.expect("the jobs are taken");
    assert_eq!(answers.len(), count);
}

async fn enqueue(mut server: redis::aio::MultiplexedConnection, payloads: Vec<Payload>) {
    for payloads in payloads.chunks(1000) {
        let mut call = redis::cmd("FCALL");
        call.arg("windlass_enqueue").arg(1).arg("windlass:{default}");
        for payload in payloads {
            call.arg(text(&Envelope { kind: KIND, payload: payload.clone() }));
        }
        let ids: Vec<String> = call.query_async(&mut server).await.expect("the jobs are taken");
        assert_eq!(ids.len(), payloads.len());
    }
}

fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("it is JSON")
}

async fn post(http: &reqwest::Client, body: String) {
    let sent = http.post(format!("http://{LISTEN}/v1/jobs")).header("content-type", "application/json").body(body).send();
    let answer = sent.await.expect("the daemon answers");
    assert!(answer.status().is_success(), "{}", answer.status());
}

/// The store's URL.
pub fn store(system: &str) -> String {
    match system {
        "sqlite" => format!("sqlite:{}/windlass.db", std::env::var("BENCH_SQLITE_DIR").expect("BENCH_SQLITE_DIR names a folder")),
        "redis" | "redis-fcall" | "redis-http" => std::env::var("BENCH_REDIS_URL").expect("BENCH_REDIS_URL names a server"),
        _ => std::env::var("BENCH_PG_URL").expect("BENCH_PG_URL names a database"),
    }
}

async fn connect() -> Client {
    let (client, connection) = tokio_postgres::connect(&store("pg"), NoTls).await.expect("the database answers");
    tokio::spawn(async move {
        let _ = connection.await;
    });
    client
}

/// An empty store, as a daemon's first start leaves it.
pub async fn reset(system: &str) {
    if system == "sqlite" {
        let folder = std::env::var("BENCH_SQLITE_DIR").expect("BENCH_SQLITE_DIR names a folder");
        std::fs::create_dir_all(&folder).expect("the folder can be made");
        for file in ["windlass.db", "windlass.db-wal", "windlass.db-shm", "windlass.db.lock"] {
            let _ = std::fs::remove_file(format!("{folder}/{file}"));
        }
        return;
    }
    if system.starts_with("redis") {
        redis::cmd("FLUSHALL").query_async::<()>(&mut redis_server().await).await.expect("the server answers");
    } else {
        drop_tables().await;
    }
    let done = Command::new(daemon::binary()).args(["migrate", "--store", &store(system)]).output().expect("it runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Daemon::start_as_door(&store(system)).await.stop().await;
}

async fn drop_tables() {
    connect().await.batch_execute("DROP SCHEMA IF EXISTS windlass, windlass_v1 CASCADE").await.expect("the schema can be dropped");
}

async fn redis_server() -> redis::aio::MultiplexedConnection {
    let client = redis::Client::open(store("redis-http")).expect("the URL is one");
    client.get_multiplexed_async_connection().await.expect("the server answers")
}

/// When each finished job started, and its payload. Both stand behind parts of known length; see `store/redis/rows.rs`.
async fn redis_history() -> Vec<(i64, String)> {
    let mut server = redis_server().await;
    let key = |of: &str| format!("windlass:{{default}}:{of}");
    let ends: Vec<(Vec<u8>, Vec<u8>)> = redis::cmd("HGETALL").arg(key("ends")).query_async(&mut server).await.expect("a hash");
    let mut jobs: HashMap<Vec<u8>, Vec<u8>> = redis::cmd("HGETALL").arg(key("jobs")).query_async(&mut server).await.expect("a hash");
    let each = ends.into_iter().filter_map(|(id, end)| {
        let started: [u8; 8] = end.get(9..17)?.try_into().ok()?;
        let job = jobs.remove(&id)?;
        let head = 11 + usize::from(*job.get(10)?);
        let length: [u8; 4] = job.get(head..head + 4)?.try_into().ok()?;
        let payload = job.get(head + 4 + u32::from_be_bytes(length) as usize..)?;
        Some((i64::from_be_bytes(started), String::from_utf8(payload.to_vec()).ok()?))
    });
    each.collect()
}

/// Milliseconds from the instant in each payload to the start of its handler.
pub async fn latencies(system: &str) -> Vec<f64> {
    let rows: Vec<(i64, String)> = if system == "sqlite" {
        let file = store(system);
        let file = rusqlite::Connection::open(file.trim_start_matches("sqlite:")).expect("the file opens");
        let mut query = file.prepare("SELECT started_at, payload FROM history").expect("the table is there");
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("rows");
        rows.collect::<Result<_, _>>().expect("rows")
    } else if system.starts_with("redis") {
        redis_history().await
    } else {
        let rows = connect().await.query("SELECT started_at, payload FROM windlass.history", &[]).await.expect("rows");
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    };
    let sent = |payload: &str| serde_json::from_str::<Value>(payload).ok()?["t"].as_f64();
    #[expect(clippy::cast_precision_loss, reason = "microseconds since 1970 fit")]
    rows.iter().filter_map(|(started, payload)| Some(*started as f64 / 1e3 - sent(payload)?)).collect()
}
