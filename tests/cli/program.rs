//! The binary as a person or a service manager runs it: in a folder of its own, with nothing of ours in the environment.

use serde_json::Value;
use std::{
    ffi::OsString,
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Longer than anything here takes on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A folder with a store in it, and the program to work on it.
pub struct Place {
    folder: TempDir,
}

/// The one that was built with these tests, or another: a release, say.
fn binary() -> OsString {
    std::env::var_os("WINDLASS_TEST_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_windlass").into())
}

/// How a run of the program ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Place {
    pub fn new() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary());
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("WINDLASS")) {
            command.env_remove(name);
        }
        command.env_remove("NOTIFY_SOCKET").env_remove("WATCHDOG_USEC").env_remove("CREDENTIALS_DIRECTORY");
        command.current_dir(self.folder.path()).args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn run(&self, args: &[&str]) -> Ended {
        Ended::of(self.command(args).spawn().unwrap())
    }

    /// A run to which the kernel says that there is no space left, whatever file it writes to at a place (as SQLite does).
    pub fn run_without_space(&self, args: &[&str]) -> Ended {
        let mut command = self.command(args);
        // SAFETY: between fork and exec only async-signal-safe calls are allowed; prctl(2) is one.
        unsafe { command.pre_exec(refuse_to_write) };
        Ended::of(command.spawn().unwrap())
    }

    pub fn run_with_input(&self, args: &[&str], input: &str) -> Ended {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_owned();
        // The program may end before it has read everything.
        let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
        let ended = Ended::of(child);
        writer.join().unwrap();
        ended
    }

    /// The JSON that a command prints, which must end well.
    pub fn json(&self, args: &[&str]) -> Value {
        let ended = self.run(args);
        assert_eq!(ended.code, 0, "windlass {args:?}: {}", ended.err);
        serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("windlass {args:?} printed {:?}: {error}", ended.out))
    }

    /// A daemon on this folder's store, ready.
    pub fn daemon(&self, args: &[&str]) -> RunningDaemon {
        self.daemon_and_log(args).0
    }

    /// The same, with what it logged before it was ready.
    pub fn daemon_and_log(&self, args: &[&str]) -> (RunningDaemon, Vec<Value>) {
        RunningDaemon::start(self, args)
    }
}

impl Ended {
    fn of(child: Child) -> Self {
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }

    /// The exit code, and all that was said about it: one sentence, or one a line.
    #[track_caller]
    pub fn assert_refused(&self, code: i32, says: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.err.starts_with("windlass: "), "{self:?}");
        for part in says {
            assert!(self.err.contains(part), "{part:?} is not in {:?}", self.err);
        }
        assert!(!self.err.contains("panicked"), "{self:?}");
    }
}

/// `windlass run` as a process. Killed when it is dropped.
pub struct RunningDaemon {
    child: Child,
    pub address: SocketAddr,
    log: mpsc::Receiver<Value>,
}

impl RunningDaemon {
    fn start(place: &Place, args: &[&str]) -> (Self, Vec<Value>) {
        let mut command = place.command(&["run"]);
        command.args(args).env("WINDLASS__LOG__FORMAT", "json");
        if !args.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        // Over a limit of `limit_files` a write is to fail, as on a full disk; by itself the signal would end the program.
        // SAFETY: between fork and exec only async-signal-safe calls are allowed; signal(2) is one.
        unsafe {
            command.pre_exec(|| {
                libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
                Ok(())
            });
        }
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (tell, log) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let entry = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if tell.send(entry).is_err() {
                    return;
                }
            }
        });
        let mut daemon = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), log };
        let mut log = daemon.log_until("ready");
        let ready = log.pop().unwrap();
        daemon.address = ready["address"].as_str().unwrap().parse().unwrap();
        (daemon, log)
    }

    /// The next log entry whose message contains `part`.
    #[track_caller]
    pub fn wait_for_log(&self, part: &str) -> Value {
        self.log_until(part).pop().unwrap()
    }

    /// All entries up to and with the one whose message contains `part`.
    #[track_caller]
    fn log_until(&self, part: &str) -> Vec<Value> {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        while let Ok(entry) = self.log.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            let found = entry["message"].as_str().is_some_and(|message| message.contains(part));
            seen.push(entry);
            if found {
                return seen;
            }
        }
        panic!("{part:?} was never logged, but {seen:#?}");
    }

    pub fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id()).unwrap();
        // SAFETY: kill has no preconditions; the child is ours and not reaped yet.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    /// From now on the daemon writes no file beyond so many bytes; `None` takes the limit away.
    pub fn limit_files(&self, bytes: Option<u64>) {
        let pid = i32::try_from(self.child.id()).unwrap();
        let limit = libc::rlimit { rlim_cur: bytes.unwrap_or(libc::RLIM_INFINITY), rlim_max: libc::RLIM_INFINITY };
        // SAFETY: the limit is read only, and asking for the old one is optional.
        assert_eq!(unsafe { libc::prlimit(pid, libc::RLIMIT_FSIZE, &raw const limit, std::ptr::null_mut()) }, 0);
    }

    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for RunningDaemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A seccomp filter, inherited over exec: pwrite64 answers ENOSPC, all else is as ever.
fn refuse_to_write() -> std::io::Result<()> {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let mut filter = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        libc::sock_filter { jf: 1, ..statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, libc::SYS_pwrite64 as u32) },
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | libc::ENOSPC as u32),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program outlives the call, which copies it.
    let is_set = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
    };
    if is_set { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// What a run leaves in its folder must not have changed.
pub fn bytes_of(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}
