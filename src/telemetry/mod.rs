//! What the daemon says of itself: metrics for machines, logs for people.

mod metrics;

pub use metrics::Metrics;
