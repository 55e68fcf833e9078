//! Changing a job that waits, or a dead letter.

use super::{PostgresStore, params::params};
use crate::{
    job::{Edit, JobId, Timestamp},
    store::{Actor, Result, words::ms},
};

impl PostgresStore {
    pub(super) async fn edit_job(&self, id: JobId, edit: &Edit, actor: &Actor, now: Option<Timestamp>) -> Result<()> {
        let text = |json: &Option<crate::job::Json>| json.as_ref().map(|json| json.as_str().to_owned());
        let params = params![
            id.0,
            text(&edit.payload),
            edit.priority.map(i32::from),
            edit.run_at.map(|t| t.0),
            edit.max_attempts.map(|n| i32::try_from(n).unwrap_or(i32::MAX)),
            edit.timeout_ms.map(ms),
            text(&edit.was),
            edit.words(),
            actor.op_id,
            actor.name.clone(),
            now.map(|t| t.0)
        ];
        self.act("SELECT windlass_v1.edit($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)", params).await
    }
}
