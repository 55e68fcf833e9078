//! The words between those who ask and those who show: what is worth asking for, what came back, and what somebody wants done.

use crate::{
    control::wire::{DaemonAnswer, JobPage, SessionAnswer},
    job::{JobId, Name, State, Timestamp, explain::Explanation},
    store::{QueueStatus, dead::Groups},
};
use std::time::Duration;

/// An answer, or the sentence with which it was refused.
pub type Answer<T> = Result<T, String>;

/// What the screen shows beside queues and daemons.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    pub jobs: Option<JobsOf>,
    pub groups: bool,
    pub explanation: Option<JobId>,
}

/// Which jobs; all where nothing is named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobsOf {
    pub queue: Option<String>,
    pub state: Option<State>,
}

/// What one round of asking brought. What was not asked for is missing.
#[derive(Clone, Debug, Default)]
pub struct Round {
    pub at: Timestamp,
    /// Who was asked, such as `127.0.0.1:7717`.
    pub from: String,
    pub took: Duration,
    /// None: somebody who may do everything, or a daemon that does not say.
    pub caller: Option<SessionAnswer>,
    pub queues: Option<Answer<Vec<QueueStatus>>>,
    pub daemons: Option<Answer<Vec<DaemonAnswer>>>,
    pub jobs: Option<(JobsOf, Answer<JobPage>)>,
    pub groups: Option<Answer<Groups>>,
    /// Of a job that is gone: None.
    pub explanation: Option<(JobId, Answer<Option<Explanation>>)>,
}

#[derive(Clone, Debug)]
pub enum Told {
    Round(Box<Round>),
    /// Nobody answers, and why.
    Lost(String),
    /// An act was carried out, or it was not.
    Acted(Answer<String>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    Pause { queue: Name, reason: String },
    Resume { queue: Name },
}
