//! What every request shares: the store, the metrics, and the settings in force, which a reload swaps as a whole.

use super::{
    Config,
    auth::{self, Gate},
    doctor::Examiner,
    hooks,
    keyring::Keyring,
    live::Live,
    memory::{Budget, HookBudget},
    quota::Quota,
    redrives::Redrives,
    session::Sessions,
    tls::Tls,
    work::Roster,
};
use crate::{
    clock::Clock,
    job::{Name, NewJob, Settings, Timestamp, TokenId},
    signatures,
    store::{Store, examine::Finding},
    telemetry::Metrics,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};
use tokio::sync::Mutex;

/// Cheap to clone: a handle.
#[derive(Clone)]
pub struct State(Arc<Shared>);

pub struct Shared {
    store: Arc<dyn Store>,
    keyring: Keyring,
    pub(super) quotas: Quotas,
    pub(super) redrives: Redrives,
    pub(super) roster: Roster,
    pub(super) sessions: Sessions,
    pub(super) live: Live,
    pub metrics: Metrics,
    pub clock: Clock,
    pub(super) started: Instant,
    pub(super) body_budget: Budget,
    pub(super) hook_budget: HookBudget,
    /// One scrape at a time, so that none sees the gauges of another half filled.
    pub(super) scraping: Mutex<()>,
    pub(super) examiner: Examiner,
    pub(super) log_gate: super::observe::LogGate,
    draining: AtomicBool,
    stalled: Box<dyn Fn() -> Vec<String> + Send + Sync>,
    in_force: RwLock<Arc<InForce>>,
    labels: RwLock<Arc<Labels>>,
    settings: RwLock<Arc<Settings>>,
}

#[derive(Default)]
pub(super) struct Quotas {
    pub tokens: Quota<TokenId>,
    pub addresses: Quota<IpAddr>,
    /// Calls of an address that showed nothing that lets anybody in.
    pub failures: Quota<IpAddr>,
}

/// Settings as of the last start or reload. A request keeps the ones it began with.
pub(super) struct InForce {
    pub config: Config,
    pub gate: Gate,
    pub sources: BTreeMap<Name, signatures::Source>,
    pub tls: Option<Tls>,
}

impl State {
    /// Reads the files that `config` and `webhooks` name, once. `stalled` names the loops of the daemon that stopped ticking,
    /// and is asked by every probe.
    ///
    /// # Errors
    /// One sentence about the first setting or file that cannot be used.
    pub fn new(
        config: &Config,
        webhooks: &signatures::Config,
        store: Arc<dyn Store>,
        metrics: Metrics,
        clock: Clock,
        stalled: impl Fn() -> Vec<String> + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let in_force = Arc::new(InForce::of(config, webhooks, clock.now())?);
        hooks::begin_counting(&metrics, &in_force.sources);
        auth::Reason::begin_counting(&metrics);
        Ok(Self(Arc::new(Shared {
            store,
            keyring: Keyring::default(),
            quotas: Quotas::default(),
            redrives: Redrives::default(),
            roster: Roster::default(),
            sessions: Sessions::default(),
            live: Live::default(),
            metrics,
            clock,
            started: Instant::now(),
            body_budget: Budget::new(config.max_buffered_bytes),
            hook_budget: HookBudget::new(config.max_hook_buffered_bytes),
            scraping: Mutex::new(()),
            examiner: Examiner::default(),
            log_gate: super::observe::LogGate::default(),
            draining: AtomicBool::new(false),
            stalled: Box::new(stalled),
            in_force: RwLock::new(in_force),
            labels: RwLock::default(),
            settings: RwLock::default(),
        })))
    }

    /// Puts a changed configuration in force for the requests that begin from now on. `listen`, the caps on connections, the
    /// memory for bodies and the connection deadlines stay as they were at start.
    ///
    /// # Errors
    /// As [`State::new`]; the old settings stay in force.
    pub fn reload(&self, config: &Config, webhooks: &signatures::Config) -> Result<(), String> {
        let next = Arc::new(InForce::of(config, webhooks, self.clock.now())?);
        hooks::begin_counting(&self.metrics, &next.sources);
        *self.in_force.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }

    /// Tells which kinds and queues are known and may stand in a metric label: those of the settings, and the queues that this
    /// daemon works on; and what attempts are settled by. Called at start and after every change of either.
    pub fn know<'a>(&self, settings: &Settings, worked: impl IntoIterator<Item = &'a Name>) {
        *self.labels.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Labels::of(settings, worked));
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings.clone());
    }

    /// What `/v1/doctor` says of the machine, besides what the store says of itself.
    pub fn look_at(&self, machine: impl Fn() -> Vec<Finding> + Send + Sync + 'static) {
        self.examiner.look_at(machine);
    }

    /// From now on `/readyz` says no, so that nobody sends new work here; what comes is still taken.
    pub fn begin_drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// As the daemon itself has it. A caller's is `Caller::jobs` or `Caller::everything`.
    pub(super) fn store(&self) -> &dyn Store {
        &*self.store
    }

    pub(super) fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    pub(super) fn stalled(&self) -> Vec<String> {
        (self.stalled)()
    }

    pub(super) fn in_force(&self) -> Arc<InForce> {
        Arc::clone(&self.in_force.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Queues and kinds as they are configured.
    pub(super) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn labels(&self) -> Arc<Labels> {
        Arc::clone(&self.labels.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl std::ops::Deref for State {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl InForce {
    fn of(config: &Config, webhooks: &signatures::Config, now: Timestamp) -> Result<Self, String> {
        config.check()?;
        config.may_serve(webhooks)?;
        config.goes_with(webhooks)?;
        let token = config.own_token(!webhooks.sources.is_empty())?;
        let (gate, sources, tls) = (Gate::new(token.as_ref(), config), hooks::sources(webhooks)?, Tls::of(config, now)?);
        Ok(Self { config: config.clone(), gate, sources, tls })
    }
}

/// Which names may be metric labels. A producer can invent kinds and queues without end; a label cannot.
#[derive(Default)]
pub(super) struct Labels {
    /// Known kinds with the queue that their jobs go to.
    kinds: BTreeMap<Name, Name>,
    queues: BTreeSet<Name>,
}

/// Queue and kind of a job as a label shows them.
pub(super) type Label = (Option<Name>, Option<Name>);

impl Labels {
    pub const OTHER: &'static str = "other";

    fn of<'a>(settings: &Settings, worked: impl IntoIterator<Item = &'a Name>) -> Self {
        let kinds: BTreeMap<_, _> = settings.kinds.iter().map(|(kind, is)| (kind.clone(), is.queue.clone())).collect();
        let configured = settings.queues.keys().chain(kinds.values()).cloned();
        let queues = configured.chain(worked.into_iter().cloned()).chain([Name::literal("default")]).collect();
        Self { kinds, queues }
    }

    pub fn knows_queue(&self, queue: &str) -> bool {
        self.queues.contains(queue)
    }

    /// Queue and kind as a label shows them.
    pub fn known<'n>(&self, queue: &'n Name, kind: &'n Name) -> (&'n str, &'n str) {
        let queue = if self.queues.contains(queue) { queue.as_str() } else { Self::OTHER };
        (queue, if self.kinds.contains_key(kind) { kind.as_str() } else { Self::OTHER })
    }

    /// None stands for [`Labels::OTHER`].
    pub fn label(&self, job: &NewJob) -> Label {
        let known = self.kinds.get_key_value(&job.kind);
        let queue = job.queue.as_ref().or(known.map(|(_, queue)| queue)).and_then(|queue| self.queues.get(queue)).cloned();
        (queue, known.map(|(kind, _)| kind.clone()))
    }
}
