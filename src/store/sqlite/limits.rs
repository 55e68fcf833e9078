//! Gates: what holds a keyed job back. A gate knows how many of its key run and how many stand in lines (both counted from
//! the rows themselves when somebody asks, never kept), and who waits behind it. A line never scans over a closed gate: a
//! refused job leaves its line for the gate's own list and comes back when the gate opens.
//!
//! What is let into a line: a job with fewer than `limit` better or equal ones of its key before it, running or in line.
//! So a million jobs of one key put one row into a line, and a more urgent job of the same key is never shut out by a
//! less urgent one that merely waits.

use super::tx::{Tx, sql};
use crate::{
    job::{Name, Rate, Timestamp},
    store::{Error, Result},
};
use std::{borrow::Cow, collections::HashMap};

/// The gates that the running command has looked at; each is read once and written once.
#[derive(Default)]
pub(super) struct Gates(HashMap<i64, Gate>);

struct Gate {
    limit: u32,
    /// Those in line count as ahead. Not where tenants have caps: a line that its tenant's cap has closed would hold up the
    /// key's other jobs while slots are free.
    lines_count: bool,
    rate: Option<Rate>,
    /// Leases of this key; counted on first use, followed from then on.
    running: Option<u32>,
    /// In lines, by priority; counted on first use, followed from then on.
    inline: Option<[u32; 10]>,
    waiting: i64,
    /// The ordered job whose turn it is.
    head: Option<i64>,
    tat: i64,
    opens_at: Option<i64>,
    /// A job came back to its old place in this command: those in line are no longer all before those behind the gate.
    returned: bool,
    dirty: bool,
}

/// Rows in line that are counted where they do not count as ahead: enough to see that a rate has no token left.
const STANDING: i64 = 100;

impl Gate {
    /// Its rate may be another than the one that it last started by.
    fn keep_to_rate(&mut self, now: i64) {
        let kept = self.rate.map_or(self.tat, |rate| rate_keeps(rate, self.tat, now));
        self.dirty |= kept != self.tat;
        self.tat = kept;
    }

    /// A row of this key comes into a line, or has left it.
    fn in_line(&mut self, priority: u8, rows: i32) {
        if let Some(inline) = &mut self.inline {
            let standing = &mut inline[usize::from(priority.min(9))];
            *standing = standing.saturating_add_signed(rows);
        }
    }
}

/// A job that is due, and where it belongs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiter {
    pub(super) seq: i64,
    pub(super) pos: i64,
    pub(super) line: i64,
    pub(super) priority: u8,
    pub(super) gate: Option<i64>,
    pub(super) ordered: bool,
}

/// GCRA: the theoretical arrival time moves on by one interval a start, and may run ahead of the clock by the burst.
pub(super) fn rate_admits(rate: Rate, tat: i64, now: i64) -> u32 {
    let interval = rate.interval_us();
    let ahead = interval.saturating_mul(i64::from(rate.burst.max(1)) - 1);
    let base = tat.max(now);
    if base > now + ahead { 0 } else { u32::try_from((now + ahead - base) / interval + 1).unwrap_or(u32::MAX) }
}

pub(super) fn rate_spend(rate: Rate, tat: i64, now: i64, starts: u32) -> i64 {
    tat.max(now).saturating_add(rate.interval_us().saturating_mul(i64::from(starts)))
}

/// An arrival time that a slower rate left behind does not hold up a faster one: nothing of the burst is left, and no more is owed. What is within
/// a second of that is of this rate, and of a clock that was read a moment earlier.
pub(super) fn rate_keeps(rate: Rate, tat: i64, now: i64) -> i64 {
    let most = now.saturating_add(rate.interval_us().saturating_mul(i64::from(rate.burst)));
    if tat > most.saturating_add(1_000_000) { most } else { tat }
}

/// When the next start conforms.
pub(super) fn rate_opens(rate: Rate, tat: i64) -> i64 {
    tat - rate.interval_us().saturating_mul(i64::from(rate.burst.max(1)) - 1)
}

impl Tx<'_> {
    /// A key is its tenant's own: nobody holds up another tenant's jobs, and no tenant's name has the stroke.
    pub(super) fn gate_id(&mut self, queue: &Name, tenant: Option<&Name>, key: &str) -> Result<i64> {
        let key = tenant.map_or(Cow::Borrowed(key), |tenant| format!("{tenant}/{key}").into());
        if let Some(gate) = self.cache.gate(queue, &key) {
            return Ok(gate);
        }
        let gate = self
            .one(sql!("gate_upsert"), (queue.as_str(), key.as_ref()), |row| row.get(0))?
            .ok_or_else(|| Error::Corrupt("a gate that was just made is not there".into()))?;
        self.cache.keep_gate(queue, key, gate);
        Ok(gate)
    }

    fn gate(&mut self, gate: i64) -> Result<&mut Gate> {
        if !self.gates.0.contains_key(&gate) {
            let loaded = self.load_gate(gate)?;
            self.gates.0.insert(gate, loaded);
        }
        self.gates.0.get_mut(&gate).ok_or_else(|| Error::Corrupt("a gate that was just read is not there".into()))
    }

    fn load_gate(&mut self, gate: i64) -> Result<Gate> {
        let (queue, head, tat, opens_at, waiting): (String, Option<i64>, i64, Option<i64>, i64) = self
            .one(sql!("gate_get"), [gate], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))?
            .ok_or_else(|| Error::Corrupt(format!("gate {gate} is missing")))?;
        let queue = self.name(&queue).map_err(Error::Corrupt)?;
        let settings = self.queue(&queue)?;
        Ok(Gate {
            limit: settings.key_concurrency.max(1),
            lines_count: settings.tenant_concurrency.is_none(),
            rate: settings.key_rate,
            running: None,
            inline: None,
            waiting,
            head,
            tat,
            opens_at,
            returned: false,
            dirty: false,
        })
    }

    fn running(&mut self, id: i64) -> Result<u32> {
        if let Some(running) = self.gate(id)?.running {
            return Ok(running);
        }
        let running = self.one(sql!("gate_running"), [id], |row| row.get(0))?.unwrap_or(0);
        self.gate(id)?.running = Some(running);
        Ok(running)
    }

    fn standing(&mut self, id: i64) -> Result<[u32; 10]> {
        let gate = self.gate(id)?;
        if let Some(inline) = gate.inline {
            return Ok(inline);
        }
        let most = if gate.lines_count { -1 } else { STANDING };
        let mut inline = [0; 10];
        for (priority, jobs) in self.all(sql!("gate_inline"), [id, most], |row| Ok((row.get::<_, usize>(0)?, row.get::<_, u32>(1)?)))? {
            inline[priority.min(9)] = jobs;
        }
        self.gate(id)?.inline = Some(inline);
        Ok(inline)
    }

    /// Running, or in line and at least as urgent.
    fn ahead_of(&mut self, id: i64, priority: u8) -> Result<u32> {
        let running = self.running(id)?;
        if !self.gate(id)?.lines_count {
            return Ok(running);
        }
        Ok(running + self.standing(id)?.iter().take(usize::from(priority) + 1).sum::<u32>())
    }

    pub(super) fn flush_gates(&mut self) -> Result<()> {
        if self.gates.0.is_empty() {
            return Ok(());
        }
        for (id, gate) in std::mem::take(&mut self.gates).0 {
            if gate.dirty {
                self.run(sql!("gate_put"), (id, gate.head, gate.tat, gate.opens_at, gate.waiting))?;
            }
        }
        Ok(())
    }

    /// Puts a due job into its line, or behind its gate.
    pub(super) fn place(&mut self, waiter: &Waiter) -> Result<()> {
        self.place_as(waiter, false)
    }

    /// Puts a job back that was leased: it stood before those that are in line now, so they do not count as ahead of it.
    pub(super) fn put_back_in_line(&mut self, waiter: &Waiter) -> Result<()> {
        self.place_as(waiter, true)
    }

    fn place_as(&mut self, waiter: &Waiter, returning: bool) -> Result<()> {
        if let Some(gate) = waiter.gate
            && !self.admit(gate, waiter, returning)?
        {
            return Ok(());
        }
        self.run(sql!("line_job_put"), (waiter.line, waiter.pos, waiter.seq, waiter.gate))?;
        self.line_waits(waiter.line, 1);
        Ok(())
    }

    fn admit(&mut self, id: i64, waiter: &Waiter, returning: bool) -> Result<bool> {
        let mut behind = false;
        if waiter.ordered {
            let gate = self.gate(id)?;
            behind = match gate.head {
                Some(head) => head != waiter.seq,
                // Nobody's turn, and yet somebody waits: the rate is closed. Who came first goes first once it opens.
                None => gate.waiting > 0 && self.one(sql!("gate_job_first"), (id, true), |_| Ok(()))?.is_some(),
            };
            let gate = self.gate(id)?;
            if gate.head.is_none() && !behind {
                gate.head = Some(waiter.seq);
                gate.dirty = true;
            }
        }
        let gate = self.gate(id)?;
        gate.returned |= returning;
        let (limit, is_open) = (gate.limit, gate.opens_at.is_none());
        if !behind && is_open && (returning || self.ahead_of(id, waiter.priority)? < limit) {
            self.gate(id)?.in_line(waiter.priority, 1);
            return Ok(true);
        }
        self.hold_back(id, waiter, behind)?;
        Ok(false)
    }

    fn hold_back(&mut self, id: i64, waiter: &Waiter, behind: bool) -> Result<()> {
        let gate = self.gate(id)?;
        gate.waiting += 1;
        gate.dirty = true;
        // Ordered jobs ignore priority among themselves: they stand by position alone.
        let rank = if behind { 0 } else { waiter.priority };
        self.run(sql!("gate_job_put"), (id, behind, rank, waiter.pos, waiter.seq, waiter.line))?;
        Ok(())
    }

    /// A keyed job was taken out of its line: may it start? If not, it is behind its gate now.
    pub(super) fn gate_grants(&mut self, id: i64, waiter: &Waiter, now: i64) -> Result<bool> {
        self.gate(id)?.in_line(waiter.priority, -1);
        self.gate_starts(id, waiter, now)
    }

    /// The same for a job that stood in no line (a suspect).
    pub(super) fn gate_starts(&mut self, id: i64, waiter: &Waiter, now: i64) -> Result<bool> {
        let running = self.running(id)?;
        let gate = self.gate(id)?;
        gate.keep_to_rate(now);
        let slots_free = running < gate.limit;
        let conforms = gate.rate.is_none_or(|rate| rate_admits(rate, gate.tat, now) > 0);
        if slots_free && conforms {
            gate.running = Some(running + 1);
            if let Some(rate) = gate.rate {
                gate.tat = rate_spend(rate, gate.tat, now, 1);
                gate.dirty = true;
                if gate.waiting > 0 {
                    // One that stood in line is gone: the next may come, or time will tell when.
                    self.refill_later(id, Timestamp(now));
                }
            }
            return Ok(true);
        }
        if !conforms && let Some(rate) = gate.rate {
            gate.opens_at = Some(rate_opens(rate, gate.tat));
        }
        self.hold_back(id, waiter, false)?;
        Ok(false)
    }

    /// Whether a suspect of this key could start now; asked before it is taken from its place.
    pub(super) fn gate_has_slot(&mut self, id: i64, now: i64) -> Result<bool> {
        let running = self.running(id)?;
        let gate = self.gate(id)?;
        gate.keep_to_rate(now);
        Ok(running < gate.limit && gate.rate.is_none_or(|rate| rate_admits(rate, gate.tat, now) > 0))
    }

    /// A start that was counted did not happen; nobody is let in yet.
    pub(super) fn gate_start_undone(&mut self, id: i64) -> Result<()> {
        let gate = self.gate(id)?;
        gate.running = gate.running.map(|running| running.saturating_sub(1));
        Ok(())
    }

    /// A job left a line without starting.
    pub(super) fn gate_line_left(&mut self, id: i64, priority: u8) -> Result<()> {
        self.gate(id)?.in_line(priority, -1);
        Ok(())
    }

    /// A job left the gate's own list.
    pub(super) fn gate_list_left(&mut self, id: i64) -> Result<()> {
        let gate = self.gate(id)?;
        gate.waiting -= 1;
        gate.dirty = true;
        Ok(())
    }

    /// A job of this key is out of the way (its lease, if it had one, dropped before any gate was looked at); lets in who
    /// may come. `head_done`: it no longer holds up the ordered jobs behind it.
    pub(super) fn gate_left(&mut self, id: i64, seq: i64, head_done: bool, now: i64) -> Result<()> {
        if head_done {
            self.gate_head_done(id, seq)?;
        }
        self.refill(id, now).map(drop)
    }

    /// It no longer holds up the ordered jobs behind it.
    pub(super) fn gate_head_done(&mut self, id: i64, seq: i64) -> Result<()> {
        let gate = self.gate(id)?;
        if gate.head == Some(seq) {
            gate.head = None;
            gate.dirty = true;
        }
        Ok(())
    }

    /// Lets the best waiting jobs into their lines, as many as the gate admits; returns how many.
    pub(super) fn refill(&mut self, id: i64, now: i64) -> Result<u64> {
        let mut admitted = 0;
        loop {
            let gate = self.gate(id)?;
            if gate.waiting <= 0 {
                if gate.opens_at.take().is_some() {
                    gate.dirty = true;
                }
                return Ok(admitted);
            }
            if gate.rate.is_none() && gate.opens_at.take().is_some() {
                gate.dirty = true;
            }
            if let Some(rate) = gate.rate {
                gate.keep_to_rate(now);
                let standing: u32 = self.standing(id)?.iter().sum();
                let gate = self.gate(id)?;
                let closed = rate_admits(rate, gate.tat, now) <= standing;
                // Where not time but those who stand in line close the gate, it opens when one of them leaves.
                let opens = rate_opens(rate, gate.tat + rate.interval_us() * i64::from(standing));
                let opens_at = (closed && opens > now).then_some(opens);
                gate.dirty |= gate.opens_at != opens_at;
                gate.opens_at = opens_at;
                if closed {
                    return Ok(admitted);
                }
            }
            let headless = self.gate(id)?.head.is_none();
            let Some((behind, rank, waiter)) = self.best_behind(id, headless)? else { return Ok(admitted) };
            let gate = self.gate(id)?;
            let just_now = if gate.lines_count { 0 } else { u32::try_from(admitted).unwrap_or(u32::MAX) };
            let (limit, returned) = (gate.limit, gate.returned && gate.lines_count);
            let is_full = self.ahead_of(id, waiter.priority)?.saturating_add(just_now) >= limit;
            if is_full && !(returned && self.running(id)? + self.in_line_before(id, &waiter)? < limit) {
                return Ok(admitted);
            }
            let gate = self.gate(id)?;
            gate.in_line(waiter.priority, 1);
            gate.waiting -= 1;
            gate.dirty = true;
            if behind {
                gate.head = Some(waiter.seq);
            }
            self.run(sql!("gate_job_drop"), (id, behind, rank, waiter.pos))?;
            self.run(sql!("line_job_put"), (waiter.line, waiter.pos, waiter.seq, waiter.gate))?;
            self.line_waits(waiter.line, 1);
            admitted += 1;
        }
    }

    /// Jobs of this key in lines that are more urgent, or as urgent and earlier.
    fn in_line_before(&self, id: i64, waiter: &Waiter) -> Result<u32> {
        self.one(sql!("gate_before"), (id, waiter.priority, waiter.pos), |row| row.get(0)).map(Option::unwrap_or_default)
    }

    /// The most urgent job behind a gate; the first of the ordered ones only when nobody's turn stands.
    fn best_behind(&mut self, id: i64, headless: bool) -> Result<Option<(bool, u8, Waiter)>> {
        let mut best: Option<(bool, u8, Waiter)> = None;
        for behind in [false, true] {
            if behind && !headless {
                continue;
            }
            let first: Option<(u8, i64, i64, i64)> =
                self.one(sql!("gate_job_first"), (id, behind), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
            if let Some((rank, pos, seq, line)) = first {
                let priority = self.line_of(line)?.priority;
                let waiter = Waiter { seq, pos, line, priority, gate: Some(id), ordered: behind };
                if best.as_ref().is_none_or(|(_, _, b)| (waiter.priority, waiter.pos) < (b.priority, b.pos)) {
                    best = Some((behind, rank, waiter));
                }
            }
        }
        Ok(best)
    }
}
