//! All integration tests, in one binary: linked once, run in parallel.

#[macro_use]
mod support;

mod cli;
mod clients;
mod control;
mod crash;
mod deploy;
mod engine;
mod intake;
mod job;
mod page;
mod producers;
mod sandbox;
mod schedules;
mod signatures;
mod store;
mod tidy;
mod workers;
