//! One throw-away Redis for the whole run, on a free port; each test has a prefix of its own. It ends with the test process,
//! however that ends: a shell waits for the end of a pipe whose other end only we hold.

use super::{postgres::free_port, programs};
use std::{
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};
use windlass::store::redis::{Config, RedisStore};

pub struct Server {
    port: u16,
    /// Its standard input is open as long as we live.
    _shell: Mutex<Child>,
    made: AtomicU64,
}

/// The server of this run, started on first use.
pub async fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    static LIBRARY: tokio::sync::OnceCell<()> = tokio::sync::OnceCell::const_new();
    let server = SERVER.get_or_init(|| start(""));
    let load = || async { RedisStore::migrate(&server.url(), &Config::default()).await.expect("the library loads") };
    LIBRARY.get_or_init(load).await;
    server
}

impl Server {
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Keys that nobody else uses.
    pub fn fresh(&self) -> String {
        format!("t{}", self.made.fetch_add(1, Ordering::Relaxed))
    }

    /// Says one command, its words apart by spaces.
    async fn say(&self, words: &str) -> redis::Value {
        let mut call = redis::Cmd::new();
        words.split(' ').for_each(|word| _ = call.arg(word));
        call.query_async(&mut self.connect().await).await.unwrap_or_else(|error| panic!("{words}: {error}"))
    }

    /// The address of the server for a user of the recipe that docs/redis.md has for `role`.
    pub async fn user(&self, role: &str, prefix: &str) -> String {
        let recipe = include_str!("../../docs/redis.md").lines().find(|line| line.split_whitespace().nth(2) == Some(role));
        let recipe = recipe.expect("the page has a recipe for each role");
        let mut call = redis::cmd("ACL");
        call.arg("SETUSER").arg(format!("{role}-{prefix}"));
        for rule in recipe.split_whitespace().skip(3) {
            call.arg(rule.replace("windlass:", &format!("{prefix}:")).replace(">PASSWORD", ">secret"));
        }
        let () = call.query_async(&mut self.connect().await).await.expect("the recipe is good");
        format!("redis://{role}-{prefix}:secret@127.0.0.1:{}/0", self.port)
    }

    pub async fn connect(&self) -> redis::aio::MultiplexedConnection {
        patient(&self.url()).await
    }
}

/// What a server is asked may be all that a busy machine has left.
async fn patient(url: &str) -> redis::aio::MultiplexedConnection {
    let client = redis::Client::open(url).expect("the URL is one");
    let patient = redis::AsyncConnectionConfig::new().set_response_timeout(Some(std::time::Duration::from_secs(30)));
    client.get_multiplexed_async_connection_with_config(&patient).await.expect("the server answers")
}

/// With `options` beside what each has.
fn start(options: &str) -> Server {
    let bin = programs::program("redis-server", || programs::on_path("redis-server"));
    let port = free_port();
    // Nothing here has to survive the machine.
    let script = format!(
        r#"set -e
"{bin}" --port {port} --bind 127.0.0.1 --save '' --appendonly no --loglevel warning {options} >/dev/null 2>&1 </dev/null &
pid=$!
for _ in $(seq 300); do (exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null && break; sleep 0.02; done
echo ready
read -r _ || true
kill -TERM $pid
wait $pid || true
"#,
        bin = bin.display()
    );
    let mut command = Command::new("bash");
    command.arg("-c").arg(script).current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
    let mut shell = command.spawn().expect("a shell can be started");
    let mut line = String::new();
    BufReader::new(shell.stdout.take().expect("the pipe was asked for")).read_line(&mut line).expect("the shell can be read");
    assert_eq!(line.trim(), "ready", "the throw-away Redis did not start");
    Server { port, _shell: Mutex::new(shell), made: AtomicU64::new(0) }
}

/// Three masters that share the slots, for the whole run.
pub struct Cluster {
    masters: [Server; 3],
    made: AtomicU64,
    /// Of what each notes of the others.
    _folder: tempfile::TempDir,
}

/// The cluster of this run, started on first use.
pub async fn cluster() -> &'static Cluster {
    static CLUSTER: tokio::sync::OnceCell<Cluster> = tokio::sync::OnceCell::const_new();
    CLUSTER
        .get_or_init(|| async {
            let cluster = Cluster::start();
            cluster.join().await;
            RedisStore::migrate(&cluster.url(), &Config::default()).await.expect("the library loads");
            cluster
        })
        .await
}

impl Cluster {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let master = |n: usize| {
            let file = folder.path().join(format!("nodes-{n}.conf"));
            start(&format!("--cluster-enabled yes --cluster-port {} --cluster-config-file {}", free_port(), file.display()))
        };
        Self { masters: [master(0), master(1), master(2)], made: AtomicU64::new(0), _folder: folder }
    }

    /// Gives each a third of the slots, and makes them known to each other.
    async fn join(&self) {
        for (master, slots) in self.masters.iter().zip(["0 5460", "5461 10922", "10923 16383"]) {
            master.say(&format!("CLUSTER ADDSLOTSRANGE {slots}")).await;
            for other in &self.masters {
                let bus = other.say("CONFIG GET cluster-port").await;
                let redis::Value::Array(bus) = bus else { panic!("{bus:?}") };
                let bus: u16 = redis::from_redis_value(bus[1].clone()).expect("a port");
                master.say(&format!("CLUSTER MEET 127.0.0.1 {} {bus}", other.port)).await;
            }
        }
        let mut ticks = tokio::time::interval(std::time::Duration::from_millis(10));
        for master in &self.masters {
            loop {
                ticks.tick().await;
                let info: String = redis::from_redis_value(master.say("CLUSTER INFO").await).expect("a text");
                if info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3") {
                    break;
                }
            }
        }
    }

    pub fn url(&self) -> String {
        let hosts: Vec<String> = self.masters.iter().map(|master| format!("127.0.0.1:{}", master.port)).collect();
        format!("redis+cluster://{}", hosts.join(","))
    }

    pub fn fresh(&self) -> String {
        format!("c{}", self.made.fetch_add(1, Ordering::Relaxed))
    }

    pub async fn connect(&self) -> redis::cluster_async::ClusterConnection {
        let nodes = self.masters.iter().map(Server::url);
        redis::cluster::ClusterClient::new(nodes).expect("URLs").get_async_connection().await.expect("the cluster answers")
    }
}

/// A server of one test alone, which may be crashed, filled and replaced; it keeps an append-only file.
pub struct Own {
    port: u16,
    folder: tempfile::TempDir,
    options: Vec<String>,
    process: Option<Child>,
}

impl Own {
    /// With `options` beside an append-only file, such as `--appendfsync always`, and the library.
    pub async fn start(options: &[&str]) -> Self {
        let own = Self::empty(options).await;
        RedisStore::migrate(&own.url(), &Config::default()).await.expect("the library loads");
        own
    }

    /// The same without the library.
    pub async fn empty(options: &[&str]) -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a temporary folder can be made");
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut own = Self { port: free_port(), folder, options, process: None };
        own.up().await;
        own
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    pub const fn port(&self) -> u16 {
        self.port
    }

    /// kill -9.
    pub fn crash(&mut self) {
        let mut process = self.process.take().expect("the server runs");
        process.kill().expect("it can be killed");
        process.wait().expect("it ends");
    }

    /// `SIGSTOP`, `SIGCONT`.
    pub fn signal(&self, signal: libc::c_int) {
        let id = self.process.as_ref().expect("the server runs").id();
        // SAFETY: of a process that is ours and was not waited for.
        assert_eq!(unsafe { libc::kill(id.cast_signed(), signal) }, 0);
    }

    /// All that it has written is gone, as with another machine's disk.
    pub fn forget(&mut self) {
        std::fs::remove_dir_all(self.folder.path().join("appendonlydir")).expect("the append-only files can be deleted");
    }

    /// Starts it and waits until it has read what it kept.
    pub async fn up(&mut self) {
        let bin = programs::program("redis-server", || programs::on_path("redis-server"));
        let mut command = Command::new(bin);
        command.args([
            "--port",
            &self.port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "yes",
            "--loglevel",
            "warning",
        ]);
        command.arg("--dir").arg(self.folder.path()).args(&self.options);
        // SAFETY: only asks the kernel to end the server with the test.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            })
        };
        self.process = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the server starts"));
        let client = redis::Client::open(self.url()).expect("the URL is one");
        let mut ticks = tokio::time::interval(std::time::Duration::from_millis(10));
        for _ in 0..3000 {
            ticks.tick().await;
            if let Ok(mut connection) = client.get_multiplexed_async_connection().await
                && redis::cmd("PING").query_async::<String>(&mut connection).await.is_ok()
            {
                return;
            }
        }
        panic!("the server did not come up");
    }

    pub async fn connect(&self) -> redis::aio::MultiplexedConnection {
        patient(&self.url()).await
    }

    /// What is said to that, all texts of it.
    pub async fn text(&self, words: &str) -> String {
        fn gather(value: redis::Value, all: &mut Vec<String>) {
            match value {
                redis::Value::Array(values) => values.into_iter().for_each(|value| gather(value, all)),
                redis::Value::BulkString(bytes) => all.push(String::from_utf8_lossy(&bytes).into_owned()),
                redis::Value::Int(number) => all.push(number.to_string()),
                _ => {}
            }
        }
        let mut all = Vec::new();
        gather(self.say(words).await.unwrap_or_else(|error| panic!("{words}: {error}")), &mut all);
        all.join(" ")
    }

    /// Says one command, its words apart by spaces.
    pub async fn say(&self, words: &str) -> redis::RedisResult<redis::Value> {
        let mut words = words.split(' ');
        let mut call = redis::cmd(words.next().expect("a command"));
        words.for_each(|word| _ = call.arg(word));
        call.query_async(&mut self.connect().await).await
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// A cluster of one test alone: three masters, and a replica for each.
pub struct OwnCluster {
    pub nodes: Vec<Own>,
}

impl OwnCluster {
    pub async fn start(options: &[&str]) -> Self {
        let mut nodes = Vec::new();
        for _ in 0..6 {
            let bus = free_port().to_string();
            let cluster =
                ["--cluster-enabled", "yes", "--cluster-port", &bus, "--cluster-node-timeout", "1000", "--repl-diskless-sync-delay", "0"];
            nodes.push(Own::empty(&[&cluster[..], options].concat()).await);
        }
        let cluster = Self { nodes };
        cluster.join().await;
        RedisStore::migrate(&cluster.url(), &Config::default()).await.expect("the library loads");
        cluster
    }

    async fn join(&self) {
        for (node, slots) in self.nodes.iter().zip(["0 5460", "5461 10922", "10923 16383"]) {
            node.say(&format!("CLUSTER ADDSLOTSRANGE {slots}")).await.expect("slots");
        }
        for node in &self.nodes[1..] {
            let bus = node.text("CONFIG GET cluster-port").await;
            let port = bus.split_whitespace().last().expect("a port").to_owned();
            self.nodes[0].say(&format!("CLUSTER MEET 127.0.0.1 {} {port}", node.port)).await.expect("they meet");
        }
        self.until_everywhere("cluster_known_nodes:6").await;
        for (master, replica) in self.nodes[..3].iter().zip(&self.nodes[3..]) {
            let id = master.text("CLUSTER MYID").await;
            let mut ticks = tokio::time::interval(std::time::Duration::from_millis(10));
            // Until it has heard of that master.
            while replica.say(&format!("CLUSTER REPLICATE {id}")).await.is_err() {
                ticks.tick().await;
            }
        }
        self.until_everywhere("cluster_state:ok").await;
        for master in &self.nodes[..3] {
            let mut ticks = tokio::time::interval(std::time::Duration::from_millis(10));
            while !master.text("INFO replication").await.contains("state=online") {
                ticks.tick().await;
            }
        }
    }

    async fn until_everywhere(&self, word: &str) {
        let mut ticks = tokio::time::interval(std::time::Duration::from_millis(10));
        for node in &self.nodes {
            while !node.text("CLUSTER INFO").await.contains(word) {
                ticks.tick().await;
            }
        }
    }

    pub fn url(&self) -> String {
        let hosts: Vec<String> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        format!("redis+cluster://{}", hosts.join(","))
    }

    /// The node that serves the slot of `key`, of those that are up.
    pub async fn master_of(&self, key: &str) -> Option<usize> {
        for (n, node) in self.nodes.iter().enumerate() {
            if node.process.is_some() && node.say(&format!("EXISTS {key}")).await.is_ok() && node.text("ROLE").await.starts_with("master") {
                return Some(n);
            }
        }
        None
    }
}
