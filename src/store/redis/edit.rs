//! Changing a job that waits, or a dead letter.

use super::{
    RedisStore,
    audit::audit,
    connection::function,
    enqueue::instant,
    error::{Effect, odd},
    reply,
};
use crate::{
    job::{Edit, JobId, Json, State, Timestamp},
    store::{Actor, Error, Result},
};

impl RedisStore {
    pub(super) async fn edit_job(&self, id: JobId, edit: &Edit, actor: &Actor, now: Option<Timestamp>) -> Result<()> {
        let maybe = |value: Option<String>| value.unwrap_or_default();
        let text = |json: &Option<Json>| json.as_ref().map(|json| json.as_str().to_owned()).unwrap_or_default();
        let mut call = function("edit", &[self.base(&self.shard_with(id).await?)]);
        call.arg(instant(now)).arg(id.0.as_bytes()).arg(text(&edit.payload));
        call.arg(maybe(edit.priority.map(|n| n.to_string()))).arg(instant(edit.run_at));
        call.arg(maybe(edit.max_attempts.map(|n| n.to_string()))).arg(maybe(edit.timeout_ms.map(|n| n.to_string()))).arg(text(&edit.was));
        audit(&mut call, actor, "edit", &id.to_string(), Some(&edit.words()));
        let mut said = reply::list(self.server.ask(Effect::Promises, &call).await?)?.into_iter();
        let word = said.next().map(reply::text).transpose()?.unwrap_or_default();
        let state = said.next().map(reply::text).transpose()?.as_deref().and_then(State::parse);
        let (is_ordered, is_alone) = (word == "keeps_turn", word == "keeps_place");
        match (word.as_str(), state) {
            ("ok", _) => {
                self.wakes.work();
                Ok(())
            }
            ("missing", _) => Err(Error::NotFound { what: format!("job {id}") }),
            ("outdated", _) => Err(Error::NotAllowed(Edit::outdated(id))),
            (_, Some(state)) => edit.fits(id, state, is_ordered, is_alone).map_err(Error::NotAllowed),
            (_, None) => odd("a word"),
        }
    }
}
