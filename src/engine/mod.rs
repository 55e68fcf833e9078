//! Makes stored jobs happen: pumps that lease, run, settle and beat around a runner that knows no worker by name.
//!
//! ```text
//!  poller ─► runner (bare.rs, or apalis in runtime.rs) ─► attempt ─► settle pump
//!             heartbeat, reaper, pruner, scheduler beside them; drain ends them in order
//! ```

mod announce;
mod attempt;
pub mod backend;
mod bare;
mod config;
mod drain;
mod heartbeat;
mod held;
mod outage;
mod poller;
mod pruner;
mod reaper;
mod runtime;
pub mod scheduler;
mod settle;
mod shared;
pub mod worker;

pub use config::{Config, Runner};
pub use drain::Drained;

use crate::{clock::Clock, job::Settings, store, store::Store, telemetry::Metrics};
use held::Grant;
use scheduler::Scheduler;
use shared::Shared;
use std::{sync::Arc, time::Duration};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use worker::Register;

/// What an engine is made of.
pub struct Parts {
    pub store: Arc<dyn Store>,
    pub register: Register,
    pub config: Config,
    pub settings: Settings,
    pub metrics: Metrics,
    pub clock: Clock,
}

/// A running engine. Dropping it without [`Engine::drain`] leaves its leases to run out.
pub struct Engine {
    shared: Arc<Shared>,
    /// Ends the heartbeat, the last of all.
    beat_end: CancellationToken,
    beat: JoinHandle<()>,
    poller: JoinHandle<()>,
    settler: JoinHandle<()>,
    runner: JoinHandle<()>,
    upkeep: Vec<JoinHandle<()>>,
    /// The attempts that became tasks of their own.
    tasks: TaskTracker,
}

/// Replies that wait for the runner: one in hand, one on the way.
const REPLIES: usize = 2;

/// The pumps without a runner, for the runner's side and for programs with handlers of their own.
struct Pumps {
    shared: Arc<Shared>,
    grants: mpsc::Receiver<Vec<Grant>>,
    beat_end: CancellationToken,
    beat: JoinHandle<()>,
    poller: JoinHandle<()>,
    settler: JoinHandle<()>,
    upkeep: Vec<JoinHandle<()>>,
}

fn pumps(parts: Parts) -> Pumps {
    let (settlements, settled) = mpsc::unbounded_channel();
    let (runner, grants) = mpsc::channel(REPLIES);
    let shared = Arc::new(Shared::new(parts, settlements));
    let beat_end = CancellationToken::new();
    Pumps {
        beat: tokio::spawn(beat(shared.clone(), beat_end.clone())),
        settler: tokio::spawn(settle::pump(shared.clone(), settled)),
        poller: tokio::spawn(poller::poll(shared.clone(), runner)),
        upkeep: vec![tokio::spawn(reaper::reap(shared.clone())), tokio::spawn(pruner::prune(shared.clone()))],
        shared,
        grants,
        beat_end,
    }
}

async fn beat(shared: Arc<Shared>, end: CancellationToken) {
    tokio::join!(heartbeat::beat(shared.clone(), end.clone()), announce::announce(shared, end));
}

impl Engine {
    /// Starts to lease and run.
    ///
    /// # Errors
    /// When the store does not answer at all: a daemon that cannot work must not look as if it did.
    pub async fn start(parts: Parts) -> store::Result<Self> {
        parts.store.now().await?;
        let runner_kind = parts.config.runner;
        let Pumps { shared, grants, beat_end, beat, poller, settler, mut upkeep } = pumps(parts);
        let scheduler = Scheduler::new(shared.store.clone(), shared.metrics.clone(), shared.stop.clone());
        let tasks = TaskTracker::new();
        upkeep.push(tokio::spawn(scheduler.run()));
        let runner = match runner_kind {
            Runner::Bare => tokio::spawn(bare::run(shared.clone(), grants, tasks.clone())),
            Runner::Apalis => tokio::spawn(runtime::run(shared.clone(), grants, tasks.clone())),
        };
        Ok(Self { shared, beat_end, beat, poller, settler, runner, upkeep, tasks })
    }

    /// Slots, limits and retry curves as newly configured; what runs goes on.
    pub fn reload(&self, config: Config, settings: Settings) {
        self.shared.reload(config, settings);
    }

    /// Whether the pumps go round; for the watchdog.
    #[must_use]
    pub fn alive(&self) -> bool {
        let ended = self.poller.is_finished() || self.settler.is_finished() || self.runner.is_finished() || self.beat.is_finished();
        !ended && self.shared.polled_ago() < Duration::from_secs(60)
    }
}
