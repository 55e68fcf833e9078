//! Redis with much in it: what a lease and an end cost with millions of jobs waiting and as many finished, against ten thousand waiting
//! and none finished; and the memory that a waiting job takes.

use redis::cmd;
use serde_json::json;
use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};
use windlass::{
    job::{HolderId, Json, Leased, Name, NewJob, Nonce, Settlement, Transition},
    store::{LeaseRequest, Options, Role, Store, redis::RedisStore},
};

/// Jobs of one measurement, and how many wait in the small store while it lasts.
const PORTION: usize = 100_000;
const FEW: usize = 10_000;
/// Jobs of one call.
const BATCH: usize = 1000;

struct Server {
    process: Child,
    folder: tempfile::TempDir,
    url: String,
    store: Arc<dyn Store>,
}

impl Server {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
        let process = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--dir"])
            .arg(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let url = format!("redis://127.0.0.1:{port}/0");
        while RedisStore::migrate(&url, &Options::default().redis).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let store = windlass::store::open(&url, Role::Client, Options::default()).await.expect("it opens");
        Self { process, folder, url, store }
    }

    /// One of the server's figures.
    async fn figure(&self, name: &str) -> f64 {
        let client = redis::Client::open(self.url.as_str()).expect("the URL is one");
        let mut connection = client.get_multiplexed_async_connection().await.expect("it answers");
        let told: String = cmd("INFO").arg("everything").query_async(&mut connection).await.expect("the figures");
        told.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.parse().ok()).unwrap_or_else(|| panic!("no {name}"))
    }

    async fn enqueue(&self, jobs: usize) {
        let payload =
            Json::of(&json!({"user_id": "0000123", "email": "user0000123@example.com", "template": "welcome_v2", "locale": "en_US",
            "tags": ["a", "b", "c"], "data": {"name": "Jo Example", "note": "x".repeat(40)}}));
        for _ in 0..jobs / BATCH {
            let batch = (0..BATCH).map(|_| NewJob::new(Name::new("bench.noop").expect("a name"), payload.clone())).collect();
            self.store.enqueue(batch, None).await.expect("they are taken");
        }
    }

    async fn lease(&self, holder: HolderId) -> Vec<Leased> {
        let queue = Name::new("default").expect("a name");
        let kinds = Arc::new([Name::new("bench.noop").expect("a name")].into());
        let (nonce, lease) = (Nonce::mint(), Duration::from_secs(600));
        let request = LeaseRequest { holder, nonce, queues: vec![(queue, BATCH)], kinds, max_bytes: 64 << 20, lease };
        self.store.lease(request, None).await.expect("they are granted").jobs
    }

    async fn settle(&self, leased: &[Leased]) {
        let end = |one: &Leased| Settlement::new(one.lease, Transition::Complete, one.lease.granted_at);
        self.store.settle(leased.iter().map(end).collect(), None).await.expect("it is written");
    }

    /// Works off so many.
    async fn finish(&self, jobs: usize) {
        let holder = HolderId::mint();
        for _ in 0..jobs / BATCH {
            self.settle(&self.lease(holder).await).await;
        }
    }

    /// Jobs a second that are leased, and that are ended, of a portion.
    async fn rates(&self) -> (f64, f64) {
        let holder = HolderId::mint();
        let (mut leasing, mut ending) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..PORTION / FEW {
            self.enqueue(FEW).await;
            for _ in 0..FEW / BATCH {
                let began = Instant::now();
                let leased = self.lease(holder).await;
                leasing += began.elapsed();
                assert_eq!(leased.len(), BATCH);
                let began = Instant::now();
                self.settle(&leased).await;
                ending += began.elapsed();
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "figures for people")]
        let rate = |span: Duration| PORTION as f64 / span.as_secs_f64();
        (rate(leasing), rate(ending))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        tracing::debug!(folder = %self.folder.path().display(), "stopped");
    }
}

pub async fn soak(jobs: u64, pairs: u64) {
    let jobs = usize::try_from(jobs).expect("fits");
    let (deep, small) = (Server::start().await, Server::start().await);
    for done in (0..jobs).step_by(PORTION) {
        deep.enqueue(PORTION.min(jobs - done)).await;
        deep.finish(PORTION.min(jobs - done)).await;
    }
    let before = deep.figure("used_memory").await;
    deep.enqueue(jobs).await;
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let each = (deep.figure("used_memory").await - before) / jobs as f64;
    println!("{}", json!({"waiting": jobs, "finished": jobs, "bytes a waiting job": each.round()}));
    small.enqueue(FEW).await;
    let mut ratios = Vec::new();
    for _ in 0..pairs {
        let (usual, full) = (small.rates().await, deep.rates().await);
        println!(
            "{}",
            json!({"leased/s small": usual.0.round(), "deep": full.0.round(), "ended/s small": usual.1.round(), "deep ": full.1.round()})
        );
        ratios.push([full.0 / usual.0, full.1 / usual.1]);
    }
    let median = |which: usize| {
        let mut of: Vec<f64> = ratios.iter().map(|ratio| ratio[which]).collect();
        of.sort_by(f64::total_cmp);
        of[of.len() / 2]
    };
    println!("{}", json!({"medians": {"leasing": median(0), "ending": median(1)}, "pairs": ratios.len()}));
}
