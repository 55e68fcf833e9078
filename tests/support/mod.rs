//! What tests share: throw-away stores of every driver, jobs written in one line, instants that are passed in.
//! Waits for nothing and reads no clock; a test that needs either says so itself.

mod browser;
mod daemon;
mod jobs;
mod pooler;
mod postgres;
mod programs;
mod redis;
mod report;
mod stores;

pub use browser::{Tab, browser};
pub use daemon::{Daemon, LEASE, ids};
pub use jobs::{Build, WINDOW, at, json, name, names, now, operator, work};
pub use pooler::Pooler;
pub use postgres::{Own as OwnPostgres, free_port, server as postgres_server};
pub use programs::{on_path, program};
pub use redis::{Own as OwnRedis, OwnCluster, cluster as redis_cluster, server as redis_server};
pub(crate) use report::note;
pub(crate) use stores::on_every_store;
pub use stores::{Broken, TestStore};
