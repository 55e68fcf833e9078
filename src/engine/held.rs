//! What this daemon holds: its leases, the slots they fill, and the means to stop each run.

use crate::job::{Json, Lease, Leased, Name};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering},
    },
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Why a run is stopped from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Somebody asked to cancel the job.
    Cancelled,
    /// The lease is no longer ours: whatever comes of the run is refused.
    LeaseLost,
    /// The drain's grace is over: the job goes back.
    HandedBack,
}

/// One lease, from grant to settlement.
pub(super) struct Held {
    pub(super) lease: Lease,
    pub(super) stopped: CancellationToken,
    why: AtomicU8,
    /// Its settlement is on its way, and the lease ours until that is answered.
    handed_on: AtomicBool,
    pub(super) progress: Arc<Mutex<Option<Json>>>,
}

impl Held {
    fn new(lease: Lease) -> Self {
        let (stopped, why, handed_on) = (CancellationToken::new(), AtomicU8::new(0), AtomicBool::new(false));
        Self { lease, stopped, why, handed_on, progress: Arc::default() }
    }

    pub(super) fn stop(&self, why: Stop) {
        let code = match why {
            Stop::Cancelled => 1,
            Stop::LeaseLost => 2,
            Stop::HandedBack => 3,
        };
        // The first reason stays: a job that was cancelled is not handed back.
        let _ = self.why.compare_exchange(0, code, Ordering::SeqCst, Ordering::SeqCst);
        self.stopped.cancel();
    }

    pub(super) fn hand_on(&self) {
        self.handed_on.store(true, Ordering::Relaxed);
    }

    pub(super) fn why(&self) -> Stop {
        match self.why.load(Ordering::SeqCst) {
            1 => Stop::Cancelled,
            2 => Stop::LeaseLost,
            _ => Stop::HandedBack,
        }
    }
}

/// A queue's slots on this daemon.
#[derive(Default)]
struct Slots {
    capacity: AtomicUsize,
    used: AtomicUsize,
}

#[derive(Default)]
pub(super) struct Holding {
    held: Mutex<HashMap<(i64, i64), Arc<Held>>>,
    slots: Mutex<BTreeMap<Name, Arc<Slots>>>,
    /// Bytes of payload in flight.
    bytes: AtomicUsize,
    /// A slot came free, or there are more of them.
    pub(super) freed: Notify,
    /// The last lease is settled.
    emptied: Notify,
}

impl Holding {
    pub(super) fn set_slots(&self, wanted: &BTreeMap<Name, usize>) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        for slot in slots.values() {
            slot.capacity.store(0, Ordering::SeqCst);
        }
        for (queue, capacity) in wanted {
            slots.entry(queue.clone()).or_default().capacity.store(*capacity, Ordering::SeqCst);
        }
        drop(slots);
        self.freed.notify_one();
    }

    /// Free slots by queue, at most `most` each; nothing while too many bytes are in flight.
    pub(super) fn free(&self, most: usize, bytes: usize) -> Vec<(Name, usize)> {
        if self.bytes.load(Ordering::Relaxed) >= bytes {
            return Vec::new();
        }
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let free = |slot: &Slots| slot.capacity.load(Ordering::Relaxed).saturating_sub(slot.used.load(Ordering::Relaxed)).min(most);
        slots.iter().map(|(queue, slot)| (queue.clone(), free(slot))).filter(|(_, free)| *free > 0).collect()
    }

    /// Whether some queue has slots and none of them free: work may wait there that a lease call would not have seen.
    pub(super) fn any_full(&self) -> bool {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.values().any(|slot| {
            let capacity = slot.capacity.load(Ordering::Relaxed);
            capacity > 0 && slot.used.load(Ordering::Relaxed) >= capacity
        })
    }

    /// (queue, slots, slots in use), for the metrics.
    pub(super) fn usage(&self) -> Vec<(Name, usize, usize)> {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots
            .iter()
            .map(|(queue, slot)| (queue.clone(), slot.capacity.load(Ordering::Relaxed), slot.used.load(Ordering::Relaxed)))
            .collect()
    }

    /// Takes over what a lease call granted: each fills a slot until its [`Slot`] is dropped.
    pub(super) fn take(self: &Arc<Self>, leased: Vec<Leased>) -> Vec<Grant> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let mut grants = Vec::with_capacity(leased.len());
        for leased in leased {
            let lease = leased.lease;
            let own = Arc::new(Held::new(lease));
            held.insert((lease.row, lease.epoch), own.clone());
            let bytes = leased.job.payload.as_str().len();
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
            let slots = slots.get(&leased.job.queue).cloned();
            if let Some(slots) = &slots {
                slots.used.fetch_add(1, Ordering::Relaxed);
            }
            grants.push(Grant { leased, held: own.clone(), slot: Slot { slots, bytes, holding: self.clone(), held: own } });
        }
        grants
    }

    /// The settlement of this lease is answered: nothing is held any more.
    pub(super) fn settled(&self, leases: impl Iterator<Item = Lease>) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        for lease in leases {
            held.remove(&(lease.row, lease.epoch));
        }
        if held.is_empty() {
            self.emptied.notify_waiters();
        }
    }

    /// Returns once nothing is held.
    pub(super) async fn empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            tokio::pin!(emptied);
            // Enlisted before looking, so that the last settlement cannot slip between.
            emptied.as_mut().enable();
            if self.len() == 0 {
                return;
            }
            emptied.await;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub(super) fn all(&self) -> Vec<Arc<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(super) fn get(&self, lease: Lease) -> Option<Arc<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).get(&(lease.row, lease.epoch)).cloned()
    }
}

/// A leased job with its slot, on its way to a worker.
pub(super) struct Grant {
    pub(super) leased: Leased,
    pub(super) held: Arc<Held>,
    pub(super) slot: Slot,
}

/// Frees the slot however the run ends, also when it is dropped, and lets go of the lease if no settlement is on its way.
pub(super) struct Slot {
    slots: Option<Arc<Slots>>,
    bytes: usize,
    holding: Arc<Holding>,
    held: Arc<Held>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(slots) = &self.slots {
            slots.used.fetch_sub(1, Ordering::Relaxed);
        }
        self.holding.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        if !self.held.handed_on.load(Ordering::Relaxed) {
            // The run was dropped and will say nothing: the next heartbeats find its lease astray and give it back.
            self.holding.settled(std::iter::once(self.held.lease));
        }
        self.holding.freed.notify_one();
    }
}
