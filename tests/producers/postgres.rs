//! In an application's own transactions.

use super::{go_example, node_example, output, python_example};
use crate::support::{TestStore, postgres_server};
use std::{path::Path, process::Command};

/// A database whose user `name` may enqueue and make a table of its own, and its address for that user.
async fn application(name: &str) -> Option<(String, tokio_postgres::Client)> {
    if !TestStore::is_wanted("postgres") {
        return None;
    }
    let server = postgres_server().await;
    let database = server.fresh().await;
    let client = server.connect(&database).await;
    let user = format!("CREATE ROLE {name} LOGIN; GRANT windlass_producer TO {name}; GRANT CREATE ON SCHEMA public TO {name}");
    client.batch_execute(&user).await.expect("a role can be made");
    Some((server.url_of(name, &database), client))
}

/// What every example leaves: its words, and the jobs that it committed.
async fn assert_done(words: &str, jobs: &tokio_postgres::Client, reports: i64) {
    assert!(words.contains("refused /priority: must be 0 (first) to 9 (last)"), "{words}");
    let count = "SELECT count(*) FILTER (WHERE kind = 'order.confirm' AND queue = 'mail' AND payload = '{\"order\": 17}'), count(*) FILTER (WHERE kind = 'report.build'), count(*) \
        FROM windlass.jobs";
    let row = jobs.query_one(count, &[]).await.expect("a count");
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1), row.get::<_, i64>(2)), (1, reports, 1 + reports), "{words}");
}

#[tokio::test]
async fn python_with_psycopg() {
    let Some((url, jobs)) = application("app_python").await else { return };
    let mut run = python_example("postgres", "psycopg");
    assert_done(&output(run.env("DATABASE_URL", url)), &jobs, 3).await;
}

#[tokio::test]
async fn node_with_node_postgres() {
    let Some((url, jobs)) = application("app_node").await else { return };
    let mut run = node_example("postgres");
    assert_done(&output(run.env("DATABASE_URL", url)), &jobs, 3).await;
}

#[tokio::test]
async fn go_with_pgx_where_there_is_go() {
    let Some((url, jobs)) = application("app_go").await else { return };
    let Some(mut run) = go_example("postgres") else { return };
    assert_done(&output(run.env("DATABASE_URL", url)), &jobs, 0).await;
}

#[tokio::test]
async fn rust_with_tokio_postgres() {
    let Some((url, jobs)) = application("app_rust").await else { return };
    let own = std::env::current_exe().expect("a test has a place");
    let built = own.parent().and_then(Path::parent).expect("deps/ is in the build's folder").join("examples/enqueue-postgres");
    assert_done(&output(Command::new(built).env("DATABASE_URL", url)), &jobs, 0).await;
}
