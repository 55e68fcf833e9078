//! Makes stored jobs happen.

pub mod worker;
