//! The real binary as a process of its own: started, watched, killed, stopped and continued.

use serde_json::Value;
use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// Longer than anything here takes on a busy machine; a test that reaches it has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// Looks again and again until `look` answers, at most [`DEADLINE`].
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    loop {
        ticks.tick().await;
        if let Some(found) = look().await {
            return found;
        }
        assert!(began.elapsed() < DEADLINE, "waited too long for {what}");
    }
}

pub(crate) struct Daemon {
    child: Child,
    pub(crate) address: SocketAddr,
    http: reqwest::Client,
}

impl Daemon {
    /// Starts `windlass run` on `folder`'s store and waits until it is ready.
    pub(crate) async fn start(folder: &Path, extra: &[(&str, &str)]) -> Self {
        Self::start_on(&format!("sqlite:{}", store(folder).display()), folder, free_address(), extra).await
    }

    /// The same on any store. Its log goes into `folder`.
    pub(crate) async fn start_on(url: &str, folder: &Path, address: SocketAddr, extra: &[(&str, &str)]) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_windlass"))
            .args(["run", "--store", url, "--listen", &address.to_string()])
            .env("WINDLASS__OUTBOUND__ALLOW", r#"["127.0.0.0/8"]"#)
            .envs(extra.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).expect("a log can be kept"))
            .spawn()
            .expect("the binary starts");
        let mut daemon = Self { child, address, http: http() };
        until("the daemon to be ready", async || {
            if let Ok(Some(status)) = daemon.child.try_wait() {
                let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
                panic!("the daemon ended at start ({status}):\n{log}");
            }
            let answer = daemon.http.get(format!("http://{address}/readyz")).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
        daemon
    }

    pub(crate) fn signal(&self, signal: i32) {
        // SAFETY: a signal to a process of our own, whose id the handle keeps from being reused.
        let sent = unsafe { libc::kill(i32::try_from(self.child.id()).expect("a process id"), signal) };
        assert_eq!(sent, 0, "the signal is sent");
    }

    /// kill -9, and gone when this returns.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }

    /// Waits for an end that was asked for.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        until("the daemon to end", async || self.child.try_wait().expect("it can be asked")).await
    }

    pub(crate) async fn get(&self, path: &str) -> Option<Value> {
        let answer = self.http.get(format!("http://{}{path}", self.address)).send().await.ok()?;
        answer.json().await.ok()
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Value {
        let sent = self.http.post(format!("http://{}{path}", self.address)).json(&body).send().await.expect("the port answers");
        assert!(sent.status().is_success(), "{path}: {}", sent.status());
        sent.json().await.expect("JSON")
    }

    /// The same for a call that may be refused.
    pub(crate) async fn try_post(&self, path: &str, body: &Value) -> Option<u16> {
        let sent = self.http.post(format!("http://{}{path}", self.address)).json(body).send().await.ok()?;
        Some(sent.status().as_u16())
    }

    /// Jobs of `queue` in `state`.
    pub(crate) async fn count(&self, queue: &str, state: &str) -> Option<u64> {
        let queues = self.get("/v1/queues").await?;
        let list = queues.get("items").unwrap_or(&queues).as_array()?.clone();
        let queue = list.into_iter().find(|q| q["name"] == queue)?;
        queue["jobs"][state].as_u64()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn store(folder: &Path) -> PathBuf {
    folder.join("windlass.db")
}

fn http() -> reqwest::Client {
    // The client is built without a provider of its own; whoever comes first installs one for all tests.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}
