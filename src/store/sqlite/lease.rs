//! Granting: which due jobs start now. Priority first, then the tenant line of the lowest virtual time, then position.
//! Every row that is looked at leaves its line: granted, held back by its gate, parked, expired or quarantined.

use super::{
    error,
    limits::{self, Waiter},
    rows,
    tx::{Line, Tx, sql},
};
use crate::{
    job::{HolderId, JobId, Lease, Leased, LeasedJob, Name, Nonce, OnHead, QueueSettings, State, Timestamp},
    store::{LeaseReply, LeaseRequest, Result},
};
use rusqlite::{CachedStatement, params};
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    sync::Arc,
};
use uuid::Uuid;

/// What the end of a lease must look at beyond the plain case; kept on the lease so that a plain end reads no job row.
pub(super) mod flag {
    pub(crate) const UNIQUE: i64 = 1;
    pub(crate) const EXTRA: i64 = 2;
    pub(crate) const SUSPECT: i64 = 4;
    pub(crate) const ORDERED: i64 = 8;
}

/// Virtual time of one grant at weight 1: divisible by all small weights.
const STEP: i64 = 720_720;
/// Rows one call looks at per job it wants: bounds a call however many jobs turn out to be held back.
const SCAN_PER_JOB: usize = 4;
const SCAN_EXTRA: usize = 1000;

/// Forgotten leases a heartbeat tells of at most; the others are told of by the next.
const STRAYS: usize = 100;

/// One lease call in progress.
struct Call<'r> {
    request: &'r LeaseRequest,
    /// Held open for the whole call.
    put: CachedStatement<'r>,
    now: Timestamp,
    epoch: i64,
    granted: Vec<Leased>,
    bytes: usize,
    scan_left: usize,
    /// A suspect is among the granted.
    suspect: bool,
    /// How many of each tenant of the queue at hand run; counted once, from the leases, and only where tenants have a cap.
    tenants: Option<HashMap<String, usize>>,
    /// Gates whose start came to nothing; they let others in once the line's rows are gone.
    refill: Vec<i64>,
}

impl Call<'_> {
    fn full(&self) -> bool {
        self.bytes >= self.request.max_bytes || self.scan_left == 0
    }
}

impl<'c> Tx<'c> {
    pub(super) fn lease(&mut self, request: &LeaseRequest, now: Timestamp) -> Result<LeaseReply> {
        let advanced = self.advance(now)?;
        self.flush_lines()?;
        let wanted: usize = request.queues.iter().map(|(_, n)| n).sum();
        let epoch = self.epoch()?;
        let scan_left = wanted.saturating_mul(SCAN_PER_JOB).saturating_add(SCAN_EXTRA);
        let put = self.prepare(sql!("lease_put"))?;
        let mut call = Call {
            request,
            put,
            now,
            epoch,
            granted: Vec::with_capacity(wanted.min(4096)),
            bytes: 0,
            scan_left,
            suspect: false,
            tenants: None,
            refill: Vec::new(),
        };
        for (queue, want) in &request.queues {
            if *want > 0 && !call.full() {
                self.lease_from(&mut call, queue, *want)?;
            }
        }
        if !call.granted.is_empty() {
            let live = i64::try_from(call.granted.len()).unwrap_or(i64::MAX);
            let until = now.plus(request.lease).0;
            self.run(sql!("claim_put"), (epoch, request.nonce.0.as_bytes(), request.holder.0.as_bytes(), now.0, until, live))?;
        }
        let more = advanced.more || call.full();
        let next_due = if call.granted.is_empty() { self.next_due(&request.queues, now)? } else { None };
        Ok(LeaseReply { jobs: call.granted, next_due, more, drained: false })
    }

    fn lease_from(&mut self, call: &mut Call<'_>, queue: &Name, want: usize) -> Result<()> {
        if self.one(sql!("pause_get"), (queue.as_str(), call.now.0), |_| Ok(()))?.is_some() {
            return Ok(());
        }
        let settings = self.queue(queue)?;
        let mut want = want;
        if let Some(limit) = settings.concurrency {
            let running: usize = self.one(sql!("queue_running"), [queue.as_str()], |row| row.get(0))?.unwrap_or(0);
            want = want.min((limit as usize).saturating_sub(running));
        }
        let tat = match settings.rate {
            None => 0,
            Some(rate) => {
                let stored: i64 = self.one(sql!("queue_tat"), [queue.as_str()], |row| row.get(0))?.unwrap_or(0);
                let tat = limits::rate_keeps(rate, stored, call.now.0);
                if tat != stored {
                    self.run(sql!("queue_tat_put"), (queue.as_str(), tat))?;
                }
                want = want.min(limits::rate_admits(rate, tat, call.now.0) as usize);
                tat
            }
        };
        if want == 0 {
            return Ok(());
        }
        call.tenants = None;
        let before = call.granted.len();
        let want = want - self.lease_suspect(call, queue, &settings)?;
        self.lease_lines(call, queue, &settings, want)?;
        let starts = call.granted.len() - before;
        if let Some(rate) = settings.rate
            && starts > 0
        {
            let tat = limits::rate_spend(rate, tat, call.now.0, u32::try_from(starts).unwrap_or(u32::MAX));
            self.run(sql!("queue_tat_put"), (queue.as_str(), tat))?;
        }
        Ok(())
    }

    /// A job that was running when a process died runs as the only one of its sort of this holder.
    fn lease_suspect(&mut self, call: &mut Call<'_>, queue: &Name, settings: &QueueSettings) -> Result<usize> {
        let first: Option<(i64, i64, i64, Option<i64>)> =
            self.one(sql!("suspect_first"), [queue.as_str()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
        let Some((pos, seq, line, gate)) = first else { return Ok(0) };
        let another_runs =
            call.suspect || self.one(sql!("suspect_running"), (flag::SUSPECT, call.request.holder.0.as_bytes()), |_| Ok(()))?.is_some();
        if another_runs {
            return Ok(0);
        }
        if let Some(gate) = gate
            && !self.gate_has_slot(gate, call.now.0)?
        {
            return Ok(0);
        }
        let line_info = self.line_of(line)?;
        if self.tenant_room(call, settings, &line_info)? == 0 {
            return Ok(0);
        }
        self.run(sql!("suspect_drop"), (queue.as_str(), pos))?;
        let waiter = Waiter { seq, pos, line, priority: line_info.priority, gate, ordered: false };
        let mut read = self.prepare(sql!("lease_one"))?;
        let mut found = read.query([seq]).map_err(error::before_commit)?;
        let Some(row) = found.next().map_err(error::before_commit)? else { return Ok(0) };
        if let Some(gate) = gate {
            self.gate_starts(gate, &waiter, call.now.0)?;
        }
        let before = call.granted.len();
        self.grant_row(call, &line_info, &waiter, row, flag::SUSPECT)?;
        self.refill_unused(call)?;
        let granted = call.granted.len() - before;
        self.started(queue, granted);
        call.suspect |= granted > 0;
        Ok(granted)
    }

    /// Serves the lines of one queue: the most urgent priority first, within it the line of lowest virtual time.
    fn lease_lines(&mut self, call: &mut Call<'_>, queue: &Name, settings: &QueueSettings, want: usize) -> Result<()> {
        let mut want = want;
        while want > 0 && !call.full() {
            let most = i64::try_from(want).unwrap_or(i64::MAX).saturating_add(1);
            let lines: Vec<(i64, u8, i64)> =
                self.all(sql!("lines_open"), (queue.as_str(), most), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            let Some((_, priority, _)) = lines.first().copied() else { return Ok(()) };
            let mut heap: BinaryHeap<Reverse<(i64, i64)>> =
                lines.iter().filter(|(_, p, _)| *p == priority).map(|(line, _, vtime)| Reverse((*vtime, *line))).collect();
            let mut clock = 0;
            while want > 0
                && !call.full()
                && let Some(Reverse((vtime, line))) = heap.pop()
            {
                let info = self.line_of(line)?;
                let step = step(weight(settings, &info));
                let ahead = heap.peek().map_or(i64::MAX, |Reverse((next, _))| (next - vtime) / step + 1);
                let mut quota = want.min(usize::try_from(ahead).unwrap_or(usize::MAX));
                let room = self.tenant_room(call, settings, &info)?;
                quota = quota.min(room);
                let (granted, looked) = self.lease_line(call, line, &info, quota)?;
                want -= granted;
                let vtime_now = vtime + step * i64::try_from(granted).unwrap_or(0);
                if granted > 0 {
                    clock = clock.max(vtime_now - step);
                    self.run(sql!("line_vtime"), (line, vtime_now))?;
                }
                if granted == room {
                    self.run(sql!("line_close"), (queue.as_str(), info.tenant.as_deref().unwrap_or("")))?;
                } else if looked == quota {
                    heap.push(Reverse((vtime_now, line)));
                }
            }
            self.flush_lines()?;
            if clock > 0 {
                self.run(sql!("clock_put"), (queue.as_str(), priority, clock))?;
            }
        }
        Ok(())
    }

    /// How many more of this line's tenant may start.
    fn tenant_room(&self, call: &mut Call<'_>, settings: &QueueSettings, line: &Line) -> Result<usize> {
        let (Some(limit), Some(tenant)) = (settings.tenant_concurrency, &line.tenant) else { return Ok(usize::MAX) };
        if call.tenants.is_none() {
            let counted = self.all(sql!("tenants_running"), [line.queue.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
            call.tenants = Some(counted.into_iter().collect());
        }
        let running = call.tenants.as_ref().and_then(|tenants| tenants.get(tenant.as_str())).copied().unwrap_or(0);
        Ok((limit as usize).saturating_sub(running))
    }

    /// Takes up to `quota` rows from the head of one line. Answers how many were granted and how many were looked at.
    fn lease_line(&mut self, call: &mut Call<'_>, line: i64, info: &Arc<Line>, quota: usize) -> Result<(usize, usize)> {
        let quota = quota.min(call.scan_left);
        let before = call.granted.len();
        let (mut looked, mut last) = (0, 0);
        let mut read = self.prepare(sql!("lease_line"))?;
        let mut rows = read.query((line, i64::try_from(quota).unwrap_or(i64::MAX))).map_err(error::before_commit)?;
        while !call.full()
            && let Some(row) = rows.next().map_err(error::before_commit)?
        {
            looked += 1;
            call.scan_left -= 1;
            last = row.get(rows::lease::POS).map_err(error::before_commit)?;
            let gate: Option<i64> = row.get(rows::lease::GATE).map_err(error::before_commit)?;
            let seq = row.get(rows::lease::SEQ).map_err(error::before_commit)?;
            let waiter = Waiter { seq, pos: last, line, priority: info.priority, gate, ordered: false };
            if let Some(gate) = gate
                && !self.gate_grants(gate, &waiter, call.now.0)?
            {
                continue;
            }
            self.grant_row(call, info, &waiter, row, 0)?;
        }
        drop(rows);
        if looked > 0 {
            // Everything up to here was dealt with, so the rows go in one range; a quarantined one has gone already.
            let gone = self.run(sql!("line_jobs_drop"), (line, last))?;
            self.line_waits(line, -i64::try_from(gone).unwrap_or(0));
            self.started(&info.queue, call.granted.len() - before);
            self.refill_unused(call)?;
        }
        Ok((call.granted.len() - before, looked))
    }

    /// Turns one row into a lease, unless it must not start. Its gate, if any, has been told that it starts.
    fn grant_row(&mut self, call: &mut Call<'_>, line: &Arc<Line>, waiter: &Waiter, row: &rusqlite::Row<'_>, flags: i64) -> Result<()> {
        let job = match self.leased_job(line, row) {
            Ok(job) => job,
            Err(reason) => {
                self.quarantine(waiter.seq, Some(&line.queue), &reason, call.now)?;
                return self.gate_unused(call, waiter, true);
            }
        };
        if job.expires_at.is_some_and(|t| t <= call.now) && job.never_started {
            self.gate_unused(call, waiter, true)?;
            return self.expire(waiter.seq, call.now);
        }
        if !call.request.kinds.contains(&job.leased.kind) {
            // Its turn stays with an ordered job that waits for a daemon that knows it, as with one that waits to be retried.
            let gives_turn = self.queue(&line.queue)?.on_head == OnHead::Skip;
            self.gate_unused(call, waiter, gives_turn)?;
            return self.park_unknown(waiter.seq, &job.leased, call.now);
        }
        let mut flags = flags;
        if let Some(key) = &job.unique_key {
            flags |= flag::UNIQUE;
            let tenant = job.leased.tenant.as_deref().unwrap_or("");
            self.run(sql!("unique_started"), (tenant, line.queue.as_str(), key.as_str(), job.leased.id.0.as_bytes()))?;
        }
        if job.leased.extra.is_some() {
            flags |= flag::EXTRA;
        }
        if job.ordered {
            flags |= flag::ORDERED;
        }
        if let Some(expires_at) = job.expires_at {
            self.run(sql!("expiry_drop"), (expires_at.0, waiter.seq))?;
        }
        let row = params![waiter.seq, call.epoch, waiter.line, waiter.pos, waiter.gate, flags, tag(job.leased.id), None::<&str>];
        if call.put.execute(row).map_err(error::before_commit)? == 0 {
            tracing::error!(seq = waiter.seq, "a job stood in line while it ran; its place is dropped");
            return self.gate_unused(call, waiter, false);
        }
        if let (Some(tenants), Some(tenant)) = (&mut call.tenants, &line.tenant) {
            *tenants.entry(tenant.to_string()).or_default() += 1;
        }
        call.bytes += job.leased.payload.as_str().len();
        let lease = Lease { job: job.leased.id, epoch: call.epoch, nonce: call.request.nonce, row: waiter.seq, granted_at: call.now };
        call.granted.push(Leased { lease, job: job.leased });
        Ok(())
    }

    fn started(&mut self, queue: &Name, jobs: usize) {
        let jobs = i64::try_from(jobs).unwrap_or(0);
        self.count(queue, State::Queued, -jobs);
        self.count(queue, State::Running, jobs);
    }

    /// The gate counted a start that did not happen. Others come in later: now, a row let into this very line would be
    /// dropped with those already dealt with.
    fn gate_unused(&mut self, call: &mut Call<'_>, waiter: &Waiter, gives_turn: bool) -> Result<()> {
        if let Some(gate) = waiter.gate {
            self.gate_start_undone(gate)?;
            if gives_turn {
                self.gate_head_done(gate, waiter.seq)?;
            }
            call.refill.push(gate);
        }
        Ok(())
    }

    fn refill_unused(&mut self, call: &mut Call<'_>) -> Result<()> {
        for gate in std::mem::take(&mut call.refill) {
            self.refill(gate, call.now.0)?;
        }
        Ok(())
    }

    fn park_unknown(&mut self, seq: i64, job: &LeasedJob, now: Timestamp) -> Result<()> {
        let until = now.plus_ms(self.kind(&job.kind)?.park_for_ms);
        self.run(sql!("job_park"), (seq, "unknown_kind", until.0, None::<String>))?;
        self.moved(&job.queue, State::Queued, State::Parked);
        Ok(())
    }

    pub(super) fn leased_by(&mut self, nonce: Nonce) -> Result<Vec<Leased>> {
        let mut read = self.prepare(sql!("leased_by"))?;
        let mut rows = read.query([nonce.0.as_bytes()]).map_err(error::before_commit)?;
        let mut leased = Vec::new();
        while let Some(row) = rows.next().map_err(error::before_commit)? {
            let own = |e| error::before_commit(e);
            let line = self.line_of(row.get(rows::lease::LINE).map_err(own)?)?;
            let (epoch, granted_at): (i64, i64) =
                (row.get(rows::lease::EPOCH).map_err(own)?, row.get(rows::lease::GRANTED_AT).map_err(own)?);
            if let Ok(job) = self.leased_job(&line, row) {
                // One that cannot be read stays leased to a holder that does not know of it; its heartbeat gives it back.
                let row = row.get(rows::lease::SEQ).map_err(own)?;
                let lease = Lease { job: job.leased.id, epoch, nonce, row, granted_at: Timestamp(granted_at) };
                leased.push(Leased { lease, job: job.leased });
            }
        }
        Ok(leased)
    }

    /// The next instant at which time alone brings work.
    pub(super) fn next_due(&mut self, queues: &[(Name, usize)], now: Timestamp) -> Result<Option<Timestamp>> {
        let mut next: Option<i64> = self.one(sql!("next_due"), [], |row| row.get(0))?.flatten();
        for (queue, _) in queues {
            let settings = self.queue(queue)?;
            if let Some(rate) = settings.rate {
                let tat: i64 = self.one(sql!("queue_tat"), [queue.as_str()], |row| row.get(0))?.unwrap_or(0);
                let opens = limits::rate_opens(rate, tat);
                if opens > now.0 {
                    next = Some(next.map_or(opens, |n| n.min(opens)));
                }
            }
        }
        Ok(next.map(Timestamp))
    }

    pub(super) fn heartbeat(
        &mut self,
        holder: HolderId,
        lease: std::time::Duration,
        held: &[Lease],
        progress: &[crate::store::Progress],
        now: Timestamp,
    ) -> Result<crate::store::Beat> {
        self.run(sql!("holder_beat"), (holder.0.as_bytes(), now.plus(lease).0))?;
        for report in progress {
            self.run(sql!("lease_progress"), (report.lease.row, report.lease.epoch, report.value.as_str()))?;
        }
        let mut live: HashMap<i64, (i64, bool)> =
            self.all(sql!("leases_of"), [holder.0.as_bytes()], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))?.into_iter().collect();
        let mut beat = crate::store::Beat::default();
        for lease in held {
            match live.get(&lease.row) {
                Some((epoch, cancel)) if *epoch == lease.epoch => {
                    if *cancel {
                        beat.cancel.push(*lease);
                    }
                    live.remove(&lease.row);
                }
                _ => beat.lost.push(*lease),
            }
        }
        for (row, (epoch, _)) in live.into_iter().take(STRAYS) {
            beat.strays.extend(self.one(sql!("lease_get"), (row, epoch), |found| {
                let (id, nonce) = (found.get(0)?, Nonce(Uuid::from_bytes(found.get(1)?)));
                Ok(Lease { job: job_id(id), epoch, nonce, row, granted_at: Timestamp(found.get(2)?) })
            })?);
        }
        Ok(beat)
    }
}

fn weight(settings: &QueueSettings, line: &Line) -> u32 {
    line.tenant.as_ref().and_then(|tenant| settings.tenant_weights.get(tenant)).copied().unwrap_or(1)
}

/// What one grant adds to a line's virtual time.
pub(super) fn step(weight: u32) -> i64 {
    STEP / i64::from(weight).clamp(1, STEP)
}

/// The random half of a job's id: what tells a lease that it is shown with the right job, at eight bytes a row.
pub(super) fn tag(job: JobId) -> i64 {
    job.0.as_u64_pair().1.cast_signed()
}

pub(super) fn job_id(bytes: [u8; 16]) -> JobId {
    JobId(Uuid::from_bytes(bytes))
}
