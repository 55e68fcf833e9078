//! The release binary as a child: started on the yardstick's store, asked through its control port, stopped as an operator
//! stops it.

use serde_json::Value;
use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

/// Where it listens. One runs at a time.
pub const LISTEN: &str = "127.0.0.1:7719";
/// What the configuration manual says for jobs that take no time: many slots, so that one lease call brings many.
const SLOTS: &str = "{ default = 4000 }";
/// Of one that only takes jobs in: it works on another queue than theirs.
const NO_SLOTS: &str = "{ nobodys = 1 }";

pub struct Daemon {
    child: Child,
    http: reqwest::Client,
}

/// The binary beside this program.
pub fn binary() -> std::path::PathBuf {
    let own = std::env::current_exe().expect("a program has a place");
    own.parent().and_then(std::path::Path::parent).expect("examples/ is in the build's folder").join("windlass")
}

/// The store's URL.
pub fn store(system: &str) -> String {
    match system {
        "sqlite" => format!("sqlite:{}/windlass.db", std::env::var("BENCH_SQLITE_DIR").expect("BENCH_SQLITE_DIR names a folder")),
        _ => std::env::var("BENCH_PG_URL").expect("BENCH_PG_URL names a database"),
    }
}

/// A client of the control port.
pub fn http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

impl Daemon {
    pub async fn start(system: &str) -> Self {
        Self::start_with(system, SLOTS).await
    }

    /// Takes jobs in and works on none, so that a producer is measured alone.
    pub async fn start_as_door(system: &str) -> Self {
        Self::start_with(system, NO_SLOTS).await
    }

    async fn start_with(system: &str, slots: &str) -> Self {
        let child = Command::new(binary())
            .args(["run", "--store", &store(system), "--listen", LISTEN])
            .envs([("WINDLASS__ENGINE__SLOTS", slots), ("WINDLASS__LOG__LEVEL", "error")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the daemon starts; build it first");
        let daemon = Self { child, http: http() };
        while !daemon.is_ready().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        daemon
    }

    async fn is_ready(&self) -> bool {
        let answer = self.http.get(format!("http://{LISTEN}/readyz")).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// Jobs by state, over all queues.
    async fn counts(&self) -> Vec<(String, u64)> {
        let answer = self.http.get(format!("http://{LISTEN}/v1/queues")).send().await.expect("the daemon answers");
        let queues: Value = answer.json().await.expect("JSON");
        let list = queues.get("items").unwrap_or(&queues).as_array().cloned().unwrap_or_default();
        let each = list.iter().filter_map(|queue| queue["jobs"].as_object());
        each.flatten().map(|(state, jobs)| (state.clone(), jobs.as_u64().unwrap_or(0))).collect()
    }

    pub async fn completed(&self) -> u64 {
        self.counts().await.iter().filter(|(state, _)| state == "completed").map(|(_, jobs)| jobs).sum()
    }

    pub async fn unfinished(&self) -> u64 {
        let live = ["scheduled", "queued", "running", "parked"];
        self.counts().await.iter().filter(|(state, _)| live.contains(&state.as_str())).map(|(_, jobs)| jobs).sum()
    }

    /// SIGTERM, and gone when this returns.
    pub async fn stop(mut self) {
        // SAFETY: a signal to a process of our own, whose id the handle keeps from being reused.
        unsafe { libc::kill(i32::try_from(self.child.id()).expect("a process id"), libc::SIGTERM) };
        tokio::task::spawn_blocking(move || self.child.wait()).await.expect("the wait ends").expect("the daemon ends");
    }
}
