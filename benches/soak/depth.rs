//! Redis with much in it: what a lease and an end cost with millions of jobs waiting and as many finished, against ten thousand waiting
//! and none finished; and the memory that a waiting job takes.

use crate::{
    server::Server,
    worker::{BATCH, Worker},
};
use serde_json::json;
use std::time::{Duration, Instant};
use windlass::{
    job::HolderId,
    store::{Options, Role, redis::RedisStore},
};

/// Jobs of one measurement, and how many wait in the small store while it lasts.
const PORTION: usize = 100_000;
const FEW: usize = 10_000;

struct Place {
    server: Server,
    worker: Worker,
}

impl Place {
    async fn start() -> Self {
        let server = Server::start().await;
        RedisStore::migrate(&server.url(), &Options::default().redis).await.expect("the functions load");
        let store = windlass::store::open(&server.url(), Role::Client, Options::default()).await.expect("it opens");
        Self { server, worker: Worker::new(store) }
    }

    /// Jobs a second that are leased, and that are ended, of a portion.
    async fn rates(&self) -> (f64, f64) {
        let holder = HolderId::mint();
        let (mut leasing, mut ending) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..PORTION / FEW {
            self.worker.enqueue(FEW).await;
            for _ in 0..FEW / BATCH {
                let began = Instant::now();
                let leased = self.worker.lease(holder).await;
                leasing += began.elapsed();
                assert_eq!(leased.len(), BATCH);
                let began = Instant::now();
                self.worker.settle(&leased).await;
                ending += began.elapsed();
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "figures for people")]
        let rate = |span: Duration| PORTION as f64 / span.as_secs_f64();
        (rate(leasing), rate(ending))
    }
}

pub async fn soak(jobs: u64, pairs: u64) {
    let jobs = usize::try_from(jobs).expect("fits");
    let (deep, small) = (Place::start().await, Place::start().await);
    for done in (0..jobs).step_by(PORTION) {
        deep.worker.enqueue(PORTION.min(jobs - done)).await;
        deep.worker.finish(&PORTION.min(jobs - done).into()).await;
    }
    let before = deep.server.figure("used_memory").await;
    deep.worker.enqueue(jobs).await;
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let each = (deep.server.figure("used_memory").await - before) / jobs as f64;
    println!("{}", json!({"waiting": jobs, "finished": jobs, "bytes a waiting job": each.round()}));
    small.worker.enqueue(FEW).await;
    let mut ratios = Vec::new();
    for _ in 0..pairs {
        let (usual, full) = (small.rates().await, deep.rates().await);
        let told = |rates: (f64, f64)| json!({"leased a second": rates.0.round(), "ended a second": rates.1.round()});
        println!("{}", json!({"small": told(usual), "deep": told(full)}));
        ratios.push([full.0 / usual.0, full.1 / usual.1]);
    }
    let median = |which: usize| {
        let mut of: Vec<f64> = ratios.iter().map(|ratio| ratio[which]).collect();
        of.sort_by(f64::total_cmp);
        of[of.len() / 2]
    };
    println!("{}", json!({"medians": {"leasing": median(0), "ending": median(1)}, "pairs": ratios.len()}));
}
