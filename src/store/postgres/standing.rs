//! What holds one job back.

use super::{PostgresStore, error::Effect, params::params};
use crate::{
    job::{Job, Pause, Standing, Timestamp},
    store::{Error, Result},
};

const STANDING: &str = "SELECT windlass_v1.standing($1, $2, $3, $4, $5, $6)::text, p.at, p.by, p.reason, p.until
    FROM (SELECT) one LEFT JOIN windlass.pauses p ON p.queue = $2";

impl PostgresStore {
    pub(super) async fn standing_of(&self, job: &Job, now: Option<Timestamp>) -> Result<Standing> {
        let bound = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        let (most, lines, shown) = (bound(Standing::MOST), bound(Standing::LINES), bound(Standing::SHOWN));
        let params = params![job.id.0, job.queue.to_string(), most, lines, shown, now.map(|t| t.0)];
        let row = self.lanes.other.one(Effect::Reads, STANDING, params).await?;
        let standing: Standing =
            serde_json::from_str(row.get(0)).map_err(|e| Error::Corrupt(format!("how job {} stands cannot be read: {e}", job.id)))?;
        let pause = row.get::<_, Option<i64>>(1).map(|at| {
            let until = row.get::<_, Option<i64>>(4).map(Timestamp);
            Pause { at: Timestamp(at), by: row.get(2), reason: row.get(3), until }
        });
        Ok(Standing { pause: pause.filter(|pause| pause.holds(standing.now)), ..standing })
    }
}
