//! The model test: random histories of two daemons, played on a store and on a plain reference of the same promises, with
//! answers lost, holders dead and processes killed. `WINDLASS_MODEL_CASES` sets how many histories,
//! `WINDLASS_MODEL_SHRINK` how many tries bring a failed one down.

mod grants;
mod history;
mod play;
mod reference;

use crate::support::{TestStore, note};
use history::{History, histories};
use play::Player;
use proptest::test_runner::{Config, FailurePersistence, FileFailurePersistence, PersistedSeed, TestCaseError, TestError, TestRunner};
use std::{
    any::Any,
    fmt::Debug,
    sync::atomic::{AtomicU64, Ordering},
};

/// Histories in a run that names no number.
const CASES: u32 = 2_000;
/// The machine this must be quick on has two cores.
const THREADS: u32 = 2;
/// Seeds of histories that failed once; each run begins with them.
const REGRESSIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/store/model/regressions.txt");

fn cases(store: &str) -> u32 {
    match std::env::var("WINDLASS_MODEL_CASES") {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("WINDLASS_MODEL_CASES is `{text}`; it takes a number")),
        // A step on a server takes twenty times as long as one in this process.
        Err(_) if store == "postgres" => CASES / 32,
        Err(_) if store == "redis" => CASES / 8,
        Err(_) if store == "cluster" => CASES / 16,
        Err(_) => CASES,
    }
}

#[test]
fn sqlite_agrees_with_the_reference() {
    agrees_with_the_reference("sqlite");
}

#[test]
fn postgres_agrees_with_the_reference() {
    agrees_with_the_reference("postgres");
}

#[test]
fn redis_agrees_with_the_reference() {
    agrees_with_the_reference("redis");
}

#[test]
fn cluster_agrees_with_the_reference() {
    agrees_with_the_reference("cluster");
}

fn agrees_with_the_reference(store: &'static str) {
    if !TestStore::is_wanted(store) {
        return;
    }
    let steps = AtomicU64::new(0);
    let cases = cases(store);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|n| {
                scope.spawn({
                    let steps = &steps;
                    move || play_many(store, cases / THREADS + u32::from(n < cases % THREADS), n == 0, steps)
                })
            })
            .collect();
        for thread in threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
    note(&format!("random histories agreed with the reference on {store}"), u64::from(cases));
    note(&format!("steps of random histories compared on {store}"), steps.into_inner());
}

/// Writes down what fails, and plays what is written down again where it is asked to: once in a run is enough.
#[derive(Clone, Debug, PartialEq)]
struct Seeds {
    file: FileFailurePersistence,
    again: bool,
}

impl FailurePersistence for Seeds {
    fn load_persisted_failures2(&self, source: Option<&'static str>) -> Vec<PersistedSeed> {
        if self.again { self.file.load_persisted_failures2(source) } else { Vec::new() }
    }

    fn save_persisted_failure2(&mut self, source: Option<&'static str>, seed: PersistedSeed, value: &dyn Debug) {
        self.file.save_persisted_failure2(source, seed, value);
    }

    fn box_clone(&self) -> Box<dyn FailurePersistence> {
        Box::new(self.clone())
    }

    fn eq(&self, other: &dyn FailurePersistence) -> bool {
        other.as_any().downcast_ref::<Self>().is_some_and(|other| self == other)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// `again`: those that failed once come first.
fn play_many(store: &'static str, cases: u32, again: bool, steps: &AtomicU64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
    let seeds = Seeds { file: FileFailurePersistence::Direct(REGRESSIONS), again };
    let config = Config {
        cases,
        failure_persistence: Some(Box::new(seeds)),
        // A history has some sixty operations; this many tries bring it down to the few that matter.
        max_shrink_iters: std::env::var("WINDLASS_MODEL_SHRINK").ok().and_then(|n| n.parse().ok()).unwrap_or(1_500),
        ..Config::default()
    };
    let mut runner = TestRunner::new(config);
    let outcome = runner.run(&histories(), |history: History| {
        let played = runtime.block_on(async {
            let player = Player::new(TestStore::open_quick(store).await, &history.queues).await?;
            player.play(&history).await
        });
        match played {
            Ok(played) => {
                steps.fetch_add(played, Ordering::Relaxed);
                Ok(())
            }
            Err(difference) => Err(TestCaseError::fail(difference)),
        }
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(difference, history)) => {
            panic!("{difference}\nqueue a: {:?}\nqueue b: {:?}", history.queues[0], history.queues[1])
        }
        Err(TestError::Abort(reason)) => panic!("the run was given up: {reason}"),
    }
}
