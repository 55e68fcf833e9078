//! The words and rules of the queue, by tables and by properties.

mod envelope;
pub use envelope::MEMBERS;
mod faults;
mod limits;
mod names;
mod retry;
mod states;
mod times;
