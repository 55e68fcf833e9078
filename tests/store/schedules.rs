//! Schedules as a store remembers them: each instant has one job or one recorded skip, whoever fires and however often.

use crate::support::{Build as _, Daemon, TestStore, at, ids, name, now, on_every_store, operator, work};
use futures_util::future::join_all;
use windlass::{
    job::{
        Envelope, JobId, NewJob, State, Timestamp,
        schedule::{DueJob, Fate, Missed, Plan, Rule, Schedule, ScheduleState, SkipReason, SkippedRun},
    },
    store::{Actor, Error},
};

on_every_store![
    new_schedule_begins_now,
    fire_enqueues_its_jobs_and_moves_on,
    fire_records_skips,
    many_callers_fire_an_instant_once,
    changed_rule_begins_a_new_generation,
    changed_rule_leaves_none_of_its_instants_unrecorded,
    changed_job_keeps_the_generation,
    stale_generation_fires_nothing,
    deleted_schedule_fires_nothing_and_is_not_found,
    schedule_made_again_is_another,
    paused_schedule_says_so,
    held_unique_key_is_a_recorded_skip,
    rejected_duplicate_is_a_recorded_skip,
    occurrences_survive_a_restart,
    large_plan_is_taken_whole,
];

fn envelope() -> Envelope {
    serde_json::from_str(r#"{"kind":"work","payload":{"n":1}}"#).expect("it is an envelope")
}

fn every(seconds: u64) -> Schedule {
    let rule = Rule::Every { every_ms: seconds * 1_000, anchor: at(0) };
    Schedule { name: name("nightly"), rule, missed: Missed::Once, job: envelope() }
}

async fn state(store: &TestStore) -> ScheduleState {
    let mut states = store.schedules().await.unwrap();
    assert_eq!(states.len(), 1);
    states.remove(0)
}

fn due(seconds: i64, job: NewJob) -> DueJob {
    DueJob { due: at(seconds), job }
}

fn plan(through: i64, jobs: Vec<DueJob>) -> Plan {
    Plan { skipped: None, jobs, through: at(through), more: false }
}

async fn history(store: &TestStore) -> Vec<(Timestamp, Fate)> {
    store.occurrences(&name("nightly"), 2_000).await.unwrap().into_iter().map(|occurrence| (occurrence.due, occurrence.fate)).collect()
}

async fn new_schedule_begins_now(store: &mut TestStore) {
    store.put_schedule(&every(60), &operator(), now(100)).await.unwrap();
    let state = state(store).await;
    assert_eq!((state.schedule.name.as_str(), state.last, state.paused), ("nightly", at(100), false));
    assert_eq!((state.schedule.rule, state.schedule.missed), (every(60).rule, Missed::Once));
    assert_eq!(history(store).await, []);
}

async fn fire_enqueues_its_jobs_and_moves_on(store: &mut TestStore) {
    store.put_schedule(&every(60), &operator(), now(0)).await.unwrap();
    let jobs = vec![due(60, work()), due(120, work().delay_ms(5_000))];
    let made: Vec<JobId> = jobs.iter().map(|due| due.job.id).collect();
    assert!(store.fire(&state(store).await, plan(120, jobs), now(130)).await.unwrap());
    assert_eq!(state(store).await.last, at(120));
    assert_eq!(history(store).await, [(at(60), Fate::Job { id: made[0] }), (at(120), Fate::Job { id: made[1] })]);
    assert_eq!(store.states(&made).await, [State::Queued, State::Scheduled]);
    assert_eq!(ids(&Daemon::new().lease(&**store, 5, now(130)).await), made[..1]);
}

async fn fire_records_skips(store: &mut TestStore) {
    store.put_schedule(&every(60), &operator(), now(0)).await.unwrap();
    let skipped = Some(SkippedRun { from: at(60), through: at(300), count: 5, reason: SkipReason::Missed });
    let job = work();
    let id = job.id;
    let plan = Plan { skipped, jobs: vec![due(360, job)], through: at(360), more: false };
    assert!(store.fire(&state(store).await, plan, now(365)).await.unwrap());
    let skip = Fate::Skipped { reason: SkipReason::Missed, through: at(300), count: 5 };
    assert_eq!(history(store).await, [(at(60), skip), (at(360), Fate::Job { id })]);
    assert_eq!(store.occurrences(&name("nightly"), 1).await.unwrap().len(), 1, "as many as asked for");
}

async fn many_callers_fire_an_instant_once(store: &mut TestStore) {
    store.put_schedule(&every(60), &operator(), now(0)).await.unwrap();
    let seen = state(store).await;
    let shared: &TestStore = store;
    let fired = join_all((0..20).map(|_| shared.fire(&seen, plan(60, vec![due(60, work())]), now(61)))).await;
    assert_eq!(fired.into_iter().filter(|fired| *fired.as_ref().unwrap()).count(), 1);
    assert_eq!(store.all().await.len(), 1);
    assert_eq!(history(store).await.len(), 1);
    assert!(!store.fire(&seen, plan(60, vec![due(60, work())]), now(62)).await.unwrap(), "nor later");
}

async fn changed_rule_begins_a_new_generation(store: &mut TestStore) {
    store.put_schedule(&every(60), &operator(), now(0)).await.unwrap();
    let old = state(store).await;
    store.put_schedule(&every(90), &operator(), now(500)).await.unwrap();
    let new = state(store).await;
    assert!(new.generation > old.generation);
    assert_eq!(new.last, at(500), "nothing before the change is due");
}

async fn changed_rule_leaves_none_of_its_instants_unrecorded(store: &mut TestStore) {
    store.put_schedule(&every(60), &operator(), now(0)).await.unwrap();
    store.put_schedule(&every(90), &operator(), now(500)).await.unwrap();
    let occurrences = store.occurrences(&name("nightly"), 100).await.unwrap();
    let recorded: u64 = occurrences
        .iter()
        .map(|occurrence| match &occurrence.fate {
            Fate::Job { .. } => 1,
            Fate::Skipped { count, .. } => *count,
        })
        .sum();
    assert_eq!(recorded, 8, "one a minute until the change: {occurrences:?}");
}

async fn changed_job_keeps_the_generation(store: &mut TestStore) {
    store.put_schedule(&every(60), &operator(), now(0)).await.unwrap();
    let old = state(store).await;
    let mut changed = every(60);
    changed.job.priority = Some(1);
    changed.missed = Missed::Skip;
    store.put_schedule(&changed, &operator(), now(500)).await.unwrap();
    let new = state(store).await;
    assert_eq!((new.generation, new.last), (old.generation, old.last), "what was due stays due");
    assert_eq!((new.schedule.job.priority, new.schedule.missed), (Some(1), Missed::Skip));
}

async fn stale_generation_fires_nothing(store: &mut TestStore) {
    store.put_schedule(&every(60), &operator(), now(0)).await.unwrap();
    let old = state(store).await;
    store.put_schedule(&every(90), &operator(), now(0)).await.unwrap();
    assert!(!store.fire(&old, plan(60, vec![due(60, work())]), now(61)).await.unwrap());
    assert_eq!(store.all().await.len(), 0);
    assert_eq!(history(store).await, []);
}

async fn deleted_schedule_fires_nothing_and_is_not_found(store: &mut TestStore) {
    store.put_schedule(&every(60), &operator(), now(0)).await.unwrap();
    let old = state(store).await;
    store.delete_schedule(&name("nightly"), &Actor::new("test")).await.unwrap();
    assert_eq!(store.schedules().await.unwrap().len(), 0);
    assert!(!store.fire(&old, plan(60, vec![due(60, work())]), now(61)).await.unwrap());
    assert_eq!(store.all().await.len(), 0);
    let again = store.delete_schedule(&name("nightly"), &Actor::new("test")).await;
    assert!(matches!(again, Err(Error::NotFound { .. })), "{again:?}");
    let pause = store.pause_schedule(&name("nightly"), true, &Actor::new("test")).await;
    assert!(matches!(pause, Err(Error::NotFound { .. })), "{pause:?}");
}

async fn schedule_made_again_is_another(store: &mut TestStore) {
    store.put_schedule(&every(60), &operator(), now(0)).await.unwrap();
    let old = state(store).await;
    store.delete_schedule(&name("nightly"), &Actor::new("test")).await.unwrap();
    store.put_schedule(&every(60), &operator(), now(0)).await.unwrap();
    assert!(!store.fire(&old, plan(60, vec![due(60, work())]), now(61)).await.unwrap(), "the old one's instants are not the new one's");
    assert!(store.fire(&state(store).await, plan(60, vec![due(60, work())]), now(61)).await.unwrap());
}

async fn paused_schedule_says_so(store: &mut TestStore) {
    let nightly = name("nightly");
    store.put_schedule(&every(60), &operator(), now(0)).await.unwrap();
    store.pause_schedule(&nightly, true, &Actor::new("test")).await.unwrap();
    assert!(state(store).await.paused);
    store.put_schedule(&every(60), &operator(), now(5)).await.unwrap();
    assert!(state(store).await.paused, "putting the same rule resumes nothing");
    store.crash().await;
    assert!(state(store).await.paused);
    store.pause_schedule(&nightly, false, &Actor::new("test")).await.unwrap();
    assert!(!state(store).await.paused);
}

async fn held_unique_key_is_a_recorded_skip(store: &mut TestStore) {
    use windlass::job::{OnDuplicate, UniqueFor};
    store.put_schedule(&every(60), &operator(), now(0)).await.unwrap();
    let keyed = || work().unique("k", UniqueFor::UntilFinished, OnDuplicate::Return);
    let first = keyed();
    let id = first.id;
    assert!(store.fire(&state(store).await, plan(120, vec![due(60, first), due(120, keyed())]), now(121)).await.unwrap());
    let skip = Fate::Skipped { reason: SkipReason::Duplicate, through: at(120), count: 1 };
    assert_eq!(history(store).await, [(at(60), Fate::Job { id }), (at(120), skip)]);
    assert_eq!(store.all().await.len(), 1);
}

async fn rejected_duplicate_is_a_recorded_skip(store: &mut TestStore) {
    use windlass::job::{OnDuplicate, UniqueFor};
    store.put_schedule(&every(60), &operator(), now(0)).await.unwrap();
    let keyed = || work().unique("k", UniqueFor::UntilFinished, OnDuplicate::Reject);
    let held = store.put_one(keyed(), now(0)).await;
    let free = work();
    let id = free.id;
    assert!(store.fire(&state(store).await, plan(120, vec![due(60, keyed()), due(120, free)]), now(121)).await.unwrap());
    let skip = Fate::Skipped { reason: SkipReason::Duplicate, through: at(60), count: 1 };
    assert_eq!(history(store).await, [(at(60), skip), (at(120), Fate::Job { id })]);
    assert_eq!(store.drain(&Daemon::new(), "default", now(130)).await, [held, id]);
}

async fn occurrences_survive_a_restart(store: &mut TestStore) {
    store.put_schedule(&every(60), &operator(), now(0)).await.unwrap();
    store.fire(&state(store).await, plan(60, vec![due(60, work())]), now(61)).await.unwrap();
    let (before, last) = (history(store).await, state(store).await.last);
    store.crash().await;
    assert_eq!((history(store).await, state(store).await.last), (before, last));
    assert!(store.fire(&state(store).await, plan(120, vec![due(120, work())]), now(121)).await.unwrap());
    assert_eq!(history(store).await.len(), 2);
}

async fn large_plan_is_taken_whole(store: &mut TestStore) {
    store.put_schedule(&every(60), &operator(), now(0)).await.unwrap();
    let jobs: Vec<_> = (1..=1_000).map(|n| due(n * 60, work())).collect();
    assert!(store.fire(&state(store).await, plan(60_000, jobs), now(60_001)).await.unwrap());
    assert_eq!(history(store).await.len(), 1_000);
    assert_eq!(store.queue_status("default", now(60_001)).await.jobs[&State::Queued], 1_000);
}
