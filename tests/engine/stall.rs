//! Work that computes for long holds up nobody else: the engine over a store, with a worker that blocks its thread.

use crate::support::{Build as _, TestStore, at, name, work};
use async_trait::async_trait;
use std::{
    sync::{Mutex, mpsc},
    time::Duration,
};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_util::sync::CancellationToken;
use windlass::{
    clock::Clock,
    engine::{
        Config, Engine, Parts, Runner,
        worker::{Context, Outcome, Register, Worker},
    },
    job::LeasedJob,
    telemetry::Metrics,
};

/// Computes until it is released, in the eyes of its thread.
struct Computes(Mutex<mpsc::Receiver<()>>);

#[async_trait]
impl Worker for Computes {
    async fn run(&self, _: &LeasedJob, _: &Context) -> Outcome {
        let _ = self.0.lock().expect("no panic while locked").recv();
        Outcome::complete()
    }
}

struct Tells(UnboundedSender<()>);

#[async_trait]
impl Worker for Tells {
    async fn run(&self, _: &LeasedJob, _: &Context) -> Outcome {
        let _ = self.0.send(());
        Outcome::complete()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_worker_that_computes_before_its_first_wait_holds_up_no_other_job() {
    for runner in [Runner::Bare, Runner::Apalis] {
        let store = TestStore::open("sqlite").await;
        let mut jobs = vec![work().kind("computes")];
        jobs.extend((0..10).map(|_| work().kind("tells")));
        store.put(jobs, None).await;
        let (release, gate) = mpsc::channel();
        let (tell, mut told) = unbounded_channel();
        let register = Register::default().with("computes", Computes(Mutex::new(gate))).with("tells", Tells(tell));
        let config = Config { slots: [(name("default"), 16)].into_iter().collect(), runner, ..Config::default() };
        let (metrics, clock) = (Metrics::new(), Clock::manual(at(0)));
        let parts = Parts { store: store.shared(), register, config, settings: Default::default(), metrics, clock };
        let engine = Engine::start(parts).await.expect("it starts");
        for _ in 0..10 {
            let heard = tokio::time::timeout(Duration::from_secs(20), told.recv()).await;
            assert!(heard.is_ok(), "{runner:?}: the other jobs waited for the one that computes");
        }
        drop(release);
        engine.drain(CancellationToken::new()).await;
    }
}
