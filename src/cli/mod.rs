//! (being written)

pub mod bench;
