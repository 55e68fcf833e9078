//! What a plan makes of a backlog, at the edges.

use super::schedule;
use windlass::job::{
    Timestamp,
    schedule::{Missed, Plan, ScheduleState, SkipReason, plan},
};

const BEGUN: Timestamp = Timestamp::from_secs(1_800_000_000);

fn every_second(missed: Missed) -> ScheduleState {
    let rule = serde_json::json!({"every_ms": 1000});
    ScheduleState { schedule: schedule("tick", &rule, missed), generation: 7, last: BEGUN, paused: false }
}

/// Plans until nothing is due, as the scheduler does; `state.last` ends at the newest instant.
fn all_plans(state: &mut ScheduleState, now: Timestamp) -> Vec<Plan> {
    let timetable = state.schedule.check().unwrap();
    let next = || {
        let plan = plan(state, &timetable, now).unwrap()?;
        state.last = plan.through;
        Some(plan)
    };
    std::iter::from_fn(next).collect()
}

fn after(seconds: u64) -> Timestamp {
    BEGUN.plus_ms(seconds * 1000)
}

#[test]
fn a_backlog_of_any_length_gives_jobs_to_the_newest_and_one_skip_to_each_of_the_others() {
    for backlog in [1, 2, 3, 999, 1000, 1001, 9_999, 10_000, 10_001, 10_002, 10_999, 11_000, 11_001, 20_003, 35_000] {
        for (missed, wanted) in [(Missed::Once, 1), (Missed::Skip, 1), (Missed::All { n: 3 }, 3), (Missed::All { n: 1000 }, 1000)] {
            let plans = all_plans(&mut every_second(missed), after(backlog));
            let skipped: u64 = plans.iter().filter_map(|plan| plan.skipped).map(|run| run.count).sum();
            let dues: Vec<_> = plans.iter().flat_map(|plan| &plan.jobs).map(|job| job.due).collect();
            let jobs = backlog.min(wanted);
            assert_eq!(skipped, backlog - jobs, "{missed:?} of {backlog}");
            assert_eq!(dues, (backlog - jobs + 1..=backlog).map(after).collect::<Vec<_>>(), "{missed:?} of {backlog}");
            assert!(plans.iter().all(|plan| plan.skipped.is_none_or(|run| run.count <= 10_000) && plan.jobs.len() <= 1000));
            assert_eq!(plans.last().map(|plan| (plan.through, plan.more)), Some((after(backlog), false)));
        }
    }
}

#[test]
fn nothing_due_is_no_plan() {
    let mut state = every_second(Missed::Once);
    assert!(all_plans(&mut state, BEGUN).is_empty());
    assert!(all_plans(&mut state, Timestamp(BEGUN.0 + 999_999)).is_empty());
    assert!(all_plans(&mut state, Timestamp(BEGUN.0 - 3_600_000_000)).is_empty(), "a clock that went back fires nothing again");
}

#[test]
fn skip_gives_a_job_only_to_an_instant_of_the_last_minute() {
    let daily = serde_json::json!({"cron": "0 9 * * *"});
    let state = ScheduleState { schedule: schedule("daily", &daily, Missed::Skip), generation: 1, last: BEGUN, paused: false };
    let due = state.schedule.check().unwrap().next_after(BEGUN).unwrap();
    for (late_ms, jobs) in [(0, 1), (60_000, 1), (60_001, 0), (3_600_000, 0)] {
        let plans = all_plans(&mut state.clone(), due.plus_ms(late_ms));
        assert_eq!(plans.iter().map(|plan| plan.jobs.len()).sum::<usize>(), jobs, "{late_ms} ms late");
        assert_eq!(plans.len(), 1, "met or missed, the instant is accounted for");
    }
}

#[test]
fn a_paused_schedule_makes_no_job_and_says_why() {
    let mut state = every_second(Missed::All { n: 1000 });
    state.paused = true;
    let plans = all_plans(&mut state, after(10));
    let run = plans[0].skipped.unwrap();
    assert_eq!((run.from, run.through, run.count, run.reason), (after(1), after(10), 10, SkipReason::Paused));
    assert!(plans[0].jobs.is_empty());
}

#[test]
fn the_same_occurrence_is_always_the_same_job_and_no_other_occurrence_is() {
    let job = |state: &ScheduleState, at: u64| all_plans(&mut state.clone(), after(at)).pop().unwrap().jobs.pop().unwrap().job;
    let state = every_second(Missed::Once);
    let first = job(&state, 1);
    assert_eq!(first, job(&state, 1));
    assert_eq!(first.id.0.get_version_num(), 7);
    assert_eq!(first.extra.schedule, Some((state.schedule.name.clone(), after(1))));
    assert_eq!(first.extra.event_time, Some(after(1)));
    assert!(first.id_is_producers, "asked again, the store must know it for the same job");
    let later_generation = ScheduleState { generation: 8, ..state.clone() };
    let mut other_name = state.clone();
    other_name.schedule.name = windlass::job::Name::literal("tock");
    let mut other_body = state.clone();
    other_body.schedule.job.payload = windlass::job::Json::parse("2").unwrap();
    for other in [job(&state, 2), job(&later_generation, 1), job(&other_name, 1), job(&other_body, 1)] {
        assert_ne!(first.id, other.id);
    }
}

#[test]
fn follow_ups_of_an_occurrence_have_ids_of_their_own() {
    let mut state = every_second(Missed::Once);
    let follow_up = r#"{"kind":"report","payload":0,"on_failure":{"kind":"alarm","payload":1}}"#;
    state.schedule.job.on_success = Some(Box::new(serde_json::from_str(follow_up).unwrap()));
    state.schedule.job.on_failure = Some(Box::new(serde_json::from_str(follow_up).unwrap()));
    let ids = |at: u64| {
        let job = all_plans(&mut state.clone(), after(at)).pop().unwrap().jobs.pop().unwrap().job;
        let (good, bad) = (job.extra.on_success.unwrap(), job.extra.on_failure.unwrap());
        [job.id, good.id, bad.id, good.extra.on_failure.unwrap().id, bad.extra.on_failure.unwrap().id]
    };
    let all: std::collections::HashSet<_> = ids(1).into_iter().chain(ids(2)).collect();
    assert_eq!(all.len(), 10);
    assert_eq!(ids(1), ids(1));
}
