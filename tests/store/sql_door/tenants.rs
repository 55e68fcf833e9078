//! Whose job it is: the tenant of the role, of the session's setting, or of the token's claim (contract P12).

use super::{door, enqueue, refusal, say, try_enqueue, try_enqueue_many};
use serde_json::json;
use tokio_postgres::Client;

/// What a session is told about a tenant that is not its own.
async fn assert_bound(producer: &Client, tenant: &str) {
    let message = format!("/tenant: this session acts for tenant `{tenant}`; leave `tenant` out");
    let refused = refusal(try_enqueue(producer, "work", "1", r#"{"tenant":"other"}"#).await);
    assert_eq!((refused.0.as_str(), refused.1), ("42501", message));
    let refused = refusal(try_enqueue_many(producer, r#"[{"kind":"a","payload":1},{"kind":"a","payload":1,"tenant":"other"}]"#).await);
    assert_eq!((refused.0.as_str(), &refused.2[0]["pointer"]), ("42501", &json!("/1/tenant")));
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
