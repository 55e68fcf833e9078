//! Jobs come in: what an answer promises, ids and idempotency keys asked about again, bulk calls that are all or nothing.
//! Unique keys are in `unique.rs`, dependencies in `dependencies.rs`.

use crate::support::{Build as _, Daemon, TestStore, at, ids, json, name, now, on_every_store, work};
use futures_util::future::join_all;
use windlass::{
    job::{JobId, KindSettings, State},
    store::{Enqueued, Error},
};

on_every_store![
    plain_job_is_queued_and_reads_back_as_it_was_sent,
    payload_is_kept_byte_for_byte,
    settings_of_the_kind_fill_in_what_the_envelope_leaves_open,
    members_of_the_envelope_win_over_settings,
    bulk_answers_in_the_order_of_the_call,
    empty_bulk_is_answered_with_nothing,
    delayed_job_is_scheduled_and_not_leased_before_it_is_due,
    run_at_in_the_past_is_due_now,
    same_id_and_body_get_the_same_answer_and_no_second_job,
    same_id_and_another_body_conflict,
    same_id_is_known_after_the_job_ended,
    id_minted_by_a_door_may_be_asked_about_again,
    same_id_twice_in_one_bulk_is_one_job,
    same_id_with_two_bodies_in_one_bulk_writes_nothing,
    idempotency_key_answers_with_the_first_job,
    idempotency_key_with_another_body_conflicts,
    idempotency_key_outlives_its_job_and_is_forgotten_in_time,
    idempotency_key_belongs_to_its_tenant,
    one_refused_item_leaves_nothing_of_its_bulk,
    concurrent_calls_are_each_answered_in_full,
    large_bulk_is_taken_whole,
];

async fn plain_job_is_queued_and_reads_back_as_it_was_sent(store: &mut TestStore) {
    let sent =
        work().queue("mail").tenant("acme").priority(2).key("k").max_attempts(7).expires_at(at(100)).tags(&["nightly", "eu"]).change(
            |job| {
                job.timeout_ms = Some(1234);
                job.extra.event_time = Some(at(-50));
                job.extra.meta = Some(json(r#"{"traceparent":"00-x"}"#));
            },
        );
    let answers = store.enqueue(vec![sent.clone()], now(3)).await.unwrap();
    assert_eq!(answers, [Enqueued { id: sent.id, status: State::Queued, duplicate: false }]);
    let job = store.job(sent.id).await;
    assert_eq!((job.id, &job.kind, &job.queue, &job.tenant), (sent.id, &name("work"), &name("mail"), &Some(name("acme"))));
    assert_eq!((job.state, job.reason, job.priority), (State::Queued, None, 2));
    assert_eq!((job.attempt, job.max_attempts, job.timeout_ms, job.deaths), (0, 7, Some(1234), 0));
    assert_eq!((job.created_at, job.run_at, job.expires_at), (at(3), at(3), Some(at(100))));
    assert_eq!((job.started_at, job.finished_at, job.holder), (None, None, None));
    assert_eq!((job.concurrency_key, job.ordered, job.unique_key), (Some(name("k")), false, None));
    assert_eq!((job.payload, job.result, job.checkpoint, job.progress), (sent.payload, None, None, None));
    assert_eq!(job.attempts, []);
    assert_eq!(job.extra, sent.extra);
    assert_eq!(store.all().await.len(), 1);
}

async fn payload_is_kept_byte_for_byte(store: &mut TestStore) {
    let odd = [
        r#"{ "b" : 1, "a" : 2, "a" : 3 }"#,
        r#"{"n":1e400,"z":-0,"big":12345678901234567890123,"f":1.10}"#,
        r#""\ud83d\ude00 \u0000 ü 😀""#,
        "[ 1 ,\n\t2 ]",
        "null",
        "{}",
    ];
    let sent: Vec<_> = odd.iter().map(|text| work().payload(text)).collect();
    let put = store.put(sent, now(0)).await;
    let leased = Daemon::new().lease(&**store, 10, now(1)).await;
    assert_eq!(ids(&leased), put);
    for (n, text) in odd.iter().enumerate() {
        assert_eq!(leased[n].job.payload.as_str(), *text, "as a worker sees it");
        assert_eq!(store.job(put[n]).await.payload.as_str(), *text, "as a person sees it");
    }
    store.complete(&leased, now(2)).await;
    for (n, text) in odd.iter().enumerate() {
        assert_eq!(store.job(put[n]).await.payload.as_str(), *text, "after its end");
    }
}

fn slow_mail() -> KindSettings {
    KindSettings { queue: name("mail"), priority: 1, max_attempts: 9, timeout_ms: 777, ..KindSettings::default() }
}

async fn settings_of_the_kind_fill_in_what_the_envelope_leaves_open(store: &mut TestStore) {
    store.configure_with(|settings| _ = settings.kinds.insert(name("work"), slow_mail())).await;
    let id = store.put_one(work(), now(0)).await;
    let job = store.job(id).await;
    assert_eq!((job.queue, job.priority, job.max_attempts, job.timeout_ms), (name("mail"), 1, 9, Some(777)));
    let plain = store.job(store.put_one(work().kind("other"), now(0)).await).await;
    let defaults = KindSettings::default();
    assert_eq!((plain.queue, plain.priority), (defaults.queue, defaults.priority));
    assert_eq!((plain.max_attempts, plain.timeout_ms), (defaults.max_attempts, Some(defaults.timeout_ms)));
}

async fn members_of_the_envelope_win_over_settings(store: &mut TestStore) {
    store.configure_with(|settings| _ = settings.kinds.insert(name("work"), slow_mail())).await;
    let sent = work().queue("own").priority(8).max_attempts(2).change(|job| job.timeout_ms = Some(5));
    let job = store.job(store.put_one(sent, now(0)).await).await;
    assert_eq!((job.queue, job.priority, job.max_attempts, job.timeout_ms), (name("own"), 8, 2, Some(5)));
}

async fn bulk_answers_in_the_order_of_the_call(store: &mut TestStore) {
    let jobs = vec![work(), work().delay_ms(1000), work().queue("b"), work().run_at(at(60))];
    let expected: Vec<_> = jobs.iter().map(|job| job.id).collect();
    let answers = store.enqueue(jobs, now(0)).await.unwrap();
    assert_eq!(answers.iter().map(|answer| answer.id).collect::<Vec<_>>(), expected);
    let states: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(states, [State::Queued, State::Scheduled, State::Queued, State::Scheduled]);
    assert_eq!(store.states(&expected).await, states);
}

async fn empty_bulk_is_answered_with_nothing(store: &mut TestStore) {
    assert_eq!(store.enqueue(Vec::new(), now(0)).await.unwrap(), []);
    assert_eq!(store.all().await.len(), 0);
}

async fn delayed_job_is_scheduled_and_not_leased_before_it_is_due(store: &mut TestStore) {
    let daemon = Daemon::new();
    let delayed = store.put_one(work().delay_ms(5_000), now(0)).await;
    let later = store.put_one(work().run_at(at(7)), now(0)).await;
    assert_eq!((store.job(delayed).await.run_at, store.job(later).await.run_at), (at(5), at(7)));
    assert_eq!(ids(&daemon.lease(&**store, 9, now(4)).await), []);
    assert_eq!(ids(&daemon.lease(&**store, 9, now(5)).await), [delayed]);
    assert_eq!(ids(&daemon.lease(&**store, 9, now(6)).await), []);
    assert_eq!(ids(&daemon.lease(&**store, 9, now(7)).await), [later]);
}

async fn run_at_in_the_past_is_due_now(store: &mut TestStore) {
    let answers = store.enqueue(vec![work().run_at(at(-3600))], now(0)).await.unwrap();
    assert_eq!(answers[0].status, State::Queued);
    assert_eq!(ids(&Daemon::new().lease(&**store, 1, now(0)).await), [answers[0].id]);
}

async fn same_id_and_body_get_the_same_answer_and_no_second_job(store: &mut TestStore) {
    let job = work().id(JobId::mint()).delay_ms(10_000).tags(&["a"]);
    let first = store.enqueue(vec![job.clone()], now(0)).await.unwrap();
    let again = store.enqueue(vec![job], now(3)).await.unwrap();
    assert_eq!(first, again);
    assert!(!again[0].duplicate);
    assert_eq!(store.all().await.len(), 1);
    assert_eq!(store.job(first[0].id).await.run_at, at(10), "asking again moves nothing");
}

async fn same_id_and_another_body_conflict(store: &mut TestStore) {
    let id = JobId::mint();
    store.put_one(work().id(id), now(0)).await;
    let others = [
        work().id(id).payload(r#"{"n":2}"#),
        work().id(id).kind("other"),
        work().id(id).queue("b"),
        work().id(id).tenant("t"),
        work().id(id).priority(0),
        work().id(id).tags(&["x"]),
    ];
    for other in others {
        let refused = store.enqueue(vec![work(), other], now(1)).await.unwrap_err();
        assert!(matches!(refused, Error::Conflict { index: 1, id: held } if held == id), "{refused:?}");
    }
    assert_eq!(store.all().await.len(), 1);
}

async fn same_id_is_known_after_the_job_ended(store: &mut TestStore) {
    let job = work().id(JobId::mint());
    store.put_one(job.clone(), now(0)).await;
    assert_eq!(store.drain(&Daemon::new(), "default", now(1)).await, [job.id]);
    let again = store.enqueue(vec![job.clone()], now(2)).await.unwrap();
    assert_eq!((again[0].id, again[0].duplicate), (job.id, false));
    assert_eq!(store.state(job.id).await, State::Completed, "the job does not run again");
    let refused = store.enqueue(vec![job.priority(0)], now(3)).await.unwrap_err();
    assert!(matches!(refused, Error::Conflict { index: 0, .. }), "{refused:?}");
}

async fn id_minted_by_a_door_may_be_asked_about_again(store: &mut TestStore) {
    let jobs = vec![work(), work().delay_ms(9_000)];
    let first = store.enqueue(jobs.clone(), now(0)).await.unwrap();
    assert_eq!(store.enqueue(jobs, now(1)).await.unwrap(), first);
    assert_eq!(store.all().await.len(), 2);
}

async fn same_id_twice_in_one_bulk_is_one_job(store: &mut TestStore) {
    let job = work().id(JobId::mint());
    let answers = store.enqueue(vec![job.clone(), work(), job], now(0)).await.unwrap();
    assert_eq!(answers[0], answers[2]);
    assert_eq!(store.all().await.len(), 2);
}

async fn same_id_with_two_bodies_in_one_bulk_writes_nothing(store: &mut TestStore) {
    let id = JobId::mint();
    let refused = store.enqueue(vec![work().id(id), work().id(id).priority(1)], now(0)).await.unwrap_err();
    assert!(matches!(refused, Error::Conflict { index: 1, .. }), "{refused:?}");
    assert_eq!(store.all().await.len(), 0);
}

async fn idempotency_key_answers_with_the_first_job(store: &mut TestStore) {
    let first = store.enqueue(vec![work().idempotent("order 17")], now(0)).await.unwrap();
    let again = store.enqueue(vec![work().idempotent("order 17")], now(5)).await.unwrap();
    assert_eq!(again, [Enqueued { duplicate: true, ..first[0].clone() }]);
    let twice = store.enqueue(vec![work().idempotent("b"), work().idempotent("b")], now(5)).await.unwrap();
    assert_eq!((twice[0].id, twice[0].duplicate, twice[1].duplicate), (twice[1].id, false, true));
    assert_eq!(store.all().await.len(), 2);
}

async fn idempotency_key_with_another_body_conflicts(store: &mut TestStore) {
    let first = store.put_one(work().idempotent("a"), now(0)).await;
    let refused = store.enqueue(vec![work().idempotent("a").payload("2")], now(1)).await.unwrap_err();
    assert!(matches!(refused, Error::Conflict { index: 0, id } if id == first), "{refused:?}");
    assert_eq!(store.all().await.len(), 1);
}

async fn idempotency_key_outlives_its_job_and_is_forgotten_in_time(store: &mut TestStore) {
    let keyed = || work().idempotent("a").change(|job| job.idempotency_ms = 60_000);
    let first = store.put_one(keyed(), now(0)).await;
    assert_eq!(store.drain(&Daemon::new(), "default", now(1)).await, [first]);
    let again = store.enqueue(vec![keyed()], now(59)).await.unwrap();
    assert_eq!(again, [Enqueued { id: first, status: State::Completed, duplicate: true }]);
    let later = store.enqueue(vec![keyed()], now(61)).await.unwrap();
    assert!(!later[0].duplicate && later[0].id != first, "{later:?}");
}

async fn idempotency_key_belongs_to_its_tenant(store: &mut TestStore) {
    let jobs = vec![work().idempotent("a"), work().idempotent("a").tenant("x"), work().idempotent("a").tenant("y")];
    let answers = store.enqueue(jobs, now(0)).await.unwrap();
    assert!(answers.iter().all(|answer| !answer.duplicate), "{answers:?}");
}

async fn one_refused_item_leaves_nothing_of_its_bulk(store: &mut TestStore) {
    let held = JobId::mint();
    store.put_one(work().id(held), now(0)).await;
    let parent = JobId::mint();
    let bulk = vec![
        work(),
        work().idempotent("i"),
        work().key("k").queue("keyed"),
        work().delay_ms(10),
        work().after(&[parent]),
        work().id(held).priority(0),
    ];
    assert!(matches!(store.enqueue(bulk, now(1)).await, Err(Error::Conflict { index: 5, .. })));
    assert_eq!(store.all().await.len(), 1);
    assert_eq!(ids(&Daemon::new().lease_from(&**store, "keyed", 1, now(2)).await), []);
    let retried = store.enqueue(vec![work().idempotent("i")], now(3)).await.unwrap();
    assert!(!retried[0].duplicate, "the key was not taken by a call that failed");
}

async fn concurrent_calls_are_each_answered_in_full(store: &mut TestStore) {
    let calls: Vec<Vec<_>> = (0..40).map(|_| (0..5).map(|_| work()).collect()).collect();
    let expected: Vec<Vec<JobId>> = calls.iter().map(|jobs| jobs.iter().map(|job| job.id).collect()).collect();
    let shared: &TestStore = store;
    let answers = join_all(calls.into_iter().map(|jobs| shared.put(jobs, now(0)))).await;
    assert_eq!(answers, expected);
    let all = store.all().await;
    assert_eq!(all.len(), 200);
    let order = store.drain(&Daemon::new(), "default", now(1)).await;
    for call in expected {
        let places: Vec<_> = call.iter().map(|id| order.iter().position(|other| other == id).unwrap()).collect();
        assert!(places.is_sorted(), "the jobs of one call keep their order");
    }
}

async fn large_bulk_is_taken_whole(store: &mut TestStore) {
    let jobs: Vec<_> = (0..5_000).map(|_| work()).collect();
    let put = store.put(jobs, now(0)).await;
    assert_eq!(store.queue_status("default", now(0)).await.jobs[&State::Queued], 5_000);
    assert_eq!(ids(&Daemon::new().lease(&**store, 5_000, now(1)).await), put);
}
