//! Who may call the control port: two hashes, by the tokens' ids. What is kept of a token is never written again; its end may come nearer.

use super::{
    RedisStore,
    audit::audit,
    connection::{function, reading},
    enqueue::instant,
    error::Effect,
    reply,
};
use crate::{
    job::{Json, Timestamp, Token, TokenId},
    store::{
        Actor, Error, Keys, Result,
        words::{token_end_words, token_is_there, token_of, token_words},
    },
};
use std::collections::BTreeMap;

impl RedisStore {
    pub(super) async fn keep_token(&self, token: &Token, actor: &Actor) -> Result<()> {
        let mut call = function("put_token", &[self.common()]);
        call.arg(instant(self.now_or(None))).arg(token.id.as_str()).arg(Json::of(token).as_str()).arg(instant(token.expires_at));
        audit(&mut call, actor, "create_token", token.id.as_str(), Some(&token_words(token)));
        match self.server.ask::<i64>(Effect::Promises, &call).await? {
            0 => Err(token_is_there(&token.id)),
            _ => Ok(()),
        }
    }

    pub(super) async fn all_tokens(&self) -> Result<Vec<Token>> {
        let all = |hash: &str| redis::cmd("HGETALL").arg(format!("{}:{hash}", self.common())).clone();
        let texts: BTreeMap<String, String> = self.server.ask(Effect::Reads, &all("access_tokens")).await?;
        // Read after them: an end that comes in between is not missed.
        let ends: BTreeMap<String, i64> = self.server.ask(Effect::Reads, &all("access_ends")).await?;
        Ok(texts.iter().filter_map(|(id, text)| token_of(id, text, ends.get(id).copied().map(Timestamp))).collect())
    }

    pub(super) async fn live_tokens(&self) -> Result<Keys> {
        let call = reading("live_tokens", &[self.common()]).arg(instant(self.now_or(None))).clone();
        let [all, live] = reply::fixed(self.server.ask(Effect::Reads, &call).await?)?;
        let read = |row| {
            let [id, text, end] = reply::fixed(row)?;
            Ok(token_of(&reply::text(id)?, &reply::text(text)?, reply::maybe_time(end)?))
        };
        let live = reply::list(live)?.into_iter().map(read).filter_map(Result::transpose).collect::<Result<Vec<_>>>()?;
        Ok(Keys { live, is_any: reply::count(all)? > 0 })
    }

    pub(super) async fn end_kept_token(&self, id: &TokenId, at: Timestamp, actor: &Actor) -> Result<()> {
        let mut call = function("end_token", &[self.common()]);
        call.arg(instant(self.now_or(None))).arg(id.as_str()).arg(at.0);
        audit(&mut call, actor, "end_token", id.as_str(), Some(&token_end_words(at)));
        match self.server.ask::<i64>(Effect::Promises, &call).await? {
            0 => Err(Error::NotFound { what: format!("token {id}") }),
            _ => Ok(()),
        }
    }
}
