//! The one integration binary: a directory a room.

mod cli;
mod signatures;
