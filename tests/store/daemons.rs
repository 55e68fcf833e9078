//! What daemons say of themselves, as a store keeps it.

use crate::support::{LEASE, TestStore, at, name, on_every_store};
use std::time::Duration;
use windlass::job::{Daemon, HolderId, QueueWork};

on_every_store![
    daemon_is_listed_as_it_last_said_it_is,
    daemons_are_listed_oldest_first,
    daemon_that_fell_silent_is_told_of_for_an_hour,
    daemon_that_says_goodbye_is_listed_no_more,
];

fn daemon(slots: usize) -> Daemon {
    Daemon {
        holder: HolderId::mint(),
        node: "a-machine".into(),
        pid: 7,
        version: "1.2.3".into(),
        started_at: at(0),
        draining: false,
        queues: [(name("ai"), QueueWork { slots, running: 1, ended_in_minute: 12 })].into(),
        kinds: [name("extract")].into(),
        remote: false,
        token: None,
    }
}

async fn listed(store: &TestStore) -> Vec<HolderId> {
    store.daemons().await.expect("they are read").into_iter().map(|seen| seen.daemon.holder).collect()
}

async fn daemon_is_listed_as_it_last_said_it_is(store: &mut TestStore) {
    let mut said = daemon(4);
    for slots in [4, 8] {
        said.queues.insert(name("ai"), QueueWork { slots, ..QueueWork::default() });
        store.announce(&said, LEASE, Some(at(slots as i64))).await.expect("it is heard");
    }
    let seen = store.daemons().await.expect("they are read");
    let [seen] = seen.as_slice() else { panic!("one daemon was expected, not {seen:?}") };
    assert_eq!((&seen.daemon, seen.seen_at, seen.until), (&said, at(8), at(8).plus(LEASE)));
    assert!(seen.is_live(at(20)) && !seen.is_live(at(23)));
    assert!(seen.works_on(&name("ai")) && !seen.works_on(&name("serp")));
}

async fn daemons_are_listed_oldest_first(store: &mut TestStore) {
    let (first, second) = (daemon(1), daemon(1));
    for said in [&second, &first] {
        store.announce(said, LEASE, Some(at(0))).await.expect("it is heard");
    }
    assert_eq!(listed(store).await, [first.holder, second.holder]);
}

async fn daemon_that_fell_silent_is_told_of_for_an_hour(store: &mut TestStore) {
    let (silent, other) = (daemon(1), daemon(1));
    store.announce(&silent, LEASE, Some(at(0))).await.expect("it is heard");
    let gone = at(0).plus(LEASE + Duration::from_secs(3600));
    store.announce(&other, LEASE, Some(gone)).await.expect("it is heard");
    assert_eq!(listed(store).await, [silent.holder, other.holder]);
    store.announce(&other, LEASE, Some(gone.plus_ms(1))).await.expect("it is heard");
    assert_eq!(listed(store).await, [other.holder]);
}

async fn daemon_that_says_goodbye_is_listed_no_more(store: &mut TestStore) {
    let (leaving, staying) = (daemon(1), daemon(1));
    for said in [&leaving, &staying] {
        store.announce(said, LEASE, Some(at(0))).await.expect("it is heard");
    }
    store.goodbye(leaving.holder).await.expect("it is heard");
    assert_eq!(listed(store).await, [staying.holder]);
}
