//! Windlass: a durable job queue and worker daemon.

pub mod cli;
pub mod client;
pub mod clients;
pub mod clock;
pub mod config;
pub mod control;
pub mod daemon;
pub mod engine;
pub mod intake;
pub mod job;
pub mod machine;
pub mod sandbox;
pub mod secret;
pub mod signatures;
pub mod store;
pub mod telemetry;
pub mod workers;

pub use client::Client;
