//! Enqueues jobs inside an application's own transactions, with tokio-postgres.
//!
//!     DATABASE_URL=postgres://app@localhost/app cargo run --example enqueue-postgres

use tokio_postgres::{Error, NoTls, Transaction};
use uuid::Uuid;

/// The id of the job, which is there when the transaction commits.
async fn enqueue(transaction: &Transaction<'_>, kind: &str, payload: &str, options: &str) -> Result<Uuid, Error> {
    let statement = "SELECT windlass.enqueue($1, $2::text::jsonb, $3::text::jsonb)";
    Ok(transaction.query_one(statement, &[&kind, &payload, &options]).await?.get(0))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let (mut client, connection) = tokio_postgres::connect(&std::env::var("DATABASE_URL")?, NoTls).await?;
    tokio::spawn(connection);
    client.batch_execute("CREATE TABLE IF NOT EXISTS orders (id int PRIMARY KEY)").await?;

    // The order and its job, or neither.
    let transaction = client.transaction().await?;
    transaction.execute("INSERT INTO orders VALUES (17) ON CONFLICT DO NOTHING", &[]).await?;
    let options = r#"{"queue": "mail", "unique_key": "confirm:17"}"#;
    let job = enqueue(&transaction, "order.confirm", r#"{"order": 17}"#, options).await?;
    transaction.commit().await?;
    println!("enqueued {job}");

    // What is rolled back never was; dropping a transaction rolls it back.
    enqueue(&client.transaction().await?, "order.confirm", r#"{"order": 18}"#, "{}").await?;

    // One that is wrong is refused with a sentence and a code.
    let refused = enqueue(&client.transaction().await?, "report.build", "{}", r#"{"priority": 99}"#).await;
    let error = refused.err().and_then(|error| error.as_db_error().cloned()).expect("it is refused");
    assert_eq!(error.code().code(), "WLE05");
    println!("refused {}", error.message());
    Ok(())
}
