//! Every command on one screen. A command is one file; `door.rs` is how it reaches the jobs, `output.rs` how it answers,
//! `exit.rs` how it ends.

mod audit;
pub mod bench;
mod check;
mod dead;
mod demo;
mod doctor;
mod door;
mod enqueue;
pub mod exit;
mod explain;
mod jobs;
mod limits;
mod lines;
mod manual;
mod migrate;
mod output;
mod queues;
mod run;
mod sandbox;
mod schedules;
mod search;
mod token;
mod top;
mod transfer;

use crate::config::Sources;
use clap::{Parser, Subcommand, error::ErrorKind};
use exit::Exit;
use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

/// A durable job queue and worker daemon
#[derive(Debug, Parser)]
#[command(name = "windlass", version, max_term_width = 100, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Command,
}

/// Which daemon or store a command is about.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Place {
    /// The configuration file; every key is in config/default.toml
    #[arg(long, global = true, value_name = "FILE", env = "WINDLASS_CONFIG")]
    config: Option<PathBuf>,
    /// Where the jobs are kept, such as sqlite:windlass.db
    #[arg(long, global = true, value_name = "URL")]
    store: Option<String>,
    /// The control port: where `run` listens, and whom the other commands ask
    #[arg(long, global = true, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Call the control port by https, and trust what these certificates (PEM) have signed; or its own, if it is among them
    #[arg(long, global = true, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon
    Run(run::Args),
    /// See everything at work: a store in a temporary folder, stand-in providers, real jobs
    Demo(demo::Args),
    /// Run the stand-in providers on loopback: an AI, a SERP and a mail server, a receiver of webhooks
    Sandbox(sandbox::Args),
    /// Enqueue one job, or many from standard input
    Enqueue(Box<enqueue::Args>),
    /// Look at jobs, cancel them, make them due
    #[command(subcommand)]
    Jobs(jobs::Command),
    /// Say what holds a job back, gate by gate, and when it will start
    Explain(explain::Args),
    /// Look at dead letters, put them back, remove them
    #[command(subcommand)]
    Dead(dead::Command),
    /// Watch queues, jobs, dead letters and daemons live in this terminal
    Top(top::Args),
    /// Look at queues, hold them back, let them go, change their limits
    #[command(subcommand)]
    Queues(queues::Command),
    /// Look at recurring rules, hold them back, run one now
    #[command(subcommand)]
    Schedules(schedules::Command),
    /// Make tokens for the control port, look at them, end them
    #[command(subcommand)]
    Token(token::Command),
    /// Look at who did what, and check that nobody changed that
    #[command(subcommand)]
    Audit(audit::Command),
    /// Check the configuration and show what is in force
    Check(check::Args),
    /// Examine the store, the machine and the configuration, and say what to do
    Doctor(doctor::Args),
    /// Bring a Postgres database to this version
    Migrate(migrate::Args),
    /// Measure the throughput and latency of a store
    Bench(BenchArgs),
    /// Write all live jobs and dead letters as NDJSON
    Export(transfer::Export),
    /// Take in what `export` wrote
    Import(transfer::Import),
    /// Print what a shell needs to complete this command line
    Completions(manual::Completions),
    /// Print the manual page
    Man(manual::Man),
}

/// The whole program: reads the command line, runs the command, and turns its end into an exit code.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse_command_line(&error),
    };
    match cli.command.run(&cli.place) {
        Ok(()) => Exit::Success.into(),
        Err(error) => {
            eprintln!("windlass: {}", output::plain_lines(&exit::sentence(&error)));
            Exit::of(&error).into()
        }
    }
}

impl Command {
    fn run(self, place: &Place) -> anyhow::Result<()> {
        match self {
            Self::Run(args) => run::run(place, &args),
            Self::Demo(args) => demo::run(&args),
            Self::Sandbox(args) => sandbox::run(place, &args),
            Self::Enqueue(args) => enqueue::run(place, *args),
            Self::Jobs(command) => jobs::run(place, command),
            Self::Explain(args) => explain::run(place, &args),
            Self::Dead(command) => dead::run(place, command),
            Self::Top(args) => top::run(place, &args),
            Self::Queues(command) => queues::run(place, command),
            Self::Schedules(command) => schedules::run(place, command),
            Self::Token(command) => token::run(place, command),
            Self::Audit(command) => audit::run(place, command),
            Self::Check(args) => check::run(place, &args),
            Self::Doctor(args) => doctor::run(place, &args),
            Self::Migrate(args) => migrate::run(place, &args),
            Self::Bench(args) => measure(place, &args),
            Self::Export(args) => transfer::export(place, &args),
            Self::Import(args) => transfer::import(place, &args),
            Self::Completions(args) => manual::completions(&args),
            Self::Man(args) => manual::man(&args),
        }
    }
}

#[derive(Debug, clap::Args)]
struct BenchArgs {
    #[command(flatten)]
    bench: bench::Bench,
    #[command(flatten)]
    format: output::Format,
}

fn measure(place: &Place, args: &BenchArgs) -> anyhow::Result<()> {
    let config = crate::config::load(&place.sources())?.config;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let bench = bench::Bench { runner: args.bench.runner.or(Some(config.engine.runner)), ..args.bench.clone() };
    let figures = runtime.block_on(bench::run(&bench, place.store.as_deref(), config.store_options()))?;
    Ok(args.format.show(&figures, output::members)?)
}

impl Place {
    fn sources(&self) -> Sources {
        Sources::of_process(self.config.clone()).with_store(self.store.clone()).with_listen(self.listen)
    }
}

/// clap says what is wrong and how it is meant; help and version are no errors.
fn refuse_command_line(error: &clap::Error) -> ExitCode {
    // Standard error is gone with the terminal; nobody is left to tell.
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Success.into(),
        _ => Exit::Usage.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Words as a shell would make them; all the README's quoting is plain.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
        for c in line.chars() {
            match (quote, c) {
                (Some(open), c) if c == open => quote = None,
                (None, '\'' | '"') => quote = Some(c),
                (None, '#' | '>' | '|') => break,
                (None, c) if c.is_whitespace() => words.extend((!word.is_empty()).then(|| std::mem::take(&mut word))),
                (_, c) => word.push(c),
            }
        }
        words.extend((!word.is_empty()).then_some(word));
        words
    }

    #[test]
    fn every_command_in_the_readme_is_one() {
        let readme = include_str!("../../README.md").replace(" ID", " 0192d4e0-7b1a-7000-8000-0123456789ab");
        let blocks = readme.split("```").skip(1).step_by(2).filter_map(|block| block.strip_prefix("sh\n"));
        let mut tried = 0;
        for command in blocks.flat_map(str::lines).flat_map(|line| line.split("  ")).map(str::trim) {
            if command.starts_with("windlass ") {
                tried += 1;
                if let Err(error) = Cli::try_parse_from(words(command)) {
                    panic!("{command}: {error}");
                }
            }
        }
        assert!(tried >= 10, "only {tried} commands were found");
    }
}
