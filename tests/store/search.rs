//! Searching: by ids, times and text, how far one call looks, and cursors that belong to their filter.

use crate::support::{Build as _, Daemon, TestStore, at, json, name, now, on_every_store, work};
use std::collections::BTreeSet;
use uuid::Uuid;
use windlass::{
    job::{ErrorClass, Job, JobError, JobId, NewJob, State, Timestamp, Transition},
    store::{Filter, LOOK, MOST_IDS, Retention, Span, within::Within},
};

on_every_store![
    jobs_are_listed_by_their_ids,
    a_text_is_searched_for_letter_by_letter_in_payloads_alone,
    each_span_begins_with_its_first_instant_and_ends_before_its_last,
    a_span_of_ends_has_no_job_that_has_not_ended,
    jobs_whose_ids_are_ahead_of_their_time_come_last_and_are_not_left_out,
    a_page_looks_at_a_bounded_number_of_rows_and_says_how_far,
    the_few_of_a_state_are_found_at_once_among_many,
    a_filtered_cursor_survives_jobs_that_come_and_go,
    a_cursor_belongs_to_its_filter,
    what_cannot_be_asked_for_is_refused,
    a_tenant_finds_its_own_jobs_and_learns_of_no_others,
    tenants_are_told_with_what_waits_and_what_runs,
];

fn any() -> Filter {
    Filter::default()
}

fn span(from: i64, to: i64) -> Span {
    Span { from: Some(at(from)), to: Some(at(to)) }
}

/// What fits, in pages of three.
async fn found(store: &TestStore, filter: &Filter) -> Vec<JobId> {
    store.all_of(filter, 3).await.iter().map(|job| job.id).collect()
}

/// An id that was minted at an instant.
fn minted(at: Timestamp) -> JobId {
    let time = u128::try_from(at.millis()).expect("after 1970") << 80;
    JobId(Uuid::from_u128(time | (JobId::mint().0.as_u128() & ((1 << 80) - 1))))
}

fn set(ids: &[JobId]) -> BTreeSet<JobId> {
    ids.iter().copied().collect()
}

async fn jobs_are_listed_by_their_ids(store: &mut TestStore) {
    let daemon = Daemon::new();
    let mut put = store.put((0..7).map(|_| work()).collect(), now(0)).await;
    store.complete(&daemon.lease(&**store, 1, now(0)).await, now(1)).await;
    put.reverse();
    let wanted = [put[0], put[2], put[3], put[6], JobId::mint(), put[2]];
    let filter = Filter { ids: wanted.to_vec(), ..any() };
    assert_eq!(found(store, &filter).await, [put[0], put[2], put[3], put[6]], "newest first, each once, the unheard-of left out");
    let page = store.list(&filter, None, 100).await.unwrap();
    assert_eq!((page.items.len(), page.next, page.looked), (4, None, 5));
    assert_eq!(found(store, &Filter { state: Some(State::Completed), ..filter }).await, [put[6]], "the rest of the filter holds too");
}

async fn a_text_is_searched_for_letter_by_letter_in_payloads_alone(store: &mut TestStore) {
    let note = |text: &str| work().payload(&format!(r#"{{"note":"{text}"}}"#));
    let upper = store.put_one(note("Order 50% off_X"), now(0)).await;
    let lower = store.put_one(note("order 500 offaX"), now(0)).await;
    let other = store.put_one(work().tags(&["Order"]).kind("Order"), now(0)).await;
    let having = async |text: &str| found(store, &Filter { text: Some(text.into()), ..any() }).await;
    assert_eq!(having("rder ").await, [lower, upper]);
    assert_eq!(having("Order").await, [upper], "neither another case, nor a tag or a kind");
    assert_eq!(having("50% off_X").await, [upper], "no letter stands for others");
    assert_eq!(having("it's not there").await, []);
    assert_eq!(having("n").await, [other, lower, upper]);
    let both = Filter { text: Some("n".into()), tag: Some(name("Order")), ..any() };
    assert_eq!(found(store, &both).await, [other]);
}

async fn each_span_begins_with_its_first_instant_and_ends_before_its_last(store: &mut TestStore) {
    let daemon = Daemon::new();
    let mut put = Vec::new();
    for second in 0..4 {
        put.push(store.put_one(work().delay_ms(100_000), now(second)).await);
    }
    let fitting = async |filter: Filter| set(&found(store, &filter).await);
    assert_eq!(fitting(Filter { created: span(1, 3), ..any() }).await, set(&put[1..3]));
    assert_eq!(fitting(Filter { created: Span { from: Some(at(2)), to: None }, ..any() }).await, set(&put[2..]));
    assert_eq!(fitting(Filter { created: Span { from: None, to: Some(at(2)) }, ..any() }).await, set(&put[..2]));
    assert_eq!(fitting(Filter { due: span(101, 103), ..any() }).await, set(&put[1..3]));
    assert_eq!(fitting(Filter { due: span(101, 103), created: span(2, 9), ..any() }).await, set(&put[2..3]));
    store.advance(now(200)).await.unwrap();
    for (second, job) in (300..).zip(daemon.lease(&**store, 4, now(200)).await) {
        store.end(&job, Transition::Complete, now(second)).await;
    }
    let ended = fitting(Filter { finished: span(301, 303), ..any() }).await;
    assert_eq!(ended, set(&put[1..3]));
    assert_eq!(fitting(Filter { created: span(1, 3), ..any() }).await, set(&put[1..3]), "also of what ended");
}

async fn a_span_of_ends_has_no_job_that_has_not_ended(store: &mut TestStore) {
    let daemon = Daemon::new();
    store.put((0..5).map(|_| work()).collect(), now(0)).await;
    let leased = daemon.lease(&**store, 3, now(0)).await;
    let error = JobError::new(ErrorClass::Permanent, "bad", "never");
    store.end(&leased[0], Transition::Complete, now(5)).await;
    store.end(&leased[1], Transition::Dead { reason: "rejected", error }, now(6)).await;
    let always = Span { from: Some(at(-1_000_000)), to: None };
    let ended = set(&[leased[0].job.id, leased[1].job.id]);
    assert_eq!(set(&found(store, &Filter { finished: always, ..any() }).await), ended);
    for state in State::ALL {
        let listed = found(store, &Filter { finished: always, state: Some(state), ..any() }).await;
        assert_eq!(listed.len(), usize::from(matches!(state, State::Completed | State::Dead)), "{state}");
    }
}

async fn jobs_whose_ids_are_ahead_of_their_time_come_last_and_are_not_left_out(store: &mut TestStore) {
    let mut put = Vec::new();
    for second in 0..8 {
        // Every third producer's clock is an hour ahead.
        let ahead = if second % 3 == 2 { 3_600 } else { 0 };
        put.push(store.put_one(work().id(minted(at(second + ahead))), now(second)).await);
    }
    let filter = Filter { created: Span { from: None, to: Some(at(7)) }, ..any() };
    assert_eq!(found(store, &filter).await, [put[6], put[4], put[3], put[1], put[0], put[5], put[2]]);
    let first = store.list(&Filter { created: Span { from: None, to: Some(at(2)) }, ..any() }, None, 1).await.unwrap();
    assert_eq!(first.items[0].id, put[1], "the walk begins at the end of the span");
    assert!(first.looked <= 3, "{}", first.looked);
}

async fn a_page_looks_at_a_bounded_number_of_rows_and_says_how_far(store: &mut TestStore) {
    let rare = store.put_one(work().payload(r#"{"needle":1}"#).tags(&["rare"]).kind("rare").queue("default"), now(0)).await;
    for _ in 0..5 {
        store.put((0..5_000).map(|_| work()).collect(), now(0)).await;
    }
    let filters = [
        Filter { text: Some("needle".into()), ..any() },
        Filter { tag: Some(name("rare")), ..any() },
        Filter { kind: Some(name("rare")), state: Some(State::Queued), ..any() },
    ];
    for filter in filters {
        let (mut cursor, mut looked, mut until, mut ids) = (None, 0, None, Vec::new());
        loop {
            let page = store.list(&filter, cursor.as_deref(), 10).await.unwrap();
            assert!(page.looked <= LOOK as u64, "{}", page.looked);
            looked += page.looked;
            ids.extend(page.items.iter().map(|job| job.id));
            let Some(next) = page.next else { break };
            assert!(page.until.is_some() && until.is_none_or(|before| page.until <= before), "{until:?}, then {:?}", page.until);
            (cursor, until) = (Some(next), Some(page.until));
        }
        assert_eq!((ids, looked), (vec![rare], 25_001), "each row was looked at once");
    }
    let page = store.list(&Filter { kind: Some(name("work")), ..any() }, None, 50).await.unwrap();
    assert!(page.items.len() == 50 && page.looked <= 1_000, "what is common is found soon: {}", page.looked);
}

/// Ends a job that somebody cancelled while it waited.
async fn cancelled(store: &TestStore) -> JobId {
    let id = store.put_one(work().delay_ms(9_000), now(0)).await;
    store.cancel(id, "no", &windlass::store::Actor::new("test"), now(0)).await.unwrap();
    id
}

async fn the_few_of_a_state_are_found_at_once_among_many(store: &mut TestStore) {
    let daemon = Daemon::new();
    let running = store.put_one(work(), now(0)).await;
    assert_eq!(daemon.lease_one(&**store, now(0)).await.job.id, running);
    let scheduled = store.put_one(work().delay_ms(9_000), now(0)).await;
    let parked = store.put_one(work().after(&[JobId::mint()]), now(0)).await;
    cancelled(store).await;
    for _ in 0..3 {
        store.put((0..5_000).map(|_| work()).collect(), now(0)).await;
    }
    for (state, id) in [(State::Running, running), (State::Scheduled, scheduled), (State::Parked, parked)] {
        for queue in [None, Some(name("default"))] {
            let page = store.list(&Filter { state: Some(state), queue, ..any() }, None, 50).await.unwrap();
            assert_eq!(page.items.iter().map(|job| job.id).collect::<Vec<_>>(), [id], "{state}");
            // What waits may stand in one place, whatever it waits for.
            assert!(page.looked <= 2 && page.next.is_none(), "{state}: {page:?}");
        }
    }
}

async fn a_filtered_cursor_survives_jobs_that_come_and_go(store: &mut TestStore) {
    let daemon = Daemon::new();
    let stays = |n: i64| work().queue("stays").id(minted(at(n))).delay_ms(900_000);
    let stay: Vec<NewJob> = (0..40).map(stays).collect();
    let stays: BTreeSet<_> = store.put(stay, now(0)).await.into_iter().collect();
    store.put((0..40).map(|n| work().queue("goes").id(minted(at(n)))).collect(), now(0)).await;
    let filters = [
        Filter { state: Some(State::Scheduled), ..any() },
        Filter { created: Span { from: None, to: Some(at(20)) }, ..any() },
        Filter { text: Some("n".into()), due: Span { from: Some(at(0)), to: None }, ..any() },
    ];
    for (round, filter) in filters.iter().enumerate() {
        let (mut seen, mut cursor) = (Vec::<Job>::new(), None);
        for turn in 0.. {
            let page = store.list(filter, cursor.as_deref(), 9).await.unwrap();
            seen.extend(page.items);
            let Some(next) = page.next else { break };
            cursor = Some(next);
            store.put((0..5).map(|n| work().queue("new").id(minted(at(n * 8))).delay_ms(n.unsigned_abs() * 500)).collect(), now(1)).await;
            store.complete(&daemon.lease_from(&**store, "goes", 2, now(1)).await, now(1)).await;
            store.prune(Retention { finished_hours: 0, dead_hours: 0, ..Retention::default() }, 100, now(turn + 7_200)).await.unwrap();
            assert!(turn < 100, "the list has an end");
        }
        let distinct: BTreeSet<_> = seen.iter().map(|job| job.id).collect();
        assert_eq!(distinct.len(), seen.len(), "nothing is shown twice, in round {round}");
        assert!(distinct.is_superset(&stays), "nothing that was there all along is left out, in round {round}");
    }
}

async fn a_cursor_belongs_to_its_filter(store: &mut TestStore) {
    store.put((0..9).map(|_| work().tenant("a")).collect(), now(0)).await;
    let own = Filter { tenant: Some(name("a")), ..any() };
    let cursor = store.list(&own, None, 2).await.unwrap().next.expect("there are more");
    let others = [
        any(),
        Filter { tenant: Some(name("b")), ..any() },
        Filter { state: Some(State::Queued), ..own.clone() },
        Filter { text: Some("n".into()), ..own.clone() },
        Filter { created: span(-5, 5), ..own.clone() },
    ];
    for other in others {
        let error = store.list(&other, Some(&cursor), 2).await.expect_err("it is refused");
        assert!(error.to_string().contains("another list"), "{error}");
    }
    assert_eq!(store.list(&own, Some(&cursor), 100).await.unwrap().items.len(), 7);
    for garbage in ["AAAA", &cursor[1..], &format!("{cursor}A"), &JobId::mint().to_string()] {
        let error = store.list(&own, Some(garbage), 2).await.expect_err("it is refused");
        assert!(error.to_string().contains("cursor"), "{error}");
    }
}

async fn what_cannot_be_asked_for_is_refused(store: &mut TestStore) {
    let ids: Vec<JobId> = (0..=MOST_IDS).map(|_| JobId::mint()).collect();
    let refused = [
        Filter { ids: ids.clone(), ..any() },
        Filter { text: Some(String::new()), ..any() },
        Filter { text: Some("x".repeat(257)), ..any() },
        Filter { text: Some("a\0b".into()), ..any() },
        Filter { created: span(5, 5), ..any() },
        Filter { due: span(6, 5), ..any() },
        Filter { finished: span(6, 5), ..any() },
    ];
    for filter in refused {
        assert!(store.list(&filter, None, 10).await.is_err(), "{filter:?}");
    }
    assert!(store.list(&Filter { ids: ids[1..].to_vec(), ..any() }, None, 10).await.unwrap().items.is_empty());
}

async fn a_tenant_finds_its_own_jobs_and_learns_of_no_others(store: &mut TestStore) {
    let secret = json(r#"{"note":"of b alone"}"#);
    let theirs = store.put((0..30).map(|_| work().tenant("b").payload(secret.as_str())).collect(), now(0)).await;
    let own = store.put_one(work().tenant("a").payload(r#"{"note":"of a"}"#), now(0)).await;
    let nobodys = store.put_one(work().payload(r#"{"note":"of nobody"}"#), now(0)).await;
    let a = name("a");
    let within = Within::new(&**store, Some(&a));
    let ids = Filter { ids: vec![theirs[0], own, nobodys], ..any() };
    let text = Filter { text: Some("note".into()), ..any() };
    let times = Filter { created: span(-5, 5), due: span(-5, 5), ..any() };
    for filter in [ids, text, times, any()] {
        let page = within.list(&filter, None, 100).await.unwrap();
        assert_eq!((page.items.iter().map(|job| job.id).collect::<Vec<_>>(), page.looked), (vec![own], 1), "{filter:?}");
    }
    let named = Filter { tenant: Some(name("b")), ..any() };
    assert!(within.list(&named, None, 100).await.unwrap().items.is_empty());
    let cursor = store.list(&Filter { tenant: Some(name("b")), ..any() }, None, 1).await.unwrap().next.expect("there are more");
    assert!(within.list(&any(), Some(&cursor), 100).await.is_err(), "a cursor of another tenant's list is none");
}

async fn tenants_are_told_with_what_waits_and_what_runs(store: &mut TestStore) {
    let daemon = Daemon::new();
    let told = async |after: Option<&str>, limit| {
        let loads = store.tenants(after, limit).await.unwrap();
        loads.into_iter().map(|load| (load.tenant.map(|name| name.to_string()), load.waiting, load.running)).collect::<Vec<_>>()
    };
    assert_eq!(told(None, 10).await, []);
    for (tenant, jobs) in [("a", 3), ("B", 1), ("c", 2)] {
        store.put((0..jobs).map(|_| work().tenant(tenant).queue("default")).collect(), now(0)).await;
    }
    store.put(vec![work(), work().tenant("d").delay_ms(9_000), work().tenant("c").queue("other")], now(0)).await;
    let some = |name: &str| Some(name.to_owned());
    let all = [(None, 1, 0), (some("B"), 1, 0), (some("a"), 3, 0), (some("c"), 3, 0)];
    assert_eq!(told(None, 10).await, all);
    assert_eq!(
        (told(None, 2).await, told(Some(""), 2).await, told(Some("a"), 2).await),
        (all[..2].to_vec(), all[1..3].to_vec(), all[3..].to_vec())
    );
    let leased = daemon.lease(&**store, 7, now(0)).await;
    assert_eq!(leased.len(), 7);
    assert_eq!(told(None, 10).await, [(None, 0, 1), (some("B"), 0, 1), (some("a"), 0, 3), (some("c"), 1, 2)]);
    store.complete(&leased, now(1)).await;
    assert_eq!(told(None, 10).await, [(some("c"), 1, 0)]);
}
