//! One throw-away Postgres for the whole run, on a free port, with a database for every test. It ends with the test process,
//! however that ends: a shell waits for the end of a pipe whose other end only we hold.

use super::programs::on_path;
use std::{
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio_postgres::{Client, NoTls};
use windlass::store::postgres::migrate;

/// The superuser.
const USER: &str = "windlass";

pub struct Server {
    pub(super) port: u16,
    /// Its standard input is open as long as we live.
    _shell: Mutex<Child>,
    made: AtomicU64,
    /// Databases that a model test has finished with.
    used: Mutex<Vec<String>>,
}

/// The server of this run, started on first use.
pub async fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    static TEMPLATE: tokio::sync::OnceCell<()> = tokio::sync::OnceCell::const_new();
    let server = SERVER.get_or_init(start);
    TEMPLATE
        .get_or_init(|| async {
            let client = server.connect("postgres").await;
            // Nobody but the tests themselves has more rights than they would have elsewhere.
            let roles = "CREATE ROLE migrator LOGIN CREATEROLE";
            client.batch_execute(roles).await.expect("roles can be made");
            client.batch_execute("CREATE DATABASE template OWNER migrator").await.expect("a database can be made");
            migrate::up(&server.url_of("migrator", "template")).await.expect("the migrations run");
            let daemon = "CREATE ROLE daemon LOGIN; GRANT windlass_daemon TO daemon";
            client.batch_execute(daemon).await.expect("roles can be made");
        })
        .await;
    server
}

impl Server {
    /// For a daemon, whose user may do what daemons do and nothing else.
    pub fn url(&self, database: &str) -> String {
        self.url_of("daemon", database)
    }

    pub fn url_of(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/{database}", self.port)
    }

    pub async fn connect(&self, database: &str) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.url_of(USER, database), NoTls).await.expect("the server answers");
        tokio::spawn(async move {
            let _ = connection.await;
        });
        client
    }

    /// A database with our tables in it and nothing else.
    pub async fn fresh(&self) -> String {
        let name = format!("t{}", self.made.fetch_add(1, Ordering::Relaxed));
        let client = self.connect("postgres").await;
        client.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template")).await.expect("a database can be made");
        name
    }

    /// A database that nobody has migrated yet.
    pub async fn empty(&self, owner: &str) -> String {
        let name = format!("t{}", self.made.fetch_add(1, Ordering::Relaxed));
        let client = self.connect("postgres").await;
        client.batch_execute(&format!("CREATE DATABASE {name} OWNER {owner}")).await.expect("a database can be made");
        name
    }

    /// One that may have been used before, empty again. For tests that wait for all they begin.
    pub async fn emptied(&self) -> String {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let Some(name) = used else { return self.fresh().await };
        let tables = "SELECT string_agg(format('DELETE FROM %I.%I', schemaname, tablename), ';') FROM pg_tables \
            WHERE schemaname = 'windlass' AND tablename NOT IN ('installation', 'kinds', 'rules', 'doors', 'migrations', 'routines', 'audit_head') AND tablename <> 'history_rest'";
        let client = self.connect(&name).await;
        let deletes: String = client.query_one(tables, &[]).await.expect("the tables can be listed").get(0);
        client.batch_execute(&deletes).await.expect("the tables can be emptied");
        let rest =
            "DELETE FROM windlass.kinds WHERE kind <> ''; DELETE FROM windlass.rules WHERE queue <> ''; SELECT windlass_v1.open_doors()";
        client.batch_execute(rest).await.expect("the tables can be emptied");
        name
    }

    pub fn give_back(&self, name: String) {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).push(name);
    }
}

/// The folder of Postgres' programs.
fn programs() -> PathBuf {
    let newest = || {
        let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
        let mut found: Vec<PathBuf> =
            versions.flatten().map(|version| version.path().join("bin/initdb")).filter(|initdb| initdb.exists()).collect();
        found.sort();
        found.pop()
    };
    let initdb = super::programs::program("postgresql", || newest().or_else(|| on_path("initdb")));
    initdb.parent().expect("a program is in a folder").to_owned()
}

/// Postgres does not run as root; then it runs as the user that its package made, or as nobody.
pub(super) fn somebody() -> Option<(u32, u32)> {
    // SAFETY: takes and changes nothing.
    if unsafe { libc::geteuid() } != 0 {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let ids = |name: &str| {
        let line = users.lines().find(|line| line.starts_with(&format!("{name}:")))?;
        let mut parts = line.split(':').skip(2);
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    };
    Some(ids("postgres").or_else(|| ids("nobody")).unwrap_or((65_534, 65_534)))
}

fn start() -> Server {
    let bin = programs();
    let port = free_port();
    // In memory where there is such a folder: nothing here has to survive the machine.
    let base = if std::path::Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" };
    let script = format!(
        r#"set -e
dir=$(mktemp -d {base}/windlass-test-pg.XXXXXX)
trap 'rm -rf "$dir"' EXIT
"{bin}/initdb" -D "$dir/data" -A trust -U {USER} -E UTF8 --locale=C --no-sync >"$dir/log" 2>&1 || {{ cat "$dir/log" >&2; exit 1; }}
"{bin}/postgres" -D "$dir/data" -p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="$dir" -c fsync=off \
  -c synchronous_commit=off -c full_page_writes=off -c max_connections=400 -c shared_buffers=128MB -c autovacuum_naptime=10s \
  -c max_wal_size=256MB >"$dir/log" 2>&1 </dev/null &
pid=$!
for _ in $(seq 300); do "{bin}/pg_isready" -q -h 127.0.0.1 -p {port} && break; sleep 0.05; done
"{bin}/pg_isready" -q -h 127.0.0.1 -p {port} || {{ cat "$dir/log" >&2; exit 1; }}
echo ready
read -r _ || true
kill -QUIT $pid
wait $pid || true
"#,
        bin = bin.display()
    );
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
    if let Some((user, group)) = somebody() {
        command.uid(user).gid(group);
    }
    let mut shell = command.spawn().expect("a shell can be started");
    let mut line = String::new();
    BufReader::new(shell.stdout.take().expect("the pipe was asked for")).read_line(&mut line).expect("the shell can be read");
    assert_eq!(line.trim(), "ready", "the throw-away Postgres did not start");
    Server { port, _shell: Mutex::new(shell), made: AtomicU64::new(0), used: Mutex::default() }
}

pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port can be had");
    listener.local_addr().expect("it has an address").port()
}

/// A server of one test alone, which may crash and come back. It keeps what it acknowledged over a crash of its processes.
pub struct Own {
    port: u16,
    folder: tempfile::TempDir,
    process: Option<Child>,
    /// Of the server, beside those that each has.
    settings: Vec<String>,
}

impl Own {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With `settings` in place of those that make it quick, such as `fsync=on`.
    pub async fn start_with(settings: &[&str]) -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a temporary folder can be made");
        if let Some((user, group)) = somebody() {
            std::os::unix::fs::chown(folder.path(), Some(user), Some(group)).expect("root may give a folder away");
        }
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let mut own = Self { port: free_port(), folder, process: None, settings };
        let options = ["-A", "trust", "-U", USER, "-E", "UTF8", "--locale=C", "--no-sync"];
        let made = own.program("initdb").args(options).stdout(Stdio::null()).status().expect("initdb runs");
        assert!(made.success(), "initdb failed");
        own.up().await;
        let client = own.connect("postgres").await;
        client.batch_execute("CREATE DATABASE own").await.expect("a database can be made");
        migrate::up(&own.url_of(USER)).await.expect("the migrations run");
        client.batch_execute("CREATE ROLE daemon LOGIN; GRANT windlass_daemon TO daemon").await.expect("roles can be made");
        own
    }

    /// For a daemon.
    pub fn url(&self) -> String {
        self.url_of("daemon")
    }

    fn url_of(&self, user: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/own", self.port)
    }

    async fn connect(&self, database: &str) -> Client {
        let url = format!("postgres://{USER}@127.0.0.1:{}/{database}", self.port);
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await.expect("the server answers");
        tokio::spawn(async move {
            let _ = connection.await;
        });
        client
    }

    /// The superuser's connection.
    pub async fn client(&self) -> Client {
        self.connect("own").await
    }

    /// `pg_ctl stop -m immediate`: no checkpoint, no goodbye to anybody.
    pub fn crash(&mut self) {
        let mut process = self.process.take().expect("the server runs");
        // SAFETY: a signal to a process of our own, whose id the handle keeps from being reused.
        unsafe { libc::kill(i32::try_from(process.id()).expect("a process id"), libc::SIGQUIT) };
        process.wait().expect("the server ends");
    }

    /// Starts it and waits until it has recovered.
    pub async fn up(&mut self) {
        let port = self.port.to_string();
        let socket = format!("unix_socket_directories={}", self.folder.path().display());
        let settings =
            ["listen_addresses=127.0.0.1", &socket, "fsync=off", "full_page_writes=off", "max_connections=100", "restart_after_crash=on"];
        let mut command = self.program("postgres");
        let settings = settings.into_iter().chain(self.settings.iter().map(String::as_str));
        command.args(["-p", &port]).args(settings.flat_map(|setting| ["-c", setting])).stderr(Stdio::null()).stdout(Stdio::null());
        // SAFETY: only asks the kernel to end the server with the test.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGQUIT);
                Ok(())
            })
        };
        self.process = Some(command.stdin(Stdio::null()).spawn().expect("the server starts"));
        let url = format!("postgres://{USER}@127.0.0.1:{}/postgres", self.port);
        let answers = async {
            while tokio_postgres::connect(&url, NoTls).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(60), answers).await.expect("the server comes up");
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(programs().join(name));
        command.arg("-D").arg(self.folder.path().join("data")).current_dir("/");
        if let Some((user, group)) = somebody() {
            command.uid(user).gid(group);
        }
        command
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.crash();
        }
    }
}
