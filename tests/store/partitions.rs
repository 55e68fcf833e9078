//! A queue of several partitions, in a cluster: one queue to whoever enqueues, reads and administers it; what a key holds together stays so.

use crate::support::{Build as _, Daemon, LEASE, TestStore, at, ids, name, now, redis_cluster, work};
use redis::{
    RedisResult, Value,
    cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr},
};
use std::collections::{BTreeMap, BTreeSet};
use windlass::{
    job::{ErrorClass, JobError, JobId, LiveLimits, NewJob, OnDuplicate, QueueSettings, Rate, State, Transition, UniqueFor},
    store::{Actor, Error},
};

async fn partitioned(partitions: u32, change: impl FnOnce(&mut QueueSettings)) -> Option<TestStore> {
    let store = TestStore::open_beside_others("cluster").await?;
    let mut mail = QueueSettings { partitions, ..QueueSettings::default() };
    change(&mut mail);
    store.configure_with(|settings| _ = settings.queues.insert(name("mail"), mail)).await;
    Some(store)
}

fn mail() -> NewJob {
    work().queue("mail")
}

async fn ask(store: &TestStore, tag: &str, envelope: &str) -> RedisResult<Value> {
    let mut cluster = redis_cluster().await.connect().await;
    let slot: u16 = redis::cmd("CLUSTER").arg("KEYSLOT").arg(format!("{{{tag}}}")).query_async(&mut cluster).await.expect("a slot");
    let call = redis::cmd("FCALL").arg("windlass_enqueue").arg(1).arg(format!("{}:{{{tag}}}", store.prefix())).arg(envelope).clone();
    let route = RoutingInfo::SingleNode(SingleNodeRoutingInfo::SpecificNode(Route::new(slot, SlotAddr::Master)));
    cluster.route_command(call, route).await.and_then(Value::extract_error)
}

/// How many jobs each of the partitions has.
async fn spread(store: &TestStore, partitions: u32) -> Vec<u64> {
    let mut cluster = redis_cluster().await.connect().await;
    let mut counts = Vec::new();
    for partition in 0..partitions {
        let key = format!("{}:{{mail:{partition}}}:jobs", store.prefix());
        counts.push(redis::cmd("HLEN").arg(key).query_async(&mut cluster).await.expect("a count"));
    }
    counts
}

#[tokio::test]
async fn live_limit_is_shared_by_the_partitions_and_stands_when_their_number_changes() {
    let Some(store) = partitioned(4, |_| ()).await else { return };
    let (queue, actor) = (name("mail"), || Actor::new("test"));
    let cap = |concurrency: u32| LiveLimits { concurrency: Some(Some(concurrency)), ..LiveLimits::default() };
    let refused = store.set_limits(&queue, Some(&cap(3)), "why", &actor(), now(0)).await;
    assert!(matches!(&refused, Err(Error::Invalid { error, .. }) if error.pointer == "/concurrency"), "{refused:?}");
    store.set_limits(&queue, Some(&cap(8)), "why", &actor(), now(0)).await.expect("it is changed");
    store.put((0..200).map(|_| mail()).collect(), now(0)).await;
    let daemon = Daemon::new();
    let mut running = Vec::new();
    while let reply = daemon.ask(&*store, "mail", 50, now(1)).await
        && (!reply.jobs.is_empty() || reply.more)
    {
        running.extend(reply.jobs);
    }
    assert_eq!(running.len(), 8, "two in each");
    store.repartition(&queue, 2, &actor()).await.expect("no job has a key");
    let limits = windlass::store::limits(&*store, &queue).await.expect("they are read");
    assert_eq!((limits.in_force.concurrency, limits.configured.concurrency), (Some(8), None));
    store.set_limits(&queue, None, "why", &actor(), now(1)).await.expect("it is lifted");
    assert_eq!(store.settings().await.expect("settings").queue("mail"), QueueSettings { partitions: 2, ..QueueSettings::default() });
}

#[tokio::test]
async fn partitions_that_a_limit_does_not_come_to_are_refused_however_both_were_set() {
    let Some(store) = partitioned(2, |mail| mail.concurrency = Some(3)).await else { return };
    let (queue, actor) = (name("mail"), || Actor::new("test"));
    let rate = |burst| Some(Rate { per_second: 10.0, burst });
    let change = async |limits: LiveLimits| store.set_limits(&queue, Some(&limits), "why", &actor(), now(0)).await;
    let refused = change(LiveLimits { rate: Some(rate(1)), ..LiveLimits::default() }).await;
    assert!(
        matches!(&refused, Err(Error::Invalid { error, .. }) if error.pointer == "/rate" && error.code == "out_of_range"),
        "{refused:?}"
    );
    let refused = async |partitions, says: &[&str]| {
        let told = store.repartition(&queue, partitions, &actor()).await;
        assert!(matches!(&told, Err(Error::NotAllowed(why)) if says.iter().all(|says| why.contains(says))), "{told:?}");
        assert_eq!(store.settings().await.expect("settings").queue("mail").partitions, 2);
    };
    change(LiveLimits { concurrency: Some(Some(9)), rate: Some(rate(2)), ..LiveLimits::default() }).await.expect("it is changed");
    refused(3, &["`rate` of queue `mail`", "changed live", "windlass queues unset mail"]).await;
    change(LiveLimits { rate: Some(None), ..LiveLimits::default() }).await.expect("it is changed");
    refused(4, &["`queues.mail.concurrency`", "configuration"]).await;
    store.repartition(&queue, 3, &actor()).await.expect("three come to three");
    store.set_limits(&queue, None, "why", &actor(), now(1)).await.expect("it is lifted");
    assert_eq!(store.settings().await.expect("settings").queue("mail").unshareable(), [], "and still each has its share");
}

#[tokio::test]
async fn jobs_spread_and_each_is_leased_once_as_one_of_the_queue() {
    let Some(store) = partitioned(4, |_| ()).await else { return };
    let put = store.put((0..200).map(|_| mail()).collect(), now(0)).await;
    let counts = spread(&store, 4).await;
    assert_eq!(counts.iter().sum::<u64>(), 200);
    assert!(counts.iter().all(|count| *count > 20), "{counts:?}");
    assert_eq!(store.queue_status("mail", now(0)).await.jobs[&State::Queued], 200);
    let daemon = Daemon::new();
    let mut leased = BTreeMap::new();
    // Fewer at a time than there are partitions, and more.
    for most in [3, 1, 50, 200] {
        loop {
            let reply = daemon.ask(&*store, "mail", most, now(1)).await;
            assert!(reply.jobs.len() <= most);
            let is_first = reply.jobs.iter().all(|one| leased.insert(one.lease.job, one.clone()).is_none());
            assert!(is_first, "leased twice");
            if most < 200 || !reply.more && reply.jobs.is_empty() {
                break;
            }
        }
    }
    assert_eq!(leased.keys().copied().collect::<BTreeSet<_>>(), put.iter().copied().collect());
    assert!(leased.values().all(|one| one.job.queue == name("mail")));
    let beat =
        store.heartbeat(daemon.holder, LEASE, leased.values().map(|one| one.lease).collect(), Vec::new(), now(2)).await.expect("a beat");
    assert_eq!((beat.lost, beat.strays), (Vec::new(), Vec::new()));
    let all: Vec<_> = leased.into_values().collect();
    store.complete(&all, now(3)).await;
    assert_eq!(store.queue_status("mail", now(3)).await.jobs[&State::Completed], 200);
    assert!(store.all().await.iter().all(|job| job.queue == name("mail") && job.state == State::Completed));
}

#[tokio::test]
async fn one_that_is_asked_for_nothing_says_whether_it_has_work() {
    let Some(store) = partitioned(8, |_| ()).await else { return };
    let daemon = Daemon::new();
    let reply = daemon.ask(&*store, "mail", 1, now(0)).await;
    assert!(reply.jobs.is_empty() && !reply.more, "there is none in any");
    let put = store.put((0..3).map(|_| mail()).collect(), now(0)).await;
    let mut found = BTreeSet::new();
    for _ in 0..40 {
        let reply = daemon.ask(&*store, "mail", 1, now(1)).await;
        found.extend(ids(&reply.jobs));
        if !reply.more && reply.jobs.is_empty() {
            break;
        }
    }
    assert_eq!(found, put.into_iter().collect());
}

#[tokio::test]
async fn key_keeps_its_order_and_its_uniqueness() {
    let Some(store) = partitioned(4, |_| ()).await else { return };
    let keys: Vec<String> = (0..8).map(|n| format!("customer-{n}")).collect();
    let jobs = (0..5).flat_map(|_| keys.iter().map(|key| mail().ordered(key))).collect();
    let put = store.put(jobs, now(0)).await;
    let of_key = |key: usize| (0..5).map(|round| put[round * 8 + key]).collect::<Vec<JobId>>();
    let order = store.drain(&Daemon::new(), "mail", now(1)).await;
    for key in 0..8 {
        let places: Vec<_> = of_key(key).iter().map(|id| order.iter().position(|other| other == id)).collect();
        assert!(places.is_sorted() && places[0].is_some(), "key {key}: {places:?}");
    }
    let unique = || mail().unique("order-7", UniqueFor::UntilFinished, OnDuplicate::Return);
    let first = store.put_one(unique(), now(2)).await;
    let second = store.enqueue(vec![unique()], now(2)).await.expect("it is answered");
    assert_eq!((second[0].id, second[0].duplicate), (first, true));
}

#[tokio::test]
async fn unique_key_must_begin_with_what_chooses_the_partition_and_both_doors_say_so() {
    let Some(store) = partitioned(4, |_| ()).await else { return };
    let job = mail().key("customer-1").unique("order-7", UniqueFor::UntilFinished, OnDuplicate::Return);
    let Err(Error::Invalid { index: 1, error }) = store.enqueue(vec![mail(), job], now(0)).await else { panic!("it was taken") };
    assert_eq!((error.pointer.as_str(), error.code), ("/unique_key", "conflict"));
    let envelope = r#"{"kind":"work","payload":1,"concurrency_key":"customer-1","unique_key":"order-7"}"#;
    let said = ask(&store, "mail:0", envelope).await.expect_err("it is refused").to_string();
    assert!(said.contains("/unique_key") && said.contains(&error.message), "{said}");
    let good = mail().key("customer-1").unique("customer-1:order-7", UniqueFor::UntilFinished, OnDuplicate::Return);
    store.put_one(good, now(0)).await;
    let Err(Error::Invalid { error, .. }) = store.enqueue(vec![work().queue("mail:3")], now(0)).await else { panic!("it was taken") };
    assert_eq!(error.pointer, "/queue");
    assert_eq!(store.all().await.len(), 1, "nothing of what was refused was written");
}

#[tokio::test]
async fn producer_that_calls_the_wrong_partition_is_told_the_right_one() {
    let Some(store) = partitioned(4, |_| ()).await else { return };
    // What the door says of the key is where the driver puts it.
    let by_driver = store.put_one(mail().key("customer-1"), now(0)).await;
    let right = spread(&store, 4).await.iter().position(|count| *count == 1).expect("it is in one of them");
    let envelope = r#"{"kind":"work","payload":1,"concurrency_key":"customer-1"}"#;
    for wrong in (0..4).filter(|partition| *partition != right).map(|partition| format!("mail:{partition}")).chain(["mail".to_owned()]) {
        let said = ask(&store, &wrong, envelope).await.expect_err("it is refused");
        assert_eq!(said.code(), Some("WINDLASS_PARTITION"), "{said}");
        assert!(said.detail().is_some_and(|detail| detail.starts_with(&format!("{right} "))), "{said}");
    }
    assert_eq!(store.all().await.len(), 1, "nothing was written");
    ask(&store, &format!("mail:{right}"), envelope).await.expect("it is taken");
    // One without a key may go anywhere, but to a place that is no partition.
    for partition in 0..4 {
        ask(&store, &format!("mail:{partition}"), r#"{"kind":"work","payload":1}"#).await.expect("it is taken");
    }
    let said = ask(&store, "mail", r#"{"kind":"work","payload":1}"#).await.expect_err("it is refused");
    assert_eq!(said.code(), Some("WINDLASS_PARTITION"));
    let order = store.drain(&Daemon::new(), "mail", None).await;
    assert_eq!((order.len(), order.contains(&by_driver)), (6, true));
}

#[tokio::test]
async fn limits_are_shared_out_and_a_pause_holds_all_of_them() {
    let Some(store) = partitioned(4, |mail| mail.concurrency = Some(6)).await else { return };
    store.put((0..100).map(|_| mail()).collect(), now(0)).await;
    let daemon = Daemon::new();
    let mut running = Vec::new();
    for _ in 0..10 {
        running.extend(daemon.lease_from(&*store, "mail", 100, now(1)).await);
    }
    assert_eq!(running.len(), 6, "over all partitions");
    let operator = Actor { op_id: uuid::Uuid::now_v7(), name: "test".into() };
    store.pause(&name("mail"), "lunch", None, &operator, now(2)).await.expect("it is paused");
    store.complete(&running, now(3)).await;
    let reply = daemon.ask(&*store, "mail", 1, now(4)).await;
    assert!(reply.jobs.is_empty() && !reply.more, "a paused queue has no work");
    assert_eq!(store.queue_status("mail", now(4)).await.paused.map(|pause| pause.reason), Some("lunch".to_owned()));
    let operator = Actor { op_id: uuid::Uuid::now_v7(), name: "test".into() };
    store.resume(&name("mail"), &operator, now(5)).await.expect("it goes on");
    assert_eq!(store.queue_status("mail", now(5)).await.paused, None);
    assert_eq!(daemon.lease_from(&*store, "mail", 100, now(6)).await.len(), 6);
}

#[tokio::test]
async fn follow_ups_dependents_and_lost_leases_find_their_partition() {
    let Some(store) = partitioned(4, |_| ()).await else { return };
    let parent = store.put_one(mail().on_success(mail().key("customer-1").payload("\"next\"")), now(0)).await;
    let child = store.put_one(mail().after(&[parent]), now(0)).await;
    assert_eq!(store.state(child).await, State::Parked);
    // Its holder is lost; another gets it.
    assert_eq!(ids(&Daemon::new().lease_from(&*store, "mail", 4, now(1)).await), [parent]);
    store.reap(now(1000)).await.expect("they are taken back");
    let leased = Daemon::new().lease_from(&*store, "mail", 4, now(1001)).await;
    assert_eq!(ids(&leased), [parent]);
    store.complete(&leased, now(1002)).await;
    let order = store.drain(&Daemon::new(), "mail", now(1003)).await;
    assert_eq!((order.len(), order.contains(&child)), (2, true));
    let dead = store.put_one(mail().key("customer-2"), now(1004)).await;
    let leased = Daemon::new().lease_from(&*store, "mail", 4, now(1005)).await;
    let reject = Transition::Dead { reason: "rejected", error: JobError::new(ErrorClass::Permanent, "bad", "never works") };
    store.end(&leased[0], reject, now(1006)).await;
    let operator = Actor { op_id: uuid::Uuid::now_v7(), name: "test".into() };
    store.redrive(dead, &operator, now(1007)).await.expect("it gets up");
    assert_eq!(store.drain(&Daemon::new(), "mail", now(1008)).await, [dead]);
}

#[tokio::test]
async fn number_of_partitions_stays_once_the_queue_has_jobs_and_exports_find_their_place() {
    let Some(store) = partitioned(4, |_| ()).await else { return };
    let jobs = vec![mail(), mail().key("customer-1"), mail().key("customer-1"), mail().run_at(at(900))];
    let put = store.put(jobs, now(0)).await;
    let mut settings = store.settings().await.expect("they are there");
    settings.queues.entry(name("mail")).or_default().partitions = 8;
    let refused = store.configure(&settings).await;
    assert!(matches!(&refused, Err(Error::Refused(why)) if why.contains("4 partitions")), "{refused:?}");
    let page = store.export(None, 100).await.expect("a page");
    assert_eq!(page.items.iter().map(|one| one.job.id).collect::<BTreeSet<_>>(), put.iter().copied().collect());
    let Some(other) = partitioned(2, |_| ()).await else { return };
    assert_eq!(other.import(page.items, now(1)).await.expect("they come in"), 4);
    let order = other.drain(&Daemon::new(), "mail", now(1000)).await;
    assert_eq!(order.len(), 4);
}

fn operator() -> Actor {
    Actor { op_id: uuid::Uuid::now_v7(), name: "test".into() }
}

#[tokio::test]
async fn queue_is_spread_anew_while_jobs_without_keys_come_and_go() {
    let Some(store) = partitioned(1, |_| ()).await else { return };
    let other = store.beside().await;
    let mut put = store.put((0..50).map(|_| mail()).collect(), now(0)).await;
    other.enqueue(vec![mail()], now(0)).await.expect("it knows the queue as it was").iter().for_each(|one| put.push(one.id));
    for partitions in [4, 2] {
        store.repartition(&name("mail"), partitions, &operator()).await.expect("no job has a key");
        put.extend(store.put((0..50).map(|_| mail()).collect(), now(1)).await);
        // Who still knows another number is told so, looks again, and then finds the place.
        let job = vec![mail().key("customer-1")];
        let answer = match other.enqueue(job.clone(), now(1)).await {
            Err(Error::Unavailable(_)) => other.enqueue(job, now(1)).await,
            answer => answer,
        };
        put.push(answer.expect("it is taken")[0].id);
        let counts = spread(&store, 4).await;
        assert!(counts.iter().take(partitions as usize).all(|count| *count > 0), "{counts:?}");
        if partitions == 4 {
            let keyed = put[put.len() - 1];
            let leased = Daemon::new().lease_from(&*store, "mail", 1000, now(2)).await;
            let keyed: Vec<_> = leased.into_iter().filter(|one| one.lease.job == keyed).collect();
            store.complete(&keyed, now(2)).await;
            store.reap(now(1000)).await.expect("the others come back");
        }
    }
    assert_eq!(store.queue_status("mail", now(1001)).await.jobs[&State::Queued], 152);
    let order = store.drain(&Daemon::new(), "mail", now(1001)).await;
    assert_eq!(order.len(), 152, "wherever they stood");
    assert_eq!(store.settings().await.expect("settings").queues[&name("mail")].partitions, 2);
}

#[tokio::test]
async fn queue_is_not_spread_anew_while_a_key_is_worth_something() {
    let Some(store) = partitioned(2, |mail| mail.concurrency = Some(6)).await else { return };
    let refused = async |why: &str| {
        let answer = store.repartition(&name("mail"), 4, &operator()).await;
        assert!(matches!(&answer, Err(Error::NotAllowed(said)) if said.contains(why)), "{answer:?}");
    };
    let keyed = store.put_one(mail().key("customer-1"), now(0)).await;
    refused(&keyed.to_string()).await;
    let leased = Daemon::new().lease_from(&*store, "mail", 4, now(1)).await;
    refused(&keyed.to_string()).await;
    let reject = Transition::Dead { reason: "rejected", error: JobError::new(ErrorClass::Permanent, "bad", "never works") };
    store.end(&leased[0], reject, now(2)).await;
    refused(&keyed.to_string()).await;
    store.purge(keyed, &operator(), now(3)).await.expect("it is gone");
    store.put_one(mail().unique("order-7", UniqueFor::UntilFinished, OnDuplicate::Return), now(4)).await;
    refused("a unique key").await;
    store.drain(&Daemon::new(), "mail", now(5)).await;
    for (partitions, why) in [(0, "1 to 256"), (300, "1 to 256"), (8, "`queues.mail.concurrency` is less than the 8 partitions")] {
        let answer = store.repartition(&name("mail"), partitions, &operator()).await;
        assert!(matches!(&answer, Err(Error::NotAllowed(said)) if said.contains(why)), "{answer:?}");
    }
    store.put_one(work().queue("post:1"), now(6)).await;
    let answer = store.repartition(&name("post"), 4, &operator()).await;
    assert!(matches!(&answer, Err(Error::NotAllowed(said)) if said.contains("post:1")), "{answer:?}");
    store.repartition(&name("mail"), 4, &operator()).await.expect("nothing speaks against it");
    let second = store.put_one(mail().key("customer-1"), now(7)).await;
    assert_eq!(store.drain(&Daemon::new(), "mail", now(8)).await, [second], "keys are let in again");
    assert!(matches!(TestStore::open("sqlite").await.repartition(&name("mail"), 4, &operator()).await, Err(Error::NotAllowed(_))));
}

#[tokio::test]
async fn job_asked_for_again_by_its_id_is_found_wherever_it_stood() {
    let Some(store) = partitioned(4, |_| ()).await else { return };
    let jobs: Vec<NewJob> = (0..20).map(|_| mail().id(JobId::mint())).collect();
    let put = store.put(jobs.clone(), now(0)).await;
    for partitions in [8, 2] {
        store.repartition(&name("mail"), partitions, &operator()).await.expect("no job has a key");
        let again = store.enqueue(jobs.clone(), now(1)).await.expect("they are there");
        assert_eq!(again.iter().map(|one| one.id).collect::<Vec<_>>(), put);
    }
    let other = NewJob { queue: Some(name("post")), ..jobs[3].clone() };
    let answer = store.enqueue(vec![mail(), other], now(2)).await;
    assert!(matches!(answer, Err(Error::Conflict { index: 1, .. })), "{answer:?}");
    assert_eq!(store.drain(&Daemon::new(), "mail", now(3)).await.len(), 20);
}

/// What each shard has as a copy, and what is stored.
async fn copies(store: &TestStore, tags: &[&str]) -> Vec<Option<String>> {
    let mut cluster = redis_cluster().await.connect().await;
    let mut copies = Vec::new();
    for tag in tags {
        let key = format!("{}:{{{tag}}}:settings", store.prefix());
        copies.push(redis::cmd("GET").arg(key).query_async(&mut cluster).await.expect("a copy"));
    }
    copies
}

#[tokio::test]
async fn repartition_and_a_daemon_that_starts_do_not_undo_each_other() {
    let Some(store) = partitioned(2, |_| ()).await else { return };
    let other = store.beside().await;
    store.put(vec![mail()], now(0)).await;
    let mut partitions = 2;
    for round in 0..20_u32 {
        let to = 6 - partitions;
        let mut old = other.settings().await.expect("they are there");
        old.queues.entry(name("post")).or_default().concurrency = Some(round + 1);
        let mail = name("mail");
        let operator = operator();
        let (spread, configured) = tokio::join!(store.repartition(&mail, to, &operator), other.configure(&old));
        assert!(matches!(spread, Ok(()) | Err(Error::Unavailable(_))), "{spread:?}");
        assert!(matches!(configured, Ok(()) | Err(Error::Refused(_))), "{configured:?}");
        partitions = if spread.is_ok() { to } else { partitions };
        let stored = store.settings().await.expect("they are there");
        assert_eq!(stored.queues[&mail].partitions, partitions);
        if configured.is_ok() {
            assert_eq!(stored.queues[&name("post")].concurrency, Some(round + 1));
        }
        let copies = copies(&store, &["_", "mail", "mail:0", "mail:1"]).await;
        assert!(copies.iter().all(|copy| copy.is_some() && *copy == copies[0]), "{copies:?}");
    }
}

#[tokio::test]
async fn partition_that_forgot_everything_is_told_of_the_others_again() {
    let Some(store) = partitioned(2, |_| ()).await else { return };
    store.put((0..20).map(|_| mail()).collect(), now(0)).await;
    let daemon = Daemon::new();
    daemon.lease_from(&*store, "mail", 20, now(1)).await;
    let mut cluster = redis_cluster().await.connect().await;
    let of_shard = format!("{}:{{mail:1}}", store.prefix());
    for part in ["", ":jobs", ":settings", ":claims", ":ids"] {
        redis::cmd("DEL").arg(format!("{of_shard}{part}")).query_async::<()>(&mut cluster).await.expect("it is gone");
    }
    assert!(store.advance(now(2)).await.expect("it looks").rewound);
    let copies = copies(&store, &["_", "mail:0", "mail:1"]).await;
    assert!(copies.iter().all(|copy| copy.is_some() && *copy == copies[0]), "{copies:?}");
}

#[tokio::test]
async fn keys_are_held_off_while_it_is_spread_anew() {
    let Some(store) = partitioned(2, |_| ()).await else { return };
    let hold = async |ms: u64| {
        let mut cluster = redis_cluster().await.connect().await;
        for partition in 0..2 {
            let key = format!("{}:{{mail:{partition}}}", store.prefix());
            let call = redis::cmd("FCALL").arg("windlass_v1_hold_keys").arg(1).arg(key).arg("").arg(ms).clone();
            call.query_async::<()>(&mut cluster).await.expect("it is held");
        }
    };
    hold(60_000).await;
    let answer = store.enqueue(vec![mail().key("customer-1")], now(0)).await;
    assert!(matches!(&answer, Err(Error::Unavailable(_))), "{answer:?}");
    let mut said = Vec::new();
    for tag in ["mail:0", "mail:1"] {
        let answer = ask(&store, tag, r#"{"kind":"work","payload":1,"concurrency_key":"customer-1"}"#).await;
        said.push(answer.expect_err("it is held off").code().map(ToOwned::to_owned));
        ask(&store, tag, r#"{"kind":"work","payload":1}"#).await.expect("it has no key");
    }
    assert_eq!(said, [Some("WINDLASS_MOVING".to_owned()), Some("WINDLASS_MOVING".to_owned())]);
    hold(0).await;
    store.put_one(mail().key("customer-1"), now(0)).await;
    assert_eq!(store.drain(&Daemon::new(), "mail", None).await.len(), 3);
}

#[tokio::test]
async fn command_spreads_the_queue_and_says_what_to_configure() {
    let Some(store) = partitioned(2, |_| ()).await else { return };
    store.put_one(mail(), now(0)).await;
    let (folder, url) = (tempfile::tempdir().expect("a folder"), redis_cluster().await.url());
    let done = std::process::Command::new(env!("CARGO_BIN_EXE_windlass"))
        .args(["queues", "repartition", "mail", "4", "--store", &url])
        .env("WINDLASS__STORE__REDIS__PREFIX", store.prefix())
        .env("WINDLASS__STORE__REDIS__ACCEPT", r#"["no_persistence"]"#)
        .current_dir(folder.path())
        .output()
        .expect("it runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(String::from_utf8_lossy(&done.stdout).contains("queues.mail.partitions = 4"));
    assert_eq!(store.settings().await.expect("settings").queues[&name("mail")].partitions, 4);
}
