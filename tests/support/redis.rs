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
    let server = SERVER.get_or_init(start);
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
        let client = redis::Client::open(self.url()).expect("the URL is one");
        client.get_multiplexed_async_connection().await.expect("the server answers")
    }
}

fn start() -> Server {
    let bin = programs::program("redis-server", || programs::on_path("redis-server"));
    let port = free_port();
    // Nothing here has to survive the machine.
    let script = format!(
        r#"set -e
"{bin}" --port {port} --bind 127.0.0.1 --save '' --appendonly no --loglevel warning >/dev/null 2>&1 </dev/null &
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
