//! Brings a database to this version: the changes it lacks, and this release's routines. A change that is cut leaves nothing
//! behind that the next try does not put right.
//!
//! Older daemons go on working meanwhile. What they mind comes last, when none of them is there any more; what takes long is
//! done while everybody works; and no lock is waited for longer than a producer may wait.

use super::{
    error::{self, Effect},
    install, tls,
};
use crate::store::{Error, Result};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::{
    str::FromStr as _,
    time::{Duration, Instant},
};
use tokio_postgres::{Client, error::SqlState};

/// A week, which is how long jobs are kept unless the configuration says otherwise; what comes first is pruned in that width.
const KEPT_US: u64 = 604_800_000_000;
/// Whoever waits for a table's lock holds up all who come after it: it gives up after this time and tries again.
const LOCK_TIMEOUT: &str = "300ms";
/// The advisory locks: whoever changes a database holds one, whoever builds an index in it the other.
const CHANGING: &str = "1465206860, 0";
const BUILDING: &str = "1465206860, 1";
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(200);
/// After this time somebody has to be told.
const PATIENCE: Duration = Duration::from_secs(300);

/// One change of what lasts in a database.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    pub number: i32,
    pub name: &'static str,
    pub work: Work,
}

#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// A script that daemons of older releases do not mind, in one transaction.
    Expand(&'static str),
    /// An index of the schema `windlass` by its name, and its `CREATE INDEX CONCURRENTLY`: built while everybody works. Nothing
    /// is wrong without it.
    Index(&'static str, &'static str),
    /// A script that takes away what only older releases need, in one transaction; done once none of their daemons is connected.
    Contract(&'static str),
}

/// One step, as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    pub step: String,
    pub done: bool,
}

impl Change {
    fn step(&self, done: bool) -> Step {
        Step { step: format!("{:04} {}", self.number, self.name), done }
    }
}

/// What a database has and what it lacks.
///
/// # Errors
/// `Refused` when the URL cannot be read, `Unavailable` when the database does not answer.
pub async fn status(url: &str) -> Result<Vec<Step>> {
    let client = connect(url).await?;
    let known = done(&client).await?;
    let mut steps: Vec<Step> = install::CHANGES.iter().map(|change| change.step(known.contains(&change.number))).collect();
    steps.push(Step { step: format!("routines {}", install::RELEASE), done: !known.is_empty() && has_routines(&client).await? });
    Ok(steps)
}

/// Does what is left to do, and says what that was; and what has to wait.
///
/// # Errors
/// As [`status`], and `Refused` when the user may not do it or a newer release was here; what was done before an error stays
/// done.
pub async fn up(url: &str) -> Result<Vec<Step>> {
    apply(url, &install::CHANGES).await
}

/// [`up`] with other changes than this release's, so that their sorts can be tried on a database that is at work.
///
/// # Errors
/// As [`up`].
pub async fn apply(url: &str, changes: &[Change]) -> Result<Vec<Step>> {
    let client = connect(url).await?;
    let mut steps = Vec::new();
    for change in changes {
        if let Work::Expand(script) = change.work {
            steps.extend(run(&client, change, script).await?);
        }
    }
    let patience = Patience::new();
    steps.extend(loop {
        match put_routines(&client).await {
            Ok(step) => break step,
            Err(halt) => patience.wait(halt).await?,
        }
    });
    for change in changes {
        match change.work {
            Work::Expand(_) => {}
            Work::Index(index, statement) => steps.extend(build(&client, change, index, statement).await?),
            Work::Contract(script) => {
                let older = older_daemons(&client).await?;
                if done(&client).await?.contains(&change.number) {
                    continue;
                } else if older == 0 {
                    steps.extend(run(&client, change, script).await?);
                } else {
                    let mut step = change.step(false);
                    step.step += &format!(": {older} connections of older daemons are there; migrate again when they are gone");
                    steps.push(step);
                }
            }
        }
    }
    Ok(steps)
}

/// For how long somebody else has been in the way.
struct Patience(Instant);

impl Patience {
    fn new() -> Self {
        Self(Instant::now())
    }

    /// Waits a little for the next try, or says why there is none.
    async fn wait(&self, halt: Halt) -> Result<()> {
        match halt {
            Halt::Failed(error) => Err(error),
            Halt::Locked(said) if self.0.elapsed() > PATIENCE => Err(Error::Unavailable(format!(
                "{said}; some transaction has been in the way for minutes: find it in pg_stat_activity (oldest xact_start), end it, and migrate again"
            ))),
            Halt::Locked(_) => {
                tokio::time::sleep(PAUSE).await;
                Ok(())
            }
        }
    }
}

/// What ends a try.
enum Halt {
    /// Somebody else holds a lock, or migrates just now; nothing was done.
    Locked(String),
    Failed(Error),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

fn halt(e: tokio_postgres::Error) -> Halt {
    match e.code() {
        Some(&(SqlState::LOCK_NOT_AVAILABLE | SqlState::T_R_DEADLOCK_DETECTED)) => Halt::Locked(error::text(&e)),
        _ => Halt::Failed(may_not(e)),
    }
}

/// Opens a transaction in which nobody else migrates this database.
async fn begin(client: &Client) -> std::result::Result<(), Halt> {
    client.batch_execute(&format!("ROLLBACK; BEGIN; SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")).await.map_err(halt)?;
    let row = client.query_one(&format!("SELECT pg_try_advisory_xact_lock({CHANGING})"), &[]).await.map_err(halt)?;
    if row.get(0) { Ok(()) } else { Err(Halt::Locked("another program migrates this database".into())) }
}

async fn commit(client: &Client) -> std::result::Result<(), Halt> {
    client.batch_execute("COMMIT").await.map_err(halt)
}

async fn act_for_owner(client: &Client) -> std::result::Result<(), Halt> {
    client.batch_execute("SET LOCAL ROLE windlass_owner").await.map_err(halt)
}

async fn note_done(client: &Client, change: &Change) -> std::result::Result<(), Halt> {
    let put = "INSERT INTO windlass.migrations VALUES ($1, $2) ON CONFLICT DO NOTHING";
    client.execute(put, &[&change.number, &change.name]).await.map_err(halt).map(drop)
}

/// A script and the note that it was run, in one transaction.
async fn run(client: &Client, change: &Change, script: &str) -> Result<Option<Step>> {
    let patience = Patience::new();
    loop {
        match try_to_run(client, change, script).await {
            Ok(did) => return Ok(did.then(|| change.step(true))),
            Err(halt) => patience.wait(halt).await?,
        }
    }
}

async fn try_to_run(client: &Client, change: &Change, script: &str) -> std::result::Result<bool, Halt> {
    begin(client).await?;
    let known = done(client).await?;
    let is_left = !known.contains(&change.number);
    if is_left {
        if known.is_empty() {
            client.batch_execute(install::ROLES).await.map_err(halt)?;
        }
        act_for_owner(client).await?;
        client.batch_execute(script).await.map_err(halt)?;
        note_done(client, change).await?;
    }
    commit(client).await?;
    Ok(is_left)
}

/// An index is built by one program at a time; one that a cut left half built is dropped and built anew.
async fn build(client: &Client, change: &Change, index: &str, statement: &str) -> Result<Option<Step>> {
    let patience = Patience::new();
    while !done(client).await?.contains(&change.number) {
        let tried = match take_turn(client).await {
            Ok(()) => {
                let tried = try_to_build(client, change, index, statement).await;
                client.batch_execute(&format!("ROLLBACK; SELECT pg_advisory_unlock({BUILDING})")).await.map_err(failed)?;
                tried
            }
            Err(halt) => Err(halt),
        };
        match tried {
            Ok(was_left) => return Ok(was_left.then(|| change.step(true))),
            Err(halt) => patience.wait(halt).await?,
        }
    }
    Ok(None)
}

/// The right to build, which ends with the session: no transaction may be around what builds. It is asked for and not waited
/// for, since whoever builds waits for all who wait.
async fn take_turn(client: &Client) -> std::result::Result<(), Halt> {
    let row = client.query_one(&format!("SELECT pg_try_advisory_lock({BUILDING})"), &[]).await.map_err(halt)?;
    if row.get(0) { Ok(()) } else { Err(Halt::Locked("another program builds an index".into())) }
}

/// Answers whether it was left to do.
async fn try_to_build(client: &Client, change: &Change, index: &str, statement: &str) -> std::result::Result<bool, Halt> {
    if done(client).await?.contains(&change.number) {
        // Somebody else has built it just before our turn.
        return Ok(false);
    }
    let find = "SELECT i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
        WHERE c.relnamespace = 'windlass'::regnamespace AND c.relname = $1";
    let is_whole: Option<bool> = client.query_opt(find, &[&index]).await.map_err(halt)?.map(|row| row.get(0));
    if is_whole == Some(false) {
        as_owner(client, &format!("DROP INDEX CONCURRENTLY windlass.{index}")).await?;
    }
    if is_whole != Some(true) {
        as_owner(client, statement).await?;
    }
    begin(client).await?;
    act_for_owner(client).await?;
    note_done(client, change).await?;
    commit(client).await?;
    Ok(true)
}

/// For statements that cannot stand in a transaction.
async fn as_owner(client: &Client, statement: &str) -> std::result::Result<(), Halt> {
    client.batch_execute("SET ROLE windlass_owner").await.map_err(halt)?;
    let ran = client.batch_execute(statement).await;
    client.batch_execute("RESET ROLE").await.map_err(halt)?;
    ran.map_err(halt)
}

/// Connections of daemons whose release is before this one. Each says its release in its application's name; the first said
/// none.
async fn older_daemons(client: &Client) -> Result<usize> {
    let names = "SELECT application_name FROM pg_stat_activity WHERE datname = current_database() AND application_name ~ '^windlass(_v[0-9]+)?( listen)?$'";
    let rows = client.query(names, &[]).await.map_err(failed)?;
    Ok(rows.iter().filter(|row| number(row.get::<_, &str>(0)) < number(install::RELEASE)).count())
}

async fn put_routines(client: &Client) -> std::result::Result<Option<Step>, Halt> {
    begin(client).await?;
    if has_routines(client).await? {
        commit(client).await?;
        return Ok(None);
    }
    let (release, digest) = (install::RELEASE, digest());
    refuse_newer(client).await?;
    let schema = format!("CREATE SCHEMA IF NOT EXISTS {release} AUTHORIZATION windlass_owner");
    client.batch_execute(&schema).await.map_err(halt)?;
    act_for_owner(client).await?;
    client.batch_execute(&install::routines()).await.map_err(halt)?;
    let partitions = format!("SELECT {release}.make_partitions({KEPT_US}, {release}.clock(NULL))");
    client.batch_execute(&partitions).await.map_err(halt)?;
    let put = format!(
        "INSERT INTO windlass.routines VALUES ('{release}', '{digest}') \
        ON CONFLICT (release) DO UPDATE SET digest = excluded.digest, installed_at = now()"
    );
    client.batch_execute(&put).await.map_err(halt)?;
    commit(client).await?;
    Ok(Some(Step { step: format!("routines {release}"), done: true }))
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

/// `windlass_v2` is 2, whatever stands behind it.
fn number(release: &str) -> u32 {
    let digits = release.strip_prefix("windlass_v").unwrap_or_default();
    digits.split(|c: char| !c.is_ascii_digit()).next().and_then(|n| n.parse().ok()).unwrap_or(0)
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

/// The changes that were made; none in a database that is not ours yet.
async fn done(client: &Client) -> Result<Vec<i32>> {
    let row = client.query_one("SELECT to_regclass('windlass.migrations') IS NOT NULL", &[]).await.map_err(failed)?;
    if !row.get::<_, bool>(0) {
        return Ok(Vec::new());
    }
    let rows = client.query("SELECT version FROM windlass.migrations", &[]).await.map_err(failed)?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

async fn has_routines(client: &Client) -> Result<bool> {
    let find = "SELECT 1 FROM windlass.routines WHERE release = $1 AND digest = $2";
    Ok(client.query_opt(find, &[&install::RELEASE, &digest()]).await.map_err(failed)?.is_some())
}

pub(super) fn digest() -> String {
    hex::encode(&Sha256::digest(install::routines().as_bytes())[..8])
}
