//! Entries that nobody was asked about: pushed onto a real Redis, taken in by a daemon's inbox, whatever the store is.

mod inbox;
