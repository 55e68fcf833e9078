//! Tasks of stock apalis producers: each is one job, whatever dies, and its producer hears of the end.

mod theirs;

use crate::{
    crash::process::{Daemon as Process, until},
    support::{Daemon, TestStore, json, name, on_every_store},
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Instant};
use theirs::Theirs;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use windlass::{
    clock::Clock,
    intake::apalis::{Bridge, Config},
    job::{ErrorClass, Job, JobError, Leased, Limits, Settlement, State, Transition},
    store::{Actor, Filter},
    telemetry::Metrics,
};

/// Makes one test of each named function for either store of theirs; ours is on SQLite.
macro_rules! from_either {
    ($($function:ident),+ $(,)?) => {
        from_either!(from_redis "redis": $($function)+);
        from_either!(from_postgres "postgres": $($function)+);
    };
    ($theirs:ident $store:literal: $($function:ident)+) => {
        mod $theirs {
            $(
                #[tokio::test]
                async fn $function() {
                    let Some(theirs) = super::Theirs::open($store).await else { return };
                    let Some(store) = super::TestStore::open_for_test("sqlite").await else { return };
                    super::$function(&theirs, &store).await;
                    store.assert_sound().await;
                }
            )+
        }
    };
}

/// One boot of a bridge.
struct Boot {
    metrics: Metrics,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Boot {
    fn start(theirs: &Theirs, store: &TestStore) -> Self {
        let (metrics, stop) = (Metrics::new(), CancellationToken::new());
        let config = Config { url: theirs.url.clone(), queue: theirs.queue.clone(), kind: name("work"), into: None };
        let limits = watch::Sender::new(Limits::default()).subscribe();
        let bridge = Bridge::new(&name("b"), &config, store.shared(), limits, metrics.clone(), Clock::System).expect("the URL is one");
        let serving = tokio::spawn(bridge.run(stop.clone()));
        Self { metrics, stop, serving }
    }

    fn taken(&self, result: &str) -> u64 {
        self.metrics.apalis_taken.with_label_values(&["b", result]).get()
    }

    fn open(&self) -> i64 {
        self.metrics.apalis_open.with_label_values(&["b"]).get()
    }

    async fn stop(self) {
        self.stop.cancel();
        self.serving.await.expect("it ends in order");
    }

    /// No goodbye.
    async fn die(self) {
        self.serving.abort();
        let _ = self.serving.await;
    }
}

const ULIDS: [&str; 4] =
    ["01ARZ3NDEKTSV4RRFFQ69G5FA0", "01ARZ3NDEKTSV4RRFFQ69G5FA1", "01ARZ3NDEKTSV4RRFFQ69G5FA2", "01ARZ3NDEKTSV4RRFFQ69G5FA3"];

fn payload(job: &Job) -> Value {
    serde_json::from_str(job.payload.as_str()).expect("a payload is JSON")
}

/// The `n` of every job's payload.
async fn numbers(store: &TestStore) -> Vec<u64> {
    let jobs = store.all_of(&Filter::default(), 1000).await;
    let mut numbers: Vec<u64> = jobs.iter().map(|job| payload(job)["n"].as_u64().expect("a number")).collect();
    numbers.sort_unstable();
    numbers
}

async fn until_jobs(store: &TestStore, count: usize) {
    until("the jobs", async || (store.all_of(&Filter::default(), 1000).await.len() == count).then_some(())).await;
}

async fn settle(store: &TestStore, leased: &Leased, transition: Transition, result: Option<&str>) {
    let mut settlement = Settlement::new(leased.lease, transition, leased.lease.granted_at);
    settlement.result = result.map(json);
    store.settle_one(settlement, None).await;
}

/// Runs every job to its end, each with its payload as its result.
async fn work(store: &TestStore) {
    let daemon = Daemon::new();
    loop {
        let jobs = daemon.lease(&**store, 500, None).await;
        if jobs.is_empty() {
            return;
        }
        let completed = |leased: &Leased| {
            let mut settlement = Settlement::new(leased.lease, Transition::Complete, leased.lease.granted_at);
            settlement.result = Some(leased.job.payload.clone());
            settlement
        };
        store.settle(jobs.iter().map(completed).collect(), None).await.expect("the store settles");
    }
}

async fn leased(store: &TestStore) -> Leased {
    until("a job to lease", async || Daemon::new().lease(&**store, 1, None).await.pop()).await
}

async fn each_task_is_one_job_with_the_same_payload_and_its_end_is_written_back(theirs: &Theirs, store: &TestStore) {
    theirs.produce(&["single", "3"]).await;
    theirs.produce(&["batch", "40"]).await;
    let boot = Boot::start(theirs, store);
    until_jobs(store, 43).await;
    let expected = [0, 0, 1, 1, 2, 2].into_iter().chain(3..40);
    assert_eq!(numbers(store).await, expected.collect::<Vec<u64>>());
    until("all marked", async || theirs.has("Running", 43).await).await;
    assert_eq!((boot.taken("job"), theirs.held().await), (43, 43));
    let workers: BTreeSet<Option<String>> = theirs.rows().await.into_iter().map(|row| row.locked_by).collect();
    let worker = workers.first().and_then(Option::as_deref).expect("it is locked");
    assert!(workers.len() == 1 && worker.starts_with("windlass/b/"), "{workers:?}");
    // Their workers take away what one holds that gave no word for five minutes.
    assert!(theirs.words().await.iter().all(|seconds| *seconds > 6.0 * 86_400.0));
    until("the gauge", async || (boot.open() == 43).then_some(())).await;
    work(store).await;
    until("all done", async || theirs.has("Done", 43).await).await;
    for row in theirs.rows().await {
        let result = row.result.expect("a result");
        assert!(result["Ok"]["n"].is_u64() && row.attempts == 1, "{result}, {} attempts", row.attempts);
    }
    until("the gauge", async || (boot.open() == 0).then_some(())).await;
    assert_eq!(theirs.held().await, 0);
    boot.stop().await;
}

async fn producer_that_waits_for_its_task_hears_of_every_end(theirs: &Theirs, store: &TestStore) {
    let boot = Boot::start(theirs, store);
    let waiting = theirs.start(&["wait"]);
    settle(store, &leased(store).await, Transition::Complete, Some(r#"{"sum": 3}"#)).await;
    assert_eq!(waiting.await.expect("it ends"), "Ok {\"sum\":3}\n");

    let error = |message: &str| JobError::new(ErrorClass::Permanent, "refused", message);
    let waiting = theirs.start(&["wait"]);
    let rejected = Transition::Dead { reason: "rejected", error: error("no such address") };
    settle(store, &leased(store).await, rejected, None).await;
    assert_eq!(waiting.await.expect("it ends"), "Err rejected: no such address\n");

    let waiting = theirs.start(&["wait"]);
    let job = leased(store).await;
    settle(store, &job, Transition::Cancel { reason: "not wanted".into() }, None).await;
    assert_eq!(waiting.await.expect("it ends"), "Err not wanted\n");
    until("their statuses", async || theirs.has("Killed", 2).await).await;
    assert_eq!(theirs.statuses().await["Done"], 1);
    boot.stop().await;
}

async fn attempts_priority_and_key_are_carried_over_and_spent_attempts_are_told(theirs: &Theirs, store: &TestStore) {
    theirs.put(ULIDS[0], b"{\"n\":1}").await;
    let boot = Boot::start(theirs, store);
    let job = leased(store).await;
    // One attempt of three was charged before.
    assert_eq!((job.job.attempt, job.job.max_attempts), (1, 2));
    let meta = job.job.extra.as_ref().and_then(|extra| extra.meta.as_ref()).expect("its origin");
    assert_eq!(meta.as_str(), json!({"apalis": {"bridge": "b", "id": ULIDS[0]}}).to_string());
    let error = || JobError::new(ErrorClass::Retry, "down", "still down");
    settle(store, &job, Transition::Retry { at: job.lease.granted_at, error: error() }, None).await;
    let again = leased(store).await;
    settle(store, &again, Transition::Dead { reason: "attempts_spent", error: error() }, None).await;
    until("its end", async || theirs.has("Failed", 1).await).await;
    let row = theirs.rows().await.remove(0);
    assert_eq!((row.attempts, row.result), (3, Some(json!({"Err": "attempts_spent: still down"}))));

    theirs.produce(&["keyed", "key-1"]).await;
    let job = leased(store).await;
    let job = store.job(job.job.id).await;
    assert_eq!((job.extra.idempotency_key.as_deref(), job.max_attempts), (Some("key-1"), 3));
    // apalis-redis has no priorities.
    let postgres = theirs.url.starts_with("postgres");
    assert_eq!(job.priority, if postgres { 3 } else { 5 });
    boot.stop().await;
}

async fn scheduled_task_keeps_its_time(theirs: &Theirs, store: &TestStore) {
    let began = Instant::now();
    theirs.produce(&["later", "3", "2"]).await;
    theirs.produce(&["later", "3600", "1"]).await;
    theirs.produce(&["single", "1"]).await;
    let boot = Boot::start(theirs, store);
    until_jobs(store, 1).await;
    until_jobs(store, 3).await;
    // Their seconds are whole ones.
    assert!(began.elapsed().as_secs_f64() > 1.9, "{:?}", began.elapsed());
    until("those marked", async || theirs.has("Running", 3).await).await;
    assert_eq!(theirs.statuses().await["Pending"], 1);
    boot.stop().await;
}

async fn task_that_a_dead_boot_had_taken_is_one_job_whether_or_not_it_had_enqueued_it(theirs: &Theirs, store: &TestStore) {
    theirs.put(ULIDS[0], b"{\"n\":0}").await;
    let first = Boot::start(theirs, store);
    until("the first marked", async || theirs.has("Running", 1).await).await;
    first.die().await;
    // Enqueued, and died before it said so.
    theirs.unmark(ULIDS[0]).await;
    // Taken, and died before it enqueued: a boot with a store of its own leaves one like that to this store.
    theirs.put(ULIDS[1], b"{\"n\":1}").await;
    let elsewhere = TestStore::open("sqlite").await;
    let second = Boot::start(theirs, &elsewhere);
    until("the second marked", async || theirs.has("Running", 1).await).await;
    second.die().await;
    theirs.unmark(ULIDS[1]).await;
    theirs.silence_workers().await;
    let third = Boot::start(theirs, store);
    until("both marked", async || theirs.has("Running", 2).await).await;
    assert_eq!(numbers(store).await, [0, 1]);
    work(store).await;
    until("both done", async || theirs.has("Done", 2).await).await;
    assert_eq!((numbers(store).await, theirs.held().await), (vec![0, 1], 0));
    third.stop().await;
}

async fn next_boot_adopts_at_once_what_one_that_stopped_held(theirs: &Theirs, store: &TestStore) {
    let first = Boot::start(theirs, store);
    let waiting = theirs.start(&["wait"]);
    let job = leased(store).await;
    until("it is marked", async || theirs.has("Running", 1).await).await;
    first.stop().await;
    settle(store, &job, Transition::Complete, Some("7")).await;
    let second = Boot::start(theirs, store);
    assert_eq!(waiting.await.expect("it ends"), "Ok 7\n");
    assert_eq!(second.taken("job"), 0);
    // One that dies without a word is silent for half a minute first.
    theirs.put(ULIDS[0], b"{\"n\":0}").await;
    let job = leased(store).await;
    until("it is marked", async || theirs.has("Running", 1).await).await;
    second.die().await;
    let third = Boot::start(theirs, store);
    settle(store, &job, Transition::Complete, None).await;
    until("the word of the third", async || (third.open() == 0 && theirs.words().await.len() > 1).then_some(())).await;
    assert_eq!(theirs.statuses().await["Running"], 1);
    third.die().await;
    theirs.silence_workers().await;
    let fourth = Boot::start(theirs, store);
    until("it is done", async || theirs.has("Done", 2).await).await;
    fourth.stop().await;
}

async fn stock_worker_leaves_alone_what_the_bridge_holds(theirs: &Theirs, store: &TestStore) {
    theirs.put(ULIDS[0], b"{\"n\":0}").await;
    let boot = Boot::start(theirs, store);
    until("it is marked", async || theirs.has("Running", 1).await).await;
    boot.die().await;
    // Nothing is said for far longer than it waits for others.
    assert_eq!(theirs.produce(&["work", "5"]).await, "went on\n");
    assert_eq!(theirs.statuses().await["Running"], 1);
    // It would take it from a worker whose word is no longer good.
    theirs.silence_workers().await;
    assert_eq!(theirs.produce(&["work", "5"]).await, "worked {\"n\":0}\nwent on\n");
}

async fn two_bridges_take_each_task_once(theirs: &Theirs, store: &TestStore) {
    let boots = [Boot::start(theirs, store), Boot::start(theirs, store)];
    theirs.produce(&["batch", "2000"]).await;
    let taken = || boots[0].taken("job") + boots[1].taken("job");
    until("2,000 jobs", async || (taken() == 2000).then_some(())).await;
    assert_eq!(numbers(store).await, (0..2000).collect::<Vec<_>>());
    work(store).await;
    until("all written back", async || (boots[0].open() + boots[1].open() == 0).then_some(())).await;
    assert_eq!((theirs.statuses().await["Done"], taken()), (2000, 2000));
    for boot in boots {
        boot.stop().await;
    }
}

async fn job_that_is_kept_no_more_ends_its_task(theirs: &Theirs, store: &TestStore) {
    theirs.put(ULIDS[0], b"{\"n\":0}").await;
    let elsewhere = TestStore::open("sqlite").await;
    let first = Boot::start(theirs, &elsewhere);
    until("it is marked", async || theirs.has("Running", 1).await).await;
    first.stop().await;
    let second = Boot::start(theirs, store);
    until("its end", async || theirs.has("Killed", 1).await).await;
    assert_eq!(theirs.rows().await[0].result, Some(json!({"Err": "Windlass does not keep this job any more"})));
    assert_eq!(store.all().await.len(), 0);
    second.stop().await;
}

from_either! {
    each_task_is_one_job_with_the_same_payload_and_its_end_is_written_back,
    producer_that_waits_for_its_task_hears_of_every_end,
    attempts_priority_and_key_are_carried_over_and_spent_attempts_are_told,
    scheduled_task_keeps_its_time,
    task_that_a_dead_boot_had_taken_is_one_job_whether_or_not_it_had_enqueued_it,
    next_boot_adopts_at_once_what_one_that_stopped_held,
    stock_worker_leaves_alone_what_the_bridge_holds,
    two_bridges_take_each_task_once,
    job_that_is_kept_no_more_ends_its_task,
}

/// The dead letters of the store, by the id of their tasks.
async fn dead_letters(store: &TestStore) -> Vec<(String, Job)> {
    let dead = store.all_of(&Filter { state: Some(State::Dead), ..Filter::default() }, 100).await;
    let mut letters: Vec<(String, Job)> =
        dead.into_iter().map(|job| (payload(&job)["apalis"]["id"].as_str().expect("an id").to_owned(), job)).collect();
    letters.sort_by(|one, other| one.0.cmp(&other.0));
    letters
}

async fn task_that_can_be_no_job_is_a_dead_letter_here_and_failed_there_and_keeps_up_nobody(store: &mut TestStore) {
    let bad: [&[u8]; 3] = [b"hello", b"\xff\xfe", b"{\"n\":1}"];
    for side in ["redis", "postgres"] {
        let Some(theirs) = Theirs::open(side).await else { continue };
        // A ULID is one task wherever it stands.
        let ids = ULIDS.map(|id| if side == "redis" { id.to_owned() } else { id.replace("5FA", "5GA") });
        theirs.put(&ids[0], bad[0]).await;
        theirs.put(&ids[1], bad[1]).await;
        match side {
            "redis" => {
                // No metadata, and no hash where it should be.
                theirs.put(&ids[2], bad[2]).await;
                theirs.ask::<i64>(&["HDEL", &format!("{}:{}", theirs.key("meta"), ids[2]), "max_attempts"]).await;
                theirs.ask::<i64>(&["RPUSH", &theirs.key("active"), "nothing"]).await;
                theirs.ask::<()>(&["SET", &format!("{}:nothing", theirs.key("meta")), "a text"]).await;
            }
            _ => {
                theirs.put("no-ulid", bad[2]).await;
                theirs.put("01ARZ3NDEKTSV4RRFFQ69G5GAI", bad[2]).await;
            }
        }
        theirs.put(&ids[3], b"{\"n\":3}").await;
        let boot = Boot::start(&theirs, store);
        let good = leased(store).await;
        assert_eq!(good.job.payload.as_str(), "{\"n\":3}");
        until("the dead letters", async || (boot.taken("dead_letter") == 4).then_some(())).await;
        let letters = dead_letters(store).await;
        assert_eq!(letters.len(), 4, "{letters:?}");
        let reason = |at: usize| letters[at].1.reason.clone().unwrap_or_default();
        assert!(reason(0).starts_with("apalis: its payload is not JSON: "), "{}", reason(0));
        let told = &payload(&letters[0].1)["apalis"];
        assert_eq!((&told["queue"], &told["bytes_base64"], &told["bytes"]), (&json!(theirs.queue), &json!("aGVsbG8="), &json!(5)));
        assert!(reason(1).starts_with("apalis: its payload is not UTF-8: "), "{}", reason(1));
        match side {
            "redis" => {
                assert_eq!(reason(2), "apalis: its metadata has no `max_attempts` that can be read");
                assert_eq!(reason(3), "apalis: its metadata has no `attempts` that can be read");
                assert_eq!(theirs.ask::<usize>(&["SCARD", &theirs.key("dead")]).await, 4);
                theirs.ask::<i64>(&["DEL", &format!("{}:nothing", theirs.key("meta"))]).await;
            }
            _ => assert_eq!((reason(2), reason(3)), ("apalis: its id is no ULID".into(), "apalis: its id is no ULID".into())),
        }
        let rows = theirs.rows().await;
        let killed = rows.iter().find(|row| row.id == ids[0]).expect("it stays");
        assert_eq!(killed.status, "Killed");
        assert!(killed.result.as_ref().is_some_and(|result| result["Err"].as_str().is_some_and(|said| reason(0).ends_with(said))));
        settle(store, &good, Transition::Complete, None).await;
        until("the good one", async || theirs.has("Done", 1).await).await;
        assert_eq!(theirs.held().await, 0);
        boot.stop().await;
        // They can be redriven like any other, and then removed.
        for (at, (_, letter)) in letters.iter().enumerate() {
            let actor = Actor::new("test");
            if at == 0 {
                store.redrive(letter.id, &actor, None).await.expect("a dead letter can be redriven");
                assert_eq!(leased(store).await.job.id, letter.id);
            } else {
                store.purge(letter.id, &actor, None).await.expect("a dead letter can be removed");
            }
        }
    }
}

async fn end_of_a_job_reaches_a_producer_that_waits(store: &mut TestStore) {
    for side in ["redis", "postgres"] {
        let Some(theirs) = Theirs::open(side).await else { continue };
        let boot = Boot::start(&theirs, store);
        let waiting = theirs.start(&["wait"]);
        settle(store, &leased(store).await, Transition::Complete, Some("[1]")).await;
        assert_eq!(waiting.await.expect("it ends"), "Ok [1]\n");
        boot.stop().await;
    }
}

on_every_store! {
    task_that_can_be_no_job_is_a_dead_letter_here_and_failed_there_and_keeps_up_nobody,
    end_of_a_job_reaches_a_producer_that_waits,
}

#[tokio::test]
async fn queue_that_stock_workers_can_never_fetch_from_again_is_taken_over() {
    let Some(theirs) = Theirs::open("redis").await else { return };
    let store = TestStore::open("sqlite").await;
    theirs.produce(&["batch", "9000"]).await;
    let said = theirs.produce(&["work", "60"]).await;
    assert!(said.starts_with("ended Err") && said.contains("too many results to unpack"), "{said}");
    let boot = Boot::start(&theirs, &store);
    until("9,000 jobs", async || (boot.taken("job") == 9000).then_some(())).await;
    assert_eq!(numbers(&store).await, (0..9000).collect::<Vec<_>>());
    work(&store).await;
    until("all written back", async || (theirs.ask::<usize>(&["SCARD", &theirs.key("done")]).await == 9000).then_some(())).await;
    assert_eq!(theirs.held().await, 0);
    boot.stop().await;
}

#[tokio::test]
async fn result_that_their_database_cannot_hold_keeps_back_no_other() {
    let Some(theirs) = Theirs::open("postgres").await else { return };
    let store = TestStore::open("sqlite").await;
    for id in ULIDS {
        theirs.put(id, b"{\"n\":1}").await;
    }
    let boot = Boot::start(&theirs, &store);
    until("all marked", async || theirs.has("Running", 4).await).await;
    let jobs = Daemon::new().lease(&*store, 4, None).await;
    let results = [r#""a""#, "\"\\u0000\"", "1e999999", r#""b""#];
    for (job, result) in jobs.iter().zip(results) {
        settle(&store, job, Transition::Complete, Some(result)).await;
    }
    until("all done", async || theirs.has("Done", 4).await).await;
    let told: Vec<Value> = theirs.rows().await.into_iter().filter_map(|row| row.result).collect();
    let other = json!({"Err": "the result cannot be held by this database; Windlass keeps it with the job"});
    assert_eq!(told, [json!({"Ok": "a"}), other.clone(), other, json!({"Ok": "b"})]);
    boot.stop().await;
}

#[tokio::test]
async fn bridge_goes_on_when_its_connection_was_cut() {
    let Some(theirs) = Theirs::open("postgres").await else { return };
    let store = TestStore::open("sqlite").await;
    let boot = Boot::start(&theirs, &store);
    theirs.put(ULIDS[0], b"{\"n\":0}").await;
    until("it is marked", async || theirs.has("Running", 1).await).await;
    theirs
        .execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'bridge'")
        .await;
    theirs.put(ULIDS[1], b"{\"n\":1}").await;
    until("both are marked", async || theirs.has("Running", 2).await).await;
    work(&store).await;
    until("both are done", async || theirs.has("Done", 2).await).await;
    assert_eq!(numbers(&store).await, [0, 1]);
    boot.stop().await;
}

#[tokio::test]
async fn bridge_whose_server_is_no_use_tries_on_until_it_is_told_to_stop() {
    let store = TestStore::open("sqlite").await;
    for scheme in ["redis", "postgres"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port can be had");
        let url = format!("{scheme}://nobody@{}/0", listener.local_addr().expect("it has an address"));
        let config = Config { url, queue: "orders".into(), kind: name("work"), into: None };
        let limits = watch::Sender::new(Limits::default()).subscribe();
        let bridge = Bridge::new(&name("b"), &config, store.shared(), limits, Metrics::new(), Clock::System).expect("the URL is one");
        let stop = CancellationToken::new();
        let serving = tokio::spawn(bridge.run(stop.clone()));
        for _ in 0..4 {
            drop(listener.accept().await.expect("it tries"));
        }
        stop.cancel();
        serving.await.expect("it ends in order");
    }
}

#[test]
fn setting_that_cannot_be_used_is_named() {
    let check = |url: &str, queue: &str| Config { url: url.into(), queue: queue.into(), kind: name("work"), into: None }.check("orders");
    assert_eq!(check("redis://127.0.0.1", "q"), Ok(()));
    let told = "`apalis.orders.url` is neither redis://… nor postgres://…; use redis://host:6379/0 or postgres://user@host/database";
    assert_eq!(check("mysql://127.0.0.1", "q"), Err(told.into()));
    assert_eq!(check("redis://h", ""), Err("`apalis.orders.queue` is empty; give the name that the producers push to".into()));
}

#[tokio::test]
async fn daemon_serves_the_bridges_of_its_configuration_and_says_so_when_it_stops() {
    let Some(theirs) = Theirs::open("redis").await else { return };
    let folder = tempfile::tempdir().expect("a folder can be made");
    let settings = [("URL", theirs.url.as_str()), ("QUEUE", &theirs.queue), ("KIND", "http.call")];
    let names = settings.map(|(key, _)| format!("WINDLASS__APALIS__ORDERS__{key}"));
    let extra: Vec<(&str, &str)> = names.iter().zip(settings).map(|(name, (_, value))| (name.as_str(), value)).collect();
    let mut daemon = Process::start(folder.path(), &extra).await;
    // A payload that its kind cannot use: the worker says so, and the producer hears of it.
    let said = theirs.produce(&["wait"]).await;
    assert!(said.starts_with("Err rejected: "), "{said}");
    daemon.signal(libc::SIGTERM);
    assert!(daemon.ended().await.success());
    let words = theirs.words().await;
    assert!(words.len() == 1 && words[0] < 7.0 * 86_400.0 - 20.0, "the next boot would wait: {words:?}");
}
