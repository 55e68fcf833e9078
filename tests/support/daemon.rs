//! One daemon as a store sees it: a holder id that asks for work in one queue or several.

use super::name;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use windlass::{
    job::{HolderId, JobId, Leased, Name, Nonce},
    store::{LeaseReply, LeaseRequest, Now, Store},
};

/// The lease time of every daemon in these tests, as in production.
pub const LEASE: Duration = Duration::from_secs(15);

pub struct Daemon {
    pub holder: HolderId,
    pub kinds: Arc<BTreeSet<Name>>,
}

impl Daemon {
    /// Knows the kinds `work` and `other`.
    pub fn new() -> Self {
        Self::knowing(&["work", "other"])
    }

    pub fn knowing(kinds: &[&str]) -> Self {
        Self { holder: HolderId::mint(), kinds: Arc::new(kinds.iter().map(|kind| name(kind)).collect()) }
    }

    pub fn request(&self, queue: &str, most: usize) -> LeaseRequest {
        LeaseRequest {
            holder: self.holder,
            nonce: Nonce::mint(),
            queues: vec![(name(queue), most)],
            kinds: self.kinds.clone(),
            max_bytes: 8 << 20,
            lease: LEASE,
        }
    }

    /// Up to `most` jobs of queue `default`.
    pub async fn lease(&self, store: &dyn Store, most: usize, now: Now) -> Vec<Leased> {
        self.lease_from(store, "default", most, now).await
    }

    pub async fn lease_from(&self, store: &dyn Store, queue: &str, most: usize, now: Now) -> Vec<Leased> {
        self.ask(store, queue, most, now).await.jobs
    }

    pub async fn ask(&self, store: &dyn Store, queue: &str, most: usize, now: Now) -> LeaseReply {
        store.lease(self.request(queue, most), now).await.expect("the store leases")
    }

    /// The one job that there is to lease.
    pub async fn lease_one(&self, store: &dyn Store, now: Now) -> Leased {
        let mut jobs = self.lease(store, 2, now).await;
        assert_eq!(jobs.len(), 1, "exactly one job was expected to be leasable, got {:?}", ids(&jobs));
        jobs.remove(0)
    }
}

pub fn ids(jobs: &[Leased]) -> Vec<JobId> {
    jobs.iter().map(|leased| leased.job.id).collect()
}
