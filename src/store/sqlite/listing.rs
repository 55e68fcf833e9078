//! Walking over jobs by id: live ones, history and dead letters as one list.

use super::{read::own, rows, tx::sql};
use crate::{
    job::State,
    store::{
        Filter, Result, Span,
        search::{Leg, Looked, Room, TEXT_BYTES, weight},
    },
};
use rusqlite::{Connection, Row, fallible_streaming_iterator::FallibleStreamingIterator as _};
use uuid::Uuid;

/// Columns of the lists.
mod column {
    pub(super) const ID: usize = 0;
    pub(super) const KIND: usize = 1;
    pub(super) const QUEUE: usize = 2;
    pub(super) const TENANT: usize = 3;
    pub(super) const STATE: usize = 5;
    pub(super) const CREATED_AT: usize = 9;
    pub(super) const RUN_AT: usize = 10;
    pub(super) const FINISHED_AT: usize = 13;
    pub(super) const PAYLOAD: usize = 20;
    pub(super) const EXTRA: usize = 22;
}

/// Where jobs that fit may stand.
fn lists(filter: &Filter) -> &'static [&'static str] {
    let only_ended = !filter.finished.is_any();
    match filter.state {
        None if only_ended => &[sql!("list_history"), sql!("list_dead")],
        None => &[sql!("list_live"), sql!("list_history"), sql!("list_dead")],
        Some(State::Completed) => &[sql!("list_history")],
        Some(State::Cancelled) => &[sql!("list_cancelled")],
        Some(State::Dead) => &[sql!("list_dead")],
        Some(_) if only_ended => &[],
        Some(State::Running) => &[sql!("list_running")],
        Some(State::Scheduled) => &[sql!("list_scheduled")],
        Some(State::Parked) => &[sql!("list_parked")],
        Some(State::Queued) => &[sql!("list_live")],
    }
}

/// One list's rows, newest id first.
struct Walk<'s> {
    rows: rusqlite::Rows<'s>,
    /// The id of the row it stands on.
    at: Option<Uuid>,
}

impl<'s> Walk<'s> {
    fn step(&mut self) -> Result<()> {
        self.at = None;
        while let Some(row) = self.rows.next().map_err(own)? {
            self.at = row.get(column::ID).ok().map(Uuid::from_bytes);
            if self.at.is_some() {
                break;
            }
            tracing::error!("a stored job whose id cannot be read is not shown");
        }
        Ok(())
    }

    fn row(&self) -> Option<&Row<'s>> {
        self.rows.get()
    }
}

pub(super) fn look(connection: &Connection, filter: &Filter, leg: Leg, room: Room) -> Result<Looked> {
    let lists = lists(filter);
    let mut statements = lists.iter().map(|text| connection.prepare_cached(text)).collect::<rusqlite::Result<Vec<_>>>().map_err(own)?;
    let mut walks = Vec::new();
    for statement in &mut statements {
        statement.raw_bind_parameter(1, leg.below.as_bytes()).map_err(own)?;
        statement.raw_bind_parameter(2, leg.down_to.as_bytes()).map_err(own)?;
        if statement.parameter_count() > 2 {
            // One row more tells that there is more.
            statement.raw_bind_parameter(3, room.rows + 1).map_err(own)?;
        }
        let mut walk = Walk { rows: statement.raw_query(), at: None };
        walk.step()?;
        walks.push(walk);
    }
    let mut looked = Looked::default();
    let (mut bytes, mut searched) = (0, 0);
    while let Some(walk) = walks.iter_mut().filter(|walk| walk.at.is_some()).max_by_key(|walk| walk.at) {
        let is_full = looked.jobs.len() == room.jobs || bytes >= room.bytes;
        if is_full || looked.rows == room.rows || searched >= TEXT_BYTES {
            return Ok(looked);
        }
        looked.rows += 1;
        looked.stopped_at = walk.at;
        if let Some(row) = walk.row()
            && may_fit(row, filter, &mut searched).map_err(own)?
        {
            match rows::job(row) {
                Ok(job) if filter.fits(&job) => {
                    bytes += weight(&job);
                    looked.jobs.push(job);
                }
                Ok(_) => {}
                Err(reason) => tracing::error!(reason, "a stored job cannot be shown"),
            }
        }
        walk.step()?;
    }
    Ok(Looked { stopped_at: None, ..looked })
}

/// The filter on the row itself: most rows are passed over without being read.
fn may_fit(row: &Row<'_>, filter: &Filter, searched: &mut usize) -> rusqlite::Result<bool> {
    let is = |column: usize, wanted: Option<&str>| -> rusqlite::Result<bool> {
        Ok(match wanted {
            None => true,
            Some(wanted) => row.get_ref(column)?.as_bytes().is_ok_and(|bytes| bytes == wanted.as_bytes()),
        })
    };
    let lies = |column: usize, span: Span| -> rusqlite::Result<bool> {
        let (from, to) = span.bounds();
        Ok(span.is_any() || row.get_ref(column)?.as_i64().is_ok_and(|at| from <= at && at < to))
    };
    let mut has = |column: usize, wanted: Option<&str>| -> rusqlite::Result<bool> {
        let Some(wanted) = wanted else { return Ok(true) };
        let Some(text) = row.get_ref(column)?.as_str_or_null().ok().flatten() else { return Ok(false) };
        *searched += text.len();
        Ok(text.contains(wanted))
    };
    Ok(is(column::KIND, filter.kind.as_deref())?
        && is(column::QUEUE, filter.queue.as_deref())?
        && is(column::TENANT, filter.tenant.as_deref())?
        && is(column::STATE, filter.state.map(State::as_str))?
        && lies(column::CREATED_AT, filter.created)?
        && lies(column::RUN_AT, filter.due)?
        && lies(column::FINISHED_AT, filter.finished)?
        && has(column::EXTRA, filter.tag.as_deref())?
        && has(column::PAYLOAD, filter.text.as_deref())?)
}
