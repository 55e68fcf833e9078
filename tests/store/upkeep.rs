//! Time passing: what becomes due, how the past is forgotten, bounds, and rows that cannot be read.

use crate::support::{Broken, Build as _, Daemon, TestStore, at, ids, name, now, on_every_store, work};
use windlass::{
    job::{Applied, ErrorClass, JobError, JobId, OnDuplicate, State, Transition, UniqueFor},
    store::{Error, Filter, Retention},
};

on_every_store![
    advance_moves_what_is_due_and_nothing_else,
    advance_of_many_is_bounded_and_says_that_there_is_more,
    jobs_that_become_due_together_keep_the_order_of_their_times,
    finished_jobs_are_pruned_after_their_retention,
    dead_letters_stay_by_default,
    dead_letters_are_pruned_if_a_rule_says_so,
    prune_takes_at_most_its_limit,
    prune_leaves_live_jobs_alone,
    pruned_id_may_be_used_again,
    oldest_queued_job_is_measured_since_it_became_due,
    health_tells_what_the_store_is,
    settings_are_kept_as_configured,
    closed_store_answers_unavailable,
    damaged_row_is_quarantined_and_blocks_nobody,
    damaged_row_behind_a_gate_blocks_nobody,
    damaged_scheduled_row_blocks_nobody,
    damaged_row_does_not_stop_a_restart,
    damaged_numbers_block_nobody,
    damaged_dependent_does_not_hold_up_its_parent,
    quarantined_job_leaves_nothing_behind,
    prune_says_when_there_is_more,
];

async fn advance_moves_what_is_due_and_nothing_else(store: &mut TestStore) {
    let due = store.put(vec![work().delay_ms(1_000), work().delay_ms(5_000)], now(0)).await;
    let later = store.put_one(work().delay_ms(5_001), now(0)).await;
    let advanced = store.advance(now(5)).await.unwrap();
    assert_eq!((advanced.due, advanced.expired, advanced.park_expired, advanced.more), (2, 0, 0, false));
    assert_eq!(store.states(&due).await, [State::Queued; 2]);
    assert_eq!(store.state(later).await, State::Scheduled);
    assert_eq!(store.advance(now(5)).await.unwrap().due, 0, "once");
}

async fn advance_of_many_is_bounded_and_says_that_there_is_more(store: &mut TestStore) {
    store.put((0..5_000).map(|_| work().delay_ms(1_000)).collect(), now(0)).await;
    let (mut due, mut calls) = (0, 0);
    loop {
        let advanced = store.advance(now(1)).await.unwrap();
        due += advanced.due;
        calls += 1;
        if !advanced.more {
            break;
        }
    }
    assert_eq!(due, 5_000);
    assert!(calls > 1, "5,000 rows are more than one call may hold the store for");
}

async fn jobs_that_become_due_together_keep_the_order_of_their_times(store: &mut TestStore) {
    let times = [5, 2, 9, 1, 7];
    let put = store.put(times.iter().map(|s| work().run_at(at(*s))).collect(), now(0)).await;
    let mut expected: Vec<_> = times.iter().zip(put).collect();
    expected.sort();
    let expected: Vec<_> = expected.into_iter().map(|(_, id)| id).collect();
    assert_eq!(store.drain(&Daemon::new(), "default", now(60)).await, expected);
}

const HOUR: i64 = 3_600;

fn keep(finished_hours: u64, dead_hours: u64) -> Retention {
    Retention { finished_hours, dead_hours, ..Retention::default() }
}

async fn end_one(store: &TestStore, transition: Transition, seconds: i64) -> JobId {
    let id = store.put_one(work(), now(seconds)).await;
    let leased = Daemon::new().lease_one(&**store, now(seconds)).await;
    store.end(&leased, transition, now(seconds)).await;
    id
}

fn dead() -> Transition {
    Transition::Dead { reason: "rejected", error: JobError::new(ErrorClass::Permanent, "bad", "never") }
}

async fn finished_jobs_are_pruned_after_their_retention(store: &mut TestStore) {
    let completed = end_one(store, Transition::Complete, 0).await;
    let cancelled = end_one(store, Transition::Cancel { reason: "no".into() }, 10).await;
    let recent = end_one(store, Transition::Complete, 2 * HOUR).await;
    assert_eq!(store.prune(keep(2, 0), 100, now(2 * HOUR - 1)).await.unwrap().jobs, 0);
    assert_eq!(store.prune(keep(2, 0), 100, now(2 * HOUR + 60)).await.unwrap().jobs, 2);
    for id in [completed, cancelled] {
        assert!(store.get(id).await.unwrap().is_none());
    }
    assert_eq!(store.state(recent).await, State::Completed);
    assert_eq!(store.queue_status("default", now(0)).await.jobs[&State::Completed], 1);
}

async fn dead_letters_stay_by_default(store: &mut TestStore) {
    let id = end_one(store, dead(), 0).await;
    assert_eq!(Retention::default().dead_hours, 0);
    assert_eq!(store.prune(Retention::default(), 100, now(10 * 365 * 24 * HOUR)).await.unwrap().jobs, 0);
    assert_eq!(store.state(id).await, State::Dead);
}

async fn dead_letters_are_pruned_if_a_rule_says_so(store: &mut TestStore) {
    let id = end_one(store, dead(), 0).await;
    assert_eq!(store.prune(keep(1, 48), 100, now(47 * HOUR)).await.unwrap().jobs, 0);
    assert_eq!(store.prune(keep(1, 48), 100, now(49 * HOUR)).await.unwrap().jobs, 1);
    assert!(store.get(id).await.unwrap().is_none());
}

async fn prune_takes_at_most_its_limit(store: &mut TestStore) {
    store.put((0..25).map(|_| work()).collect(), now(0)).await;
    store.complete(&Daemon::new().lease(&**store, 25, now(0)).await, now(0)).await;
    let mut pruned = Vec::new();
    for _ in 0..4 {
        pruned.push(store.prune(keep(1, 0), 10, now(2 * HOUR)).await.unwrap().jobs);
    }
    assert_eq!(pruned, [10, 10, 5, 0]);
}

async fn prune_leaves_live_jobs_alone(store: &mut TestStore) {
    let live = store.put(vec![work(), work().delay_ms(1_000), work().after(&[JobId::mint()]), work().queue("b")], now(0)).await;
    Daemon::new().lease_from(&**store, "b", 1, now(0)).await;
    assert_eq!(store.prune(keep(1, 1), 100, now(900 * HOUR)).await.unwrap().jobs, 0);
    assert_eq!(store.states(&live).await, [State::Queued, State::Scheduled, State::Parked, State::Running]);
}

async fn pruned_id_may_be_used_again(store: &mut TestStore) {
    let id = JobId::mint();
    store.put_one(work().id(id), now(0)).await;
    store.complete(&Daemon::new().lease(&**store, 1, now(0)).await, now(0)).await;
    assert_eq!(store.prune(keep(1, 0), 10, now(2 * HOUR)).await.unwrap().jobs, 1);
    let answer = store.enqueue(vec![work().id(id).payload("2")], now(2 * HOUR)).await.unwrap();
    assert_eq!((answer[0].id, answer[0].duplicate), (id, false));
    assert_eq!(store.state(id).await, State::Queued);
}

async fn oldest_queued_job_is_measured_since_it_became_due(store: &mut TestStore) {
    assert_eq!(store.queue_status("default", now(0)).await.oldest_queued_ms, None);
    store.put_one(work().delay_ms(10_000), now(0)).await;
    store.put_one(work().priority(9), now(4)).await;
    assert_eq!(store.queue_status("default", now(6)).await.oldest_queued_ms, Some(2_000));
    store.complete(&Daemon::new().lease(&**store, 1, now(6)).await, now(6)).await;
    assert_eq!(store.queue_status("default", now(9)).await.oldest_queued_ms, None, "what is not due does not wait");
    store.advance(now(15)).await.unwrap();
    assert_eq!(store.queue_status("default", now(15)).await.oldest_queued_ms, Some(5_000));
}

async fn health_tells_what_the_store_is(store: &mut TestStore) {
    let health = store.health().await.unwrap();
    assert_eq!(health.store, if store.name() == "cluster" { "redis-cluster" } else { store.name() });
    assert!(!health.version.is_empty() && health.schema_version > 0, "{health:?}");
}

async fn settings_are_kept_as_configured(store: &mut TestStore) {
    store
        .configure_with(|settings| {
            settings.queues.entry(name("mail")).or_default().concurrency = Some(7);
            settings.kinds.entry(name("work")).or_default().max_attempts = 3;
        })
        .await;
    let settings = store.settings().await.unwrap();
    assert_eq!((settings.queue("mail").concurrency, settings.kind("work").max_attempts), (Some(7), 3));
    store.crash().await;
    assert_eq!(store.settings().await.unwrap(), settings);
}

async fn closed_store_answers_unavailable(store: &mut TestStore) {
    let id = store.put_one(work(), now(0)).await;
    store.close().await;
    let refused = store.enqueue(vec![work()], now(1)).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    assert!(matches!(store.lease(Daemon::new().request("default", 1), now(1)).await, Err(Error::Unavailable(_) | Error::Refused(_))));
    assert!(matches!(store.get(id).await, Err(Error::Unavailable(_))));
    store.crash().await;
    assert_eq!(store.state(id).await, State::Queued, "and opens again");
}

/// Breaks the row of `id` as another program with access to the data might. `false`: the store does not let it happen.
async fn damage(store: &mut TestStore, id: JobId, column: &str, value: Broken) -> bool {
    store.expect_damage();
    store.break_row(id, column, value).await
}

async fn damaged_row_is_quarantined_and_blocks_nobody(store: &mut TestStore) {
    let jobs = store.put((0..5).map(|_| work().tags(&["t"])).collect(), now(0)).await;
    damage(store, jobs[1], "kind", Broken::Text("not a name")).await;
    damage(store, jobs[3], "extra", Broken::Text("{no json")).await;
    assert_eq!(ids(&Daemon::new().lease(&**store, 5, now(1)).await), [jobs[0], jobs[2], jobs[4]]);
    let quarantined = store.quarantined(10).await.unwrap();
    assert_eq!(quarantined.len(), 2, "{quarantined:?}");
    for (bad, column) in [(jobs[1], "kind"), (jobs[3], "extra")] {
        let found = quarantined.iter().find(|row| row.reason.contains(column)).expect("the reason names the column");
        let digits = bad.0.simple().to_string();
        assert!(found.row.to_lowercase().replace('-', "").contains(&digits), "as much of the row as can be is kept: {}", found.row);
        assert_eq!(store.get(bad).await.unwrap().map(|job| job.id), None);
    }
    let status = store.queue_status("default", now(1)).await;
    assert_eq!((status.jobs[&State::Queued], status.jobs[&State::Running]), (0, 3), "the counters know");
}

async fn damaged_row_behind_a_gate_blocks_nobody(store: &mut TestStore) {
    let jobs = store.put((0..4).map(|_| work().key("k")).collect(), now(0)).await;
    damage(store, jobs[0], "attempt", Broken::Number(-5)).await;
    damage(store, jobs[2], "kind", Broken::Text("")).await;
    assert_eq!(store.drain(&Daemon::new(), "default", now(1)).await, [jobs[1], jobs[3]]);
    assert_eq!(store.quarantined(10).await.unwrap().len(), 2);
}

async fn damaged_scheduled_row_blocks_nobody(store: &mut TestStore) {
    let jobs = store.put((0..3).map(|_| work().delay_ms(5_000)).collect(), now(0)).await;
    if !damage(store, jobs[0], "queue", Broken::Text("no queue!")).await {
        return;
    }
    store.advance(now(6)).await.expect("one bad row does not stop the others");
    assert_eq!(store.drain(&Daemon::new(), "default", now(6)).await, jobs[1..]);
    let page = store.list(&Filter::default(), None, 100).await.expect("nor a page");
    assert_eq!(page.items.iter().filter(|job| job.state == State::Completed).count(), 2);
    assert_eq!(store.quarantined(10).await.unwrap().len(), 1);
}

async fn damaged_row_does_not_stop_a_restart(store: &mut TestStore) {
    let jobs = store.put((0..3).map(|_| work()).collect(), now(0)).await;
    assert_eq!(Daemon::new().lease(&**store, 3, now(1)).await.len(), 3);
    damage(store, jobs[0], "attempts", Broken::Text("{broken")).await;
    damage(store, jobs[1], "queue", Broken::Text("no queue!")).await;
    store.crash().await;
    let order = store.drain(&Daemon::new(), "default", now(2)).await;
    assert!(order.contains(&jobs[2]), "{order:?}");
}

async fn damaged_numbers_block_nobody(store: &mut TestStore) {
    let jobs = store.put((0..4).map(|n| work().delay_ms(if n < 2 { 0 } else { 5_000 })).collect(), now(0)).await;
    let leased = Daemon::new().lease(&**store, 2, now(1)).await;
    assert_eq!(leased.len(), 2);
    damage(store, jobs[0], "attempt", Broken::Number(-1)).await;
    damage(store, jobs[1], "deaths", Broken::Number(-7)).await;
    let broken = damage(store, jobs[2], "priority", Broken::Number(300)).await;
    let daemon = Daemon::new();
    let due = if broken { &jobs[3..] } else { &jobs[2..] };
    assert_eq!(store.drain(&daemon, "default", now(6)).await, due, "what is due is leased");
    let retry = Transition::Retry { at: at(9), error: JobError::new(ErrorClass::Retry, "http_503", "later") };
    assert_eq!(store.end(&leased[0], retry, now(7)).await, Applied::Applied);
    store.crash().await;
    damage(store, jobs[1], "id", Broken::Bytes(&[1, 2])).await;
    store.list(&Filter::default(), None, 100).await.expect("a page can be shown");
}

async fn damaged_dependent_does_not_hold_up_its_parent(store: &mut TestStore) {
    let parents = store.put(vec![work(), work()], now(0)).await;
    let children = store.put(vec![work().after(&parents[..1]), work().after(&parents[..1])], now(0)).await;
    if !damage(store, children[0], "kind", Broken::Text("not a name")).await {
        return;
    }
    let leased = Daemon::new().lease(&**store, 2, now(1)).await;
    store.complete(&leased, now(2)).await;
    assert_eq!(store.states(&parents).await, [State::Completed; 2]);
    assert_eq!(store.state(children[1]).await, State::Queued);
    assert_eq!(store.quarantined(10).await.unwrap().len(), 1);
}

async fn quarantined_job_leaves_nothing_behind(store: &mut TestStore) {
    let unique = || work().unique("u", UniqueFor::UntilFinished, OnDuplicate::Return);
    let bad = store.put_one(unique().ordered("s").expires_at(at(50)), now(0)).await;
    let rest = store.put(vec![work().ordered("s"), work().after(&[bad])], now(0)).await;
    damage(store, bad, "kind", Broken::Text("not a name")).await;
    assert_eq!(store.drain(&Daemon::new(), "default", now(1)).await, rest[..1], "the turn of its key goes on");
    assert_eq!(store.job(rest[1]).await.reason.as_deref(), Some("dependency_missing"));
    let answer = store.enqueue(vec![unique()], now(2)).await.unwrap();
    assert!(!answer[0].duplicate, "its key is free");
    store.advance(now(60)).await.unwrap();
    let due = store.advance(now(61)).await.unwrap();
    assert_eq!((due.expired, due.next_due.is_none_or(|t| t > at(61))), (0, true), "its patience is forgotten: {due:?}");
}

async fn prune_says_when_there_is_more(store: &mut TestStore) {
    store.put((0..25).map(|n| work().idempotent(&format!("i{n}"))).collect(), now(0)).await;
    let mut calls = 1;
    while store.prune(Retention::default(), 10, now(48 * HOUR)).await.unwrap().more {
        calls += 1;
        assert!(calls < 20, "it comes to an end");
    }
    assert!(calls >= 3, "three pieces, though no job is old enough: {calls}");
}
