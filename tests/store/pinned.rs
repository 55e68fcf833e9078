//! A transaction somewhere pins the horizon, so that nothing which ends can be vacuumed: no call reads through what has ended.

use crate::support::{Daemon, TestStore, now, work};
use serde_json::Value;
use tokio_postgres::Client;

/// Pages that calls of `statement` touch in a session that has planned it; none of them happens.
async fn pages(client: &Client, statement: &str) -> i64 {
    let mut touched = 0;
    for _ in 0..2 {
        client.batch_execute("BEGIN").await.expect("a transaction begins");
        let rows = client.simple_query(&format!("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}")).await.expect(statement);
        let text = rows.iter().find_map(|row| match row {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        let plan: Value = serde_json::from_str(text.expect("a plan")).expect("it is JSON");
        let of = |sort: &str| plan[0]["Plan"][sort].as_i64().expect("a number of pages");
        touched = of("Shared Hit Blocks") + of("Shared Read Blocks");
        client.batch_execute("ROLLBACK").await.expect("it ends");
    }
    touched
}

#[tokio::test]
async fn nothing_is_read_that_has_ended_while_a_horizon_is_pinned() {
    if !TestStore::is_wanted("postgres") {
        return;
    }
    let store = TestStore::open("postgres").await;
    let (pin, client, daemon) = (store.connection().await, store.connection().await, Daemon::new());
    pin.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pg_current_xact_id()").await.expect("it pins");
    let at = now(60).map(|t| t.0).expect("an instant");
    let lease = format!(
        "SELECT * FROM windlass_v1.lease('{0}', gen_random_uuid(), '{{default}}', '{{10}}', '{{work}}', 100000, 1000000, NULL, {at})",
        daemon.holder.0
    );
    let calls = [
        lease.clone(),
        format!("WITH put AS MATERIALIZED (SELECT windlass.enqueue('work', '1')) SELECT l.* FROM put, LATERAL ({lease}) l"),
        // Everything was over when it beat last.
        format!(
            "SELECT b.* FROM windlass.epochs e, LATERAL windlass_v1.beat('{}', 1000000, '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', NULL, {at}, e.last_value) b",
            daemon.holder.0
        ),
        format!("SELECT * FROM windlass_v1.reap({at}, NULL, 3)"),
        format!("SELECT * FROM windlass_v1.advance({at})"),
    ];
    let mut before = Vec::new();
    for round in 0..=300 {
        store.put(vec![work()], now(1)).await;
        let leased = daemon.lease(&*store, 10, now(2)).await;
        store.complete(&leased, now(3)).await;
        // The first pages of every table and index are there by then.
        if round == 60 {
            store.heartbeat(daemon.holder, crate::support::LEASE, Vec::new(), Vec::new(), now(61)).await.expect("it beats");
            for call in &calls {
                before.push(pages(&client, call).await);
            }
        }
    }
    for (call, before) in calls.iter().zip(before) {
        let after = pages(&client, call).await;
        assert!(after <= before + before / 4 + 10, "{before} pages before, {after} after: {call}");
    }
}
