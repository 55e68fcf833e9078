//! The conformance suite: what the trait promises, as functions that run on every store. One file a noun, named as a
//! driver's files are. `model/` plays random histories against a model of the same promises.

// A function that is not in its file's list would never run.
#![deny(dead_code)]

mod access;
mod admin;
mod audit;
mod daemons;
mod dependencies;
mod edit;
mod enqueue;
mod envelopes;
mod examine;
mod explain;
mod export;
mod lease;
mod limits;
mod lineage;
mod listing;
mod live_limits;
mod migrations;
mod model;
mod partitions;
mod pinned;
mod pooler;
mod postgres;
mod redis;
mod redis_door;
mod rescue;
mod schedules;
mod search;
mod settle;
mod sql_door;
mod unique;
mod upkeep;
mod wake;
