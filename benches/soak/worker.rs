//! A producer and a worker without a daemon around them: the store's own speed.

use serde_json::json;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use windlass::{
    job::{HolderId, Json, Leased, Name, NewJob, Nonce, Settlement, Transition},
    store::{LeaseRequest, Store},
};

/// Jobs of one call.
pub const BATCH: usize = 1000;

pub struct Worker {
    store: Arc<dyn Store>,
}

impl Worker {
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    pub async fn enqueue(&self, jobs: usize) {
        let payload =
            Json::of(&json!({"user_id": "0000123", "email": "user0000123@example.com", "template": "welcome_v2", "locale": "en_US",
            "tags": ["a", "b", "c"], "data": {"name": "Jo Example", "note": "x".repeat(40)}}));
        for _ in 0..jobs / BATCH {
            let batch = (0..BATCH).map(|_| NewJob::new(Name::new("bench.noop").expect("a name"), payload.clone())).collect();
            self.store.enqueue(batch, None).await.expect("they are taken");
        }
    }

    pub async fn lease(&self, holder: HolderId) -> Vec<Leased> {
        let queue = Name::new("default").expect("a name");
        let kinds = Arc::new([Name::new("bench.noop").expect("a name")].into());
        let (nonce, lease) = (Nonce::mint(), Duration::from_secs(600));
        let request = LeaseRequest { holder, nonce, queues: vec![(queue, BATCH)], kinds, max_bytes: 64 << 20, lease };
        self.store.lease(request, None).await.expect("they are granted").jobs
    }

    pub async fn settle(&self, leased: &[Leased]) {
        let end = |one: &Leased| Settlement::new(one.lease, Transition::Complete, one.lease.granted_at);
        self.store.settle(leased.iter().map(end).collect(), None).await.expect("it is written");
    }

    /// Works off what there is until `left` is none, which several may share.
    pub async fn finish(&self, left: &AtomicUsize) {
        let holder = HolderId::mint();
        while left.load(Ordering::Relaxed) > 0 {
            let leased = self.lease(holder).await;
            if leased.is_empty() {
                tokio::task::yield_now().await;
            } else {
                self.settle(&leased).await;
                left.fetch_sub(leased.len(), Ordering::Relaxed);
            }
        }
    }
}
