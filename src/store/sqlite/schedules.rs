//! Schedules: rows with a remembered last instant. Whoever fires first wins; the others see that `last` has moved.

use super::{
    enqueue::ms,
    lease::job_id,
    tx::{Tx, sql},
};
use crate::{
    job::{
        Json, Name, Timestamp,
        schedule::{Fate, Occurrence, Plan, Schedule, ScheduleState, SkipReason},
    },
    store::{Actor, Error, Result},
};
use rusqlite::{Connection, params};

impl Tx<'_> {
    pub(super) fn put_schedule(&mut self, schedule: &Schedule, now: Timestamp) -> Result<()> {
        let text = Json::of(schedule);
        let old: Option<String> = self.one(sql!("schedule_text"), [schedule.name.as_str()], |row| row.get(0))?;
        let same_rule = old.and_then(|old| serde_json::from_str::<Schedule>(&old).ok()).is_some_and(|old| old.rule == schedule.rule);
        if same_rule {
            self.run(sql!("schedule_change"), (schedule.name.as_str(), text.as_str()))?;
        } else {
            // Epochs only grow, so a schedule that is deleted and made again is never taken for its former self.
            let generation = self.epoch()?;
            self.run(sql!("schedule_put"), (schedule.name.as_str(), text.as_str(), generation, now.0))?;
        }
        self.hint_work();
        Ok(())
    }

    pub(super) fn delete_schedule(&mut self, name: &Name, actor: &Actor, now: Timestamp) -> Result<()> {
        if !self.audit(actor, "delete_schedule", name, None, now)? {
            return Ok(());
        }
        match self.run(sql!("schedule_drop"), [name.as_str()])? {
            0 => Err(Error::NotFound { what: format!("schedule {name}") }),
            _ => Ok(()),
        }
    }

    pub(super) fn pause_schedule(&mut self, name: &Name, paused: bool, actor: &Actor, now: Timestamp) -> Result<()> {
        let action = if paused { "pause_schedule" } else { "resume_schedule" };
        if !self.audit(actor, action, name, None, now)? {
            return Ok(());
        }
        match self.run(sql!("schedule_pause"), (name.as_str(), paused))? {
            0 => Err(Error::NotFound { what: format!("schedule {name}") }),
            _ => Ok(()),
        }
    }

    pub(super) fn fire(&mut self, state: &ScheduleState, plan: &Plan, now: Timestamp) -> Result<bool> {
        let name = state.schedule.name.as_str();
        if self.run(sql!("schedule_move"), (name, state.generation, state.last.0, plan.through.0))? == 0 {
            return Ok(false);
        }
        if let Some(skipped) = &plan.skipped {
            let (reason, count) = (skipped.reason.as_str(), ms(skipped.count));
            let row = params![name, state.generation, skipped.from.0, None::<&[u8]>, reason, skipped.through.0, count];
            self.run(sql!("occurrence_put"), row)?;
        }
        for due in &plan.jobs {
            let refused = match self.enqueue(std::slice::from_ref(&due.job), now) {
                Ok(answers) => answers.first().is_none_or(|answer| answer.duplicate),
                Err(Error::Duplicate { .. }) => true,
                Err(other) => return Err(other),
            };
            let id = (!refused).then_some(due.job.id.0.as_bytes().as_slice());
            let reason = refused.then_some(SkipReason::Duplicate.as_str());
            self.run(sql!("occurrence_put"), params![name, state.generation, due.due.0, id, reason, due.due.0, 1])?;
        }
        Ok(true)
    }
}

pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<ScheduleState>> {
    let mut statement = connection.prepare_cached(sql!("schedules_all"))?;
    let rows = statement.query_map([], |row| {
        let text: String = row.get(0)?;
        Ok((text, row.get(1)?, Timestamp(row.get(2)?), row.get(3)?))
    })?;
    let mut schedules = Vec::new();
    for row in rows {
        let (text, generation, last, paused) = row?;
        match serde_json::from_str(&text) {
            Ok(schedule) => schedules.push(ScheduleState { schedule, generation, last, paused }),
            // One schedule that cannot be read stops no other.
            Err(error) => tracing::error!(%error, "a stored schedule cannot be read; put it again"),
        }
    }
    Ok(schedules)
}

pub(super) fn occurrences(connection: &Connection, name: &Name, limit: usize) -> rusqlite::Result<Vec<Occurrence>> {
    let mut statement = connection.prepare_cached(sql!("occurrences_of"))?;
    let rows = statement.query_map(params![name.as_str(), limit], |row| {
        let job: Option<[u8; 16]> = row.get(1)?;
        let reason: Option<String> = row.get(2)?;
        let fate = match job {
            Some(job) => Fate::Job { id: job_id(job) },
            None => Fate::Skipped {
                reason: reason.and_then(|text| SkipReason::parse(&text)).unwrap_or(SkipReason::Missed),
                through: Timestamp(row.get(3)?),
                count: u64::try_from(row.get::<_, i64>(4)?).unwrap_or(0),
            },
        };
        Ok(Occurrence { due: Timestamp(row.get(0)?), fate })
    })?;
    rows.collect()
}
