//! An examination: a fresh store has nothing to mend, and each way of being ill is told with its remedy. Where a server is made ill, it
//! is a server of that test alone.

use crate::support::{OwnPostgres, OwnRedis, Pooler, TestStore, on_every_store, postgres_server, redis_server};
use std::{os::unix::fs::PermissionsExt as _, path::Path};
use windlass::{
    job::Settings,
    store::{
        self, Error, Options,
        examine::{CONNECTION, Extent, Finding, Level},
        redis::Risk,
    },
};

on_every_store![
    fresh_store_fails_in_nothing_and_has_a_remedy_for_each_warning,
    finding_is_json_that_reads_back,
    store_that_is_closed_says_so_or_is_examined_all_the_same,
];

async fn fresh_store_fails_in_nothing_and_has_a_remedy_for_each_warning(store: &mut TestStore) {
    let findings = store.examine(Extent::Everything).await.expect("it is there");
    for check in [CONNECTION, "store_version", "durability", "migrations", "fsync_latency"] {
        assert!(findings.iter().any(|finding| finding.check == check), "{check} is not in {findings:#?}");
    }
    for finding in &findings {
        assert_eq!(finding.level == Level::Ok, finding.remedy.is_none(), "{finding:?}");
        assert!(!finding.says.is_empty() && !finding.says.contains("could not be looked at"), "{finding:?}");
        // The throw-away Postgres is quick because it has no fsync, and is told so.
        let is_known = store.name() == "postgres" && finding.check == "durability";
        assert!(finding.level != Level::Fail || is_known, "{finding:?}");
    }
    let dangers = store.examine(Extent::DataLoss).await.expect("it is there");
    assert!(!dangers.is_empty() && dangers.iter().all(|finding| !finding.loses_data), "{dangers:?}");
}

async fn finding_is_json_that_reads_back(store: &mut TestStore) {
    let findings = store.examine(Extent::Everything).await.expect("it is there");
    let text = serde_json::to_string(&findings).expect("JSON");
    assert!(text.contains(r#""check":"durability","level":""#), "{text}");
    let back: Vec<Finding> = serde_json::from_str(&text).expect("the same");
    assert_eq!(back, findings);
}

async fn store_that_is_closed_says_so_or_is_examined_all_the_same(store: &mut TestStore) {
    let before: Settings = store.settings().await.expect("settings");
    store.close().await;
    match store.examine(Extent::Everything).await {
        Ok(findings) => assert!(findings.len() > 5, "{findings:?}"),
        Err(error) => assert!(error.is_outage(), "{error:?}"),
    }
    store.crash().await;
    assert_eq!(store.settings().await.expect("settings"), before, "nothing was changed");
}

fn of<'f>(findings: &'f [Finding], check: &str) -> &'f Finding {
    findings.iter().find(|finding| finding.check == check).unwrap_or_else(|| panic!("{check} is not in {findings:#?}"))
}

#[track_caller]
fn assert_told(findings: &[Finding], check: &str, level: Level, parts: &[&str]) {
    let found = of(findings, check);
    assert_eq!(found.level, level, "{found:?}");
    let told = format!("{} -> {}", found.says, found.remedy.as_deref().unwrap_or_default());
    for part in parts {
        assert!(told.contains(part), "{part:?} is not in {told:?}");
    }
}

/// A check that had no time on a busy machine is made again, for what it looks for.
async fn examined(url: &str, options: &Options) -> Vec<Finding> {
    let is_late = |finding: &Finding| finding.says.contains("no answer") || finding.says.contains("all the time there is");
    let mut findings = store::examine(url, options, Extent::Everything).await.expect("it answers");
    for _ in 0..20 {
        if !findings.iter().any(is_late) {
            break;
        }
        findings = store::examine(url, options, Extent::Everything).await.expect("it answers");
    }
    findings
}

// --------------------------------------------------------------------------------------------------------------------- SQLite

async fn file(path: &Path) -> Vec<Finding> {
    examined(&format!("sqlite:{}", path.display()), &Options::default()).await
}

#[tokio::test]
async fn file_that_others_read_or_write_or_wrote_is_told_of() {
    if !TestStore::is_wanted("sqlite") {
        return;
    }
    let store = TestStore::open("sqlite").await;
    let path = store.sqlite_file();
    assert_told(&file(&path).await, "daemon", Level::Ok, &["without a control port works"]);
    store.close().await;
    let healthy = file(&path).await;
    assert_told(&healthy, "durability", Level::Ok, &["strict"]);
    assert_told(&healthy, "migrations", Level::Ok, &["as in this program"]);
    assert_told(&healthy, "daemon", Level::Ok, &["no daemon"]);
    let mode = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("ours");
    mode(&path, 0o644);
    mode(path.parent().expect("a folder"), 0o755);
    assert_told(&file(&path).await, "permissions", Level::Warn, &["644", "everybody", "chmod o-rwx"]);
    mode(&path, 0o640);
    assert_told(&file(&path).await, "permissions", Level::Ok, &["640"]);
    let other = rusqlite::Connection::open(&path).expect("it opens");
    other.execute_batch("BEGIN IMMEDIATE").expect("the write lock");
    assert_told(&file(&path).await, "oldest_transaction", Level::Warn, &["fuser"]);
    other.execute_batch("ROLLBACK; PRAGMA user_version = 1").expect("an older file");
    assert_told(&file(&path).await, "migrations", Level::Warn, &["schema 1", "brings it up"]);
    other.execute_batch("PRAGMA user_version = 99").expect("a newer file");
    assert_told(&file(&path).await, "migrations", Level::Fail, &["schema 99", "newer"]);
    other.execute_batch("PRAGMA application_id = 7").expect("somebody else's file");
    assert_told(&file(&path).await, "migrations", Level::Fail, &["another program's"]);
}

#[tokio::test]
async fn file_that_is_not_there_is_not_made_by_looking() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("windlass.db");
    let told = store::examine(&format!("sqlite:{}", path.display()), &Options::default(), Extent::Everything).await;
    assert!(matches!(&told, Err(Error::Unavailable(why)) if why.contains("does not exist")), "{told:?}");
    std::fs::write(&path, "no database at all, but some words that are long enough").expect("a file");
    assert_told(&file(&path).await, CONNECTION, Level::Fail, &["windlass.db"]);
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing was left behind");
}

// ------------------------------------------------------------------------------------------------------------------- Postgres

async fn database(url: &str) -> Vec<Finding> {
    examined(url, &Options::default()).await
}

#[tokio::test]
async fn server_that_would_lose_commits_and_tables_that_a_crash_empties_are_told_of() {
    if !TestStore::is_wanted("postgres") {
        return;
    }
    let server = OwnPostgres::start_with(&["fsync=on", "full_page_writes=on"]).await;
    let client = server.client().await;
    assert_told(&database(&server.url()).await, "durability", Level::Ok, &["strict"]);
    client.batch_execute("ALTER ROLE daemon SET synchronous_commit = off").await.expect("a setting");
    assert_told(&database(&server.url()).await, "durability", Level::Warn, &["relaxed", "synchronous_commit = on"]);
    client.batch_execute("ALTER TABLE windlass.tokens SET UNLOGGED").await.expect("a table");
    let findings = database(&server.url()).await;
    assert_told(&findings, "unlogged_tables", Level::Fail, &["tokens", "ALTER TABLE windlass.tokens SET LOGGED"]);
    let dangers = store::examine(&server.url(), &Options::default(), Extent::DataLoss).await.expect("it answers");
    assert!(of(&dangers, "unlogged_tables").loses_data && !of(&dangers, "durability").loses_data, "{dangers:?}");
    client.batch_execute("SELECT pg_create_physical_replication_slot('left_behind', true)").await.expect("a slot");
    assert_told(&database(&server.url()).await, "vacuum_horizon", Level::Ok, &[]);
    client.batch_execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'; ").await.expect("a setting");
    client.batch_execute("SELECT pg_reload_conf()").await.expect("it reads it");
    let mut findings = database(&server.url()).await;
    while of(&findings, "replica_lag").level == Level::Ok {
        findings = database(&server.url()).await;
    }
    assert_told(&findings, "replica_lag", Level::Fail, &["none is connected", "start a standby"]);
}

#[tokio::test]
async fn transaction_that_is_open_and_index_that_is_broken_are_told_of() {
    if !TestStore::is_wanted("postgres") {
        return;
    }
    let server = postgres_server().await;
    let database_name = server.fresh().await;
    let url = server.url_of("windlass", &database_name);
    assert_told(&database(&url).await, "indexes", Level::Ok, &[]);
    assert_told(&database(&url).await, "oldest_transaction", Level::Ok, &["no other transaction"]);
    let (open, client) = (server.connect(&database_name).await, server.connect(&database_name).await);
    open.batch_execute("BEGIN; SELECT 1").await.expect("a transaction");
    let pid: i32 = open.query_one("SELECT pg_backend_pid()", &[]).await.expect("a number").get(0);
    let findings = database(&url).await;
    assert_told(&findings, "oldest_transaction", Level::Ok, &[&format!("pid {pid} "), "idle in transaction", "windlass"]);
    assert!(of(&findings, "oldest_transaction").value.is_some_and(|ms| ms > 0.0), "{findings:?}");
    assert_told(&database(&server.url(&database_name)).await, "oldest_transaction", Level::Ok, &["cannot be seen", "pg_monitor"]);
    open.batch_execute("ROLLBACK").await.expect("it ends");
    let built = client.batch_execute("CREATE UNIQUE INDEX CONCURRENTLY twice ON windlass.migrations ((1))").await;
    assert!(built.is_err(), "there are several rows");
    assert_told(&database(&url).await, "indexes", Level::Fail, &["twice", "REINDEX INDEX CONCURRENTLY windlass.twice"]);
}

#[tokio::test]
async fn database_that_lacks_changes_or_routines_or_rights_is_told_of() {
    if !TestStore::is_wanted("postgres") {
        return;
    }
    let server = postgres_server().await;
    let name = server.fresh().await;
    let (url, client) = (server.url(&name), server.connect(&name).await);
    assert_told(&database(&url).await, "migrations", Level::Ok, &["this program's"]);
    assert_told(&database(&url).await, "privileges", Level::Ok, &["daemon"]);
    assert_told(&database(&server.url_of("migrator", &name)).await, "store_version", Level::Ok, &["Postgres"]);
    client.batch_execute("DELETE FROM windlass.migrations WHERE version = 8").await.expect("it is gone");
    assert_told(&database(&url).await, "migrations", Level::Warn, &["tokens", "windlass migrate"]);
    client
        .batch_execute("UPDATE windlass.routines SET digest = 'another'; INSERT INTO windlass.migrations VALUES (8, 'tokens')")
        .await
        .expect("ours");
    assert_told(&database(&url).await, "migrations", Level::Warn, &["not those of this program"]);
    client.batch_execute("DROP SCHEMA windlass_v1 CASCADE").await.expect("it is gone");
    assert_told(&database(&url).await, "migrations", Level::Fail, &["no routines of this release", "windlass migrate"]);
    let empty = server.empty("windlass").await;
    assert_told(&database(&server.url(&empty)).await, "migrations", Level::Fail, &["no Windlass tables"]);
    server.connect("postgres").await.batch_execute("CREATE ROLE examine_stranger LOGIN").await.expect("a role");
    let strange = database(&server.url_of("examine_stranger", &name)).await;
    assert_told(&strange, "privileges", Level::Fail, &["examine_stranger", "GRANT windlass_daemon TO"]);
}

#[tokio::test]
async fn pooler_that_shares_sessions_is_told_from_one_that_does_not() {
    if !TestStore::is_wanted("postgres") {
        return;
    }
    let database_name = postgres_server().await.fresh().await;
    let direct = postgres_server().await.url(&database_name);
    let findings = database(&direct).await;
    assert_told(&findings, "pooler", Level::Ok, &["the server's own"]);
    assert_told(&findings, "notify", Level::Ok, &["arrives within"]);
    let pooler = Pooler::start_in("session").await;
    assert_told(&database(&pooler.url(&database_name)).await, "pooler", Level::Ok, &["session mode"]);
    pooler.share_sessions();
    let mut findings = database(&pooler.url(&database_name)).await;
    while ["pooler", "notify"].iter().any(|check| of(&findings, check).level == Level::Ok) {
        findings = database(&pooler.url(&database_name)).await;
    }
    assert_told(&findings, "pooler", Level::Warn, &["transaction pooler", "listen_url"]);
    assert_told(&findings, "notify", Level::Warn, &["do not arrive", "listen_url"]);
    let mut options = Options::default();
    options.postgres.listen_url = Some(direct);
    let findings = examined(&pooler.url(&database_name), &options).await;
    assert_told(&findings, "pooler", Level::Ok, &["a connection of their own"]);
    assert_told(&findings, "notify", Level::Ok, &["arrives within"]);
}

// ---------------------------------------------------------------------------------------------------------------------- Redis

fn accepting(accept: Vec<Risk>) -> Options {
    let mut options = Options::default();
    options.redis.accept = accept;
    options
}

#[tokio::test]
async fn redis_that_would_lose_jobs_is_told_of_whether_or_not_that_is_accepted() {
    if !TestStore::is_wanted("redis") {
        return;
    }
    let server = OwnRedis::start(&["--maxmemory", "1gb"]).await;
    let strict = Options::default();
    assert_told(&examined(&server.url(), &strict).await, "durability", Level::Warn, &["relaxed", "appendfsync always"]);
    server.say("CONFIG SET appendfsync always").await.expect("a setting");
    let findings = examined(&server.url(), &strict).await;
    assert_told(&findings, "durability", Level::Ok, &["strict"]);
    assert_told(&findings, "eviction", Level::Ok, &[]);
    assert_told(&findings, "migrations", Level::Ok, &["this program's"]);
    for (setting, bad, good, check, risk) in [
        ("appendonly", "no", "yes", "durability", Risk::NoPersistence),
        ("maxmemory-policy", "allkeys-lru", "noeviction", "eviction", Risk::Eviction),
    ] {
        server.say(&format!("CONFIG SET {setting} {bad}")).await.expect("a setting");
        let findings = examined(&server.url(), &strict).await;
        assert_told(&findings, check, Level::Fail, &["this Redis", &format!("{setting} {good}"), "accept"]);
        assert!(of(&findings, check).loses_data);
        let findings = examined(&server.url(), &accepting(vec![risk])).await;
        assert_told(&findings, check, Level::Warn, &["puts up with it", &format!("{setting} {good}")]);
        assert!(!of(&findings, check).loses_data);
        server.say(&format!("CONFIG SET {setting} {good}")).await.expect("a setting");
    }
    server.say("FUNCTION FLUSH").await.expect("they go");
    assert_told(&examined(&server.url(), &strict).await, "migrations", Level::Fail, &["no functions", "windlass migrate"]);
}

#[tokio::test]
async fn replicas_that_are_waited_for_are_told_of_until_they_are_there() {
    if !TestStore::is_wanted("redis") {
        return;
    }
    let (master, replica) = (OwnRedis::start(&["--repl-diskless-sync-delay", "0"]).await, OwnRedis::empty(&[]).await);
    let mut options = Options::default();
    options.redis.replicas = 1;
    let alone = examined(&master.url(), &options).await;
    assert_told(&alone, "replica_lag", Level::Fail, &["wait for 1 replicas, and 0 are online"]);
    assert_told(&alone, "min_replicas", Level::Warn, &["is 0", "set `min-replicas-to-write`"]);
    replica.say(&format!("REPLICAOF 127.0.0.1 {}", master.port())).await.expect("it follows");
    master.say("CONFIG SET min-replicas-to-write 1").await.expect("a setting");
    let mut findings = examined(&master.url(), &options).await;
    while of(&findings, "replica_lag").level != Level::Ok {
        findings = examined(&master.url(), &options).await;
    }
    assert_told(&findings, "replica_lag", Level::Ok, &["127.0.0.1", "online"]);
    assert_told(&findings, "min_replicas", Level::Ok, &[]);
    assert_told(&examined(&replica.url(), &Options::default()).await, "store_version", Level::Fail, &["a replica", "store.url"]);
}

#[tokio::test]
async fn server_that_threw_keys_away_or_is_nearly_full_is_told_of() {
    if !TestStore::is_wanted("redis") {
        return;
    }
    let server = OwnRedis::start(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]).await;
    server.say("SET some key").await.expect("a key");
    server.say("CONFIG SET maxmemory 1").await.expect("it throws keys away");
    let mut findings = examined(&server.url(), &accepting(vec![Risk::Eviction])).await;
    while of(&findings, "evicted_keys").level == Level::Ok {
        server.say("SET other key").await.ok();
        findings = examined(&server.url(), &accepting(vec![Risk::Eviction])).await;
    }
    assert_told(&findings, "evicted_keys", Level::Warn, &["were evicted", "enqueue again"]);
    assert_told(&findings, "memory", Level::Fail, &["`maxmemory`", "more memory"]);
}

#[tokio::test]
async fn what_a_user_may_not_ask_is_a_line_that_says_so() {
    if !TestStore::is_wanted("redis") {
        return;
    }
    let server = redis_server().await;
    let prefix = server.fresh();
    let findings = examined(&server.user("producer", &prefix).await, &accepting(vec![Risk::NoPersistence])).await;
    for check in ["durability", "migrations", "store_version"] {
        assert_told(&findings, check, Level::Warn, &["could not be looked at", "does not let this user"]);
    }
    assert_told(&findings, "clock_skew", Level::Ok, &["agree"]);
    for role in ["daemon", "reader"] {
        let findings = examined(&server.user(role, &prefix).await, &accepting(vec![Risk::NoPersistence])).await;
        assert!(findings.iter().all(|finding| !finding.says.contains("could not be looked at")), "{role}: {findings:#?}");
    }
}

// -------------------------------------------------------------------------------------------------------------- nobody is there

#[tokio::test]
async fn server_that_does_not_answer_is_an_outage_within_seconds() {
    for url in ["postgres://nobody@127.0.0.1:1/x", "redis://127.0.0.1:1/0", "redis+cluster://127.0.0.1:1"] {
        let began = std::time::Instant::now();
        let told = store::examine(url, &Options::default(), Extent::Everything).await;
        assert!(matches!(&told, Err(error) if error.is_outage()), "{url}: {told:?}");
        assert!(began.elapsed() < std::time::Duration::from_secs(5), "{url}");
        let finding = Finding::unreachable(&told.expect_err("it is away"));
        assert!(finding.is_of(CONNECTION) && finding.level == Level::Fail && finding.remedy.is_some());
    }
    let told = store::examine("mysql://x", &Options::default(), Extent::Everything).await;
    assert!(matches!(&told, Err(Error::Refused(why)) if why.contains("mysql")), "{told:?}");
}
