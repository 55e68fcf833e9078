//! Queues by the control port: how much waits where, holding one back, and its limits.

use super::{
    Client, Result, because,
    call::{Sent, member},
};
use crate::{
    control::wire::{LimitsAnswer, LimitsRequest, PauseAnswer, PauseRequest},
    job::{LiveLimits, Name},
    store::QueueStatus,
};
use reqwest::Method;
use std::time::Duration;

impl Client {
    /// # Errors
    /// See [`Error`].
    pub async fn queues(&self) -> Result<Vec<QueueStatus>> {
        self.safely(Method::GET, "v1/queues", Sent::Nothing).await
    }

    /// # Errors
    /// See [`Error`].
    pub async fn pause(&self, queue: &Name, reason: Option<&str>, lasts: Option<Duration>) -> Result<PauseAnswer> {
        let for_ms = lasts.map(|lasts| u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX));
        let request = PauseRequest { reason: reason.map(ToOwned::to_owned), for_ms };
        self.json(Method::POST, &format!("v1/queues/{}/pause", member(queue)), Sent::json(&request)).await
    }

    /// What holds a queue back, and who changed what of it.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn limits(&self, queue: &Name) -> Result<LimitsAnswer> {
        self.safely(Method::GET, &format!("v1/queues/{}/limits", member(queue)), Sent::Nothing).await
    }

    /// Over what was changed before, and over what the daemons' configuration says.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn set_limits(&self, queue: &Name, limits: &LiveLimits, reason: Option<&str>) -> Result<LimitsAnswer> {
        let request = LimitsRequest { limits: limits.clone(), reason: reason.map(ToOwned::to_owned) };
        self.json(Method::PATCH, &format!("v1/queues/{}/limits", member(queue)), Sent::json(&request)).await
    }

    /// Lifts what was changed.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn unset_limits(&self, queue: &Name, reason: Option<&str>) -> Result<LimitsAnswer> {
        self.json(Method::DELETE, &format!("v1/queues/{}/limits", member(queue)), because(reason)).await
    }

    /// # Errors
    /// See [`Error`].
    pub async fn resume(&self, queue: &Name) -> Result<PauseAnswer> {
        self.json(Method::POST, &format!("v1/queues/{}/resume", member(queue)), Sent::Nothing).await
    }
}
