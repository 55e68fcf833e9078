//! The scheduler's loop and its ticks, over a real store file.

use super::{opened, schedule};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;
use windlass::{
    engine::scheduler::{Scheduler, Tick},
    job::{
        Name, Timestamp,
        schedule::{Fate, Missed, Occurrence, Schedule, SkipReason},
    },
    store::{Actor, Filter, Store, sqlite::SqliteStore},
    telemetry::Metrics,
};

const BEGUN: Timestamp = Timestamp::from_secs(1_893_456_000);

fn after(seconds: u64) -> Timestamp {
    BEGUN.plus_ms(seconds * 1000)
}

struct Room {
    _folder: tempfile::TempDir,
    store: Arc<SqliteStore>,
    metrics: Metrics,
    scheduler: Scheduler,
}

impl Room {
    /// A fresh store that was given `schedules` at [`BEGUN`].
    async fn with(schedules: &[Schedule]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (store, metrics) = (opened(&folder.path().join("schedules.db")), Metrics::new());
        for schedule in schedules {
            store.put_schedule(schedule, &crate::support::operator(), Some(BEGUN)).await.unwrap();
        }
        let scheduler = Scheduler::new(store.clone(), metrics.clone(), CancellationToken::new());
        Self { _folder: folder, store, metrics, scheduler }
    }

    async fn tick(&mut self, seconds: u64) -> Tick {
        self.scheduler.tick(Some(after(seconds))).await.unwrap()
    }

    async fn occurrences(&self, name: &'static str) -> Vec<Occurrence> {
        self.store.occurrences(&Name::literal(name), 100_000).await.unwrap()
    }

    /// The due instants that got a job, in seconds after the beginning.
    async fn fired(&self, name: &'static str) -> Vec<u64> {
        let jobs = self.occurrences(name).await.into_iter().filter(|occurrence| matches!(occurrence.fate, Fate::Job { .. }));
        jobs.map(|occurrence| occurrence.due.since(BEGUN).as_secs()).collect()
    }

    fn counted(&self, result: &str) -> u64 {
        self.metrics.schedule_occurrences.with_label_values(&[result]).get()
    }
}

fn skipped(from: u64, through: u64, reason: SkipReason) -> Occurrence {
    Occurrence { due: after(from), fate: Fate::Skipped { reason, through: after(through), count: through - from + 1 } }
}

fn every(name: &str, seconds: u64, missed: Missed) -> Schedule {
    schedule(name, &json!({"every_ms": seconds * 1000}), missed)
}

#[tokio::test]
async fn a_tick_fires_what_is_due_and_tells_when_to_come_again() {
    let mut room = Room::with(&[every("minutely", 60, Missed::Once), every("hourly", 3600, Missed::Once)]).await;
    assert_eq!(room.tick(59).await, Tick { next_due: Some(after(60)), more: false });
    assert_eq!(room.tick(60).await, Tick { next_due: Some(after(120)), more: false });
    assert_eq!(room.tick(60).await, Tick { next_due: Some(after(120)), more: false });
    assert_eq!(room.tick(3600).await, Tick { next_due: Some(after(3660)), more: false });
    assert_eq!(room.fired("minutely").await, [60, 3600]);
    assert_eq!(room.fired("hourly").await, [3600]);
    assert_eq!((room.counted("job"), room.counted("missed")), (3, 58));
    assert_eq!(room.metrics.scheduler_last_tick.with_label_values::<&str>(&[]).get(), 1_893_459_600.0);
    let jobs = room.store.list(&Filter::default(), None, 10).await.unwrap().items;
    assert_eq!(jobs.len(), 3);
    assert!(jobs.iter().all(|job| job.extra.event_time == job.extra.schedule.as_ref().map(|(_, due)| *due)));
}

#[tokio::test]
async fn a_broken_schedule_stops_no_other_and_is_reported_once() {
    let broken = [
        schedule("bad-zone", &json!({"cron": "* * * * *", "tz": "Mars/Olympus"}), Missed::Once),
        schedule("bad-rule", &json!({"cron": "0 0 30 2 *"}), Missed::Once),
    ];
    let mut bad_job = every("bad-job", 60, Missed::Once);
    bad_job.job.priority = Some(99);
    let mut room = Room::with(&[broken[0].clone(), broken[1].clone(), bad_job, every("sound", 60, Missed::Once)]).await;
    for minute in 1..=3 {
        room.tick(minute * 60).await;
    }
    assert_eq!(room.fired("sound").await, [60, 120, 180]);
    assert_eq!(room.counted("broken"), 3);

    let mended = schedule("bad-zone", &json!({"cron": "* * * * *", "tz": "Europe/Berlin"}), Missed::Once);
    room.store.put_schedule(&mended, &crate::support::operator(), Some(after(190))).await.unwrap();
    room.tick(240).await;
    assert_eq!(room.fired("bad-zone").await, [240]);
}

#[tokio::test]
async fn a_backlog_beyond_one_step_is_worked_off_tick_by_tick() {
    let mut room = Room::with(&[every("secondly", 1, Missed::Once)]).await;
    let outage = 25_000;
    let mut ticks = 1;
    while room.tick(outage).await.more {
        ticks += 1;
    }
    assert_eq!(ticks, 3);
    let missed = |from, through| skipped(from, through, SkipReason::Missed);
    let runs = [missed(1, 10_000), missed(10_001, 20_000), missed(20_001, outage - 1)];
    let (told, newest) = (room.occurrences("secondly").await, room.fired("secondly").await);
    assert_eq!(told[..3], runs, "three records, not twenty-five thousand");
    assert_eq!((told.len(), newest), (4, vec![outage]));
}

#[tokio::test]
async fn a_paused_schedule_records_its_skips_and_goes_on_when_resumed() {
    let mut room = Room::with(&[every("secondly", 1, Missed::All { n: 10 })]).await;
    let name = Name::literal("secondly");
    room.tick(1).await;
    room.store.pause_schedule(&name, true, &Actor::new("test")).await.unwrap();
    room.tick(4).await;
    room.store.pause_schedule(&name, false, &Actor::new("test")).await.unwrap();
    room.tick(6).await;
    assert_eq!(room.fired("secondly").await, [1, 5, 6]);
    assert_eq!(room.occurrences("secondly").await[1], skipped(2, 4, SkipReason::Paused));
    assert_eq!(room.counted("paused"), 3);
}

#[tokio::test]
async fn an_occurrence_whose_unique_key_is_held_is_recorded_as_a_duplicate() {
    for on_duplicate in ["return", "reject"] {
        let mut exclusive = every("exclusive", 60, Missed::Once);
        exclusive.job.unique_key = Some(Name::literal("one-report-at-a-time"));
        exclusive.job.on_duplicate = Some(serde_json::from_value(json!(on_duplicate)).unwrap());
        let mut room = Room::with(&[exclusive]).await;
        room.tick(60).await;
        room.tick(120).await;
        assert_eq!(room.fired("exclusive").await, [60]);
        assert_eq!(room.occurrences("exclusive").await[1], skipped(120, 120, SkipReason::Duplicate), "{on_duplicate}");
    }
}

#[tokio::test]
async fn an_edited_rule_begins_anew_and_an_edited_job_goes_on() {
    let mut room = Room::with(&[every("edited", 60, Missed::All { n: 100 })]).await;
    room.tick(60).await;
    let mut other_job = every("edited", 60, Missed::All { n: 100 });
    other_job.job.kind = Name::literal("summary");
    room.store.put_schedule(&other_job, &crate::support::operator(), Some(after(150))).await.unwrap();
    room.tick(180).await;
    assert_eq!(room.fired("edited").await, [60, 120, 180], "the rule is the same, so nothing is forgotten");
    room.store.put_schedule(&every("edited", 40, Missed::All { n: 100 }), &crate::support::operator(), Some(after(250))).await.unwrap();
    room.tick(330).await;
    let fired = [60, 120, 180, 240, 280, 320];
    assert_eq!(room.fired("edited").await, fired, "up to the edit by the old rule, which owed one, and then by the new one");
}

#[tokio::test]
async fn a_deleted_schedule_fires_no_more_and_made_again_is_a_new_one() {
    let mut room = Room::with(&[every("reborn", 60, Missed::All { n: 100 })]).await;
    room.tick(60).await;
    room.store.delete_schedule(&Name::literal("reborn"), &Actor::new("test")).await.unwrap();
    assert_eq!(room.tick(130).await, Tick::default());
    room.store.put_schedule(&every("reborn", 60, Missed::All { n: 100 }), &crate::support::operator(), Some(after(190))).await.unwrap();
    room.tick(240).await;
    assert!(room.fired("reborn").await.ends_with(&[240]));
    let jobs = room.store.list(&Filter::default(), None, 10).await.unwrap().items;
    assert_eq!(jobs.len(), 2, "the instants between the two lives are nobody's");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_schedules_due_at_one_instant_are_all_fired_in_one_tick() {
    let schedules: Vec<_> = (0..500).map(|n| every(&format!("herd-{n}"), 60, Missed::Once)).collect();
    let mut room = Room::with(&schedules).await;
    let two = room.metrics.clone();
    let mut other = Scheduler::new(room.store.clone(), two, CancellationToken::new());
    let (mine, others) = tokio::join!(room.scheduler.tick(Some(after(60))), other.tick(Some(after(60))));
    mine.and(others).unwrap();
    assert_eq!(room.counted("job"), 500, "two daemons at once, and each schedule fired by one of them");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_loop_fires_by_the_clock_of_the_store_and_ends_when_told() {
    let room = Room::with(&[]).await;
    let now = room.store.now().await.unwrap();
    room.store.put_schedule(&every("secondly", 1, Missed::Once), &crate::support::operator(), Some(now)).await.unwrap();
    let mut woken = room.store.wakes();
    woken.mark_unchanged();
    let stop = CancellationToken::new();
    let running = tokio::spawn(Scheduler::new(room.store.clone(), room.metrics.clone(), stop.clone()).run());
    let fired = async {
        while room.occurrences("secondly").await.is_empty() {
            woken.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(10), fired).await.expect("a job within the next seconds");
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(5), running).await.expect("the loop ends").unwrap();
    let first = room.occurrences("secondly").await[0].due;
    assert!(first > now && first.since(now) <= Duration::from_secs(10), "{first} is soon after {now}");
    assert_eq!(first.0 % 1_000_000, 0, "on the second");
}
