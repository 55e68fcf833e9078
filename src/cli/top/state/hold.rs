//! Holding a queue back, or letting it go: what is asked before it is done. The queue is the one that was chosen when the question came up,
//! whatever moves behind it.

use super::super::heard::Act;
use crate::{job::Name, store::QueueStatus};

/// As the port has it.
const REASON_BYTES: usize = 500;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    pub queue: Name,
    /// It is to be let go.
    pub resume: bool,
    pub reason: String,
    /// Why the answer would not do.
    pub wants: Option<&'static str>,
    pub running: u64,
    pub waiting: u64,
}

impl Hold {
    /// # Errors
    /// When no queue can be called so.
    pub fn of(queue: &QueueStatus) -> Result<Self, String> {
        use crate::job::State::{Queued, Running};
        let name = Name::new(&queue.name).map_err(|_| format!("{:?} is no name of a queue", queue.name))?;
        let count = |state| queue.jobs.get(&state).copied().unwrap_or(0);
        let (running, waiting) = (count(Running), count(Queued));
        Ok(Self { queue: name, resume: queue.paused.is_some(), reason: String::new(), wants: None, running, waiting })
    }

    pub fn write(&mut self, c: char) {
        if !self.resume && !c.is_control() && self.reason.len() + c.len_utf8() <= REASON_BYTES {
            self.wants = None;
            self.reason.push(c);
        }
    }

    pub fn erase(&mut self) {
        self.reason.pop();
    }

    /// What is to be done, once it is clear.
    pub fn agree(&mut self) -> Option<Act> {
        let queue = self.queue.clone();
        if self.resume {
            return Some(Act::Resume { queue });
        }
        let reason = self.reason.trim().to_owned();
        self.wants = reason.is_empty().then_some("say why, for those who wonder");
        self.wants.is_none().then_some(Act::Pause { queue, reason })
    }
}
