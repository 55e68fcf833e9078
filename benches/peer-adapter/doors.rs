//! The producer's side: SQL from a connection of its own, or HTTP to the daemon.

use crate::daemon::{self, Daemon, LISTEN};
use serde_json::{Value, json};
use std::{process::Command, sync::Arc};
use tokio_postgres::{Client, NoTls, Statement, types::Type};

const KIND: &str = "bench.noop";

#[derive(Clone)]
pub enum Door {
    /// One session for each caller.
    Sql(Arc<Vec<(Client, Statement)>>),
    /// With the daemon behind it, where it is this program's own.
    Http(reqwest::Client, Option<Arc<Daemon>>),
}

impl Door {
    pub async fn open(system: &str, callers: u64) -> Self {
        if system == "pg" { Self::sql(callers).await } else { Self::Http(daemon::http(), Some(Arc::new(Daemon::start(system).await))) }
    }

    /// While another process runs the daemon.
    pub async fn open_beside_daemon(system: &str, callers: u64) -> Self {
        if system == "pg" { Self::sql(callers).await } else { Self::Http(daemon::http(), None) }
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
        let mut sessions = Vec::new();
        for _ in 0..callers {
            let client = connect().await;
            let enqueue = client.prepare_typed("SELECT windlass.enqueue($1, $2::text::jsonb)", &[Type::TEXT, Type::TEXT]).await;
            sessions.push((client, enqueue.expect("the function is there")));
        }
        Self::Sql(Arc::new(sessions))
    }

    pub async fn one(&self, caller: u64, payload: Value) {
        match self {
            Self::Sql(sessions) => {
                let (client, enqueue) = &sessions[usize::try_from(caller).expect("few callers") % sessions.len()];
                client.query_one(enqueue, &[&KIND, &payload.to_string()]).await.expect("the job is taken");
            }
            Self::Http(http, _) => post(http, &json!({"kind": KIND, "payload": payload})).await,
        }
    }

    pub async fn many(&self, payloads: Vec<Value>) {
        let jobs: Vec<Value> = payloads.into_iter().map(|payload| json!({"kind": KIND, "payload": payload})).collect();
        match self {
            Self::Sql(sessions) => {
                let enqueue = "SELECT count(*) FROM windlass.enqueue_many($1::text::jsonb)";
                sessions[0].0.query_one(enqueue, &[&json!(jobs).to_string()]).await.expect("the jobs are taken");
            }
            Self::Http(http, _) => post(http, &json!(jobs)).await,
        }
    }
}

async fn post(http: &reqwest::Client, body: &Value) {
    let answer = http.post(format!("http://{LISTEN}/v1/jobs")).json(body).send().await.expect("the daemon answers");
    assert!(answer.status().is_success(), "{}", answer.status());
}

async fn connect() -> Client {
    let (client, connection) = tokio_postgres::connect(&daemon::store("pg"), NoTls).await.expect("the database answers");
    tokio::spawn(async move {
        let _ = connection.await;
    });
    client
}

/// An empty store.
pub async fn reset(system: &str) {
    if system == "sqlite" {
        let folder = std::env::var("BENCH_SQLITE_DIR").expect("BENCH_SQLITE_DIR names a folder");
        std::fs::create_dir_all(&folder).expect("the folder can be made");
        for file in ["windlass.db", "windlass.db-wal", "windlass.db-shm", "windlass.db.lock"] {
            let _ = std::fs::remove_file(format!("{folder}/{file}"));
        }
        return;
    }
    connect().await.batch_execute("DROP SCHEMA IF EXISTS windlass, windlass_v1 CASCADE").await.expect("the schema can be dropped");
    let done = Command::new(daemon::binary()).args(["migrate", "--store", &daemon::store(system)]).output().expect("it runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// Milliseconds from the instant in each payload to the start of its handler.
pub async fn latencies(system: &str) -> Vec<f64> {
    let rows: Vec<(i64, String)> = if system == "sqlite" {
        let file = daemon::store(system);
        let file = rusqlite::Connection::open(file.trim_start_matches("sqlite:")).expect("the file opens");
        let mut query = file.prepare("SELECT started_at, payload FROM history").expect("the table is there");
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("rows");
        rows.collect::<Result<_, _>>().expect("rows")
    } else {
        let rows = connect().await.query("SELECT started_at, payload FROM windlass.history", &[]).await.expect("rows");
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    };
    let sent = |payload: &str| serde_json::from_str::<Value>(payload).ok()?["t"].as_f64();
    #[expect(clippy::cast_precision_loss, reason = "microseconds since 1970 fit")]
    rows.iter().filter_map(|(started, payload)| Some(*started as f64 / 1e3 - sent(payload)?)).collect()
}
