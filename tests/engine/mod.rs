//! The engine over a real store: what one job does must not be felt by another.

mod refused;
mod stall;
