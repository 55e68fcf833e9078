//! By HTTP: workers in other languages, run as they stand against a daemon of their own.

use super::example;
use crate::{
    crash::process::{DEADLINE, Daemon, until},
    support::{on_path, program},
};
use serde_json::{Value, json};
use std::process::{Child, Command, Stdio};

/// A worker as a process of its own, killed with its handle.
struct Worker(Child);

impl Worker {
    /// Beats every third of a second, so that what it is told arrives soon.
    fn start(run: &mut Command, daemon: &Daemon) -> Self {
        let run = run
            .env("WINDLASS_URL", format!("http://{}", daemon.address))
            .env("WINDLASS_LEASE_MS", "1000")
            .env("NO_PROXY", "127.0.0.1")
            .env_remove("WINDLASS_TOKEN");
        Self(run.stdin(Stdio::null()).spawn().unwrap_or_else(|error| panic!("{run:?}: {error}")))
    }

    async fn ends_in_order(mut self) {
        // SAFETY: a signal to a process of our own, whose id the handle keeps from being reused.
        let sent = unsafe { libc::kill(i32::try_from(self.0.id()).expect("a process id"), libc::SIGTERM) };
        assert_eq!(sent, 0, "the signal is sent");
        let ended = until("the worker to end", async || self.0.try_wait().expect("it can be asked")).await;
        assert!(ended.success(), "{ended}");
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The job once `is_there`.
async fn job_when(daemon: &Daemon, id: &str, is_there: impl Fn(&Value) -> bool) -> Value {
    let seen = std::cell::RefCell::new(Value::Null);
    until(&format!("job {id}, in {DEADLINE:?}"), async || {
        *seen.borrow_mut() = daemon.get(&format!("/v1/jobs/{id}")).await?;
        is_there(&seen.borrow()).then_some(())
    })
    .await;
    seen.into_inner()
}

async fn put(daemon: &Daemon, queue: &str, kind: String, payload: Value) -> String {
    let answer = daemon.post("/v1/jobs", json!({"kind": kind, "queue": queue, "payload": payload})).await;
    answer["id"].as_str().expect("an id").to_owned()
}

/// What every worker does: results, a retry, a cancel while it runs, and a goodbye that hands back what it does not finish.
async fn assert_works(mut run: Command, queue: &str, prefix: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    // Those that fail are tried again soon.
    let kind =
        format!("[kinds.\"{prefix}.unsteady\"]\nqueue = \"{queue}\"\nretry = {{ curve = {{ curve = \"fixed\", delay_ms = 50 }} }}\n");
    let config = folder.path().join("windlass.toml");
    std::fs::write(&config, kind).expect("a configuration");
    let daemon = Daemon::start(folder.path(), &[("WINDLASS_CONFIG", config.to_str().expect("a path"))]).await;
    let counted = put(&daemon, queue, format!("{prefix}.count"), json!({"text": "one two three"})).await;
    let worker = Worker::start(&mut run, &daemon);
    let is_completed = |job: &Value| job["state"] == "completed";
    assert_eq!(job_when(&daemon, &counted, is_completed).await["result"], json!({"words": 3}));

    let unsteady = put(&daemon, queue, format!("{prefix}.unsteady"), json!({})).await;
    let done = job_when(&daemon, &unsteady, is_completed).await;
    assert_eq!((&done["result"], &done["attempts"][0]["outcome"]), (&json!({"attempt": 2}), &json!("retried")), "{done}");

    let patient = put(&daemon, queue, format!("{prefix}.patient"), json!({"seconds": 600})).await;
    job_when(&daemon, &patient, |job| job["state"] == "running").await;
    daemon.post(&format!("/v1/jobs/{patient}/cancel"), json!({"reason": "no longer wanted"})).await;
    let cancelled = job_when(&daemon, &patient, |job| job["state"] == "cancelled").await;
    assert_eq!(cancelled["reason"], "no longer wanted", "{cancelled}");

    let finished = put(&daemon, queue, format!("{prefix}.patient"), json!({"seconds": 1})).await;
    job_when(&daemon, &finished, |job| job["state"] == "running").await;
    let remote = |daemons: &Value| daemons.as_array().is_some_and(|all| all.iter().any(|one| one["remote"] == true));
    assert!(remote(&daemon.get("/v1/daemons").await.expect("daemons")));
    worker.ends_in_order().await;
    assert!(!remote(&daemon.get("/v1/daemons").await.expect("daemons")), "it said goodbye");
    let last = daemon.get(&format!("/v1/jobs/{finished}")).await.expect("a job");
    assert_eq!((&last["state"], last["attempts"].as_array().map(Vec::len)), (&json!("completed"), Some(1)), "{last}");
}

#[tokio::test]
async fn worker_in_python_works() {
    let mut run = Command::new(program("python3", || on_path("python3")));
    run.arg(example("http", "python").join("worker.py")).env("PYTHONDONTWRITEBYTECODE", "1");
    assert_works(run, "python", "py").await;
}

#[tokio::test]
async fn worker_in_node_works() {
    let mut run = Command::new(program("nodejs", || on_path("node")));
    run.arg(example("http", "node").join("worker.js"));
    assert_works(run, "node", "js").await;
}
