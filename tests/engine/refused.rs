//! A settlement that the store cannot write, and the others that were to be written with it.

use crate::support::{TestStore, at, name, work};
use async_trait::async_trait;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_util::sync::CancellationToken;
use windlass::{
    clock::Clock,
    engine::{
        Config, Engine, Parts,
        worker::{Context, Outcome, Register, Worker},
    },
    job::{JobId, LeasedJob, State},
    store::Filter,
    telemetry::Metrics,
};

struct Tells(UnboundedSender<JobId>);

#[async_trait]
impl Worker for Tells {
    async fn run(&self, job: &LeasedJob, _: &Context) -> Outcome {
        let _ = self.0.send(job.id);
        Outcome::complete()
    }
}

/// Puts another job into the past under the same id, as only another program can.
fn take_its_place_in_history(store: &TestStore, id: JobId) {
    let file = rusqlite::Connection::open(store.sqlite_file()).expect("the file can be opened beside the store");
    let row = "INSERT INTO history (id, kind, queue, priority, state, attempt, max_attempts, created_at, run_at, finished_at, ordered, deaths, payload)
               VALUES (?1, 'other', 'other', 5, 'completed', 1, 1, 0, 0, 4102444800000000, 0, 0, 'null')";
    assert_eq!(file.execute(row, [id.0.as_bytes()]).expect("the row is as rows are"), 1);
}

#[tokio::test]
async fn a_settlement_that_cannot_be_written_ends_its_job_and_no_other() {
    let store = TestStore::open("sqlite").await;
    let jobs = store.put((0..5).map(|_| work()).collect(), None).await;
    take_its_place_in_history(&store, jobs[2]);
    let (tell, mut told) = unbounded_channel();
    let register = Register::default().with("work", Tells(tell));
    let config = Config { slots: [(name("default"), 16)].into_iter().collect(), ..Config::default() };
    let (metrics, clock) = (Metrics::new(), Clock::manual(at(0)));
    let parts = Parts { store: store.shared(), register, config, settings: Default::default(), metrics, clock };
    let engine = Engine::start(parts).await.expect("it starts");
    for _ in 0..5 {
        told.recv().await.expect("each of them runs");
    }
    engine.drain(CancellationToken::new()).await;

    assert!(told.try_recv().is_err(), "and runs once: what cannot be recorded is not paid for again and again");
    let dead = store.all_of(&Filter { state: Some(State::Dead), ..Filter::default() }, 10).await;
    let found = dead.iter().map(|job| (job.id, job.reason.as_deref())).collect::<Vec<_>>();
    assert_eq!(found, [(jobs[2], Some("settlement_refused"))]);
    for id in jobs.iter().filter(|id| **id != jobs[2]) {
        assert_eq!(store.state(*id).await, State::Completed);
    }
}
