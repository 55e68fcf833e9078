//! `windlass migrate`: brings a Postgres database to this version, or says what that would do.

use super::{Place, exit::Exit, output::Format};
use crate::{
    config,
    store::postgres::migrate::{self, Step},
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
    let url = config::load(&place.sources())?.config.store.url;
    if !url.starts_with("postgres") {
        return Err(Exit::Usage.because("only a Postgres store is migrated by hand; SQLite migrates itself when it is opened"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let steps = runtime.block_on(async { if args.status { migrate::status(&url).await } else { migrate::up(&url).await } })?;
    Ok(args.format.show(&steps, |steps: &Vec<Step>| told(steps))?)
}

fn told(steps: &[Step]) -> String {
    if steps.is_empty() {
        return "nothing to do: the database is at this version".into();
    }
    let line = |step: &Step| format!("{}  {}", if step.done { "done" } else { "left" }, step.step);
    steps.iter().map(line).collect::<Vec<_>>().join("\n")
}
