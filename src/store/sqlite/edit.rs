//! Changing a job that waits, or a dead letter.

use super::{
    admin::missing,
    tx::{Tx, sql},
    waiting::Waiting,
};
use crate::{
    job::{Edit, JobId, State, Timestamp},
    store::{Actor, Error, Result, words::ms},
};
use rusqlite::params;

impl Tx<'_> {
    pub(super) fn edit(&mut self, id: JobId, edit: &Edit, actor: &Actor, now: Timestamp) -> Result<()> {
        if !self.audit(actor, "edit", &id.to_string(), Some(&edit.words()), now)? {
            return Ok(());
        }
        let state = self.state_of(id)?.ok_or_else(|| missing(id))?;
        let job = self.waiting_job(id)?;
        let is_ordered = job.as_ref().is_some_and(|job| job.ordered);
        edit.fits(id, state, is_ordered, self.is_alone(job.as_ref())?).map_err(Error::NotAllowed)?;
        self.is_still(id, edit)?;
        match job {
            None => self.edit_dead(id, edit),
            Some(job) if edit.moves() && state == State::Queued => self.edit_and_move(job, edit, now),
            Some(job) => {
                self.edit_row(&job, edit)?;
                // Whoever sleeps until the next due instant must hear of an earlier one.
                if edit.run_at.is_some() {
                    self.hint_work();
                }
                Ok(())
            }
        }
    }

    fn is_alone(&self, job: Option<&Waiting>) -> Result<bool> {
        let Some(Waiting { queue, pos: Some(pos), .. }) = job else { return Ok(false) };
        Ok(self.one(sql!("suspect_at"), (queue.as_str(), *pos), |_| Ok(()))?.is_some())
    }

    fn is_still(&self, id: JobId, edit: &Edit) -> Result<()> {
        let Some(was) = &edit.was else { return Ok(()) };
        let payload: Option<String> = self.one(sql!("payload_get"), [id.0.as_bytes()], |row| row.get(0))?;
        if payload.as_deref() == Some(was.as_str()) { Ok(()) } else { Err(Error::NotAllowed(Edit::outdated(id))) }
    }

    fn edit_dead(&self, id: JobId, edit: &Edit) -> Result<()> {
        let payload = edit.payload.as_ref().map(|payload| payload.as_str().to_owned());
        let row = params![id.0.as_bytes(), payload, edit.priority, edit.max_attempts, edit.timeout_ms.map(ms)];
        self.run(sql!("dead_edit"), row).map(drop)
    }

    fn edit_row(&self, job: &Waiting, edit: &Edit) -> Result<()> {
        let payload = edit.payload.as_ref().map(|payload| payload.as_str().to_owned());
        let row = params![job.seq, payload, edit.priority, edit.run_at.map(|t| t.0), edit.max_attempts, edit.timeout_ms.map(ms)];
        self.run(sql!("job_edit"), row).map(drop)
    }

    /// Out of its line, and to the end of another, or back to waiting for its time.
    fn edit_and_move(&mut self, job: Waiting, edit: &Edit, now: Timestamp) -> Result<()> {
        self.displace(&job, now)?;
        self.edit_row(&job, edit)?;
        if let Some(expires_at) = job.expires_at {
            self.run(sql!("expiry_put"), (expires_at.0, job.seq))?;
        }
        self.hint_work();
        if let Some(run_at) = edit.run_at.filter(|run_at| *run_at > now) {
            self.run(sql!("job_schedule"), (job.seq, run_at.0))?;
            self.moved(&job.queue, State::Queued, State::Scheduled);
            return Ok(());
        }
        self.let_go(&Waiting { priority: edit.priority.unwrap_or(job.priority), ..job })
    }
}
