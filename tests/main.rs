//! The one integration binary: a directory a room.

mod control;
mod signatures;
