//! All integration tests, in one binary: linked once, run in parallel.

mod clients;
mod job;
mod schedules;
mod signatures;
