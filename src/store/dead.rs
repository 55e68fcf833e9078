//! Dead letters together: what they died of, and putting many back, changed or not.

use super::{Actor, Error, Filter, Result, search::LOOK, within::Within};
use crate::job::{Change, ErrorClass, Fingerprint, Job, JobId, Limits, Name, State, Timestamp, last_error};
use futures_util::{StreamExt as _, stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Dead letters in one page of those that one call looks at.
const PAGE: usize = 500;
/// Ids that a group shows.
const SAMPLE: usize = 5;
/// Redrives in flight at once: enough that they share commits, few enough that others get in between.
const AT_ONCE: usize = 64;

/// Dead letters that died of the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Group {
    pub fingerprint: Fingerprint,
    pub kind: Name,
    /// Of the newest.
    pub queue: Name,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<ErrorClass>,
    /// Of the newest. Missing where the caller may not see what a job carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Of those that were looked at.
    pub jobs: u64,
    pub oldest_at: Timestamp,
    pub newest_at: Timestamp,
    /// Some of them, newest first.
    pub sample: Vec<JobId>,
}

/// The largest group first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Groups {
    pub groups: Vec<Group>,
    /// Dead letters that were looked at.
    pub looked: u64,
    /// Where to look on; None: at all of them.
    pub next: Option<String>,
}

/// Which dead letters to put back, and how.
#[derive(Clone, Debug, Default)]
pub struct Order {
    pub filter: Filter,
    pub change: Option<Change>,
    pub limits: Limits,
    /// Say what would become of each, and leave it.
    pub dry_run: bool,
}

/// What became of one.
#[derive(Debug)]
pub struct Done {
    pub id: JobId,
    /// Why it stays dead.
    pub error: Option<Error>,
}

impl Within<'_> {
    /// What dead letters died of, of those that fit the filter; no page is begun once 10,000 were looked at.
    pub async fn dead_groups(&self, filter: &Filter, cursor: Option<&str>) -> Result<Groups> {
        let filter = Filter { state: Some(State::Dead), ..filter.clone() };
        let mut groups: BTreeMap<Fingerprint, Group> = BTreeMap::new();
        let (mut looked, mut next) = (0, cursor.map(ToOwned::to_owned));
        while looked < LOOK {
            let page = self.list(&filter, next.as_deref(), PAGE.min(LOOK - looked)).await?;
            looked += usize::try_from(page.looked).unwrap_or(LOOK).max(page.items.len());
            for job in &page.items {
                let fingerprint = Fingerprint::of(job);
                groups.entry(fingerprint.clone()).or_insert_with(|| Group::beginning_with(fingerprint, job)).take(job);
            }
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        let mut groups: Vec<Group> = groups.into_values().collect();
        groups.sort_by_key(|group| (std::cmp::Reverse(group.jobs), std::cmp::Reverse(group.newest_at)));
        Ok(Groups { groups, looked: looked as u64, next })
    }

    /// Each by itself: one that cannot go back does not hold the others.
    pub async fn redrive_each(&self, order: &Order, jobs: Vec<Job>, actor: &Actor) -> Vec<Done> {
        let one = |job: Job| async move { Done { id: job.id, error: self.redrive_one(order, &job, actor).await.err() } };
        stream::iter(jobs).map(one).buffered(AT_ONCE).collect().await
    }

    /// The same of those that are named; one that is not there is told of like one that cannot go back.
    pub async fn redrive_named(&self, order: &Order, ids: &[JobId], actor: &Actor) -> Vec<Done> {
        let one = |id: JobId| async move {
            let redriven = match self.get(id).await {
                Ok(Some(job)) => self.redrive_one(order, &job, actor).await,
                Ok(None) => Err(Error::NotFound { what: format!("job {id}") }),
                Err(error) => Err(error),
            };
            Done { id, error: redriven.err() }
        };
        stream::iter(ids.to_vec()).map(one).buffered(AT_ONCE).collect().await
    }

    async fn redrive_one(&self, order: &Order, job: &Job, actor: &Actor) -> Result<()> {
        let edit = order.change.as_ref().map(|change| change.on(job, order.limits)).transpose();
        let edit = edit.map_err(|error| Error::Invalid { index: 0, error })?;
        if order.dry_run && job.state == State::Dead {
            return Ok(());
        } else if order.dry_run {
            return Err(Error::NotAllowed(format!("job {} is {}; only a dead job can be redriven", job.id, job.state)));
        }
        if let Some(edit) = edit {
            self.edit(job.id, &edit, &actor.again(), None).await?;
        }
        self.redrive(job.id, &actor.again(), None).await
    }
}

impl Group {
    fn beginning_with(fingerprint: Fingerprint, job: &Job) -> Self {
        let error = last_error(job);
        let died_at = job.finished_at.unwrap_or(job.created_at);
        Self {
            fingerprint,
            kind: job.kind.clone(),
            queue: job.queue.clone(),
            reason: job.reason.clone(),
            code: error.map(|error| error.code.clone()),
            class: error.map(|error| error.class),
            message: error.map(|error| error.message.clone()),
            jobs: 0,
            oldest_at: died_at,
            newest_at: died_at,
            sample: Vec::new(),
        }
    }

    fn take(&mut self, job: &Job) {
        let died_at = job.finished_at.unwrap_or(job.created_at);
        self.jobs += 1;
        self.oldest_at = self.oldest_at.min(died_at);
        self.newest_at = self.newest_at.max(died_at);
        if self.sample.len() < SAMPLE {
            self.sample.push(job.id);
        }
    }
}
