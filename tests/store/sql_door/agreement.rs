//! The SQL door and the library read every envelope alike: the same ones are good and become the same jobs, the same ones
//! are bad, with the same place, code and sentence. Both are given jsonb's text, whose members are sorted.

use super::{door, try_enqueue_many};
use crate::{
    store::envelopes::{corpus, envelope, fresh, shape, values},
    support::TestStore,
};
use fastrand::Rng;
use serde_json::Value;
use tokio_postgres::Client;
use windlass::{
    clock::Clock,
    job::{JobId, Limits, NewJob},
};

/// The text of each as jsonb, and what the SQL door finds wrong with it.
async fn verdicts(client: &Client, envelopes: &[Value]) -> Vec<(String, Option<(String, String, String)>)> {
    let texts: Vec<String> = envelopes.iter().map(ToString::to_string).collect();
    let statement = "SELECT e::jsonb::text, f.pointer, f.code, f.message FROM unnest($1::text[]) WITH ORDINALITY u (e, n), \
        windlass_v1.envelope_fault(e::jsonb, 1048576) f ORDER BY n";
    let rows = client.query(statement, &[&texts]).await.unwrap_or_else(|error| panic!("{}", super::story(&error)));
    let fault = |row: &tokio_postgres::Row| row.get::<_, Option<String>>(2).map(|code| (row.get(1), code, row.get(3)));
    rows.iter().map(|row| (row.get(0), fault(row))).collect()
}

#[tokio::test]
async fn both_find_the_same_faults() {
    let Some((_store, client)) = door().await else { return };
    let (mut good, mut bad) = (0, 0);
    for envelopes in corpus().chunks(1000) {
        for (text, found) in verdicts(&client, envelopes).await {
            let ours = NewJob::check(text.as_bytes(), Limits::default()).err().map(|e| (e.pointer, e.code.to_owned(), e.message));
            assert_eq!(found, ours, "the SQL door (left) and the library (right) differ over {}", &text[..text.len().min(2000)]);
            if ours.is_some() { bad += 1 } else { good += 1 }
        }
    }
    assert!(good > 1000 && bad > 1000, "{good} good, {bad} bad");
}

#[tokio::test]
async fn both_make_the_same_jobs() {
    let Some((by_sql, client)) = door().await else { return };
    let by_rust = TestStore::open("postgres").await;
    let mut random = Rng::with_seed(18);
    let values = values();
    let mut good = Vec::new();
    let many: Vec<Value> = (0..4000).map(|n| fresh(envelope(&mut random, &values, 6), n)).collect();
    for (text, fault) in verdicts(&client, &many).await {
        if fault.is_none() {
            good.push(text);
        }
    }
    assert!(good.len() > 800, "{} are good", good.len());
    for (n, texts) in good.chunks(40).enumerate() {
        let ours: Vec<NewJob> = texts.iter().map(|text| NewJob::check(text.as_bytes(), Limits::default()).unwrap()).collect();
        let ours = by_rust.put(ours, Some(Clock::System.now())).await;
        let theirs = if n % 2 == 0 {
            try_enqueue_many(&client, &format!("[{}]", texts.join(","))).await.unwrap_or_else(|error| panic!("{}", super::story(&error)))
        } else {
            one_by_one(&client, texts).await
        };
        for ((ours, theirs), text) in ours.into_iter().zip(theirs).zip(texts) {
            let (ours, theirs) = (shape(&by_rust, ours, text).await, shape(&by_sql, theirs, text).await);
            assert_eq!(theirs, ours, "the SQL door (left) and the library (right) made different jobs of {text}");
        }
    }
    by_sql.assert_sound().await;
}

async fn one_by_one(client: &Client, texts: &[String]) -> Vec<JobId> {
    let statement = "SELECT windlass.enqueue(e ->> 'kind', e -> 'payload', e - 'kind' - 'payload') FROM (SELECT $1::text::jsonb AS e) u";
    let mut ids = Vec::new();
    for text in texts {
        let row = client.query_one(statement, &[text]).await.unwrap_or_else(|error| panic!("{text}: {}", super::story(&error)));
        ids.push(JobId(row.get(0)));
    }
    ids
}
