//! The one integration binary: a directory a room.

mod clients;
mod signatures;
mod workers;
