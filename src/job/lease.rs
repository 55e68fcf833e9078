//! A lease is (job, epoch, nonce): ownership of one job for a time, and the proof that a settlement must show.

use super::{JobId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

/// One life of one daemon process. Minted at start, so that a process that comes back is not taken for its former self.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct HolderId(pub Uuid);

impl HolderId {
    #[must_use]
    pub fn mint() -> Self {
        Self(Uuid::now_v7())
    }
}

impl fmt::Display for HolderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names one lease call, chosen by the caller: it is the call's `op_id`, so that a call whose answer was lost can be
/// asked about, and it travels in every lease that the call granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Nonce(pub Uuid);

impl Nonce {
    #[must_use]
    pub fn mint() -> Self {
        Self(Uuid::now_v7())
    }
}

/// The proof that a holder owns a job: a settlement that shows job, epoch and nonce as last granted is accepted, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    pub job: JobId,
    /// Grows with every lease of the job and never falls, whatever the attempt number does.
    pub epoch: i64,
    pub nonce: Nonce,
    /// The driver's own handle on the row; means nothing to anyone else, and is not part of the proof.
    pub row: i64,
    /// When the grant was made, by the store's clock.
    pub granted_at: Timestamp,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Applied {
    Applied,
    /// The same write had been applied before; nothing changed now.
    AlreadyApplied,
    /// The lease is no longer the job's; nothing changed.
    LeaseLost,
}
