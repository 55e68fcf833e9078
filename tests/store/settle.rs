//! Settling: each end of an attempt, written once, under the fence of its lease, with everything that belongs to it.

use crate::support::{Build as _, Daemon, TestStore, at, ids, json, name, now, on_every_store, operator, work};
use windlass::{
    job::{
        Applied, Attempt, AttemptOutcome, Effect, ErrorClass, JobError, JobId, Lease, Leased, NewJob, Nonce, OnDuplicate, Settlement,
        State, Transition, UniqueFor, Usage,
    },
    store::Actor,
};

on_every_store![
    complete_keeps_the_result_and_the_attempt,
    retry_waits_for_its_instant_and_costs_the_attempt,
    snooze_costs_no_attempt,
    park_costs_no_attempt_and_ends_at_its_deadline,
    reject_is_dead_with_its_reason,
    cancel_ends_the_job,
    release_costs_nothing_and_goes_to_the_head_of_its_line,
    checkpoint_is_handed_to_the_next_attempt,
    only_the_newest_20_attempts_are_kept,
    settlement_is_accepted_once,
    settlement_is_remembered_after_the_next_state,
    settlement_is_remembered_for_an_hour_whatever_the_retention,
    stale_lease_changes_nothing,
    lease_with_another_nonce_or_epoch_changes_nothing,
    lease_of_another_job_changes_nothing,
    batch_is_answered_item_by_item_in_order,
    same_lease_twice_in_one_batch_counts_once,
    settlement_of_an_expired_lease_nobody_took_back_is_accepted,
    follow_ups_are_enqueued_whatever_the_verdict,
    follow_up_stays_in_the_tenant_and_names_its_parent,
    follow_up_whose_key_is_held_does_not_fail_the_settlement,
    repeated_settlement_makes_no_second_follow_up,
    on_success_follows_a_completed_job,
    on_failure_follows_a_dead_job,
    on_failure_follows_a_job_that_died_waiting,
    records_are_written_and_overwritten,
    older_event_never_overwrites_a_newer_record,
    records_belong_to_the_tenant_of_the_job,
    effects_and_usage_of_every_kind_are_taken,
    error_message_is_kept_as_given,
];

fn failure(code: &str) -> JobError {
    JobError::new(ErrorClass::Retry, code, "it did not work")
}

fn retry(seconds: i64) -> Transition {
    Transition::Retry { at: at(seconds), error: failure("http_503") }
}

async fn running(store: &TestStore, daemon: &Daemon) -> Leased {
    store.put_one(work(), now(0)).await;
    daemon.lease_one(&**store, now(1)).await
}

fn settlement(leased: &Leased, transition: Transition) -> Settlement {
    Settlement::new(leased.lease, transition, at(1))
}

async fn complete_keeps_the_result_and_the_attempt(store: &mut TestStore) {
    let daemon = Daemon::new();
    let leased = running(store, &daemon).await;
    let end = Settlement { result: Some(json(r#"{"answer": 42}"#)), ..settlement(&leased, Transition::Complete) };
    assert_eq!(store.settle_one(end, now(4)).await, Applied::Applied);
    let job = store.job(leased.job.id).await;
    assert_eq!((job.state, job.reason, job.attempt, job.holder), (State::Completed, None, 1, None));
    assert_eq!((job.started_at, job.finished_at), (Some(at(1)), Some(at(4))));
    assert_eq!(job.result, Some(json(r#"{"answer": 42}"#)));
    let attempt = Attempt {
        number: 1,
        started_at: at(1),
        ended_at: at(4),
        holder: daemon.holder,
        outcome: AttemptOutcome::Completed,
        error: None,
        retry_at: None,
    };
    assert_eq!(job.attempts, [attempt]);
}

async fn retry_waits_for_its_instant_and_costs_the_attempt(store: &mut TestStore) {
    let daemon = Daemon::new();
    let leased = running(store, &daemon).await;
    store.settle_one(settlement(&leased, retry(30)), now(4)).await;
    let job = store.job(leased.job.id).await;
    assert_eq!((job.state, job.attempt, job.run_at, job.holder), (State::Scheduled, 1, at(30), None));
    let attempt = Attempt {
        number: 1,
        started_at: at(1),
        ended_at: at(4),
        holder: daemon.holder,
        outcome: AttemptOutcome::Retried,
        error: Some(failure("http_503")),
        retry_at: Some(at(30)),
    };
    assert_eq!(job.attempts, [attempt]);
    assert_eq!(ids(&daemon.lease(&**store, 1, now(29)).await), []);
    let second = daemon.lease_one(&**store, now(30)).await;
    assert_eq!((second.job.attempt, second.job.due_at), (2, at(30)));
    store.complete(&[second], now(31)).await;
    let job = store.job(leased.job.id).await;
    assert_eq!((job.attempt, job.attempts.len()), (2, 2));
}

async fn snooze_costs_no_attempt(store: &mut TestStore) {
    let daemon = Daemon::new();
    let leased = running(store, &daemon).await;
    for round in 1..=3 {
        let leased = if round == 1 { leased.clone() } else { daemon.lease_one(&**store, now(round * 10)).await };
        assert_eq!(leased.job.attempt, 1);
        store.settle_one(settlement(&leased, Transition::Snooze { until: at((round + 1) * 10) }), now(round * 10 + 1)).await;
        let job = store.job(leased.job.id).await;
        assert_eq!((job.state, job.attempt, job.run_at), (State::Scheduled, 0, at((round + 1) * 10)));
        let last = job.attempts.last().expect("each run leaves a record");
        assert_eq!((last.outcome, last.retry_at), (AttemptOutcome::Snoozed, None));
    }
}

async fn park_costs_no_attempt_and_ends_at_its_deadline(store: &mut TestStore) {
    let daemon = Daemon::new();
    let leased = running(store, &daemon).await;
    let park = Transition::Park { reason: "provider_down".into(), until: at(60), token: None, error: Some(failure("http_500")) };
    store.settle_one(settlement(&leased, park), now(4)).await;
    let job = store.job(leased.job.id).await;
    assert_eq!((job.state, job.reason.as_deref(), job.attempt, job.run_at), (State::Parked, Some("provider_down"), 0, at(60)));
    assert_eq!(job.attempts[0].outcome, AttemptOutcome::Parked);
    assert_eq!(job.attempts[0].error, Some(failure("http_500")));
    assert_eq!(ids(&daemon.lease(&**store, 1, now(59)).await), []);
    assert_eq!(store.advance(now(60)).await.unwrap().park_expired, 1);
    let job = store.job(leased.job.id).await;
    assert_eq!((job.state, job.reason.as_deref(), job.finished_at), (State::Dead, Some("park_expired"), Some(at(60))));
}

async fn reject_is_dead_with_its_reason(store: &mut TestStore) {
    let daemon = Daemon::new();
    let leased = running(store, &daemon).await;
    let end = Settlement {
        result: Some(json("[1]")),
        ..settlement(&leased, Transition::Dead { reason: "rejected", error: failure("bad_input") })
    };
    store.settle_one(end, now(4)).await;
    let job = store.job(leased.job.id).await;
    assert_eq!((job.state, job.reason.as_deref(), job.attempt), (State::Dead, Some("rejected"), 1));
    assert_eq!((job.started_at, job.finished_at, job.result), (Some(at(1)), Some(at(4)), Some(json("[1]"))));
    let last = &job.attempts[0];
    assert_eq!((last.outcome, &last.error, last.holder), (AttemptOutcome::Dead, &Some(failure("bad_input")), daemon.holder));
}

async fn cancel_ends_the_job(store: &mut TestStore) {
    let leased = running(store, &Daemon::new()).await;
    store.settle_one(settlement(&leased, Transition::Cancel { reason: "superseded".into() }), now(4)).await;
    let job = store.job(leased.job.id).await;
    assert_eq!((job.state, job.reason.as_deref(), job.attempt), (State::Cancelled, Some("superseded"), 0));
    assert_eq!((job.finished_at, job.attempts[0].outcome), (Some(at(4)), AttemptOutcome::Cancelled));
}

async fn release_costs_nothing_and_goes_to_the_head_of_its_line(store: &mut TestStore) {
    let daemon = Daemon::new();
    let jobs = store.put(vec![work(), work(), work()], now(0)).await;
    let leased = daemon.lease(&**store, 2, now(1)).await;
    store.settle_one(settlement(&leased[1], Transition::Release), now(2)).await;
    store.settle_one(settlement(&leased[0], Transition::Release), now(2)).await;
    let job = store.job(jobs[0]).await;
    assert_eq!((job.state, job.attempt, job.holder), (State::Queued, 0, None));
    assert_eq!(job.attempts[0].outcome, AttemptOutcome::Released);
    assert_eq!(store.drain(&daemon, "default", now(3)).await, jobs);
}

async fn checkpoint_is_handed_to_the_next_attempt(store: &mut TestStore) {
    let daemon = Daemon::new();
    store.put_one(work().max_attempts(20), now(0)).await;
    let park = Transition::Park { reason: "outside".into(), until: at(900), token: Some("t".into()), error: None };
    for (round, end) in (1..).zip([retry(1), Transition::Snooze { until: at(1) }, Transition::Release, park]) {
        let leased = daemon.lease_one(&**store, now(round)).await;
        assert_eq!(leased.job.checkpoint, (round > 1).then(|| json(&format!("{{\"page\":{}}}", round - 1))));
        let end = Settlement { checkpoint: Some(json(&format!("{{\"page\":{round}}}"))), ..settlement(&leased, end) };
        store.settle_one(end, now(round)).await;
    }
    store.unpark("t", None, &operator(), now(9)).await.unwrap();
    let leased = daemon.lease_one(&**store, now(9)).await;
    assert_eq!(leased.job.checkpoint, Some(json(r#"{"page":4}"#)));
    store.settle_one(settlement(&leased, retry(10)), now(10)).await;
    assert_eq!(store.job(leased.job.id).await.checkpoint, Some(json(r#"{"page":4}"#)), "one that says nothing keeps the last");
}

async fn only_the_newest_20_attempts_are_kept(store: &mut TestStore) {
    let daemon = Daemon::new();
    let id = store.put_one(work().max_attempts(100), now(0)).await;
    for n in 1..=25 {
        let leased = daemon.lease_one(&**store, now(n)).await;
        store.end(&leased, retry(n), now(n)).await;
    }
    let job = store.job(id).await;
    assert_eq!(job.attempt, 25);
    assert_eq!(job.attempts.iter().map(|attempt| attempt.number).collect::<Vec<_>>(), (6..=25).collect::<Vec<_>>());
    let last = daemon.lease_one(&**store, now(26)).await;
    store.complete(&[last], now(26)).await;
    let job = store.job(id).await;
    assert_eq!((job.attempts.len(), job.attempts.last().unwrap().number), (Attempt::KEPT, 26));
}

async fn settlement_is_accepted_once(store: &mut TestStore) {
    let daemon = Daemon::new();
    let park = Transition::Park { reason: "outside".into(), until: at(9_000), token: None, error: None };
    let ends = [
        Transition::Complete,
        retry(9_000),
        Transition::Dead { reason: "rejected", error: failure("x") },
        Transition::Snooze { until: at(9_000) },
        park,
        Transition::Cancel { reason: "no".into() },
    ];
    for end in ends {
        let leased = running(store, &daemon).await;
        assert_eq!(store.end(&leased, end.clone(), now(2)).await, Applied::Applied, "{end:?}");
        let before = format!("{:?}", store.job(leased.job.id).await);
        assert_eq!(store.end(&leased, end.clone(), now(3)).await, Applied::AlreadyApplied, "{end:?}");
        assert_eq!(store.end(&leased, Transition::Complete, now(3)).await, Applied::AlreadyApplied, "after {end:?}");
        assert_eq!(format!("{:?}", store.job(leased.job.id).await), before);
    }
}

async fn settlement_is_remembered_after_the_next_state(store: &mut TestStore) {
    let daemon = Daemon::new();
    let leased = running(store, &daemon).await;
    store.end(&leased, retry(5), now(2)).await;
    store.advance(now(5)).await.unwrap();
    assert_eq!(store.end(&leased, retry(5), now(6)).await, Applied::AlreadyApplied, "while it is queued again");
    let second = daemon.lease_one(&**store, now(7)).await;
    assert_eq!(store.end(&leased, retry(5), now(8)).await, Applied::AlreadyApplied, "while it runs again");
    assert_eq!(store.end(&second, Transition::Complete, now(9)).await, Applied::Applied);
    let released = running(store, &daemon).await;
    store.end(&released, Transition::Release, now(10)).await;
    assert_eq!(store.end(&released, Transition::Release, now(11)).await, Applied::AlreadyApplied);
}

async fn settlement_is_remembered_for_an_hour_whatever_the_retention(store: &mut TestStore) {
    let leased = running(store, &Daemon::new()).await;
    store.complete(std::slice::from_ref(&leased), now(2)).await;
    let nothing = windlass::store::Retention { finished_hours: 0, dead_hours: 0, ..windlass::store::Retention::default() };
    store.prune(nothing, 100, now(60)).await.unwrap();
    assert_eq!(store.end(&leased, Transition::Complete, now(3_500)).await, Applied::AlreadyApplied);
}

async fn stale_lease_changes_nothing(store: &mut TestStore) {
    let daemon = Daemon::new();
    let id = store.put_one(work().tenant("t"), now(0)).await;
    let stale = daemon.lease_one(&**store, now(1)).await;
    store.reap(now(100)).await.unwrap();
    let queued = format!("{:?}", store.job(id).await);
    let late = Settlement {
        result: Some(json("1")),
        checkpoint: Some(json("2")),
        follow_ups: vec![work()],
        effects: vec![put_record("k", "1", None)],
        usage: vec![usage()],
        ..settlement(&stale, Transition::Complete)
    };
    assert_eq!(store.settle_one(late.clone(), now(101)).await, Applied::LeaseLost);
    assert_eq!(format!("{:?}", store.job(id).await), queued);
    let fresh = daemon.lease_one(&**store, now(102)).await;
    assert_eq!(store.settle_one(late.clone(), now(103)).await, Applied::LeaseLost);
    assert_eq!(store.state(id).await, State::Running);
    store.complete(&[fresh], now(104)).await;
    assert_eq!(store.settle_one(late, now(105)).await, Applied::LeaseLost);
    assert_eq!(store.job(id).await.result, None);
    assert_eq!(store.all().await.len(), 1, "no follow-up");
    assert_eq!(store.record(Some(&name("t")), &name("seen"), "k").await.unwrap(), None, "no effect");
}

async fn lease_with_another_nonce_or_epoch_changes_nothing(store: &mut TestStore) {
    let leased = running(store, &Daemon::new()).await;
    let forged = [
        Lease { nonce: Nonce::mint(), ..leased.lease },
        Lease { epoch: leased.lease.epoch + 1, ..leased.lease },
        Lease { epoch: leased.lease.epoch - 1, ..leased.lease },
    ];
    for lease in forged {
        assert_eq!(store.settle_one(Settlement::new(lease, Transition::Complete, at(1)), now(2)).await, Applied::LeaseLost, "{lease:?}");
    }
    assert_eq!(store.state(leased.job.id).await, State::Running);
}

async fn lease_of_another_job_changes_nothing(store: &mut TestStore) {
    let jobs = store.put(vec![work(), work()], now(0)).await;
    let leased = Daemon::new().lease(&**store, 2, now(1)).await;
    let crossed = Lease { job: jobs[1], ..leased[0].lease };
    assert_eq!(store.settle_one(Settlement::new(crossed, Transition::Complete, at(1)), now(2)).await, Applied::LeaseLost);
    let nobodys = Lease { job: JobId::mint(), ..leased[0].lease };
    assert_eq!(store.settle_one(Settlement::new(nobodys, Transition::Complete, at(1)), now(2)).await, Applied::LeaseLost);
    assert_eq!(store.states(&jobs).await, [State::Running; 2]);
}

async fn batch_is_answered_item_by_item_in_order(store: &mut TestStore) {
    let daemon = Daemon::new();
    store.put((0..4).map(|_| work()).collect(), now(0)).await;
    let leased = daemon.lease(&**store, 4, now(1)).await;
    store.complete(&leased[1..2], now(2)).await;
    let stale = Lease { nonce: Nonce::mint(), ..leased[2].lease };
    let batch = vec![
        settlement(&leased[0], Transition::Complete),
        settlement(&leased[1], Transition::Complete),
        Settlement::new(stale, Transition::Complete, at(1)),
        settlement(&leased[3], retry(50)),
    ];
    let answers = store.settle(batch, now(3)).await.unwrap();
    assert_eq!(answers, [Applied::Applied, Applied::AlreadyApplied, Applied::LeaseLost, Applied::Applied]);
    let ids: Vec<_> = ids(&leased);
    assert_eq!(store.states(&ids).await, [State::Completed, State::Completed, State::Running, State::Scheduled]);
    assert_eq!(store.settle(Vec::new(), now(3)).await.unwrap(), []);
}

async fn same_lease_twice_in_one_batch_counts_once(store: &mut TestStore) {
    let leased = running(store, &Daemon::new()).await;
    let end = Settlement { follow_ups: vec![work().queue("next")], ..settlement(&leased, Transition::Complete) };
    let answers = store.settle(vec![end.clone(), end], now(2)).await.unwrap();
    assert_eq!(answers, [Applied::Applied, Applied::AlreadyApplied]);
    assert_eq!(store.all().await.len(), 2);
}

async fn settlement_of_an_expired_lease_nobody_took_back_is_accepted(store: &mut TestStore) {
    let leased = running(store, &Daemon::new()).await;
    assert_eq!(store.end(&leased, Transition::Complete, now(500)).await, Applied::Applied);
    assert_eq!(store.reap(now(501)).await.unwrap(), windlass::store::Reaped::default());
}

async fn follow_ups_are_enqueued_whatever_the_verdict(store: &mut TestStore) {
    let daemon = Daemon::new();
    let park = Transition::Park { reason: "outside".into(), until: at(9_000), token: None, error: None };
    let ends = [
        Transition::Complete,
        retry(9_000),
        Transition::Dead { reason: "rejected", error: failure("x") },
        Transition::Snooze { until: at(9_000) },
        park,
        Transition::Cancel { reason: "no".into() },
    ];
    for (n, end) in ends.into_iter().enumerate() {
        let leased = running(store, &daemon).await;
        let next = work().queue("next").payload(&n.to_string());
        let later = work().queue("later").delay_ms(5_000);
        let made = [next.id, later.id];
        store.settle_one(Settlement { follow_ups: vec![next, later], ..settlement(&leased, end) }, now(2)).await;
        assert_eq!(store.states(&made).await, [State::Queued, State::Scheduled]);
        let job = store.job(made[0]).await;
        assert_eq!((job.extra.parent, job.payload.as_str()), (Some(leased.job.id), n.to_string().as_str()));
        assert_eq!(store.job(made[1]).await.run_at, at(7), "delays count from the settlement");
    }
}

async fn follow_up_stays_in_the_tenant_and_names_its_parent(store: &mut TestStore) {
    let parent = store.put_one(work().tenant("acme"), now(0)).await;
    let leased = Daemon::new().lease_one(&**store, now(1)).await;
    let next = work().tenant("elsewhere").queue("next");
    let id = next.id;
    store.settle_one(Settlement { follow_ups: vec![next], ..settlement(&leased, Transition::Complete) }, now(2)).await;
    let job = store.job(id).await;
    assert_eq!((job.tenant, job.extra.parent), (Some(name("acme")), Some(parent)));
}

async fn follow_up_whose_key_is_held_does_not_fail_the_settlement(store: &mut TestStore) {
    let keyed = |on| work().queue("next").unique("k", UniqueFor::UntilFinished, on);
    store.put_one(keyed(OnDuplicate::Return), now(0)).await;
    let leased = running(store, &Daemon::new()).await;
    let follow_ups = vec![keyed(OnDuplicate::Reject), keyed(OnDuplicate::Return), work().queue("next")];
    let end = Settlement { follow_ups, ..settlement(&leased, Transition::Complete) };
    assert_eq!(store.settle_one(end, now(2)).await, Applied::Applied);
    assert_eq!(store.state(leased.job.id).await, State::Completed);
    assert_eq!(store.queue_status("next", now(2)).await.jobs[&State::Queued], 2);
}

async fn repeated_settlement_makes_no_second_follow_up(store: &mut TestStore) {
    let leased = running(store, &Daemon::new()).await;
    let end = |next: NewJob| Settlement { follow_ups: vec![next], ..settlement(&leased, Transition::Complete) };
    assert_eq!(store.settle_one(end(work().queue("next")), now(2)).await, Applied::Applied);
    assert_eq!(store.settle_one(end(work().queue("next")), now(3)).await, Applied::AlreadyApplied);
    assert_eq!(store.queue_status("next", now(3)).await.jobs[&State::Queued], 1);
}

async fn on_success_follows_a_completed_job(store: &mut TestStore) {
    let daemon = Daemon::new();
    let envelope = work()
        .tenant("acme")
        .on_success(work().queue("ok").delay_ms(3_000).on_success(work().queue("second")))
        .on_failure(work().queue("bad"));
    let id = store.put_one(envelope, now(0)).await;
    let leased = daemon.lease_one(&**store, now(1)).await;
    store.end(&leased, retry(2), now(1)).await;
    assert_eq!(store.all().await.len(), 1, "an attempt that failed is not the job's end");
    let leased = daemon.lease_one(&**store, now(2)).await;
    store.complete(&[leased], now(2)).await;
    let followers: Vec<_> = store.all().await.into_iter().filter(|job| job.id != id).collect();
    assert_eq!(followers.len(), 1);
    let next = &followers[0];
    assert_eq!((&next.queue, &next.tenant, next.extra.parent, next.run_at), (&name("ok"), &Some(name("acme")), Some(id), at(5)));
    assert_eq!(next.state, State::Scheduled);
    let leased = daemon.lease_from(&**store, "ok", 1, now(5)).await;
    store.complete(&leased, now(5)).await;
    assert_eq!(store.queue_status("second", now(5)).await.jobs[&State::Queued], 1, "follow-ups have follow-ups");
}

async fn on_failure_follows_a_dead_job(store: &mut TestStore) {
    let daemon = Daemon::new();
    let id = store.put_one(work().on_success(work().queue("ok")).on_failure(work().queue("bad")), now(0)).await;
    for round in 1..=2 {
        let leased = daemon.lease_one(&**store, now(round)).await;
        store.end(&leased, Transition::Dead { reason: "rejected", error: failure("x") }, now(round)).await;
        let made = store.queue_status("bad", now(round)).await.jobs[&State::Queued];
        assert_eq!(made, u64::try_from(round).unwrap(), "each death has its own");
        store.redrive(id, &Actor::new("test"), now(round)).await.unwrap();
    }
    assert_eq!(store.queue_status("ok", now(9)).await.jobs.get(&State::Queued).copied().unwrap_or(0), 0);
    let leased = daemon.lease_one(&**store, now(9)).await;
    store.end(&leased, Transition::Cancel { reason: "no".into() }, now(9)).await;
    assert_eq!(store.all().await.len(), 3, "a cancelled job has neither");
}

async fn on_failure_follows_a_job_that_died_waiting(store: &mut TestStore) {
    let id = store.put_one(work().after(&[JobId::mint()]).on_failure(work().queue("bad")), now(0)).await;
    store.advance(now(30 * 86_400)).await.unwrap();
    assert_eq!(store.state(id).await, State::Dead);
    assert_eq!(store.queue_status("bad", now(30 * 86_400)).await.jobs[&State::Queued], 1);
}

fn put_record(key: &str, value: &str, event_seconds: Option<i64>) -> Effect {
    Effect::PutRecord { collection: name("seen"), key: key.into(), value: json(value), event_time: event_seconds.map(at) }
}

fn usage() -> Usage {
    Usage {
        provider: "openai".into(),
        model: "gpt".into(),
        input_tokens: 10,
        cached_tokens: 1,
        output_tokens: 5,
        cost_micros: Some(7),
        estimated: false,
    }
}

async fn with_effects(store: &TestStore, job: NewJob, effects: Vec<Effect>) {
    store.put_one(job, now(0)).await;
    let leased = Daemon::new().lease_one(&**store, now(1)).await;
    let end = Settlement { effects, ..settlement(&leased, Transition::Complete) };
    assert_eq!(store.settle_one(end, now(2)).await, Applied::Applied);
}

async fn records_are_written_and_overwritten(store: &mut TestStore) {
    let seen = name("seen");
    assert_eq!(store.record(None, &seen, "a").await.unwrap(), None);
    with_effects(store, work(), vec![put_record("a", "1", None), put_record("b", "2", None)]).await;
    assert_eq!(store.record(None, &seen, "a").await.unwrap(), Some(json("1")));
    with_effects(store, work(), vec![put_record("a", "3", None)]).await;
    assert_eq!(store.record(None, &seen, "a").await.unwrap(), Some(json("3")));
    assert_eq!(store.record(None, &seen, "b").await.unwrap(), Some(json("2")));
    assert_eq!(store.record(None, &name("other"), "a").await.unwrap(), None);
}

async fn older_event_never_overwrites_a_newer_record(store: &mut TestStore) {
    let seen = name("seen");
    for (event, value, expected) in [(50, "1", "1"), (40, "2", "1"), (50, "3", "3"), (60, "4", "4")] {
        with_effects(store, work(), vec![put_record("a", value, Some(event))]).await;
        assert_eq!(store.record(None, &seen, "a").await.unwrap(), Some(json(expected)), "after an event of {event} s");
    }
}

async fn records_belong_to_the_tenant_of_the_job(store: &mut TestStore) {
    with_effects(store, work().tenant("acme"), vec![put_record("a", "1", None)]).await;
    let seen = name("seen");
    assert_eq!(store.record(Some(&name("acme")), &seen, "a").await.unwrap(), Some(json("1")));
    assert_eq!(store.record(None, &seen, "a").await.unwrap(), None);
    assert_eq!(store.record(Some(&name("umbrella")), &seen, "a").await.unwrap(), None);
}

async fn effects_and_usage_of_every_kind_are_taken(store: &mut TestStore) {
    let leased = running(store, &Daemon::new()).await;
    let send = || Effect::RecordSend { channel: name("smtp"), key: "k".into(), provider_id: Some("m1".into()) };
    let effects = vec![send(), send(), Effect::PutCache { key: "c".into(), value: json("1"), ttl_ms: 1_000 }, put_record("r", "1", None)];
    let end = Settlement { effects, usage: vec![usage(), usage()], ..settlement(&leased, retry(5)) };
    assert_eq!(store.settle_one(end, now(2)).await, Applied::Applied);
    assert_eq!(store.record(None, &name("seen"), "r").await.unwrap(), Some(json("1")), "whatever the verdict");
}

async fn error_message_is_kept_as_given(store: &mut TestStore) {
    let leased = running(store, &Daemon::new()).await;
    let error = JobError::new(ErrorClass::Quota, "quota", "„nichts\" geht \n mehr 😀");
    store.end(&leased, Transition::Retry { at: at(9), error: error.clone() }, now(2)).await;
    assert_eq!(store.job(leased.job.id).await.attempts[0].error, Some(error));
}
