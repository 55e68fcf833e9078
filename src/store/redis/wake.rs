//! Hears of work that others brought, and of requests to cancel. A lease call that found nothing leaves word that somebody sleeps,
//! in the same step; whoever brings work then says so, once. Polling is the truth.

use super::shards::Tag;
use crate::store::wakes::Wakes;
use futures_util::StreamExt as _;
use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio_util::sync::CancellationToken;

pub(super) struct Listener {
    /// Of a cluster any will do: each passes on what any hears.
    pub(super) clients: Vec<redis::Client>,
    pub(super) channel: String,
    /// In a cluster, queues that others have made.
    pub(super) made: Arc<Mutex<BTreeSet<Tag>>>,
    pub(super) settings_are_old: Arc<AtomicBool>,
    pub(super) wakes: Wakes,
    pub(super) stop: CancellationToken,
}

impl Listener {
    /// Listens until told to stop, on a connection of its own.
    pub(super) async fn run(self) {
        let mut tries = 0_u32;
        for client in self.clients.iter().cycle() {
            tokio::select! {
                heard = self.listen(client) => match heard {
                    Ok(()) => tries = 0,
                    Err(reason) => tracing::debug!(%reason, "not listening to Redis; polling goes on"),
                },
                () = self.stop.cancelled() => return,
            }
            tries = (tries + 1).min(6);
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(50 << tries)) => {}
                () = self.stop.cancelled() => return,
            }
        }
    }

    async fn listen(&self, client: &redis::Client) -> redis::RedisResult<()> {
        let mut subscription = client.get_async_pubsub().await?;
        subscription.subscribe(&self.channel).await?;
        // What came before it listened.
        self.settings_are_old.store(true, Ordering::Relaxed);
        self.wakes.work();
        let mut messages = subscription.on_message();
        while let Some(message) = messages.next().await {
            match message.get_payload_bytes() {
                b"cancel" => self.wakes.cancel(),
                b"settings" => {
                    self.settings_are_old.store(true, Ordering::Relaxed);
                    self.wakes.work();
                }
                told => {
                    if let Some(shard) = std::str::from_utf8(told).ok().and_then(|text| Tag::new(text.strip_prefix("queue ")?)) {
                        self.made.lock().unwrap_or_else(PoisonError::into_inner).insert(shard);
                    }
                    self.wakes.work();
                }
            }
        }
        Ok(())
    }
}
