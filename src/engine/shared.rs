//! What all pumps of one engine share.

use super::{Config, held::Holding, outage::Voice, worker::Register};
use crate::{
    clock::Clock,
    job::{AttemptOutcome, HolderId, KindSettings, Name, Settings, Settlement},
    store::Store,
    telemetry::Metrics,
};
use prometheus::{Histogram, IntCounter};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub(super) struct Shared {
    pub(super) store: Arc<dyn Store>,
    pub(super) register: Register,
    pub(super) metrics: Metrics,
    pub(super) clock: Clock,
    pub(super) holder: HolderId,
    pub(super) holding: Arc<Holding>,
    /// Lease no more.
    pub(super) stop: CancellationToken,
    /// The drain gave up on the store: end now.
    pub(super) gone: CancellationToken,
    config: RwLock<Arc<Config>>,
    settings: RwLock<Arc<Settings>>,
    kinds: RwLock<HashMap<Name, Arc<KindSettings>>>,
    instruments: RwLock<HashMap<(Name, Name), Arc<Instruments>>>,
    settlements: Mutex<Option<mpsc::UnboundedSender<Item>>>,
    /// When the last heartbeat went through, by our clock in microseconds; 0 before the first.
    beaten_at: AtomicI64,
    /// When the poller last went round.
    polled_at: AtomicI64,
    /// A lease call is under way, or its answer is not taken over yet; and how many of them have ended.
    pub(super) leasing: AtomicBool,
    pub(super) leased: AtomicU64,
    pub(super) outage: Voice,
}

/// A settlement on its way, with its queue for the metrics.
pub(super) type Item = (Settlement, Name);

/// One kind on one queue: its metrics, looked up once.
pub(super) struct Instruments {
    pub(super) wait: Histogram,
    duration: Histogram,
    outcomes: [IntCounter; 8],
    /// Whether the last run was short; nothing is known of a kind before its first.
    quick: AtomicBool,
}

impl Instruments {
    /// Far longer than a run that neither waits nor computes, even where the machine is busy.
    const QUICK: Duration = Duration::from_millis(2);

    pub(super) fn is_quick(&self) -> bool {
        self.quick.load(Ordering::Relaxed)
    }

    pub(super) fn ran(&self, took: Duration) {
        self.duration.observe(took.as_secs_f64());
        let quick = took < Self::QUICK;
        if quick != self.is_quick() {
            self.quick.store(quick, Ordering::Relaxed);
        }
    }

    pub(super) fn ended(&self, outcome: AttemptOutcome) {
        self.outcomes[outcome as usize].inc();
    }
}

impl Shared {
    pub(super) fn new(parts: super::Parts, settlements: mpsc::UnboundedSender<Item>) -> Self {
        let (holder, holding) = (HolderId::mint(), Arc::new(Holding::default()));
        holding.set_slots(&parts.config.slots);
        Self {
            store: parts.store,
            register: parts.register,
            metrics: parts.metrics,
            clock: parts.clock,
            holder,
            holding,
            stop: CancellationToken::new(),
            gone: CancellationToken::new(),
            config: RwLock::new(Arc::new(parts.config)),
            settings: RwLock::new(Arc::new(parts.settings)),
            kinds: RwLock::default(),
            instruments: RwLock::default(),
            settlements: Mutex::new(Some(settlements)),
            beaten_at: AtomicI64::new(0),
            polled_at: AtomicI64::new(0),
            leasing: AtomicBool::new(false),
            leased: AtomicU64::new(0),
            outage: Voice::new(holder),
        }
    }

    pub(super) fn config(&self) -> Arc<Config> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn reload(&self, config: Config, settings: Settings) {
        self.holding.set_slots(&config.slots);
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
        self.kinds.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(super) fn kind(&self, kind: &Name) -> Arc<KindSettings> {
        if let Some(known) = self.kinds.read().unwrap_or_else(PoisonError::into_inner).get(kind) {
            return known.clone();
        }
        let settings = Arc::new(self.settings.read().unwrap_or_else(PoisonError::into_inner).kind(kind));
        self.kinds.write().unwrap_or_else(PoisonError::into_inner).insert(kind.clone(), settings.clone());
        settings
    }

    /// Bounded: kinds are those of the register, queues those of the configuration.
    pub(super) fn instruments(&self, queue: &Name, kind: &Name) -> Arc<Instruments> {
        let key = (queue.clone(), kind.clone());
        if let Some(known) = self.instruments.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return known.clone();
        }
        let outcome = |word: &str| self.metrics.job_attempts.with_label_values(&[queue.as_str(), kind.as_str(), word]);
        let words = ["completed", "retried", "snoozed", "parked", "cancelled", "dead", "released", "lost"];
        let made = Arc::new(Instruments {
            wait: self.metrics.job_wait.with_label_values(&[queue.as_str()]),
            duration: self.metrics.job_duration.with_label_values(&[queue.as_str(), kind.as_str()]),
            outcomes: words.map(outcome),
            quick: AtomicBool::new(false),
        });
        self.instruments.write().unwrap_or_else(PoisonError::into_inner).insert(key, made.clone());
        made
    }

    /// By queue, the attempts that came to an end of their own since the start.
    pub(super) fn ended_so_far(&self) -> BTreeMap<Name, u64> {
        let mut ended = BTreeMap::new();
        for ((queue, _), of) in &*self.instruments.read().unwrap_or_else(PoisonError::into_inner) {
            *ended.entry(queue.clone()).or_default() +=
                of.outcomes[..=AttemptOutcome::Dead as usize].iter().map(IntCounter::get).sum::<u64>();
        }
        ended
    }

    /// Queues a settlement for the pump; after the drain has closed it there is nobody to settle for.
    pub(super) fn settle(&self, settlement: Settlement, queue: Name) {
        if let Some(pump) = &*self.settlements.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = pump.send((settlement, queue));
        }
    }

    /// No settlement comes any more: the pump ends when it has written what it has.
    pub(super) fn close_settlements(&self) {
        self.settlements.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    pub(super) fn beaten(&self) {
        self.beaten_at.store(self.clock.now().0, Ordering::SeqCst);
    }

    /// Whether our own leases are known to be fresh. After a pause or an outage they are renewed before anything is reaped,
    /// or the daemon would take its own running jobs for abandoned ones.
    pub(super) fn beats(&self) -> bool {
        let age = self.clock.now().0.saturating_sub(self.beaten_at.load(Ordering::SeqCst));
        u128::try_from(age).unwrap_or(0) <= self.config().lease().as_micros()
    }

    pub(super) fn polled(&self) {
        self.polled_at.store(self.clock.now().0, Ordering::SeqCst);
    }

    pub(super) fn polled_ago(&self) -> Duration {
        self.clock.now().since(crate::job::Timestamp(self.polled_at.load(Ordering::SeqCst)))
    }
}
