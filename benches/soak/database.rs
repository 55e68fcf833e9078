//! A database of a soak's own.

use crate::daemon;
use std::{path::Path, process::Command, time::Duration};
use tokio_postgres::{Client, NoTls};

const KIND: &str = "bench.noop";
/// Jobs that one call enqueues.
const BATCH: u64 = 10_000;

pub struct Database {
    name: String,
}

/// Buffers and bytes.
#[derive(Clone, Copy)]
pub struct Work {
    pub statements: i64,
    pub others: i64,
    pub wal: i64,
}

fn server() -> String {
    std::env::var("SOAK_PG_URL").expect("SOAK_PG_URL names a server, such as postgres://postgres@127.0.0.1:5432")
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("the server answers");
    tokio::spawn(async move {
        let _ = connection.await;
    });
    client
}

async fn as_administrator(statement: &str) {
    connect(&format!("{}/postgres", server())).await.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
}

impl Database {
    /// A new one, with our tables.
    pub async fn make(name: &str) -> Self {
        Self::make_by(&daemon::binary(), name).await
    }

    /// The same, migrated by some version's binary.
    pub async fn make_by(binary: &Path, name: &str) -> Self {
        as_administrator(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
        as_administrator(&format!("CREATE DATABASE {name}")).await;
        let database = Self { name: name.to_owned() };
        database.migrate(binary);
        let counter = database.client().await.batch_execute("CREATE EXTENSION pg_stat_statements; SELECT FROM pg_stat_statements").await;
        counter.expect("the server counts statements: set shared_preload_libraries = 'pg_stat_statements' and start it anew");
        database
    }

    pub fn migrate(&self, binary: &Path) {
        let done = Command::new(binary).args(["migrate", "--store", &self.url()]).output().expect("it runs");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    pub async fn drop(self) {
        as_administrator(&format!("DROP DATABASE {} WITH (FORCE)", self.name)).await;
    }

    pub fn url(&self) -> String {
        format!("{}/{}", server(), self.name)
    }

    pub async fn client(&self) -> Client {
        connect(&self.url()).await
    }

    /// Jobs with 200 bytes each.
    pub async fn enqueue(&self, jobs: u64, options: &str) {
        let client = self.client().await;
        let call = "SELECT count(*) FROM windlass.enqueue_many($1, ARRAY(SELECT json_build_object('n', n, 'note', repeat('x', 180)) \
            FROM generate_series(1, $2::bigint) n), $3::text::jsonb)";
        for first in (0..jobs).step_by(usize::try_from(BATCH).expect("a small number")) {
            let count = i64::try_from(BATCH.min(jobs - first)).expect("a small number");
            client.query_one(call, &[&KIND, &count, &options]).await.expect("the jobs are taken");
        }
    }

    /// Leases one job and keeps it, as a daemon would that works on it for an hour. All the others are in their places then.
    pub async fn hold_one(&self) {
        let client = self.client().await;
        let lease = "SELECT id, ord FROM windlass_v1.lease('00000000-0000-7000-8000-000000000001', gen_random_uuid(), '{default}', '{1}', $1, 1 << 30, 3600000000, 'soak', NULL)";
        let mut held = false;
        loop {
            let rows = client.query(lease, &[&vec![KIND]]).await.expect("a lease call");
            held |= rows.len() > 1;
            if held && rows.last().is_some_and(|last| last.get::<_, Option<i32>>(1) != Some(1)) {
                return;
            }
        }
    }

    /// What the daemon's statements touched, what else touched buffers (autovacuum, above all) and the server's WAL, so far. Sessions
    /// have ended then: they report when they do.
    pub async fn work_so_far(&self) -> Work {
        let client = self.client().await;
        let others =
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'windlass%')";
        while client.query_one(others, &[]).await.expect("the sessions").get(0) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let sum = "SELECT (SELECT coalesce(sum(shared_blks_hit + shared_blks_read), 0)::bigint FROM pg_stat_statements \
              WHERE dbid = d.datid AND toplevel AND query LIKE '%windlass_v1.%'), d.blks_hit + d.blks_read, (SELECT wal_bytes::bigint FROM pg_stat_wal) \
            FROM pg_stat_database d WHERE d.datname = current_database()";
        let row = client.query_one(sum, &[]).await.expect("the statistics");
        let (statements, all): (i64, i64) = (row.get(0), row.get(1));
        Work { statements, others: all - statements, wal: row.get(2) }
    }

    /// Jobs that were ever completed, as the queue counts them.
    pub async fn completed(&self) -> u64 {
        let count = "SELECT coalesce((SELECT jobs[5] FROM windlass.queues ORDER BY n DESC LIMIT 1), 0) \
            + coalesce((SELECT sum(jobs) FROM windlass.events WHERE come = 5), 0)::bigint";
        let completed: i64 = self.client().await.query_one(count, &[]).await.expect("a count").get(0);
        u64::try_from(completed).expect("it only grows")
    }

    /// Jobs that are leased now.
    pub async fn running(&self) -> u64 {
        let count = "SELECT coalesce((SELECT jobs[3] FROM windlass.queues ORDER BY n DESC LIMIT 1), 0)::bigint";
        let running: i64 = self.client().await.query_one(count, &[]).await.expect("a count").get(0);
        u64::try_from(running).expect("a count")
    }

    /// Ends the pause that the last measurement ended with.
    pub async fn resume(&self) {
        self.client().await.batch_execute("DELETE FROM windlass.pauses").await.expect("a superuser may");
    }

    /// Empties history; answers how many were in it.
    pub async fn forget_completed(&self) -> u64 {
        let client = self.client().await;
        let count: i64 = client.query_one("SELECT count(*) FROM windlass.history", &[]).await.expect("a count").get(0);
        client.batch_execute("TRUNCATE windlass.history").await.expect("a superuser may");
        u64::try_from(count).expect("a count")
    }

    pub async fn vacuum(&self) {
        self.client().await.batch_execute("VACUUM (ANALYZE) windlass.jobs").await.expect("a superuser may");
    }

    pub async fn checkpoint(&self) {
        self.client().await.batch_execute("CHECKPOINT").await.expect("a superuser may");
    }

    /// When the job was started, in microseconds since 1970, if it was.
    pub async fn started(client: &Client, id: uuid::Uuid) -> Option<i64> {
        let rows = client.query("SELECT started_at FROM windlass.history WHERE id = $1", &[&id]).await.expect("history can be read");
        rows.first().and_then(|row| row.get(0))
    }

    pub async fn begin_and_enqueue(client: &Client) -> uuid::Uuid {
        client.batch_execute("BEGIN").await.expect("a transaction begins");
        let row = client.query_one("SELECT windlass.enqueue($1, '1')", &[&KIND]).await.expect("the job is taken");
        row.get(0)
    }
}
