//! Unique keys: who holds one, for how long, and what the next arrival with the same key means (contract P7).

use crate::support::{Build as _, Daemon, TestStore, WINDOW, at, ids, json, name, now, on_every_store, work};
use futures_util::future::join_all;
use windlass::{
    job::{
        Applied, ErrorClass, JobError, JobId, NewJob,
        OnDuplicate::{Reject, Replace, Return},
        State, Transition,
        UniqueFor::{self, UntilFinished, UntilStarted},
    },
    store::{Actor, Enqueued, Error},
};

on_every_store![
    duplicate_is_answered_with_the_holder,
    rejected_duplicate_names_the_holder_and_writes_nothing,
    key_is_scoped_by_tenant_and_queue,
    duplicates_inside_one_bulk_are_one_job,
    rejected_duplicate_inside_one_bulk_writes_nothing,
    concurrent_arrivals_make_one_job,
    key_until_finished_is_held_through_running_and_retries,
    key_until_finished_is_free_after_every_end,
    key_until_started_is_free_once_a_worker_has_the_job,
    key_until_started_is_not_taken_back_by_a_retry,
    window_is_held_after_the_job_ended,
    window_that_passed_is_held_while_the_job_is_live,
    replace_swaps_payload_and_options_and_keeps_the_id,
    replace_moves_a_due_job_into_the_future_and_back,
    replace_moves_a_job_to_another_priority_and_key,
    replace_finds_a_job_in_the_line_the_former_settings_gave_it,
    replaced_job_waits_for_the_jobs_its_new_envelope_names,
    replace_after_the_start_makes_a_new_job,
    debounce_puts_the_start_off,
    debounce_is_bounded_by_the_first_arrival,
    debounce_counts_anew_after_a_start,
    cancelled_holder_frees_the_key_of_a_delayed_job,
    expired_holder_frees_the_key,
];

fn unique(held: UniqueFor) -> NewJob {
    work().unique("k", held, Return)
}

async fn duplicate_of(store: &TestStore, seconds: i64, held: UniqueFor) -> bool {
    store.enqueue(vec![unique(held)], now(seconds)).await.unwrap()[0].duplicate
}

fn failure() -> JobError {
    JobError::new(ErrorClass::Retry, "http_503", "try later")
}

async fn duplicate_is_answered_with_the_holder(store: &mut TestStore) {
    for (key, held) in [("a", UntilFinished), ("b", UntilStarted), ("c", WINDOW)] {
        let first = store.enqueue(vec![work().unique(key, held, Return).delay_ms(9_000)], now(0)).await.unwrap();
        assert!(!first[0].duplicate);
        let second = store.enqueue(vec![work().unique(key, held, Return).payload("2")], now(1)).await.unwrap();
        assert_eq!(second, [Enqueued { id: first[0].id, status: State::Scheduled, duplicate: true }]);
        let job = store.job(first[0].id).await;
        assert_eq!((job.payload.as_str(), job.run_at, job.unique_key), (r#"{"n":1}"#, at(9), Some(name(key))));
    }
    assert_eq!(store.all().await.len(), 3);
}

async fn rejected_duplicate_names_the_holder_and_writes_nothing(store: &mut TestStore) {
    let first = store.put_one(unique(UntilFinished), now(0)).await;
    let refused = store.enqueue(vec![work(), work().unique("k", UntilFinished, Reject)], now(1)).await.unwrap_err();
    assert!(matches!(refused, Error::Duplicate { index: 1, holder } if holder == first), "{refused:?}");
    assert_eq!(store.all().await.len(), 1);
}

async fn key_is_scoped_by_tenant_and_queue(store: &mut TestStore) {
    let places = || {
        vec![unique(UntilFinished), unique(UntilFinished).tenant("a"), unique(UntilFinished).tenant("b"), unique(UntilFinished).queue("q")]
    };
    let first = store.enqueue(places(), now(0)).await.unwrap();
    assert!(first.iter().all(|answer| !answer.duplicate), "{first:?}");
    let again = store.enqueue(places(), now(0)).await.unwrap();
    assert!(again.iter().all(|answer| answer.duplicate), "{again:?}");
    assert_eq!(again.iter().map(|answer| answer.id).collect::<Vec<_>>(), first.iter().map(|answer| answer.id).collect::<Vec<_>>());
}

async fn duplicates_inside_one_bulk_are_one_job(store: &mut TestStore) {
    let bulk = vec![
        work().unique("z", UntilFinished, Return),
        unique(UntilFinished),
        work(),
        unique(UntilFinished),
        work().unique("z", WINDOW, Return),
    ];
    let answers = store.enqueue(bulk, now(0)).await.unwrap();
    assert_eq!(answers.iter().map(|answer| answer.duplicate).collect::<Vec<_>>(), [false, false, false, true, true]);
    assert_eq!((answers[3].id, answers[4].id), (answers[1].id, answers[0].id));
    assert_eq!(store.all().await.len(), 3);
}

async fn rejected_duplicate_inside_one_bulk_writes_nothing(store: &mut TestStore) {
    let first = unique(UntilFinished);
    let holder = first.id;
    let refused = store.enqueue(vec![first, work().unique("k", UntilFinished, Reject)], now(0)).await.unwrap_err();
    assert!(matches!(refused, Error::Duplicate { index: 1, holder: named } if named == holder), "{refused:?}");
    assert_eq!(store.all().await.len(), 0);
    assert!(!duplicate_of(store, 1, UntilFinished).await, "the key was not taken by a call that failed");
}

async fn concurrent_arrivals_make_one_job(store: &mut TestStore) {
    let shared: &TestStore = store;
    let answers = join_all((0..50).map(|_| shared.enqueue(vec![unique(UntilFinished)], now(0)))).await;
    let answers: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().remove(0)).collect();
    assert_eq!(answers.iter().filter(|answer| !answer.duplicate).count(), 1);
    assert!(answers.iter().all(|answer| answer.id == answers[0].id));
    assert_eq!(store.all().await.len(), 1);
}

async fn key_until_finished_is_held_through_running_and_retries(store: &mut TestStore) {
    let daemon = Daemon::new();
    store.put_one(unique(UntilFinished), now(0)).await;
    let leased = daemon.lease_one(&**store, now(1)).await;
    assert!(duplicate_of(store, 1, UntilFinished).await, "while it runs");
    store.end(&leased, Transition::Retry { at: at(10), error: failure() }, now(2)).await;
    assert!(duplicate_of(store, 3, UntilFinished).await, "while it waits for its retry");
    let leased = daemon.lease_one(&**store, now(10)).await;
    let park = Transition::Park { reason: "outside".into(), until: at(100), token: None, error: None };
    store.end(&leased, park, now(11)).await;
    assert!(duplicate_of(store, 12, UntilFinished).await, "while it is parked");
}

async fn key_until_finished_is_free_after_every_end(store: &mut TestStore) {
    let daemon = Daemon::new();
    let ends =
        [Transition::Complete, Transition::Dead { reason: "rejected", error: failure() }, Transition::Cancel { reason: "stale".into() }];
    for end in ends {
        assert!(!duplicate_of(store, 0, UntilFinished).await);
        let leased = daemon.lease_one(&**store, now(1)).await;
        assert_eq!(store.end(&leased, end.clone(), now(2)).await, Applied::Applied);
        assert_eq!(store.state(leased.job.id).await, end.to_state());
    }
    assert!(!duplicate_of(store, 3, UntilFinished).await, "after dead and cancelled ends too");
}

async fn key_until_started_is_free_once_a_worker_has_the_job(store: &mut TestStore) {
    assert!(!duplicate_of(store, 0, UntilStarted).await);
    assert!(duplicate_of(store, 0, UntilStarted).await);
    Daemon::new().lease_one(&**store, now(1)).await;
    assert!(!duplicate_of(store, 2, UntilStarted).await);
    assert!(duplicate_of(store, 3, UntilStarted).await);
    assert_eq!(store.all().await.len(), 2);
}

async fn key_until_started_is_not_taken_back_by_a_retry(store: &mut TestStore) {
    let daemon = Daemon::new();
    let first = store.put_one(unique(UntilStarted), now(0)).await;
    let leased = daemon.lease_one(&**store, now(1)).await;
    let second = store.put_one(unique(UntilStarted).delay_ms(60_000), now(2)).await;
    assert_ne!(first, second);
    store.end(&leased, Transition::Retry { at: at(5), error: failure() }, now(3)).await;
    let third = store.enqueue(vec![unique(UntilStarted)], now(4)).await.unwrap();
    assert_eq!((third[0].id, third[0].duplicate), (second, true));
    store.complete(&daemon.lease(&**store, 5, now(5)).await, now(6)).await;
    let fourth = store.enqueue(vec![unique(UntilStarted)], now(7)).await.unwrap();
    assert_eq!((fourth[0].id, fourth[0].duplicate), (second, true), "the end of the first frees nothing that it does not hold");
}

async fn window_is_held_after_the_job_ended(store: &mut TestStore) {
    let daemon = Daemon::new();
    let first = store.put_one(unique(WINDOW), now(0)).await;
    assert_eq!(store.drain(&daemon, "default", now(1)).await, [first]);
    let inside = store.enqueue(vec![unique(WINDOW)], now(599)).await.unwrap();
    assert_eq!(inside, [Enqueued { id: first, status: State::Completed, duplicate: true }]);
    let refused = store.enqueue(vec![work().unique("k", WINDOW, Reject)], now(599)).await.unwrap_err();
    assert!(matches!(refused, Error::Duplicate { holder, .. } if holder == first), "{refused:?}");
    assert!(!duplicate_of(store, 601, WINDOW).await, "the window is over");
}

async fn window_that_passed_is_held_while_the_job_is_live(store: &mut TestStore) {
    let first = store.put_one(unique(WINDOW), now(0)).await;
    assert!(duplicate_of(store, 100_000, WINDOW).await);
    assert_eq!(store.drain(&Daemon::new(), "default", now(100_001)).await, [first]);
    assert!(!duplicate_of(store, 100_002, WINDOW).await);
}

fn replacing(payload: &str) -> NewJob {
    work().payload(payload).unique("k", UntilStarted, Replace)
}

async fn replace_swaps_payload_and_options_and_keeps_the_id(store: &mut TestStore) {
    let first = store.put_one(replacing("1").tags(&["old"]), now(0)).await;
    let newer = replacing("2").kind("other").max_attempts(9).tags(&["new"]).expires_at(at(50)).change(|job| job.timeout_ms = Some(99));
    let answer = store.enqueue(vec![newer], now(1)).await.unwrap();
    assert_eq!(answer, [Enqueued { id: first, status: State::Queued, duplicate: true }]);
    let job = store.job(first).await;
    assert_eq!((job.payload.as_str(), job.kind, job.max_attempts, job.timeout_ms), ("2", name("other"), 9, Some(99)));
    assert_eq!((job.expires_at, job.extra.tags), (Some(at(50)), vec![name("new")]));
    let leased = Daemon::new().lease_one(&**store, now(2)).await;
    assert_eq!((leased.job.id, leased.job.payload.as_str()), (first, "2"));
}

async fn replace_moves_a_due_job_into_the_future_and_back(store: &mut TestStore) {
    let daemon = Daemon::new();
    let id = store.put_one(replacing("1"), now(0)).await;
    let answer = store.enqueue(vec![replacing("2").delay_ms(10_000)], now(1)).await.unwrap();
    assert_eq!(answer[0].status, State::Scheduled);
    assert_eq!(ids(&daemon.lease(&**store, 1, now(5)).await), []);
    let answer = store.enqueue(vec![replacing("3")], now(6)).await.unwrap();
    assert_eq!((answer[0].id, answer[0].status), (id, State::Queued));
    assert_eq!(daemon.lease_one(&**store, now(6)).await.job.payload.as_str(), "3");
}

async fn replace_moves_a_job_to_another_priority_and_key(store: &mut TestStore) {
    let daemon = Daemon::new();
    let blocker = store.put_one(work().key("busy").priority(0), now(0)).await;
    let running = daemon.lease_one(&**store, now(0)).await;
    assert_eq!(running.job.id, blocker);
    let plain = store.put_one(work().priority(4), now(0)).await;
    let id = store.put_one(replacing("1").key("busy").priority(1), now(0)).await;
    assert_eq!(ids(&daemon.lease(&**store, 1, now(1)).await), [plain], "the key is busy");
    store.put_one(replacing("2").priority(7), now(2)).await;
    let freed = daemon.lease_one(&**store, now(2)).await;
    assert_eq!((freed.job.id, freed.job.concurrency_key), (id, None), "it waits for the key no longer");
    let next = store.put_one(work().key("busy"), now(3)).await;
    store.complete(&[running], now(3)).await;
    assert_eq!(ids(&daemon.lease(&**store, 2, now(3)).await), [next], "and holds nobody up who does");
}

async fn replace_after_the_start_makes_a_new_job(store: &mut TestStore) {
    let first = store.put_one(replacing("1"), now(0)).await;
    let leased = Daemon::new().lease_one(&**store, now(1)).await;
    let answer = store.enqueue(vec![replacing("2")], now(2)).await.unwrap();
    assert!(!answer[0].duplicate && answer[0].id != first, "{answer:?}");
    assert_eq!(store.job(first).await.payload, json("1"));
    store.complete(&[leased], now(3)).await;
    let answer = store.enqueue(vec![replacing("3")], now(4)).await.unwrap();
    assert!(answer[0].duplicate && answer[0].id != first, "the second job is swapped, not the first: {answer:?}");
}

async fn debounce_puts_the_start_off(store: &mut TestStore) {
    let daemon = Daemon::new();
    let id = store.put_one(work().debounced("k", 10_000, 60_000).payload("1"), now(0)).await;
    assert_eq!(store.job(id).await.run_at, at(10));
    let answer = store.enqueue(vec![work().debounced("k", 10_000, 60_000).payload("2")], now(8)).await.unwrap();
    assert_eq!(answer, [Enqueued { id, status: State::Scheduled, duplicate: true }]);
    let job = store.job(id).await;
    assert_eq!((job.run_at, job.payload.as_str()), (at(18), "2"));
    assert_eq!(ids(&daemon.lease(&**store, 1, now(17)).await), []);
    assert_eq!(ids(&daemon.lease(&**store, 1, now(18)).await), [id]);
}

async fn debounce_is_bounded_by_the_first_arrival(store: &mut TestStore) {
    let burst = || work().debounced("k", 10_000, 25_000);
    let id = store.put_one(burst(), now(0)).await;
    for (arrival, run_at) in [(8, 18), (16, 25), (24, 25)] {
        store.put_one(burst(), now(arrival)).await;
        assert_eq!(store.job(id).await.run_at, at(run_at), "after the arrival at {arrival} s");
    }
    let overdue = store.enqueue(vec![burst()], now(40)).await.unwrap();
    assert_eq!((overdue[0].id, overdue[0].status), (id, State::Queued), "an overdue one is not put off again");
    assert_eq!(ids(&Daemon::new().lease(&**store, 1, now(40)).await), [id]);
}

async fn debounce_counts_anew_after_a_start(store: &mut TestStore) {
    let burst = || work().debounced("k", 10_000, 15_000);
    let first = store.put_one(burst(), now(0)).await;
    Daemon::new().lease_one(&**store, now(10)).await;
    let second = store.put_one(burst(), now(11)).await;
    assert_ne!(first, second);
    store.put_one(burst(), now(20)).await;
    assert_eq!(store.job(second).await.run_at, at(26));
}

async fn cancelled_holder_frees_the_key_of_a_delayed_job(store: &mut TestStore) {
    let id = store.put_one(unique(UntilFinished).delay_ms(9_000), now(0)).await;
    store.cancel(id, "not needed", &Actor::new("test"), now(1)).await.unwrap();
    assert!(!duplicate_of(store, 2, UntilFinished).await);
}

async fn expired_holder_frees_the_key(store: &mut TestStore) {
    let id = store.put_one(unique(UntilFinished).expires_at(at(5)), now(0)).await;
    store.advance(now(6)).await.unwrap();
    assert_eq!(store.state(id).await, State::Cancelled);
    assert!(!duplicate_of(store, 7, UntilFinished).await);
}

async fn replace_finds_a_job_in_the_line_the_former_settings_gave_it(store: &mut TestStore) {
    let id = store.put_one(replacing("1").tenant("acme"), now(0)).await;
    store.configure_with(|settings| settings.queues.entry(name("default")).or_default().fair = false).await;
    let answer = store.enqueue(vec![replacing("2").tenant("acme")], now(1)).await.unwrap();
    assert_eq!((answer[0].id, answer[0].duplicate), (id, true));
    let daemon = Daemon::new();
    let leased = daemon.lease(&**store, 5, now(2)).await;
    assert_eq!(ids(&leased), [id], "it stands in one line only");
    assert_eq!(leased[0].job.payload.as_str(), "2");
    store.complete(&leased, now(3)).await;
    assert_eq!(ids(&daemon.lease(&**store, 5, now(4)).await), []);
}

async fn replaced_job_waits_for_the_jobs_its_new_envelope_names(store: &mut TestStore) {
    let parents = store.put(vec![work().delay_ms(60_000), work().delay_ms(60_000)], now(0)).await;
    let id = store.put_one(replacing("1").after(&parents[..1]), now(0)).await;
    let answer = store.enqueue(vec![replacing("2").after(&parents[1..])], now(1)).await.unwrap();
    assert_eq!((answer[0].id, answer[0].status), (id, State::Parked));
    let daemon = Daemon::new();
    store.advance(now(60)).await.unwrap();
    let leased = daemon.lease(&**store, 5, now(61)).await;
    store.complete(&leased[..1], now(62)).await;
    assert_eq!((leased[0].job.id, store.state(id).await), (parents[0], State::Parked), "that one is not waited for any more");
    store.complete(&leased[1..], now(63)).await;
    assert_eq!(store.drain(&daemon, "default", now(64)).await, [id]);

    let free = store.put_one(replacing("1").after(&[JobId::mint()]), now(70)).await;
    let answer = store.enqueue(vec![replacing("2")], now(71)).await.unwrap();
    assert_eq!((answer[0].id, answer[0].status), (free, State::Queued), "it waits for nobody now");
    assert_eq!(store.drain(&daemon, "default", now(72)).await, [free]);
}
