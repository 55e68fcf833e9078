//! All integration tests, in one binary: linked once, run in parallel.

mod job;
mod schedules;
