//! A queue of theirs as a bridge uses it, whatever store it is in: who holds its tasks, and for how long a worker's word is good.

use super::{
    end::End,
    postgres, redis,
    task::{Open, Task},
};
use crate::store;
use async_trait::async_trait;
use std::{str::FromStr as _, time::Duration};

/// A worker of ours that gave no word for so long is dead, or will find out that it holds nothing any more.
pub(super) const SILENCE: Duration = Duration::from_secs(30);
/// Their workers give away what one holds that gave no word for five minutes, and the job would run here and there. So ours gives each
/// word this much ahead: longer than any outage after which somebody means to go on.
pub(super) const LEAD: Duration = Duration::from_secs(7 * 86_400);

/// Their queue, as a bridge uses it. Each call is one step that is done or is not.
#[async_trait]
pub(super) trait Queue: Send {
    /// Tells that this worker lives; the first word makes it known.
    async fn beat(&mut self) -> Result<(), Error>;
    /// Tells that it is about to be silent: the next boot takes over at once.
    async fn leave(&mut self) -> Result<(), Error>;
    /// Takes over what silent workers of this bridge hold; answers how many tasks.
    async fn adopt(&mut self) -> Result<u64, Error>;
    /// The next tasks that are due, which this worker holds from now on.
    async fn take(&mut self, most: usize) -> Result<Vec<Task>, Error>;
    /// A page of what this worker holds. It begins with `after`, which is empty for the first.
    async fn held(&mut self, after: &str) -> Result<Held, Error>;
    /// These are jobs now.
    async fn start(&mut self, ids: &[&[u8]]) -> Result<(), Error>;
    /// Their jobs have ended. One that this worker does not hold any more stays as it is.
    async fn end(&mut self, ends: &[End]) -> Result<(), Error>;
}

#[derive(Default)]
pub(super) struct Held {
    /// Those that may not be jobs yet.
    pub(super) unsent: Vec<Task>,
    pub(super) open: Vec<Open>,
    /// Where the next page begins.
    pub(super) next: Option<String>,
}

/// As whom a bridge holds tasks.
#[derive(Clone)]
pub(super) struct Worker {
    pub(super) bridge: String,
    /// Theirs.
    pub(super) queue: String,
    /// One for each boot: apalis takes a known name for a worker that still lives.
    pub(super) name: String,
    /// What the names of all boots begin with.
    pub(super) family: String,
}

pub(super) enum Server {
    Redis(Box<::redis::Client>),
    Postgres(Box<tokio_postgres::Config>),
}

impl Server {
    pub(super) fn of(url: &str) -> Result<Self, String> {
        match url.split(':').next() {
            Some("redis" | "rediss") => {
                ::redis::Client::open(url).map(|client| Self::Redis(Box::new(client))).map_err(|e| format!("cannot be read ({e})"))
            }
            Some("postgres" | "postgresql") => {
                let mut server = tokio_postgres::Config::from_str(url).map_err(|e| format!("cannot be read ({e})"))?;
                server.application_name("windlass bridge").connect_timeout(Duration::from_secs(5));
                Ok(Self::Postgres(Box::new(server)))
            }
            _ => Err("is neither redis://… nor postgres://…".into()),
        }
    }

    pub(super) async fn connect(&self, worker: Worker) -> Result<Box<dyn Queue>, Error> {
        Ok(match self {
            Self::Redis(client) => Box::new(redis::Queue::connect(client, worker).await?),
            Self::Postgres(server) => Box::new(postgres::Queue::connect(server, worker).await?),
        })
    }
}

/// Why a round ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("their Redis: {0}")]
    Redis(#[from] ::redis::RedisError),
    #[error("their Postgres: {}", said(.0))]
    Postgres(#[from] tokio_postgres::Error),
    #[error("their Postgres did not answer in time")]
    Silent,
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// The driver's own text is `db error`.
fn said(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |error| error.message().to_owned())
}

impl Error {
    /// A value does not fit its type (SQLSTATE class 22).
    pub(super) fn is_of_data(&self) -> bool {
        matches!(self, Self::Postgres(error) if error.code().is_some_and(|code| code.code().starts_with("22")))
    }
}
