//! A store as one caller reaches it: the jobs of one tenant, or everybody's. What belongs to another tenant is answered as what does not exist
//! (contract P12). A job's tenant never changes, so what was looked up here is still true when it is acted on.

use super::{Actor, Cancelled, Enqueued, Error, Filter, Now, Page, Result, Store};
use crate::job::{
    Edit, Job, JobId, Name, NewJob,
    explain::{Explanation, Facts, explain},
};
use std::time::Duration;
use tokio::time::Instant;

/// Between two looks at a job that is waited for: most take milliseconds, the others minutes.
const FIRST_LOOKS: Duration = Duration::from_millis(10);
const LATER_LOOKS: Duration = Duration::from_millis(500);
/// At a job that moves while it is looked at.
const LOOKS: u32 = 5;

#[derive(Clone, Copy)]
pub struct Within<'s> {
    store: &'s dyn Store,
    tenant: Option<&'s Name>,
}

impl<'s> Within<'s> {
    /// No `tenant`: everybody's.
    #[must_use]
    pub fn new(store: &'s dyn Store, tenant: Option<&'s Name>) -> Self {
        Self { store, tenant }
    }

    /// As [`Store::enqueue`]; the jobs are the tenant's.
    ///
    /// # Errors
    /// `Invalid` when one names another tenant.
    pub async fn enqueue(&self, jobs: Vec<NewJob>, now: Now) -> Result<Vec<Enqueued>> {
        let bound =
            jobs.into_iter().enumerate().map(|(index, job)| job.bound_to(self.tenant).map_err(|error| Error::Invalid { index, error }));
        self.store.enqueue(bound.collect::<Result<_>>()?, now).await
    }

    pub async fn get(&self, id: JobId) -> Result<Option<Job>> {
        Ok(self.store.get(id).await?.filter(|job| self.tenant.is_none() || job.tenant.as_ref() == self.tenant))
    }

    /// The job once it is final, or as it stands when `patience` is over or nobody waits any more.
    pub async fn get_when_final(&self, id: JobId, patience: Duration, is_waited_for: impl Fn() -> bool) -> Result<Option<Job>> {
        let end = Instant::now() + patience;
        let mut pause = FIRST_LOOKS;
        loop {
            let job = self.get(id).await?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || !is_waited_for() || job.as_ref().is_none_or(|job| job.state.is_final()) {
                return Ok(job);
            }
            tokio::time::sleep(pause.min(left)).await;
            pause = (pause * 2).min(LATER_LOOKS);
        }
    }

    /// Why it does not run. What others do is told to who may know it.
    pub async fn explain(&self, id: JobId) -> Result<Option<Explanation>> {
        let mut looks = LOOKS;
        loop {
            let Some(job) = self.get(id).await? else { return Ok(None) };
            let standing = self.store.standing(&job, None).await?;
            looks -= 1;
            // It went on between the two looks.
            if looks > 0 && !standing.is_of(&job) {
                continue;
            }
            let daemons = self.store.daemons().await?;
            let changed = if self.tenant.is_none() { self.store.settings().await?.limits(&job.queue).changed } else { None };
            let explanation = explain(Facts { job: &job, standing: &standing, daemons: &daemons, changed: changed.as_ref() });
            return Ok(Some(if self.tenant.is_some() { explanation.for_tenant() } else { explanation }));
        }
    }

    /// How many rows were looked at is told of the tenant's own jobs alone.
    pub async fn list(&self, filter: &Filter, cursor: Option<&str>, limit: usize) -> Result<Page<Job>> {
        let Some(own) = self.tenant else { return self.store.list(filter, cursor, limit).await };
        if filter.tenant.as_ref().is_some_and(|asked| asked != own) {
            return Ok(Page::default());
        }
        let page = self.store.list(&Filter { tenant: Some(own.clone()), ..filter.clone() }, cursor, limit).await?;
        Ok(Page { looked: page.items.len().try_into().unwrap_or(u64::MAX), ..page })
    }

    pub async fn cancel(&self, id: JobId, reason: &str, actor: &Actor, now: Now) -> Result<Cancelled> {
        self.reaches(id).await?;
        self.store.cancel(id, reason, actor, now).await
    }

    pub async fn run_now(&self, id: JobId, actor: &Actor, now: Now) -> Result<()> {
        self.reaches(id).await?;
        self.store.run_now(id, actor, now).await
    }

    pub async fn edit(&self, id: JobId, edit: &Edit, actor: &Actor, now: Now) -> Result<()> {
        self.reaches(id).await?;
        self.store.edit(id, edit, actor, now).await
    }

    pub async fn redrive(&self, id: JobId, actor: &Actor, now: Now) -> Result<()> {
        self.reaches(id).await?;
        self.store.redrive(id, actor, now).await
    }

    pub async fn purge(&self, id: JobId, actor: &Actor, now: Now) -> Result<()> {
        self.reaches(id).await?;
        self.store.purge(id, actor, now).await
    }

    async fn reaches(&self, id: JobId) -> Result<()> {
        if self.tenant.is_some() && self.get(id).await?.is_none() {
            return Err(Error::NotFound { what: format!("job {id}") });
        }
        Ok(())
    }
}
