//! `windlass run`: the daemon as a process. Logs, signals and the service manager are here; what the daemon is, is in
//! `daemon.rs`.

use super::Place;
use crate::{
    config::{self, Loaded, Sources, secrets, show::url_without_secrets},
    daemon::Daemon,
    store,
    telemetry::logs,
};
use anyhow::Context as _;
use sd_notify::NotifyState;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};
use std::{
    path::Path,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

#[derive(Debug, clap::Args)]
pub struct Args {}

pub fn run(place: &Place, _: &Args) -> anyhow::Result<()> {
    let started = Instant::now();
    let sources = place.sources();
    let loaded = config::load(&sources)?;
    let log = logs::start(&loaded.config.log).map_err(anyhow::Error::msg)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("windlass").build()?;
    let ended = runtime.block_on(serve(Process { sources, loaded, log }, started));
    // Everything was stopped in order or given up on; a lookup that still blocks a thread must not hold the exit.
    runtime.shutdown_background();
    ended
}

/// What outlives a reload.
struct Process {
    sources: Sources,
    loaded: Loaded,
    log: Option<logs::Handle>,
}

async fn serve(mut process: Process, started: Instant) -> anyhow::Result<()> {
    // Before the start, so that a signal that comes early is not lost.
    let mut signals = signals()?;
    for warning in &process.loaded.warnings {
        tracing::warn!("{warning}");
    }
    let mut daemon = Daemon::start(&process.loaded.config).await?;
    warn_of_open_store(&process.loaded.config.store.url);
    notify(&[NotifyState::Ready]);
    let watchdog = watchdog(&daemon);
    let store = url_without_secrets(&process.loaded.config.store.url);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), store, address = %daemon.address(), ready_ms = started.elapsed().as_millis(), "ready");
    while let Some(SIGHUP) = signals.recv().await {
        process.reload(&mut daemon).await;
    }
    notify(&[NotifyState::Stopping]);
    tracing::info!(grace_ms = process.loaded.config.engine.grace_ms, "draining; a second signal ends it at once");
    let hurry = hurry_on_next(signals);
    let stopping = Instant::now();
    let drained = daemon.stop(hurry).await;
    watchdog.abort();
    let stop_ms = stopping.elapsed().as_millis();
    tracing::info!(handed_back = drained.handed_back, left = drained.left, stop_ms, "stopped");
    Ok(())
}

/// A store that was made by hand, or before stores were made private. Its mode is the operator's to change.
fn warn_of_open_store(url: &str) {
    let Some(path) = store::sqlite_path(url) else { return };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if secrets::is_readable_by_others(&path) && secrets::is_open_to_others(folder) {
        let shown = path.display();
        tracing::warn!("the store {shown} can be read by everybody on this machine; stop the daemon and run chmod o-rwx {shown}*");
    }
}

/// SIGTERM, SIGINT and SIGHUP, in the order they came.
pub fn signals() -> anyhow::Result<mpsc::UnboundedReceiver<i32>> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).context("signals cannot be received")?;
    let (tell, told) = mpsc::unbounded_channel();
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            if tell.send(signal).is_err() {
                return;
            }
        }
    })?;
    Ok(told)
}

/// Fires at the second signal to end.
fn hurry_on_next(mut signals: mpsc::UnboundedReceiver<i32>) -> CancellationToken {
    let hurry = CancellationToken::new();
    let fired = hurry.clone();
    tokio::spawn(async move {
        while let Some(signal) = signals.recv().await {
            if signal != SIGHUP {
                tracing::warn!("ending at once; running jobs are handed back");
                fired.cancel();
            }
        }
    });
    hurry
}

impl Process {
    /// Reads all layers again. Whatever is wrong with them, the daemon goes on as it was.
    async fn reload(&mut self, daemon: &mut Daemon) {
        notify_reloading();
        match self.try_reload(daemon).await {
            Ok(waiting) if waiting.is_empty() => tracing::info!("the configuration is reloaded"),
            Ok(waiting) => {
                tracing::warn!(keys = waiting.join(", "), "the configuration is reloaded; these keys take effect at the next start")
            }
            Err(error) => tracing::error!(
                "the configuration is not reloaded and stays as it was: {}",
                super::exit::sentence(&error).replace('\n', "; ")
            ),
        }
        notify(&[NotifyState::Ready]);
    }

    /// Returns the changed keys that wait for a restart.
    async fn try_reload(&mut self, daemon: &mut Daemon) -> anyhow::Result<Vec<String>> {
        let loaded = config::load(&self.sources)?;
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        daemon.reload(&loaded.config).await?;
        if let Some(log) = &self.log {
            log.set_level(&loaded.config.log.level).map_err(anyhow::Error::msg)?;
        }
        let mut waiting = loaded.changed_since(&self.loaded);
        waiting.retain(|key| needs_restart(key));
        self.loaded = loaded;
        Ok(waiting)
    }
}

/// What is built once: the store, what brings jobs in, sockets, clients and workers.
fn needs_restart(key: &str) -> bool {
    const SECTIONS: [&str; 6] = ["store.", "inbox.", "apalis.", "outbound.", "providers.", "workers."];
    const KEYS: [&str; 11] = [
        "control.listen",
        "control.max_connections",
        "control.max_connections_per_peer",
        "control.max_buffered_bytes",
        "control.max_hook_buffered_bytes",
        "control.first_header_deadline_ms",
        "control.header_deadline_ms",
        "control.idle_deadline_ms",
        "control.close_deadline_ms",
        "engine.runner",
        "log.format",
    ];
    let forwards = key.starts_with("webhooks.") && key.rsplit('.').next().is_some_and(|last| last.starts_with("forward_"));
    forwards || KEYS.contains(&key) || SECTIONS.iter().any(|section| key.starts_with(section))
}

/// Tells the service manager, if there is one.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}

fn notify_reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "the service manager cannot be told of the reload"),
    }
}

/// Twice as often as the service manager asks for, and only while the engine's loops go round: a daemon that is stuck gets
/// restarted.
fn watchdog(daemon: &Daemon) -> tokio::task::JoinHandle<()> {
    let is_alive = daemon.liveness();
    let every = sd_notify::watchdog_enabled().map(|asked| (asked / 2).max(Duration::from_millis(100)));
    tokio::spawn(async move {
        let Some(every) = every else { return };
        let mut ticks = tokio::time::interval(every);
        loop {
            ticks.tick().await;
            if is_alive() {
                notify(&[NotifyState::Watchdog]);
            }
        }
    })
}
