//! Whose job it is: the tenant of the role, of the session's setting, or of the token's claim (contract P12).

use super::{door, enqueue, refusal, say, try_enqueue, try_enqueue_like, try_enqueue_many};
use serde_json::json;
use tokio_postgres::Client;

/// What a session is told about a tenant that is not its own.
async fn assert_bound(producer: &Client, tenant: &str) {
    let message = format!("/tenant: this session acts for tenant `{tenant}`; leave `tenant` out");
    let refused = refusal(try_enqueue(producer, "work", "1", r#"{"tenant":"other"}"#).await);
    assert_eq!((refused.0.as_str(), refused.1), ("42501", message));
    let refused = refusal(try_enqueue_many(producer, r#"[{"kind":"a","payload":1},{"kind":"a","payload":1,"tenant":"other"}]"#).await);
    assert_eq!((refused.0.as_str(), &refused.2[0]["pointer"]), ("42501", &json!("/1/tenant")));
    let refused = refusal(try_enqueue_like(producer, "a", &["1", "2"], r#"{"tenant":"other"}"#).await);
    assert_eq!((refused.0.as_str(), &refused.2[0]["pointer"]), ("42501", &json!("/0/tenant")));
}

#[tokio::test]
async fn nobody_calls_what_runs_with_the_owner_s_rights_but_who_was_given_it() {
    let Some((_store, producer)) = door().await else { return };
    let open = "SELECT p.proname::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname LIKE 'windlass%' AND p.prosecdef
          AND EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a WHERE a.grantee = 0 AND a.privilege_type = 'EXECUTE')";
    let open: Vec<String> = producer.query(open, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(open, ["tenant"], "the others are for roles");
}

#[tokio::test]
async fn a_session_that_says_nothing_may_name_any_tenant() {
    let Some((store, producer)) = door().await else { return };
    assert_eq!(store.job(enqueue(&producer, r#"{"tenant":"a"}"#).await).await.tenant.as_deref(), Some("a"));
    assert_eq!(store.job(enqueue(&producer, "{}").await).await.tenant, None);
}

#[tokio::test]
async fn the_setting_binds_its_transaction_and_no_later_one() {
    let Some((store, producer)) = door().await else { return };
    say(&producer, "BEGIN; SET LOCAL windlass.tenant = 'a'").await;
    let follow = r#"{"tenant":"a","on_success":{"kind":"b","payload":1,"tenant":"a"},"on_failure":{"kind":"b","payload":1}}"#;
    for options in ["{}", follow] {
        let job = enqueue(&producer, options).await;
        say(&producer, "COMMIT").await;
        let job = store.job(job).await;
        assert_eq!(job.tenant.as_deref(), Some("a"));
        for next in [job.extra.on_success, job.extra.on_failure].into_iter().flatten() {
            assert_eq!(next.tenant.as_deref(), Some("a"));
        }
        say(&producer, "BEGIN; SET LOCAL windlass.tenant = 'a'").await;
    }
    for many in [r#"[{"kind":"a","payload":1},{"kind":"a","payload":2}]"#, r#"[{"kind":"a","payload":1},{"kind":"b","payload":2}]"#] {
        let ids = try_enqueue_many(&producer, many).await.unwrap();
        say(&producer, "COMMIT; BEGIN; SET LOCAL windlass.tenant = 'a'").await;
        assert_eq!(store.job(ids[1]).await.tenant.as_deref(), Some("a"));
    }
    for options in ["{}", r#"{"tags":["t"]}"#] {
        let ids = try_enqueue_like(&producer, "a", &["1", "2"], options).await.unwrap();
        say(&producer, "COMMIT; BEGIN; SET LOCAL windlass.tenant = 'a'").await;
        assert_eq!(store.job(ids[1]).await.tenant.as_deref(), Some("a"));
    }
    say(&producer, "COMMIT").await;
    say(&producer, "SET windlass.tenant = 'a'").await;
    assert_bound(&producer, "a").await;
    let stray = refusal(try_enqueue(&producer, "work", "1", r#"{"on_success":{"kind":"b","payload":1,"tenant":"other"}}"#).await);
    assert_eq!(stray.1, "/on_success/tenant: a follow-up stays in its job's tenant; leave it out");
    // A setting that was made in an earlier transaction reads as the empty text, which says nothing.
    say(&producer, "RESET windlass.tenant").await;
    assert_eq!(store.job(enqueue(&producer, "{}").await).await.tenant, None);
    say(&producer, "SET windlass.tenant = 'no name'").await;
    assert_eq!(refusal(try_enqueue(&producer, "work", "1", "{}").await).0, "WLE04");
}

#[tokio::test]
async fn the_token_s_claim_binds_and_a_token_without_one_lets_nothing_in() {
    let Some((store, producer)) = door().await else { return };
    for claims in [json!({"role": "x", "tenant": "a"}), json!({"app_metadata": {"tenant": "a"}, "user_metadata": {"tenant": "other"}})] {
        say(&producer, &format!("SET request.jwt.claims = '{claims}'")).await;
        assert_eq!(store.job(enqueue(&producer, "{}").await).await.tenant.as_deref(), Some("a"));
        assert_bound(&producer, "a").await;
    }
    say(&producer, r#"SET request.jwt.claims = '{"role": "anon", "user_metadata": {"tenant": "a"}}'"#).await;
    for refused in [try_enqueue(&producer, "work", "1", "{}").await, try_enqueue(&producer, "work", "1", r#"{"tenant":"a"}"#).await] {
        let refused = refusal(refused);
        assert_eq!(refused.0, "42501");
        assert_eq!(refused.1, ": the token names no tenant; put `tenant` into its claims, or its role into windlass.principals");
    }
}

#[tokio::test]
async fn a_role_s_tenant_holds_whatever_the_session_sets() {
    let Some((store, producer)) = door().await else { return };
    // Roles belong to the whole server, so their names must be this test's own.
    say(
        &producer,
        "CREATE ROLE only_b LOGIN; CREATE ROLE serves_all; GRANT windlass_producer TO only_b, serves_all; GRANT serves_all TO only_b",
    )
    .await;
    say(&producer, "INSERT INTO windlass.principals VALUES ('only_b', 'b'), ('serves_all', NULL)").await;
    say(&producer, "SET ROLE only_b; SET windlass.tenant = 'a'; SET request.jwt.claims = '{\"tenant\": \"a\"}'").await;
    assert_eq!(store.job(enqueue(&producer, "{}").await).await.tenant.as_deref(), Some("b"));
    assert_bound(&producer, "b").await;
    say(&producer, "SET ROLE serves_all").await;
    assert_eq!(store.job(enqueue(&producer, r#"{"tenant":"any"}"#).await).await.tenant.as_deref(), Some("any"));
    // Who logged in as a bound role stays bound, whatever role it takes on.
    say(&producer, "RESET ROLE; SET SESSION AUTHORIZATION only_b; SET ROLE serves_all").await;
    assert_bound(&producer, "b").await;
}

/// A role of this test's own that may read and write every table, for row-level security is to hold it back all the same.
async fn meddler(producer: &Client, role: &str) {
    say(producer, &format!("CREATE ROLE {role}; GRANT windlass_reader, windlass_producer TO {role}")).await;
    say(producer, &format!("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA windlass TO {role}")).await;
}

#[tokio::test]
async fn a_tenant_reads_writes_and_changes_no_row_of_another_whatever_rights_it_was_given() {
    let Some((store, producer)) = door().await else { return };
    meddler(&producer, "meddles").await;
    let theirs = enqueue(&producer, r#"{"tenant":"theirs"}"#).await;
    enqueue(&producer, r#"{"tenant":"theirs","delay_ms":60000,"unique_key":"u","idempotency_key":"i"}"#).await;
    enqueue(&producer, "{}").await;
    say(&producer, "INSERT INTO windlass.records VALUES ('theirs', 'c', 'k', '1', NULL, gen_random_uuid(), 0), ('', 'c', 'k', '1', NULL, gen_random_uuid(), 0)").await;
    let count = async |table: &str| -> i64 {
        let row = producer.query_one(&format!("SELECT count(*) FROM windlass.{table}"), &[]).await;
        row.unwrap_or_else(|error| panic!("{table}: {}", super::story(&error))).get(0)
    };
    let tables = "SELECT relname::text FROM pg_class WHERE relnamespace = 'windlass'::regnamespace AND relkind IN ('r', 'p') ORDER BY 1";
    let tables: Vec<String> = producer.query(tables, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    for setting in ["RESET windlass.tenant", "SET windlass.tenant = 'mine'", "SET windlass.tenant = ''", "SET request.jwt.claims = '{}'"] {
        say(&producer, &format!("RESET request.jwt.claims; {setting}; SET ROLE meddles")).await;
        for table in &tables {
            assert_eq!(count(table).await, 0, "{setting}: {table}");
        }
        say(&producer, "RESET ROLE").await;
    }
    say(&producer, "RESET request.jwt.claims; SET windlass.tenant = 'mine'").await;
    let mine = enqueue(&producer, "{}").await;
    say(&producer, "SET ROLE meddles").await;
    assert_eq!(count("jobs").await, 1);
    let changes = [
        format!("UPDATE windlass.jobs SET payload = '2' WHERE id = '{theirs}'"),
        format!("DELETE FROM windlass.jobs WHERE id = '{theirs}'"),
        "UPDATE windlass.waiting SET run_at = 0".into(),
        "DELETE FROM windlass.uniques".into(),
        "DELETE FROM windlass.events".into(),
    ];
    for change in changes {
        assert_eq!(producer.execute(&change, &[]).await.expect(&change), 0, "{change}");
    }
    for write in [
        format!("UPDATE windlass.jobs SET tenant = 'theirs' WHERE id = '{mine}'"),
        "INSERT INTO windlass.records VALUES ('theirs', 'c', 'new', '1', NULL, gen_random_uuid(), 0)".into(),
        "INSERT INTO windlass.events (queue, what, jobs) VALUES ('default', 'c', 1)".into(),
        "INSERT INTO windlass.principals VALUES ('meddles', 'theirs')".into(),
    ] {
        assert_eq!(refusal(producer.execute(&write, &[]).await).0, "42501", "{write}");
    }
    say(&producer, "RESET ROLE; RESET windlass.tenant").await;
    assert_eq!(store.job(theirs).await.payload.as_str(), r#"{"n": 1}"#);
}

#[tokio::test]
async fn a_reader_sees_what_became_of_its_tenant_s_jobs_and_no_payload() {
    let Some((_store, producer)) = door().await else { return };
    say(&producer, "CREATE ROLE reads_a; GRANT windlass_reader TO reads_a; INSERT INTO windlass.principals VALUES ('reads_a', 'a')").await;
    for options in [r#"{"tenant":"a"}"#, r#"{"tenant":"a","delay_ms":60000}"#, r#"{"tenant":"b"}"#] {
        enqueue(&producer, options).await;
    }
    say(&producer, "SET ROLE reads_a").await;
    let seen =
        "SELECT (SELECT count(*) FROM windlass.jobs), (SELECT count(*) FROM windlass.waiting), (SELECT count(*) FROM windlass.history)";
    let row = producer.query_one(seen, &[]).await.expect("a reader may count");
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1), row.get::<_, i64>(2)), (1, 1, 0));
    for hidden in [
        "SELECT payload FROM windlass.jobs",
        "SELECT result FROM windlass.history",
        "SELECT * FROM windlass.records",
        "SELECT windlass.enqueue('a', '1')",
    ] {
        assert_eq!(refusal(producer.query(hidden, &[]).await).0, "42501", "{hidden}");
    }
}

#[tokio::test]
async fn a_producer_calls_two_functions_and_sees_no_table() {
    let Some((_store, producer)) = door().await else { return };
    say(&producer, "CREATE ROLE produces; GRANT windlass_producer TO produces; SET ROLE produces").await;
    enqueue(&producer, r#"{"unique_key":"u","delay_ms":1,"concurrency_key":"c","on_success":{"kind":"b","payload":1}}"#).await;
    try_enqueue_many(&producer, r#"[{"kind":"a","payload":1},{"kind":"b","payload":1,"after":["01890a5d-ac96-774b-bcce-b302099a8057"]}]"#)
        .await
        .unwrap();
    for denied in [
        "SELECT * FROM windlass.jobs",
        "SELECT * FROM windlass.principals",
        "SELECT windlass_v1.clock(NULL)",
        "INSERT INTO windlass.jobs DEFAULT VALUES",
        "SELECT nextval('windlass.numbers')",
        "CREATE TABLE windlass.mine (n int)",
    ] {
        assert_eq!(refusal(producer.query(denied, &[]).await).0, "42501", "{denied}");
    }
}

#[tokio::test]
async fn a_session_s_search_path_changes_nothing_in_what_the_functions_do() {
    let Some((store, producer)) = door().await else { return };
    say(&producer, "CREATE SCHEMA evil; CREATE ROLE evils; GRANT windlass_producer TO evils; GRANT ALL ON SCHEMA evil TO evils").await;
    say(&producer, "SET ROLE evils").await;
    say(
        &producer,
        "CREATE FUNCTION evil.eq(text, text) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE 'called as %', current_user; END$$",
    )
    .await;
    say(&producer, "CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.eq)").await;
    say(
        &producer,
        "CREATE FUNCTION evil.octet_length(text) RETURNS int LANGUAGE plpgsql AS $$BEGIN RAISE 'called as %', current_user; END$$",
    )
    .await;
    say(&producer, "SET search_path = evil, pg_catalog").await;
    for options in ["{}", r#"{"unique_key":"u","tags":["t"],"tenant":"a"}"#] {
        let statement =
            "SELECT windlass.enqueue($1::pg_catalog.text, $2::pg_catalog.text::pg_catalog.jsonb, $3::pg_catalog.text::pg_catalog.jsonb)";
        producer.query_one(statement, &[&"work", &"1", &options]).await.unwrap_or_else(|error| panic!("{}", super::story(&error)));
    }
    assert_eq!(store.all().await.len(), 2);
}

#[tokio::test]
async fn every_table_forces_row_security_and_the_daemon_lives_with_it() {
    let Some((_store, producer)) = door().await else { return };
    let open = "SELECT relname::text FROM pg_class WHERE relnamespace = 'windlass'::regnamespace AND relkind IN ('r', 'p') AND NOT (relrowsecurity AND relforcerowsecurity)";
    let open: Vec<String> = producer.query(open, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(open, [""; 0]);
    let powers = "SELECT bool_or(rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb) FROM pg_roles WHERE rolname IN ('daemon', 'windlass_daemon', 'windlass_owner')";
    assert!(!producer.query_one(powers, &[]).await.unwrap().get::<_, bool>(0));
    say(&producer, "SET ROLE daemon").await;
    for denied in
        ["TRUNCATE windlass.jobs", "DROP TABLE windlass.cache", "CREATE TABLE windlass.mine (n int)", "DELETE FROM windlass.migrations"]
    {
        assert_eq!(refusal(producer.query(denied, &[]).await).0, "42501", "{denied}");
    }
}
