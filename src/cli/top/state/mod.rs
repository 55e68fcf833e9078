//! What the screen shows and what keys do to it. Pure: it takes keys and what was heard, and asks nobody.

mod hold;
mod keys;
mod list;
mod order;
mod samples;
#[cfg(test)]
mod tests;

pub use hold::Hold;
pub use list::{Go, List};
pub use order::{By, Order};
pub use samples::Samples;

use super::heard::{Act, Answer, Interest, JobsOf, Round, Told};
use crate::{
    control::wire::{DaemonAnswer, JobPage, JobSummary, SessionAnswer},
    job::{Fingerprint, JobId, Scope, Timestamp, explain::Explanation},
    store::{
        QueueStatus,
        dead::{Group, Groups},
    },
};
use std::time::Duration;

/// A word about what was done is shown so long.
const NOTED: Duration = Duration::from_secs(15);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    #[default]
    Overview,
    Queues,
    Jobs,
    Dead,
    Daemons,
}

impl View {
    pub const ALL: [Self; 5] = [Self::Overview, Self::Queues, Self::Jobs, Self::Dead, Self::Daemons];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Queues => "Queues",
            Self::Jobs => "Jobs",
            Self::Dead => "Dead letters",
            Self::Daemons => "Daemons",
        }
    }
}

/// What lies over the view and takes the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Over {
    Help,
    /// What the list is narrowed down to is being written.
    Filter,
    Hold(Hold),
    Job {
        id: JobId,
        scroll: u16,
    },
    Group {
        fingerprint: Fingerprint,
        scroll: u16,
    },
}

/// Whether somebody answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Link {
    #[default]
    Begun,
    Answers {
        from: String,
        took: Duration,
    },
    Lost {
        since: Timestamp,
        says: String,
    },
}

/// A word about what was done, or why it was not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub at: Timestamp,
    pub says: Answer<String>,
}

/// What is to happen after a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Stay,
    /// Everything is drawn anew: something else has written to the screen.
    Redraw,
    Quit,
    Do(Act),
}

#[derive(Clone, Debug, Default)]
pub struct Top {
    pub view: View,
    pub order: Order,
    pub jobs_of: JobsOf,
    pub over: Option<Over>,
    pub link: Link,
    pub note: Option<Note>,
    pub samples: Samples,
    pub now: Timestamp,
    /// When that was heard which is shown.
    pub heard_at: Option<Timestamp>,
    /// None: not asked yet.
    pub queues: Option<Answer<Vec<QueueStatus>>>,
    pub daemons: Option<Answer<Vec<DaemonAnswer>>>,
    pub jobs: Option<Answer<JobPage>>,
    pub groups: Option<Answer<Groups>>,
    pub explanation: Option<Answer<Option<Explanation>>>,
    caller: Option<SessionAnswer>,
    lists: [List; 4],
}

impl Top {
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self { now, ..Self::default() }
    }

    pub fn tick(&mut self, now: Timestamp) {
        self.now = now;
        if self.note.as_ref().is_some_and(|note| now.since(note.at) > NOTED) {
            self.note = None;
        }
    }

    #[must_use]
    pub fn interest(&self) -> Interest {
        let explanation = if let Some(Over::Job { id, .. }) = self.over { Some(id) } else { None };
        Interest { jobs: (self.view == View::Jobs).then(|| self.jobs_of.clone()), groups: self.view == View::Dead, explanation }
    }

    pub fn hear(&mut self, told: Told) {
        match told {
            Told::Round(round) => self.take(*round),
            Told::Lost(says) => self.lose(says),
            Told::Acted(says) => self.note = Some(Note { at: self.now, says }),
        }
    }

    fn take(&mut self, round: Round) {
        self.tick(round.at);
        if let Some(Ok(queues)) = &round.queues {
            self.samples.take(round.at, queues);
        }
        self.link = Link::Answers { from: round.from, took: round.took };
        self.heard_at = Some(round.at);
        self.caller = round.caller;
        self.queues = round.queues.or(self.queues.take());
        self.daemons = round.daemons.or(self.daemons.take());
        // What was asked for before somebody went on is no answer any more.
        self.jobs = round.jobs.filter(|(of, _)| *of == self.jobs_of).map(|(_, jobs)| jobs).or(self.jobs.take());
        self.groups = round.groups.or(self.groups.take());
        if let Some((id, explanation)) = round.explanation
            && self.interest().explanation == Some(id)
        {
            self.explanation = Some(explanation);
        }
        let keys = self.keys();
        self.list_mut().settle(&keys);
    }

    fn lose(&mut self, says: String) {
        self.samples.miss();
        let since = if let Link::Lost { since, .. } = self.link { since } else { self.now };
        self.link = Link::Lost { since, says };
    }

    // ---------------------------------------------------------------- rows

    /// Overview and Queues show the same list.
    const fn list_of(view: View) -> usize {
        match view {
            View::Overview | View::Queues => 0,
            View::Jobs => 1,
            View::Dead => 2,
            View::Daemons => 3,
        }
    }

    #[must_use]
    pub const fn list(&self) -> &List {
        &self.lists[Self::list_of(self.view)]
    }

    const fn list_mut(&mut self) -> &mut List {
        &mut self.lists[Self::list_of(self.view)]
    }

    /// In order, as far as the filter lets them through.
    #[must_use]
    pub fn queue_rows(&self) -> Vec<&QueueStatus> {
        let mut rows = rows(self.queues.as_ref(), |queues| queues, |queue| self.lists[0].shows(&queue.name));
        self.order.sort(&mut rows, &self.samples);
        rows
    }

    #[must_use]
    pub fn job_rows(&self) -> Vec<&JobSummary> {
        rows(self.jobs.as_ref(), |page| &page.items, |job| self.lists[1].shows(&words_of_job(job)))
    }

    #[must_use]
    pub fn group_rows(&self) -> Vec<&Group> {
        rows(self.groups.as_ref(), |groups| &groups.groups, |group| self.lists[2].shows(&words_of_group(group)))
    }

    #[must_use]
    pub fn daemon_rows(&self) -> Vec<&DaemonAnswer> {
        rows(self.daemons.as_ref(), |daemons| daemons, |daemon| self.lists[3].shows(&words_of_daemon(daemon)))
    }

    /// What names each row of the view's list.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        match self.view {
            View::Overview | View::Queues => self.queue_rows().iter().map(|queue| queue.name.clone()).collect(),
            View::Jobs => self.job_rows().iter().map(|job| job.id.to_string()).collect(),
            View::Dead => self.group_rows().iter().map(|group| group.fingerprint.to_string()).collect(),
            View::Daemons => self.daemon_rows().iter().map(|daemon| daemon.seen.daemon.holder.to_string()).collect(),
        }
    }

    /// The place of the chosen row.
    #[must_use]
    pub fn chosen(&self) -> Option<usize> {
        self.list().place(&self.keys())
    }

    /// The group that is looked at, if it is still there.
    #[must_use]
    pub fn group(&self, fingerprint: &Fingerprint) -> Option<&Group> {
        let groups = self.groups.as_ref()?.as_ref().ok()?;
        groups.groups.iter().find(|group| group.fingerprint == *fingerprint)
    }

    /// So many lines of the text that lies over the view do not fit: nobody goes further.
    pub fn bound_scroll(&mut self, beyond: u16) {
        if let Some(Over::Job { scroll, .. } | Over::Group { scroll, .. }) = &mut self.over {
            *scroll = (*scroll).min(beyond);
        }
    }

    /// The queue that the view is about just now.
    fn chosen_queue(&self) -> Option<&QueueStatus> {
        match self.view {
            View::Overview | View::Queues => self.queue_rows().get(self.chosen()?).copied(),
            View::Jobs => {
                let queues = self.queues.as_ref()?.as_ref().ok()?;
                queues.iter().find(|queue| Some(&queue.name) == self.jobs_of.queue.as_ref())
            }
            View::Dead | View::Daemons => None,
        }
    }

    /// Why this caller may hold no queue back; the port has the last word.
    fn may_not_operate(&self) -> Option<String> {
        let caller = self.caller.as_ref()?;
        if caller.tenant.is_some() {
            return Some("a queue is not one tenant's affair, and this token is bound to one".into());
        }
        (!caller.scopes.contains(&Scope::Operate))
            .then(|| "this token has not the scope `operate`; ask an operator for one that has".into())
    }
}

fn rows<'a, A, R>(answer: Option<&'a Answer<A>>, of: impl Fn(&'a A) -> &'a Vec<R>, is_shown: impl Fn(&R) -> bool) -> Vec<&'a R> {
    let items = answer.and_then(|answer| answer.as_ref().ok()).map(of);
    items.into_iter().flatten().filter(|row| is_shown(row)).collect()
}

fn words_of_job(job: &JobSummary) -> String {
    let error = job.error.as_ref().map(|error| format!("{} {}", error.code, error.message)).unwrap_or_default();
    let (tenant, reason) = (job.tenant.as_deref().unwrap_or_default(), job.reason.as_deref().unwrap_or_default());
    format!("{} {} {} {} {tenant} {reason} {error} {}", job.id, job.kind, job.queue, job.state, job.tags.join(" "))
}

fn words_of_group(group: &Group) -> String {
    let words = [&group.reason, &group.code, &group.message].map(|word| word.as_deref().unwrap_or_default());
    format!("{} {} {} {}", group.fingerprint, group.kind, group.queue, words.join(" "))
}

fn words_of_daemon(daemon: &DaemonAnswer) -> String {
    let daemon = &daemon.seen.daemon;
    let queues: Vec<&str> = daemon.queues.keys().map(|name| name.as_str()).collect();
    format!("{} {} {} {} {}", daemon.holder, daemon.node, daemon.pid, daemon.version, queues.join(" "))
}
