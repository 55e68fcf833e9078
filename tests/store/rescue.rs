//! Heartbeats, and what becomes of jobs whose holder is gone: expired, said goodbye, or died with its process.

use crate::support::{Build as _, Daemon, LEASE, TestStore, at, ids, json, now, on_every_store, work};
use std::time::Duration;
use windlass::{
    job::{Applied, AttemptOutcome, Lease, Leased, Nonce, State, Transition},
    store::{Actor, Beat, Now, Progress, Reaped},
};

on_every_store![
    heartbeat_renews_every_lease_of_its_holder,
    heartbeat_names_the_leases_that_are_lost,
    heartbeat_names_the_leases_to_cancel,
    heartbeat_names_the_leases_that_its_holder_does_not,
    heartbeat_records_progress_of_live_leases_only,
    expired_lease_is_taken_back_at_its_end_and_not_before,
    lost_job_returns_to_the_head_of_its_line_uncharged,
    one_holder_expires_and_the_other_keeps_its_leases,
    late_settlement_of_a_reaped_job_is_refused,
    expired_holder_casts_no_suspicion,
    cancel_request_outlives_its_holder,
    goodbye_leaves_nothing_to_reap,
    what_a_holder_forgot_when_it_left_is_taken_back_without_suspicion,
    restart_takes_leases_back_at_once,
    restart_refuses_settlements_of_the_former_life,
    restart_keeps_everything_else,
    restart_leaves_remote_workers_what_they_hold,
    suspects_run_one_at_a_time,
    suspects_hold_up_nobody_else,
    suspect_that_ends_is_cleared,
    third_death_of_a_lone_suspect_is_poison,
    death_beside_others_is_not_counted,
    poisoned_job_can_be_redriven,
    reap_is_repeatable,
];

async fn beat(store: &TestStore, daemon: &Daemon, held: &[Leased], now: Now) -> Beat {
    let held = held.iter().map(|leased| leased.lease).collect();
    store.heartbeat(daemon.holder, LEASE, held, Vec::new(), now).await.expect("a heartbeat is taken")
}

async fn heartbeat_renews_every_lease_of_its_holder(store: &mut TestStore) {
    let daemon = Daemon::new();
    store.put((0..3).map(|_| work()).collect(), now(0)).await;
    let mut held = daemon.lease(&**store, 2, now(0)).await;
    held.extend(daemon.lease(&**store, 1, now(10)).await);
    for seconds in [10, 20, 30, 40] {
        let told = beat(store, &daemon, &held, now(seconds)).await;
        assert_eq!((told.lost, told.cancel), (vec![], vec![]));
        assert_eq!(store.reap(now(seconds + 14)).await.unwrap(), Reaped::default());
    }
    assert_eq!(store.reap(now(56)).await.unwrap().requeued, 3);
}

async fn heartbeat_names_the_leases_that_are_lost(store: &mut TestStore) {
    let (gone, quick) = (Daemon::new(), Daemon::new());
    store.put((0..3).map(|_| work()).collect(), now(0)).await;
    let held = gone.lease(&**store, 3, now(0)).await;
    store.reap(now(20)).await.unwrap();
    let taken = quick.lease(&**store, 1, now(21)).await;
    assert_eq!(ids(&taken), ids(&held[..1]));
    let told = beat(store, &gone, &held, now(22)).await;
    assert_eq!(told.lost, held.iter().map(|leased| leased.lease).collect::<Vec<_>>());
    let forged = Lease { nonce: Nonce::mint(), epoch: taken[0].lease.epoch + 7, ..taken[0].lease };
    let told = store.heartbeat(quick.holder, LEASE, vec![taken[0].lease, forged], Vec::new(), now(23)).await.unwrap();
    assert_eq!(told.lost, [forged]);
    store.complete(&taken, now(24)).await;
    assert_eq!(beat(store, &quick, &taken, now(25)).await.lost, [taken[0].lease], "what is settled is held no more");
}

async fn heartbeat_names_the_leases_to_cancel(store: &mut TestStore) {
    let daemon = Daemon::new();
    store.put((0..3).map(|_| work()).collect(), now(0)).await;
    let held = daemon.lease(&**store, 3, now(0)).await;
    let mut cancels = store.cancels();
    cancels.mark_unchanged();
    store.cancel(held[1].job.id, "changed my mind", &Actor::new("test"), now(1)).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), cancels.changed()).await.expect("the request is hinted").unwrap();
    for seconds in [2, 3] {
        let told = beat(store, &daemon, &held, now(seconds)).await;
        assert_eq!((told.lost, told.cancel), (vec![], vec![held[1].lease]), "until it is settled");
    }
}

async fn heartbeat_records_progress_of_live_leases_only(store: &mut TestStore) {
    let daemon = Daemon::new();
    let id = store.put_one(work(), now(0)).await;
    let held = daemon.lease_one(&**store, now(0)).await;
    let report = |lease, value: &str| Progress { lease, value: json(value) };
    let say = |reports| store.heartbeat(daemon.holder, LEASE, vec![held.lease], reports, now(1));
    say(vec![report(held.lease, r#"{"done":1}"#)]).await.unwrap();
    assert_eq!(store.job(id).await.progress, Some(json(r#"{"done":1}"#)));
    let stale = Lease { epoch: held.lease.epoch + 1, ..held.lease };
    say(vec![report(stale, r#"{"done":9}"#)]).await.unwrap();
    assert_eq!(store.job(id).await.progress, Some(json(r#"{"done":1}"#)));
    say(vec![report(held.lease, r#"{"done":2}"#)]).await.unwrap();
    assert_eq!(store.job(id).await.progress, Some(json(r#"{"done":2}"#)));
    store.complete(std::slice::from_ref(&held), now(2)).await;
    assert_eq!(store.job(id).await.progress, None, "progress is of a run, and the run is over");
}

async fn expired_lease_is_taken_back_at_its_end_and_not_before(store: &mut TestStore) {
    store.put_one(work(), now(0)).await;
    Daemon::new().lease_one(&**store, now(0)).await;
    assert_eq!(store.reap(now(14)).await.unwrap(), Reaped::default());
    assert_eq!(store.reap(now(16)).await.unwrap(), Reaped { requeued: 1, suspects: 0, poisoned: 0 });
}

async fn lost_job_returns_to_the_head_of_its_line_uncharged(store: &mut TestStore) {
    let gone = Daemon::new();
    let jobs = store.put((0..5).map(|_| work()).collect(), now(0)).await;
    let held = gone.lease(&**store, 2, now(1)).await;
    store.put_one(work(), now(2)).await;
    store.reap(now(30)).await.unwrap();
    let job = store.job(jobs[0]).await;
    assert_eq!((job.state, job.attempt, job.deaths, job.holder), (State::Queued, 0, 0, None));
    let record = &job.attempts[0];
    assert_eq!((record.outcome, record.number, record.holder), (AttemptOutcome::Lost, 1, gone.holder));
    assert_eq!((record.started_at, record.ended_at), (at(1), at(30)));
    let next = Daemon::new().lease(&**store, 3, now(31)).await;
    assert_eq!(ids(&next), jobs[..3]);
    assert_eq!(next[0].job.attempt, 1, "the same number again");
    assert!(next[0].lease.epoch > held[0].lease.epoch);
}

async fn one_holder_expires_and_the_other_keeps_its_leases(store: &mut TestStore) {
    let (gone, alive) = (Daemon::new(), Daemon::new());
    store.put((0..4).map(|_| work()).collect(), now(0)).await;
    let lost = gone.lease(&**store, 2, now(0)).await;
    let kept = alive.lease(&**store, 2, now(0)).await;
    beat(store, &alive, &kept, now(10)).await;
    assert_eq!(store.reap(now(20)).await.unwrap().requeued, 2);
    assert_eq!(store.states(&ids(&lost)).await, [State::Queued; 2]);
    assert_eq!(store.states(&ids(&kept)).await, [State::Running; 2]);
    store.complete(&kept, now(21)).await;
}

async fn late_settlement_of_a_reaped_job_is_refused(store: &mut TestStore) {
    store.put_one(work(), now(0)).await;
    let late = Daemon::new().lease_one(&**store, now(0)).await;
    store.reap(now(20)).await.unwrap();
    assert_eq!(store.end(&late, Transition::Complete, now(21)).await, Applied::LeaseLost);
    let fresh = Daemon::new().lease_one(&**store, now(22)).await;
    assert_eq!(store.end(&late, Transition::Complete, now(23)).await, Applied::LeaseLost);
    assert_eq!(store.end(&fresh, Transition::Complete, now(23)).await, Applied::Applied);
}

async fn expired_holder_casts_no_suspicion(store: &mut TestStore) {
    let jobs = store.put((0..3).map(|_| work()).collect(), now(0)).await;
    for round in 1..=4 {
        let daemon = Daemon::new();
        assert_eq!(ids(&daemon.lease(&**store, 5, now(round * 100)).await), jobs, "all at once: a pause proves nothing against them");
        assert_eq!(store.reap(now(round * 100 + 50)).await.unwrap(), Reaped { requeued: 3, suspects: 0, poisoned: 0 });
    }
    assert_eq!(store.job(jobs[0]).await.deaths, 0);
}

async fn cancel_request_outlives_its_holder(store: &mut TestStore) {
    let id = store.put_one(work(), now(0)).await;
    Daemon::new().lease_one(&**store, now(0)).await;
    store.cancel(id, "stop it", &Actor::new("test"), now(1)).await.unwrap();
    store.reap(now(20)).await.unwrap();
    assert_eq!(Daemon::new().lease(&**store, 1, now(21)).await.len(), 0, "it must not run again");
    let job = store.job(id).await;
    assert_eq!((job.state, job.reason.as_deref()), (State::Cancelled, Some("stop it")));
}

async fn goodbye_leaves_nothing_to_reap(store: &mut TestStore) {
    let daemon = Daemon::new();
    store.put_one(work(), now(0)).await;
    let held = daemon.lease_one(&**store, now(0)).await;
    store.end(&held, Transition::Release, now(1)).await;
    store.goodbye(daemon.holder).await.unwrap();
    assert_eq!(store.reap(now(100)).await.unwrap(), Reaped::default());
    store.goodbye(daemon.holder).await.unwrap();
}

/// As when the answer of its last lease call was lost.
async fn what_a_holder_forgot_when_it_left_is_taken_back_without_suspicion(store: &mut TestStore) {
    let daemon = Daemon::new();
    let jobs = store.put(vec![work(), work()], now(0)).await;
    daemon.lease(&**store, 2, now(0)).await;
    beat(store, &daemon, &[], now(5)).await;
    store.goodbye(daemon.holder).await.unwrap();
    assert_eq!(store.reap(now(14)).await.unwrap(), Reaped::default(), "its lease lasts");
    assert_eq!(store.reap(now(16)).await.unwrap(), Reaped { requeued: 2, suspects: 0, poisoned: 0 });
    assert_eq!(ids(&Daemon::new().lease(&**store, 2, now(17)).await), jobs);
}

async fn restart_takes_leases_back_at_once(store: &mut TestStore) {
    let jobs = store.put(vec![work()], now(0)).await;
    let held = Daemon::new().lease_one(&**store, now(1)).await;
    store.crash().await;
    let job = store.job(jobs[0]).await;
    assert_eq!((job.state, job.attempt, job.deaths), (State::Queued, 0, 0));
    assert_eq!(job.attempts[0].outcome, AttemptOutcome::Lost);
    let next = Daemon::new().lease_one(&**store, now(1)).await;
    assert_eq!((next.job.id, next.job.attempt), (jobs[0], 1), "no lease time is waited for");
    assert!(next.lease.epoch > held.lease.epoch);
}

async fn restart_refuses_settlements_of_the_former_life(store: &mut TestStore) {
    let id = store.put_one(work(), now(0)).await;
    let held = Daemon::new().lease_one(&**store, now(1)).await;
    store.crash().await;
    assert_eq!(store.end(&held, Transition::Complete, now(2)).await, Applied::LeaseLost);
    assert_eq!(store.state(id).await, State::Queued);
}

async fn restart_leaves_remote_workers_what_they_hold(store: &mut TestStore) {
    let (own, remote) = (Daemon::new(), Daemon::new());
    let ids_put = store.put((0..3).map(|_| work()).collect(), now(0)).await;
    let announced = windlass::job::Daemon {
        holder: remote.holder,
        node: "elsewhere".into(),
        pid: 0,
        version: "remote".into(),
        started_at: at(0),
        draining: false,
        queues: Default::default(),
        kinds: Default::default(),
        remote: true,
        token: None,
    };
    store.announce(&announced, LEASE, now(1)).await.unwrap();
    let held = remote.lease(&**store, 2, now(1)).await;
    own.lease_one(&**store, now(1)).await;
    store.crash().await;
    let states = store.states(&ids_put).await;
    assert_eq!(states, [State::Running, State::Running, State::Queued], "only the daemon's own died with it");
    assert_eq!(beat(store, &remote, &held, now(5)).await.lost, [], "it beats on");
    store.complete(&held[..1], now(6)).await;
    assert_eq!(store.reap(now(19)).await.unwrap(), Reaped::default());
    let reaped = store.reap(now(21)).await.unwrap();
    assert_eq!((reaped.requeued, reaped.suspects), (1, 0), "it fell silent, which speaks against no job");
}

async fn restart_keeps_everything_else(store: &mut TestStore) {
    let daemon = Daemon::new();
    let done = store.put_one(work(), now(0)).await;
    store.complete(&daemon.lease(&**store, 1, now(0)).await, now(0)).await;
    let waiting = store.put(vec![work(), work().delay_ms(9_000), work().after(&[windlass::job::JobId::mint()])], now(0)).await;
    let keyed = store.put_one(work().idempotent("i").queue("b"), now(0)).await;
    let before = format!("{:?}", store.all().await);
    store.crash().await;
    assert_eq!(format!("{:?}", store.all().await), before);
    assert_eq!(store.states(&waiting).await, [State::Queued, State::Scheduled, State::Parked]);
    assert_eq!(store.state(done).await, State::Completed);
    let again = store.enqueue(vec![work().idempotent("i").queue("b")], now(1)).await.unwrap();
    assert_eq!((again[0].id, again[0].duplicate), (keyed, true));
}

/// Leases what there is, then the process dies.
async fn die_holding(store: &mut TestStore, daemon: &Daemon, most: usize) -> Vec<Leased> {
    let held = daemon.lease(&**store, most, now(1)).await;
    store.crash().await;
    held
}

async fn suspects_run_one_at_a_time(store: &mut TestStore) {
    let jobs = store.put((0..3).map(|_| work()).collect(), now(0)).await;
    assert_eq!(die_holding(store, &Daemon::new(), 3).await.len(), 3);
    let daemon = Daemon::new();
    for id in jobs {
        let alone = daemon.lease(&**store, 5, now(2)).await;
        assert_eq!(ids(&alone), [id]);
        assert_eq!(daemon.lease(&**store, 5, now(2)).await.len(), 0, "the others wait for it");
        store.complete(&alone, now(3)).await;
    }
}

async fn suspects_hold_up_nobody_else(store: &mut TestStore) {
    let jobs = store.put((0..3).map(|_| work()).collect(), now(0)).await;
    die_holding(store, &Daemon::new(), 3).await;
    let fresh = store.put((0..3).map(|_| work()).collect(), now(2)).await;
    let running = ids(&Daemon::new().lease(&**store, 9, now(2)).await);
    assert_eq!(running.iter().filter(|id| jobs.contains(id)).count(), 1, "one suspect");
    assert!(fresh.iter().all(|id| running.contains(id)), "and all of the others");
    assert_eq!(ids(&Daemon::new().lease(&**store, 9, now(2)).await), jobs[1..2], "another daemon takes one suspect of its own");
}

async fn suspect_that_ends_is_cleared(store: &mut TestStore) {
    let daemon = Daemon::new();
    store.put((0..2).map(|_| work().max_attempts(9)).collect(), now(0)).await;
    die_holding(store, &daemon, 2).await;
    for _ in 0..2 {
        let alone = daemon.lease_one(&**store, now(2)).await;
        let retry = Transition::Retry {
            at: at(10),
            error: windlass::job::JobError::new(windlass::job::ErrorClass::Retry, "x", "it failed, and the process lives"),
        };
        store.end(&alone, retry, now(3)).await;
    }
    assert_eq!(daemon.lease(&**store, 5, now(10)).await.len(), 2, "both run side by side again");
}

async fn third_death_of_a_lone_suspect_is_poison(store: &mut TestStore) {
    let id = store.put_one(work(), now(0)).await;
    die_holding(store, &Daemon::new(), 1).await;
    for deaths in 0..3 {
        let job = store.job(id).await;
        assert_eq!((job.state, job.deaths, job.attempt), (State::Queued, deaths, 0));
        die_holding(store, &Daemon::new(), 1).await;
    }
    let job = store.job(id).await;
    assert_eq!((job.state, job.reason.as_deref(), job.deaths), (State::Dead, Some("poison"), 3));
    assert_eq!(job.attempts.iter().filter(|attempt| attempt.outcome == AttemptOutcome::Lost).count(), 4);
}

async fn death_beside_others_is_not_counted(store: &mut TestStore) {
    let daemon = Daemon::new();
    for _ in 0..5 {
        store.put((0..2).map(|_| work().queue("fresh")).collect(), now(0)).await;
        daemon.lease_from(&**store, "fresh", 2, now(1)).await;
        store.crash().await;
        let deaths: u32 = store.all().await.iter().map(|job| job.deaths).sum();
        assert_eq!(deaths, 0, "nobody knows which of them it was");
        while let [alone] = daemon.lease_from(&**store, "fresh", 1, now(2)).await.as_slice() {
            store.complete(std::slice::from_ref(alone), now(2)).await;
        }
    }
}

async fn poisoned_job_can_be_redriven(store: &mut TestStore) {
    let id = store.put_one(work(), now(0)).await;
    for _ in 0..4 {
        die_holding(store, &Daemon::new(), 1).await;
    }
    assert_eq!(store.state(id).await, State::Dead);
    store.redrive(id, &Actor::new("test"), now(2)).await.unwrap();
    assert_eq!(store.job(id).await.deaths, 0, "a redriven job starts anew");
    store.complete(&die_free(store).await, now(3)).await;
    assert_eq!(store.state(id).await, State::Completed);
}

async fn die_free(store: &TestStore) -> Vec<Leased> {
    Daemon::new().lease(&**store, 1, now(3)).await
}

async fn reap_is_repeatable(store: &mut TestStore) {
    store.put((0..2_500).map(|_| work()).collect(), now(0)).await;
    Daemon::new().lease(&**store, 2_500, now(0)).await;
    let mut requeued = 0;
    while let Reaped { requeued: some @ 1.., .. } = store.reap(now(20)).await.unwrap() {
        requeued += some;
    }
    assert_eq!(requeued, 2_500);
    assert_eq!(store.queue_status("default", now(20)).await.jobs[&State::Queued], 2_500);
}

async fn heartbeat_names_the_leases_that_its_holder_does_not(store: &mut TestStore) {
    store.put(vec![work(), work(), work()], now(0)).await;
    let daemon = Daemon::new();
    let leased = daemon.lease(&**store, 3, now(1)).await;
    assert_eq!(beat(store, &daemon, &leased, now(2)).await.strays, []);
    let strays = beat(store, &daemon, &leased[..2], now(3)).await.strays;
    assert_eq!(strays, [leased[2].lease], "with all that a settlement must show");
}
