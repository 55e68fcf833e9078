//! Embedded SQLite (being written).
