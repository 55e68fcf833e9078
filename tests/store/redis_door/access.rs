//! Users of Redis' ACL who may do what docs/redis.md says of their role, and no more.

use super::door;
use crate::support::{Build as _, Daemon, TestStore, work};
use redis::{RedisResult, Value, aio::MultiplexedConnection};
use windlass::{
    clock::Clock,
    job::State,
    store::{Error, Filter, Role, Store as _, redis::Config, redis::RedisStore},
};

async fn connect(store: &TestStore, role: &str) -> MultiplexedConnection {
    let client = redis::Client::open(store.redis_user(role).await).expect("a URL");
    client.get_multiplexed_async_connection().await.expect("the user is let in")
}

async fn is_refused(server: &mut MultiplexedConnection, call: &str) {
    let mut words = call.split(' ');
    let mut command = redis::cmd(words.next().expect("a command"));
    words.for_each(|word| _ = command.arg(word));
    let answer: RedisResult<Value> = command.query_async(server).await;
    assert_eq!(answer.expect_err(call).code(), Some("NOPERM"), "{call}");
}

fn config(store: &TestStore) -> Config {
    Config { prefix: store.prefix().to_owned(), accept: vec![windlass::store::redis::Risk::NoPersistence], ..Config::default() }
}

#[tokio::test]
async fn producer_reaches_nothing_beyond_its_prefix_and_no_command_that_harms_the_server() {
    let Some((store, _)) = door().await else { return };
    let mut producer = connect(&store, "producer").await;
    for call in [
        "FCALL windlass_enqueue 1 other:{mail} {\"kind\":\"a\",\"payload\":1}",
        "GET other",
        "HSET other a 1",
        "CONFIG GET *",
        "FLUSHALL",
        "FLUSHDB",
        "KEYS *",
        "FUNCTION LIST",
        "EVAL return(1) 0",
        "SHUTDOWN",
        "ACL LIST",
        "CLIENT LIST",
    ] {
        is_refused(&mut producer, call).await;
    }
    let mut poster = connect(&store, "poster").await;
    let list = format!("{}:inbox", store.prefix());
    let () = redis::cmd("LPUSH").arg(&list).arg("{}").query_async(&mut poster).await.expect("that is all it may");
    for call in [format!("LRANGE {list} 0 9"), format!("DEL {list}"), "LPUSH other 1".to_owned(), "FCALL windlass_enqueue 0".to_owned()] {
        is_refused(&mut poster, &call).await;
    }
}

#[tokio::test]
async fn daemon_s_user_does_all_that_a_daemon_does() {
    let Some((store, _)) = door().await else { return };
    let url = store.redis_user("daemon").await;
    RedisStore::migrate(&url, &config(&store)).await.expect("it may load the library");
    assert!(RedisStore::is_migrated(&url, &config(&store)).await.expect("it may look"));
    let control = Some(([127, 0, 0, 1], 9).into());
    let ours = RedisStore::open(&url, Role::Daemon { control }, config(&store), Clock::System).await.expect("it may open");
    ours.enqueue(vec![work().queue("mail")], None).await.expect("it enqueues");
    let daemon = Daemon::new();
    let leased = daemon.lease_from(&ours, "mail", 5, None).await;
    ours.heartbeat(daemon.holder, crate::support::LEASE, leased.iter().map(|l| l.lease).collect(), vec![], None).await.expect("it beats");
    store.complete(&leased, None).await;
    ours.advance(None).await.expect("it advances");
    ours.reap(None).await.expect("it reaps");
    ours.prune(Default::default(), 100, None).await.expect("it prunes");
    ours.goodbye(daemon.holder).await.expect("it says goodbye");
    assert_eq!(ours.health().await.expect("it looks after itself").store, "redis");
    let mut server = connect(&store, "daemon").await;
    for call in ["FLUSHALL", "GET other", "CONFIG SET maxmemory 1", "SHUTDOWN", "KEYS *"] {
        is_refused(&mut server, call).await;
    }
}

#[tokio::test]
async fn reader_sees_jobs_and_changes_nothing() {
    let Some((store, producer)) = door().await else { return };
    let ids = producer.enqueue("mail", &[r#"{"kind":"a","payload":1}"#]).await;
    let url = store.redis_user("reader").await;
    let ours = RedisStore::open(&url, Role::Client, config(&store), Clock::System).await.expect("it may open");
    assert_eq!(ours.get(ids[0]).await.expect("it reads").expect("the job").state, State::Queued);
    assert_eq!(ours.list(&Filter::default(), None, 10).await.expect("it lists").items.len(), 1);
    assert_eq!(ours.queues(None).await.expect("it counts").len(), 1);
    let refused = ours.enqueue(vec![work()], None).await;
    assert!(matches!(&refused, Err(Error::Refused(why)) if why.contains("does not let this user")), "{refused:?}");
    assert_eq!(store.all().await.len(), 1);
}
