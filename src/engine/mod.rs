//! Makes stored jobs happen.

pub mod scheduler;
pub mod worker;
