//! All integration tests, in one binary: linked once, run in parallel.

mod clients;
mod control;
mod job;
mod schedules;
mod signatures;
mod store;
mod support;
mod tidy;
