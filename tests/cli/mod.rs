//! The doors for people: the configuration, the command line, the daemon as a process.

mod audit;
mod bad_input;
mod commands;
mod configuration;
mod demo;
mod doctor;
mod manual;
mod private;
pub mod program;
mod running;
mod terminal;
mod tls;
mod token;
mod top;
