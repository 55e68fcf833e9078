//! The control port end to end: a real listening socket in front of a real SQLite store.

mod access;
mod admin;
mod audit;
mod auth;
mod bad_input;
mod bounds;
mod bulk;
mod client;
mod enqueue;
mod events;
mod explain;
mod health;
mod hooks;
mod limits;
mod live;
mod openapi;
mod outages;
mod proxy;
mod schedules;
mod search;
mod tls;
mod work;
mod workbench;

use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use windlass::{
    clock::Clock,
    control::{self, Config, State},
    job::{ErrorClass, HolderId, JobError, JobId, KindSettings, Leased, Name, Nonce, Settings, Settlement, Transition},
    signatures,
    store::{LeaseRequest, Role, Store, sqlite, sqlite::SqliteStore},
    telemetry::Metrics,
};

/// Nothing in these tests takes as long; whatever waits longer has hung.
const PATIENCE: Duration = Duration::from_secs(30);

/// A control port of its own, on a free port, over a store of its own.
pub struct Port {
    pub address: SocketAddr,
    pub state: State,
    pub store: Arc<dyn Store>,
    http: reqwest::Client,
    shutdown: CancellationToken,
    serving: JoinHandle<std::io::Result<()>>,
    folder: Option<tempfile::TempDir>,
}

impl Port {
    pub async fn start() -> Self {
        Self::with(Config::default()).await
    }

    pub async fn with(config: Config) -> Self {
        Self::hooked(config, &signatures::Config::default(), Clock::System).await
    }

    pub async fn hooked(config: Config, webhooks: &signatures::Config, clock: Clock) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let role = Role::Daemon { control: None };
        let opened = SqliteStore::open(&folder.path().join("windlass.db"), role, sqlite::Config::default(), Clock::System);
        let mut port = Self::before(Arc::new(opened.expect("a store")), &config, webhooks, clock).await;
        port.folder = Some(folder);
        port
    }

    /// Of a store that somebody else keeps.
    pub async fn over(store: Arc<dyn Store>) -> Self {
        Self::before(store, &Config::default(), &signatures::Config::default(), Clock::System).await
    }

    async fn before(store: Arc<dyn Store>, config: &Config, webhooks: &signatures::Config, clock: Clock) -> Self {
        let state = State::new(config, webhooks, store.clone(), Metrics::new(), clock, Vec::new).expect("a good configuration");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(control::serve(listener, state.clone(), shutdown.clone()));
        Self { address, state, store, http: http(), shutdown, serving, folder: None }
    }

    /// Where the store's file is.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.as_ref().expect("a store of its own").path()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, self.url(path)).timeout(PATIENCE)
    }

    pub async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, "application/json", body.to_string()).await
    }

    pub async fn send(&self, method: Method, path: &str, content_type: &str, body: impl Into<reqwest::Body>) -> Answer {
        Answer::of(self.request(method, path).header("content-type", content_type).body(body)).await
    }

    pub async fn ndjson(&self, path: &str, lines: &str) -> Answer {
        self.send(Method::POST, path, "application/x-ndjson", lines.to_owned()).await
    }

    /// Ids of `n` new jobs of one kind, in the order of their enqueueing.
    pub async fn enqueue(&self, n: usize, envelope: &Value) -> Vec<JobId> {
        let answer = self.post("/v1/jobs", &Value::Array(vec![envelope.clone(); n])).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        answer.json().as_array().expect("an array").iter().map(id_of).collect()
    }

    pub async fn job(&self, id: JobId) -> Value {
        self.get(&format!("/v1/jobs/{id}")).await.json()
    }

    /// Jobs in the store, whatever their state.
    pub async fn count(&self) -> u64 {
        self.store.queues(None).await.expect("queues").iter().flat_map(|queue| queue.jobs.values()).sum()
    }

    pub async fn lease(&self, queue: &str, kind: &str, n: usize) -> Vec<Leased> {
        let request = LeaseRequest {
            holder: HolderId::mint(),
            nonce: Nonce::mint(),
            queues: vec![(name(queue), n)],
            kinds: Arc::new([name(kind)].into()),
            max_bytes: 1 << 20,
            lease: Duration::from_secs(60),
        };
        self.store.lease(request, None).await.expect("a lease").jobs
    }

    /// `n` dead letters.
    pub async fn dead(&self, n: usize, envelope: &Value) -> Vec<JobId> {
        let ids = self.enqueue(n, envelope).await;
        let kind = envelope["kind"].as_str().expect("a kind");
        let leased = self.lease(envelope["queue"].as_str().unwrap_or("default"), kind, n).await;
        assert_eq!(leased.len(), n, "all of them are due");
        let now = self.store.now().await.expect("the clock");
        let error = JobError::new(ErrorClass::Permanent, "http_400", "it was refused");
        let dead = |one: Leased| Settlement::new(one.lease, Transition::Dead { reason: "rejected", error: error.clone() }, now);
        self.store.settle(leased.into_iter().map(dead).collect(), None).await.expect("settled");
        ids
    }

    /// Writes `text` to a socket of its own and reads until the port closes it.
    pub async fn raw(&self, text: &[u8]) -> String {
        let mut socket = TcpStream::connect(self.address).await.expect("the port listens");
        socket.write_all(text).await.expect("written");
        read_to_end(&mut socket).await
    }

    pub async fn stop(mut self) {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, &mut self.serving).await.expect("closed in time").expect("no panic").expect("served");
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

pub async fn read_to_end(socket: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset after the answer is the port's right.
    let _ = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut answer)).await.expect("the port closes the connection");
    String::from_utf8_lossy(&answer).into_owned()
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Answer {
    pub async fn of(request: RequestBuilder) -> Self {
        let (client, request) = request.build_split();
        let request = request.expect("a request");
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let mut response = client.execute(request).await.expect("an answer");
        let (status, headers) = (response.status(), response.headers().clone());
        // A stream of events goes on for half an hour: what comes first tells enough.
        let goes_on = headers.get("content-type").is_some_and(|value| value == "text/event-stream");
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.expect("a whole answer") {
            bytes.extend_from_slice(&chunk);
            let told = String::from_utf8_lossy(&bytes);
            if goes_on && told.contains("event: ") && told.ends_with("\n\n") {
                break;
            }
        }
        let answer = Self { status, headers, text: String::from_utf8_lossy(&bytes).into_owned() };
        openapi::is_as_described(&method, &path, &answer);
        answer
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e} in {self:?}"))
    }

    pub fn lines(&self) -> Vec<Value> {
        self.text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line}"))).collect()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("a text header"))
    }

    /// Asserts that this is a problem of that status and code, well formed, and hands it over.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!((&problem["status"], &problem["code"]), (&json!(status), &json!(code)), "{self:?}");
        assert_eq!(problem["type"], "about:blank");
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{self:?}");
        problem
    }
}

fn http() -> reqwest::Client {
    // Other tests of this binary may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().expect("a client")
}

pub fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

pub fn id_of(answer: &Value) -> JobId {
    answer["id"].as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no id in {answer}"))
}

/// Settings that know one kind, `known`, in the queue `work`.
pub fn settings() -> Settings {
    let kind = KindSettings { queue: name("work"), ..KindSettings::default() };
    Settings { kinds: [(name("known"), kind)].into(), ..Settings::default() }
}
