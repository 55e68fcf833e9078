//! The only place where rooms meet: builds them from the configuration, starts them in order and stops them in reverse.
//! Signals, logs and the service manager are the process's affair (`cli/run.rs`), so that a daemon can also run inside a
//! test, the demo, or another program.

use crate::{
    clients::http::Http,
    clock::Clock,
    config::Config,
    control,
    engine::{Drained, Engine, Parts},
    intake::{self, inbox::Inbox},
    job::{Limits, Settings},
    machine::Machine,
    store::{
        self, Actor, Instrumented, Role, Store,
        examine::{Extent, Finding},
    },
    telemetry::Metrics,
    workers,
};
use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    net::TcpListener,
    sync::{Notify, watch},
    task::JoinHandle,
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Why a daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0} is in use; stop the program that listens there, or choose another address with --listen")]
    PortInUse(SocketAddr),
    #[error("{address} cannot be listened on: {source}; choose an address of this machine with --listen")]
    Port { address: SocketAddr, source: io::Error },
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("{0}")]
    Configuration(String),
    /// The store would not keep what it acknowledges.
    #[error("{0}")]
    LosesData(String),
}

impl Error {
    fn configuration(error: impl std::fmt::Display) -> Self {
        Self::Configuration(error.to_string())
    }
}

/// A daemon at work. Dropping it without [`Daemon::stop`] leaves its leases to run out.
pub struct Daemon {
    address: SocketAddr,
    store: Arc<dyn Store>,
    engine: RunningEngine,
    control: control::State,
    port: JoinHandle<io::Result<()>>,
    /// Of the port, and of what else brings jobs in.
    close_port: CancellationToken,
    /// That else.
    intake: TaskTracker,
    limits: watch::Sender<Limits>,
    metrics: Metrics,
    grace: Duration,
}

/// The engine, until a drain takes it away; the probes look at it from other tasks.
#[derive(Clone)]
struct RunningEngine(Arc<Mutex<Option<Engine>>>);

impl RunningEngine {
    /// A drain has a bound of its own, so it counts as alive.
    fn alive(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_none_or(Engine::alive)
    }

    /// As the probes name it.
    fn stalled(&self) -> Vec<String> {
        if self.alive() { Vec::new() } else { vec!["engine".into()] }
    }

    fn reload(&self, config: &Config, settings: Settings) {
        if let Some(engine) = self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            engine.reload(config.engine.clone(), settings);
        }
    }

    fn take(&self) -> Option<Engine> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What follows the grace period has one second (contract P10), and the process a little of it to end in.
const AFTER_GRACE: Duration = Duration::from_millis(950);

impl Daemon {
    /// Ready once it returns: the port answers, and jobs are leased.
    ///
    /// # Errors
    /// When the port is taken, the store is not to be had, or a setting cannot be used. Nothing is left running.
    pub async fn start(config: &Config) -> Result<Self, Error> {
        config.control.may_serve(&config.webhooks).map_err(Error::Configuration)?;
        // The port comes first: its address goes into the lock of the store, and a taken one is found before anything is touched.
        let listener = bind(config.control.listen).await?;
        let address = listener.local_addr().map_err(|source| Error::Port { address: config.control.listen, source })?;
        let metrics = Metrics::new();
        let clock = Clock::System;
        let settings = config.settings();
        let register = register(config, &metrics, &clock)?;
        let store = store::open(&config.store.url, Role::Daemon { control: Some(address) }, config.store_options()).await?;
        refuse_losses(&*store).await?;
        let store: Arc<dyn Store> = Arc::new(Instrumented::new(store, metrics.clone()));
        apply(config, &settings, &*store).await?;
        let engine = RunningEngine(Arc::default());
        let stalled = {
            let engine = engine.clone();
            move || engine.stalled()
        };
        let control = control::State::new(&config.control, &config.webhooks, store.clone(), metrics.clone(), clock.clone(), stalled)
            .map_err(Error::Configuration)?;
        control.know(&settings, config.engine.slots.keys());
        control.look_at(examiner(config, clock.clone()));
        let parts = Parts {
            store: store.clone(),
            register,
            config: config.engine.clone(),
            settings,
            metrics: metrics.clone(),
            clock: clock.clone(),
        };
        *engine.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Engine::start(parts).await?);
        metrics.build_info.with_label_values(&[env!("CARGO_PKG_VERSION"), scheme(&config.store.url)]).set(1);
        let close_port = CancellationToken::new();
        let port = tokio::spawn(control::serve(listener, control.clone(), close_port.clone()));
        let limits = watch::Sender::new(config.limits());
        let intake = TaskTracker::new();
        if let Some((url, prefix)) = config.inbox() {
            let (store, limits) = (store.clone(), limits.subscribe());
            let inbox = Inbox::new(url, prefix, store, limits, metrics.clone(), clock.clone()).map_err(Error::Configuration)?;
            intake.spawn(inbox.run(close_port.clone()));
        }
        for (name, bridge) in &config.apalis {
            let (store, limits) = (store.clone(), limits.subscribe());
            let bridge = intake::apalis::Bridge::new(name, bridge, store, limits, metrics.clone(), clock.clone());
            intake.spawn(bridge.map_err(Error::Configuration)?.run(close_port.clone()));
        }
        intake.close();
        let grace = Duration::from_millis(config.engine.grace_ms);
        Ok(Self { address, store, engine, control, port, close_port, intake, limits, metrics, grace })
    }

    /// Where the control port answers.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    #[must_use]
    pub const fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// A question for the service manager's watchdog: whether the loops of the engine go round.
    pub fn liveness(&self) -> impl Fn() -> bool + Send + 'static {
        let engine = self.engine.clone();
        move || engine.alive()
    }

    /// Puts what can change without a restart in force: queues, kinds, schedules, slots, the port's token and limits.
    ///
    /// # Errors
    /// When a setting cannot be used, or the store does not take it; what was in force stays.
    pub async fn reload(&mut self, config: &Config) -> Result<(), Error> {
        let settings = config.settings();
        self.control.reload(&config.control, &config.webhooks).map_err(Error::Configuration)?;
        apply(config, &settings, &*self.store).await?;
        self.control.know(&settings, config.engine.slots.keys());
        self.control.look_at(examiner(config, Clock::System));
        self.engine.reload(config, settings);
        self.limits.send_replace(config.limits());
        self.grace = Duration::from_millis(config.engine.grace_ms);
        Ok(())
    }

    /// Ends in reverse: leases no more, lets running jobs finish within the grace period (`hurry` ends it at once), hands back
    /// the rest, closes the port and the store. Takes at most the grace period and a second, whatever hangs.
    pub async fn stop(self, hurry: CancellationToken) -> Drained {
        let deadline = Instant::now() + self.grace + AFTER_GRACE;
        self.control.begin_drain();
        let drained = Notify::new();
        let drain = async {
            let ended = match self.engine.take() {
                Some(engine) => engine.drain(hurry.clone()).await,
                None => Drained::default(),
            };
            drained.notify_one();
            ended
        };
        // Enqueueing goes on as long as there is grace: a job accepted now is run by the next daemon.
        let close = async {
            tokio::select! {
                () = drained.notified() => {}
                () = hurry.cancelled() => {}
                () = tokio::time::sleep(self.grace) => {}
            }
            self.close_port.cancel();
            let _ = tokio::time::timeout_at(deadline, async { tokio::join!(self.port, self.intake.wait()) }).await;
        };
        let (ended, ()) = tokio::join!(drain, close);
        if tokio::time::timeout_at(deadline, self.store.close()).await.is_err() {
            tracing::warn!("the store did not close in time; what it acknowledged is safe");
        }
        ended
    }
}

/// Builds the clients and workers and throws them away: what a start would find wrong with their settings.
///
/// # Errors
/// The first setting that cannot be used.
pub fn check(config: &Config) -> Result<(), Error> {
    config.control.may_serve(&config.webhooks).map_err(Error::Configuration)?;
    register(config, &Metrics::new(), &Clock::System).map(drop)
}

/// What an examination looks at besides the store.
#[must_use]
pub fn machine(config: &Config) -> Machine {
    // Besides the port's connections: those to the store, and a call to somebody else for each job that runs.
    let running: usize = config.engine.slots.values().copied().sum();
    let files = config.control.max_connections.saturating_add(running).saturating_add(64);
    let of_system = std::env::var_os("SSL_CERT_FILE").map(|file| ("SSL_CERT_FILE".to_owned(), file.into()));
    let certificates = config.certificates.iter().cloned().chain(of_system).collect();
    // A file says by itself on what disk it is.
    let folder = store::sqlite_path(&config.store.url).is_none().then(|| std::env::current_dir().unwrap_or_else(|_| ".".into()));
    Machine { files: files as u64, folder, certificates }
}

fn examiner(config: &Config, clock: Clock) -> impl Fn() -> Vec<Finding> + Send + Sync + 'static {
    let machine = machine(config);
    move || machine.examine(clock.now())
}

/// What the drivers let be opened, because a command may want to look at it or mend it, and no daemon should acknowledge jobs on.
async fn refuse_losses(store: &dyn Store) -> Result<(), Error> {
    let findings = store.examine(Extent::DataLoss).await?;
    let Some(loss) = findings.into_iter().find(|finding| finding.loses_data) else { return Ok(()) };
    store.close().await;
    let remedy = loss.remedy.map(|remedy| format!("; {remedy}")).unwrap_or_default();
    Err(Error::LosesData(format!("{}{remedy}", loss.says)))
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => Error::PortInUse(address),
        _ => Error::Port { address, source },
    })
}

/// The clients and the workers that use them.
fn register(config: &Config, metrics: &Metrics, clock: &Clock) -> Result<crate::engine::worker::Register, Error> {
    let http = Http::new(&config.outbound, clock.clone()).map_err(Error::configuration)?;
    let deps = workers::Deps::new(http, metrics.clone());
    workers::register(&config.workers, &config.providers, &config.webhooks, &deps).map_err(Error::configuration)
}

/// Tells the store what every door and every lease call goes by.
async fn apply(config: &Config, settings: &Settings, store: &dyn Store) -> store::Result<()> {
    store.configure(settings).await?;
    for schedule in &config.schedules {
        store.put_schedule(schedule, &Actor::new("configuration"), None).await?;
    }
    Ok(())
}

fn scheme(url: &str) -> &str {
    url.split(':').next().unwrap_or_default()
}
