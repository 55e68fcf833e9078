//! Schedules: their rules against a brute-force oracle, their plans against every kind of outage, their durability.

mod brute_force;
mod lives;
mod oracle;
