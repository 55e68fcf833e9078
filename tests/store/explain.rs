//! What holds a job back: each way in which one can be stuck is named first, on every store.

use crate::support::{Build as _, Daemon, LEASE, TestStore, at, ids, name, now, on_every_store, work};
use std::collections::BTreeSet;
use windlass::{
    job::{
        Applied, ErrorClass, HolderId, JobError, JobId, KindSettings, Leased, NewJob, OnDuplicate, OnHead, QueueSettings, QueueWork, Rate,
        Settings, State, Timestamp, Transition, UniqueFor,
        explain::{Explanation, Facts, GateName, explain},
    },
    store::Actor,
};

on_every_store![
    job_whose_time_has_not_come_says_when,
    retrying_job_says_which_attempt_failed,
    job_of_a_paused_queue_says_by_whom_why_and_until_when,
    pause_that_ended_holds_nothing_back,
    job_without_a_live_daemon_says_so,
    job_whose_queue_nobody_works_on_says_so,
    job_whose_kind_no_daemon_knows_says_so,
    job_parked_for_its_unknown_kind_says_so,
    job_with_an_open_parent_names_it,
    job_with_a_dead_parent_names_it,
    job_with_a_missing_parent_names_it,
    job_that_awaits_an_outside_answer_says_so,
    parked_job_says_why_its_worker_parked_it,
    job_of_a_full_queue_says_how_many_run,
    job_of_a_full_tenant_says_so,
    job_of_a_full_key_names_who_holds_it,
    ordered_job_names_whose_turn_it_is,
    job_beyond_the_rate_of_its_queue_says_when_it_opens,
    job_beyond_the_rate_of_its_key_says_when_it_opens,
    job_in_line_says_how_many_are_before_it,
    more_urgent_jobs_are_before_it,
    jobs_of_other_tenants_are_before_it_by_fairness,
    jobs_that_left_the_line_are_not_before_it,
    jobs_that_came_back_are_before_it,
    position_is_exact_to_a_thousand,
    running_job_names_its_holder_and_its_lease,
    running_job_that_is_to_stop_says_why,
    suspect_says_that_it_runs_alone,
    final_job_says_how_it_ended,
    dead_job_names_who_has_its_unique_key,
    job_that_nothing_holds_says_so,
];

fn actor() -> Actor {
    Actor::new("cli:ann")
}

/// A daemon that works on `default` and knows `work`.
fn daemon() -> windlass::job::Daemon {
    windlass::job::Daemon {
        holder: HolderId::mint(),
        node: "box-3".into(),
        pid: 7,
        version: "1".into(),
        started_at: at(0),
        draining: false,
        queues: [(name("default"), QueueWork { slots: 64, running: 0, ended_in_minute: 60 })].into(),
        kinds: [name("work")].into(),
        remote: false,
        token: None,
    }
}

async fn announce(store: &TestStore, daemon: windlass::job::Daemon) {
    store.announce(&daemon, LEASE * 1000, now(0)).await.expect("it is heard");
}

async fn enqueue(store: &TestStore, job: NewJob, second: i64) -> JobId {
    store.enqueue(vec![job], now(second)).await.expect("it is enqueued")[0].id
}

async fn configure(store: &TestStore, queue: QueueSettings) {
    let kinds = [(name("work"), KindSettings::default())].into();
    let settings = Settings { queues: [(name("default"), queue)].into(), kinds, ..Settings::default() };
    store.configure(&settings).await.expect("it is configured");
}

async fn explained(store: &TestStore, id: JobId, second: i64) -> Explanation {
    store.advance(now(second)).await.expect("time passes");
    let job = store.get(id).await.expect("it is read").expect("it is there");
    let standing = store.standing(&job, now(second)).await.expect("it stands somewhere");
    let daemons = store.daemons().await.expect("they are read");
    explain(Facts { job: &job, standing: &standing, daemons: &daemons, changed: None })
}

/// The first closed gate, when it opens and what it says.
async fn held(store: &TestStore, id: JobId, second: i64) -> (Option<GateName>, Option<Timestamp>, String) {
    let explained = explained(store, id, second).await;
    let opens_at = explained.gates.iter().find(|gate| Some(gate.gate) == explained.held_by).and_then(|gate| gate.opens_at);
    (explained.held_by, opens_at, explained.says)
}

async fn settle(store: &TestStore, leased: &Leased, transition: Transition, second: i64) {
    let settlement = windlass::job::Settlement::new(leased.lease, transition, at(second));
    assert_eq!(store.settle(vec![settlement], now(second)).await.expect("it is settled"), [Applied::Applied]);
}

fn failure() -> JobError {
    JobError::new(ErrorClass::Timeout, "timeout", "nobody answered")
}

fn park(reason: &str, token: Option<&str>) -> Transition {
    Transition::Park { reason: reason.into(), until: at(1_000), token: token.map(ToOwned::to_owned), error: None }
}

async fn job_whose_time_has_not_come_says_when(store: &mut TestStore) {
    announce(store, daemon()).await;
    let id = enqueue(store, work().run_at(at(100)), 0).await;
    let (held_by, opens_at, says) = held(store, id, 1).await;
    assert_eq!((held_by, opens_at), (Some(GateName::Due), Some(at(100))), "{says}");
    let explained = explained(store, id, 1).await;
    assert_eq!(explained.starts.map(|starts| starts.from), Some(at(100)));
}

async fn retrying_job_says_which_attempt_failed(store: &mut TestStore) {
    announce(store, daemon()).await;
    let id = enqueue(store, work(), 0).await;
    let leased = Daemon::new().lease_one(&**store, now(1)).await;
    settle(store, &leased, Transition::Retry { at: at(50), error: failure() }, 2).await;
    let (held_by, opens_at, says) = held(store, id, 3).await;
    assert_eq!((held_by, opens_at), (Some(GateName::Due), Some(at(50))), "{says}");
    assert!(says.contains("attempt 1 failed"), "{says}");
}

async fn job_of_a_paused_queue_says_by_whom_why_and_until_when(store: &mut TestStore) {
    announce(store, daemon()).await;
    let id = enqueue(store, work(), 0).await;
    for until in [None, Some(at(500))] {
        store.pause(&name("default"), "the provider is down", until, &actor(), now(1)).await.expect("it is paused");
        let (held_by, opens_at, says) = held(store, id, 2).await;
        assert_eq!((held_by, opens_at), (Some(GateName::Pause), until), "{says}");
        assert!(says.contains("cli:ann") && says.contains("the provider is down"), "{says}");
        assert_eq!(explained(store, id, 2).await.starts.map(|starts| starts.from), until);
    }
}

async fn pause_that_ended_holds_nothing_back(store: &mut TestStore) {
    announce(store, daemon()).await;
    let id = enqueue(store, work(), 0).await;
    store.pause(&name("default"), "lunch", Some(at(10)), &actor(), now(1)).await.expect("it is paused");
    assert!(Daemon::new().lease(&**store, 1, now(9)).await.is_empty(), "it is paused");
    assert_eq!(held(store, id, 10).await.0, None);
    let listed = store.queues(now(10)).await.expect("they are read");
    assert!(listed.iter().all(|queue| queue.paused.is_none()), "{listed:?}");
    assert_eq!(Daemon::new().lease_one(&**store, now(10)).await.job.id, id);
}

async fn job_without_a_live_daemon_says_so(store: &mut TestStore) {
    let id = enqueue(store, work(), 0).await;
    let (held_by, _, says) = held(store, id, 1).await;
    assert_eq!(held_by, Some(GateName::Daemon), "{says}");
    store.announce(&daemon(), LEASE, now(1)).await.expect("it is heard");
    assert_eq!(held(store, id, 2).await.0, None);
    let (held_by, _, says) = held(store, id, 100).await;
    assert_eq!(held_by, Some(GateName::Daemon), "{says}");
    assert!(says.contains("box-3"), "{says}");
}

async fn job_whose_queue_nobody_works_on_says_so(store: &mut TestStore) {
    announce(store, daemon()).await;
    let id = enqueue(store, work().queue("quiet"), 0).await;
    let (held_by, _, says) = held(store, id, 1).await;
    assert_eq!(held_by, Some(GateName::Daemon), "{says}");
    assert!(says.contains("none works on queue quiet"), "{says}");
}

async fn job_whose_kind_no_daemon_knows_says_so(store: &mut TestStore) {
    announce(store, daemon()).await;
    let id = enqueue(store, work().kind("strange"), 0).await;
    let (held_by, _, says) = held(store, id, 1).await;
    assert_eq!(held_by, Some(GateName::Worker), "{says}");
}

async fn job_parked_for_its_unknown_kind_says_so(store: &mut TestStore) {
    announce(store, daemon()).await;
    let id = enqueue(store, work().kind("strange"), 0).await;
    assert!(Daemon::new().lease(&**store, 1, now(1)).await.is_empty(), "nobody knows it");
    let (held_by, _, says) = held(store, id, 2).await;
    assert_eq!(held_by, Some(GateName::UnknownKind), "{says}");
}

async fn job_with_an_open_parent_names_it(store: &mut TestStore) {
    announce(store, daemon()).await;
    let parent = enqueue(store, work(), 0).await;
    let child = enqueue(store, work().after(&[parent]), 0).await;
    let explained = explained(store, child, 1).await;
    assert_eq!(explained.held_by, Some(GateName::Dependency));
    assert_eq!(explained.gates[0].jobs, [parent]);
    assert!(explained.says.contains(&format!("{parent} is queued")), "{}", explained.says);
}

async fn job_with_a_dead_parent_names_it(store: &mut TestStore) {
    announce(store, daemon()).await;
    let parent = enqueue(store, work(), 0).await;
    let child = enqueue(store, work().after(&[parent]), 0).await;
    let leased = Daemon::new().lease_one(&**store, now(1)).await;
    settle(store, &leased, Transition::Dead { reason: "rejected", error: failure() }, 2).await;
    let (held_by, _, says) = held(store, child, 3).await;
    assert_eq!(held_by, Some(GateName::Dependency), "{says}");
    assert!(says.contains(&format!("{parent} is dead")), "{says}");
}

async fn job_with_a_missing_parent_names_it(store: &mut TestStore) {
    announce(store, daemon()).await;
    let nobody = JobId::mint();
    let child = enqueue(store, work().after(&[nobody]), 0).await;
    let (held_by, _, says) = held(store, child, 1).await;
    assert_eq!(held_by, Some(GateName::Dependency), "{says}");
    assert!(says.contains(&format!("{nobody} does not exist")), "{says}");
}

async fn job_that_awaits_an_outside_answer_says_so(store: &mut TestStore) {
    announce(store, daemon()).await;
    let id = enqueue(store, work(), 0).await;
    let leased = Daemon::new().lease_one(&**store, now(1)).await;
    settle(store, &leased, park("postback", Some("tok-1")), 2).await;
    let (held_by, _, says) = held(store, id, 3).await;
    assert_eq!(held_by, Some(GateName::Answer), "{says}");
    assert!(says.contains("postback") && !says.contains("tok-1"), "{says}");
}

async fn parked_job_says_why_its_worker_parked_it(store: &mut TestStore) {
    announce(store, daemon()).await;
    let id = enqueue(store, work(), 0).await;
    let leased = Daemon::new().lease_one(&**store, now(1)).await;
    settle(store, &leased, park("provider_balance", None), 2).await;
    let (held_by, _, says) = held(store, id, 3).await;
    assert_eq!(held_by, Some(GateName::Park), "{says}");
    assert!(says.contains("provider_balance"), "{says}");
}

async fn job_of_a_full_queue_says_how_many_run(store: &mut TestStore) {
    announce(store, daemon()).await;
    configure(store, QueueSettings { concurrency: Some(2), ..QueueSettings::default() }).await;
    for _ in 0..2 {
        enqueue(store, work(), 0).await;
    }
    assert_eq!(Daemon::new().lease(&**store, 5, now(1)).await.len(), 2);
    let id = enqueue(store, work(), 1).await;
    let explained = explained(store, id, 2).await;
    assert_eq!(explained.held_by, Some(GateName::QueueSlots), "{explained:?}");
    let gate = explained.gates.iter().find(|gate| gate.gate == GateName::QueueSlots).expect("it is told of");
    assert_eq!((gate.used, gate.limit), (Some(2), Some(2)));
}

async fn job_of_a_full_tenant_says_so(store: &mut TestStore) {
    announce(store, daemon()).await;
    configure(store, QueueSettings { tenant_concurrency: Some(1), ..QueueSettings::default() }).await;
    let of = |tenant: &str| work().tenant(tenant);
    let runs = enqueue(store, of("acme"), 0).await;
    let waits = enqueue(store, of("acme"), 0).await;
    let other = enqueue(store, of("zeta"), 0).await;
    let mut granted = ids(&Daemon::new().lease(&**store, 5, now(1)).await);
    granted.sort_unstable();
    assert_eq!(granted, [runs, other]);
    let (held_by, _, says) = held(store, waits, 2).await;
    assert_eq!(held_by, Some(GateName::TenantSlots), "{says}");
}

async fn job_of_a_full_key_names_who_holds_it(store: &mut TestStore) {
    announce(store, daemon()).await;
    let first = enqueue(store, work().key("site-1"), 0).await;
    let second = enqueue(store, work().key("site-1"), 0).await;
    let third = enqueue(store, work().key("site-1"), 0).await;
    assert_eq!(Daemon::new().lease(&**store, 5, now(1)).await.len(), 1);
    for waits in [second, third] {
        let explained = explained(store, waits, 2).await;
        assert_eq!(explained.held_by, Some(GateName::KeySlots), "{explained:?}");
        let gate = explained.gates.iter().find(|gate| gate.gate == GateName::KeySlots).expect("it is told of");
        assert_eq!((gate.used, gate.limit, gate.jobs.as_slice()), (Some(1), Some(1), [first].as_slice()));
    }
}

async fn ordered_job_names_whose_turn_it_is(store: &mut TestStore) {
    announce(store, daemon()).await;
    configure(store, QueueSettings { on_head: OnHead::Block, ..QueueSettings::default() }).await;
    let first = enqueue(store, work().ordered("site-1"), 0).await;
    let _second = enqueue(store, work().ordered("site-1"), 0).await;
    let third = enqueue(store, work().ordered("site-1"), 0).await;
    let leased = Daemon::new().lease_one(&**store, now(1)).await;
    settle(store, &leased, Transition::Retry { at: at(50), error: failure() }, 2).await;
    let explained = explained(store, third, 3).await;
    assert_eq!(explained.held_by, Some(GateName::KeyOrder), "{explained:?}");
    assert!(explained.says.contains(&first.to_string()) && explained.says.contains("1 job stands between"), "{}", explained.says);
}

async fn job_beyond_the_rate_of_its_queue_says_when_it_opens(store: &mut TestStore) {
    announce(store, daemon()).await;
    configure(store, QueueSettings { rate: Some(Rate { per_second: 0.1, burst: 1 }), ..QueueSettings::default() }).await;
    let _runs = enqueue(store, work(), 0).await;
    let waits = enqueue(store, work(), 0).await;
    assert_eq!(Daemon::new().lease(&**store, 5, now(1)).await.len(), 1);
    let (held_by, opens_at, says) = held(store, waits, 2).await;
    assert_eq!((held_by, opens_at), (Some(GateName::QueueRate), Some(at(11))), "{says}");
}

async fn job_beyond_the_rate_of_its_key_says_when_it_opens(store: &mut TestStore) {
    announce(store, daemon()).await;
    let rate = Some(Rate { per_second: 0.1, burst: 1 });
    configure(store, QueueSettings { key_rate: rate, key_concurrency: 5, ..QueueSettings::default() }).await;
    let _runs = enqueue(store, work().key("site-1"), 0).await;
    let waits = enqueue(store, work().key("site-1"), 0).await;
    assert_eq!(Daemon::new().lease(&**store, 5, now(1)).await.len(), 1);
    let (held_by, opens_at, says) = held(store, waits, 2).await;
    assert_eq!((held_by, opens_at), (Some(GateName::KeyRate), Some(at(11))), "{says}");
}

async fn before(store: &TestStore, id: JobId, second: i64) -> (u64, u64, u64) {
    let position = explained(store, id, second).await.position.expect("it stands in a line");
    assert_eq!(position.before, position.line + position.urgent + position.others);
    (position.line, position.urgent, position.others)
}

async fn job_in_line_says_how_many_are_before_it(store: &mut TestStore) {
    announce(store, daemon()).await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(enqueue(store, work(), 0).await);
    }
    for (n, id) in ids.iter().enumerate() {
        assert_eq!(before(store, *id, 1).await, (n as u64, 0, 0));
    }
    let (held_by, _, says) = held(store, ids[3], 1).await;
    assert_eq!((held_by, says.as_str()), (Some(GateName::Line), "3 jobs are before it: 3 in its line"));
    assert_eq!(Daemon::new().lease(&**store, 2, now(1)).await.len(), 2);
    assert_eq!(before(store, ids[3], 1).await, (1, 0, 0));
}

async fn more_urgent_jobs_are_before_it(store: &mut TestStore) {
    announce(store, daemon()).await;
    let id = enqueue(store, work(), 0).await;
    for priority in [0, 3, 3, 9] {
        enqueue(store, work().priority(priority), 0).await;
    }
    assert_eq!(before(store, id, 1).await, (0, 3, 0));
}

async fn jobs_of_other_tenants_are_before_it_by_fairness(store: &mut TestStore) {
    announce(store, daemon()).await;
    let of = |tenant: &str| work().tenant(tenant);
    let mut own = Vec::new();
    for tenant in ["acme", "acme", "acme", "zeta", "zeta", "beta"] {
        let id = enqueue(store, of(tenant), 0).await;
        if tenant == "acme" {
            own.push(id);
        }
    }
    // Two of its own, two of zeta's and the one of beta's go before the third; what is granted agrees.
    assert_eq!(before(store, own[2], 1).await, (2, 0, 3));
    let granted = Daemon::new().lease(&**store, 6, now(1)).await;
    assert_eq!(granted.iter().position(|leased| leased.job.id == own[2]), Some(5));
}

async fn jobs_that_left_the_line_are_not_before_it(store: &mut TestStore) {
    announce(store, daemon()).await;
    let (first, second, third) = (enqueue(store, work(), 0).await, enqueue(store, work(), 0).await, enqueue(store, work(), 0).await);
    store.cancel(first, "not needed", &actor(), now(1)).await.expect("it is cancelled");
    assert_eq!(before(store, third, 1).await, (1, 0, 0));
    store.cancel(second, "not needed", &actor(), now(1)).await.expect("it is cancelled");
    assert_eq!(before(store, third, 1).await, (0, 0, 0));
    assert_eq!(held(store, third, 1).await.0, None);
}

async fn jobs_that_came_back_are_before_it(store: &mut TestStore) {
    announce(store, daemon()).await;
    let first = enqueue(store, work(), 0).await;
    let leased = Daemon::new().lease_one(&**store, now(1)).await;
    let second = enqueue(store, work(), 1).await;
    settle(store, &leased, Transition::Release, 2).await;
    assert_eq!(before(store, second, 2).await, (1, 0, 0));
    assert_eq!(before(store, first, 2).await, (0, 0, 0));
}

async fn position_is_exact_to_a_thousand(store: &mut TestStore) {
    announce(store, daemon()).await;
    let ids: Vec<JobId> =
        store.enqueue((0..1002).map(|_| work()).collect(), now(0)).await.expect("they are enqueued").iter().map(|job| job.id).collect();
    assert_eq!(before(store, ids[1000], 1).await, (1000, 0, 0));
    let last = explained(store, ids[1001], 1).await;
    assert!(last.says.starts_with("more than 1,000 jobs are before it"), "{}", last.says);
    assert!(!last.position.expect("it stands in a line").exact);
}

async fn running_job_names_its_holder_and_its_lease(store: &mut TestStore) {
    let daemon = Daemon::new();
    let mut said = self::daemon();
    said.holder = daemon.holder;
    announce(store, said).await;
    let id = enqueue(store, work(), 0).await;
    daemon.lease_one(&**store, now(1)).await;
    let explained = explained(store, id, 2).await;
    assert_eq!((explained.state, explained.held_by), (State::Running, None));
    assert_eq!(explained.gates[0].opens_at, Some(at(1).plus(LEASE)));
    assert!(explained.gates[0].says.contains("box-3"), "{explained:?}");
}

async fn running_job_that_is_to_stop_says_why(store: &mut TestStore) {
    announce(store, daemon()).await;
    let id = enqueue(store, work(), 0).await;
    Daemon::new().lease_one(&**store, now(1)).await;
    store.cancel(id, "the customer left", &actor(), now(2)).await.expect("it is asked to");
    let explained = explained(store, id, 2).await;
    assert!(explained.gates[0].says.contains("the customer left"), "{explained:?}");
}

async fn suspect_says_that_it_runs_alone(store: &mut TestStore) {
    announce(store, daemon()).await;
    let ids = [enqueue(store, work(), 0).await, enqueue(store, work(), 0).await];
    assert_eq!(Daemon::new().lease(&**store, 2, now(1)).await.len(), 2);
    store.crash().await;
    for id in ids {
        let (held_by, _, says) = held(store, id, 2).await;
        assert_eq!(held_by, Some(GateName::Alone), "{says}");
    }
}

async fn final_job_says_how_it_ended(store: &mut TestStore) {
    let id = enqueue(store, work(), 0).await;
    store.cancel(id, "not needed", &actor(), now(1)).await.expect("it is cancelled");
    let (held_by, _, says) = held(store, id, 2).await;
    assert_eq!(held_by, Some(GateName::Final), "{says}");
    assert!(says.contains("cancelled") && says.contains("not needed"), "{says}");
}

async fn dead_job_names_who_has_its_unique_key(store: &mut TestStore) {
    let dead = enqueue(store, work().unique("site-1", UniqueFor::UntilFinished, OnDuplicate::Return), 0).await;
    let leased = Daemon::new().lease_one(&**store, now(1)).await;
    settle(store, &leased, Transition::Dead { reason: "rejected", error: failure() }, 2).await;
    let gates = |explained: Explanation| explained.gates.iter().map(|gate| gate.gate).collect::<BTreeSet<_>>();
    assert_eq!(gates(explained(store, dead, 3).await), [GateName::Final].into());
    let holder = enqueue(store, work().unique("site-1", UniqueFor::UntilFinished, OnDuplicate::Return), 3).await;
    let explained = explained(store, dead, 3).await;
    assert!(explained.says.contains("it gave up"), "{}", explained.says);
    assert_eq!(explained.gates.last().map(|gate| (gate.gate, gate.jobs.clone())), Some((GateName::UniqueKey, vec![holder])));
}

async fn job_that_nothing_holds_says_so(store: &mut TestStore) {
    announce(store, daemon()).await;
    let id = enqueue(store, work(), 0).await;
    let explained = explained(store, id, 1).await;
    assert_eq!(explained.held_by, None, "{explained:?}");
    assert!(explained.says.starts_with("nothing holds it"), "{}", explained.says);
    let starts = explained.starts.expect("it is known");
    assert_eq!((starts.from, starts.to), (at(1), Some(at(2))));
}
