//! The words and rules of the queue, by tables and by properties.

mod envelope;
mod faults;
mod names;
mod retry;
mod states;
mod times;
