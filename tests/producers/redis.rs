//! By `FCALL windlass_enqueue` and by the inbox.

use super::{example, go_example, node_example, output, python_example};
use crate::support::{TestStore, on_path, program};
use ::redis::cmd;
use std::process::Command;
use windlass::job::State;

/// A store on Redis, and a command that enqueues into it as a user who may do no more: the recipe of docs/redis.md.
async fn application(run: &mut Command) -> Option<TestStore> {
    let store = TestStore::open_beside_others("redis").await?;
    let url = store.redis_user("producer").await;
    run.env("REDIS_URL", url).env("WINDLASS_PREFIX", store.prefix());
    Some(store)
}

/// What every example leaves: its words, and the jobs and the entry that it brought.
async fn assert_done(words: &str, store: &TestStore) {
    assert!(words.contains("refused /priority: must be 0 (first) to 9 (last)"), "{words}");
    let (mail, reports) = (store.queue_status("mail", None).await, store.queue_status("reports", None).await);
    assert_eq!((mail.jobs[&State::Queued], reports.jobs[&State::Queued]), (1, 3), "{words}");
    let call = cmd("LLEN").arg(format!("{}:inbox", store.prefix())).clone();
    let left: u64 = call.query_async(&mut store.redis_connection().await).await.expect("a length");
    assert_eq!(left, 1, "{words}");
}

#[tokio::test]
async fn python_with_redis_py() {
    let mut run = python_example("redis", "redis");
    let Some(store) = application(&mut run).await else { return };
    assert_done(&output(&mut run), &store).await;
}

#[tokio::test]
async fn node_with_ioredis() {
    let mut run = node_example("redis");
    let Some(store) = application(&mut run).await else { return };
    assert_done(&output(&mut run), &store).await;
}

#[tokio::test]
async fn go_with_go_redis_where_there_is_go() {
    let Some(mut run) = go_example("redis") else { return };
    let Some(store) = application(&mut run).await else { return };
    assert_done(&output(&mut run), &store).await;
}

#[tokio::test]
async fn shell_with_redis_cli() {
    program("redis-tools", || on_path("redis-cli"));
    let mut run = Command::new(example("redis", "shell").join("enqueue.sh"));
    let Some(store) = application(&mut run).await else { return };
    assert_done(&output(&mut run), &store).await;
}
