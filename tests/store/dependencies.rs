//! Jobs that wait for other jobs: parked until every parent completed, whatever the parents' fate or the order of arrival.

use crate::support::{Build as _, Daemon, TestStore, at, ids, name, now, on_every_store, work};
use windlass::{
    job::{ErrorClass, JobError, JobId, KindSettings, Settlement, State, Transition},
    store::{Actor, Cancelled},
};

on_every_store![
    dependent_waits_until_its_parent_completed,
    dependent_of_several_waits_for_the_last,
    dependent_of_a_completed_parent_is_queued_at_once,
    dependent_with_a_due_time_is_scheduled_when_its_parents_are_done,
    parent_may_stand_behind_its_child_in_the_same_bulk,
    chain_runs_in_order,
    dependent_of_a_dead_parent_stays_parked_until_the_redriven_parent_completes,
    dependent_of_a_cancelled_parent_stays_parked_with_its_reason,
    dependent_of_a_missing_parent_is_parked_with_its_reason,
    parent_of_another_tenant_reads_as_missing,
    retrying_parent_frees_nobody,
    dependent_that_waited_too_long_is_dead,
    cancelled_dependent_is_not_woken,
    same_parent_named_twice_counts_once,
    parent_of_many_lets_go_of_all,
    dependent_that_came_twice_stays_where_its_worker_parked_it,
];

fn dead() -> Transition {
    Transition::Dead { reason: "rejected", error: JobError::new(ErrorClass::Permanent, "bad", "never works") }
}

async fn reason(store: &TestStore, id: JobId) -> (State, Option<String>) {
    let job = store.job(id).await;
    (job.state, job.reason)
}

fn parked(reason: &str) -> (State, Option<String>) {
    (State::Parked, Some(reason.to_owned()))
}

async fn dependent_waits_until_its_parent_completed(store: &mut TestStore) {
    let daemon = Daemon::new();
    let parent = store.put_one(work(), now(0)).await;
    let answer = store.enqueue(vec![work().after(&[parent])], now(0)).await.unwrap();
    let child = answer[0].id;
    assert_eq!(answer[0].status, State::Parked);
    assert_eq!(reason(store, child).await, parked("dependency"));
    let running = daemon.lease(&**store, 5, now(1)).await;
    assert_eq!(ids(&running), [parent]);
    assert_eq!(store.state(child).await, State::Parked, "a running parent is not done");
    store.complete(&running, now(2)).await;
    assert_eq!(reason(store, child).await, (State::Queued, None));
    assert_eq!(ids(&daemon.lease(&**store, 5, now(2)).await), [child]);
}

async fn dependent_of_several_waits_for_the_last(store: &mut TestStore) {
    let daemon = Daemon::new();
    let parents = store.put(vec![work(), work(), work()], now(0)).await;
    let child = store.put_one(work().after(&parents), now(0)).await;
    for (n, parent) in parents.iter().enumerate() {
        assert_eq!(store.state(child).await, State::Parked, "with {n} parents done");
        let running = daemon.lease(&**store, 1, now(1)).await;
        assert_eq!(ids(&running), [*parent]);
        store.complete(&running, now(1)).await;
    }
    assert_eq!(store.state(child).await, State::Queued);
}

async fn dependent_of_a_completed_parent_is_queued_at_once(store: &mut TestStore) {
    let parent = store.put_one(work(), now(0)).await;
    store.drain(&Daemon::new(), "default", now(1)).await;
    let answer = store.enqueue(vec![work().after(&[parent])], now(2)).await.unwrap();
    assert_eq!(answer[0].status, State::Queued);
    assert_eq!(reason(store, answer[0].id).await, (State::Queued, None));
    assert_eq!(store.drain(&Daemon::new(), "default", now(3)).await, [answer[0].id]);
}

async fn dependent_with_a_due_time_is_scheduled_when_its_parents_are_done(store: &mut TestStore) {
    let daemon = Daemon::new();
    let parent = store.put_one(work(), now(0)).await;
    let child = store.put_one(work().after(&[parent]).run_at(at(60)), now(0)).await;
    assert_eq!(store.state(child).await, State::Parked);
    assert_eq!(store.drain(&daemon, "default", now(1)).await, [parent]);
    assert_eq!(store.state(child).await, State::Scheduled);
    assert_eq!(ids(&daemon.lease(&**store, 1, now(59)).await), []);
    assert_eq!(ids(&daemon.lease(&**store, 1, now(60)).await), [child]);
}

async fn parent_may_stand_behind_its_child_in_the_same_bulk(store: &mut TestStore) {
    let parent = work();
    let child = work().after(&[parent.id]);
    let (parent_id, child_id) = (parent.id, child.id);
    let answers = store.enqueue(vec![child, parent], now(0)).await.unwrap();
    assert_eq!((answers[0].status, answers[1].status), (State::Parked, State::Queued));
    assert_eq!(reason(store, child_id).await, parked("dependency"));
    assert_eq!(store.drain(&Daemon::new(), "default", now(1)).await, [parent_id, child_id]);
}

async fn chain_runs_in_order(store: &mut TestStore) {
    let mut chain = vec![work()];
    for n in 1..8_usize {
        chain.push(work().after(&[chain[n - 1].id]).priority(u8::try_from(9 - n).unwrap()));
    }
    let expected: Vec<_> = chain.iter().map(|job| job.id).collect();
    store.put(chain, now(0)).await;
    assert_eq!(store.drain(&Daemon::new(), "default", now(1)).await, expected);
}

async fn dependent_of_a_dead_parent_stays_parked_until_the_redriven_parent_completes(store: &mut TestStore) {
    let daemon = Daemon::new();
    let parent = store.put_one(work(), now(0)).await;
    let child = store.put_one(work().after(&[parent]), now(0)).await;
    let running = daemon.lease_one(&**store, now(1)).await;
    store.end(&running, dead(), now(2)).await;
    assert_eq!(reason(store, child).await, parked("dependency_dead"));
    let late = store.put_one(work().after(&[parent]), now(3)).await;
    assert_eq!(reason(store, late).await, parked("dependency_dead"), "a child that comes later sees the same");
    store.redrive(parent, &Actor::new("test"), now(4)).await.unwrap();
    let order = store.drain(&daemon, "default", now(5)).await;
    assert_eq!(order[0], parent);
    assert_eq!(store.states(&[parent, child, late]).await, [State::Completed; 3]);
}

async fn dependent_of_a_cancelled_parent_stays_parked_with_its_reason(store: &mut TestStore) {
    let parent = store.put_one(work(), now(0)).await;
    let child = store.put_one(work().after(&[parent]), now(0)).await;
    assert_eq!(store.cancel(parent, "no", &Actor::new("test"), now(1)).await.unwrap(), Cancelled::Now);
    assert_eq!(reason(store, child).await, parked("dependency_dead"));
    assert_eq!(store.drain(&Daemon::new(), "default", now(2)).await, []);
}

async fn dependent_of_a_missing_parent_is_parked_with_its_reason(store: &mut TestStore) {
    let answer = store.enqueue(vec![work().after(&[JobId::mint()])], now(0)).await.unwrap();
    assert_eq!(answer[0].status, State::Parked);
    assert_eq!(reason(store, answer[0].id).await, parked("dependency_missing"));
    assert_eq!(store.drain(&Daemon::new(), "default", now(1)).await, []);
}

async fn parent_of_another_tenant_reads_as_missing(store: &mut TestStore) {
    let daemon = Daemon::new();
    let parent = store.put_one(work().tenant("a"), now(0)).await;
    let child = store.put_one(work().tenant("b").after(&[parent]), now(0)).await;
    assert_eq!(reason(store, child).await, parked("dependency_missing"));
    assert_eq!(store.drain(&daemon, "default", now(1)).await, [parent]);
    assert_eq!(reason(store, child).await, parked("dependency_missing"), "its end tells a foreign tenant nothing");
}

async fn retrying_parent_frees_nobody(store: &mut TestStore) {
    let daemon = Daemon::new();
    let parent = store.put_one(work(), now(0)).await;
    let child = store.put_one(work().after(&[parent]), now(0)).await;
    let error = JobError::new(ErrorClass::Retry, "http_503", "later");
    for transition in [Transition::Retry { at: at(2), error }, Transition::Snooze { until: at(2) }, Transition::Release] {
        let running = daemon.lease_one(&**store, now(2)).await;
        store.end(&running, transition, now(2)).await;
        assert_eq!(store.state(child).await, State::Parked);
    }
    assert_eq!(store.drain(&daemon, "default", now(3)).await, [parent, child]);
}

async fn dependent_that_waited_too_long_is_dead(store: &mut TestStore) {
    store
        .configure_with(|settings| {
            settings.kinds.insert(name("work"), KindSettings { park_for_ms: 60_000, ..KindSettings::default() });
        })
        .await;
    let child = store.put_one(work().after(&[JobId::mint()]), now(0)).await;
    store.advance(now(59)).await.unwrap();
    assert_eq!(store.state(child).await, State::Parked);
    let advanced = store.advance(now(61)).await.unwrap();
    assert_eq!(advanced.park_expired, 1);
    assert_eq!(reason(store, child).await, (State::Dead, Some("park_expired".into())));
}

async fn cancelled_dependent_is_not_woken(store: &mut TestStore) {
    let parent = store.put_one(work(), now(0)).await;
    let child = store.put_one(work().after(&[parent]), now(0)).await;
    store.cancel(child, "no", &Actor::new("test"), now(1)).await.unwrap();
    assert_eq!(store.drain(&Daemon::new(), "default", now(2)).await, [parent]);
    assert_eq!(store.state(child).await, State::Cancelled);
}

async fn same_parent_named_twice_counts_once(store: &mut TestStore) {
    let parent = store.put_one(work(), now(0)).await;
    let child = store.put_one(work().after(&[parent, parent]), now(0)).await;
    assert_eq!(store.drain(&Daemon::new(), "default", now(1)).await, [parent, child]);
}

async fn parent_of_many_lets_go_of_all(store: &mut TestStore) {
    let parent = store.put_one(work().queue("other"), now(0)).await;
    let children: Vec<JobId> = store.put((0..1500).map(|_| work().after(&[parent])).collect(), now(0)).await;
    let leased = Daemon::new().lease_from(&**store, "other", 1, now(1)).await;
    store.complete(&leased, now(2)).await;
    while store.advance(now(3)).await.expect("upkeep").more {}
    assert_eq!(store.queue_status("default", now(3)).await.jobs[&State::Queued], 1500);
    assert_eq!(store.state(children[1499]).await, State::Queued);
}

async fn dependent_that_came_twice_stays_where_its_worker_parked_it(store: &mut TestStore) {
    let daemon = Daemon::new();
    let parent = store.put_one(work(), now(0)).await;
    let child = work().after(&[parent]);
    store.enqueue(vec![child.clone()], now(0)).await.expect("it is new");
    store.complete(&daemon.lease(&**store, 1, now(1)).await, now(1)).await;
    let leased = daemon.lease(&**store, 1, now(2)).await;
    assert_eq!(ids(&leased), [child.id]);
    let park = Transition::Park { reason: "outside".into(), until: at(9_000), token: None, error: None };
    store.settle_one(Settlement::new(leased[0].lease, park, at(3)), now(3)).await;
    let again = store.enqueue(vec![child.clone()], now(4)).await.expect("the same call again");
    assert_eq!((again[0].id, again[0].status), (child.id, State::Parked));
    assert_eq!(reason(store, child.id).await, parked("outside"));
}
