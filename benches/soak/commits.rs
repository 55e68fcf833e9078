//! Producers that commit late, against daemons that are just falling asleep.

use crate::{daemon::Daemon, database::Database};
use serde_json::json;
use std::time::Duration;
use windlass::clock::Clock;

/// The wake-ups alone are looked at: no look is taken but those before it sleeps.
const SOUND_SLEEP: [(&str, &str); 1] = [("WINDLASS__STORE__POSTGRES__LIGHT_SLEEP_MS", "0")];
/// A job that was not started by then is lost.
const LOST: Duration = Duration::from_secs(60);

pub async fn soak(commits: u64, lanes: u64) {
    let mut each = tokio::task::JoinSet::new();
    for lane in 0..lanes {
        each.spawn(one_lane(lane, commits / lanes));
    }
    let mut waits: Vec<f64> = each.join_all().await.into_iter().flatten().collect();
    waits.sort_by(f64::total_cmp);
    let late = waits.iter().filter(|wait| **wait > 60.0).count();
    let at = |share: usize| waits[(waits.len() - 1) * share / 100];
    println!(
        "{}",
        json!({"commits": waits.len(), "ms from commit to start": {"p50": at(50), "p99": at(99), "max": at(100)}, "later than 60 ms": late})
    );
}

/// Milliseconds from each commit to the start of its job.
async fn one_lane(lane: u64, commits: u64) -> Vec<f64> {
    let database = Database::make(&format!("soak_commits_{lane}")).await;
    let daemon = Daemon::start_at(&database.url(), &format!("127.0.0.1:{}", 7730 + lane), &SOUND_SLEEP).await;
    let (producer, witness) = (database.client().await, database.client().await);
    let mut waits = Vec::new();
    for _ in 0..commits {
        // From the midst of the last job's end to deep sleep.
        tokio::time::sleep(Duration::from_millis(fastrand::u64(0..150))).await;
        let id = Database::begin_and_enqueue(&producer).await;
        tokio::time::sleep(Duration::from_millis(fastrand::u64(50..5000))).await;
        producer.batch_execute("COMMIT").await.expect("it commits");
        let committed = Clock::System.now().0;
        let started = async {
            loop {
                if let Some(started) = Database::started(&witness, id).await {
                    return started;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let started = tokio::time::timeout(LOST, started).await.expect("no commit is overlooked");
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        waits.push((started - committed) as f64 / 1e3);
    }
    daemon.stop().await;
    drop((producer, witness));
    database.drop().await;
    waits
}
