//! Schedules: rows with a remembered last instant. Whoever fires first wins; the others see that `last` has moved.

use super::{
    lease::job_id,
    tx::{Tx, sql},
};
use crate::{
    job::{
        Json, Name, Timestamp,
        schedule::{Fate, Occurrence, Plan, Schedule, ScheduleState, SkipReason},
    },
    store::{
        Actor, Error, Result,
        words::{STEPS_OWED, ms, owed, schedule_words},
    },
};
use rusqlite::{Connection, params};

impl Tx<'_> {
    pub(super) fn put_schedule(&mut self, schedule: &Schedule, actor: &Actor, now: Timestamp) -> Result<()> {
        let text = Json::of(schedule);
        let old = self.one(sql!("schedule_get"), [schedule.name.as_str()], |row| Ok(state(row)))?.and_then(std::result::Result::ok);
        let Some(words) = schedule_words(old.as_ref(), schedule) else { return Ok(()) };
        if !self.audit(actor, "put_schedule", &schedule.name, Some(&words), now)? {
            return Ok(());
        }
        if old.as_ref().is_some_and(|old| old.schedule.rule == schedule.rule) {
            self.run(sql!("schedule_change"), (schedule.name.as_str(), text.as_str()))?;
        } else {
            if let Some(old) = old {
                self.close_generation(old, now)?;
            }
            // Epochs only grow, so a schedule that is deleted and made again is never taken for its former self.
            let generation = self.epoch()?;
            self.run(sql!("schedule_put"), (schedule.name.as_str(), text.as_str(), generation, now.0))?;
        }
        self.hint_work();
        Ok(())
    }

    /// What the former rule owes up to now is recorded while somebody still knows the rule (contract P8).
    fn close_generation(&mut self, mut old: ScheduleState, now: Timestamp) -> Result<()> {
        for _ in 0..STEPS_OWED {
            let Some(plan) = owed(&old, now) else { return Ok(()) };
            self.fire(&old, &plan, now)?;
            old.last = plan.through;
            if !plan.more {
                return Ok(());
            }
        }
        tracing::warn!(schedule = %old.schedule.name, through = %old.last, "the rule changed; the instants since of the former one are not recorded");
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

/// The columns of `schedule_get` and `schedules_all`. One schedule that cannot be read stops no other.
fn state(row: &rusqlite::Row<'_>) -> std::result::Result<ScheduleState, String> {
    let text: String = row.get(0).map_err(|e| e.to_string())?;
    let number = |column: usize| row.get::<_, i64>(column).map_err(|e| e.to_string());
    let schedule = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    Ok(ScheduleState { schedule, generation: number(1)?, last: Timestamp(number(2)?), paused: number(3)? != 0 })
}

pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<ScheduleState>> {
    let mut statement = connection.prepare_cached(sql!("schedules_all"))?;
    let rows = statement.query_map([], |row| Ok(state(row)))?;
    let mut schedules = Vec::new();
    for row in rows {
        match row? {
            Ok(state) => schedules.push(state),
            Err(error) => tracing::error!(error, "a stored schedule cannot be read; put it again"),
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
