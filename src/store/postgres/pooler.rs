//! What lies between us and the server: whether the sessions are our own, and whether notifications come through.

use super::{
    Config,
    examine::{connect, said},
};
use crate::store::{
    Error, Result,
    examine::{Finding, PATIENCE, shown},
};
use std::time::Instant;
use tokio_postgres::Client;

pub(super) async fn examine(url: &str, config: &Config) -> Vec<Finding> {
    let listens_at = config.listen_url.as_deref();
    let (shared, notified) = tokio::join!(tokio::time::timeout(PATIENCE, is_shared(url)), round_trip_of_notification(url, listens_at));
    let pooler = match shared {
        Ok(Ok(is_shared)) => pooler(is_shared, listens_at.is_some()),
        Ok(Err(error)) => Finding::unknown("pooler", error, "see `connection`"),
        Err(_) => Finding::unknown("pooler", "no answer in time", "see `connections`, and the pooler's own limits"),
    };
    vec![pooler, notified]
}

/// Two of our connections at a time, one of them in a transaction. Behind a transaction pooler the other one is given whatever session
/// of the server is free: the first one's before, or another than it had.
async fn is_shared(url: &str) -> Result<bool> {
    const SESSION: &str = "SELECT pg_backend_pid()";
    let (one, two) = (connect(url).await?, connect(url).await?);
    let session = async |client: &Client| client.query_typed(SESSION, &[]).await.map(|rows| rows[0].get::<_, i32>(0)).map_err(|e| said(&e));
    let before = session(&one).await?;
    two.batch_execute("BEGIN").await.map_err(|e| said(&e))?;
    let meanwhile = session(&two).await?;
    let after = session(&one).await?;
    two.batch_execute("COMMIT").await.map_err(|e| said(&e))?;
    Ok(meanwhile == before || after != before)
}

fn pooler(is_shared: bool, listens_directly: bool) -> Finding {
    const CHECK: &str = "pooler";
    match (is_shared, listens_directly) {
        (false, _) => Finding::ok(CHECK, "each connection is a session of the server's own (no pooler, or one in session mode)"),
        (true, true) => Finding::ok(CHECK, "calls go through a transaction pooler, and notifications have a connection of their own"),
        (true, false) => Finding::warn(
            CHECK,
            "calls go through a transaction pooler, where notifications do not arrive: the daemon polls, 2 to 25 ms apart",
            "set `store.postgres.listen_url` to an address that leads to the server itself, or to a pooler in session mode",
        ),
    }
}

/// From one connection, through the server, to another that listens.
async fn round_trip_of_notification(url: &str, listens_at: Option<&str>) -> Finding {
    const CHECK: &str = "notify";
    let trip = async {
        let (ear, mut notes) = super::wake::connect(listens_at.unwrap_or(url)).await.map_err(Error::Unavailable)?;
        let mouth = connect(url).await?;
        // A channel of its own: no daemon is woken by it.
        ear.batch_execute("LISTEN windlass_doctor").await.map_err(|e| said(&e))?;
        let (word, begun) = (uuid::Uuid::now_v7(), Instant::now());
        mouth.batch_execute(&format!("NOTIFY windlass_doctor, '{word}'")).await.map_err(|e| said(&e))?;
        while let Some(note) = notes.recv().await {
            if note == word.to_string() {
                return Ok(begun.elapsed());
            }
        }
        Err(Error::Unavailable("the connection ended".into()))
    };
    match tokio::time::timeout(PATIENCE * 2, trip).await {
        Ok(Ok(time)) => {
            Finding::ok(CHECK, format!("a notification arrives within {}", shown(time))).measured(time.as_secs_f64() * 1000.0, "ms")
        }
        Ok(Err(error)) => Finding::unknown(CHECK, error, "see that `store.postgres.listen_url` leads to the server, for this user"),
        Err(_) => Finding::warn(
            CHECK,
            "notifications do not arrive: the daemon polls, 2 to 25 ms apart",
            "set `store.postgres.listen_url` to an address that leads to the server itself, past any transaction pooler",
        ),
    }
}
