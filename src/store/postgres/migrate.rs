//! Brings a database to this version: the steps it lacks, each in one transaction under a lock, and this release's routines.
//! A step that is cut leaves nothing of itself behind and is done whole the next time.

use super::{
    error::{self, Effect},
    install, tls,
};
use crate::store::{Error, Result};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::{str::FromStr as _, time::Duration};
use tokio_postgres::{Client, error::SqlState};

/// A week, which is how long jobs are kept unless the configuration says otherwise; what comes first is pruned in that width.
const KEPT_US: u64 = 604_800_000_000;

/// One step, as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    pub step: String,
    pub done: bool,
}

/// What a database has and what it lacks.
///
/// # Errors
/// `Refused` when the URL cannot be read, `Unavailable` when the database does not answer.
pub async fn status(url: &str) -> Result<Vec<Step>> {
    let client = connect(url).await?;
    let version = version(&client).await?;
    let mut steps: Vec<Step> =
        install::STEPS.iter().map(|(n, name, _)| Step { step: format!("{n:04} {name}"), done: *n <= version }).collect();
    steps.push(Step { step: format!("routines {}", install::RELEASE), done: version > 0 && has_routines(&client).await? });
    Ok(steps)
}

/// Does what is left to do, and says what that was.
///
/// # Errors
/// As [`status`], and `Refused` when the user may not do it or a newer release was here; what was done before an error stays
/// done.
pub async fn up(url: &str) -> Result<Vec<Step>> {
    let client = connect(url).await?;
    let mut done = Vec::new();
    for (n, name, text) in install::STEPS {
        begin(&client).await?;
        if version(&client).await? < n {
            if n == 1 {
                client.batch_execute(install::ROLES).await.map_err(may_not)?;
            }
            act_for_owner(&client).await?;
            client.batch_execute(text).await.map_err(failed)?;
            let put = format!("INSERT INTO windlass.migrations VALUES ({n}, '{name}')");
            client.batch_execute(&put).await.map_err(failed)?;
            done.push(Step { step: format!("{n:04} {name}"), done: true });
        }
        client.batch_execute("COMMIT").await.map_err(failed)?;
    }
    begin(&client).await?;
    if !has_routines(&client).await? {
        let (release, digest) = (install::RELEASE, digest());
        refuse_newer(&client).await?;
        let schema = format!("CREATE SCHEMA IF NOT EXISTS {release} AUTHORIZATION windlass_owner");
        client.batch_execute(&schema).await.map_err(may_not)?;
        act_for_owner(&client).await?;
        client.batch_execute(&install::routines()).await.map_err(failed)?;
        let partitions = format!("SELECT {release}.make_partitions({KEPT_US}, {release}.clock(NULL))");
        client.batch_execute(&partitions).await.map_err(failed)?;
        let put = format!(
            "INSERT INTO windlass.routines VALUES ('{release}', '{digest}') \
            ON CONFLICT (release) DO UPDATE SET digest = excluded.digest, installed_at = now()"
        );
        client.batch_execute(&put).await.map_err(failed)?;
        done.push(Step { step: format!("routines {release}"), done: true });
    }
    client.batch_execute("COMMIT").await.map_err(failed)?;
    Ok(done)
}

/// Only one program migrates a database at a time; the others wait, look again and find nothing left to do.
async fn begin(client: &Client) -> Result<()> {
    client.batch_execute("BEGIN; SELECT pg_advisory_xact_lock(1465206860, 0)").await.map_err(failed)
}

async fn act_for_owner(client: &Client) -> Result<()> {
    client.batch_execute("SET LOCAL ROLE windlass_owner").await.map_err(may_not)
}

/// What producers call belongs to the newest release; an older one must not take it back.
async fn refuse_newer(client: &Client) -> Result<()> {
    let ours: u32 = number(install::RELEASE);
    let rows = client.query("SELECT release FROM windlass.routines", &[]).await.map_err(failed)?;
    match rows.iter().map(|row| row.get::<_, String>(0)).find(|release| number(release) > ours) {
        Some(newer) => Err(Error::Refused(format!("a newer release ({newer}) has migrated this database; use that version"))),
        None => Ok(()),
    }
}

/// `windlass_v2` is 2.
fn number(release: &str) -> u32 {
    release.rsplit_once("_v").and_then(|(_, n)| n.parse().ok()).unwrap_or(0)
}

/// A right is missing: what an administrator has to do once.
fn may_not(e: tokio_postgres::Error) -> Error {
    if e.code() != Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
        return failed(e);
    }
    let said = e.as_db_error().map(|said| said.message().to_owned()).unwrap_or_default();
    Error::Refused(format!(
        "the user may not do this ({said}); let an administrator run once, with the user's name for ME and the database's for DB: \
        CREATE ROLE windlass_owner; CREATE ROLE windlass_daemon; CREATE ROLE windlass_producer; CREATE ROLE windlass_reader; \
        GRANT windlass_owner TO ME; GRANT CREATE ON DATABASE DB TO ME"
    ))
}

async fn connect(url: &str) -> Result<Client> {
    let mut server = tokio_postgres::Config::from_str(url)
        .map_err(|e| Error::Refused(format!("the store URL cannot be read ({}); use postgres://user@host/database", error::text(&e))))?;
    server.application_name("windlass migrate").connect_timeout(Duration::from_secs(5));
    let (client, connection) = server.connect(tls::connector()?).await.map_err(failed)?;
    tokio::spawn(connection);
    Ok(client)
}

fn failed(e: tokio_postgres::Error) -> Error {
    match error::map(&e, Effect::Reads).into_error() {
        Error::Corrupt(message) => Error::Unavailable(message),
        other => other,
    }
}

/// The last step that was done; 0 in a database that is not ours yet.
async fn version(client: &Client) -> Result<i32> {
    let row = client.query_one("SELECT to_regclass('windlass.migrations') IS NOT NULL", &[]).await.map_err(failed)?;
    if !row.get::<_, bool>(0) {
        return Ok(0);
    }
    let row = client.query_one("SELECT coalesce(max(version), 0) FROM windlass.migrations", &[]).await.map_err(failed)?;
    Ok(row.get(0))
}

async fn has_routines(client: &Client) -> Result<bool> {
    let find = "SELECT 1 FROM windlass.routines WHERE release = $1 AND digest = $2";
    Ok(client.query_opt(find, &[&install::RELEASE, &digest()]).await.map_err(failed)?.is_some())
}

fn digest() -> String {
    hex::encode(&Sha256::digest(install::routines().as_bytes())[..8])
}
