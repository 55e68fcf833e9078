//! Export and import: live jobs and dead letters leave one store and live on in another.

use crate::support::{Build as _, Daemon, TestStore, WINDOW, at, ids, json, now, on_every_store, operator, work};
use std::collections::BTreeSet;
use windlass::{
    job::{ErrorClass, Job, JobError, JobId, OnDuplicate, Settlement, State, Transition, UniqueFor},
    store::{Actor, Exported, Store},
};

on_every_store![
    live_jobs_and_dead_letters_are_exported_in_pages,
    exported_jobs_survive_json,
    imported_jobs_are_as_they_were,
    imported_jobs_go_on_with_their_lives,
    import_leaves_existing_jobs_as_they_are,
    imported_running_job_is_queued_again,
    imported_unique_key_is_held,
    imported_dependents_wait_for_their_parents,
    imported_ordered_jobs_keep_their_order,
    imported_dependent_waits_for_open_parents_only,
    imported_job_that_started_does_not_expire,
    imported_parked_job_is_woken_by_its_token,
    imported_id_is_asked_about_again_by_its_producer,
];

async fn export_all(store: &dyn Store, limit: usize) -> Vec<Exported> {
    let (mut jobs, mut cursor) = (Vec::new(), None);
    loop {
        let page = store.export(cursor.as_deref(), limit).await.expect("jobs can be exported");
        assert!(page.items.len() <= limit);
        jobs.extend(page.items);
        cursor = page.next;
        if cursor.is_none() {
            return jobs;
        }
    }
}

/// Another, empty store of the same driver.
async fn another(store: &TestStore) -> TestStore {
    TestStore::open(store.name()).await
}

/// One job of every sort that an export must carry.
async fn a_bit_of_everything(store: &TestStore) -> Vec<JobId> {
    let daemon = Daemon::new();
    let error = || JobError::new(ErrorClass::Retry, "http_503", "later");
    let dead = store.put_one(work().tags(&["d"]), now(0)).await;
    let leased = daemon.lease_one(&**store, now(0)).await;
    store.end(&leased, Transition::Dead { reason: "rejected", error: error() }, now(1)).await;
    let retrying = store.put_one(work().payload(r#"{ "odd" :  1e400 }"#), now(1)).await;
    let leased = daemon.lease_one(&**store, now(1)).await;
    let end = Settlement {
        checkpoint: Some(json("[1]")),
        ..Settlement::new(leased.lease, Transition::Retry { at: at(500), error: error() }, at(1))
    };
    store.settle_one(end, now(2)).await;
    let completed = store.put_one(work(), now(2)).await;
    assert_eq!(store.drain(&daemon, "default", now(2)).await, [completed]);
    let rest = vec![
        work().queue("mail").tenant("acme").priority(1).max_attempts(8).tags(&["a", "b"]),
        work().delay_ms(600_000),
        work().after(&[retrying]).expires_at(at(90_000)),
        work().unique("u", UniqueFor::UntilFinished, OnDuplicate::Return).key("k"),
        work().on_success(work().queue("next")).on_failure(work().queue("bad")),
    ];
    let mut ids = store.put(rest, now(3)).await;
    ids.extend([dead, retrying]);
    ids.sort();
    ids
}

async fn live_jobs_and_dead_letters_are_exported_in_pages(store: &mut TestStore) {
    let expected = a_bit_of_everything(store).await;
    for limit in [1, 3, 100] {
        let exported = export_all(&**store, limit).await;
        assert_eq!(exported.iter().map(|item| item.job.id).collect::<Vec<_>>(), expected, "oldest first, in pages of {limit}");
    }
}

async fn exported_jobs_survive_json(store: &mut TestStore) {
    a_bit_of_everything(store).await;
    for item in export_all(&**store, 100).await {
        let text = serde_json::to_string(&item).expect("an exported job is JSON");
        let back: Exported = serde_json::from_str(&text).expect("and comes back");
        assert_eq!(format!("{back:?}"), format!("{item:?}"));
    }
}

/// What must not change on the way; positions, leases and the instant of a park's end are the store's own.
fn essence(job: &Job) -> String {
    let mut job = job.clone();
    if job.state == State::Parked {
        job.run_at = at(0);
    }
    format!("{job:#?}")
}

async fn imported_jobs_are_as_they_were(store: &mut TestStore) {
    let expected = a_bit_of_everything(store).await;
    let target = another(store).await;
    let exported = export_all(&**store, 100).await;
    assert_eq!(target.import(exported, now(10)).await.unwrap(), u64::try_from(expected.len()).unwrap());
    for id in expected {
        assert_eq!(essence(&target.job(id).await), essence(&store.job(id).await));
    }
    target.assert_sound().await;
}

async fn imported_jobs_go_on_with_their_lives(store: &mut TestStore) {
    let expected = a_bit_of_everything(store).await;
    let target = another(store).await;
    target.import(export_all(&**store, 100).await, now(10)).await.unwrap();
    let dead: Vec<_> = target.all().await.into_iter().filter(|job| job.state == State::Dead).collect();
    target.redrive(dead[0].id, &Actor::new("test"), now(11)).await.unwrap();
    let daemon = Daemon::new();
    let mut ran: BTreeSet<_> = target.drain(&daemon, "mail", now(12)).await.into_iter().collect();
    ran.extend(target.drain(&daemon, "default", now(700)).await);
    assert!(expected.iter().all(|id| ran.contains(id)), "each of them runs");
    assert_eq!(target.queue_status("next", now(700)).await.jobs[&State::Queued], 1, "with its follow-up");
    target.assert_sound().await;
}

async fn import_leaves_existing_jobs_as_they_are(store: &mut TestStore) {
    let expected = a_bit_of_everything(store).await;
    let exported = export_all(&**store, 100).await;
    let before = format!("{:?}", store.all().await);
    assert_eq!(store.import(exported.clone(), now(10)).await.unwrap(), 0);
    assert_eq!(format!("{:?}", store.all().await), before);
    let target = another(store).await;
    target.import(exported[..3].to_vec(), now(10)).await.unwrap();
    assert_eq!(target.import(exported, now(11)).await.unwrap(), u64::try_from(expected.len() - 3).unwrap());
}

async fn imported_running_job_is_queued_again(store: &mut TestStore) {
    let id = store.put_one(work(), now(0)).await;
    Daemon::new().lease_one(&**store, now(1)).await;
    let target = another(store).await;
    target.import(export_all(&**store, 100).await, now(10)).await.unwrap();
    let job = target.job(id).await;
    assert_eq!((job.state, job.attempt, job.holder), (State::Queued, 0, None));
    assert_eq!(Daemon::new().lease_one(&*target, now(10)).await.job.attempt, 1);
}

async fn imported_unique_key_is_held(store: &mut TestStore) {
    for (queue, held) in [("a", UniqueFor::UntilFinished), ("b", UniqueFor::UntilStarted), ("c", WINDOW)] {
        store.put_one(work().queue(queue).unique("k", held, OnDuplicate::Return), now(0)).await;
    }
    let target = another(store).await;
    target.import(export_all(&**store, 100).await, now(10)).await.unwrap();
    for queue in ["a", "b", "c"] {
        let again = work().queue(queue).unique("k", UniqueFor::UntilFinished, OnDuplicate::Return);
        assert!(target.enqueue(vec![again], now(11)).await.unwrap()[0].duplicate, "in queue {queue}");
    }
    let daemon = Daemon::new();
    for (queue, held_after_its_end) in [("a", false), ("b", false), ("c", true)] {
        assert_eq!(target.drain(&daemon, queue, now(12)).await.len(), 1);
        let again = work().queue(queue).unique("k", UniqueFor::UntilFinished, OnDuplicate::Return);
        assert_eq!(target.enqueue(vec![again], now(13)).await.unwrap()[0].duplicate, held_after_its_end, "in queue {queue}");
    }
}

async fn imported_dependents_wait_for_their_parents(store: &mut TestStore) {
    let parent = store.put_one(work(), now(0)).await;
    let child = store.put_one(work().after(&[parent]), now(0)).await;
    let target = another(store).await;
    let mut exported = export_all(&**store, 100).await;
    exported.reverse();
    target.import(exported, now(10)).await.unwrap();
    assert_eq!(target.state(child).await, State::Parked);
    assert_eq!(target.drain(&Daemon::new(), "default", now(11)).await, [parent, child]);
}

async fn imported_ordered_jobs_keep_their_order(store: &mut TestStore) {
    let jobs = store.put((0..6).map(|_| work().ordered("s")).collect(), now(0)).await;
    let target = another(store).await;
    target.import(export_all(&**store, 4).await, now(10)).await.unwrap();
    assert_eq!(ids(&Daemon::new().lease(&*target, 6, now(11)).await), jobs[..1]);
    target.reap(now(100)).await.unwrap();
    assert_eq!(target.drain(&Daemon::new(), "default", now(101)).await, jobs);
}

async fn move_over(store: &TestStore) -> TestStore {
    let other = another(store).await;
    for job in export_all(&**store, 1).await {
        let text = serde_json::to_string(&job).unwrap();
        other.import(vec![serde_json::from_str(&text).unwrap()], now(100)).await.unwrap();
    }
    other
}

async fn imported_dependent_waits_for_open_parents_only(store: &mut TestStore) {
    let daemon = Daemon::new();
    let done = store.put_one(work(), now(0)).await;
    let open = store.put_one(work().delay_ms(200_000), now(0)).await;
    let child = store.put_one(work().after(&[done, open]), now(0)).await;
    store.drain(&daemon, "default", now(1)).await;
    let other = move_over(store).await;
    assert_eq!(other.state(child).await, State::Parked);
    other.advance(now(300)).await.unwrap();
    assert_eq!(other.drain(&daemon, "default", now(300)).await, [open, child]);
}

async fn imported_job_that_started_does_not_expire(store: &mut TestStore) {
    let daemon = Daemon::new();
    let jobs = store.put(vec![work().expires_at(at(50)), work().expires_at(at(50)), work().expires_at(at(50))], now(0)).await;
    let leased = daemon.lease(&**store, 2, now(1)).await;
    let retry = Transition::Retry { at: at(40), error: JobError::new(ErrorClass::Retry, "http_503", "later") };
    store.end(&leased[0], retry, now(2)).await;
    let other = move_over(store).await;
    other.advance(now(101)).await.unwrap();
    other.advance(now(102)).await.unwrap();
    let mut ran = other.drain(&daemon, "default", now(103)).await;
    ran.sort();
    assert_eq!(ran, jobs[..2], "one had retried and one ran when it was exported");
    assert_eq!(other.state(jobs[2]).await, State::Cancelled);
}

async fn imported_parked_job_is_woken_by_its_token(store: &mut TestStore) {
    let id = store.put_one(work(), now(0)).await;
    let leased = Daemon::new().lease_one(&**store, now(1)).await;
    let park = Transition::Park { reason: "outside".into(), until: at(9_000), token: Some("t1".into()), error: None };
    store.end(&leased, park, now(1)).await;
    assert_eq!(move_over(store).await.unpark("t1", None, &operator(), now(101)).await.unwrap(), id);
}

async fn imported_id_is_asked_about_again_by_its_producer(store: &mut TestStore) {
    let job = work().id(JobId::mint());
    store.put_one(job.clone(), now(0)).await;
    let other = move_over(store).await;
    let answer = other.enqueue(vec![job.clone()], now(101)).await.expect("the same question");
    assert_eq!(answer[0].id, job.id);
}
