//! What becomes of the due instants that have passed: a job, or a recorded skip (contract P8).

use super::{Missed, ScheduleState, SkipReason, Timetable};
use crate::job::{Envelope, InvalidEnvelope, JobId, Limits, NewJob, Timestamp};
use sha2::{Digest as _, Sha256};
use std::time::Duration;

/// What to record of a schedule's due instants in one step, so that each of them has one job or one recorded skip.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The schedule's `last` once this is recorded.
    pub through: Timestamp,
    /// The oldest of the instants, if policy or pause makes no job of them.
    pub skipped: Option<SkippedRun>,
    /// One job for each of the others, oldest first.
    pub jobs: Vec<DueJob>,
    /// More instants have passed than one step bears; plan again from the new `last`.
    pub more: bool,
}

/// Consecutive instants of one rule that share a skip. One record serves them all: the rule and the two ends say which
/// they are, so an outage of a year costs a schedule of every second no thirty million rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SkippedRun {
    /// The first and the last of them.
    pub from: Timestamp,
    pub through: Timestamp,
    pub count: u64,
    pub reason: SkipReason,
}

#[derive(Clone, Debug, PartialEq)]
pub struct DueJob {
    pub due: Timestamp,
    /// Carries the schedule's name and `due` in `extra.schedule`, and `due` as its event time.
    pub job: NewJob,
}

/// Instants looked at in one step. About ten milliseconds of work, after which other schedules get their turn.
const INSTANTS_A_STEP: usize = 10_000;
/// Under `skip`, an instant this old still counts as met: longer than a restart takes, shorter than anyone's patience.
const STILL_MET: Duration = Duration::from_secs(60);

/// What becomes of the instants after `state.last`, up to and including `now`; `None` when there are none. `timetable`
/// is that of the schedule's rule. The same state and instants give the same plan, job ids included.
///
/// # Errors
/// When the schedule's job is no valid envelope (any more).
pub fn plan(state: &ScheduleState, timetable: &Timetable, now: Timestamp) -> Result<Option<Plan>, InvalidEnvelope> {
    let wanted = jobs_wanted(state);
    let mut due: Vec<Timestamp> = timetable.due(state.last, now).take(INSTANTS_A_STEP + wanted).collect();
    let more = due.len() == INSTANTS_A_STEP + wanted;
    let jobs_from = if more {
        // At least `wanted` newer instants stand behind these: whatever else has passed, none of these gets a job.
        due.truncate(INSTANTS_A_STEP);
        due.len()
    } else {
        due.len() - wanted.min(due.len())
    };
    let Some(through) = due.last().copied() else { return Ok(None) };
    let stale = state.schedule.missed == Missed::Skip && now.since(through) > STILL_MET;
    let (skipped, kept) = due.split_at(if stale { due.len() } else { jobs_from });
    let reason = if state.paused { SkipReason::Paused } else { SkipReason::Missed };
    Ok(Some(Plan { through, skipped: run(skipped, reason), jobs: due_jobs(state, kept)?, more }))
}

/// How many of the newest instants get a job.
fn jobs_wanted(state: &ScheduleState) -> usize {
    match state.schedule.missed {
        _ if state.paused => 0,
        Missed::Skip | Missed::Once => 1,
        Missed::All { n } => n.clamp(1, Missed::MAX_JOBS) as usize,
    }
}

fn run(instants: &[Timestamp], reason: SkipReason) -> Option<SkippedRun> {
    let (from, through) = (*instants.first()?, *instants.last()?);
    Some(SkippedRun { from, through, count: instants.len() as u64, reason })
}

fn due_jobs(state: &ScheduleState, instants: &[Timestamp]) -> Result<Vec<DueJob>, InvalidEnvelope> {
    let seed = occurrence_seed(state);
    // The door that took the schedule applied its own limit on payloads.
    let limits = Limits { payload_bytes: Limits::PAYLOAD_HARD };
    instants
        .iter()
        .map(|&due| {
            let mut job = state.schedule.job.clone().check(limits)?;
            name_job(&mut job, seed.clone().chain_update(due.0.to_le_bytes()), due);
            job.extra.schedule = Some((state.schedule.name.clone(), due));
            job.extra.event_time = Some(due);
            Ok(DueJob { due, job })
        })
        .collect()
}

/// Everything that an occurrence's jobs depend on besides the instant.
fn occurrence_seed(state: &ScheduleState) -> Sha256 {
    let body = serde_json::to_vec::<Envelope>(&state.schedule.job).expect("an envelope is JSON");
    Sha256::new()
        .chain_update([u8::try_from(state.schedule.name.len()).unwrap_or(u8::MAX)])
        .chain_update(state.schedule.name.as_bytes())
        .chain_update(state.generation.to_le_bytes())
        .chain_update(body)
}

/// Gives the job and its follow-ups ids that follow from the occurrence: should one be recorded twice after all (a store
/// that lost what it had acknowledged, two daemons on a failed-over store), it is the same job twice, which is one job.
fn name_job(job: &mut NewJob, seed: Sha256, due: Timestamp) {
    let hash = seed.clone().chain_update(b"job").finalize();
    let mut bits = [0; 10];
    bits.copy_from_slice(&hash[..10]);
    let millis = u64::try_from(due.millis()).unwrap_or(0);
    job.id = JobId(uuid::Builder::from_unix_timestamp_millis(millis, &bits).into_uuid());
    job.id_is_producers = true;
    for (end, follow_up) in [("on_success", &mut job.extra.on_success), ("on_failure", &mut job.extra.on_failure)] {
        if let Some(follow_up) = follow_up {
            name_job(follow_up, seed.clone().chain_update(end), due);
        }
    }
}
