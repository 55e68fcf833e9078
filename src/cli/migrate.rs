//! `windlass migrate`: brings a Postgres database or a Redis server to this version, or says what that would do.

use super::{Place, exit::Exit, output::Format};
use crate::{
    config,
    store::{
        postgres::migrate::{self, Step},
        redis::RedisStore,
    },
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only say what is done and what is left to do
    #[arg(long, visible_alias = "dry-run")]
    status: bool,
    #[command(flatten)]
    format: Format,
}

pub fn run(place: &Place, args: &Args) -> anyhow::Result<()> {
    let store = config::load(&place.sources())?.config.store;
    let (url, redis) = (store.url, store.redis);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if url.starts_with("redis") {
        let step = |done| Step { step: "the library of functions".into(), done };
        let steps = runtime.block_on(async {
            let is_there = RedisStore::is_migrated(&url, &redis).await?;
            match args.status || is_there {
                true if is_there => Ok(Vec::new()),
                true => Ok(vec![step(false)]),
                false => RedisStore::migrate(&url, &redis).await.map(|()| vec![step(true)]),
            }
        });
        return Ok(args.format.show(&steps.map_err(|e: crate::store::Error| e)?, |steps: &Vec<Step>| told(steps))?);
    }
    if !url.starts_with("postgres") {
        return Err(Exit::Usage.because("only a Postgres or Redis store is migrated by hand; SQLite migrates itself when it is opened"));
    }
    let steps = runtime.block_on(async { if args.status { migrate::status(&url).await } else { migrate::up(&url).await } })?;
    Ok(args.format.show(&steps, |steps: &Vec<Step>| told(steps))?)
}

fn told(steps: &[Step]) -> String {
    if steps.is_empty() {
        return "nothing to do: the store is at this version".into();
    }
    let line = |step: &Step| format!("{}  {}", if step.done { "done" } else { "left" }, step.step);
    steps.iter().map(line).collect::<Vec<_>>().join("\n")
}
