//! What a daemon says of itself, so that people and other daemons know who works on what.

use super::{HolderId, Name, Timestamp, TokenId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Daemon {
    /// The name under which it leases.
    pub holder: HolderId,
    /// The machine or pod that it runs on.
    pub node: String,
    pub pid: u32,
    pub version: String,
    pub started_at: Timestamp,
    /// It finishes what it has and takes no more.
    pub draining: bool,
    /// The queues that it works on.
    pub queues: BTreeMap<Name, QueueWork>,
    /// The kinds that it can run.
    pub kinds: BTreeSet<Name>,
    /// A worker that leases over a daemon's control port: a process of its own, which that daemon's end does not end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub remote: bool,
    /// The token that such a worker showed first: no other one speaks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenId>,
}

/// A daemon's part in one queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QueueWork {
    pub slots: usize,
    /// Of those, taken.
    pub running: usize,
    /// Attempts that ended in the last minute; fewer seconds count in a life that is shorter.
    pub ended_in_minute: u64,
}

/// A daemon as the store knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SeenDaemon {
    #[serde(flatten)]
    pub daemon: Daemon,
    /// When it last spoke, by the store's clock.
    pub seen_at: Timestamp,
    /// It is taken for alive until then.
    pub until: Timestamp,
}

impl SeenDaemon {
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.until > now
    }

    #[must_use]
    pub fn works_on(&self, queue: &Name) -> bool {
        self.daemon.queues.get(queue).is_some_and(|work| work.slots > 0) && !self.daemon.draining
    }
}
