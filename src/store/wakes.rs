//! Hints that there may be work, or a request to cancel. Polling is the truth.

use tokio::sync::watch;

#[derive(Clone)]
pub(super) struct Wakes {
    work: watch::Sender<u64>,
    cancel: watch::Sender<u64>,
}

impl Wakes {
    pub(super) fn new() -> Self {
        Self { work: watch::Sender::new(0), cancel: watch::Sender::new(0) }
    }

    pub(super) fn work(&self) {
        self.work.send_modify(|n| *n += 1);
    }

    pub(super) fn cancel(&self) {
        self.cancel.send_modify(|n| *n += 1);
    }

    pub(super) fn on_work(&self) -> watch::Receiver<u64> {
        self.work.subscribe()
    }

    pub(super) fn on_cancel(&self) -> watch::Receiver<u64> {
        self.cancel.subscribe()
    }
}
