//! What nobody was asked about: entries pushed onto a real Redis and tasks of real apalis producers, taken in by a daemon, whatever the
//! store is.

mod apalis;
mod inbox;
