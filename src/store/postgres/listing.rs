//! Walking over jobs by id: what is queued or runs, what waits, history and dead letters as one list.

use super::{PostgresStore, error::Effect, params::params, rows};
use crate::{
    job::{Name, State},
    store::{
        Filter, Result,
        search::{Leg, Looked, Room, TEXT_BYTES},
    },
};
use std::sync::LazyLock;
use tokio_postgres::Row;
use uuid::Uuid;

const LIVE: &str = include_str!("queries/list_live.sql");
const RUNNING: &str = include_str!("queries/list_running.sql");
const WAITING: &str = include_str!("queries/list_waiting.sql");
const PARKED: &str = include_str!("queries/list_parked.sql");
const HISTORY: &str = include_str!("queries/list_history.sql");
const DEAD: &str = include_str!("queries/list_dead.sql");

/// A whole number of partitions of history.
const DAY_US: i64 = 86_400_000_000;

static ALL: LazyLock<String> = LazyLock::new(|| of(&[LIVE, WAITING, HISTORY, DEAD]));
static ENDED: LazyLock<String> = LazyLock::new(|| of(&[HISTORY, DEAD]));
static EACH: LazyLock<[String; 6]> = LazyLock::new(|| [LIVE, RUNNING, WAITING, PARKED, HISTORY, DEAD].map(|list| of(&[list])));

/// The statement that walks over these lists as one.
fn of(lists: &[&str]) -> String {
    let lists: Vec<String> = lists.iter().map(|list| format!("({list})")).collect();
    include_str!("queries/list.sql").replace("{lists}", &lists.join("\nUNION ALL "))
}

/// The statement that looks where jobs that fit may stand; None: there can be none.
fn statement(filter: &Filter) -> Option<&'static str> {
    let only_ended = !filter.finished.is_any();
    let [queued, running, scheduled, parked, history, dead] = &*EACH;
    Some(match filter.state {
        None if only_ended => &*ENDED,
        None => &*ALL,
        Some(State::Completed | State::Cancelled) => history,
        Some(State::Dead) => dead,
        Some(_) if only_ended => return None,
        Some(State::Queued) => queued,
        Some(State::Running) => running,
        Some(State::Scheduled) => scheduled,
        Some(State::Parked) => parked,
    })
}

fn number(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

impl PostgresStore {
    pub(super) async fn look(&self, filter: &Filter, leg: Leg, room: Room) -> Result<Looked> {
        let Some(statement) = statement(filter) else { return Ok(Looked::default()) };
        let text = |name: &Option<Name>| name.as_ref().map(ToString::to_string);
        // A tag is a name, and needs no escapes.
        let tag = filter.tag.as_ref().map(|tag| format!("\"{tag}\""));
        let state = filter.state.map(|state| state.as_str().to_owned());
        let most_text = if filter.text.is_some() { number(TEXT_BYTES) } else { i64::MAX };
        let [created, due, finished] = [filter.created, filter.due, filter.finished].map(|span| span.bounds());
        let params = params![
            leg.below,
            leg.down_to,
            number(room.rows),
            number(if filter.fingerprint.is_some() { room.rows } else { room.jobs }),
            most_text,
            number(room.bytes),
            state,
            text(&filter.queue),
            text(&filter.kind),
            text(&filter.tenant),
            tag,
            filter.text.clone(),
            created.0,
            created.1,
            due.0,
            due.1,
            finished.0,
            finished.1,
            finished.0.saturating_sub(finished.0.rem_euclid(DAY_US)),
            finished.1.saturating_add(DAY_US - finished.1.rem_euclid(DAY_US)),
        ];
        let mut found = self.lanes.other.rows(Effect::Reads, statement, params).await?;
        let mut looked = found.pop().map_or_else(Looked::default, |end| last(&end));
        for row in &found {
            // What the statement cannot tell apart it does not count: those beyond are looked at again.
            if looked.jobs.len() == room.jobs {
                looked.stopped_at = looked.jobs.last().map(|job| job.id.0);
                break;
            }
            match rows::job(row) {
                Ok(job) if filter.fits(&job) => looked.jobs.push(job),
                Ok(_) => {}
                Err(reason) => tracing::error!(reason, "a stored job cannot be shown"),
            }
        }
        Ok(looked)
    }
}

/// The last row looked at: its id, its number, and whether there is one below it.
fn last(end: &Row) -> Looked {
    let (rows, is_cut) = (usize::try_from(end.get::<_, i64>(9)).unwrap_or(0), end.get(15));
    Looked { jobs: Vec::new(), rows, stopped_at: if is_cut { Some(end.get::<_, Uuid>(0)) } else { None } }
}
