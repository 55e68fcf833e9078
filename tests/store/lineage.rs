//! Lineage: a job names those that its own ends made, as they name it; in one step with its end, whatever that was.

use crate::support::{Build as _, Daemon, TestStore, at, json, name, now, on_every_store, work};
use windlass::{
    job::{
        ErrorClass, Extra, JobError, JobId, KindSettings, Leased, Limits, NewJob, OnDuplicate, OnExpire, Settlement, State, Transition,
        UniqueFor,
    },
    store::Actor,
};

on_every_store![
    completed_job_names_what_its_success_made,
    each_death_of_a_redriven_job_names_one_more,
    follow_ups_of_every_run_are_named_in_the_order_of_the_runs,
    follow_ups_are_named_whatever_the_verdict,
    job_that_ended_unrun_names_what_its_failure_made,
    poisoned_job_names_what_its_failure_made,
    plain_and_cancelled_jobs_name_nobody,
    newest_100_are_kept,
    follow_up_that_was_there_before_is_named_once,
    follow_up_whose_key_is_held_is_named_by_the_holder,
    follow_up_may_have_the_key_of_the_job_that_made_it,
    meta_keeps_its_bytes_beside_the_children,
    replaced_job_keeps_its_children,
    exported_children_are_imported,
    children_stay_in_the_tenant,
];

fn dead() -> Transition {
    Transition::Dead { reason: "rejected", error: JobError::new(ErrorClass::Retry, "x", "it did not work") }
}

fn retry(seconds: i64) -> Transition {
    Transition::Retry { at: at(seconds), error: JobError::new(ErrorClass::Retry, "x", "it did not work") }
}

/// Ends the run and makes `follow_ups`; answers their ids.
async fn ends(store: &TestStore, leased: &Leased, transition: Transition, follow_ups: Vec<NewJob>, seconds: i64) -> Vec<JobId> {
    let made = follow_ups.iter().map(|next| next.id).collect();
    let end = Settlement { follow_ups, ..Settlement::new(leased.lease, transition, at(seconds)) };
    store.settle_one(end, now(seconds)).await;
    made
}

async fn children(store: &TestStore, id: JobId) -> Vec<JobId> {
    store.job(id).await.extra.children
}

/// Those that say that `id` made them, oldest first.
async fn made_by(store: &TestStore, id: JobId) -> Vec<JobId> {
    let mut made: Vec<_> = store.all().await.into_iter().filter(|job| job.extra.parent == Some(id)).collect();
    made.sort_by_key(|job| job.created_at);
    made.into_iter().map(|job| job.id).collect()
}

async fn completed_job_names_what_its_success_made(store: &mut TestStore) {
    let daemon = Daemon::new();
    let success = || work().on_success(work().queue("ok")).on_failure(work().queue("bad"));
    let jobs = store.put(vec![success(), success()], now(0)).await;
    let leased = daemon.lease(&**store, 2, now(1)).await;
    assert_eq!(children(store, jobs[0]).await, [], "it has not ended");
    store.complete(&leased, now(2)).await;
    for id in jobs {
        let made = made_by(store, id).await;
        assert_eq!((made.len(), children(store, id).await), (1, made));
    }
}

async fn each_death_of_a_redriven_job_names_one_more(store: &mut TestStore) {
    let daemon = Daemon::new();
    let id = store.put_one(work().on_failure(work().queue("bad")), now(0)).await;
    for round in 1..=2 {
        let leased = daemon.lease_one(&**store, now(round * 10)).await;
        store.end(&leased, dead(), now(round * 10 + 1)).await;
        let named = children(store, id).await;
        assert_eq!(named.len(), usize::try_from(round).unwrap());
        store.redrive(id, &Actor::new("test"), now(round * 10 + 2)).await.unwrap();
        assert_eq!(children(store, id).await, named, "they outlive the redrive");
    }
    assert_eq!(children(store, id).await, made_by(store, id).await, "newest last");
}

async fn follow_ups_of_every_run_are_named_in_the_order_of_the_runs(store: &mut TestStore) {
    let daemon = Daemon::new();
    let id = store.put_one(work().on_success(work().queue("ok")), now(0)).await;
    let leased = daemon.lease_one(&**store, now(1)).await;
    let mut expected = ends(store, &leased, retry(5), vec![work().queue("next"), work().queue("other")], 2).await;
    assert_eq!(children(store, id).await, expected);
    store.advance(now(5)).await.unwrap();
    let leased = daemon.lease_one(&**store, now(5)).await;
    expected.extend(ends(store, &leased, Transition::Complete, vec![work().queue("next")], 6).await);
    let made = children(store, id).await;
    assert_eq!(made[..3], expected);
    assert_eq!(made.len(), 4);
    assert_eq!(store.job(made[3]).await.queue, name("ok"), "what its success made is the last");
}

async fn follow_ups_are_named_whatever_the_verdict(store: &mut TestStore) {
    let daemon = Daemon::new();
    let park = Transition::Park { reason: "outside".into(), until: at(9_000), token: None, error: None };
    let snooze = Transition::Snooze { until: at(9_000) };
    let cancel = Transition::Cancel { reason: "no".into() };
    for end in [Transition::Complete, retry(9_000), dead(), snooze, park, cancel, Transition::Release] {
        let id = store.put_one(work(), now(0)).await;
        let leased = daemon.lease_one(&**store, now(1)).await;
        let made = ends(store, &leased, end, vec![work().queue("next")], 2).await;
        assert_eq!(children(store, id).await, made, "{:?}", store.state(id).await);
    }
    let again = daemon.lease_one(&**store, now(3)).await;
    let made = ends(store, &again, Transition::Complete, vec![work().queue("next")], 4).await;
    let named = children(store, again.job.id).await;
    assert_eq!((named.len(), named.last()), (2, made.last()), "the released one goes on");
}

async fn job_that_ended_unrun_names_what_its_failure_made(store: &mut TestStore) {
    store
        .configure_with(|settings| {
            let kind = KindSettings { on_expire: OnExpire::Dead, ..settings.kind(&name("mayfly")) };
            settings.kinds.insert(name("mayfly"), kind);
        })
        .await;
    let failing = || work().on_failure(work().queue("bad"));
    let never = failing().after(&[JobId::mint()]);
    let late = failing().kind("mayfly").delay_ms(60_000).expires_at(at(30));
    let jobs = store.put(vec![never, late], now(0)).await;
    store.advance(now(30 * 86_400)).await.unwrap();
    for id in jobs {
        let made = made_by(store, id).await;
        assert_eq!((store.state(id).await, made.len()), (State::Dead, 1));
        assert_eq!(children(store, id).await, made);
    }
}

async fn poisoned_job_names_what_its_failure_made(store: &mut TestStore) {
    let id = store.put_one(work().on_failure(work().queue("bad")), now(0)).await;
    for _ in 0..4 {
        Daemon::new().lease_one(&**store, now(1)).await;
        store.crash().await;
    }
    assert_eq!(store.state(id).await, State::Dead);
    store.advance(now(2)).await.unwrap();
    let made = made_by(store, id).await;
    assert_eq!((made.len(), children(store, id).await), (1, made));
}

async fn plain_and_cancelled_jobs_name_nobody(store: &mut TestStore) {
    let plain = store.put_one(work(), now(0)).await;
    store.drain(&Daemon::new(), "default", now(1)).await;
    let cancelled = store.put_one(work().on_success(work()).on_failure(work()), now(2)).await;
    store.cancel(cancelled, "no", &Actor::new("test"), now(3)).await.unwrap();
    for id in [plain, cancelled] {
        let shown = serde_json::to_value(store.job(id).await).expect("a job is JSON");
        assert_eq!(shown.get("children"), None, "{shown}");
    }
}

async fn newest_100_are_kept(store: &mut TestStore) {
    let daemon = Daemon::new();
    let id = store.put_one(work(), now(0)).await;
    let mut made = Vec::new();
    for (round, count) in (0..).zip([60, 60]) {
        let leased = daemon.lease_one(&**store, now(round * 10 + 1)).await;
        let follow_ups = (0..count).map(|_| work().queue("next")).collect();
        made.extend(ends(store, &leased, Transition::Snooze { until: at(round * 10 + 5) }, follow_ups, round * 10 + 2).await);
        store.advance(now(round * 10 + 5)).await.unwrap();
    }
    assert_eq!(children(store, id).await, made[made.len() - Extra::CHILDREN_KEPT..]);
}

async fn follow_up_that_was_there_before_is_named_once(store: &mut TestStore) {
    let daemon = Daemon::new();
    let own = |queue: &str| work().queue(queue).id(JobId::mint());
    let (next, other) = (own("bad"), own("next"));
    let there = store.put_one(other.clone().payload("\"another body\""), now(0)).await;
    let id = store.put_one(work().on_failure(next.clone()), now(0)).await;
    for round in 1..=2 {
        let leased = daemon.lease_one(&**store, now(round * 10)).await;
        ends(store, &leased, dead(), vec![other.clone()], round * 10 + 1).await;
        store.redrive(id, &Actor::new("test"), now(round * 10 + 2)).await.unwrap();
    }
    assert_eq!(children(store, id).await, [there, next.id]);
    assert_eq!(made_by(store, id).await, [next.id], "the other was there before");
}

async fn follow_up_whose_key_is_held_is_named_by_the_holder(store: &mut TestStore) {
    let keyed = |queue: &str| work().queue(queue).unique("k", UniqueFor::UntilFinished, OnDuplicate::Reject);
    let beside = store.put_one(keyed("default").delay_ms(60_000), now(0)).await;
    let elsewhere = store.put_one(keyed("next"), now(0)).await;
    let id = store.put_one(work(), now(0)).await;
    let leased = Daemon::new().lease_one(&**store, now(1)).await;
    let asked = ends(store, &leased, Transition::Complete, vec![keyed("default"), keyed("next")], 2).await;
    // In a cluster the other queue may be on another server, and is asked after the end is written.
    let elsewhere = if store.name() == "cluster" { asked[1] } else { elsewhere };
    assert_eq!(children(store, id).await, [beside, elsewhere]);
    assert_eq!(made_by(store, id).await, []);
}

async fn follow_up_may_have_the_key_of_the_job_that_made_it(store: &mut TestStore) {
    let keyed = || work().unique("k", UniqueFor::UntilFinished, OnDuplicate::Return);
    let id = store.put_one(keyed(), now(0)).await;
    let leased = Daemon::new().lease_one(&**store, now(1)).await;
    let made = ends(store, &leased, Transition::Complete, vec![keyed()], 2).await;
    assert_eq!((children(store, id).await, store.state(made[0]).await), (made, State::Queued));
}

async fn meta_keeps_its_bytes_beside_the_children(store: &mut TestStore) {
    let mut odd = work().tags(&["a"]).on_success(work().queue("ok"));
    odd.extra.meta = Some(json(r#"{ "odd" :  [1e400, "\u0041"] }"#));
    let meta = odd.extra.meta.clone();
    let id = store.put_one(odd, now(0)).await;
    let leased = Daemon::new().lease_one(&**store, now(1)).await;
    ends(store, &leased, Transition::Complete, vec![work().queue("next")], 2).await;
    let job = store.job(id).await;
    assert_eq!((job.extra.meta, job.extra.children.len(), job.extra.tags), (meta, 2, vec![name("a")]));
}

async fn replaced_job_keeps_its_children(store: &mut TestStore) {
    let replacing = || work().unique("k", UniqueFor::UntilStarted, OnDuplicate::Replace).tags(&["t"]);
    let id = store.put_one(replacing(), now(0)).await;
    let leased = Daemon::new().lease_one(&**store, now(1)).await;
    let made = ends(store, &leased, dead(), vec![work().queue("next")], 2).await;
    store.redrive(id, &Actor::new("test"), now(3)).await.unwrap();
    let answer = store.enqueue(vec![replacing().payload("2")], now(4)).await.unwrap();
    let job = store.job(id).await;
    assert_eq!((answer[0].id, job.payload, job.extra.children, job.extra.tags), (id, json("2"), made, vec![name("t")]));
}

async fn exported_children_are_imported(store: &mut TestStore) {
    let daemon = Daemon::new();
    let jobs = store.put(vec![work().on_failure(work().queue("bad")), work()], now(0)).await;
    let leased = daemon.lease(&**store, 2, now(1)).await;
    ends(store, &leased[0], dead(), vec![work().queue("next")], 2).await;
    ends(store, &leased[1], retry(500), vec![work().queue("next")], 2).await;
    let target = TestStore::open(store.name()).await;
    let exported = store.export(None, 100).await.unwrap().items;
    let text = serde_json::to_string(&exported).expect("exported jobs are JSON");
    target.import(serde_json::from_str(&text).expect("and come back"), now(10)).await.unwrap();
    for (id, count) in jobs.into_iter().zip([2, 1]) {
        let named = children(store, id).await;
        assert_eq!((named.len(), children(&target, id).await), (count, named));
    }
    target.assert_sound().await;
}

async fn children_stay_in_the_tenant(store: &mut TestStore) {
    let id = store.put_one(work().tenant("acme").on_success(work().queue("ok")), now(0)).await;
    let leased = Daemon::new().lease_one(&**store, now(1)).await;
    ends(store, &leased, Transition::Complete, vec![work().tenant("elsewhere").queue("next")], 2).await;
    let named = children(store, id).await;
    assert_eq!(named.len(), 2);
    for child in named {
        assert_eq!(store.job(child).await.tenant, Some(name("acme")));
    }
}

#[test]
fn producer_cannot_say_which_children_there_are() {
    let child = JobId::mint();
    let text = format!(r#"{{"kind": "k", "payload": 1, "children": ["{child}"]}}"#);
    let refused = NewJob::check(text.as_bytes(), Limits::default()).expect_err("no member of an envelope");
    assert_eq!((refused.pointer.as_str(), refused.code), ("/children", "unknown_member"));
}
