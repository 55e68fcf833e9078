//! Listing: filters, and cursors that stay true while jobs come, move and go.

use crate::support::{Build as _, Daemon, TestStore, name, now, on_every_store, work};
use std::collections::{BTreeMap, BTreeSet};
use windlass::{
    job::{ErrorClass, JobError, JobId, State, Transition},
    store::{Actor, Filter, Retention},
};

on_every_store![
    newest_id_is_listed_first,
    pages_hold_at_most_their_limit_and_leave_nothing_out,
    filters_select_and_combine,
    every_state_is_listed,
    cursor_survives_jobs_that_come_and_go,
    cursor_survives_jobs_that_change_their_state,
    cursor_that_is_none_is_refused,
    page_beyond_the_end_is_empty,
    rare_matches_are_found_among_many,
    listed_jobs_are_the_jobs,
    queues_count_every_state,
    quarantine_of_a_sound_store_is_empty,
];

async fn newest_id_is_listed_first(store: &mut TestStore) {
    let mut put = store.put((0..10).map(|n| work().priority(n)).collect(), now(0)).await;
    put.reverse();
    assert_eq!(store.all().await.iter().map(|job| job.id).collect::<Vec<_>>(), put);
}

async fn pages_hold_at_most_their_limit_and_leave_nothing_out(store: &mut TestStore) {
    let mut put = store.put((0..23).map(|_| work()).collect(), now(0)).await;
    put.reverse();
    for limit in [1, 2, 7, 22, 23, 24, 1000] {
        let listed: Vec<_> = store.all_of(&Filter::default(), limit).await.iter().map(|job| job.id).collect();
        assert_eq!(listed, put, "in pages of {limit}");
    }
}

async fn filters_select_and_combine(store: &mut TestStore) {
    let mut expected: BTreeMap<&str, BTreeSet<JobId>> = BTreeMap::new();
    for n in 0..24_u8 {
        let (mut job, mut sets) = (work().tags(&["all"]), vec!["tag all"]);
        if n % 2 == 0 {
            (job, sets) = (job.queue("q"), [sets, vec!["queue q"]].concat());
        }
        if n % 3 == 0 {
            (job, sets) = (job.tenant("t"), [sets, vec!["tenant t"]].concat());
        }
        if n % 4 == 0 {
            (job, sets) = (job.kind("other").tags(&["all", "rare"]), [sets, vec!["kind other", "tag rare"]].concat());
        }
        if n % 6 == 0 {
            (job, sets) = (job.delay_ms(1_000), [sets, vec!["scheduled", "queue q and tenant t and scheduled"]].concat());
        }
        let id = store.put_one(job, now(0)).await;
        sets.into_iter().for_each(|set| _ = expected.entry(set).or_default().insert(id));
    }
    let none = Filter::default;
    let filters = [
        ("tag all", Filter { tag: Some(name("all")), ..none() }),
        ("tag rare", Filter { tag: Some(name("rare")), ..none() }),
        ("queue q", Filter { queue: Some(name("q")), ..none() }),
        ("tenant t", Filter { tenant: Some(name("t")), ..none() }),
        ("kind other", Filter { kind: Some(name("other")), ..none() }),
        ("scheduled", Filter { state: Some(State::Scheduled), ..none() }),
        (
            "queue q and tenant t and scheduled",
            Filter { queue: Some(name("q")), tenant: Some(name("t")), state: Some(State::Scheduled), ..none() },
        ),
        ("nothing", Filter { queue: Some(name("q")), state: Some(State::Dead), ..none() }),
        ("nothing", Filter { tag: Some(name("unheard-of")), ..none() }),
    ];
    for (set, filter) in filters {
        let listed: BTreeSet<_> = store.all_of(&filter, 3).await.iter().map(|job| job.id).collect();
        assert_eq!(listed, expected.get(set).cloned().unwrap_or_default(), "{set}");
    }
}

/// One job in each state.
async fn one_of_each(store: &TestStore) -> BTreeMap<State, JobId> {
    let daemon = Daemon::new();
    let mut jobs = BTreeMap::new();
    let error = || JobError::new(ErrorClass::Permanent, "bad", "never");
    let ends = [Transition::Complete, Transition::Cancel { reason: "no".into() }, Transition::Dead { reason: "rejected", error: error() }];
    for end in ends {
        let id = store.put_one(work(), now(0)).await;
        let leased = daemon.lease_one(&**store, now(0)).await;
        jobs.insert(end.to_state(), id);
        store.end(&leased, end, now(1)).await;
    }
    jobs.insert(State::Running, store.put_one(work(), now(1)).await);
    daemon.lease_one(&**store, now(1)).await;
    jobs.insert(State::Scheduled, store.put_one(work().delay_ms(9_000), now(1)).await);
    jobs.insert(State::Parked, store.put_one(work().after(&[JobId::mint()]), now(1)).await);
    jobs.insert(State::Queued, store.put_one(work(), now(1)).await);
    jobs
}

async fn every_state_is_listed(store: &mut TestStore) {
    let jobs = one_of_each(store).await;
    for state in State::ALL {
        let listed = store.all_of(&Filter { state: Some(state), ..Filter::default() }, 10).await;
        assert_eq!(listed.iter().map(|job| (job.id, job.state)).collect::<Vec<_>>(), [(jobs[&state], state)]);
    }
    assert_eq!(store.all().await.len(), 7);
}

async fn cursor_survives_jobs_that_come_and_go(store: &mut TestStore) {
    let daemon = Daemon::new();
    let stays: BTreeSet<_> = store.put((0..40).map(|_| work().queue("stays")).collect(), now(0)).await.into_iter().collect();
    store.put((0..40).map(|_| work().queue("goes")).collect(), now(0)).await;
    let (mut seen, mut cursor) = (Vec::new(), None);
    for round in 0.. {
        let page = store.list(&Filter::default(), cursor.as_deref(), 9).await.unwrap();
        seen.extend(page.items.iter().map(|job| job.id));
        let Some(next) = page.next else { break };
        cursor = Some(next);
        store.put((0..5).map(|_| work().queue("new")).collect(), now(round)).await;
        store.complete(&daemon.lease_from(&**store, "goes", 4, now(round)).await, now(round)).await;
        store.prune(Retention { finished_hours: 0, dead_hours: 0, ..Retention::default() }, 100, now(round + 7_200)).await.unwrap();
        assert!(round < 100, "the list has an end");
    }
    let distinct: BTreeSet<_> = seen.iter().copied().collect();
    assert_eq!(distinct.len(), seen.len(), "nothing is shown twice");
    assert!(distinct.is_superset(&stays), "nothing that was there all along is left out");
}

async fn cursor_survives_jobs_that_change_their_state(store: &mut TestStore) {
    let daemon = Daemon::new();
    let mut put = store.put((0..60).map(|_| work()).collect(), now(0)).await;
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let page = store.list(&Filter::default(), cursor.as_deref(), 7).await.unwrap();
        seen.extend(page.items.iter().map(|job| job.id));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
        let leased = daemon.lease(&**store, 6, now(1)).await;
        for (n, job) in leased.iter().enumerate() {
            let error = JobError::new(ErrorClass::Permanent, "bad", "never");
            let end = if n % 2 == 0 { Transition::Complete } else { Transition::Dead { reason: "rejected", error } };
            store.end(job, end, now(1)).await;
        }
        if let Some(leased) = leased.get(1) {
            store.redrive(leased.job.id, &Actor::new("test"), now(1)).await.unwrap();
        }
    }
    put.reverse();
    assert_eq!(seen, put);
}

async fn cursor_that_is_none_is_refused(store: &mut TestStore) {
    store.put((0..3).map(|_| work()).collect(), now(0)).await;
    for cursor in ["", "x", "%00", "1 OR 1=1"] {
        assert!(store.list(&Filter::default(), Some(cursor), 1).await.is_err(), "{cursor:?}");
        assert!(store.export(Some(cursor), 1).await.is_err(), "{cursor:?}");
    }
}

async fn page_beyond_the_end_is_empty(store: &mut TestStore) {
    let page = store.list(&Filter::default(), None, 10).await.unwrap();
    assert!(page.items.is_empty() && page.next.is_none());
    store.put((0..2).map(|_| work()).collect(), now(0)).await;
    let page = store.list(&Filter::default(), None, 1).await.unwrap();
    let cursor = page.next.expect("there is one more");
    let page = store.list(&Filter::default(), Some(&cursor), 1).await.unwrap();
    assert_eq!(page.items.len(), 1);
    if let Some(cursor) = page.next {
        let page = store.list(&Filter::default(), Some(&cursor), 1).await.unwrap();
        assert!(page.items.is_empty() && page.next.is_none());
    }
}

async fn rare_matches_are_found_among_many(store: &mut TestStore) {
    let rare = store.put_one(work().tags(&["rare"]), now(0)).await;
    for _ in 0..5 {
        store.put((0..5_000).map(|_| work()).collect(), now(0)).await;
    }
    let filter = Filter { tag: Some(name("rare")), ..Filter::default() };
    let listed: Vec<_> = store.all_of(&filter, 10).await.iter().map(|job| job.id).collect();
    assert_eq!(listed, [rare], "however many pages are empty on the way");
}

async fn listed_jobs_are_the_jobs(store: &mut TestStore) {
    let jobs = one_of_each(store).await;
    let listed = store.all().await;
    for id in jobs.values() {
        let shown = listed.iter().find(|job| job.id == *id).expect("it is listed");
        assert_eq!(format!("{shown:?}"), format!("{:?}", store.job(*id).await));
    }
}

async fn queues_count_every_state(store: &mut TestStore) {
    one_of_each(store).await;
    store.put_one(work().queue("b"), now(1)).await;
    let queues = store.queues(now(2)).await.unwrap();
    assert_eq!(queues.iter().map(|status| status.name.as_str()).collect::<Vec<_>>(), ["b", "default"]);
    for state in State::ALL {
        assert_eq!(queues[1].jobs[&state], 1, "{state}");
        assert_eq!(queues[0].jobs.get(&state).copied().unwrap_or(0), u64::from(state == State::Queued), "{state}");
    }
}

async fn quarantine_of_a_sound_store_is_empty(store: &mut TestStore) {
    one_of_each(store).await;
    assert_eq!(store.quarantined(10).await.unwrap(), []);
}
