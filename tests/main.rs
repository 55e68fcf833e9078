//! Every integration test, in one binary: linked once, run in parallel.

mod store;
mod support;
mod tidy;
