//! The release binary as a child: started on the yardstick's store, asked through its control port, stopped as an operator
//! stops it.

use serde_json::{Value, json};
use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

/// Where it listens. One runs at a time.
pub const LISTEN: &str = "127.0.0.1:7719";
/// What the configuration manual says for jobs that take no time: many slots, so that one lease call brings many.
const SLOTS: &str = "{ default = 4000 }";
/// The jobs' kind is one that the daemon knows, as every kind is that somebody works on.
const KINDS: &str = r#"{ "bench.noop" = { queue = "default" } }"#;
/// Of one that only takes jobs in: it works on another queue than theirs.
const NO_SLOTS: &str = "{ nobodys = 1 }";

pub struct Daemon {
    child: Child,
    http: reqwest::Client,
    listen: String,
}

/// The binary beside this program.
pub fn binary() -> std::path::PathBuf {
    let own = std::env::current_exe().expect("a program has a place");
    own.parent().and_then(std::path::Path::parent).expect("examples/ is in the build's folder").join("windlass")
}

/// A client of the control port.
pub fn http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

impl Daemon {
    /// Works on jobs that take no time.
    pub async fn start(store: &str) -> Self {
        Self::start_at(store, LISTEN, &[("WINDLASS__ENGINE__SLOTS", SLOTS)]).await
    }

    /// Takes jobs in and works on none, so that a producer is measured alone.
    pub async fn start_as_door(store: &str) -> Self {
        Self::start_at(store, LISTEN, &[("WINDLASS__ENGINE__SLOTS", NO_SLOTS)]).await
    }

    pub async fn start_at(store: &str, listen: &str, settings: &[(&str, &str)]) -> Self {
        Self::start_binary(&binary(), store, listen, settings).await
    }

    /// One of any version.
    pub async fn start_binary(binary: &std::path::Path, store: &str, listen: &str, settings: &[(&str, &str)]) -> Self {
        let child = Command::new(binary)
            .args(["run", "--store", store, "--listen", listen])
            .env("WINDLASS__LOG__LEVEL", "error")
            .env("WINDLASS__KINDS", KINDS)
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the daemon starts; build it first");
        let mut daemon = Self { child, http: http(), listen: listen.to_owned() };
        while !daemon.is_ready().await {
            assert!(daemon.child.try_wait().expect("it can be asked").is_none(), "the daemon ended at once; is {listen} in use?");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert!(daemon.child.try_wait().expect("it can be asked").is_none(), "another program answers at {listen}");
        daemon
    }

    async fn is_ready(&self) -> bool {
        let answer = self.http.get(format!("http://{}/readyz", self.listen)).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// Jobs by state, over all queues.
    async fn counts(&self) -> Vec<(String, u64)> {
        let answer = self.http.get(format!("http://{}/v1/queues", self.listen)).send().await.expect("the daemon answers");
        let queues: Value = answer.json().await.expect("JSON");
        let list = queues.get("items").unwrap_or(&queues).as_array().cloned().unwrap_or_default();
        let each = list.iter().filter_map(|queue| queue["jobs"].as_object());
        each.flatten().map(|(state, jobs)| (state.clone(), jobs.as_u64().unwrap_or(0))).collect()
    }

    async fn in_states(&self, states: &[&str]) -> u64 {
        self.counts().await.iter().filter(|(state, _)| states.contains(&state.as_str())).map(|(_, jobs)| jobs).sum()
    }

    pub async fn completed(&self) -> u64 {
        self.in_states(&["completed"]).await
    }

    pub async fn unfinished(&self) -> u64 {
        self.in_states(&["scheduled", "queued", "running", "parked"]).await
    }

    pub async fn running(&self) -> u64 {
        self.in_states(&["running"]).await
    }

    /// Nothing more is leased from a queue.
    pub async fn pause(&self, queue: &str) {
        let answer = self.http.post(format!("http://{}/v1/queues/{queue}/pause", self.listen)).json(&json!({})).send().await;
        assert!(answer.is_ok_and(|answer| answer.status().is_success()), "{queue} is not paused");
    }

    /// SIGTERM, and gone when this returns.
    pub async fn stop(mut self) {
        // SAFETY: a signal to a process of our own, whose id the handle keeps from being reused.
        unsafe { libc::kill(i32::try_from(self.child.id()).expect("a process id"), libc::SIGTERM) };
        tokio::task::spawn_blocking(move || self.child.wait()).await.expect("the wait ends").expect("the daemon ends");
    }
}
