//! Redis servers of a soak's own, with an append-only file synced each second, alone or as the masters of a cluster.

use redis::cmd;
use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

const SLOTS: usize = 16_384;

pub struct Server {
    process: Child,
    port: u16,
    bus: u16,
    _folder: tempfile::TempDir,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

impl Server {
    pub async fn start() -> Self {
        let server = Self::with(&[]);
        server.answers().await;
        server
    }

    fn with(options: &[&str]) -> Self {
        let (folder, port, bus) = (tempfile::tempdir().expect("a folder"), free_port(), free_port());
        let process = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--dir"])
            .arg(folder.path())
            .args(["--cluster-port", &bus.to_string()])
            .args(options)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        Self { process, port, bus, _folder: folder }
    }

    /// The masters of a cluster, which share its slots.
    pub async fn cluster(masters: usize) -> Vec<Self> {
        let servers: Vec<Self> = (0..masters).map(|_| Self::with(&["--cluster-enabled", "yes"])).collect();
        for (n, server) in servers.iter().enumerate() {
            server.answers().await;
            let (first, last) = (n * SLOTS / masters, (n + 1) * SLOTS / masters - 1);
            server.say(&format!("CLUSTER ADDSLOTSRANGE {first} {last}")).await;
            server.say(&format!("CLUSTER MEET 127.0.0.1 {} {}", servers[0].port, servers[0].bus)).await;
        }
        for server in &servers {
            let joined = |info: &str| info.contains("cluster_state:ok") && info.contains(&format!("cluster_known_nodes:{masters}"));
            while !joined(&server.say("CLUSTER INFO").await) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        servers
    }

    async fn answers(&self) {
        while redis::Client::open(self.url()).expect("a URL").get_multiplexed_async_connection().await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    pub fn place(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    async fn say(&self, words: &str) -> String {
        let mut connection = redis::Client::open(self.url()).expect("a URL").get_multiplexed_async_connection().await.expect("it answers");
        let mut words = words.split(' ');
        let mut call = cmd(words.next().expect("a command"));
        words.for_each(|word| _ = call.arg(word));
        call.query_async(&mut connection).await.expect("it does as it is told")
    }

    /// One of the server's figures.
    pub async fn figure(&self, name: &str) -> f64 {
        let told = self.say("INFO everything").await;
        told.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.parse().ok()).unwrap_or_else(|| panic!("no {name}"))
    }

    /// Seconds of processor that it has used.
    pub async fn processor(&self) -> f64 {
        self.figure("used_cpu_user").await + self.figure("used_cpu_sys").await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
