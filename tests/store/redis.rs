//! What only Redis brings: settings that would lose jobs, replicas that acknowledge, functions that are gone, TLS.

use crate::support::{Build as _, Daemon, OwnRedis, TestStore, ids, name, on_path, operator, program, work};
use redis::cmd;
use std::{path::Path, process::Command};
use windlass::{
    clock::Clock,
    job::{JobId, KindSettings, LiveLimits, NewJob, OnDuplicate, QueueSettings, Settings, Settlement, State, Transition, UniqueFor},
    store::{
        Durability, Error, Role, Store as _,
        redis::{Config, RedisStore, Risk},
    },
};

async fn open(server: &OwnRedis, config: Config) -> Result<RedisStore, Error> {
    RedisStore::open(&server.url(), Role::Client, config, Clock::System).await
}

#[tokio::test]
async fn server_that_would_lose_jobs_is_refused_with_the_remedy_unless_that_is_accepted_by_name() {
    if !TestStore::is_wanted("redis") {
        return;
    }
    let server = OwnRedis::start(&[]).await;
    let table = [
        ("appendonly", "no", "yes", "appendonly yes", Risk::NoPersistence),
        ("maxmemory-policy", "allkeys-lru", "noeviction", "maxmemory-policy noeviction", Risk::Eviction),
    ];
    server.say("CONFIG SET maxmemory 1000000000").await.expect("a bound");
    for (setting, bad, good, remedy, risk) in table {
        server.say(&format!("CONFIG SET {setting} {bad}")).await.expect("a setting");
        let refused = open(&server, Config::default()).await.err();
        assert!(matches!(&refused, Some(Error::Refused(why)) if why.contains(remedy) && why.contains("accept")), "{refused:?}");
        let accepted = open(&server, Config { accept: vec![risk], ..Config::default() }).await.expect("it was accepted");
        assert_eq!(accepted.health().await.expect("health").durability, Durability::Relaxed);
        server.say(&format!("CONFIG SET {setting} {good}")).await.expect("a setting");
    }
    for (fsync, replicas, class) in [
        ("everysec", 0, Durability::Relaxed),
        ("always", 0, Durability::Strict),
        ("always", 1, Durability::Replicated),
        ("everysec", 1, Durability::Relaxed),
    ] {
        server.say(&format!("CONFIG SET appendfsync {fsync}")).await.expect("a setting");
        let store = open(&server, Config { replicas, ..Config::default() }).await.expect("it opens");
        assert_eq!(store.health().await.expect("health").durability, class);
    }
}

#[tokio::test]
async fn server_without_functions_is_refused_at_the_start_and_waited_for_later() {
    if !TestStore::is_wanted("redis") {
        return;
    }
    let server = OwnRedis::empty(&[]).await;
    let refused = open(&server, Config::default()).await.err();
    assert!(matches!(&refused, Some(Error::Refused(why)) if why.contains("windlass migrate")), "{refused:?}");
    RedisStore::migrate(&server.url(), &Config::default()).await.expect("the library loads");
    let store = open(&server, Config::default()).await.expect("it opens");
    server.say("FUNCTION FLUSH").await.expect("they go");
    let told = store.enqueue(vec![work()], None).await;
    assert!(matches!(&told, Err(Error::Unavailable(why)) if why.contains("windlass migrate")), "{told:?}");
    RedisStore::migrate(&server.url(), &Config::default()).await.expect("the library loads");
    store.enqueue(vec![work()], None).await.expect("it goes on");
}

#[tokio::test]
async fn door_of_a_newer_release_stays_when_an_older_one_migrates() {
    if !TestStore::is_wanted("redis") {
        return;
    }
    let server = OwnRedis::start(&[]).await;
    let load = async |name: &str, function: &str| {
        let text = format!("#!lua name={name}\nredis.register_function('{function}', function() return 'newer' end)");
        let call = cmd("FUNCTION").arg("LOAD").arg("REPLACE").arg(text).clone();
        let () = call.query_async::<String>(&mut server.connect().await).await.map(drop).expect("a library");
    };
    load("windlass", "windlass_enqueue").await;
    assert!(!RedisStore::is_migrated(&server.url(), &Config::default()).await.expect("it looks"));
    load("windlass_v10", "windlass_v10_lease").await;
    assert!(RedisStore::is_migrated(&server.url(), &Config::default()).await.expect("it looks"));
    RedisStore::migrate(&server.url(), &Config::default()).await.expect("ours loads beside it");
    let call = cmd("FCALL").arg("windlass_enqueue").arg(0).clone();
    assert_eq!(call.query_async::<String>(&mut server.connect().await).await.expect("an answer"), "newer");
}

#[tokio::test]
async fn script_that_never_ends_is_waited_out_until_somebody_kills_it() {
    if !TestStore::is_wanted("redis") {
        return;
    }
    let server = OwnRedis::start(&["--busy-reply-threshold", "1"]).await;
    let store = open(&server, Config::default()).await.expect("it opens");
    let leased = {
        store.enqueue(vec![work()], None).await.expect("it is taken");
        Daemon::new().lease(&store, 1, None).await
    };
    let spin =
        "#!lua name=spin\nredis.register_function{function_name='spin', callback=function() while true do end end, flags={'no-writes'}}";
    cmd("FUNCTION").arg("LOAD").arg(spin).query_async::<String>(&mut server.connect().await).await.expect("it loads");
    for (call, kill) in [(vec!["EVAL", "while true do end", "0"], "SCRIPT KILL"), (vec!["FCALL", "spin", "0"], "FUNCTION KILL")] {
        let mut other = server.connect().await;
        let mut spinning = cmd(call[0]);
        spinning.arg(&call[1..]);
        let spinning = tokio::spawn(async move { spinning.query_async::<()>(&mut other).await });
        let job = work();
        // It may come before the script does.
        let mut told = store.enqueue(vec![job.clone()], None).await;
        while told.is_ok() {
            told = store.enqueue(vec![job.clone()], None).await;
        }
        assert!(matches!(&told, Err(Error::Unavailable(why)) if why.contains("busy")), "{told:?}");
        let ends = leased.iter().map(|l| Settlement::new(l.lease, Transition::Complete, l.lease.granted_at)).collect::<Vec<_>>();
        assert!(matches!(store.settle(ends, None).await, Err(Error::Unavailable(_))));
        server.say(kill).await.expect("it is killed");
        assert!(spinning.await.expect("it ran").is_err());
        assert_eq!(store.enqueue(vec![job.clone()], None).await.expect("it goes on")[0].id, job.id);
    }
    let ends = leased.iter().map(|l| Settlement::new(l.lease, Transition::Complete, l.lease.granted_at)).collect();
    assert_eq!(store.settle(ends, None).await.expect("it goes on"), [windlass::job::Applied::Applied]);
}

/// Redis 7.0 cannot; which one the suite finds here decides what it has to do.
#[tokio::test]
async fn what_waits_for_disks_is_strict_or_refused_where_the_server_cannot() {
    if !TestStore::is_wanted("redis") {
        return;
    }
    let (master, replica) = (OwnRedis::start(&["--repl-diskless-sync-delay", "0"]).await, OwnRedis::empty(&[]).await);
    let config = |replicas| Config { on_disk: true, replicas, timeout_ms: 6000, ..Config::default() };
    if master.text("COMMAND INFO WAITAOF").await.is_empty() {
        let refused = open(&master, config(0)).await.err();
        assert!(matches!(&refused, Some(Error::Refused(why)) if why.contains("7.2") && why.contains("take it out")), "{refused:?}");
        return;
    }
    let store = open(&master, config(0)).await.expect("it opens");
    assert_eq!(store.health().await.expect("health").durability, Durability::Strict);
    store.enqueue(vec![work(), work()], None).await.expect("it is on the disk");
    let unseen = work();
    let store = open(&master, config(1)).await.expect("it opens");
    assert_eq!(store.health().await.expect("health").durability, Durability::Replicated);
    let told = store.enqueue(vec![unseen.clone()], None).await;
    assert!(matches!(&told, Err(Error::Unknown(why)) if why.contains("0 of 1 replicas")), "{told:?}");
    replica.say(&format!("REPLICAOF 127.0.0.1 {}", master.port())).await.expect("it follows");
    let mut again = told;
    while matches!(again, Err(Error::Unknown(_))) {
        again = store.enqueue(vec![unseen.clone()], None).await;
    }
    assert_eq!(again.expect("it is on both disks")[0].id, unseen.id);
}

#[tokio::test]
async fn what_is_acknowledged_by_a_replica_outlives_the_master() {
    if !TestStore::is_wanted("redis") {
        return;
    }
    let mut master = OwnRedis::start(&["--appendfsync", "always", "--repl-diskless-sync-delay", "0"]).await;
    let mut replica = OwnRedis::empty(&["--appendfsync", "always"]).await;
    replica.say(&format!("REPLICAOF 127.0.0.1 {}", master.port())).await.expect("it follows");
    let config = Config { replicas: 1, timeout_ms: 2000, ..Config::default() };
    let store = open(&master, config.clone()).await.expect("it opens");
    let jobs: Vec<_> = (0..20).map(|_| work()).collect();
    // The replica may still be copying what is there; the same jobs asked about again are the same jobs.
    let mut first = store.enqueue(jobs.clone(), None).await;
    while matches!(first, Err(Error::Unknown(_))) {
        first = store.enqueue(jobs.clone(), None).await;
    }
    let acknowledged: Vec<JobId> = first.expect("they are acknowledged").iter().map(|enqueued| enqueued.id).collect();
    let leased = Daemon::new().lease(&store, 5, None).await;
    store
        .settle(leased.iter().map(|l| Settlement::new(l.lease, Transition::Complete, l.lease.granted_at)).collect(), None)
        .await
        .expect("they end");
    replica.crash();
    let alone = work();
    let told = store.enqueue(vec![alone.clone()], None).await;
    assert!(matches!(&told, Err(Error::Unknown(why)) if why.contains("0 of 1 replicas")), "{told:?}");
    replica.up().await;
    replica.say(&format!("REPLICAOF 127.0.0.1 {}", master.port())).await.expect("it follows again");
    let mut again = store.enqueue(vec![alone.clone()], None).await;
    while matches!(again, Err(Error::Unknown(_))) {
        again = store.enqueue(vec![alone.clone()], None).await;
    }
    again.expect("it is acknowledged now");
    master.crash();
    replica.say("REPLICAOF NO ONE").await.expect("it takes over");
    let store = open(&replica, config).await.expect("it opens");
    for id in acknowledged {
        let job = store.get(id).await.expect("it reads").expect("no acknowledged job is lost");
        let state = if ids(&leased).contains(&id) { State::Completed } else { State::Queued };
        assert_eq!(job.state, state);
    }
    assert!(store.get(alone.id).await.expect("it reads").is_some());
}

/// An authority and a server's certificate by it, for `localhost`.
fn certificates(folder: &Path) {
    let openssl = program("openssl", || on_path("openssl"));
    let run = |arguments: &str| {
        let done = Command::new(&openssl).current_dir(folder).args(arguments.split(' ')).output().expect("openssl runs");
        assert!(done.status.success(), "{arguments}: {}", String::from_utf8_lossy(&done.stderr));
    };
    std::fs::write(folder.join("names"), "subjectAltName=DNS:localhost").expect("a file");
    run("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=ours -keyout ca.key -out ca.crt");
    run("req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -keyout server.key -out server.csr");
    run("x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.crt");
}

#[tokio::test]
async fn rediss_is_redis_over_tls_whose_certificate_is_checked() {
    if !TestStore::is_wanted("redis") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    certificates(folder.path());
    let port = crate::support::free_port().to_string();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (certificate, key, authority) = (file("server.crt"), file("server.key"), file("ca.crt"));
    let options = ["--tls-port", &port, "--tls-cert-file", &certificate, "--tls-key-file", &key, "--tls-ca-cert-file", &authority];
    let _server = OwnRedis::empty(&[&options[..], &["--tls-auth-clients", "no"]].concat()).await;
    let windlass = |arguments: &[&str], trusted: &str| {
        let mut run = Command::new(env!("CARGO_BIN_EXE_windlass"));
        run.args(arguments).args(["--store", &format!("rediss://localhost:{port}/0")]).env("SSL_CERT_FILE", trusted);
        run.output().expect("the binary runs")
    };
    let said = windlass(&["migrate"], &authority);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let said = windlass(&["enqueue", "http.call", "{}"], &authority);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    // An authority that has nothing to do with it.
    let elsewhere = tempfile::tempdir().expect("a folder");
    certificates(elsewhere.path());
    let other = elsewhere.path().join("ca.crt").display().to_string();
    let said = windlass(&["enqueue", "http.call", "{}"], &other);
    let told = String::from_utf8_lossy(&said.stderr);
    assert!(!said.status.success() && told.contains("certificate"), "{told}");
}

/// Calls of functions that the server has seen.
async fn calls(server: &OwnRedis) -> u64 {
    let mut connection = server.connect().await;
    let stats: String = cmd("INFO").arg("commandstats").query_async(&mut connection).await.expect("the statistics");
    let of = |line: &str| line.strip_prefix("cmdstat_fcall:calls=")?.split(',').next()?.parse().ok();
    stats.lines().find_map(of).unwrap_or_default()
}

#[tokio::test]
async fn callers_at_one_time_share_a_call_and_get_their_own_answers() {
    if !TestStore::is_wanted("redis") {
        return;
    }
    let server = OwnRedis::start(&[]).await;
    let store = open(&server, Config::default()).await.expect("it opens");
    // Some bring several, one a job that could be refused.
    let jobs = |n: usize| -> Vec<NewJob> {
        match n % 10 {
            0 => vec![work(), work(), work()],
            1 => vec![work().unique("one", UniqueFor::UntilFinished, OnDuplicate::Reject)],
            _ => vec![work()],
        }
    };
    let batches: Vec<Vec<NewJob>> = (0..100).map(jobs).collect();
    let expected: Vec<Vec<JobId>> = batches.iter().map(|jobs| jobs.iter().map(|job| job.id).collect()).collect();
    let before = calls(&server).await;
    server.say("CLIENT PAUSE 60000 WRITE").await.expect("nothing is answered");
    let mut callers: Vec<_> = batches.into_iter().map(|jobs| Box::pin(store.enqueue(jobs, None))).collect();
    for caller in &mut callers {
        assert!(futures_util::poll!(caller).is_pending());
    }
    server.say("CLIENT UNPAUSE").await.expect("now it is");
    let answers = futures_util::future::join_all(callers).await;
    let mut refused = 0;
    for (answer, expected) in answers.into_iter().zip(expected) {
        match answer {
            Ok(answers) => assert_eq!(answers.iter().map(|one| one.id).collect::<Vec<_>>(), expected),
            Err(Error::Duplicate { index: 0, .. }) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(refused, 9, "one of ten holds the key");
    // Two that found nobody on the way, all others together, and those that go alone.
    assert_eq!(calls(&server).await - before, 3 + 10);

    server.say("CLIENT PAUSE 60000 WRITE").await.expect("nothing is answered");
    let mut callers: Vec<_> = (0..10).map(|_| Box::pin(store.enqueue(vec![work()], None))).collect();
    for caller in &mut callers {
        assert!(futures_util::poll!(caller).is_pending());
    }
    server.say("CLIENT KILL TYPE normal SKIPME yes").await.expect("all are cut off");
    server.say("CLIENT UNPAUSE").await.expect("now it answers");
    for answer in futures_util::future::join_all(callers).await {
        // What was on its way may be there or not; who waited asks again for itself.
        assert!(matches!(&answer, Ok(_) | Err(Error::Unknown(_) | Error::Unavailable(_))), "{answer:?}");
    }
}

#[tokio::test]
async fn limits_are_changed_over_what_a_server_has_forgotten_and_not_where_nobody_knows_it() {
    if !TestStore::is_wanted("redis") {
        return;
    }
    let server = OwnRedis::start(&[]).await;
    let store = open(&server, Config::default()).await.expect("it opens");
    let slow = QueueSettings { concurrency: Some(3), ..QueueSettings::default() };
    let settings = Settings {
        queues: [(name("mail"), QueueSettings::default()), (name("serp"), slow.clone())].into(),
        kinds: [(name("work"), KindSettings { max_attempts: 9, ..KindSettings::default() })].into(),
        ..Settings::default()
    };
    store.configure(&settings).await.expect("it is configured");
    server.say("FLUSHALL").await.expect("it forgets");
    let limits = LiveLimits { concurrency: Some(Some(2)), ..LiveLimits::default() };
    let change = async |store: &RedisStore| store.set_limits(&name("mail"), Some(&limits), "why", &operator(), None).await;
    let told = change(&store).await.expect("it is changed");
    assert_eq!(told.in_force.concurrency, Some(2));
    let other = open(&server, Config::default()).await.expect("it opens");
    let stored = other.settings().await.expect("settings");
    assert_eq!((stored.queue("serp"), stored.kind("work").max_attempts), (slow, 9), "the others are there again");
    server.say("FLUSHALL").await.expect("it forgets");
    let new = open(&server, Config::default()).await.expect("it opens");
    for _ in 0..2 {
        let refused = change(&new).await;
        assert!(matches!(&refused, Err(Error::NotAllowed(why)) if why.contains("start a daemon")), "{refused:?}");
        assert_eq!(new.settings().await.expect("settings"), Settings::default(), "which nobody has told");
    }
    let keys: Vec<String> = cmd("KEYS").arg("*settings*").query_async(&mut server.connect().await).await.expect("keys");
    assert_eq!(keys, Vec::<String>::new(), "and nothing is put");
    other.configure(&settings).await.expect("a daemon starts");
    assert_eq!(other.settings().await.expect("settings").queue("mail").concurrency, Some(2), "what was changed live is not forgotten");
}
