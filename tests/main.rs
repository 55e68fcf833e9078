//! The one integration binary: a directory a room.

mod cli;
mod clients;
mod control;
mod job;
mod schedules;
mod signatures;
