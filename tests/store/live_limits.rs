//! Limits that are changed while daemons run: they hold at once, over every configuration, until they are lifted.

use crate::support::{Build as _, Daemon, TestStore, at, ids, name, now, on_every_store, operator, work};
use futures_util::future::join_all;
use serde_json::json;
use windlass::{
    job::{LiveLimits, NewJob, QueueSettings, Rate, Settings, Timestamp},
    store::{self, Actor, Error, Now},
};

on_every_store![
    raised_cap_lets_the_next_job_start_at_once,
    raised_tenant_cap_opens_the_lines_that_it_had_closed,
    raised_key_cap_lets_more_in_at_once,
    lowered_cap_holds_at_once_and_stops_nothing_that_runs,
    live_change_stands_over_every_configuration_and_is_lifted_to_the_newest,
    live_change_outlives_the_process,
    changed_rate_holds_from_the_next_lease_on,
    rate_that_was_slow_holds_up_no_faster_one,
    key_rate_that_was_slow_holds_up_no_suspect_of_a_faster_one,
    key_rate_that_is_lifted_opens_its_gates,
    limits_that_are_lifted_open_every_gate_however_many_there_are,
    raised_key_cap_lets_in_all_who_wait_behind_one_key,
    live_change_leaves_a_row_that_says_what_was_and_what_is,
    change_answers_the_limits_as_they_are_from_then_on,
    same_op_id_changes_limits_once,
    changes_at_the_same_time_all_stand,
    limit_that_cannot_hold_is_refused_and_nothing_changes,
    changed_queue_is_shown_before_its_first_job,
];

fn actor() -> Actor {
    Actor::new("cli:ann")
}

fn live(limits: serde_json::Value) -> LiveLimits {
    serde_json::from_value(limits).expect("it is a change")
}

/// Half seconds after the beginning.
fn halves(n: i64) -> Now {
    Some(Timestamp(at(0).0 + n * 500_000))
}

impl TestStore {
    async fn file(&self, queue: QueueSettings) {
        self.configure(&Settings { queues: [(name("default"), queue)].into(), ..Settings::default() }).await.expect("it is configured");
    }

    async fn change(&self, limits: serde_json::Value) {
        let limits = live(limits);
        self.set_limits(&name("default"), Some(&limits), "it melts", &actor(), now(1)).await.expect("it is changed");
    }

    async fn lift(&self) {
        self.set_limits(&name("default"), None, "it is well", &actor(), now(1)).await.expect("it is lifted");
    }

    async fn put_plain(&self, jobs: usize) -> Vec<windlass::job::JobId> {
        self.put((0..jobs).map(|_| work()).collect::<Vec<NewJob>>(), now(0)).await
    }
}

async fn raised_cap_lets_the_next_job_start_at_once(store: &mut TestStore) {
    store.file(QueueSettings { concurrency: Some(1), ..QueueSettings::default() }).await;
    let daemon = Daemon::new();
    let jobs = store.put_plain(4).await;
    assert_eq!(ids(&daemon.lease(&**store, 9, now(1)).await), jobs[..1]);
    assert_eq!(ids(&daemon.lease(&**store, 9, now(1)).await), []);
    store.change(json!({"concurrency": 3})).await;
    assert_eq!(ids(&daemon.lease(&**store, 9, now(1)).await), jobs[1..3]);
    store.change(json!({"concurrency": null})).await;
    assert_eq!(ids(&daemon.lease(&**store, 9, now(1)).await), jobs[3..]);
}

async fn raised_tenant_cap_opens_the_lines_that_it_had_closed(store: &mut TestStore) {
    store.file(QueueSettings { tenant_concurrency: Some(1), ..QueueSettings::default() }).await;
    let daemon = Daemon::new();
    let jobs = store.put((0..3).map(|_| work().tenant("a")).collect(), now(0)).await;
    assert_eq!(ids(&daemon.lease(&**store, 9, now(1)).await), jobs[..1]);
    assert_eq!(ids(&daemon.lease(&**store, 9, now(1)).await), []);
    store.change(json!({"tenant_concurrency": 2})).await;
    assert_eq!(ids(&daemon.lease(&**store, 9, now(1)).await), jobs[1..2]);
    store.change(json!({"tenant_concurrency": null})).await;
    assert_eq!(ids(&daemon.lease(&**store, 9, now(1)).await), jobs[2..]);
}

async fn raised_key_cap_lets_more_in_at_once(store: &mut TestStore) {
    store.file(QueueSettings::default()).await;
    let daemon = Daemon::new();
    let jobs = store.put((0..5).map(|_| work().key("k")).collect(), now(0)).await;
    let running = daemon.lease(&**store, 9, now(1)).await;
    assert_eq!(ids(&running), jobs[..1]);
    store.change(json!({"key_concurrency": 3})).await;
    assert_eq!(ids(&daemon.lease(&**store, 9, now(1)).await), jobs[1..3], "while none has ended");
    store.complete(&running, now(2)).await;
    assert_eq!(ids(&daemon.lease(&**store, 9, now(2)).await), jobs[3..4]);
}

async fn lowered_cap_holds_at_once_and_stops_nothing_that_runs(store: &mut TestStore) {
    store.file(QueueSettings::default()).await;
    let daemon = Daemon::new();
    let jobs = store.put_plain(6).await;
    let running = daemon.lease(&**store, 3, now(1)).await;
    store.change(json!({"concurrency": 2})).await;
    assert_eq!(ids(&daemon.lease(&**store, 9, now(1)).await), []);
    store.complete(&running[..1], now(2)).await;
    assert_eq!(ids(&daemon.lease(&**store, 9, now(2)).await), [], "two still run");
    store.complete(&running[1..], now(2)).await;
    assert_eq!(ids(&daemon.lease(&**store, 9, now(2)).await), jobs[3..5]);
}

async fn live_change_stands_over_every_configuration_and_is_lifted_to_the_newest(store: &mut TestStore) {
    store.file(QueueSettings { concurrency: Some(4), ..QueueSettings::default() }).await;
    let daemon = Daemon::new();
    let jobs = store.put_plain(9).await;
    store.change(json!({"concurrency": 1})).await;
    store.file(QueueSettings { concurrency: Some(3), key_concurrency: 7, ..QueueSettings::default() }).await;
    assert_eq!(ids(&daemon.lease(&**store, 9, now(1)).await), jobs[..1]);
    let limits = store::limits(&**store, &name("default")).await.expect("they are read");
    assert_eq!((limits.in_force.concurrency, limits.configured.concurrency), (Some(1), Some(3)));
    assert_eq!((limits.in_force.key_concurrency, limits.configured.key_concurrency), (7, 7));
    let changed = limits.changed.expect("it is changed");
    assert_eq!((changed.by.as_str(), changed.reason.as_str(), changed.at), ("cli:ann", "it melts", at(1)));
    store.lift().await;
    assert_eq!(ids(&daemon.lease(&**store, 9, now(1)).await), jobs[1..3], "as the new file says");
    assert_eq!(store::limits(&**store, &name("default")).await.expect("they are read").changed, None);
    store.configure(&Settings::default()).await.expect("it is configured");
    assert_eq!(store.settings().await.expect("settings"), Settings::default(), "nothing is left of it");
}

async fn live_change_outlives_the_process(store: &mut TestStore) {
    store.file(QueueSettings::default()).await;
    store.change(json!({"concurrency": 2})).await;
    store.crash().await;
    store.configure(&Settings::default()).await.expect("a daemon starts");
    let jobs = store.put_plain(4).await;
    assert_eq!(ids(&Daemon::new().lease(&**store, 9, now(1)).await), jobs[..2]);
}

async fn changed_rate_holds_from_the_next_lease_on(store: &mut TestStore) {
    store.file(QueueSettings::default()).await;
    let daemon = Daemon::new();
    let jobs = store.put_plain(20).await;
    store.change(json!({"rate": {"per_second": 1.0, "burst": 2}})).await;
    assert_eq!(ids(&daemon.lease(&**store, 9, now(1)).await), jobs[..2]);
    assert_eq!(ids(&daemon.lease(&**store, 9, now(2)).await), jobs[2..3]);
    store.change(json!({"rate": null})).await;
    assert_eq!(ids(&daemon.lease(&**store, 9, now(2)).await), jobs[3..12], "none any more");
}

async fn rate_that_was_slow_holds_up_no_faster_one(store: &mut TestStore) {
    let daemon = Daemon::new();
    let slow = Rate { per_second: 1.0 / 3600.0, burst: 3 };
    store.file(QueueSettings { rate: Some(slow), key_rate: Some(slow), key_concurrency: 99, ..QueueSettings::default() }).await;
    let jobs = store.put((0..8).map(|_| work().key("k")).collect(), now(0)).await;
    assert_eq!(ids(&daemon.lease(&**store, 9, now(1)).await), jobs[..3]);
    assert_eq!(ids(&daemon.lease(&**store, 9, now(1)).await), []);
    let quick = json!({"per_second": 1.0, "burst": 2});
    store.change(json!({"rate": quick, "key_rate": quick})).await;
    let mut started = Vec::new();
    for half in 3..12 {
        started.extend(ids(&daemon.lease(&**store, 9, halves(half)).await).into_iter().map(|_| half));
    }
    assert!(started.len() >= 3, "in five seconds at one a second there are at least three: {started:?}");
    assert!(started.windows(2).all(|two| two[1] - two[0] >= 2), "and nothing of the burst at first: {started:?}");
}

async fn key_rate_that_was_slow_holds_up_no_suspect_of_a_faster_one(store: &mut TestStore) {
    let slow = Rate { per_second: 1.0 / 3600.0, burst: 1 };
    store.file(QueueSettings { rate: Some(slow), key_rate: Some(slow), key_concurrency: 99, ..QueueSettings::default() }).await;
    let jobs = store.put((0..2).map(|_| work().key("k")).collect(), now(0)).await;
    assert_eq!(ids(&Daemon::new().lease(&**store, 1, now(1)).await), jobs[..1]);
    store.crash().await;
    let daemon = Daemon::new();
    assert_eq!(ids(&daemon.lease(&**store, 9, now(1)).await), []);
    let quick = json!({"per_second": 1.0, "burst": 2});
    store.change(json!({"rate": null, "key_rate": quick})).await;
    for id in &jobs {
        let key = store.standing(&store.job(*id).await, now(2)).await.expect("it stands somewhere").key.expect("it has a key");
        let opens = key.rate_opens_at.expect("the key has a rate");
        assert!(opens <= at(3), "by the rate of now, not at {opens}");
    }
    store.change(json!({"rate": quick})).await;
    let queue = store.standing(&store.job(jobs[0]).await, now(2)).await.expect("it stands somewhere").queue;
    assert!(queue.rate_opens_at.is_some_and(|opens| opens <= at(3)), "by the rate of now: {queue:?}");
    let mut started = Vec::new();
    for half in 4..12 {
        started.extend(ids(&daemon.lease(&**store, 9, halves(half)).await));
    }
    started.sort_unstable();
    let mut both = jobs;
    both.sort_unstable();
    assert_eq!(started, both, "the suspect too");
}

async fn key_rate_that_is_lifted_opens_its_gates(store: &mut TestStore) {
    let daemon = Daemon::new();
    let slow = Rate { per_second: 1.0 / 3600.0, burst: 1 };
    store.file(QueueSettings { key_rate: Some(slow), key_concurrency: 99, ..QueueSettings::default() }).await;
    let jobs = store.put((0..5).map(|_| work().key("k")).collect(), now(0)).await;
    assert_eq!(ids(&daemon.lease(&**store, 9, now(1)).await), jobs[..1]);
    assert_eq!(ids(&daemon.lease(&**store, 9, now(1)).await), []);
    store.change(json!({"key_rate": null})).await;
    assert_eq!(store.drain(&daemon, "default", now(2)).await, jobs[1..]);
    let later = store.put_one(work().key("k"), now(3)).await;
    assert_eq!(store.drain(&daemon, "default", now(3)).await, [later], "and leaves none closed");
}

async fn limits_that_are_lifted_open_every_gate_however_many_there_are(store: &mut TestStore) {
    const KEYS: usize = 1_100;
    let daemon = Daemon::new();
    let slow = Rate { per_second: 1.0 / 3600.0, burst: 1 };
    store.file(QueueSettings { key_rate: Some(slow), ..QueueSettings::default() }).await;
    let all = async |second| {
        let mut started = Vec::new();
        while let reply = daemon.ask(&**store, "default", 2 * KEYS, now(second)).await
            && (!reply.jobs.is_empty() || reply.more)
        {
            started.extend(ids(&reply.jobs));
        }
        started
    };
    store.put((0..3 * KEYS).map(|n| work().key(&format!("k{}", n % KEYS))).collect(), now(0)).await;
    assert_eq!(all(1).await.len(), KEYS, "one of each key");
    store.change(json!({"key_rate": null, "key_concurrency": 2})).await;
    assert_eq!(all(1).await.len(), KEYS, "another of each");
    store.change(json!({"key_concurrency": 3})).await;
    assert_eq!(all(1).await.len(), KEYS, "and another");
}

async fn raised_key_cap_lets_in_all_who_wait_behind_one_key(store: &mut TestStore) {
    const JOBS: usize = 2_500;
    store.file(QueueSettings::default()).await;
    let daemon = Daemon::new();
    store.put((0..JOBS).map(|_| work().key("k")).collect(), now(0)).await;
    assert_eq!(daemon.lease(&**store, 9, now(1)).await.len(), 1);
    store.change(json!({"key_concurrency": 2 * JOBS})).await;
    let newcomer = store.put_one(work().key("k"), now(1)).await;
    let mut started = Vec::new();
    while let reply = daemon.ask(&**store, "default", 2 * JOBS, now(1)).await
        && (!reply.jobs.is_empty() || reply.more)
    {
        started.extend(ids(&reply.jobs));
    }
    assert_eq!((started.len(), started.last()), (JOBS, Some(&newcomer)), "in their order, and the one that came last at the end");
}

async fn live_change_leaves_a_row_that_says_what_was_and_what_is(store: &mut TestStore) {
    store.file(QueueSettings { concurrency: Some(4), ..QueueSettings::default() }).await;
    store.change(json!({"concurrency": 1, "rate": {"per_second": 10.0, "burst": 20}})).await;
    store.lift().await;
    let rows = store.audit(None, 10).await.expect("the audit").items;
    let said: Vec<_> =
        rows.iter().map(|row| (row.action.as_str(), row.object.as_str(), row.actor.as_str(), row.detail.as_deref())).collect();
    assert_eq!(
        said,
        [
            ("unset_limits", "default", "cli:ann", Some("concurrency: 1 -> 4; rate: 10/s:20 -> none; because it is well")),
            ("set_limits", "default", "cli:ann", Some("concurrency: 4 -> 1; rate: none -> 10/s:20; because it melts")),
        ]
    );
}

async fn change_answers_the_limits_as_they_are_from_then_on(store: &mut TestStore) {
    let queue = name("default");
    store.file(QueueSettings { concurrency: Some(4), key_concurrency: 7, ..QueueSettings::default() }).await;
    let told = store.set_limits(&queue, Some(&live(json!({"concurrency": 2}))), "it melts", &actor(), now(1)).await.expect("it is changed");
    assert_eq!(told, store::limits(&**store, &queue).await.expect("they are read"));
    assert_eq!((told.in_force.concurrency, told.in_force.key_concurrency, told.configured.concurrency), (Some(2), 7, Some(4)));
    let changed = told.changed.expect("it is changed");
    assert_eq!((changed.by.as_str(), changed.reason.as_str(), changed.at), ("cli:ann", "it melts", at(1)));
    let told = store.set_limits(&queue, None, "it is well", &actor(), now(2)).await.expect("it is lifted");
    assert_eq!((told.in_force, told.changed), (told.configured, None));
}

async fn same_op_id_changes_limits_once(store: &mut TestStore) {
    store.file(QueueSettings::default()).await;
    let (queue, first) = (name("default"), actor());
    let two = live(json!({"concurrency": 2}));
    store.set_limits(&queue, Some(&two), "first", &first, now(1)).await.expect("it is changed");
    store.change(json!({"concurrency": 5})).await;
    let told = store.set_limits(&queue, Some(&two), "first", &first, now(3)).await.expect("it was changed before");
    let limits = store::limits(&**store, &queue).await.expect("they are read");
    assert_eq!(limits.in_force.concurrency, Some(5), "what came after stands");
    assert_eq!(told, limits, "and is what is answered");
    assert_eq!(store.audit(None, 10).await.expect("the audit").items.len(), 2);
}

async fn changes_at_the_same_time_all_stand(store: &mut TestStore) {
    const QUEUES: usize = 8;
    let queues: Vec<_> = (0..QUEUES).map(|n| name(&format!("q{n}"))).collect();
    let file =
        Settings { queues: [(name("q0"), QueueSettings { key_concurrency: 6, ..QueueSettings::default() })].into(), ..Settings::default() };
    let shared: &TestStore = store;
    let change = async |at: usize| {
        let limits = live(json!({"concurrency": at + 1}));
        shared.set_limits(&queues[at], Some(&limits), "all at once", &actor(), now(1)).await.expect("it is changed");
        shared.configure(&file).await.expect("a daemon starts meanwhile");
    };
    store.configure(&file).await.expect("a daemon starts");
    join_all((0..QUEUES).map(change)).await;
    let settings = store.settings().await.expect("settings");
    for (at, queue) in queues.iter().enumerate() {
        assert_eq!(settings.queue(queue.as_str()).concurrency, Some(u32::try_from(at).unwrap() + 1), "{queue}");
    }
    assert_eq!(settings.queue("q0").key_concurrency, 6);
    assert_eq!(store.audit(None, 100).await.expect("the audit").items.len(), QUEUES);
}

async fn limit_that_cannot_hold_is_refused_and_nothing_changes(store: &mut TestStore) {
    store.file(QueueSettings { fair: false, ..QueueSettings::default() }).await;
    let before = store.settings().await.expect("settings");
    for (limits, pointer) in
        [(json!({"concurrency": 0}), "/concurrency"), (json!({"tenant_concurrency": 3}), "/tenant_concurrency"), (json!({}), "")]
    {
        let refused = store.set_limits(&name("default"), Some(&live(limits)), "why", &operator(), now(1)).await;
        assert!(matches!(&refused, Err(Error::Invalid { error, .. }) if error.pointer == pointer), "{refused:?}");
    }
    assert_eq!(store.settings().await.expect("settings"), before);
    assert!(store.audit(None, 10).await.expect("the audit").items.is_empty());
}

async fn changed_queue_is_shown_before_its_first_job(store: &mut TestStore) {
    store.file(QueueSettings::default()).await;
    store.put_plain(1).await;
    let limits = live(json!({"concurrency": 2}));
    store.set_limits(&name("later"), Some(&limits), "soon", &actor(), now(1)).await.expect("it is changed");
    let queues = store::queues(&**store).await.expect("queues");
    let shown: Vec<_> =
        queues.iter().map(|queue| (queue.name.as_str(), queue.limits.as_ref().map(|limits| limits.in_force.concurrency))).collect();
    assert_eq!(shown, [("default", Some(None)), ("later", Some(Some(2)))]);
}
