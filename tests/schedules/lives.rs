//! The life of a schedule through a year of wakes, outages, restarts and clocks that jump: at its end each instant that
//! the oracle finds has one job or one recorded skip, and the jobs are the ones its policy asks for.

use super::{
    brute_force::Clocks,
    oracle::{EXPRESSIONS, year_of, zone},
    schedule,
};
use serde_json::json;
use std::collections::HashSet;
use windlass::job::{
    JobId, Timestamp,
    schedule::{Missed, Plan, ScheduleState, SkipReason, Timetable, plan},
};

/// Draws that are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// What a store would remember, held against what the oracle says.
struct Ledger<'a> {
    expected: &'a [Timestamp],
    /// How many of the expected instants have been accounted for.
    told: usize,
    ids: HashSet<JobId>,
    jobs: usize,
}

impl Ledger<'_> {
    /// The plan must take up exactly where the last one stopped.
    fn record(&mut self, plan: &Plan, reason: SkipReason) {
        if let Some(run) = plan.skipped {
            let instants = &self.expected[self.told..self.told + run.count as usize];
            assert_eq!((instants.first(), instants.last()), (Some(&run.from), Some(&run.through)));
            assert_eq!(run.reason, reason);
            self.told += instants.len();
        }
        for planned in &plan.jobs {
            assert_eq!(planned.due, self.expected[self.told]);
            assert_eq!(planned.job.extra.event_time, Some(planned.due));
            assert!(self.ids.insert(planned.job.id), "two occurrences share the job {}", planned.job.id);
            self.told += 1;
            self.jobs += 1;
        }
        assert_eq!(plan.through, self.expected[self.told - 1]);
    }

    fn due_by(&self, now: Timestamp) -> usize {
        self.expected.partition_point(|instant| *instant <= now)
    }
}

/// How many of `backlog` instants, the newest of which is as old as `age_secs`, the policy makes a job of.
fn wanted(missed: Missed, backlog: usize, age_secs: u64) -> usize {
    match missed {
        Missed::Skip if age_secs > 60 => 0,
        Missed::Skip | Missed::Once => backlog.min(1),
        Missed::All { n } => backlog.min(n as usize),
    }
}

/// Ends the process and starts another: only what the store holds is left.
fn restart(state: &ScheduleState) -> (ScheduleState, Timetable) {
    let state: ScheduleState = serde_json::from_str(&serde_json::to_string(state).unwrap()).unwrap();
    let timetable = state.schedule.check().unwrap();
    (state, timetable)
}

fn live_through_a_year(cron: &str, tz: &str, missed: Missed, seed: u64) -> usize {
    let (after, through) = year_of(2026);
    let expected: Vec<_> = Clocks::between(zone(tz), after, through, 60).due(cron).into_iter().map(Timestamp::from_utc).collect();
    let mut ledger = Ledger { expected: &expected, told: 0, ids: HashSet::new(), jobs: 0 };
    let begun = Timestamp::from_utc(after);
    let (mut state, mut timetable) = restart(&ScheduleState {
        schedule: schedule("nightly", &json!({"cron": cron, "tz": tz}), missed),
        generation: 1,
        last: begun,
        paused: false,
    });
    let mut dice = Dice(seed);
    let (mut now, end) = (begun, Timestamp::from_utc(through));
    while now < end {
        now = match dice.below(20) {
            0..16 => timetable.next_after(state.last).unwrap_or(end).max(now).plus_ms(dice.below(1500)),
            // An outage of minutes, or of weeks.
            16..19 => now.plus_ms(dice.below(6 * 3_600_000)),
            _ => now.plus_ms(dice.below(40 * 86_400_000)),
        }
        .min(end);
        // A clock that jumped back by up to two hours is believed for the moment of one look.
        let looked_at = if now < end && dice.below(10) == 0 { Timestamp(now.0 - dice.below(7200) as i64 * 1_000_000) } else { now };
        if dice.below(8) == 0 {
            (state, timetable) = restart(&state);
        }
        let (told, jobs) = (ledger.told, ledger.jobs);
        let due = ledger.due_by(looked_at).max(told);
        while let Some(plan) = plan(&state, &timetable, looked_at).unwrap() {
            ledger.record(&plan, if state.paused { SkipReason::Paused } else { SkipReason::Missed });
            state.last = plan.through;
            assert_eq!(plan.more, ledger.told < due, "a plan says truly whether more is due");
        }
        assert_eq!(ledger.told, due, "every instant until {looked_at} is accounted for, and none after");
        if due > told {
            let wanted = if state.paused { 0 } else { wanted(missed, due - told, looked_at.since(state.last).as_secs()) };
            assert_eq!(ledger.jobs - jobs, wanted, "{missed:?} of {} instants at {looked_at}", due - told);
        }
        if dice.below(30) == 0 {
            state.paused = !state.paused;
        }
    }
    assert_eq!(ledger.told, expected.len());
    ledger.jobs
}

#[test]
fn no_instant_is_missed_or_doubled_through_a_year_of_restarts_and_outages() {
    let mut jobs = 0;
    for (lane, tz) in ["UTC", "America/New_York", "Australia/Lord_Howe"].into_iter().enumerate() {
        for (row, cron) in EXPRESSIONS.into_iter().enumerate() {
            let policies = [Missed::Skip, Missed::Once, Missed::All { n: 3 }, Missed::All { n: Missed::MAX_JOBS }];
            jobs += live_through_a_year(cron, tz, policies[(lane + row) % 4], (lane * 1000 + row) as u64);
        }
    }
    assert!(jobs > 10_000, "only {jobs} jobs were planned");
}
