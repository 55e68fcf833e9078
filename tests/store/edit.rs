//! Changing a job that waits, or a dead letter.

use crate::support::{Build as _, Daemon, TestStore, at, ids, json, now, on_every_store, work};
use windlass::{
    job::{Applied, Edit, ErrorClass, Job, JobError, JobId, Leased, NewJob, State, Timestamp, Transition},
    store::{Actor, Error},
};

on_every_store![
    edit_changes_what_it_names_and_nothing_else,
    edited_payload_is_what_the_worker_gets,
    queued_job_of_a_new_priority_goes_to_the_end_of_its_new_line,
    queued_job_may_be_put_off,
    scheduled_job_may_be_due_earlier_or_later,
    parked_job_keeps_its_park_and_has_its_new_payload,
    edited_dead_letter_runs_with_its_new_payload,
    job_behind_its_gate_can_be_edited,
    edit_is_refused_while_it_runs_and_once_it_has_ended,
    time_of_what_has_none_is_refused,
    ordered_job_keeps_its_turn,
    job_that_runs_alone_keeps_its_place,
    edit_made_for_another_payload_is_refused,
    job_that_expires_still_does_after_an_edit,
    same_edit_asked_again_changes_nothing,
    job_that_is_not_there_cannot_be_edited,
];

fn actor() -> Actor {
    Actor::new("cli:ann")
}

fn payload(text: &str) -> Edit {
    Edit { payload: Some(json(text)), ..Edit::default() }
}

fn priority(priority: u8) -> Edit {
    Edit { priority: Some(priority), ..Edit::default() }
}

fn due(instant: Timestamp) -> Edit {
    Edit { run_at: Some(instant), ..Edit::default() }
}

async fn enqueue(store: &TestStore, job: NewJob) -> JobId {
    store.enqueue(vec![job], now(0)).await.expect("it is enqueued")[0].id
}

async fn get(store: &TestStore, id: JobId) -> Job {
    store.get(id).await.expect("it is read").expect("it is there")
}

fn shown(job: &Job) -> String {
    serde_json::to_string(job).expect("it is JSON")
}

async fn edit(store: &TestStore, id: JobId, edit: Edit, second: i64) {
    store.edit(id, &edit, &actor(), now(second)).await.expect("it is changed");
}

async fn refused(store: &TestStore, id: JobId, edit: Edit, why: &str) {
    let before = get(store, id).await;
    let refused = store.edit(id, &edit, &actor(), now(5)).await;
    assert!(matches!(&refused, Err(Error::NotAllowed(said)) if said.contains(why)), "{refused:?}");
    assert_eq!(shown(&get(store, id).await), shown(&before));
}

async fn settle(store: &TestStore, leased: &Leased, transition: Transition) {
    let settlement = windlass::job::Settlement::new(leased.lease, transition, at(2));
    assert_eq!(store.settle(vec![settlement], now(2)).await.expect("it is settled"), [Applied::Applied]);
}

async fn dead(store: &TestStore) -> JobId {
    let id = enqueue(store, work()).await;
    let leased = Daemon::new().lease_one(&**store, now(1)).await;
    let error = JobError::new(ErrorClass::Permanent, "bad_input", "no");
    settle(store, &leased, Transition::Dead { reason: "rejected", error }).await;
    id
}

async fn edit_changes_what_it_names_and_nothing_else(store: &mut TestStore) {
    let id = enqueue(store, work().payload("1").tags(&["nightly"])).await;
    let before = get(store, id).await;
    let all = Edit { payload: Some(json("{\"b\" : 1}")), max_attempts: Some(9), timeout_ms: Some(77), ..Edit::default() };
    edit(store, id, all, 1).await;
    let wanted = Job { payload: json("{\"b\" : 1}"), max_attempts: 9, timeout_ms: Some(77), ..before };
    assert_eq!(shown(&get(store, id).await), shown(&wanted));
}

async fn edited_payload_is_what_the_worker_gets(store: &mut TestStore) {
    let first = enqueue(store, work().payload("1")).await;
    let second = enqueue(store, work().payload("2")).await;
    edit(store, first, payload("{\"new\":true}"), 1).await;
    let leased = Daemon::new().lease(&**store, 2, now(2)).await;
    assert_eq!(ids(&leased), [first, second], "it keeps its place");
    assert_eq!(leased[0].job.payload.as_str(), "{\"new\":true}");
}

async fn queued_job_of_a_new_priority_goes_to_the_end_of_its_new_line(store: &mut TestStore) {
    let first = enqueue(store, work()).await;
    let second = enqueue(store, work()).await;
    let urgent = enqueue(store, work().priority(1)).await;
    edit(store, second, priority(1), 1).await;
    assert_eq!(get(store, second).await.priority, 1);
    let leased = Daemon::new().lease(&**store, 9, now(2)).await;
    assert_eq!(ids(&leased), [urgent, second, first]);
    let listed = store.queues(now(2)).await.expect("they are read");
    assert_eq!((listed[0].jobs[&State::Queued], listed[0].jobs[&State::Running]), (0, 3));
}

async fn queued_job_may_be_put_off(store: &mut TestStore) {
    let id = enqueue(store, work()).await;
    edit(store, id, due(at(50)), 1).await;
    let job = get(store, id).await;
    assert_eq!((job.state, job.run_at), (State::Scheduled, at(50)));
    assert!(Daemon::new().lease(&**store, 1, now(49)).await.is_empty());
    assert_eq!(Daemon::new().lease_one(&**store, now(50)).await.job.id, id);
}

async fn scheduled_job_may_be_due_earlier_or_later(store: &mut TestStore) {
    let (earlier, later) = (enqueue(store, work().run_at(at(50))).await, enqueue(store, work().run_at(at(50))).await);
    edit(store, earlier, due(at(10)), 1).await;
    edit(store, later, due(at(90)), 1).await;
    assert_eq!(Daemon::new().lease_one(&**store, now(10)).await.job.id, earlier);
    assert!(Daemon::new().lease(&**store, 1, now(89)).await.is_empty());
    assert_eq!(Daemon::new().lease_one(&**store, now(90)).await.job.id, later);
}

async fn parked_job_keeps_its_park_and_has_its_new_payload(store: &mut TestStore) {
    let id = enqueue(store, work()).await;
    let leased = Daemon::new().lease_one(&**store, now(1)).await;
    settle(store, &leased, Transition::Park { reason: "outside".into(), until: at(500), token: Some("tok".into()), error: None }).await;
    edit(store, id, Edit { priority: Some(2), ..payload("[2]") }, 3).await;
    let job = get(store, id).await;
    assert_eq!((job.state, job.run_at, job.priority, job.reason.as_deref()), (State::Parked, at(500), 2, Some("outside")));
    store.unpark("tok", None, &actor(), now(4)).await.expect("it is woken");
    assert_eq!(Daemon::new().lease_one(&**store, now(4)).await.job.payload.as_str(), "[2]");
}

async fn edited_dead_letter_runs_with_its_new_payload(store: &mut TestStore) {
    let id = dead(store).await;
    edit(store, id, Edit { max_attempts: Some(2), priority: Some(0), ..payload("[1]") }, 3).await;
    assert_eq!(get(store, id).await.state, State::Dead);
    store.redrive(id, &actor(), now(4)).await.expect("it goes back");
    let leased = Daemon::new().lease_one(&**store, now(4)).await;
    assert_eq!((leased.job.payload.as_str(), leased.job.max_attempts, get(store, id).await.priority), ("[1]", 2, 0));
}

async fn job_behind_its_gate_can_be_edited(store: &mut TestStore) {
    let [first, second, third] = [5, 5, 5].map(|priority| work().key("site").priority(priority));
    let (first, second, third) = (enqueue(store, first).await, enqueue(store, second).await, enqueue(store, third).await);
    let holder = Daemon::new().lease_one(&**store, now(1)).await;
    assert_eq!(holder.job.id, first);
    edit(store, third, Edit { priority: Some(1), ..payload("[3]") }, 1).await;
    settle(store, &holder, Transition::Complete).await;
    let next = Daemon::new().lease_one(&**store, now(3)).await;
    assert_eq!((next.job.id, next.job.payload.as_str()), (third, "[3]"), "the more urgent one goes before {second}");
}

async fn edit_is_refused_while_it_runs_and_once_it_has_ended(store: &mut TestStore) {
    let id = enqueue(store, work()).await;
    let leased = Daemon::new().lease_one(&**store, now(1)).await;
    refused(store, id, payload("2"), "is running; only a job that waits").await;
    settle(store, &leased, Transition::Complete).await;
    refused(store, id, payload("2"), "is completed; only a job that waits").await;
}

async fn time_of_what_has_none_is_refused(store: &mut TestStore) {
    let id = dead(store).await;
    refused(store, id, due(at(50)), "is dead; it has no time").await;
    let parked = enqueue(store, work().after(&[JobId::mint()])).await;
    refused(store, parked, due(at(50)), "is parked; it has no time").await;
}

async fn ordered_job_keeps_its_turn(store: &mut TestStore) {
    let (first, second) = (enqueue(store, work().ordered("site")).await, enqueue(store, work().ordered("site")).await);
    refused(store, first, priority(9), "keeps its turn").await;
    edit(store, first, payload("[1]"), 1).await;
    let leased = Daemon::new().lease_one(&**store, now(2)).await;
    assert_eq!((leased.job.id, leased.job.payload.as_str()), (first, "[1]"), "it goes before {second}");
}

async fn job_that_runs_alone_keeps_its_place(store: &mut TestStore) {
    let id = enqueue(store, work()).await;
    Daemon::new().lease_one(&**store, now(1)).await;
    store.crash().await;
    refused(store, id, priority(1), "runs alone").await;
    edit(store, id, payload("[1]"), 3).await;
    assert_eq!(Daemon::new().lease_one(&**store, now(4)).await.job.payload.as_str(), "[1]");
}

async fn edit_made_for_another_payload_is_refused(store: &mut TestStore) {
    let id = enqueue(store, work().payload("1")).await;
    edit(store, id, Edit { was: Some(json("1")), ..payload("2") }, 1).await;
    refused(store, id, Edit { was: Some(json("1")), ..payload("3") }, "is another by now").await;
}

async fn job_that_expires_still_does_after_an_edit(store: &mut TestStore) {
    let id = enqueue(store, work().expires_at(at(20))).await;
    edit(store, id, priority(1), 1).await;
    store.advance(now(21)).await.expect("time passes");
    let job = get(store, id).await;
    assert_eq!((job.state, job.reason.as_deref()), (State::Cancelled, Some("expired")));
}

async fn same_edit_asked_again_changes_nothing(store: &mut TestStore) {
    let id = enqueue(store, work()).await;
    let once = actor();
    store.edit(id, &payload("[1]"), &once, now(1)).await.expect("it is changed");
    edit(store, id, payload("[2]"), 2).await;
    store.edit(id, &payload("[1]"), &once, now(3)).await.expect("it was done");
    assert_eq!(get(store, id).await.payload.as_str(), "[2]");
}

async fn job_that_is_not_there_cannot_be_edited(store: &mut TestStore) {
    let missing = store.edit(JobId::mint(), &payload("1"), &actor(), now(1)).await;
    assert!(matches!(&missing, Err(Error::NotFound { .. })), "{missing:?}");
}
