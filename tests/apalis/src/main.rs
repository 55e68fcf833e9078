//! A producer and a worker as other teams have them: the stock crates of apalis 1.0, unchanged, for the tests of the bridge.
//!
//! `apalis-producer URL QUEUE setup | single COUNT | batch COUNT | later SECONDS COUNT | keyed KEY | wait | work SECONDS`

use anyhow::{Context as _, Result, bail};
use apalis_core::{
    backend::{Backend, TaskSink, WaitForCompletion, finalize::Durable},
    error::BoxDynError,
    task::{builder::TaskBuilder, task_id::TaskId},
    worker::builder::WorkerBuilder,
};
use apalis_postgres::PostgresStorage;
use apalis_redis::RedisStorage;
use futures::StreamExt as _;
use serde_json::{Value, json};
use std::{fmt::Debug, pin::pin, time::Duration};

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, queue, action @ ..] = arguments.as_slice() else { bail!("give a URL, a queue and what to do") };
    let action: Vec<&str> = action.iter().map(String::as_str).collect();
    let second = Duration::from_secs(1);
    if url.starts_with("redis") {
        // A worker that is silent for a second is dead to this one, which takes away what it holds.
        let config = apalis_redis::Config::default().queue(queue).heartbeat_interval(second).missed_heartbeats(1);
        let storage = RedisStorage::new(apalis_redis::connect(url.as_str()).await?).with_config(config);
        return match action[..] {
            ["work", seconds] => work(seconds, WorkerBuilder::new(name()).backend(storage).build(handle).run()).await,
            _ => produce(storage, &action).await,
        };
    }
    let pool = sqlx::PgPool::connect(url).await?;
    let config = apalis_postgres::Config::default().queue(queue).heartbeat_interval(second).missed_heartbeats(1);
    let storage = PostgresStorage::new(&pool).with_config(config);
    match action[..] {
        ["setup"] => Ok(PostgresStorage::setup(&pool).await?),
        ["work", seconds] => work(seconds, WorkerBuilder::new(name()).backend(storage).build(handle).run()).await,
        _ => produce(storage, &action).await,
    }
}

async fn produce<B>(mut storage: B, action: &[&str]) -> Result<()>
where
    B: TaskSink<Value, Durable> + WaitForCompletion<Value> + Backend + Send,
    B::Error: Debug,
{
    let failed = |error| anyhow::anyhow!("{error:?}");
    match *action {
        ["single", count] => {
            for n in 0..count.parse()? {
                storage.push(payload(n)).await.map_err(failed)?;
            }
        }
        ["batch", count] => {
            let payloads: Vec<Value> = (0..count.parse()?).map(payload).collect();
            for chunk in payloads.chunks(1000) {
                storage.push_bulk(chunk.to_vec()).await.map_err(failed)?;
            }
        }
        ["later", seconds, count] => {
            for n in 0..count.parse()? {
                let task = TaskBuilder::new(payload(n)).run_in_seconds(seconds.parse()?).build();
                storage.push_task(task).await.map_err(failed)?;
            }
        }
        ["keyed", key] => {
            let task = TaskBuilder::new(payload(0)).idempotency_key(key).priority(2).max_attempts(3).build();
            storage.push_task(task).await.map_err(failed)?;
        }
        ["wait"] => {
            let id = TaskId::from_ulid(ulid::Ulid::generate());
            storage.push_task(TaskBuilder::new(payload(0)).task_id(id.clone()).build()).await.map_err(failed)?;
            let mut ends = pin!(storage.wait_for_single(id));
            let ended = tokio::time::timeout(Duration::from_secs(100), ends.next()).await.context("nobody said that it ended")?;
            let ended = ended.context("the stream ended")?;
            let ended = ended.map_err(|error| anyhow::anyhow!("{error:?}"))?;
            // Not its status: apalis-redis asks for that and for the result one after the other, and the end may come in between.
            match ended.result() {
                Ok(value) => println!("Ok {value}"),
                Err(error) => println!("Err {error}"),
            }
        }
        _ => bail!("this is no action: {action:?}"),
    }
    Ok(())
}

fn payload(n: u64) -> Value {
    json!({ "n": n })
}

fn name() -> String {
    format!("stock-{}", std::process::id())
}

/// Tells which task it was given, and does it.
async fn handle(task: Value) -> Result<Value, BoxDynError> {
    println!("worked {task}");
    Ok(task)
}

/// As long as it is told to, or until it ends by itself.
async fn work<E: Debug>(seconds: &str, worker: impl Future<Output = Result<(), E>>) -> Result<()> {
    match tokio::time::timeout(Duration::from_secs(seconds.parse()?), worker).await {
        Ok(ended) => println!("ended {ended:?}"),
        Err(_) => println!("went on"),
    }
    Ok(())
}
