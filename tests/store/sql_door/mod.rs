//! `windlass.enqueue` and `windlass.enqueue_many`, as any program calls them in its own transaction.

mod agreement;
mod calls;
mod tenants;
mod transactions;

use crate::support::TestStore;
use serde_json::Value;
use tokio_postgres::{Client, Error};
use windlass::job::JobId;

/// A store on Postgres and a producer's connection to it, unless the run leaves Postgres out.
async fn door() -> Option<(TestStore, Client)> {
    let store = TestStore::open_beside_others("postgres").await?;
    let producer = store.connection().await;
    Some((store, producer))
}

async fn try_enqueue(producer: &Client, kind: &str, payload: &str, options: &str) -> Result<JobId, Error> {
    let statement = "SELECT windlass.enqueue(kind => $1, payload => $2::text::jsonb, options => $3::text::jsonb)";
    producer.query_one(statement, &[&kind, &payload, &options]).await.map(|row| JobId(row.get(0)))
}

async fn enqueue(producer: &Client, options: &str) -> JobId {
    try_enqueue(producer, "work", r#"{"n":1}"#, options).await.unwrap_or_else(|error| panic!("{options}: {}", story(&error)))
}

async fn try_enqueue_many(producer: &Client, jobs: &str) -> Result<Vec<JobId>, Error> {
    let rows = producer.query("SELECT windlass.enqueue_many(jobs => $1::text::jsonb)", &[&jobs]).await?;
    Ok(rows.iter().map(|row| JobId(row.get(0))).collect())
}

/// Many that differ in their payloads only.
async fn try_enqueue_like(producer: &Client, kind: &str, payloads: &[&str], options: &str) -> Result<Vec<JobId>, Error> {
    let statement = "SELECT windlass.enqueue_many(kind => $1, payloads => $2::text[]::json[], options => $3::text::jsonb)";
    let rows = producer.query(statement, &[&kind, &payloads, &options]).await?;
    Ok(rows.iter().map(|row| JobId(row.get(0))).collect())
}

async fn say(producer: &Client, statement: &str) {
    producer.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {}", story(&error)));
}

fn story(error: &Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |said| format!("{} {}", said.code().code(), said.message()))
}

/// SQLSTATE, message and detail of a refusal.
fn refusal<T: std::fmt::Debug>(answer: Result<T, Error>) -> (String, String, Value) {
    let error = answer.expect_err("it is refused");
    let said = error.as_db_error().unwrap_or_else(|| panic!("{error}"));
    let detail = said.detail().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    (said.code().code().to_owned(), said.message().to_owned(), detail)
}
