//! The scheduler over a real store file: a year of wakes by one daemon or two at once, with the file closed and opened
//! again in between. At the end the store's own history is held against the oracle.

use super::{
    brute_force::Clocks,
    opened,
    oracle::{year_of, zone},
    schedule,
};
use chrono::{DateTime, Utc};
use serde_json::json;
use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::Arc,
};
use tokio_util::sync::CancellationToken;
use windlass::{
    engine::scheduler::Scheduler,
    job::{
        JobId, Name, Timestamp,
        schedule::{Fate, Missed},
    },
    store::{Filter, Store, sqlite::SqliteStore},
    telemetry::Metrics,
};

/// Dense and rare, fixed and wildcard, at the hours when clocks are changed.
const EXPRESSIONS: [(&str, Missed); 6] = [
    ("*/20 * * * *", Missed::Once),
    ("30 * * * *", Missed::All { n: 4 }),
    ("0,30 1-2 * * *", Missed::All { n: 1000 }),
    ("15 2 * * *", Missed::Skip),
    ("*/15 1 * * SUN", Missed::All { n: 1000 }),
    ("0 0 L * *", Missed::Once),
];
const ZONES: [&str; 3] = ["UTC", "America/New_York", "Australia/Lord_Howe"];

fn scheduler(store: &Arc<SqliteStore>) -> Scheduler {
    let store: Arc<dyn Store> = store.clone();
    Scheduler::new(store, Metrics::new(), CancellationToken::new())
}

fn everything() -> impl Iterator<Item = (Name, &'static str, &'static str, Missed)> {
    ZONES.into_iter().enumerate().flat_map(|(z, tz)| {
        let named = move |(e, (cron, missed))| (Name::new(&format!("zone{z}.rule{e}")).unwrap(), tz, cron, missed);
        EXPRESSIONS.into_iter().enumerate().map(named)
    })
}

/// Lives through the year in looks some hours apart; every fifth of them is made by two daemons at the same time.
async fn live(file: &Path, (begin, end): (DateTime<Utc>, DateTime<Utc>)) {
    let mut now = Timestamp::from_utc(begin);
    let mut store = opened(file);
    for (name, tz, cron, missed) in everything() {
        let schedule = schedule(&name, &json!({"cron": cron, "tz": tz}), missed);
        store.put_schedule(&schedule, &crate::support::operator(), Some(now)).await.unwrap();
    }
    let (mut one, mut other) = (scheduler(&store), scheduler(&store));
    let end = Timestamp::from_utc(end);
    for look in 0_u64.. {
        // From minutes to two days, with no rhythm that any rule shares.
        now = now.plus_ms((look * look * 7_919 + look * 104_729) % 172_800 * 100 + if look % 11 == 0 { 172_800_000 } else { 0 }).min(end);
        if look % 5 == 0 {
            let (by_one, by_other) = tokio::join!(one.tick(Some(now)), other.tick(Some(now)));
            by_one.and(by_other).unwrap();
        } else {
            one.tick(Some(now)).await.unwrap();
        }
        if look % 40 == 0 {
            store.close().await;
            drop((one, other, store));
            store = opened(file);
            (one, other) = (scheduler(&store), scheduler(&store));
        }
        if now == end {
            return;
        }
    }
}

/// Every job in the store, by the occurrence that it says it is of.
async fn jobs_by_occurrence(store: &dyn Store) -> HashMap<(Name, Timestamp), JobId> {
    let mut jobs = HashMap::new();
    let mut cursor: Option<String> = None;
    loop {
        let page = store.list(&Filter::default(), cursor.as_deref(), 1000).await.unwrap();
        for job in page.items {
            let occurrence = job.extra.schedule.expect("every job here is a schedule's");
            assert_eq!(jobs.insert(occurrence.clone(), job.id), None, "two jobs for {occurrence:?}");
        }
        match page.next {
            Some(next) => cursor = Some(next),
            None => return jobs,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_year_on_disk_with_restarts_and_two_daemons_misses_nothing_and_doubles_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("year.db");
    let year = year_of(2026);
    live(&file, year).await;

    let store = opened(&file);
    let mut jobs = jobs_by_occurrence(&*store).await;
    let all_jobs = jobs.len();
    let clocks: BTreeMap<_, _> = ZONES.map(|tz| (tz, Clocks::between(zone(tz), year.0, year.1, 60))).into();
    let mut skipped = 0;
    for (name, tz, cron, _) in everything() {
        let mut expected = clocks[tz].due(cron).into_iter().map(Timestamp::from_utc);
        for occurrence in store.occurrences(&name, 100_000).await.unwrap() {
            assert_eq!(expected.next(), Some(occurrence.due), "{name}: `{cron}` in {tz}");
            match occurrence.fate {
                Fate::Job { id } => assert_eq!(jobs.remove(&(name.clone(), occurrence.due)), Some(id)),
                Fate::Skipped { through, count, .. } => {
                    let last = if count > 1 { expected.nth(count as usize - 2) } else { Some(occurrence.due) };
                    assert_eq!(last, Some(through), "{name}: a run of {count} from {}", occurrence.due);
                    skipped += count;
                }
            }
        }
        assert_eq!(expected.next(), None, "{name}: `{cron}` in {tz} was forgotten");
    }
    assert!(jobs.is_empty(), "jobs without an occurrence: {jobs:?}");
    assert!(all_jobs > 1000 && skipped > 10_000, "too little happened: {all_jobs} jobs, {skipped} skips");
}
