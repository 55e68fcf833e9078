//! The words and rules of the queue, by tables and by properties.
