//! What the daemon says of itself: metrics for machines, logs for people.

pub mod logs;
mod metrics;

pub use metrics::Metrics;
