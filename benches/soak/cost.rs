//! What a job costs: time, buffers, bytes of WAL.

use crate::{daemon::Daemon, database::Database};
use serde_json::json;
use std::time::{Duration, Instant};

/// Per job.
#[derive(Clone, Copy)]
pub struct Cost {
    rate: f64,
    buffers: f64,
    wal: f64,
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn each(sum: i64, jobs: u64) -> f64 {
    sum as f64 / jobs as f64
}

impl Cost {
    /// Of `jobs` that are waiting in the database, worked off by a daemon.
    pub async fn of(database: &Database, jobs: u64) -> Self {
        // So that both of a pair write their pages whole once.
        database.checkpoint().await;
        database.resume().await;
        let held = database.running().await;
        let (before, start) = (database.work_so_far().await, database.completed().await);
        let daemon = Daemon::start(&database.url()).await;
        let until = async |count: u64| {
            loop {
                let completed = daemon.completed().await;
                if completed >= count {
                    return completed;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let first = until(start + 1).await;
        let began = Instant::now();
        let last = until(start + jobs * 9 / 10).await;
        #[expect(clippy::cast_precision_loss, reason = "figures for people")]
        let rate = (last - first) as f64 / began.elapsed().as_secs_f64();
        until(start + jobs).await;
        // What it has in hand it finishes, so that nothing but work is counted.
        daemon.pause("default").await;
        while daemon.running().await > held {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        daemon.stop().await;
        let after = database.work_so_far().await;
        let done = database.forget_completed().await;
        let cost = Self { rate, buffers: each(after.statements - before.statements, done), wal: each(after.wal - before.wal, done) };
        println!(
            "{}",
            json!({"jobs": done, "rate": cost.rate.round(), "buffers a job": cost.buffers, "WAL bytes a job": cost.wal.round(),
                "others' buffers a job": each(after.others - before.others, done)})
        );
        cost
    }
}

/// Of pairs, one after the other.
#[derive(Default)]
pub struct Ratios(Vec<[f64; 3]>);

impl Ratios {
    pub fn add(&mut self, what: &str, strained: Cost, usual: Cost) {
        let ratio = [strained.rate / usual.rate, strained.buffers / usual.buffers, strained.wal / usual.wal];
        println!("{}", json!({what: {"rate": ratio[0], "buffers": ratio[1], "WAL": ratio[2]}}));
        self.0.push(ratio);
    }

    pub fn keep_last(&mut self, pairs: usize) {
        self.0.drain(..self.0.len().saturating_sub(pairs));
    }

    /// The medians.
    pub fn tell(&self) {
        let median = |which: usize| {
            let mut of: Vec<f64> = self.0.iter().map(|ratio| ratio[which]).collect();
            of.sort_by(f64::total_cmp);
            of[of.len() / 2]
        };
        println!("{}", json!({"medians": {"rate": median(0), "buffers": median(1), "WAL": median(2)}, "pairs": self.0.len()}));
    }
}
