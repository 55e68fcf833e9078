//! What a queue of several partitions does on one, two and three masters, beside a queue of one partition on a server that is no cluster: jobs a
//! second and the processor's time for each, which is what counts where all of them share the same cores.

use crate::{server::Server, worker::Worker};
use serde_json::json;
use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::Instant,
};
use windlass::{
    job::{Name, QueueSettings, Settings},
    store::{Options, Role, redis::RedisStore},
};

const PARTITIONS: u32 = 12;
/// Callers at one time.
const CALLERS: usize = 4;

pub async fn soak(jobs: u64, rounds: u64) {
    let jobs = usize::try_from(jobs).expect("fits");
    for round in 0..rounds {
        for masters in 0..=3 {
            let servers = if masters == 0 { vec![Server::start().await] } else { Server::cluster(masters).await };
            let places: Vec<String> = servers.iter().map(Server::place).collect();
            let url = if masters == 0 { servers[0].url() } else { format!("redis+cluster://{}", places.join(",")) };
            measure(&servers, &url, masters, jobs, round).await;
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
async fn measure(servers: &[Server], url: &str, masters: usize, jobs: usize, round: u64) {
    RedisStore::migrate(url, &Options::default().redis).await.expect("the functions load");
    let store = windlass::store::open(url, Role::Client, Options::default()).await.expect("it opens");
    if masters > 0 {
        let queue = QueueSettings { partitions: PARTITIONS, ..QueueSettings::default() };
        let queues = [(Name::new("default").expect("a name"), queue)].into();
        store.configure(&Settings { queues, ..Settings::default() }).await.expect("it is configured");
    }
    let worker = Arc::new(Worker::new(store));
    let mut told = json!({"masters": masters, "round": round});
    for (what, is_enqueue) in [("enqueued", true), ("leased and ended", false)] {
        let (before, own, began) = (processor(servers).await, own_processor(), Instant::now());
        let left = Arc::new(AtomicUsize::new(jobs));
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..CALLERS {
            let (worker, left) = (worker.clone(), left.clone());
            callers.spawn(async move { if is_enqueue { worker.enqueue(jobs / CALLERS).await } else { worker.finish(&left).await } });
        }
        callers.join_all().await;
        let each = |seconds: f64| (seconds * 1e7 / jobs as f64).round() / 10.0;
        told[what] = json!({
            "a second": (jobs as f64 / began.elapsed().as_secs_f64()).round(), "servers' us a job": each(processor(servers).await - before),
            "our us a job": each(own_processor() - own)
        });
    }
    println!("{told}");
}

async fn processor(servers: &[Server]) -> f64 {
    let mut sum = 0.0;
    for server in servers {
        sum += server.processor().await;
    }
    sum
}

/// Seconds of processor that this program has used.
fn own_processor() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let words: Vec<&str> = stat.rsplit_once(')').expect("a name in brackets").1.split_whitespace().collect();
    // User and system time, in hundredths.
    [11, 12].iter().map(|&at| words[at].parse::<f64>().expect("a number") / 100.0).sum()
}
