//! A job that does nothing, as cheaply as the engine allows: what `windlass bench` drains.

use crate::{
    engine::worker::{Context, Outcome, Worker},
    job::LeasedJob,
};
use async_trait::async_trait;

pub(super) const KIND: &str = "bench.noop";

#[derive(Clone, Copy, Debug)]
pub struct Noop;

#[async_trait]
impl Worker for Noop {
    async fn run(&self, _: &LeasedJob, _: &Context) -> Outcome {
        Outcome::complete()
    }
}
