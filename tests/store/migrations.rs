//! `windlass migrate` on Postgres: by a user without special rights, cut anywhere, beside another, and behind a newer release.

use crate::support::{Build as _, Daemon, TestStore, postgres_server, work};
use std::collections::BTreeSet;
use tokio_postgres::Client;
use windlass::{
    clock::Clock,
    job::{Applied, Settlement, Transition},
    store::{
        Error, Role, Store as _,
        postgres::{
            Config, PostgresStore,
            migrate::{self, Change, Step, Work},
        },
    },
};

/// An empty database that belongs to `owner`, with its address for that user.
async fn empty(owner: &str) -> Option<(String, String, Client)> {
    if !TestStore::is_wanted("postgres") {
        return None;
    }
    let server = postgres_server().await;
    let name = server.empty(owner).await;
    let witness = server.connect(&name).await;
    Some((server.url_of(owner, &name), server.url(&name), witness))
}

/// What there is in the database, but for what is random or of the day.
async fn shape(witness: &Client) -> Vec<String> {
    let query = "SELECT format('%s %s %s', c.relkind, c.relname, pg_get_userbyid(c.relowner)) FROM pg_class c WHERE c.relnamespace = 'windlass'::regnamespace
        UNION ALL SELECT format('%s %s %s', p.proname, pg_get_userbyid(p.proowner), md5(p.prosrc)) FROM pg_proc p WHERE p.pronamespace::regnamespace::text LIKE 'windlass%'
        UNION ALL SELECT format('%s %s', polname, polrelid::regclass) FROM pg_policy
        UNION ALL SELECT format('step %s', version) FROM windlass.migrations ORDER BY 1";
    witness.query(query, &[]).await.expect("the catalogue can be read").iter().map(|row| row.get(0)).collect()
}

fn refused<T>(answer: Result<T, Error>) -> String {
    match answer {
        Err(Error::Refused(sentence)) => sentence,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was not refused"),
    }
}

async fn open(url: &str) -> Result<PostgresStore, Error> {
    PostgresStore::open(url, Role::Daemon { control: None }, Config::default(), Clock::System).await
}

#[tokio::test]
async fn what_is_left_is_told_then_done_and_the_second_time_there_is_nothing() {
    let Some((url, _, witness)) = empty("migrator").await else { return };
    let left = migrate::status(&url).await.unwrap();
    assert!(left.iter().all(|step| !step.done) && left.len() > 2, "{left:?}");
    let nothing = witness.query("SELECT FROM pg_namespace WHERE nspname = 'windlass'", &[]).await.unwrap();
    assert!(nothing.is_empty(), "asking does nothing");
    let did = migrate::up(&url).await.unwrap();
    let names = |steps: &[Step]| steps.iter().map(|step| step.step.clone()).collect::<BTreeSet<_>>();
    assert_eq!(names(&did), names(&left));
    assert_eq!(migrate::up(&url).await.unwrap(), []);
    assert!(migrate::status(&url).await.unwrap().iter().all(|step| step.done));
}

#[tokio::test]
async fn a_user_who_may_make_no_roles_is_told_what_an_administrator_has_to_do_once() {
    let Some((_, _, witness)) = empty("migrator").await else { return };
    witness.batch_execute("CREATE ROLE plain LOGIN").await.unwrap();
    let Some((url, daemon, witness)) = empty("plain").await else { return };
    let sentence = refused(migrate::up(&url).await);
    assert!(sentence.contains("let an administrator run once") && sentence.contains("GRANT windlass_owner TO ME"), "{sentence}");
    witness.batch_execute("GRANT windlass_owner TO plain").await.unwrap();
    migrate::up(&url).await.unwrap();
    open(&daemon).await.expect("the daemon's user needs no more than its role").close().await;
}

#[tokio::test]
async fn one_that_is_cut_anywhere_is_done_whole_by_the_next() {
    let Some((url, _, witness)) = empty("migrator").await else { return };
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'windlass migrate'";
    let (mut cuts, mut random) = (0, fastrand::Rng::with_seed(3));
    for _ in 0..40 {
        let migrating = tokio::spawn({
            let url = url.clone();
            async move { migrate::up(&url).await }
        });
        for _ in 0..random.usize(0..60) {
            witness.batch_execute("SELECT 1").await.unwrap();
        }
        cuts += witness.query_one(cut, &[]).await.unwrap().get::<_, i64>(0);
        let _ = migrating.await.unwrap();
        if random.u8(0..8) == 0 {
            witness.batch_execute("DROP SCHEMA IF EXISTS windlass, windlass_v1 CASCADE").await.unwrap();
        }
    }
    assert!(cuts > 5, "only {cuts} were cut");
    migrate::up(&url).await.unwrap();
    let server = postgres_server().await;
    let whole = server.connect(&server.fresh().await).await;
    assert_eq!(shape(&witness).await, shape(&whole).await);
}

#[tokio::test]
async fn of_several_at_once_one_does_the_work() {
    let Some((url, _, witness)) = empty("migrator").await else { return };
    let (one, two, three) = tokio::join!(migrate::up(&url), migrate::up(&url), migrate::up(&url));
    let did = one.unwrap().len() + two.unwrap().len() + three.unwrap().len();
    assert_eq!(did, migrate::status(&url).await.unwrap().len());
    assert!(!shape(&witness).await.is_empty());
}

#[tokio::test]
async fn a_database_that_is_not_ours_yet_or_is_a_newer_one_s_is_refused_with_a_sentence() {
    let Some((url, daemon, witness)) = empty("migrator").await else { return };
    assert!(refused(open(&daemon).await).contains("run `windlass migrate`"));
    migrate::up(&url).await.unwrap();
    // A newer release beside ours: both work.
    witness.batch_execute("INSERT INTO windlass.routines VALUES ('windlass_v9', 'x')").await.unwrap();
    open(&daemon).await.expect("ours are there").close().await;
    assert_eq!(migrate::up(&url).await.unwrap(), []);
    // It has taken ours away.
    witness.batch_execute("DROP SCHEMA windlass_v1 CASCADE; DELETE FROM windlass.routines WHERE release = 'windlass_v1'").await.unwrap();
    let sentence = refused(open(&daemon).await);
    assert!(sentence.contains("no routines of this release"), "{sentence}");
    let sentence = refused(migrate::up(&url).await);
    assert!(sentence.contains("a newer release (windlass_v9) has migrated this database"), "{sentence}");
}

#[tokio::test]
async fn a_user_without_the_daemon_s_role_is_refused_with_the_grant_it_lacks() {
    let Some((url, _, witness)) = empty("migrator").await else { return };
    migrate::up(&url).await.unwrap();
    witness.batch_execute("CREATE ROLE stranger LOGIN").await.unwrap();
    let database: String = witness.query_one("SELECT current_database()::text", &[]).await.unwrap().get(0);
    let sentence = refused(open(&postgres_server().await.url_of("stranger", &database)).await);
    assert!(sentence.contains("GRANT windlass_daemon"), "{sentence}");
}

/// A column more, an index, and both gone again: what a later release may do to the table that is busiest.
const LATER: [Change; 3] = [
    Change { number: 901, name: "more", work: Work::Expand("ALTER TABLE windlass.jobs ADD COLUMN more text") },
    Change {
        number: 902,
        name: "jobs_more",
        work: Work::Index("jobs_more", "CREATE INDEX CONCURRENTLY jobs_more ON windlass.jobs (more) WHERE more IS NOT NULL"),
    },
    Change { number: 903, name: "less", work: Work::Contract("ALTER TABLE windlass.jobs DROP COLUMN more") },
];

/// A migrated database, a daemon on it, and somebody who looks on.
async fn at_work() -> Option<(String, PostgresStore, Client)> {
    let (url, daemon, witness) = empty("migrator").await?;
    migrate::up(&url).await.unwrap();
    let store = open(&daemon).await.unwrap();
    Some((url, store, witness))
}

/// One plain job and one with all that hangs on its end, from enqueue to history.
async fn assert_works(store: &PostgresStore) {
    let daemon = Daemon::new();
    store.enqueue(vec![work(), work().key("k").tags(&["t"]).on_success(work())], None).await.unwrap();
    let mut ended = 0;
    while ended < 3 {
        let leased = daemon.lease(store, 10, None).await;
        ended += leased.len();
        let ends = leased.iter().map(|leased| Settlement::new(leased.lease, Transition::Complete, leased.lease.granted_at));
        for answer in store.settle(ends.collect(), None).await.unwrap() {
            assert_eq!(answer, Applied::Applied);
        }
    }
}

#[tokio::test]
async fn a_daemon_works_on_while_a_later_release_adds_and_takes_away() {
    let Some((url, store, witness)) = at_work().await else { return };
    assert_works(&store).await;
    for some in [&LATER[..1], &LATER[..2], &LATER[..]] {
        let did = migrate::apply(&url, some).await.unwrap();
        assert_eq!(did.len(), 1, "{did:?}");
        assert_works(&store).await;
    }
    assert_eq!(migrate::apply(&url, &LATER).await.unwrap(), []);
    let gone = "SELECT FROM pg_attribute WHERE attrelid = 'windlass.jobs'::regclass AND attname = 'more'";
    assert!(witness.query(gone, &[]).await.unwrap().is_empty());
    store.close().await;
}

#[tokio::test]
async fn a_change_that_waits_for_a_lock_holds_up_no_producer() {
    let Some((url, store, witness)) = at_work().await else { return };
    witness.batch_execute("BEGIN; SELECT FROM windlass.jobs").await.unwrap();
    let changing = tokio::spawn({
        let url = url.clone();
        async move { migrate::apply(&url, &LATER[..1]).await }
    });
    // Longer than some of its tries.
    for _ in 0..20 {
        assert_works(&store).await;
    }
    assert!(!changing.is_finished(), "somebody reads the table");
    witness.batch_execute("COMMIT").await.unwrap();
    assert_eq!(changing.await.unwrap().unwrap().len(), 1);
    assert_works(&store).await;
    store.close().await;
}

#[tokio::test]
async fn an_index_that_was_left_half_built_is_built_anew_and_by_one_of_two() {
    let Some((url, store, witness)) = at_work().await else { return };
    migrate::apply(&url, &LATER[..1]).await.unwrap();
    let half = "CREATE INDEX jobs_more ON windlass.jobs (more); ALTER INDEX windlass.jobs_more OWNER TO windlass_owner;
        UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'windlass.jobs_more'::regclass";
    witness.batch_execute(half).await.unwrap();
    let (one, two) = tokio::join!(migrate::apply(&url, &LATER[..2]), migrate::apply(&url, &LATER[..2]));
    assert_eq!(one.unwrap().len() + two.unwrap().len(), 1, "one of them did it");
    let whole = "SELECT indisvalid AND indpred IS NOT NULL FROM pg_index WHERE indexrelid = 'windlass.jobs_more'::regclass";
    assert!(witness.query_one(whole, &[]).await.unwrap().get::<_, bool>(0));
    store.close().await;
}

#[tokio::test]
async fn what_older_daemons_need_stays_while_one_is_connected() {
    let Some((url, store, witness)) = at_work().await else { return };
    migrate::apply(&url, &LATER[..2]).await.unwrap();
    witness.batch_execute("SET application_name = 'windlass_v0 listen'").await.unwrap();
    let left = migrate::apply(&url, &LATER).await.unwrap();
    assert!(!left[0].done && left[0].step.contains("1 connections of older daemons"), "{left:?}");
    witness.batch_execute("SET application_name = 'windlass_v2'").await.unwrap();
    assert!(migrate::apply(&url, &LATER).await.unwrap()[0].done);
    store.close().await;
}
