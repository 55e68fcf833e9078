//! A queue of apalis-postgres: rows of `apalis.jobs` that are locked by a worker of ours. Every step is one statement, and none is
//! prepared, so that the URL may go through a pooler.

use super::{
    end::End,
    queue::{self, Error, Held, LEAD, SILENCE, Worker},
    task::{Open, Task, ulid},
};
use crate::store::postgres::tls_connector;
use async_trait::async_trait;
use std::time::Duration;
use tokio_postgres::{
    Client, Config, Row,
    types::{ToSql, Type},
};

const BEAT: &str = include_str!("beat.sql");
const ADOPT: &str = include_str!("adopt.sql");
const TAKE: &str = include_str!("take.sql");
const HELD: &str = include_str!("held.sql");
const START: &str = include_str!("start.sql");
const END: &str = include_str!("end.sql");

/// A statement that takes longer has lost its server.
const DEADLINE: Duration = Duration::from_secs(30);

pub(super) struct Queue {
    client: Client,
    worker: Worker,
}

type Param<'p> = (&'p (dyn ToSql + Sync), Type);

impl Queue {
    pub(super) async fn connect(server: &Config, worker: Worker) -> Result<Self, Error> {
        let (client, connection) = server.connect(tls_connector()?).await?;
        // Its end is seen by the calls.
        tokio::spawn(connection);
        Ok(Self { client, worker })
    }

    async fn ask(&self, statement: &str, params: &[Param<'_>]) -> Result<Vec<Row>, Error> {
        match tokio::time::timeout(DEADLINE, self.client.query_typed(statement, params)).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(Error::Silent),
        }
    }

    async fn tell(&self, good_for: Duration) -> Result<(), Error> {
        let seconds = good_for.as_secs_f64();
        let params = [param(&self.worker.name), param(&self.worker.queue), (&seconds as &(dyn ToSql + Sync), Type::FLOAT8)];
        self.ask(BEAT, &params).await.map(drop)
    }

    async fn write(&self, ends: &[End]) -> Result<(), Error> {
        let ids: Vec<String> = ends.iter().map(|end| text(&end.id)).collect();
        let statuses: Vec<&str> = ends.iter().map(|end| end.status).collect();
        let attempts: Vec<i32> = ends.iter().map(|end| end.attempts).collect();
        let results: Vec<&str> = ends.iter().map(|end| end.result.as_str()).collect();
        let params: [Param<'_>; 5] = [
            param(&self.worker.name),
            (&ids, Type::TEXT_ARRAY),
            (&statuses, Type::TEXT_ARRAY),
            (&attempts, Type::INT4_ARRAY),
            (&results, Type::TEXT_ARRAY),
        ];
        self.ask(END, &params).await.map(drop)
    }
}

#[async_trait]
impl queue::Queue for Queue {
    async fn beat(&mut self) -> Result<(), Error> {
        self.tell(LEAD).await
    }

    async fn leave(&mut self) -> Result<(), Error> {
        self.tell(LEAD - SILENCE).await
    }

    async fn adopt(&mut self) -> Result<u64, Error> {
        let seconds = (LEAD - SILENCE).as_secs_f64();
        let worker = &self.worker;
        let params = [param(&worker.name), param(&worker.queue), param(&worker.family), (&seconds as &(dyn ToSql + Sync), Type::FLOAT8)];
        let rows = self.ask(ADOPT, &params).await?;
        Ok(rows.first().and_then(|row| u64::try_from(row.get::<_, i64>(0)).ok()).unwrap_or(0))
    }

    async fn take(&mut self, most: usize) -> Result<Vec<Task>, Error> {
        let [most, all, one, kept] = [most, super::BATCH_BYTES, super::PAYLOAD_BYTES, super::KEPT_BYTES].map(|n| n as i64);
        let number = |n| (n as &(dyn ToSql + Sync), Type::INT8);
        let params = [param(&self.worker.name), param(&self.worker.queue), number(&most), number(&all), number(&one), number(&kept)];
        Ok(self.ask(TAKE, &params).await?.iter().map(task).collect())
    }

    async fn held(&mut self, after: &str) -> Result<Held, Error> {
        let (after, most) = (after.to_owned(), super::BATCH as i64);
        let rows = self.ask(HELD, &[param(&self.worker.name), param(&after), (&most, Type::INT8)]).await?;
        let is_full = rows.len() == super::BATCH;
        let mut held = Held { next: rows.last().filter(|_| is_full).map(|row| row.get("id")), ..Held::default() };
        for row in &rows {
            let task = task(row);
            let runs = row.get::<_, &str>("status") == "Running";
            if runs { held.open.push(Open::of(&self.worker.bridge, &task)) } else { held.unsent.push(task) }
        }
        Ok(held)
    }

    async fn start(&mut self, ids: &[&[u8]]) -> Result<(), Error> {
        let ids: Vec<String> = ids.iter().map(|id| text(id)).collect();
        self.ask(START, &[param(&self.worker.name), (&ids, Type::TEXT_ARRAY)]).await.map(drop)
    }

    async fn end(&mut self, ends: &[End]) -> Result<(), Error> {
        match self.write(ends).await {
            Err(error) if error.is_of_data() => {}
            written => return written,
        }
        // One result that `jsonb` cannot hold, such as a text with a NUL, does not keep back the others.
        for end in ends {
            match self.write(std::slice::from_ref(end)).await {
                Err(error) if error.is_of_data() => self.write(&[end.without_result()]).await?,
                written => written?,
            }
        }
        Ok(())
    }
}

fn param(value: &String) -> Param<'_> {
    (value, Type::TEXT)
}

/// The ids of this store are texts.
fn text(id: &[u8]) -> String {
    String::from_utf8_lossy(id).into_owned()
}

fn task(row: &Row) -> Task {
    let id: String = row.get("id");
    let count = |column: &str| u32::try_from(row.get::<_, i32>(column)).unwrap_or(0);
    Task {
        fault: ulid(id.as_bytes()).is_none().then(|| "its id is no ULID".to_owned()),
        id: id.into_bytes(),
        payload: row.get::<_, Option<Vec<u8>>>("payload").unwrap_or_default(),
        bytes: usize::try_from(row.get::<_, i64>("bytes")).unwrap_or(0),
        attempts: count("attempts"),
        max_attempts: count("max_attempts"),
        priority: row.get::<_, Option<i32>>("priority").unwrap_or(0),
        idempotency_key: row.get("idempotency_key"),
    }
}
