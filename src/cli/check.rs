//! `windlass check`: reads the configuration as `run` would and shows what is in force, where each value came from, and no
//! secret.

use super::{
    Place,
    output::{Format, print},
};
use crate::config;
use serde::Serialize;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    format: Format,
}

#[derive(Serialize)]
struct Answer {
    valid: bool,
    problems: Vec<Said>,
    warnings: Vec<Said>,
}

#[derive(Serialize)]
struct Said {
    place: String,
    message: String,
}

impl From<&config::Problem> for Said {
    fn from(problem: &config::Problem) -> Self {
        Self { place: problem.place.clone(), message: problem.message.clone() }
    }
}

pub fn run(place: &Place, args: &Args) -> anyhow::Result<()> {
    let loaded = config::load(&place.sources());
    if args.format.json {
        let (problems, warnings) = match &loaded {
            Ok(loaded) => (Vec::new(), loaded.warnings.iter().map(Said::from).collect()),
            Err(invalid) => (invalid.0.iter().map(Said::from).collect(), Vec::new()),
        };
        super::output::print_json(&Answer { valid: loaded.is_ok(), problems, warnings })?;
    }
    let loaded = loaded?;
    if !args.format.json {
        print(&loaded.show())?;
        for warning in &loaded.warnings {
            eprintln!("warning: {warning}");
        }
    }
    Ok(())
}
