//! What people ask for beside the flow: cancel, run now, redrive, purge, unpark, pause, resume; and the same act asked twice.

use crate::support::{Build as _, Daemon, LEASE, TestStore, at, ids, json, name, now, on_every_store, operator, work};
use windlass::{
    job::{Applied, ErrorClass, JobError, JobId, Leased, OnDuplicate, State, Transition, UniqueFor},
    store::{Actor, Cancelled, Error},
};

on_every_store![
    waiting_job_is_cancelled_now,
    running_job_is_asked_to_stop_and_settled_as_cancelled,
    cancel_request_wins_over_a_retry,
    reason_of_a_cancel_request_is_the_one_that_stays,
    redriven_job_frees_its_key_when_it_starts_if_it_did_before,
    repeated_deletion_of_a_schedule_is_answered_as_the_first,
    completed_run_wins_over_a_cancel_request,
    final_job_is_left_as_it_is_by_cancel,
    job_that_does_not_exist_is_named_by_every_act,
    scheduled_job_can_be_run_now,
    parked_job_can_be_run_now,
    run_now_is_refused_in_every_other_state,
    redriven_job_starts_with_its_attempts_counted_anew,
    redrive_keeps_payload_checkpoint_and_history,
    redrive_is_refused_in_every_other_state,
    redrive_of_a_job_whose_key_is_taken_is_refused,
    redrive_while_anothers_window_holds_the_key_is_refused,
    redrive_takes_the_key_again,
    redrive_goes_to_the_end_of_the_line,
    purged_dead_letter_is_gone,
    purge_is_refused_in_every_other_state,
    purged_id_may_be_used_again,
    parked_job_is_woken_by_its_token,
    answer_of_an_unpark_reaches_the_next_attempt,
    token_wakes_once_and_only_a_parked_job,
    cancelled_park_is_not_woken_by_its_token,
    pause_before_the_first_job_holds_it,
    pause_tells_the_last_reason,
    same_op_id_acts_once,
    same_op_id_repeats_no_cancel_and_gives_its_answer,
];

fn actor() -> Actor {
    Actor::new("cli:ann")
}

fn failure() -> JobError {
    JobError::new(ErrorClass::Permanent, "bad_input", "it will never work")
}

fn dead() -> Transition {
    Transition::Dead { reason: "rejected", error: failure() }
}

fn park(token: Option<&str>) -> Transition {
    Transition::Park { reason: "outside".into(), until: at(1_000), token: token.map(ToOwned::to_owned), error: None }
}

fn retry(seconds: i64) -> Transition {
    Transition::Retry { at: at(seconds), error: failure() }
}

async fn running(store: &TestStore) -> Leased {
    store.put_one(work(), now(0)).await;
    Daemon::new().lease_one(&**store, now(1)).await
}

/// A job that was leased once and ended like this at second 2.
async fn ended(store: &TestStore, transition: Transition) -> JobId {
    let leased = running(store).await;
    assert_eq!(store.end(&leased, transition, now(2)).await, Applied::Applied);
    leased.job.id
}

async fn waiting_job_is_cancelled_now(store: &mut TestStore) {
    let queued = store.put_one(work(), now(0)).await;
    let scheduled = store.put_one(work().delay_ms(9_000), now(0)).await;
    let dependent = store.put_one(work().after(&[JobId::mint()]), now(0)).await;
    let keyed = store.put_one(work().key("k"), now(0)).await;
    let behind = store.put_one(work().key("k"), now(0)).await;
    for id in [queued, scheduled, dependent, keyed, behind] {
        assert_eq!(store.cancel(id, "not needed", &actor(), now(1)).await.unwrap(), Cancelled::Now);
        let job = store.job(id).await;
        assert_eq!((job.state, job.reason.as_deref(), job.finished_at), (State::Cancelled, Some("not needed"), Some(at(1))));
    }
    assert_eq!(store.drain(&Daemon::new(), "default", now(99)).await, []);
}

async fn running_job_is_asked_to_stop_and_settled_as_cancelled(store: &mut TestStore) {
    let leased = running(store).await;
    assert_eq!(store.cancel(leased.job.id, "stop", &actor(), now(2)).await.unwrap(), Cancelled::Asked);
    assert_eq!(store.state(leased.job.id).await, State::Running, "only its holder ends it");
    assert_eq!(store.end(&leased, Transition::Cancel { reason: "stop".into() }, now(3)).await, Applied::Applied);
    assert_eq!(store.state(leased.job.id).await, State::Cancelled);
    assert_eq!(store.cancel(leased.job.id, "stop", &actor(), now(4)).await.unwrap(), Cancelled::AlreadyFinal);
}

async fn cancel_request_wins_over_a_retry(store: &mut TestStore) {
    for end in [retry(5), Transition::Snooze { until: at(5) }, park(None), Transition::Release] {
        let leased = running(store).await;
        store.cancel(leased.job.id, "stop", &actor(), now(2)).await.unwrap();
        assert_eq!(store.end(&leased, end.clone(), now(3)).await, Applied::Applied);
        let job = store.job(leased.job.id).await;
        assert_eq!((job.state, job.reason.as_deref()), (State::Cancelled, Some("stop")), "the request is not lost by {end:?}");
    }
}

async fn completed_run_wins_over_a_cancel_request(store: &mut TestStore) {
    for (end, state) in [(Transition::Complete, State::Completed), (dead(), State::Dead)] {
        let leased = running(store).await;
        store.cancel(leased.job.id, "stop", &actor(), now(2)).await.unwrap();
        assert_eq!(store.end(&leased, end, now(3)).await, Applied::Applied);
        assert_eq!(store.state(leased.job.id).await, state, "what happened, happened");
    }
}

async fn final_job_is_left_as_it_is_by_cancel(store: &mut TestStore) {
    for end in [Transition::Complete, dead(), Transition::Cancel { reason: "no".into() }] {
        let id = ended(store, end).await;
        let before = format!("{:?}", store.job(id).await);
        assert_eq!(store.cancel(id, "late", &actor(), now(5)).await.unwrap(), Cancelled::AlreadyFinal);
        assert_eq!(format!("{:?}", store.job(id).await), before);
    }
}

async fn job_that_does_not_exist_is_named_by_every_act(store: &mut TestStore) {
    let id = JobId::mint();
    let answers = [
        store.cancel(id, "x", &actor(), now(0)).await.map(drop),
        store.run_now(id, &actor(), now(0)).await,
        store.redrive(id, &actor(), now(0)).await,
        store.purge(id, &actor(), now(0)).await,
    ];
    for answer in answers {
        assert!(matches!(&answer, Err(Error::NotFound { what }) if what.contains(&id.to_string())), "{answer:?}");
    }
    assert_eq!(store.get(id).await.unwrap().map(|job| job.id), None);
}

async fn scheduled_job_can_be_run_now(store: &mut TestStore) {
    let id = store.put_one(work().delay_ms(999_000), now(0)).await;
    store.run_now(id, &actor(), now(5)).await.unwrap();
    let job = store.job(id).await;
    assert_eq!((job.state, job.run_at), (State::Queued, at(5)));
    let leased = Daemon::new().lease_one(&**store, now(5)).await;
    assert_eq!((leased.job.id, leased.job.due_at), (id, at(5)));
    store.end(&leased, retry(900), now(6)).await;
    store.run_now(id, &actor(), now(7)).await.unwrap();
    assert_eq!(Daemon::new().lease_one(&**store, now(7)).await.job.attempt, 2, "a retry as well");
}

async fn parked_job_can_be_run_now(store: &mut TestStore) {
    let parked = ended(store, park(Some("t"))).await;
    let dependent = store.put_one(work().after(&[JobId::mint()]), now(3)).await;
    for id in [parked, dependent] {
        store.run_now(id, &actor(), now(4)).await.unwrap();
        let job = store.job(id).await;
        assert_eq!((job.state, job.reason), (State::Queued, None));
    }
    assert_eq!(store.drain(&Daemon::new(), "default", now(5)).await, [parked, dependent]);
    assert!(matches!(store.unpark("t", None, &operator(), now(6)).await, Err(Error::NotFound { .. })), "its token is spent");
}

async fn run_now_is_refused_in_every_other_state(store: &mut TestStore) {
    let mut others = vec![running(store).await.job.id];
    for end in [Transition::Complete, dead(), Transition::Cancel { reason: "no".into() }] {
        others.push(ended(store, end).await);
    }
    others.push(store.put_one(work(), now(0)).await);
    for id in others {
        let before = store.state(id).await;
        assert!(matches!(store.run_now(id, &actor(), now(3)).await, Err(Error::NotAllowed(_))), "{before}");
        assert_eq!(store.state(id).await, before);
    }
}

async fn redriven_job_starts_with_its_attempts_counted_anew(store: &mut TestStore) {
    let daemon = Daemon::new();
    store.put_one(work().max_attempts(2).key("k"), now(0)).await;
    for end in [retry(1), dead()] {
        let leased = daemon.lease_one(&**store, now(1)).await;
        store.end(&leased, end, now(1)).await;
    }
    let id = store.all().await[0].id;
    assert_eq!((store.job(id).await.state, store.job(id).await.attempt), (State::Dead, 2));
    store.redrive(id, &actor(), now(9)).await.unwrap();
    let job = store.job(id).await;
    assert_eq!((job.state, job.reason, job.attempt, job.max_attempts), (State::Queued, None, 0, 2));
    assert_eq!((job.run_at, job.finished_at), (at(9), None));
    let leased = daemon.lease_one(&**store, now(9)).await;
    assert_eq!((leased.job.id, leased.job.attempt, leased.job.concurrency_key), (id, 1, Some(name("k"))));
}

async fn redrive_keeps_payload_checkpoint_and_history(store: &mut TestStore) {
    let daemon = Daemon::new();
    let sent = work().payload(r#"{ "a":1 }"#).tenant("acme").tags(&["t"]).on_success(work().queue("next"));
    let id = store.put_one(sent, now(0)).await;
    let leased = daemon.lease_one(&**store, now(1)).await;
    let end = windlass::job::Settlement { checkpoint: Some(json("[7]")), ..windlass::job::Settlement::new(leased.lease, dead(), at(1)) };
    store.settle_one(end, now(2)).await;
    store.redrive(id, &actor(), now(3)).await.unwrap();
    let leased = daemon.lease_one(&**store, now(4)).await;
    assert_eq!((leased.job.payload.as_str(), leased.job.checkpoint.clone()), (r#"{ "a":1 }"#, Some(json("[7]"))));
    let job = store.job(id).await;
    assert_eq!((job.tenant, job.attempts.len(), job.created_at), (Some(name("acme")), 1, at(0)));
    store.complete(&[leased], now(5)).await;
    assert_eq!(store.queue_status("next", now(5)).await.jobs[&State::Queued], 1);
}

async fn redrive_is_refused_in_every_other_state(store: &mut TestStore) {
    let mut others = vec![running(store).await.job.id];
    for end in [Transition::Complete, retry(99), park(None), Transition::Cancel { reason: "no".into() }] {
        others.push(ended(store, end).await);
    }
    others.push(store.put_one(work(), now(0)).await);
    for id in others {
        let before = store.state(id).await;
        assert!(matches!(store.redrive(id, &actor(), now(3)).await, Err(Error::NotAllowed(_))), "{before}");
        assert_eq!(store.state(id).await, before);
    }
}

async fn redrive_of_a_job_whose_key_is_taken_is_refused(store: &mut TestStore) {
    let keyed = || work().unique("k", UniqueFor::UntilFinished, OnDuplicate::Return);
    let id = store.put_one(keyed(), now(0)).await;
    let leased = Daemon::new().lease_one(&**store, now(1)).await;
    store.end(&leased, dead(), now(2)).await;
    let holder = store.put_one(keyed(), now(3)).await;
    assert_ne!(id, holder);
    let refused = store.redrive(id, &actor(), now(4)).await.unwrap_err();
    assert!(matches!(refused, Error::Duplicate { holder: named, .. } if named == holder), "{refused:?}");
    assert_eq!(store.state(id).await, State::Dead);
    assert_eq!(store.drain(&Daemon::new(), "default", now(5)).await, [holder]);
    store.redrive(id, &actor(), now(6)).await.unwrap();
    assert_eq!(store.state(id).await, State::Queued, "once the holder is done");
}

async fn redrive_while_anothers_window_holds_the_key_is_refused(store: &mut TestStore) {
    let keyed = || work().unique("k", crate::support::WINDOW, OnDuplicate::Return);
    let id = store.put_one(keyed(), now(0)).await;
    let leased = Daemon::new().lease_one(&**store, now(1)).await;
    store.end(&leased, dead(), now(2)).await;
    let holder = store.put_one(keyed(), now(700)).await;
    assert_eq!(store.drain(&Daemon::new(), "default", now(701)).await, [holder]);
    let refused = store.redrive(id, &actor(), now(702)).await.unwrap_err();
    assert!(matches!(refused, Error::Duplicate { holder: named, .. } if named == holder), "{refused:?}");
    assert_eq!(store.state(id).await, State::Dead);
    store.redrive(id, &actor(), now(2_000)).await.unwrap();
    assert_eq!(store.state(id).await, State::Queued, "once the window is over");
}

async fn redrive_takes_the_key_again(store: &mut TestStore) {
    for held in [UniqueFor::UntilFinished, UniqueFor::UntilStarted, crate::support::WINDOW] {
        let keyed = || work().unique("k", held, OnDuplicate::Return).queue(&held.to_string());
        let id = store.put_one(keyed(), now(0)).await;
        let leased = Daemon::new().lease_from(&**store, &held.to_string(), 1, now(1)).await;
        store.end(&leased[0], dead(), now(2)).await;
        store.redrive(id, &actor(), now(700)).await.unwrap();
        let answer = store.enqueue(vec![keyed()], now(701)).await.unwrap();
        assert_eq!((answer[0].id, answer[0].duplicate), (id, true), "{held}");
    }
}

async fn redrive_goes_to_the_end_of_the_line(store: &mut TestStore) {
    let id = ended(store, dead()).await;
    let waiting = store.put(vec![work(), work()], now(3)).await;
    store.redrive(id, &actor(), now(4)).await.unwrap();
    assert_eq!(store.drain(&Daemon::new(), "default", now(5)).await, [waiting[0], waiting[1], id]);
}

async fn purged_dead_letter_is_gone(store: &mut TestStore) {
    let id = ended(store, dead()).await;
    let other = ended(store, dead()).await;
    store.purge(id, &actor(), now(3)).await.unwrap();
    assert_eq!(store.get(id).await.unwrap().map(|job| job.id), None);
    assert_eq!(store.state(other).await, State::Dead);
    assert_eq!(store.queue_status("default", now(3)).await.jobs[&State::Dead], 1);
    assert!(matches!(store.redrive(id, &actor(), now(4)).await, Err(Error::NotFound { .. })));
}

async fn purge_is_refused_in_every_other_state(store: &mut TestStore) {
    let mut others = vec![running(store).await.job.id];
    for end in [Transition::Complete, retry(99), park(None), Transition::Cancel { reason: "no".into() }] {
        others.push(ended(store, end).await);
    }
    for id in others {
        assert!(matches!(store.purge(id, &actor(), now(3)).await, Err(Error::NotAllowed(_))));
        assert!(store.get(id).await.unwrap().is_some());
    }
}

async fn purged_id_may_be_used_again(store: &mut TestStore) {
    let id = JobId::mint();
    store.put_one(work().id(id), now(0)).await;
    let leased = Daemon::new().lease_one(&**store, now(1)).await;
    store.end(&leased, dead(), now(2)).await;
    store.purge(id, &actor(), now(3)).await.unwrap();
    let answer = store.enqueue(vec![work().id(id).payload("2")], now(4)).await.unwrap();
    assert_eq!((answer[0].id, answer[0].status, answer[0].duplicate), (id, State::Queued, false));
}

async fn parked_job_is_woken_by_its_token(store: &mut TestStore) {
    let id = ended(store, park(Some("tok_1"))).await;
    let other = ended(store, park(Some("tok_2"))).await;
    assert_eq!(store.unpark("tok_1", None, &operator(), now(5)).await.unwrap(), id);
    let job = store.job(id).await;
    assert_eq!((job.state, job.reason, job.attempt), (State::Queued, None, 0));
    assert_eq!(store.state(other).await, State::Parked);
    let leased = Daemon::new().lease_one(&**store, now(5)).await;
    assert_eq!((leased.job.id, leased.job.attempt, leased.job.checkpoint), (id, 1, None));
}

async fn answer_of_an_unpark_reaches_the_next_attempt(store: &mut TestStore) {
    let daemon = Daemon::new();
    ended(store, park(Some("bare"))).await;
    store.unpark("bare", Some(json(r#"{"ok":true}"#)), &operator(), now(5)).await.unwrap();
    let leased = daemon.lease_one(&**store, now(5)).await;
    assert_eq!(read(&leased)["answer"], serde_json::json!({"ok": true}));
    let end = windlass::job::Settlement {
        checkpoint: Some(json(r#"{"step":2}"#)),
        ..windlass::job::Settlement::new(leased.lease, park(Some("kept")), at(6))
    };
    store.settle_one(end, now(6)).await;
    store.unpark("kept", Some(json("[1,2]")), &operator(), now(7)).await.unwrap();
    assert_eq!(read(&daemon.lease_one(&**store, now(7)).await), serde_json::json!({"step": 2, "answer": [1, 2]}));
}

fn read(leased: &Leased) -> serde_json::Value {
    leased.job.checkpoint.as_ref().expect("there is a checkpoint").read().expect("it is JSON")
}

async fn token_wakes_once_and_only_a_parked_job(store: &mut TestStore) {
    assert!(matches!(store.unpark("nobody", None, &operator(), now(0)).await, Err(Error::NotFound { .. })));
    let id = ended(store, park(Some("t"))).await;
    store.unpark("t", None, &operator(), now(5)).await.unwrap();
    let daemon = Daemon::new();
    assert!(store.unpark("t", None, &operator(), now(5)).await.is_err(), "while it is queued");
    let leased = daemon.lease_one(&**store, now(6)).await;
    assert!(store.unpark("t", None, &operator(), now(6)).await.is_err(), "while it runs");
    store.complete(&[leased], now(7)).await;
    assert!(store.unpark("t", None, &operator(), now(8)).await.is_err(), "after its end");
    assert_eq!(store.state(id).await, State::Completed);
}

async fn cancelled_park_is_not_woken_by_its_token(store: &mut TestStore) {
    let cancelled = ended(store, park(Some("a"))).await;
    store.cancel(cancelled, "no", &actor(), now(3)).await.unwrap();
    let expired = ended(store, park(Some("b"))).await;
    store.advance(now(2_000)).await.unwrap();
    for token in ["a", "b"] {
        assert!(matches!(store.unpark(token, None, &operator(), now(2_001)).await, Err(Error::NotFound { .. })));
    }
    assert_eq!(store.states(&[cancelled, expired]).await, [State::Cancelled, State::Dead]);
}

async fn pause_before_the_first_job_holds_it(store: &mut TestStore) {
    let queue = name("default");
    store.pause(&queue, "not yet", None, &actor(), now(0)).await.unwrap();
    assert!(store.queue_status("default", now(0)).await.paused.is_some(), "a queue without jobs is shown once it is paused");
    let id = store.put_one(work(), now(1)).await;
    assert_eq!(ids(&Daemon::new().lease(&**store, 5, now(2)).await), []);
    store.crash().await;
    assert_eq!(ids(&Daemon::new().lease(&**store, 5, now(2)).await), [], "a restart resumes nothing");
    store.resume(&queue, &actor(), now(3)).await.unwrap();
    assert_eq!(ids(&Daemon::new().lease(&**store, 5, now(3)).await), [id]);
}

async fn pause_tells_the_last_reason(store: &mut TestStore) {
    let queue = name("default");
    store.pause(&queue, "first", None, &actor(), now(0)).await.unwrap();
    store.pause(&queue, "second", None, &Actor::new("cli:bob"), now(5)).await.unwrap();
    let pause = store.queue_status("default", now(6)).await.paused.unwrap();
    assert_eq!((pause.reason.as_str(), pause.by.as_str(), pause.at), ("second", "cli:bob", at(5)));
    store.resume(&queue, &actor(), now(7)).await.unwrap();
    store.resume(&queue, &actor(), now(8)).await.unwrap();
    assert_eq!(store.queue_status("default", now(8)).await.paused, None);
}

async fn same_op_id_acts_once(store: &mut TestStore) {
    let queue = name("default");
    let (pause, redrive, run) = (actor(), actor(), actor());
    store.pause(&queue, "x", None, &pause, now(0)).await.unwrap();
    store.resume(&queue, &actor(), now(1)).await.unwrap();
    store.pause(&queue, "x", None, &pause, now(2)).await.unwrap();
    assert_eq!(store.queue_status("default", now(2)).await.paused, None, "an old pause, told again, is no new one");

    let id = ended(store, dead()).await;
    store.redrive(id, &redrive, now(3)).await.unwrap();
    let leased = Daemon::new().lease_one(&**store, now(4)).await;
    store.end(&leased, dead(), now(4)).await;
    store.redrive(id, &redrive, now(5)).await.unwrap();
    assert_eq!(store.state(id).await, State::Dead, "it was redriven once, as asked once");

    let id = store.put_one(work().delay_ms(900_000), now(5)).await;
    store.run_now(id, &run, now(5)).await.unwrap();
    let leased = Daemon::new().lease_one(&**store, now(5)).await;
    store.end(&leased, retry(900), now(6)).await;
    store.run_now(id, &run, now(7)).await.unwrap();
    assert_eq!(store.state(id).await, State::Scheduled);
}

async fn same_op_id_repeats_no_cancel_and_gives_its_answer(store: &mut TestStore) {
    let waiting = store.put_one(work().delay_ms(9_000), now(0)).await;
    let act = actor();
    assert_eq!(store.cancel(waiting, "no", &act, now(1)).await.unwrap(), Cancelled::Now);
    assert_eq!(store.cancel(waiting, "no", &act, now(2)).await.unwrap(), Cancelled::Now);
    assert_eq!(store.cancel(waiting, "no", &actor(), now(2)).await.unwrap(), Cancelled::AlreadyFinal, "another act sees what is");
    let daemon = Daemon::new();
    store.put_one(work(), now(3)).await;
    let leased = daemon.lease_one(&**store, now(3)).await;
    let act = actor();
    assert_eq!(store.cancel(leased.job.id, "no", &act, now(4)).await.unwrap(), Cancelled::Asked);
    assert_eq!(store.cancel(leased.job.id, "no", &act, now(4)).await.unwrap(), Cancelled::Asked);
    let told = store.heartbeat(daemon.holder, LEASE, vec![leased.lease], Vec::new(), now(5)).await.unwrap();
    assert_eq!(told.cancel, [leased.lease]);
}

async fn reason_of_a_cancel_request_is_the_one_that_stays(store: &mut TestStore) {
    let leased = running(store).await;
    store.cancel(leased.job.id, "the customer asked", &actor(), now(2)).await.unwrap();
    store.end(&leased, Transition::Cancel { reason: "cancelled".into() }, now(3)).await;
    assert_eq!(store.job(leased.job.id).await.reason.as_deref(), Some("the customer asked"));
}

async fn redriven_job_frees_its_key_when_it_starts_if_it_did_before(store: &mut TestStore) {
    let keyed = || work().unique("k", UniqueFor::UntilStarted, OnDuplicate::Replace);
    let id = store.put_one(keyed(), now(0)).await;
    let leased = Daemon::new().lease_one(&**store, now(1)).await;
    store.end(&leased, dead(), now(2)).await;
    store.redrive(id, &actor(), now(3)).await.unwrap();
    assert_eq!(Daemon::new().lease_one(&**store, now(4)).await.job.id, id);
    let answer = store.enqueue(vec![keyed()], now(5)).await.unwrap();
    assert!(!answer[0].duplicate, "the redriven job has started: what comes now is another");
}

async fn repeated_deletion_of_a_schedule_is_answered_as_the_first(store: &mut TestStore) {
    let schedule = r#"{"name":"nightly","every_ms":3600000,"job":{"kind":"work","payload":{}}}"#;
    store.put_schedule(&serde_json::from_str(schedule).unwrap(), &operator(), now(0)).await.unwrap();
    let actor = actor();
    for _ in 0..2 {
        store.delete_schedule(&name("nightly"), &actor).await.unwrap();
    }
}
