//! Examines the database and its server, on connections of its own. Each question is a statement of the folder `queries` that looks at
//! the server's own books, and has a deadline; what the user may not see is a line that says so.

use super::{
    Config, durability,
    error::{self, Effect},
    install, migrate, pooler, tls,
};
use crate::{
    clock::Clock,
    job::Timestamp,
    store::{
        Durability, Error, Result,
        examine::{
            CONNECTION, Extent, Finding, PATIENCE, WHOLE, bytes, clock_skew, connections, round_trip, shown, sync_latency, warn_if, within,
        },
    },
};
use std::{
    str::FromStr as _,
    time::{Duration, Instant},
};
use tokio_postgres::{Client, Row, error::SqlState};

/// A question, and what its answer means.
type Check = (&'static str, &'static str, fn(&[Row]) -> Vec<Finding>);

const DATA_LOSS: [Check; 2] = [
    ("durability", include_str!("queries/examine_durability.sql"), durable),
    ("unlogged_tables", include_str!("queries/examine_unlogged.sql"), unlogged),
];

const CHECKS: [Check; 9] = [
    ("store_version", include_str!("queries/examine_server.sql"), server),
    ("replica_lag", include_str!("queries/examine_replicas.sql"), replicas),
    ("privileges", include_str!("queries/examine_rights.sql"), rights),
    ("connections", include_str!("queries/examine_connections.sql"), headroom),
    ("oldest_transaction", include_str!("queries/examine_transactions.sql"), transactions),
    ("vacuum_horizon", include_str!("queries/examine_horizon.sql"), horizon),
    ("dead_rows", include_str!("queries/examine_tables.sql"), tables),
    ("indexes", include_str!("queries/examine_indexes.sql"), indexes),
    ("transaction_ids", include_str!("queries/examine_age.sql"), age),
];

const MIGRATIONS: &str = include_str!("queries/examine_migrations.sql");

/// # Errors
/// `Refused` when the URL cannot be read; `Unavailable` when the server does not answer.
pub(in crate::store) async fn examine(url: &str, config: &Config, extent: Extent) -> Result<Vec<Finding>> {
    let begun = tokio::time::Instant::now();
    let server = Server { client: connect(url).await?, end: begun + WHOLE };
    if extent == Extent::DataLoss {
        return Ok(server.all(&DATA_LOSS).await);
    }
    let asked = async {
        let mut findings = within(CONNECTION, server.times()).await;
        findings.extend(server.all(&DATA_LOSS).await);
        findings.extend(within("migrations", server.migrations()).await);
        findings.extend(server.all(&CHECKS).await);
        findings.extend(within("fsync_latency", server.commits()).await);
        findings
    };
    let (mut findings, lines) = tokio::join!(asked, pooler::examine(url, config));
    findings.extend(lines);
    Ok(findings)
}

struct Server {
    client: Client,
    /// Nothing is asked after that.
    end: tokio::time::Instant,
}

impl Server {
    /// One question after another: a question that hangs is cancelled, so that the next one finds the connection free.
    async fn all(&self, checks: &[Check]) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (check, statement, judge) in checks {
            findings.extend(match self.rows(statement).await {
                Ok(rows) => judge(&rows),
                Err(why) => vec![Finding::unknown(check, why, "grant the user `pg_monitor`, or examine as a user who may look")],
            });
        }
        findings
    }

    async fn rows(&self, statement: &str) -> Result<Vec<Row>> {
        let now = tokio::time::Instant::now();
        if now >= self.end {
            return Err(Error::Unavailable("other checks have taken all the time there is".into()));
        }
        let deadline = self.end.min(now + PATIENCE);
        match tokio::time::timeout_at(deadline, self.client.query_typed(statement, &[])).await {
            Ok(answer) => answer.map_err(|e| said(&e)),
            Err(_) => {
                let cancel = self.client.cancel_token();
                let _ = tokio::time::timeout(Duration::from_millis(200), cancel.cancel_query(tls::connector()?)).await;
                Err(Error::Unavailable("no answer in time; the server is overloaded, or something holds a lock".into()))
            }
        }
    }

    /// How long the line is, and what the clocks say.
    async fn times(&self) -> Result<Vec<Finding>> {
        const NOW: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
        let (mut times, mut skew) = (Vec::new(), None);
        for _ in 0..5 {
            let (begun, before) = (Instant::now(), Clock::System.now());
            let rows = self.rows(NOW).await?;
            times.push(begun.elapsed());
            skew = rows.first().map(|row| clock_skew(Timestamp(row.get(0)), before, Clock::System.now()));
        }
        Ok([round_trip(&times)].into_iter().chain(skew).collect())
    }

    async fn migrations(&self) -> Result<Finding> {
        let installed = self.rows(install::FIND).await?;
        let (has_tables, has_routines) = installed.first().map_or((false, false), |row| (row.get(0), row.get(1)));
        if let Some((lack, remedy)) = install::lack(has_tables, has_routines) {
            return Ok(Finding::fail("migrations", lack, remedy));
        }
        let rows = self.rows(MIGRATIONS).await?;
        let Some(row) = rows.first() else { return Err(Error::Corrupt("a statement that answers one row answered none".into())) };
        let (done, routines): (Vec<i64>, Vec<String>) = (row.get(0), row.get(1));
        Ok(migrated(&done, &routines))
    }

    /// Commits that each write a word to the log, and nothing to any table.
    async fn commits(&self) -> Result<Finding> {
        const WORD: &str = "SELECT pg_logical_emit_message(true, 'windlass', '')::text";
        let (begun, mut times) = (Instant::now(), Vec::new());
        while times.len() < 9 && begun.elapsed() < Duration::from_millis(500) {
            let commit = Instant::now();
            self.rows(WORD).await?;
            times.push(commit.elapsed());
        }
        let remedy = "give the server's log a disk with a faster sync; with a synchronous standby, look at the way to it";
        Ok(sync_latency(&times, "a commit", remedy))
    }
}

pub(super) async fn connect(url: &str) -> Result<Client> {
    let mut server = tokio_postgres::Config::from_str(url)
        .map_err(|e| Error::Refused(format!("the store URL cannot be read ({}); use postgres://user@host/database", error::text(&e))))?;
    server.application_name("windlass doctor").connect_timeout(Duration::from_secs(3));
    let connecting = tokio::time::timeout(Duration::from_secs(3), server.connect(tls::connector()?));
    let answer = connecting.await.map_err(|_| Error::Unavailable("Postgres did not answer within 3 s".into()))?;
    let (client, connection) = answer.map_err(|e| said(&e))?;
    tokio::spawn(connection);
    Ok(client)
}

/// As for a call of the daemon's, but that no answer to these questions is damage.
pub(super) fn said(e: &tokio_postgres::Error) -> Error {
    if let Some(said) = e.as_db_error().filter(|said| *said.code() != SqlState::QUERY_CANCELED) {
        return Error::Unavailable(said.message().to_owned());
    }
    error::map(e, Effect::Reads).into_error()
}

// -------------------------------------------------------------------------------------------------------- what answers mean

const OLDEST_SERVER: i64 = 150_000;

fn server(rows: &[Row]) -> Vec<Finding> {
    const CHECK: &str = "store_version";
    let each = rows.iter().map(|row| {
        let (number, version, is_standby): (i64, String, bool) = (row.get(0), row.get(1), row.get(2));
        if is_standby {
            Finding::fail(CHECK, format!("Postgres {version}, a standby, which takes no writes"), "name the primary with `store.url`")
        } else if number < OLDEST_SERVER {
            Finding::fail(CHECK, format!("Postgres {version} is older than this program was made for"), "use Postgres 15 or newer")
        } else {
            Finding::ok(CHECK, format!("Postgres {version}"))
        }
    });
    each.collect()
}

fn durable(rows: &[Row]) -> Vec<Finding> {
    rows.iter().map(|row| class(row.get(0), row.get(1), row.get(2), row.get(3))).collect()
}

fn class(synchronous_commit: &str, fsync: bool, full_page_writes: bool, has_standbys: bool) -> Finding {
    const CHECK: &str = "durability";
    let settings = format!("synchronous_commit={synchronous_commit}");
    if !fsync || !full_page_writes {
        let off = if fsync { "full_page_writes" } else { "fsync" };
        let says = format!("relaxed: {off} is off, so a crash of the server's machine may damage the whole database");
        return Finding::fail(CHECK, says, format!("set `{off} = on` and reload the server"));
    }
    match durability(synchronous_commit, true, has_standbys) {
        Durability::Relaxed => Finding::warn(
            CHECK,
            format!("relaxed: with {settings} what was acknowledged within the last second may be lost with the server"),
            "set `synchronous_commit = on` for the daemon's user: `ALTER ROLE … SET synchronous_commit = on`",
        ),
        Durability::Strict => {
            Finding::ok(CHECK, format!("strict: what is acknowledged survives a crash of the server's machine ({settings})"))
        }
        Durability::Replicated => {
            Finding::ok(CHECK, format!("replicated: what is acknowledged is on a synchronous standby too ({settings})"))
        }
    }
}

fn unlogged(rows: &[Row]) -> Vec<Finding> {
    const CHECK: &str = "unlogged_tables";
    let names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let Some(first) = names.first() else {
        return vec![Finding::ok(CHECK, "all tables are in the log that a crash is mended from")];
    };
    let says = format!("a crash of the server empties the tables {}, which are unlogged", names.join(", "));
    vec![Finding::fail(CHECK, says, format!("run `ALTER TABLE windlass.{first} SET LOGGED`, and the same for each")).losing_data()]
}

fn migrated(done: &[i64], routines: &[String]) -> Finding {
    const CHECK: &str = "migrations";
    let left: Vec<&str> =
        install::CHANGES.iter().filter(|change| !done.contains(&i64::from(change.number))).map(|change| change.name).collect();
    let has_ours = routines.iter().any(|routine| *routine == format!("{} {}", install::RELEASE, migrate::digest()));
    let remedy = "run this version's `windlass migrate`";
    if !left.is_empty() {
        return Finding::warn(
            CHECK,
            format!("{} of {} changes are left to do: {}", left.len(), install::CHANGES.len(), left.join(", ")),
            remedy,
        );
    }
    if !has_ours {
        return Finding::warn(CHECK, format!("the routines {} are not those of this program", install::RELEASE), remedy);
    }
    Finding::ok(CHECK, format!("all {} changes are done, and the routines {} are this program's", install::CHANGES.len(), install::RELEASE))
}

/// Of a standby that answers: what a failover to it would go without, or make people wait for.
const LAG_TO_WARN: f64 = 10.0;
const LAG_BYTES_TO_WARN: i64 = 256 << 20;

fn replicas(rows: &[Row]) -> Vec<Finding> {
    const CHECK: &str = "replica_lag";
    let is_waited_for = rows.first().is_some_and(|row| row.get(0));
    let standbys: Vec<&Row> = rows.iter().filter(|row| row.get::<_, Option<&str>>(1).is_some()).collect();
    let is_synchronous = |row: &&&Row| matches!(row.get::<_, Option<&str>>(2), Some("sync" | "quorum"));
    let hidden = standbys.iter().any(|row| row.get::<_, Option<&str>>(3).is_none());
    if hidden {
        let says = format!("{} standbys are connected, and this user may not see how far they are", standbys.len());
        return vec![Finding::warn(CHECK, says, "`GRANT pg_monitor` to the user")];
    }
    if is_waited_for && standbys.iter().filter(is_synchronous).count() == 0 {
        let says = "synchronous_standby_names names standbys, and none is connected: commits wait for one";
        return vec![Finding::fail(CHECK, says, "start a standby, or take its name out of `synchronous_standby_names`")];
    }
    if standbys.is_empty() {
        return vec![Finding::ok(CHECK, "no standby is connected")];
    }
    let each = standbys.into_iter().map(|row| {
        let (name, seconds, behind): (&str, f64, i64) = (row.get(1), row.get(4), row.get(5));
        let lag = shown(Duration::from_secs_f64(seconds.max(0.0)));
        let behind_by = bytes(u64::try_from(behind).unwrap_or(0));
        let state: &str = row.get::<_, Option<&str>>(3).unwrap_or_default();
        let says = format!("the standby {name} ({state}) is {lag} and {behind_by} behind");
        let remedy = "look at the standby's disk and at the network to it; a failover now loses or waits for that much";
        warn_if(seconds > LAG_TO_WARN || behind > LAG_BYTES_TO_WARN || state != "streaming", CHECK, says, remedy)
            .measured(seconds * 1000.0, "ms")
    });
    each.collect()
}

fn rights(rows: &[Row]) -> Vec<Finding> {
    const CHECK: &str = "privileges";
    let each = rows.iter().map(|row| {
        let (user, may): (String, bool) = (row.get(0), row.get(1));
        if may {
            return Finding::ok(CHECK, format!("the user {user} may do what a daemon does"));
        }
        let remedy = format!("run `GRANT windlass_daemon TO \"{user}\"` (and `windlass migrate` before, if that role is not there)");
        Finding::fail(CHECK, format!("the user {user} may not do what a daemon does"), remedy)
    });
    each.collect()
}

/// Of the three bounds the one that is nearest.
fn headroom(rows: &[Row]) -> Vec<Finding> {
    let each = rows.iter().filter_map(|row| {
        let bounds = ["`max_connections`", "the user's `CONNECTION LIMIT`", "the database's `CONNECTION LIMIT`"];
        let counts = bounds.into_iter().enumerate().filter_map(|(n, bound)| {
            let (used, most) = (row.get::<_, Option<i64>>(2 * n)?, row.get::<_, Option<i64>>(2 * n + 1)?);
            Some((bound, u64::try_from(used).unwrap_or(0), u64::try_from(most).ok()?))
        });
        counts.max_by_key(|(_, used, most)| crate::store::examine::percent(*used, *most))
    });
    let remedy = |bound| format!("raise {bound}, or put a pooler in front of other programs; a daemon takes up to 15 connections");
    each.map(|(bound, used, most)| connections(used, most, &remedy(bound))).collect()
}

/// A transaction this old keeps vacuum from removing what has been settled since.
const TRANSACTION_TO_WARN: f64 = 300.0;
const IDLE_TO_WARN: f64 = 60.0;
/// The same in transactions that have begun since, where those of other users cannot be seen.
const BEHIND_TO_WARN: i64 = 1_000_000;

fn transactions(rows: &[Row]) -> Vec<Finding> {
    rows.iter().map(|row| oldest_transaction(row.get(0), row.get(1), row.get(2), row.get(3), row.get(4))).collect()
}

fn oldest_transaction(oldest: f64, idle: f64, whose: Option<String>, hidden: i64, behind: i64) -> Finding {
    let shown_of = |seconds: f64| shown(Duration::from_secs_f64(seconds.max(0.0)));
    let mut says = match whose {
        Some(whose) => format!("the oldest transaction is {} old ({whose})", shown_of(oldest)),
        None => "no other transaction is open".to_owned(),
    };
    if idle > 0.0 {
        says += &format!("; one has been idle for {}", shown_of(idle));
    }
    if hidden > 0 {
        says += &format!("; {hidden} sessions of other users cannot be seen (`GRANT pg_monitor` shows them)");
    }
    let is_bad = oldest > TRANSACTION_TO_WARN || idle > IDLE_TO_WARN || behind > BEHIND_TO_WARN;
    let remedy = "end it with `pg_terminate_backend(pid)`, and set `idle_in_transaction_session_timeout`: vacuum removes nothing that it may still see";
    warn_if(is_bad, "oldest_transaction", says, remedy).measured(oldest * 1000.0, "ms")
}

fn horizon(rows: &[Row]) -> Vec<Finding> {
    let held = rows.iter().filter(|row| holds_back(row.get(1), row.get(2), row.get(3), row.get(4)));
    let found: Vec<Finding> = held.map(|row| holds(row.get(0), row.get(2), row.get(3))).collect();
    if found.is_empty() {
        vec![Finding::ok(HORIZON, "no prepared transaction and no replication slot holds back vacuum or the log")]
    } else {
        found
    }
}

const HORIZON: &str = "vacuum_horizon";
const RETAINED_TO_WARN: i64 = 4 << 30;

/// A slot in use is somebody's who keeps up; one that nobody uses keeps all there is since.
fn holds_back(seconds: f64, retained: i64, transactions: i64, is_used: bool) -> bool {
    let keeps_much = retained > RETAINED_TO_WARN || transactions > BEHIND_TO_WARN;
    seconds > TRANSACTION_TO_WARN || keeps_much || (!is_used && retained > RETAINED_TO_WARN / 16)
}

fn holds(what: &str, retained: i64, transactions: i64) -> Finding {
    let kept = bytes(u64::try_from(retained).unwrap_or(0));
    let says = format!("{what} holds back vacuum by {transactions} transactions, and {kept} of log");
    let remedy = "end it: `ROLLBACK PREPARED '…'`, or `SELECT pg_drop_replication_slot('…')` if nobody comes back for it";
    Finding::warn(HORIZON, says, remedy).measured(retained as f64, "bytes")
}

/// Fewer are what a busy day leaves between two vacuums.
const DEAD_TO_WARN: i64 = 500_000;
const HOUR: f64 = 3600.0;

fn tables(rows: &[Row]) -> Vec<Finding> {
    rows.iter().map(|row| dead_rows(row.get(0), row.get(1), row.get(2), row.get(3), row.get(4))).collect()
}

fn dead_rows(is_swept: bool, table: Option<String>, live: Option<i64>, dead: Option<i64>, swept: Option<f64>) -> Finding {
    const CHECK: &str = "dead_rows";
    if !is_swept {
        let says = "autovacuum is off, so that tables and indexes only grow";
        return Finding::warn(CHECK, says, "set `autovacuum = on` and `track_counts = on`");
    }
    let (Some(table), Some(live), Some(dead)) = (table, live, dead) else { return Finding::ok(CHECK, "no rows were counted yet") };
    let last = swept.map_or_else(|| "never".to_owned(), |seconds| format!("{} ago", shown(Duration::from_secs_f64(seconds.max(0.0)))));
    let says = format!("windlass.{table} has {dead} dead rows beside {live} live ones; vacuumed {last}");
    let is_bad = dead > DEAD_TO_WARN && dead > live && swept.is_none_or(|seconds| seconds > HOUR);
    let remedy = format!("see `oldest_transaction` and `vacuum_horizon`, then run `VACUUM windlass.{table}`");
    warn_if(is_bad, CHECK, says, remedy).measured(dead as f64, "rows")
}

fn indexes(rows: &[Row]) -> Vec<Finding> {
    const CHECK: &str = "indexes";
    let each = rows.iter().map(|row| {
        let (index, is_unique): (String, bool) = (row.get(0), row.get(1));
        let remedy = format!("run `REINDEX INDEX CONCURRENTLY windlass.{index}`");
        match is_unique {
            true => Finding::fail(CHECK, format!("the unique index {index} is not valid: the same key may be there twice"), remedy),
            false => Finding::warn(CHECK, format!("the index {index} is not valid: it costs and is of no use"), remedy),
        }
    });
    let found: Vec<Finding> = each.collect();
    if found.is_empty() { vec![Finding::ok(CHECK, "all indexes are valid")] } else { found }
}

/// At 2^31 the server takes no more writes; by itself it begins to clear up at 200 million.
const AGE_TO_WARN: i64 = 1_000_000_000;
const AGE_TO_FAIL: i64 = 1_800_000_000;

fn age(rows: &[Row]) -> Vec<Finding> {
    rows.iter().map(|row| transaction_ids(row.get(0))).collect()
}

fn transaction_ids(age: i64) -> Finding {
    const CHECK: &str = "transaction_ids";
    let says = format!("the database's oldest rows are {age} transactions old, of 2147483648 that there can be");
    let remedy = "see `oldest_transaction` and `vacuum_horizon`, then run `VACUUM (FREEZE)`; near the end the server takes no more writes";
    let found = match age {
        AGE_TO_FAIL.. => Finding::fail(CHECK, says, remedy),
        AGE_TO_WARN.. => Finding::warn(CHECK, says, remedy),
        _ => Finding::ok(CHECK, says),
    };
    found.measured(age as f64, "transactions")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::examine::Level::{Fail, Ok, Warn};

    #[test]
    fn class_of_durability_is_that_of_health() {
        let level = |commit, fsync, pages, standbys| class(commit, fsync, pages, standbys).level;
        assert_eq!(
            [level("on", true, true, false), level("remote_apply", true, true, true), level("local", true, true, true)],
            [Ok, Ok, Ok]
        );
        assert_eq!(level("off", true, true, true), Warn);
        assert_eq!([level("on", false, true, false), level("on", true, false, true)], [Fail, Fail]);
        assert!(
            class("on", true, true, true).says.starts_with("replicated") && class("local", true, true, true).says.starts_with("strict")
        );
    }

    #[test]
    fn transaction_is_old_by_its_time_or_by_those_that_came_after_it() {
        let level = |oldest, idle, behind| oldest_transaction(oldest, idle, None, 0, behind).level;
        assert_eq!([level(299.0, 59.0, 9), level(301.0, 0.0, 9), level(61.0, 61.0, 9), level(0.0, 0.0, 2_000_000)], [Ok, Warn, Warn, Warn]);
        assert!(oldest_transaction(0.0, 0.0, None, 3, 0).says.contains("3 sessions of other users"));
    }

    #[test]
    fn what_outlives_its_session_is_told_of_once_it_is_old_or_large() {
        assert!(holds_back(301.0, 0, 0, false) && !holds_back(10.0, 0, 0, false));
        assert!(holds_back(0.0, 1 << 30, 0, false) && !holds_back(0.0, 1 << 30, 0, true) && holds_back(0.0, 5 << 30, 0, true));
        assert!(holds_back(0.0, 0, 2_000_000, true));
    }

    #[test]
    fn dead_rows_are_bad_where_nobody_has_swept_for_long() {
        let level = |swept, live, dead, ago| dead_rows(swept, Some("jobs".into()), Some(live), Some(dead), ago).level;
        assert_eq!(
            [level(true, 10, 600_000, None), level(true, 10, 600_000, Some(60.0)), level(true, 700_000, 600_000, None)],
            [Warn, Ok, Ok]
        );
        assert_eq!([level(false, 0, 0, None), level(true, 10, 400_000, None)], [Warn, Ok]);
        assert_eq!(dead_rows(true, None, None, None, None).level, Ok);
    }

    #[test]
    fn transaction_ids_run_out_with_a_warning_before() {
        assert_eq!([200_000_000, 1_100_000_000, 1_900_000_000].map(|age| transaction_ids(age).level), [Ok, Warn, Fail]);
    }

    #[test]
    fn change_that_was_not_made_and_routines_of_another_program_are_named() {
        let all: Vec<i64> = install::CHANGES.iter().map(|change| i64::from(change.number)).collect();
        let ours = vec![format!("{} {}", install::RELEASE, migrate::digest())];
        assert_eq!(migrated(&all, &ours).level, Ok);
        let left = migrated(&all[..all.len() - 1], &ours);
        assert!(left.level == Warn && left.says.contains(install::CHANGES[all.len() - 1].name), "{left:?}");
        assert_eq!(migrated(&all, &["windlass_v1 other".to_owned()]).level, Warn);
    }
}
