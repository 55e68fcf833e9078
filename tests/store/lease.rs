//! Granting: order, fairness, bounds of one call, pauses, unknown kinds, what a lease says. Gates that limit how much runs
//! are in `limits.rs`.

use crate::support::{Build as _, Daemon, TestStore, at, ids, name, names, now, on_every_store, work};
use futures_util::future::join_all;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use windlass::{
    job::{ErrorClass, JobError, JobId, KindSettings, NewJob, Nonce, OnExpire, QueueSettings, Settlement, State, Transition},
    store::{Actor, LeaseRequest},
};

on_every_store![
    oldest_due_job_is_leased_first,
    position_comes_from_becoming_due_and_not_from_the_id,
    most_urgent_priority_is_leased_first,
    at_most_as_many_as_asked_are_leased,
    several_queues_are_served_in_one_call,
    queue_that_is_not_named_is_not_touched,
    leased_job_carries_what_its_worker_needs,
    job_is_leased_to_one_daemon_only,
    concurrent_lease_calls_share_the_jobs,
    epoch_of_a_job_grows_with_every_lease,
    lost_answer_is_told_again_by_its_nonce,
    nonce_that_granted_nothing_is_answered_with_nothing,
    batch_stops_at_its_bytes_but_grants_at_least_one,
    paused_queue_grants_nothing_until_it_is_resumed,
    job_of_an_unknown_kind_is_parked_and_lets_others_pass,
    unknown_kind_waits_for_somebody_who_knows_it,
    lone_job_is_granted_whole,
    lone_job_of_a_paused_queue_waits,
    lone_job_that_expired_does_not_start,
    lone_job_of_an_unknown_kind_is_parked,
    lone_job_of_a_full_queue_waits,
    lone_job_of_a_full_tenant_waits,
    lone_job_before_another_in_its_line_keeps_its_place,
    unknown_kind_nobody_learns_ends_dead,
    expired_job_is_never_granted,
    expired_job_of_a_kind_that_says_so_is_dead,
    started_job_does_not_expire,
    next_due_names_the_next_instant,
    next_due_is_silent_when_nothing_waits_for_time,
    one_long_line_delays_no_other_tenant,
    each_of_50_newcomers_starts_within_the_next_51_grants,
    tenants_share_in_turn,
    weights_give_shares,
    tenant_that_was_away_is_owed_nothing,
    tenants_of_an_unfair_queue_stand_in_one_line,
    priority_comes_before_fairness,
    jobs_without_a_tenant_are_one_line_among_others,
    cancelled_jobs_leave_no_hole_in_their_line,
    work_that_arrives_is_hinted,
];

async fn oldest_due_job_is_leased_first(store: &mut TestStore) {
    let jobs = store.put((0..20).map(|_| work()).collect(), now(0)).await;
    assert_eq!(store.drain(&Daemon::new(), "default", now(1)).await, jobs);
    let jobs = store.put((0..20).map(|_| work()).collect(), now(2)).await;
    assert_eq!(ids(&Daemon::new().lease(&**store, 20, now(3)).await), jobs, "in one call as in twenty");
}

async fn position_comes_from_becoming_due_and_not_from_the_id(store: &mut TestStore) {
    let (older_id, newer_id) = (JobId::mint(), JobId::mint());
    let scheduled = store.put_one(work().delay_ms(5_000), now(0)).await;
    store.put(vec![work().id(newer_id), work().id(older_id)], now(1)).await;
    store.advance(now(6)).await.unwrap();
    let last = store.put_one(work(), now(6)).await;
    assert_eq!(store.drain(&Daemon::new(), "default", now(6)).await, [newer_id, older_id, scheduled, last]);
}

async fn most_urgent_priority_is_leased_first(store: &mut TestStore) {
    let mut put = Vec::new();
    for priority in [9, 3, 0, 5, 0, 9, 3] {
        put.push((priority, store.put_one(work().priority(priority), now(0)).await));
    }
    put.sort_by_key(|(priority, _)| *priority);
    let expected: Vec<_> = put.into_iter().map(|(_, id)| id).collect();
    assert_eq!(ids(&Daemon::new().lease(&**store, 4, now(1)).await), expected[..4]);
    assert_eq!(ids(&Daemon::new().lease(&**store, 9, now(1)).await), expected[4..]);
}

async fn at_most_as_many_as_asked_are_leased(store: &mut TestStore) {
    let jobs = store.put((0..10).map(|_| work()).collect(), now(0)).await;
    let daemon = Daemon::new();
    assert_eq!(ids(&daemon.lease(&**store, 0, now(1)).await), []);
    assert_eq!(ids(&daemon.lease(&**store, 3, now(1)).await), jobs[..3]);
    assert_eq!(ids(&daemon.lease(&**store, 50, now(1)).await), jobs[3..]);
    let status = store.queue_status("default", now(1)).await;
    assert_eq!((status.jobs[&State::Running], status.jobs[&State::Queued]), (10, 0));
}

async fn several_queues_are_served_in_one_call(store: &mut TestStore) {
    let a = store.put((0..5).map(|_| work().queue("a")).collect(), now(0)).await;
    let b = store.put((0..5).map(|_| work().queue("b")).collect(), now(0)).await;
    let daemon = Daemon::new();
    let queues = vec![(name("a"), 2), (name("empty"), 5), (name("b"), 3)];
    let reply = store.lease(LeaseRequest { queues, ..daemon.request("a", 0) }, now(1)).await.unwrap();
    let got: BTreeSet<_> = ids(&reply.jobs).into_iter().collect();
    assert_eq!(got, a[..2].iter().chain(&b[..3]).copied().collect());
}

async fn queue_that_is_not_named_is_not_touched(store: &mut TestStore) {
    let id = store.put_one(work().queue("quiet").kind("stranger"), now(0)).await;
    assert_eq!(ids(&Daemon::new().lease(&**store, 5, now(1)).await), []);
    assert_eq!(store.state(id).await, State::Queued);
}

async fn leased_job_carries_what_its_worker_needs(store: &mut TestStore) {
    let sent = work()
        .tenant("acme")
        .key("k")
        .max_attempts(4)
        .tags(&["x"])
        .delay_ms(2_000)
        .expires_at(at(90))
        .change(|job| job.timeout_ms = Some(31));
    let id = store.put_one(sent.clone(), now(0)).await;
    let daemon = Daemon::new();
    let request = daemon.request("default", 1);
    let nonce = request.nonce;
    let reply = store.lease(request, now(3)).await.unwrap();
    let leased = &reply.jobs[0];
    assert_eq!((leased.lease.job, leased.lease.nonce, leased.lease.granted_at), (id, nonce, at(3)));
    let job = &leased.job;
    assert_eq!((job.id, &job.kind, &job.queue, &job.tenant), (id, &name("work"), &name("default"), &Some(name("acme"))));
    assert_eq!((job.attempt, job.max_attempts, job.timeout_ms), (1, 4, Some(31)));
    assert_eq!((job.created_at, job.due_at, job.expires_at), (at(0), at(2), Some(at(90))));
    assert_eq!((&job.concurrency_key, &job.payload, &job.checkpoint), (&Some(name("k")), &sent.payload, &None));
    assert_eq!(job.extra.as_deref().map(|extra| &extra.tags), Some(&names(&["x"])));
    let shown = store.job(id).await;
    assert_eq!((shown.state, shown.attempt, shown.holder, shown.started_at), (State::Running, 1, Some(daemon.holder), Some(at(3))));
}

async fn job_is_leased_to_one_daemon_only(store: &mut TestStore) {
    let jobs = store.put(vec![work(), work()], now(0)).await;
    let (one, other) = (Daemon::new(), Daemon::new());
    assert_eq!(ids(&one.lease(&**store, 1, now(1)).await), jobs[..1]);
    assert_eq!(ids(&other.lease(&**store, 5, now(1)).await), jobs[1..]);
    assert_eq!(ids(&one.lease(&**store, 5, now(1)).await), []);
}

async fn concurrent_lease_calls_share_the_jobs(store: &mut TestStore) {
    let jobs: BTreeSet<_> = store.put((0..200).map(|_| work()).collect(), now(0)).await.into_iter().collect();
    let daemons: Vec<_> = (0..10).map(|_| Daemon::new()).collect();
    let shared: &TestStore = store;
    let granted = join_all(daemons.iter().cycle().take(40).map(|daemon| daemon.lease(&**shared, 7, now(1)))).await;
    let mut granted: Vec<_> = granted.iter().flat_map(|jobs| ids(jobs)).collect();
    // A call passes over what another one has just then in hand, so that of calls in the same moment all may come back short.
    for daemon in daemons.iter().cycle().take(40) {
        granted.extend(ids(&daemon.lease(&**shared, 7, now(1)).await));
    }
    assert_eq!(granted.len(), 200);
    assert_eq!(granted.into_iter().collect::<BTreeSet<_>>(), jobs, "each job once");
}

async fn epoch_of_a_job_grows_with_every_lease(store: &mut TestStore) {
    let daemon = Daemon::new();
    store.put_one(work().max_attempts(99), now(0)).await;
    let mut epoch = i64::MIN;
    let error = || JobError::new(ErrorClass::Retry, "x", "x");
    let ends =
        [Transition::Release, Transition::Retry { at: at(0), error: error() }, Transition::Snooze { until: at(0) }, Transition::Release];
    for (n, end) in (1..).zip(ends) {
        let leased = daemon.lease_one(&**store, now(n)).await;
        assert!(leased.lease.epoch > epoch);
        epoch = leased.lease.epoch;
        store.end(&leased, end, now(n)).await;
    }
    let leased = daemon.lease_one(&**store, now(9)).await;
    assert!(leased.lease.epoch > epoch);
    store.end(&leased, Transition::Dead { reason: "rejected", error: error() }, now(9)).await;
    store.redrive(leased.job.id, &Actor::new("test"), now(10)).await.unwrap();
    store.crash().await;
    assert!(daemon.lease_one(&**store, now(11)).await.lease.epoch > leased.lease.epoch, "after a redrive and a restart too");
}

async fn lost_answer_is_told_again_by_its_nonce(store: &mut TestStore) {
    store.put((0..3).map(|_| work().tags(&["t"])).collect(), now(0)).await;
    let daemon = Daemon::new();
    let request = daemon.request("default", 2);
    let nonce = request.nonce;
    let granted = store.lease(request, now(1)).await.unwrap().jobs;
    let told = store.leased_by(nonce).await.unwrap();
    let by_id = |jobs: &[windlass::job::Leased]| {
        jobs.iter().map(|l| (l.lease, format!("{:?}", l.job))).map(|(l, j)| (l.job, (l, j))).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(by_id(&told), by_id(&granted));
    store.complete(&told[..1], now(2)).await;
    let left = store.leased_by(nonce).await.unwrap();
    assert_eq!(ids(&left), [told[1].job.id], "what is settled is leased no more");
    store.reap(now(100)).await.unwrap();
    assert_eq!(ids(&store.leased_by(nonce).await.unwrap()), [], "nor is what was taken back");
}

async fn nonce_that_granted_nothing_is_answered_with_nothing(store: &mut TestStore) {
    let request = Daemon::new().request("default", 2);
    let nonce = request.nonce;
    assert_eq!(store.lease(request, now(1)).await.unwrap().jobs.len(), 0);
    assert_eq!(store.leased_by(nonce).await.unwrap().len(), 0);
    assert_eq!(store.leased_by(Nonce::mint()).await.unwrap().len(), 0);
}

async fn batch_stops_at_its_bytes_but_grants_at_least_one(store: &mut TestStore) {
    let large = format!("\"{}\"", "x".repeat(1000));
    let jobs = store.put((0..6).map(|_| work().payload(&large)).collect(), now(0)).await;
    let daemon = Daemon::new();
    let reply = store.lease(LeaseRequest { max_bytes: 2_500, ..daemon.request("default", 6) }, now(1)).await.unwrap();
    assert!((2..=3).contains(&reply.jobs.len()), "2,500 bytes hold two of 1,002, and the one that reaches over: {}", reply.jobs.len());
    assert!(reply.more, "the caller is told to ask again");
    let next = reply.jobs.len();
    let reply = store.lease(LeaseRequest { max_bytes: 1, ..daemon.request("default", 6) }, now(1)).await.unwrap();
    assert_eq!(ids(&reply.jobs), [jobs[next]]);
}

async fn paused_queue_grants_nothing_until_it_is_resumed(store: &mut TestStore) {
    let daemon = Daemon::new();
    let jobs = store.put(vec![work(), work()], now(0)).await;
    let elsewhere = store.put_one(work().queue("b"), now(0)).await;
    let running = daemon.lease(&**store, 1, now(0)).await;
    store.pause(&name("default"), "upgrade", None, &Actor::new("cli:ann"), now(1)).await.unwrap();
    assert_eq!(ids(&daemon.lease(&**store, 5, now(2)).await), []);
    assert_eq!(ids(&daemon.lease_from(&**store, "b", 5, now(2)).await), [elsewhere]);
    let pause = store.queue_status("default", now(2)).await.paused.expect("the pause is shown");
    assert_eq!((pause.at, pause.by.as_str(), pause.reason.as_str()), (at(1), "cli:ann", "upgrade"));
    store.complete(&running, now(3)).await;
    let late = store.put_one(work(), now(3)).await;
    store.resume(&name("default"), &Actor::new("cli:ann"), now(4)).await.unwrap();
    assert_eq!(store.queue_status("default", now(4)).await.paused, None);
    assert_eq!(ids(&daemon.lease(&**store, 5, now(5)).await), [jobs[1], late]);
}

async fn job_of_an_unknown_kind_is_parked_and_lets_others_pass(store: &mut TestStore) {
    let strange = store.put((0..3).map(|_| work().kind("stranger")).collect(), now(0)).await;
    let known = store.put((0..3).map(|_| work()).collect(), now(0)).await;
    assert_eq!(ids(&Daemon::new().lease(&**store, 3, now(1)).await), known);
    for id in strange {
        let job = store.job(id).await;
        assert_eq!((job.state, job.reason.as_deref(), job.attempt), (State::Parked, Some("unknown_kind"), 0));
    }
}

async fn unknown_kind_waits_for_somebody_who_knows_it(store: &mut TestStore) {
    let strange = store.put_one(work().kind("stranger"), now(0)).await;
    let stranger = store.put_one(work().kind("alien"), now(0)).await;
    Daemon::new().lease(&**store, 5, now(1)).await;
    assert_eq!(store.unpark_kinds(&names(&["work", "stranger"]), now(2)).await.unwrap(), 1);
    assert_eq!(store.states(&[strange, stranger]).await, [State::Queued, State::Parked]);
    assert_eq!(store.unpark_kinds(&names(&["stranger"]), now(2)).await.unwrap(), 0);
    assert_eq!(ids(&Daemon::knowing(&["stranger"]).lease(&**store, 5, now(3)).await), [strange]);
}

/// A daemon that has worked in its queue and waits: what comes next comes alone.
async fn waiting_daemon(store: &TestStore) -> Daemon {
    let daemon = Daemon::new();
    for _ in 0..2 {
        store.put(vec![work(), work().tenant("t")], now(0)).await;
        store.complete(&daemon.lease(&**store, 5, now(0)).await, now(0)).await;
        assert_eq!(ids(&daemon.lease(&**store, 5, now(0)).await), []);
    }
    daemon
}

async fn lone_job_is_granted_whole(store: &mut TestStore) {
    let daemon = waiting_daemon(store).await;
    for (n, job) in
        [work(), work().tenant("t").payload("[1, 2]"), work().kind("other").tags(&["a"]).max_attempts(3)].into_iter().enumerate()
    {
        let at_once = now(10 + i64::try_from(n).unwrap());
        let id = store.put_one(job.clone(), at_once).await;
        let leased = daemon.lease_one(&**store, at_once).await;
        let stored = store.job(id).await;
        assert_eq!((leased.job.id, &leased.job.kind, &leased.job.tenant, &leased.job.payload), (id, &job.kind, &job.tenant, &job.payload));
        assert_eq!((leased.job.attempt, leased.job.max_attempts, leased.job.timeout_ms), (1, stored.max_attempts, stored.timeout_ms));
        assert_eq!(leased.job.extra.clone().map(|extra| extra.tags).unwrap_or_default(), job.extra.tags);
        assert_eq!((stored.state, stored.holder), (State::Running, Some(daemon.holder)));
        assert_eq!(ids(&store.leased_by(leased.lease.nonce).await.unwrap()), [id]);
        store.end(&leased, Transition::Complete, at_once).await;
        assert_eq!(store.state(id).await, State::Completed);
    }
}

async fn lone_job_of_a_paused_queue_waits(store: &mut TestStore) {
    let daemon = waiting_daemon(store).await;
    store.pause(&name("default"), "upgrade", None, &Actor::new("cli:ann"), now(1)).await.unwrap();
    let id = store.put_one(work(), now(2)).await;
    assert_eq!(ids(&daemon.lease(&**store, 5, now(2)).await), []);
    store.resume(&name("default"), &Actor::new("cli:ann"), now(3)).await.unwrap();
    assert_eq!(ids(&daemon.lease(&**store, 5, now(3)).await), [id]);
}

async fn lone_job_that_expired_does_not_start(store: &mut TestStore) {
    let daemon = waiting_daemon(store).await;
    let id = store.put_one(work().expires_at(at(5)), now(2)).await;
    assert_eq!(ids(&daemon.lease(&**store, 5, now(6)).await), []);
    assert_eq!(store.state(id).await, State::Cancelled);
}

async fn lone_job_of_an_unknown_kind_is_parked(store: &mut TestStore) {
    let daemon = waiting_daemon(store).await;
    let id = store.put_one(work().kind("stranger"), now(2)).await;
    assert_eq!(ids(&daemon.lease(&**store, 5, now(2)).await), []);
    assert_eq!(store.state(id).await, State::Parked);
}

async fn lone_job_of_a_full_queue_waits(store: &mut TestStore) {
    store
        .configure_with(|all| _ = all.queues.insert(name("default"), QueueSettings { concurrency: Some(2), ..QueueSettings::default() }))
        .await;
    let daemon = waiting_daemon(store).await;
    let running = [store.put_one(work(), now(1)).await, store.put_one(work(), now(1)).await];
    let first = daemon.lease(&**store, 5, now(1)).await;
    assert_eq!(ids(&first), running);
    let id = store.put_one(work(), now(2)).await;
    assert_eq!(ids(&daemon.lease(&**store, 5, now(2)).await), []);
    store.complete(&first, now(3)).await;
    assert_eq!(ids(&daemon.lease(&**store, 5, now(3)).await), [id]);
}

async fn lone_job_of_a_full_tenant_waits(store: &mut TestStore) {
    let settings = QueueSettings { tenant_concurrency: Some(1), ..QueueSettings::default() };
    store.configure_with(|all| _ = all.queues.insert(name("default"), settings)).await;
    let daemon = waiting_daemon(store).await;
    store.drain(&daemon, "default", now(0)).await;
    store.put_one(work().tenant("t"), now(1)).await;
    let first = daemon.lease_one(&**store, now(1)).await;
    let id = store.put_one(work().tenant("t"), now(2)).await;
    assert_eq!(ids(&daemon.lease(&**store, 5, now(2)).await), []);
    store.complete(&[first], now(3)).await;
    assert_eq!(ids(&daemon.lease(&**store, 5, now(3)).await), [id]);
}

/// It was given back before the other came.
async fn lone_job_before_another_in_its_line_keeps_its_place(store: &mut TestStore) {
    let daemon = waiting_daemon(store).await;
    let first = store.put_one(work(), now(1)).await;
    let held = daemon.lease_one(&**store, now(1)).await;
    store.end(&held, Transition::Release, now(2)).await;
    let second = store.put_one(work(), now(2)).await;
    assert_eq!(ids(&daemon.lease(&**store, 1, now(3)).await), [first]);
    assert_eq!(ids(&daemon.lease(&**store, 1, now(3)).await), [second]);
}

async fn unknown_kind_nobody_learns_ends_dead(store: &mut TestStore) {
    let id = store.put_one(work().kind("stranger"), now(0)).await;
    Daemon::new().lease(&**store, 5, now(1)).await;
    let park_secs = i64::try_from(KindSettings::default().park_for_ms / 1000).unwrap();
    store.advance(now(park_secs)).await.unwrap();
    assert_eq!(store.state(id).await, State::Parked);
    store.advance(now(park_secs + 2)).await.unwrap();
    let job = store.job(id).await;
    assert_eq!((job.state, job.reason.as_deref()), (State::Dead, Some("park_expired")));
}

async fn expired_job_is_never_granted(store: &mut TestStore) {
    let expiring = store.put(vec![work().expires_at(at(5)), work().delay_ms(1_000).expires_at(at(5))], now(0)).await;
    let other = store.put_one(work(), now(0)).await;
    assert_eq!(ids(&Daemon::new().lease(&**store, 5, now(5)).await), [other], "the instant itself is too late");
    store.advance(now(5)).await.unwrap();
    for id in expiring {
        let job = store.job(id).await;
        assert_eq!((job.state, job.reason.as_deref(), job.attempt), (State::Cancelled, Some("expired"), 0));
        assert_eq!(job.finished_at, Some(at(5)));
    }
}

async fn expired_job_of_a_kind_that_says_so_is_dead(store: &mut TestStore) {
    store
        .configure_with(|settings| {
            settings.kinds.insert(name("work"), KindSettings { on_expire: OnExpire::Dead, ..KindSettings::default() });
        })
        .await;
    let id = store.put_one(work().expires_at(at(5)), now(0)).await;
    assert_eq!(store.advance(now(6)).await.unwrap().expired, 1);
    let job = store.job(id).await;
    assert_eq!((job.state, job.reason.as_deref()), (State::Dead, Some("expired")));
}

async fn started_job_does_not_expire(store: &mut TestStore) {
    let daemon = Daemon::new();
    let id = store.put_one(work().expires_at(at(5)), now(0)).await;
    let leased = daemon.lease_one(&**store, now(4)).await;
    store.advance(now(6)).await.unwrap();
    assert_eq!(store.state(id).await, State::Running);
    store.end(&leased, Transition::Retry { at: at(20), error: JobError::new(ErrorClass::Retry, "x", "x") }, now(7)).await;
    store.advance(now(21)).await.unwrap();
    assert_eq!(daemon.lease_one(&**store, now(21)).await.job.id, id, "`expires_at` is about starting, and it started");
}

async fn next_due_names_the_next_instant(store: &mut TestStore) {
    let daemon = Daemon::new();
    store.put(vec![work().delay_ms(9_000), work().delay_ms(4_000)], now(0)).await;
    assert_eq!(daemon.ask(&**store, "default", 1, now(1)).await.next_due, Some(at(4)));
    assert_eq!(store.advance(now(1)).await.unwrap().next_due, Some(at(4)));
    let advanced = store.advance(now(4)).await.unwrap();
    assert_eq!((advanced.due, advanced.next_due), (1, Some(at(9))));
    assert_eq!(store.advance(now(9)).await.unwrap().due, 1);
}

async fn next_due_is_silent_when_nothing_waits_for_time(store: &mut TestStore) {
    assert_eq!(Daemon::new().ask(&**store, "default", 1, now(1)).await.next_due, None);
    store.put_one(work().queue("elsewhere"), now(1)).await;
    assert_eq!(Daemon::new().ask(&**store, "default", 1, now(2)).await.next_due, None);
    assert_eq!(store.advance(now(2)).await.unwrap().next_due, None);
}

/// The tenants of the next `grants` jobs, one lease call and one settlement each.
async fn next_tenants(store: &TestStore, daemon: &Daemon, grants: usize) -> Vec<String> {
    let mut tenants = Vec::new();
    for _ in 0..grants {
        let jobs = daemon.lease(&**store, 1, now(1)).await;
        tenants.extend(jobs.iter().map(|leased| leased.job.tenant.as_ref().map(ToString::to_string).unwrap_or_default()));
        store.complete(&jobs, now(1)).await;
    }
    tenants
}

fn of(tenant: &str, jobs: usize) -> Vec<NewJob> {
    (0..jobs).map(|_| work().tenant(tenant)).collect()
}

async fn one_long_line_delays_no_other_tenant(store: &mut TestStore) {
    store.put(of("long", 500), now(0)).await;
    let daemon = Daemon::new();
    next_tenants(store, &daemon, 100).await;
    store.put(of("short", 1), now(1)).await;
    let next = next_tenants(store, &daemon, 2).await;
    assert!(next.contains(&"short".to_owned()), "{next:?}");
}

async fn each_of_50_newcomers_starts_within_the_next_51_grants(store: &mut TestStore) {
    store.put(of("long", 100_000), now(0)).await;
    let daemon = Daemon::new();
    let running = daemon.lease(&**store, 300, now(1)).await;
    let newcomers: BTreeSet<String> = (0..50).map(|n| format!("t{n}")).collect();
    store.put(newcomers.iter().map(|tenant| work().tenant(tenant)).collect(), now(1)).await;
    let next = daemon.lease(&**store, 51, now(2)).await;
    let served: BTreeSet<String> = next.iter().filter_map(|leased| leased.job.tenant.as_ref()).map(ToString::to_string).collect();
    assert!(newcomers.is_subset(&served), "not served: {:?}", newcomers.difference(&served).collect::<Vec<_>>());
    store.complete(&running, now(3)).await;
}

async fn tenants_share_in_turn(store: &mut TestStore) {
    for tenant in ["a", "b", "c"] {
        store.put(of(tenant, 30), now(0)).await;
    }
    let daemon = Daemon::new();
    let order = next_tenants(store, &daemon, 60).await;
    for window in order.chunks(3) {
        let distinct: BTreeSet<_> = window.iter().collect();
        assert_eq!(distinct.len(), 3, "each three grants serve three tenants: {order:?}");
    }
    let batch = daemon.lease(&**store, 30, now(2)).await;
    let mut shares: BTreeMap<_, u32> = BTreeMap::new();
    for leased in &batch {
        *shares.entry(leased.job.tenant.clone()).or_default() += 1;
    }
    assert!(shares.values().all(|share| *share == 10), "one large batch is shared as well: {shares:?}");
}

async fn weights_give_shares(store: &mut TestStore) {
    store
        .configure_with(|settings| {
            let queue = QueueSettings { tenant_weights: BTreeMap::from([(name("gold"), 3)]), ..QueueSettings::default() };
            settings.queues.insert(name("default"), queue);
        })
        .await;
    store.put(of("gold", 100), now(0)).await;
    store.put(of("iron", 100), now(0)).await;
    let order = next_tenants(store, &Daemon::new(), 40).await;
    let gold = order.iter().filter(|tenant| *tenant == "gold").count();
    assert!((29..=31).contains(&gold), "3 of each 4, give or take one: {gold} of 40");
}

async fn tenant_that_was_away_is_owed_nothing(store: &mut TestStore) {
    let daemon = Daemon::new();
    store.put(of("away", 1), now(0)).await;
    assert_eq!(next_tenants(store, &daemon, 1).await, ["away"]);
    store.put(of("busy", 200), now(0)).await;
    next_tenants(store, &daemon, 100).await;
    store.put(of("away", 50), now(1)).await;
    let order = next_tenants(store, &daemon, 20).await;
    let away = order.iter().filter(|tenant| *tenant == "away").count();
    assert!((9..=11).contains(&away), "half each from now on, nothing in arrears: {order:?}");
}

async fn tenants_of_an_unfair_queue_stand_in_one_line(store: &mut TestStore) {
    store
        .configure_with(|settings| {
            settings.queues.insert(name("default"), QueueSettings { fair: false, ..QueueSettings::default() });
        })
        .await;
    let mut jobs = of("a", 5);
    jobs.extend(of("b", 5));
    jobs.push(work());
    let put = store.put(jobs, now(0)).await;
    assert_eq!(ids(&Daemon::new().lease(&**store, 20, now(1)).await), put);
}

async fn priority_comes_before_fairness(store: &mut TestStore) {
    store.put(of("low", 5).into_iter().map(|job| job.priority(6)).collect(), now(0)).await;
    store.put(of("high", 5).into_iter().map(|job| job.priority(2)).collect(), now(0)).await;
    assert_eq!(next_tenants(store, &Daemon::new(), 6).await, ["high", "high", "high", "high", "high", "low"]);
}

async fn jobs_without_a_tenant_are_one_line_among_others(store: &mut TestStore) {
    store.put((0..50).map(|_| work()).collect(), now(0)).await;
    store.put(of("a", 50), now(0)).await;
    let order = next_tenants(store, &Daemon::new(), 20).await;
    assert_eq!(order.iter().filter(|tenant| *tenant == "a").count(), 10, "{order:?}");
}

async fn cancelled_jobs_leave_no_hole_in_their_line(store: &mut TestStore) {
    let jobs = store.put((0..6).map(|_| work()).collect(), now(0)).await;
    for id in [jobs[0], jobs[3], jobs[5]] {
        store.cancel(id, "no", &Actor::new("test"), now(1)).await.unwrap();
    }
    assert_eq!(ids(&Daemon::new().lease(&**store, 3, now(2)).await), [jobs[1], jobs[2], jobs[4]]);
}

async fn work_that_arrives_is_hinted(store: &mut TestStore) {
    let mut wakes = store.wakes();
    wakes.mark_unchanged();
    store.put_one(work(), now(0)).await;
    tokio::time::timeout(Duration::from_secs(10), wakes.changed()).await.expect("an enqueue is hinted").unwrap();
    let leased = Daemon::new().lease_one(&**store, now(0)).await;
    wakes.mark_unchanged();
    store.settle_one(Settlement::new(leased.lease, Transition::Release, at(0)), now(1)).await;
    tokio::time::timeout(Duration::from_secs(10), wakes.changed()).await.expect("a job handed back is hinted").unwrap();
}
