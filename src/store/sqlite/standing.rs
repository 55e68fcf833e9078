//! What holds one job back: the facts, read in one snapshot, a bounded number of rows.

use super::{
    lease, limits,
    read::{self, own},
    tx::sql,
};
use crate::{
    job::{Before, Job, JobId, KeyUse, LeaseUse, Parent, Pause, Place, QueueSettings, QueueUse, Rate, Share, Standing, State, Timestamp},
    store::Result,
};
use rusqlite::{Connection, OptionalExtension as _, Params, Row};
use uuid::Uuid;

/// The part of a live job's row that says where it is.
struct Where {
    seq: i64,
    pos: Option<i64>,
    line: Option<i64>,
    gate: Option<i64>,
    awaits_answer: bool,
    lease: Option<LeaseUse>,
    in_line: bool,
    alone: bool,
    at_gate: bool,
    behind: bool,
}

pub(super) fn standing(connection: &Connection, job: &Job, now: Timestamp) -> Result<Standing> {
    let snapshot = connection.unchecked_transaction().map_err(own)?;
    let look = Look { connection: &snapshot, job, settings: read::settings(&snapshot)?.queue(&job.queue), now };
    look.standing()
}

struct Look<'c> {
    connection: &'c Connection,
    job: &'c Job,
    settings: QueueSettings,
    now: Timestamp,
}

impl Look<'_> {
    fn one<T>(&self, text: &str, params: impl Params, of: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>) -> Result<Option<T>> {
        self.connection.prepare_cached(text).and_then(|mut statement| statement.query_row(params, of).optional()).map_err(own)
    }

    fn all<T>(&self, text: &str, params: impl Params, of: impl FnMut(&Row<'_>) -> rusqlite::Result<T>) -> Result<Vec<T>> {
        let mut statement = self.connection.prepare_cached(text).map_err(own)?;
        let rows = statement.query_map(params, of).map_err(own)?;
        rows.collect::<rusqlite::Result<_>>().map_err(own)
    }

    fn count(&self, text: &str, params: impl Params) -> Result<u64> {
        Ok(self.one(text, params, |row| row.get(0))?.unwrap_or(0))
    }

    fn standing(&self) -> Result<Standing> {
        let mut standing = Standing { now: self.now, pause: self.pause()?, queue: self.queue()?, ..Standing::default() };
        let Some(is) = self.one(sql!("standing"), [self.job.id.0.as_bytes()], where_it_is)? else {
            standing.unique_holder = self.unique_holder()?;
            return Ok(standing);
        };
        standing.awaits_answer = is.awaits_answer;
        standing.place = is.place();
        standing.parents = self.all(sql!("dependency_parents"), [is.seq], parent)?;
        if let (Some(gate), Some(pos)) = (is.gate, is.pos) {
            standing.key = Some(self.key(gate, pos, &is)?);
        }
        if let (Some(line), Some(pos)) = (is.line, is.pos) {
            let (tenant, own, closed) = self.own_line(line)?;
            if closed && tenant.is_some() {
                standing.tenant_full = self.settings.tenant_concurrency.map(u64::from);
            }
            if is.in_line {
                standing.before = self.before(line, pos, own)?;
            }
        }
        standing.lease = is.lease;
        Ok(standing)
    }

    fn pause(&self) -> Result<Option<Pause>> {
        self.one(sql!("pause_get"), (self.job.queue.as_str(), self.now.0), |row| {
            let until = row.get::<_, Option<i64>>(3)?.map(Timestamp);
            Ok(Pause { at: Timestamp(row.get(0)?), by: row.get(1)?, reason: row.get(2)?, until })
        })
    }

    fn queue(&self) -> Result<QueueUse> {
        let queue = self.job.queue.as_str();
        let tat = self.one(sql!("queue_tat"), [queue], |row| row.get::<_, i64>(0))?;
        let opens = self.settings.rate.zip(tat).map(|(rate, tat)| self.opens(rate, tat));
        Ok(QueueUse {
            running: self.count(sql!("standing_running"), [queue])?,
            slots: self.settings.concurrency.map(u64::from),
            rate_opens_at: opens,
        })
    }

    fn key(&self, gate: i64, pos: i64, is: &Where) -> Result<KeyUse> {
        let row =
            self.one(sql!("gate_get"), [gate], |row| Ok((row.get::<_, Option<i64>>(1)?, row.get(2)?, row.get::<_, Option<i64>>(3)?)))?;
        let (head, tat, opens_at) = row.unwrap_or_default();
        let head = head.map(|seq| self.one(sql!("standing_head"), [seq], |row| row.get(0).map(lease::job_id))).transpose()?.flatten();
        let rate_opens = self.settings.key_rate.map(|rate| self.opens(rate, tat).max(Timestamp(opens_at.unwrap_or(0))));
        let rank = if is.behind { 0 } else { self.job.priority };
        let before = is.at_gate || is.behind;
        Ok(KeyUse {
            slots: u64::from(self.settings.key_concurrency.max(1)),
            running: self.count(sql!("standing_key_running"), (gate, Standing::MOST + 1))?,
            holders: self.all(sql!("standing_key_holders"), (gate, Standing::SHOWN), |row| row.get(0).map(lease::job_id))?,
            head,
            rate_opens_at: rate_opens,
            before: if before { self.count(sql!("standing_gate"), (gate, is.behind, rank, pos, Standing::MOST + 1))? } else { 0 },
        })
    }

    /// By the rate of now, whatever a slower one has left behind.
    fn opens(&self, rate: Rate, tat: i64) -> Timestamp {
        Timestamp(limits::rate_opens(rate, limits::rate_keeps(rate, tat, self.now.0)))
    }

    fn own_line(&self, line: i64) -> Result<(Option<String>, Share, bool)> {
        let found = self.one(sql!("standing_own"), [line], |row| {
            let tenant: String = row.get(0)?;
            let share = Share { waiting: row.get(1)?, vtime: row.get(2)?, step: self.step(&tenant) };
            Ok((Some(tenant).filter(|tenant| !tenant.is_empty()), share, row.get(3)?))
        })?;
        Ok(found.unwrap_or_default())
    }

    fn step(&self, tenant: &str) -> i64 {
        let weight = self.settings.tenant_weights.iter().find(|(name, _)| name.as_str() == tenant).map_or(1, |(_, weight)| *weight);
        lease::step(weight)
    }

    fn before(&self, line: i64, pos: i64, own: Share) -> Result<Before> {
        let (queue, priority) = (self.job.queue.as_str(), self.job.priority);
        let shares = self.all(sql!("standing_others"), (queue, priority, Standing::LINES + 1), |row| {
            let tenant: String = row.get(1)?;
            Ok((row.get::<_, i64>(0)?, Share { waiting: row.get(2)?, vtime: row.get(3)?, step: self.step(&tenant) }))
        })?;
        Ok(Before {
            line: self.count(sql!("standing_line"), (line, pos, Standing::MOST + 1))?,
            urgent: self.count(sql!("standing_urgent"), (queue, priority, Standing::LINES))?,
            own,
            is_cut: shares.len() > Standing::LINES,
            others: shares.into_iter().filter(|(other, _)| *other != line).map(|(_, share)| share).collect(),
        })
    }

    /// Of a dead job: who else has its unique key.
    fn unique_holder(&self) -> Result<Option<JobId>> {
        let (Some(key), State::Dead) = (&self.job.unique_key, self.job.state) else { return Ok(None) };
        let tenant = self.job.tenant.as_ref().map(ToString::to_string).unwrap_or_default();
        let found = self.one(sql!("unique_get"), (tenant, self.job.queue.as_str(), key.as_str()), |row| {
            Ok((lease::job_id(row.get(0)?), row.get::<_, i64>(2)?, row.get::<_, bool>(3)?))
        })?;
        Ok(found.filter(|(id, until, live)| *id != self.job.id && (*live || *until > self.now.0)).map(|(id, ..)| id))
    }
}

impl Where {
    fn place(&self) -> Place {
        if self.lease.is_some() {
            Place::Lease
        } else if self.in_line {
            Place::Line
        } else if self.at_gate || self.behind {
            Place::Gate
        } else if self.alone {
            Place::Alone
        } else {
            Place::Nowhere
        }
    }
}

fn where_it_is(row: &Row<'_>) -> rusqlite::Result<Where> {
    let cancel = row.get(6)?;
    let until: Option<i64> = row.get(5)?;
    Ok(Where {
        seq: row.get(0)?,
        pos: row.get(1)?,
        line: row.get(2)?,
        gate: row.get(3)?,
        awaits_answer: row.get(4)?,
        lease: until.map(|until| LeaseUse { until: Timestamp(until), cancel }),
        in_line: row.get(7)?,
        alone: row.get(8)?,
        at_gate: row.get(9)?,
        behind: row.get(10)?,
    })
}

fn parent(row: &Row<'_>) -> rusqlite::Result<Parent> {
    let state: Option<String> = row.get(1)?;
    Ok(Parent { id: JobId(Uuid::from_bytes(row.get(0)?)), state: state.as_deref().and_then(State::parse) })
}
