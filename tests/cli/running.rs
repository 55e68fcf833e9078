//! `windlass run` as a service: signals, reload, what it tells a service manager.

use super::program::{PATIENCE, Place};
use std::{
    os::unix::net::UnixDatagram,
    time::{Duration, Instant},
};

#[test]
fn a_daemon_is_ready_takes_a_job_and_ends_on_sigterm() {
    let place = Place::new();
    let mut daemon = place.daemon(&[]);
    let answer = place.json(&["enqueue", "bench.noop", "{}", "--json"]);
    let id = answer["id"].as_str().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while place.json(&["jobs", "show", id, "--json"])["state"] != "completed" {
        assert!(Instant::now() < deadline, "the job never ran");
    }
    daemon.signal(libc::SIGTERM);
    assert!(daemon.wait().success());
    assert_eq!(daemon.wait_for_log("stopped")["left"], 0);
    assert!(!place.path("windlass.db-wal").exists(), "a stopped daemon leaves one file, which can be copied");
}

/// A server that takes a call and never answers it.
fn silent_server() -> (std::net::TcpListener, String) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    (listener, url)
}

const QUICK: &str = "[engine]\ngrace_ms = 400\n[outbound]\nallow = [\"127.0.0.0/8\"]\n";

#[test]
fn a_job_that_outlasts_the_grace_period_is_handed_back_uncharged() {
    let place = Place::new();
    place.write("windlass.toml", QUICK);
    let mut daemon = place.daemon(&["--config", "windlass.toml"]);
    let (server, url) = silent_server();
    let id = place.json(&["enqueue", "http.call", &format!("{{\"url\":\"{url}\"}}"), "--json"])["id"].as_str().unwrap().to_owned();
    let _call = server.accept().unwrap();
    let asked = Instant::now();
    daemon.signal(libc::SIGTERM);
    assert!(daemon.wait().success());
    assert!(asked.elapsed() < Duration::from_millis(400) + Duration::from_secs(2), "it took {:?}", asked.elapsed());
    assert_eq!(daemon.wait_for_log("stopped")["handed_back"], 1);
    let job = place.json(&["jobs", "show", &id, "--json"]);
    assert_eq!((job["state"].as_str(), job["attempt"].as_u64()), (Some("queued"), Some(0)), "{job}");
}

#[test]
fn a_second_signal_ends_the_grace_period() {
    let place = Place::new();
    place.write("windlass.toml", "[engine]\ngrace_ms = 600000\n[outbound]\nallow = [\"127.0.0.0/8\"]\n");
    let mut daemon = place.daemon(&["--config", "windlass.toml"]);
    let (server, url) = silent_server();
    place.json(&["enqueue", "http.call", &format!("{{\"url\":\"{url}\"}}"), "--json"]);
    let _call = server.accept().unwrap();
    daemon.signal(libc::SIGTERM);
    daemon.wait_for_log("draining");
    daemon.signal(libc::SIGINT);
    assert!(daemon.wait().success());
    assert_eq!(daemon.wait_for_log("stopped")["handed_back"], 1);
}

#[test]
fn a_reload_takes_what_is_new_and_names_what_waits_for_a_restart() {
    let place = Place::new();
    let config = place.write("windlass.toml", "[log]\nlevel = \"info\"\n");
    let daemon = place.daemon(&["--config", "windlass.toml"]);
    let schedule = "[schedules.nightly]\ncron = \"15 2 * * *\"\njob = { kind = \"work\", payload = {} }\n";
    std::fs::write(&config, format!("[log]\nlevel = \"debug\"\n[outbound]\nhttps_only = true\n{schedule}")).unwrap();
    daemon.signal(libc::SIGHUP);
    let entry = daemon.wait_for_log("the configuration is reloaded");
    assert_eq!(entry["keys"], "outbound.https_only");
    assert_eq!(place.json(&["schedules", "list", "--json"])[0]["schedule"]["name"], "nightly");
}

#[test]
fn a_reload_of_a_wrong_configuration_changes_nothing() {
    let place = Place::new();
    let config = place.write("windlass.toml", "");
    let mut daemon = place.daemon(&["--config", "windlass.toml"]);
    std::fs::write(&config, "[queues.mail]\nfare = true\n").unwrap();
    daemon.signal(libc::SIGHUP);
    let entry = daemon.wait_for_log("the configuration is not reloaded");
    let sentence = entry["message"].as_str().unwrap();
    assert!(sentence.contains("windlass.toml:2: unknown key `queues.mail.fare`; did you mean `queues.mail.fair`?"), "{sentence}");
    assert_eq!(
        place.run(&["enqueue", "work", "{}", "--config", "windlass.toml"]).code,
        78,
        "a command reads the same file and says the same"
    );
    std::fs::write(&config, "").unwrap();
    daemon.signal(libc::SIGHUP);
    daemon.wait_for_log("the configuration is reloaded");
    daemon.signal(libc::SIGTERM);
    assert!(daemon.wait().success());
}

#[test]
fn the_service_manager_is_told_of_ready_reload_watchdog_and_stop() {
    let place = Place::new();
    let socket = UnixDatagram::bind(place.path("notify")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut child = place
        .command(&["run", "--listen", "127.0.0.1:0"])
        .env("NOTIFY_SOCKET", place.path("notify"))
        .env("WATCHDOG_USEC", "400000")
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    // SAFETY: kill has no preconditions; the child is ours and not reaped yet.
    let signal = |signal| assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    until_told(&socket, "READY=1");
    until_told(&socket, "WATCHDOG=1");
    until_told(&socket, "WATCHDOG=1");
    signal(libc::SIGHUP);
    let reloading = until_told(&socket, "RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    until_told(&socket, "READY=1");
    signal(libc::SIGTERM);
    until_told(&socket, "STOPPING=1");
    assert!(child.wait().unwrap().success());
}

fn until_told(socket: &UnixDatagram, what: &str) -> String {
    let mut buffer = [0; 1024];
    loop {
        let length = socket.recv(&mut buffer).unwrap_or_else(|error| panic!("{what} never came: {error}"));
        let told = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if told.lines().any(|line| line == what) {
            return told;
        }
    }
}

#[test]
fn a_store_is_free_for_the_next_daemon_the_moment_the_last_one_ended() {
    let place = Place::new();
    for _ in 0..3 {
        let mut daemon = place.daemon(&[]);
        daemon.signal(libc::SIGTERM);
        assert!(daemon.wait().success());
    }
    let killed = place.daemon(&[]);
    drop(killed);
    place.daemon(&[]);
}

#[test]
fn what_a_killed_daemon_held_runs_at_once_under_the_next_and_costs_no_attempt() {
    let place = Place::new();
    place.write("windlass.toml", QUICK);
    let (server, url) = silent_server();
    let killed = place.daemon(&["--config", "windlass.toml"]);
    let id = place.json(&["enqueue", "http.call", &format!("{{\"url\":\"{url}\"}}"), "--json"])["id"].as_str().unwrap().to_owned();
    let _first = server.accept().unwrap();
    drop(killed);
    let restarted = Instant::now();
    let _daemon = place.daemon(&["--config", "windlass.toml"]);
    let _second = server.accept().unwrap();
    assert!(restarted.elapsed() < Duration::from_secs(10), "a lease lasts 15 s, and the job waited {:?}", restarted.elapsed());
    let job = place.json(&["jobs", "show", &id, "--json"]);
    assert_eq!((job["state"].as_str(), job["attempt"].as_u64()), (Some("running"), Some(1)), "{job}");
}

#[test]
fn a_webhook_source_without_a_token_is_no_start() {
    let place = Place::new();
    place.write("windlass.toml", "[webhooks.sources.hub]\nscheme = \"github\"\nsecrets = [\"It's a Secret to Everybody\"]\n");
    let run = ["run", "--config", "windlass.toml", "--listen", "127.0.0.1:0"];
    place.run(&run).assert_refused(78, &["webhooks.sources.hub", "set control.token_file"]);
    assert!(!place.path("windlass.db").exists(), "nothing was touched");
}
