//! Connections, a few for each purpose, so that a slow listing never delays a settlement; every call under a deadline.

use super::{
    Config,
    error::{self, Effect, Failed},
    params::Param,
};
use crate::store::{Error, Result};
use deadpool::managed::QueueMode;
use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, Timeouts};
use std::{
    str::FromStr as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio_postgres::{
    Row,
    types::{ToSql, Type},
};

/// Tries of a call that met another transaction, before the caller hears of it.
const TRIES: u32 = 5;

/// Connections for one purpose.
#[derive(Clone)]
pub(super) struct Lane {
    pool: Pool,
    deadline: Duration,
    direct: Direct,
}

/// Whether a connection is a session of the server's own: then statements are prepared once. Behind a transaction pooler,
/// or before it is known that there is none, each call says all that it needs.
#[derive(Clone, Default)]
pub(super) struct Direct(Arc<AtomicBool>);

impl Direct {
    pub(super) fn set(&self, is_direct: bool) {
        self.0.store(is_direct, Ordering::Relaxed);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Lane {
    pub(super) fn new(url: &str, size: usize, config: &Config, direct: Direct) -> Result<Self> {
        let mut server = tokio_postgres::Config::from_str(url).map_err(|e| {
            Error::Refused(format!("the store URL cannot be read ({}); use postgres://user@host/database", error::text(&e)))
        })?;
        server.application_name(super::install::RELEASE).connect_timeout(Duration::from_secs(5));
        // A peer that is gone without a word is found out within a minute, whatever the deadline of the call.
        server.keepalives_idle(Duration::from_secs(15)).keepalives_interval(Duration::from_secs(5)).keepalives_retries(3);
        server.tcp_user_timeout(Duration::from_secs(30));
        let manager = Manager::from_config(server, super::tls::connector()?, ManagerConfig { recycling_method: RecyclingMethod::Fast });
        let wait = Some(Duration::from_millis(config.timeout_ms));
        let timeouts = Timeouts { wait, create: wait, recycle: wait };
        let pool = Pool::builder(manager)
            .max_size(size)
            // The session that ran last is the one whose plans are still in the processor's caches.
            .queue_mode(QueueMode::Lifo)
            .timeouts(timeouts)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|e| Error::Refused(e.to_string()))?;
        Ok(Self { pool, deadline: Duration::from_millis(config.timeout_ms), direct })
    }

    /// Runs one statement in a transaction of its own. It runs to its end or its deadline, whether or not the caller waits.
    pub(super) async fn rows(&self, effect: Effect, statement: &'static str, params: Vec<Param>) -> Result<Vec<Row>> {
        let lane = self.clone();
        let call = tokio::spawn(async move {
            let mut tries = 0;
            loop {
                match lane.try_rows(effect, statement, &params).await {
                    Err(Failed::Again(_)) if tries < TRIES => tries += 1,
                    other => return other.map_err(Failed::into_error),
                }
            }
        });
        call.await.unwrap_or_else(|_| Err(error::lost("the call was cut short", effect)))
    }

    pub(super) async fn one(&self, effect: Effect, statement: &'static str, params: Vec<Param>) -> Result<Row> {
        let row = self.rows(effect, statement, params).await?.into_iter().next();
        row.ok_or_else(|| Error::Corrupt("a statement that answers one row answered none".into()))
    }

    async fn try_rows(&self, effect: Effect, statement: &'static str, params: &[Param]) -> std::result::Result<Vec<Row>, Failed> {
        let client = self.client().await?;
        match tokio::time::timeout(self.deadline, ask(&client, statement, params, self.direct.get())).await {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(e)) => {
                let failed = error::map(&e, effect);
                if error::is_unprepared(&e) {
                    // A pooler came between, or somebody has changed the routines.
                    self.direct.set(false);
                    drop(Object::take(client));
                } else if matches!(failed, Failed::Gone(_)) {
                    drop(Object::take(client));
                }
                Err(failed)
            }
            Err(_) => {
                // The statement may still run: it is asked to stop, and the connection is not used again.
                let cancel = client.cancel_token();
                drop(Object::take(client));
                if let Ok(tls) = super::tls::connector() {
                    let _ = tokio::time::timeout(Duration::from_secs(1), cancel.cancel_query(tls)).await;
                }
                Err(Failed::Gone(error::lost("Postgres did not answer in time", effect)))
            }
        }
    }

    /// For the few calls that are more than one statement; the transaction is rolled back unless it is committed.
    pub(super) async fn client(&self) -> std::result::Result<Object, Failed> {
        self.pool.get().await.map_err(|e| {
            Failed::Gone(match e {
                PoolError::Backend(e) => match error::map(&e, Effect::Reads).into_error() {
                    Error::Corrupt(message) => Error::Unavailable(message),
                    other => other,
                },
                PoolError::Closed => Error::Unavailable("the store is closed".into()),
                PoolError::Timeout(_) => Error::Unavailable("no connection to Postgres within the time allowed".into()),
                other => Error::Unavailable(other.to_string()),
            })
        })
    }

    pub(super) fn close(&self) {
        self.pool.close();
    }
}

async fn ask(
    client: &Object,
    statement: &'static str,
    params: &[Param],
    prepared: bool,
) -> std::result::Result<Vec<Row>, tokio_postgres::Error> {
    if prepared {
        let types: Vec<Type> = params.iter().map(|(_, ty)| ty.clone()).collect();
        let statement = client.prepare_typed_cached(statement, &types).await?;
        let values: Vec<&(dyn ToSql + Sync)> = params.iter().map(|(value, _)| &**value as &(dyn ToSql + Sync)).collect();
        return client.query(&statement, &values).await;
    }
    let typed: Vec<(&(dyn ToSql + Sync), Type)> = params.iter().map(|(value, ty)| (&**value as &(dyn ToSql + Sync), ty.clone())).collect();
    client.query_typed(statement, &typed).await
}

/// The connections of one store.
#[derive(Clone)]
pub(super) struct Lanes {
    /// Leasing, and what time brings.
    pub(super) lease: Lane,
    /// Settlements and heartbeats: nobody else's work holds these up.
    pub(super) settle: Lane,
    pub(super) enqueue: Lane,
    /// Reading and administration.
    pub(super) other: Lane,
    pub(super) direct: Direct,
}

impl Lanes {
    pub(super) fn new(url: &str, config: &Config) -> Result<Self> {
        let direct = Direct::default();
        let lane = |size| Lane::new(url, size, config, direct.clone());
        Ok(Self { lease: lane(2)?, settle: lane(4)?, enqueue: lane(4)?, other: lane(4)?, direct: direct.clone() })
    }

    pub(super) fn close(&self) {
        for lane in [&self.lease, &self.settle, &self.enqueue, &self.other] {
            lane.close();
        }
    }
}
