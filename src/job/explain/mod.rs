//! Why a job does not run: every gate between it and its start, in the order in which it meets them, whether each is open, and when it opens.
//! Pure: the facts come from a store ([`Standing`]) and from what the daemons say of themselves.

mod estimate;
mod gates;
mod words;

pub use estimate::{Estimate, Position};

use super::{Changed, Job, JobId, Name, SeenDaemon, Standing, State, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What an explanation is made of.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'f> {
    pub job: &'f Job,
    pub standing: &'f Standing,
    /// Also those that fell silent.
    pub daemons: &'f [SeenDaemon],
    /// What was changed of the queue's limits. None also where the reader may not know who did it.
    pub changed: Option<&'f Changed>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    pub id: JobId,
    pub kind: Name,
    pub queue: Name,
    pub state: State,
    /// The instant that it is true for, by the store's clock.
    pub at: Timestamp,
    /// One sentence: what holds the job, or what becomes of it.
    pub says: String,
    /// The first gate that is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_by: Option<GateName>,
    pub gates: Vec<Gate>,
    /// Of a job that stands in a line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// When it will start. Missing where nobody can know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts: Option<Estimate>,
}

/// One thing that a job must pass.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Gate {
    pub gate: GateName,
    pub open: bool,
    pub says: String,
    /// When it opens, if time alone opens it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opens_at: Option<Timestamp>,
    /// Of slots, how many are taken and how many there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// The jobs that hold it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<JobId>,
}

/// In the order in which a job meets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GateName {
    /// It has ended.
    Final,
    /// It runs.
    Lease,
    /// It waits for other jobs.
    Dependency,
    /// It waits for an answer from outside.
    Answer,
    /// No daemon that looked at it could run its kind.
    UnknownKind,
    /// Its worker parked it for another reason.
    Park,
    /// Its time has not come.
    Due,
    /// Its queue is held back.
    Pause,
    /// No daemon that lives works on its queue.
    Daemon,
    /// No daemon that works on its queue can run its kind.
    Worker,
    /// All slots of the daemons are taken.
    DaemonSlots,
    /// As many jobs of the queue run as may.
    QueueSlots,
    /// As many jobs of its tenant run as may.
    TenantSlots,
    /// It runs alone, since a process died under it.
    Alone,
    /// It is another's turn among the ordered jobs of its key.
    KeyOrder,
    /// As many jobs of its key run as may.
    KeySlots,
    /// The rate of its key.
    KeyRate,
    /// The rate of its queue.
    QueueRate,
    /// Others are before it.
    Line,
    /// Of a dead job: another has the unique key that it would need.
    UniqueKey,
}

/// Explains a job.
#[must_use]
pub fn explain(facts: Facts<'_>) -> Explanation {
    let Facts { job, standing, .. } = facts;
    let mut gates = gates::all(facts);
    if let Some(changed) = facts.changed {
        gates.iter_mut().for_each(|gate| gate.tell_of(changed));
    }
    gates.sort_by_key(|gate| gate.gate);
    let closed = gates.iter().find(|gate| !gate.open);
    let position = Position::of(standing);
    Explanation {
        id: job.id,
        kind: job.kind.clone(),
        queue: job.queue.clone(),
        state: job.state,
        at: standing.now,
        says: closed.map_or_else(|| words::open(job.state), |gate| gate.says.clone()),
        held_by: closed.map(|gate| gate.gate),
        starts: Estimate::of(facts, &gates, position.as_ref()),
        position,
        gates,
    }
}

impl Explanation {
    /// For somebody who may know of one tenant only: who paused a queue and why, and which machines there are, is not this one's affair.
    #[must_use]
    pub fn for_tenant(mut self) -> Self {
        for gate in &mut self.gates {
            if let Some(says) = words::for_tenant(gate.gate, &self.queue, &self.kind) {
                if self.held_by == Some(gate.gate) {
                    self.says.clone_from(&says);
                }
                gate.says = if gate.open { words::nothing_of(gate.gate) } else { says };
            }
        }
        self
    }
}

#[cfg(test)]
mod tests;
