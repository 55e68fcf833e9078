//! Your own apalis 1.0 handlers over a Windlass store: leases, fencing, durable backoff and dead letters are the store's,
//! the handler and the worker are apalis'.
//!
//! ```sh
//! cargo run --example apalis_handlers
//! ```

use apalis::prelude::{AbortError, BoxDynError, WorkerBuilder};

use windlass::{
    clock::Clock,
    engine::{Config, Parts, backend::LeaseBackend, worker::Register},
    job::{Json, KindSettings, LeasedJob, Name, NewJob, Settings, State},
    store::{self, Options, Role},
    telemetry::Metrics,
};

async fn greet(job: LeasedJob) -> Result<(), BoxDynError> {
    let name: String = job.payload.read().map_err(|e| AbortError::new(format!("the payload is no text: {e}")))?;
    println!("attempt {} of {}: hello, {name}", job.attempt, job.id);
    // The first try of one of them fails, so that there is a retry to see.
    if name == "Grace" && job.attempt == 1 { Err("not yet".into()) } else { Ok(()) }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let url = format!("sqlite:{}", folder.path().join("greetings.db").display());
    let store = store::open(&url, Role::Daemon { control: None }, Options::default()).await?;

    let kind = Name::literal("greet");
    let settings = Settings { kinds: [(kind.clone(), KindSettings::default())].into_iter().collect(), ..Settings::default() };
    store.configure(&settings).await?;
    let jobs: Vec<NewJob> = ["Ada", "Grace", "Barbara"].map(|name| NewJob::new(kind.clone(), Json::of(&name))).into();
    let ids: Vec<_> = jobs.iter().map(|job| job.id).collect();
    store.enqueue(jobs, None).await?;

    let parts = Parts {
        store: store.clone(),
        register: Register::for_kinds([kind]),
        config: Config::default(),
        settings,
        metrics: Metrics::new(),
        clock: Clock::System,
    };
    let worker = WorkerBuilder::new("greeter").backend(LeaseBackend::new(parts)).build(greet);
    let running = tokio::spawn(worker.run());
    for id in ids {
        while store.get(id).await?.is_none_or(|job| job.state != State::Completed) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
    println!("all greeted: {:?}", store.queues(None).await?.first().map(|queue| &queue.jobs));
    running.abort();
    store.close().await;
    Ok(())
}
