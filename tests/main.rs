//! The one integration binary: a directory a room.

mod cli;
mod job;
mod schedules;
mod signatures;
