//! Gates: how many of a queue, a key or a tenant run at once, how fast they start, ordered keys. What is refused waits
//! behind its gate and holds nobody else up.

use crate::support::{Build as _, Daemon, TestStore, at, ids, name, now, on_every_store, operator, work};
use futures_util::future::join_all;
use std::{collections::BTreeMap, time::Duration};
use windlass::{
    job::{ErrorClass, JobError, JobId, Leased, NewJob, OnHead, QueueSettings, Rate, State, Timestamp, Transition},
    store::{Actor, Now},
};

on_every_store![
    one_job_of_a_key_runs_at_a_time,
    key_limit_admits_as_many_as_it_says,
    waiting_jobs_of_a_busy_key_hold_nobody_up,
    jobs_of_a_key_keep_priority_then_position,
    urgent_job_of_a_key_passes_its_waiting_siblings,
    key_belongs_to_its_queue,
    key_belongs_to_its_tenant,
    key_slot_is_free_after_every_end,
    cancelled_head_of_a_key_lets_the_next_in,
    daemons_share_a_key_limit,
    raised_key_limit_lets_more_in,
    queue_concurrency_is_never_exceeded,
    tenant_cap_holds_one_tenant_and_no_other,
    tenant_cap_opens_with_every_end,
    queue_rate_is_never_exceeded_in_any_window,
    key_rate_is_never_exceeded_in_any_window,
    key_rate_closes_one_key_and_no_other,
    next_due_names_the_opening_of_a_queue_rate,
    next_due_names_the_opening_of_a_key_rate,
    ordered_key_runs_one_at_a_time_in_commit_order,
    ordered_key_ignores_priority,
    retrying_head_of_an_ordered_key_holds_its_successors,
    parked_head_of_an_ordered_key_holds_its_successors,
    ordered_head_of_an_unknown_kind_holds_its_successors,
    standing_jobs_that_close_a_key_rate_ask_for_no_time,
    dead_head_of_an_ordered_key_lets_its_successors_go,
    skipping_ordered_key_lets_successors_pass_a_waiting_head,
    released_head_of_an_ordered_key_keeps_its_turn,
    cancelled_jobs_of_an_ordered_key_leave_the_sequence,
    ordered_sequences_of_several_keys_run_side_by_side,
];

fn keyed(key: &str, jobs: usize) -> Vec<NewJob> {
    (0..jobs).map(|_| work().key(key)).collect()
}

async fn with_queue(store: &TestStore, settings: QueueSettings) {
    store.configure_with(|all| _ = all.queues.insert(name("default"), settings)).await;
}

fn retry(seconds: i64) -> Transition {
    Transition::Retry { at: at(seconds), error: JobError::new(ErrorClass::Retry, "http_503", "later") }
}

fn dead() -> Transition {
    Transition::Dead { reason: "rejected", error: JobError::new(ErrorClass::Permanent, "bad", "never") }
}

async fn one_job_of_a_key_runs_at_a_time(store: &mut TestStore) {
    let daemon = Daemon::new();
    let jobs = store.put(keyed("k", 4), now(0)).await;
    for id in jobs {
        let running = daemon.lease(&**store, 4, now(1)).await;
        assert_eq!(ids(&running), [id]);
        assert_eq!(ids(&daemon.lease(&**store, 4, now(1)).await), [], "the key is taken");
        store.complete(&running, now(1)).await;
    }
}

async fn key_limit_admits_as_many_as_it_says(store: &mut TestStore) {
    with_queue(store, QueueSettings { key_concurrency: 3, ..QueueSettings::default() }).await;
    let daemon = Daemon::new();
    let jobs = store.put(keyed("k", 8), now(0)).await;
    let running = daemon.lease(&**store, 8, now(1)).await;
    assert_eq!(ids(&running), jobs[..3]);
    store.complete(&running[1..2], now(2)).await;
    assert_eq!(ids(&daemon.lease(&**store, 8, now(2)).await), jobs[3..4]);
    store.complete(&running[..1], now(3)).await;
    store.complete(&running[2..], now(3)).await;
    assert_eq!(ids(&daemon.lease(&**store, 8, now(3)).await), jobs[4..6]);
}

async fn waiting_jobs_of_a_busy_key_hold_nobody_up(store: &mut TestStore) {
    let daemon = Daemon::new();
    let blocked = store.put(keyed("busy", 3_000), now(0)).await;
    let free = store.put((0..50).map(|n| work().key(&format!("k{n}"))).collect(), now(0)).await;
    let plain = store.put((0..50).map(|_| work()).collect(), now(0)).await;
    let granted = ids(&daemon.lease(&**store, 101, now(1)).await);
    assert_eq!(granted[0], blocked[0]);
    assert_eq!(granted[1..], [free, plain].concat());
    assert_eq!(ids(&daemon.lease(&**store, 10, now(1)).await), []);
}

async fn jobs_of_a_key_keep_priority_then_position(store: &mut TestStore) {
    let daemon = Daemon::new();
    let mut put = Vec::new();
    for priority in [5, 5, 2, 8, 2, 5] {
        put.push((priority, store.put_one(work().key("k").priority(priority), now(0)).await));
    }
    put.sort_by_key(|(priority, _)| *priority);
    let expected: Vec<_> = put.into_iter().map(|(_, id)| id).collect();
    assert_eq!(store.drain(&daemon, "default", now(1)).await, expected);
}

async fn urgent_job_of_a_key_passes_its_waiting_siblings(store: &mut TestStore) {
    let daemon = Daemon::new();
    let waiting = store.put(keyed("k", 3), now(0)).await;
    let running = daemon.lease(&**store, 1, now(1)).await;
    let urgent = store.put_one(work().key("k").priority(0), now(1)).await;
    store.complete(&running, now(2)).await;
    assert_eq!(store.drain(&daemon, "default", now(2)).await, [urgent, waiting[1], waiting[2]]);
}

async fn key_belongs_to_its_tenant(store: &mut TestStore) {
    let daemon = Daemon::new();
    // One sequence each, and one of those who name no tenant.
    let of = |tenant: Option<&str>| {
        let job = work().ordered("k");
        if let Some(tenant) = tenant { job.tenant(tenant) } else { job }
    };
    let tenants = [Some("a"), Some("b"), None];
    let firsts = store.put(tenants.map(of).into(), now(0)).await;
    let seconds = store.put(tenants.map(of).into(), now(0)).await;
    let mut leased = daemon.lease(&**store, 10, now(1)).await;
    leased.sort_by_key(|one| firsts.iter().position(|id| *id == one.lease.job));
    assert_eq!(ids(&leased), firsts, "the first of each");
    // A head that is tried again holds up its own successors, and each end lets in its own.
    store.end(&leased[0], retry(1000), now(2)).await;
    store.end(&leased[1], Transition::Complete, now(2)).await;
    assert_eq!(ids(&daemon.lease(&**store, 10, now(3)).await), [seconds[1]]);
    store.cancel(firsts[0], "no more", &Actor::new("test"), now(4)).await.expect("it is cancelled");
    assert_eq!(ids(&daemon.lease(&**store, 10, now(5)).await), [seconds[0]]);
    // Who is put back after his death stands in the sequence of his tenant.
    store.end(&leased[2], dead(), now(6)).await;
    store.redrive(firsts[2], &Actor::new("test"), now(7)).await.expect("it gets up");
    let third = daemon.lease(&**store, 10, now(8)).await;
    assert_eq!(ids(&third), [seconds[2]]);
    store.complete(&third, now(9)).await;
    assert_eq!(ids(&daemon.lease(&**store, 10, now(10)).await), [firsts[2]]);
}

async fn key_belongs_to_its_queue(store: &mut TestStore) {
    let daemon = Daemon::new();
    let a = store.put_one(work().queue("a").key("k"), now(0)).await;
    let b = store.put_one(work().queue("b").key("k"), now(0)).await;
    assert_eq!(ids(&daemon.lease_from(&**store, "a", 1, now(1)).await), [a]);
    assert_eq!(ids(&daemon.lease_from(&**store, "b", 1, now(1)).await), [b]);
}

async fn key_slot_is_free_after_every_end(store: &mut TestStore) {
    let daemon = Daemon::new();
    let park = Transition::Park { reason: "outside".into(), until: at(9_999), token: None, error: None };
    let ends = [
        Transition::Complete,
        retry(9_999),
        dead(),
        Transition::Snooze { until: at(9_999) },
        park,
        Transition::Cancel { reason: "no".into() },
    ];
    store.put(keyed("k", ends.len() + 2), now(0)).await;
    for end in ends {
        let leased = daemon.lease_one(&**store, now(1)).await;
        store.end(&leased, end, now(1)).await;
    }
    let released = daemon.lease_one(&**store, now(2)).await;
    store.end(&released, Transition::Release, now(2)).await;
    let again = daemon.lease_one(&**store, now(2)).await;
    assert_eq!(again.job.id, released.job.id);
    store.reap(now(100)).await.unwrap();
    assert_eq!(daemon.lease_one(&**store, now(100)).await.job.id, released.job.id, "after its holder was lost too");
}

async fn cancelled_head_of_a_key_lets_the_next_in(store: &mut TestStore) {
    let jobs = store.put(keyed("k", 4), now(0)).await;
    for id in &jobs[..2] {
        store.cancel(*id, "no", &Actor::new("test"), now(1)).await.unwrap();
    }
    assert_eq!(store.drain(&Daemon::new(), "default", now(2)).await, jobs[2..]);
}

async fn daemons_share_a_key_limit(store: &mut TestStore) {
    with_queue(store, QueueSettings { key_concurrency: 4, ..QueueSettings::default() }).await;
    store.put(keyed("k", 40), now(0)).await;
    let daemons: Vec<_> = (0..10).map(|_| Daemon::new()).collect();
    let shared: &TestStore = store;
    let granted = join_all(daemons.iter().map(|daemon| daemon.lease(&**shared, 3, now(1)))).await;
    // On a busy machine some may have been told to ask again; one that does gets what is left.
    let left = Daemon::new().lease(&**shared, 10, now(1)).await;
    assert_eq!(granted.iter().map(Vec::len).sum::<usize>() + left.len(), 4);
}

async fn raised_key_limit_lets_more_in(store: &mut TestStore) {
    let daemon = Daemon::new();
    let jobs = store.put(keyed("k", 5), now(0)).await;
    let running = daemon.lease(&**store, 5, now(1)).await;
    assert_eq!(running.len(), 1);
    with_queue(store, QueueSettings { key_concurrency: 3, ..QueueSettings::default() }).await;
    store.complete(&running, now(2)).await;
    assert_eq!(ids(&daemon.lease(&**store, 5, now(2)).await), jobs[1..4], "from the next end on at the latest");
}

async fn queue_concurrency_is_never_exceeded(store: &mut TestStore) {
    with_queue(store, QueueSettings { concurrency: Some(3), ..QueueSettings::default() }).await;
    let (one, other) = (Daemon::new(), Daemon::new());
    let jobs = store.put((0..10).map(|_| work()).collect(), now(0)).await;
    let first = one.lease(&**store, 2, now(1)).await;
    let second = other.lease(&**store, 5, now(1)).await;
    assert_eq!((ids(&first), ids(&second)), (jobs[..2].to_vec(), jobs[2..3].to_vec()));
    assert_eq!(ids(&one.lease(&**store, 5, now(1)).await), []);
    store.end(&second[0], retry(500), now(2)).await;
    store.complete(&first[..1], now(2)).await;
    assert_eq!(ids(&one.lease(&**store, 5, now(2)).await), jobs[3..5]);
    store.put_one(work().queue("b"), now(2)).await;
    assert_eq!(one.lease_from(&**store, "b", 5, now(2)).await.len(), 1, "another queue has its own");
}

async fn tenant_cap_holds_one_tenant_and_no_other(store: &mut TestStore) {
    with_queue(store, QueueSettings { tenant_concurrency: Some(2), ..QueueSettings::default() }).await;
    let daemon = Daemon::new();
    store.put((0..10).map(|n| work().tenant("a").priority(n % 3)).collect(), now(0)).await;
    store.put((0..3).map(|_| work().tenant("b")).collect(), now(0)).await;
    store.put((0..3).map(|_| work()).collect(), now(0)).await;
    let granted = daemon.lease(&**store, 20, now(1)).await;
    let mut running: BTreeMap<_, u32> = BTreeMap::new();
    for leased in &granted {
        *running.entry(leased.job.tenant.as_ref().map(ToString::to_string)).or_default() += 1;
    }
    assert_eq!(running, BTreeMap::from([(Some("a".into()), 2), (Some("b".into()), 2), (None, 3)]));
    assert_eq!(ids(&daemon.lease(&**store, 20, now(1)).await), []);
}

async fn tenant_cap_opens_with_every_end(store: &mut TestStore) {
    with_queue(store, QueueSettings { tenant_concurrency: Some(1), ..QueueSettings::default() }).await;
    let daemon = Daemon::new();
    store.put((0..5).map(|_| work().tenant("a")).collect(), now(0)).await;
    for end in [Transition::Complete, retry(9_999), dead(), Transition::Release] {
        let leased = daemon.lease_one(&**store, now(1)).await;
        store.end(&leased, end, now(1)).await;
    }
    daemon.lease_one(&**store, now(2)).await;
    store.reap(now(100)).await.unwrap();
    daemon.lease_one(&**store, now(100)).await;
}

/// The instants, in milliseconds after the beginning, at which jobs start when a greedy daemon asks every 100 ms.
async fn starts(store: &TestStore, daemon: &Daemon, seconds: i64, of: impl Fn(&Leased) -> bool) -> Vec<i64> {
    let mut starts = Vec::new();
    for tick in 0..seconds * 10 {
        let now: Now = Some(Timestamp::from_millis(at(0).millis() + tick * 100));
        let jobs = daemon.lease(&**store, 100, now).await;
        starts.extend(jobs.iter().filter(|leased| of(leased)).map(|_| tick * 100));
        store.complete(&jobs, now).await;
    }
    starts
}

/// In no window of any length were there more than burst + rate · length starts (contract 4).
fn assert_within(rate: Rate, starts: &[i64]) {
    for (first, from) in starts.iter().enumerate() {
        for (last, to) in starts.iter().enumerate().skip(first) {
            let allowed = f64::from(rate.burst) + rate.per_second * Duration::from_millis((to - from).unsigned_abs()).as_secs_f64();
            let started = last - first + 1;
            assert!(started as f64 <= allowed + 1e-6, "{started} starts within {} ms, allowed are {allowed}", to - from);
        }
    }
}

async fn queue_rate_is_never_exceeded_in_any_window(store: &mut TestStore) {
    let rate = Rate { per_second: 2.5, burst: 4 };
    with_queue(store, QueueSettings { rate: Some(rate), ..QueueSettings::default() }).await;
    store.put((0..100).map(|_| work()).collect(), now(0)).await;
    let starts = starts(store, &Daemon::new(), 20, |_| true).await;
    assert_within(rate, &starts);
    assert_eq!(starts.iter().filter(|ms| **ms == 0).count(), 4, "the burst is there at once");
    assert!(starts.len() >= 45, "20 s at 2.5 a second and a burst of 4 allow 54, got {}", starts.len());
}

async fn key_rate_is_never_exceeded_in_any_window(store: &mut TestStore) {
    let rate = Rate { per_second: 2.0, burst: 3 };
    with_queue(store, QueueSettings { key_rate: Some(rate), key_concurrency: 100, ..QueueSettings::default() }).await;
    store.put(keyed("k", 100), now(0)).await;
    store.put(keyed("l", 100), now(0)).await;
    let daemon = Daemon::new();
    let starts = starts(store, &daemon, 20, |leased| leased.job.concurrency_key == Some(name("k"))).await;
    assert_within(rate, &starts);
    assert!(starts.len() >= 38, "20 s at 2 a second and a burst of 3 allow 43, got {}", starts.len());
}

async fn key_rate_closes_one_key_and_no_other(store: &mut TestStore) {
    let rate = Rate { per_second: 0.1, burst: 1 };
    with_queue(store, QueueSettings { key_rate: Some(rate), ..QueueSettings::default() }).await;
    let daemon = Daemon::new();
    let slow = store.put(keyed("slow", 3), now(0)).await;
    let first = daemon.lease(&**store, 5, now(1)).await;
    assert_eq!(ids(&first), slow[..1]);
    store.complete(&first, now(2)).await;
    let quick = store.put_one(work().key("quick"), now(2)).await;
    let plain = store.put_one(work(), now(2)).await;
    assert_eq!(ids(&daemon.lease(&**store, 5, now(2)).await), [quick, plain]);
    assert_eq!(store.states(&slow[1..]).await, [State::Queued; 2], "due, and waiting for the rate");
    assert_eq!(ids(&daemon.lease(&**store, 5, now(11)).await), slow[1..2]);
}

async fn next_due_names_the_opening_of_a_queue_rate(store: &mut TestStore) {
    with_queue(store, QueueSettings { rate: Some(Rate { per_second: 0.1, burst: 1 }), ..QueueSettings::default() }).await;
    let daemon = Daemon::new();
    store.put(vec![work(), work()], now(0)).await;
    assert_eq!(daemon.lease(&**store, 5, now(0)).await.len(), 1);
    assert_eq!(daemon.ask(&**store, "default", 5, now(1)).await.next_due, Some(at(10)));
    assert_eq!(daemon.lease(&**store, 5, now(10)).await.len(), 1);
}

async fn next_due_names_the_opening_of_a_key_rate(store: &mut TestStore) {
    with_queue(store, QueueSettings { key_rate: Some(Rate { per_second: 0.1, burst: 1 }), ..QueueSettings::default() }).await;
    let daemon = Daemon::new();
    store.put(keyed("k", 2), now(0)).await;
    let running = daemon.lease(&**store, 5, now(0)).await;
    store.complete(&running, now(1)).await;
    assert_eq!(ids(&daemon.lease(&**store, 5, now(1)).await), []);
    assert_eq!(daemon.ask(&**store, "default", 5, now(1)).await.next_due, Some(at(10)));
    assert_eq!(daemon.lease(&**store, 5, now(10)).await.len(), 1);
}

fn sequence(key: &str, jobs: usize) -> Vec<NewJob> {
    (0..jobs).map(|_| work().ordered(key)).collect()
}

async fn ordered_key_runs_one_at_a_time_in_commit_order(store: &mut TestStore) {
    with_queue(store, QueueSettings { key_concurrency: 5, ..QueueSettings::default() }).await;
    let daemon = Daemon::new();
    let jobs = store.put(sequence("s", 6), now(0)).await;
    let running = daemon.lease(&**store, 6, now(1)).await;
    assert_eq!(ids(&running), jobs[..1], "one at a time, whatever the key's limit");
    store.complete(&running, now(1)).await;
    assert_eq!(store.drain(&daemon, "default", now(2)).await, jobs[1..]);
}

async fn ordered_key_ignores_priority(store: &mut TestStore) {
    let mut jobs = Vec::new();
    for priority in [7, 0, 5, 9, 1] {
        jobs.push(store.put_one(work().ordered("s").priority(priority), now(0)).await);
    }
    assert_eq!(store.drain(&Daemon::new(), "default", now(1)).await, jobs);
}

async fn retrying_head_of_an_ordered_key_holds_its_successors(store: &mut TestStore) {
    let daemon = Daemon::new();
    let jobs = store.put(sequence("s", 3), now(0)).await;
    let other = store.put_one(work(), now(0)).await;
    for end in [retry(10), Transition::Snooze { until: at(10) }] {
        let head = daemon.lease(&**store, 1, now(10)).await;
        assert_eq!(ids(&head), jobs[..1]);
        store.end(&head[0], end, now(5)).await;
        assert_eq!(store.state(jobs[0]).await, State::Scheduled);
        assert!(!ids(&daemon.lease(&**store, 5, now(9)).await).contains(&jobs[1]));
    }
    assert_eq!(store.state(other).await, State::Running);
    assert_eq!(store.drain(&daemon, "default", now(11)).await, jobs);
}

async fn parked_head_of_an_ordered_key_holds_its_successors(store: &mut TestStore) {
    let daemon = Daemon::new();
    let jobs = store.put(sequence("s", 2), now(0)).await;
    let head = daemon.lease_one(&**store, now(1)).await;
    let park = Transition::Park { reason: "outside".into(), until: at(999), token: Some("t1".into()), error: None };
    store.end(&head, park, now(1)).await;
    assert_eq!(ids(&daemon.lease(&**store, 5, now(2)).await), []);
    store.unpark("t1", None, &operator(), now(3)).await.unwrap();
    assert_eq!(store.drain(&daemon, "default", now(3)).await, jobs);
}

async fn dead_head_of_an_ordered_key_lets_its_successors_go(store: &mut TestStore) {
    let daemon = Daemon::new();
    let jobs = store.put(sequence("s", 3), now(0)).await;
    let head = daemon.lease_one(&**store, now(1)).await;
    store.end(&head, dead(), now(1)).await;
    let next = daemon.lease_one(&**store, now(2)).await;
    assert_eq!(next.job.id, jobs[1]);
    store.redrive(jobs[0], &Actor::new("test"), now(3)).await.unwrap();
    store.complete(&[next], now(3)).await;
    assert_eq!(store.drain(&daemon, "default", now(4)).await, [jobs[2], jobs[0]], "the redriven one stands where it came in anew");
}

async fn skipping_ordered_key_lets_successors_pass_a_waiting_head(store: &mut TestStore) {
    with_queue(store, QueueSettings { on_head: OnHead::Skip, ..QueueSettings::default() }).await;
    let daemon = Daemon::new();
    let jobs = store.put(sequence("s", 3), now(0)).await;
    let head = daemon.lease_one(&**store, now(1)).await;
    store.end(&head, retry(10), now(1)).await;
    let second = daemon.lease_one(&**store, now(2)).await;
    assert_eq!(second.job.id, jobs[1]);
    store.advance(now(10)).await.unwrap();
    assert_eq!(ids(&daemon.lease(&**store, 5, now(10)).await), [], "still one at a time");
    store.complete(&[second], now(11)).await;
    let mut rest = store.drain(&daemon, "default", now(11)).await;
    rest.sort();
    assert_eq!(rest, [jobs[0], jobs[2]]);
}

async fn released_head_of_an_ordered_key_keeps_its_turn(store: &mut TestStore) {
    let daemon = Daemon::new();
    let jobs = store.put(sequence("s", 3), now(0)).await;
    let head = daemon.lease_one(&**store, now(1)).await;
    store.end(&head, Transition::Release, now(1)).await;
    let head = daemon.lease_one(&**store, now(2)).await;
    assert_eq!(head.job.id, jobs[0]);
    store.reap(now(60)).await.unwrap();
    assert_eq!(store.drain(&daemon, "default", now(61)).await, jobs, "and so does one whose holder was lost");
}

async fn cancelled_jobs_of_an_ordered_key_leave_the_sequence(store: &mut TestStore) {
    let jobs = store.put(sequence("s", 5), now(0)).await;
    for id in [jobs[0], jobs[2]] {
        store.cancel(id, "no", &Actor::new("test"), now(1)).await.unwrap();
    }
    assert_eq!(store.drain(&Daemon::new(), "default", now(2)).await, [jobs[1], jobs[3], jobs[4]]);
}

async fn ordered_sequences_of_several_keys_run_side_by_side(store: &mut TestStore) {
    let daemon = Daemon::new();
    let jobs: Vec<NewJob> = (0..30).map(|n| work().ordered(&format!("s{}", n % 10))).collect();
    let put = store.put(jobs, now(0)).await;
    let mut rounds: Vec<Vec<JobId>> = Vec::new();
    for _ in 0..3 {
        let running = daemon.lease(&**store, 30, now(1)).await;
        rounds.push(ids(&running));
        store.complete(&running, now(1)).await;
    }
    assert_eq!(rounds, [put[..10].to_vec(), put[10..20].to_vec(), put[20..].to_vec()]);
}

async fn ordered_head_of_an_unknown_kind_holds_its_successors(store: &mut TestStore) {
    let head = store.put_one(work().ordered("s").kind("stranger"), now(0)).await;
    let next = store.put_one(work().ordered("s"), now(0)).await;
    assert_eq!(ids(&Daemon::new().lease(&**store, 5, now(1)).await), []);
    assert_eq!(ids(&Daemon::new().lease(&**store, 5, now(2)).await), [], "it is parked, and its turn stays with it");
    store.unpark_kinds(&[name("stranger")], now(3)).await.unwrap();
    let knowing = Daemon::knowing(&["work", "stranger"]);
    assert_eq!(store.drain(&knowing, "default", now(4)).await, [head, next]);
}

async fn standing_jobs_that_close_a_key_rate_ask_for_no_time(store: &mut TestStore) {
    store
        .configure_with(|settings| {
            let queue = settings.queues.entry(name("default")).or_default();
            (queue.key_rate, queue.key_concurrency) = (Some(Rate { per_second: 1.0, burst: 1 }), 10);
        })
        .await;
    let jobs = store.put((0..3).map(|_| work().key("k")).collect(), now(0)).await;
    store.pause(&name("default"), "test", None, &Actor::new("test"), now(1)).await.unwrap();
    let daemon = Daemon::new();
    let reply = daemon.ask(&**store, "default", 5, now(2)).await;
    assert!(reply.jobs.is_empty() && reply.next_due.is_none_or(|due| due > at(2)), "time alone opens nothing: {:?}", reply.next_due);
    store.resume(&name("default"), &Actor::new("test"), now(3)).await.unwrap();
    let mut started = ids(&daemon.lease(&**store, 5, now(4)).await);
    for second in 5..12 {
        let before = started.len();
        started.extend(ids(&daemon.lease(&**store, 5, now(second)).await));
        assert!(started.len() <= before + 1, "one a second");
    }
    assert_eq!(started, jobs, "though none of them ended");
}
