//! All integration tests, in one binary: linked once, run in parallel.

mod control;
mod job;
mod schedules;
mod signatures;
