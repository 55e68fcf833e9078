//! Being a worker from another process: the calls of `docs/workers.md`.

use super::{Client, Result, Sent};
use crate::{
    control::wire::work::{BeatAnswer, BeatAsked, GoodbyeAsked, LeaseAnswer, LeaseAsked, Settled, SettledAnswer},
    job::{HolderId, Nonce},
};
use reqwest::Method;

impl Client {
    /// Jobs to run, at once or within `wait_ms`. A lost answer is asked for again by the call's nonce.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn lease(&self, asked: &LeaseAsked) -> Result<LeaseAnswer> {
        let named = LeaseAsked { nonce: asked.nonce.or_else(|| Some(Nonce::mint())), ..asked.clone() };
        self.safely(Method::POST, "v1/lease", Sent::json(&named)).await
    }

    /// Keeps what the worker holds, and tells what became of it.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn heartbeat(&self, asked: &BeatAsked) -> Result<BeatAnswer> {
        self.safely(Method::POST, "v1/heartbeat", Sent::json(asked)).await
    }

    /// Ends attempts; an answer for each, in order. One that was applied may be sent again.
    ///
    /// # Errors
    /// When the call as a whole failed.
    pub async fn settle(&self, ends: &[Settled]) -> Result<Vec<SettledAnswer>> {
        self.safely(Method::POST, "v1/settle", Sent::json(&ends)).await
    }

    /// The worker ends in order.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn goodbye(&self, worker: HolderId) -> Result<()> {
        self.call(Method::POST, "v1/goodbye", Sent::json(&GoodbyeAsked { worker })).await.map(drop)
    }
}
