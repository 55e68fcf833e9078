//! What every step inside the writer's transaction works with: the connection, the instant, remembered names and lines,
//! and differences that are written once per command instead of once per job.

use super::error;
use crate::{
    job::{KindSettings, Name, QueueSettings, Settings, State, Timestamp},
    store::{Error, Result},
};
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Params, Row};
use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

/// The text of one statement, kept in a file of its own.
macro_rules! sql {
    ($name:literal) => {
        include_str!(concat!("queries/", $name, ".sql"))
    };
}
pub(super) use sql;

/// A line's fixed part.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) queue: Name,
    pub(super) priority: u8,
    pub(super) tenant: Option<Name>,
}

/// Remembered between transactions; true as long as only this connection writes, forgotten otherwise.
#[derive(Default)]
pub(super) struct Cache {
    settings: Option<Arc<Settings>>,
    lines: HashMap<i64, Arc<Line>>,
    line_ids: HashMap<(Name, u8, Option<Name>), i64>,
    names: HashSet<Name>,
    kinds: HashMap<Name, Arc<KindSettings>>,
    queues: HashMap<Name, Arc<QueueSettings>>,
    gates: HashMap<Name, HashMap<String, i64>>,
    /// How far the pruner has come in its walk over the gates.
    pub(super) gates_looked_at: i64,
}

/// Past this many distinct names (tenants, keys) the memory is worth more than the saved allocation.
const NAMES: usize = 10_000;

impl Cache {
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    pub(super) fn gate(&self, queue: &Name, key: &str) -> Option<i64> {
        self.gates.get(queue)?.get(key).copied()
    }

    pub(super) fn keep_gate(&mut self, queue: &Name, key: Cow<'_, str>, gate: i64) {
        let keys = self.gates.entry(queue.clone()).or_default();
        if keys.len() < NAMES {
            keys.insert(key.into_owned(), gate);
        }
    }

    /// Unused gates were dropped, and their numbers may be given to others.
    pub(super) fn forget_gates(&mut self) {
        self.gates.clear();
    }
}

pub(super) struct Tx<'c> {
    connection: &'c Connection,
    pub(super) cache: &'c mut Cache,
    /// The store's clock at the start of the transaction.
    clock: Timestamp,
    counts: BTreeMap<(Name, State), i64>,
    lines: BTreeMap<i64, i64>,
    pub(super) gates: super::limits::Gates,
    /// Gates that may let somebody in once the command is done.
    refills: BTreeMap<i64, Timestamp>,
    work: bool,
    cancel: bool,
}

impl<'c> Tx<'c> {
    pub(super) fn begin(connection: &'c Connection, cache: &'c mut Cache, clock: Timestamp) -> Self {
        Self {
            connection,
            cache,
            clock,
            counts: BTreeMap::new(),
            lines: BTreeMap::new(),
            gates: super::limits::Gates::default(),
            refills: BTreeMap::new(),
            work: false,
            cancel: false,
        }
    }

    pub(super) fn now(&self, given: Option<Timestamp>) -> Timestamp {
        given.unwrap_or(self.clock)
    }

    pub(super) fn execute(&self, batch: &str) -> rusqlite::Result<()> {
        self.connection.execute_batch(batch)
    }

    pub(super) fn prepare(&self, text: &'static str) -> Result<CachedStatement<'c>> {
        self.connection.prepare_cached(text).map_err(error::before_commit)
    }

    /// Runs a statement that answers no rows; returns how many rows it changed.
    pub(super) fn run(&self, text: &'static str, params: impl Params) -> Result<usize> {
        self.prepare(text)?.execute(params).map_err(error::before_commit)
    }

    pub(super) fn one<T>(
        &self,
        text: &'static str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>> {
        self.prepare(text)?.query_row(params, read).optional().map_err(error::before_commit)
    }

    pub(super) fn all<T>(
        &self,
        text: &'static str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        let mut statement = self.prepare(text)?;
        let rows = statement.query_map(params, read).map_err(error::before_commit)?;
        rows.collect::<rusqlite::Result<_>>().map_err(error::before_commit)
    }

    // ------------------------------------------------------------------ differences, written by `flush`

    /// `jobs` more (or fewer) of `queue` are in `state`.
    pub(super) fn count(&mut self, queue: &Name, state: State, jobs: i64) {
        if let Some(n) = self.counts.get_mut(&(queue.clone(), state)) {
            *n += jobs;
        } else {
            self.counts.insert((queue.clone(), state), jobs);
        }
    }

    pub(super) fn moved(&mut self, queue: &Name, from: State, to: State) {
        self.count(queue, from, -1);
        self.count(queue, to, 1);
    }

    /// `jobs` more (or fewer) wait in `line`.
    pub(super) fn line_waits(&mut self, line: i64, jobs: i64) {
        *self.lines.entry(line).or_default() += jobs;
        if jobs > 0 {
            self.work = true;
        }
    }

    pub(super) fn hint_work(&mut self) {
        self.work = true;
    }

    pub(super) fn hint_cancel(&mut self) {
        self.cancel = true;
    }

    /// For a gate that loses somebody in the middle of a step that must not be joined by others.
    pub(super) fn refill_later(&mut self, gate: i64, now: Timestamp) {
        self.refills.insert(gate, now);
    }

    /// Writes what the command only noted so far.
    pub(super) fn flush(&mut self) -> Result<()> {
        for (gate, now) in std::mem::take(&mut self.refills) {
            self.refill(gate, now.0)?;
        }
        self.flush_gates()?;
        self.flush_lines()?;
        if !self.counts.is_empty() {
            let mut add = self.prepare(sql!("count_add"))?;
            for ((queue, state), jobs) in std::mem::take(&mut self.counts) {
                if jobs != 0 {
                    add.execute((queue.as_str(), state.as_str(), jobs)).map_err(error::before_commit)?;
                }
            }
        }
        Ok(())
    }

    /// Line lengths are needed by the next lease of the same command, so they can be written on their own.
    pub(super) fn flush_lines(&mut self) -> Result<()> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let mut add = self.prepare(sql!("line_add"))?;
        for (line, jobs) in std::mem::take(&mut self.lines) {
            if jobs != 0 {
                add.execute((line, jobs)).map_err(error::before_commit)?;
            }
        }
        Ok(())
    }

    /// The command's writes are rolled back: so is what it noted, and what it taught the cache.
    pub(super) fn undo(&mut self) {
        self.counts.clear();
        self.lines.clear();
        self.refills.clear();
        self.gates = super::limits::Gates::default();
        self.cache.forget();
    }

    pub(super) const fn hints(&self) -> (bool, bool) {
        (self.work, self.cancel)
    }

    // ------------------------------------------------------------------ remembered reads

    pub(super) fn settings(&mut self) -> Result<Arc<Settings>> {
        if let Some(settings) = &self.cache.settings {
            return Ok(settings.clone());
        }
        let text: Option<String> = self.one(sql!("settings_get"), [], |row| row.get(0))?;
        let settings = match text {
            None => Settings::default(),
            Some(text) => serde_json::from_str(&text).map_err(|e| Error::Corrupt(format!("the stored settings cannot be read: {e}")))?,
        };
        let settings = Arc::new(settings);
        self.cache.settings = Some(settings.clone());
        Ok(settings)
    }

    pub(super) fn kind(&mut self, kind: &Name) -> Result<Arc<KindSettings>> {
        if let Some(known) = self.cache.kinds.get(kind) {
            return Ok(known.clone());
        }
        let settings = Arc::new(self.settings()?.kind(kind));
        if self.cache.kinds.len() < NAMES {
            self.cache.kinds.insert(kind.clone(), settings.clone());
        }
        Ok(settings)
    }

    pub(super) fn queue(&mut self, queue: &Name) -> Result<Arc<QueueSettings>> {
        if let Some(known) = self.cache.queues.get(queue) {
            return Ok(known.clone());
        }
        let settings = Arc::new(self.settings()?.queue(queue));
        if self.cache.queues.len() < NAMES {
            self.cache.queues.insert(queue.clone(), settings.clone());
        }
        Ok(settings)
    }

    /// The same name again costs no allocation.
    pub(super) fn name(&mut self, text: &str) -> std::result::Result<Name, String> {
        if let Some(name) = self.cache.names.get(text) {
            return Ok(name.clone());
        }
        let name = Name::new(text).map_err(|e| e.to_string())?;
        if self.cache.names.len() < NAMES {
            self.cache.names.insert(name.clone());
        }
        Ok(name)
    }

    /// The line for a job of this queue, priority and tenant; made on first use.
    pub(super) fn line(&mut self, queue: &Name, priority: u8, tenant: Option<&Name>) -> Result<i64> {
        let tenant = if self.queue(queue)?.fair { tenant.cloned() } else { None };
        let key = (queue.clone(), priority, tenant);
        if let Some(line) = self.cache.line_ids.get(&key) {
            return Ok(*line);
        }
        let line: i64 = self
            .one(sql!("line_upsert"), (queue.as_str(), priority, key.2.as_deref().unwrap_or("")), |row| row.get(0))?
            .ok_or_else(|| Error::Corrupt("a line that was just made is not there".into()))?;
        self.cache.lines.insert(line, Arc::new(Line { queue: key.0.clone(), priority, tenant: key.2.clone() }));
        self.cache.line_ids.insert(key, line);
        Ok(line)
    }

    pub(super) fn line_of(&mut self, line: i64) -> Result<Arc<Line>> {
        if let Some(known) = self.cache.lines.get(&line) {
            return Ok(known.clone());
        }
        let (queue, priority, tenant): (String, u8, String) = self
            .one(sql!("line_get"), [line], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .ok_or_else(|| Error::Corrupt(format!("line {line} is missing")))?;
        let damaged = |e: String| Error::Corrupt(format!("line {line}: {e}"));
        let queue = self.name(&queue).map_err(damaged)?;
        let tenant = if tenant.is_empty() { None } else { Some(self.name(&tenant).map_err(damaged)?) };
        let known = Arc::new(Line { queue, priority, tenant });
        self.cache.lines.insert(line, known.clone());
        Ok(known)
    }

    /// `n` positions in a row; the first of them.
    pub(super) fn positions(&self, n: usize) -> Result<i64> {
        let n = i64::try_from(n).map_err(|_| Error::Refused("too many jobs in one call".into()))?;
        self.one(sql!("counter_pos"), [n], |row| row.get(0))?.ok_or_else(|| Error::Corrupt("the counters row is missing".into()))
    }

    pub(super) fn epoch(&self) -> Result<i64> {
        self.one(sql!("counter_epoch"), [], |row| row.get(0))?.ok_or_else(|| Error::Corrupt("the counters row is missing".into()))
    }
}
