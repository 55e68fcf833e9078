//! Who may call the control port.

use super::{PostgresStore, error::Effect, params::params};
use crate::{
    job::{Json, Timestamp, Token, TokenId},
    store::{
        Actor, Keys, Result,
        words::{token_end_words, token_is_there, token_of, token_words},
    },
};

impl PostgresStore {
    pub(super) async fn keep_token(&self, token: &Token, actor: &Actor) -> Result<()> {
        let (id, text, ends_at) = (token.id.to_string(), Json::of(token).as_str().to_owned(), token.expires_at.map(|t| t.0));
        let params = params![id, text, ends_at, token_words(token), actor.op_id, actor.name.clone(), self.clock_now().map(|t| t.0)];
        let row = self.lanes.other.one(Effect::Writes, "SELECT windlass_v1.put_token($1, $2, $3, $4, $5, $6, $7)", params).await?;
        if row.get(0) { Ok(()) } else { Err(token_is_there(&token.id)) }
    }

    pub(super) async fn all_tokens(&self) -> Result<Vec<Token>> {
        let rows = self.lanes.other.rows(Effect::Reads, "SELECT id, token, ends_at FROM windlass.tokens ORDER BY id", params![]).await?;
        Ok(rows.iter().filter_map(read).collect())
    }

    pub(super) async fn live_tokens(&self) -> Result<Keys> {
        let ask = "SELECT id, token, ends_at FROM windlass.tokens WHERE ends_at IS NULL OR ends_at > windlass_v1.clock($1) ORDER BY id";
        let rows = self.lanes.other.rows(Effect::Reads, ask, params![self.clock_now().map(|t| t.0)]).await?;
        let live: Vec<Token> = rows.iter().filter_map(read).collect();
        let is_any = !live.is_empty() || {
            let ask = "SELECT EXISTS (SELECT FROM windlass.tokens)";
            self.lanes.other.one(Effect::Reads, ask, params![]).await?.get(0)
        };
        Ok(Keys { live, is_any })
    }

    pub(super) async fn end_kept_token(&self, id: &TokenId, at: Timestamp, actor: &Actor) -> Result<()> {
        let params = params![id.to_string(), at.0, token_end_words(at), actor.op_id, actor.name.clone(), self.clock_now().map(|t| t.0)];
        self.act("SELECT windlass_v1.end_token($1, $2, $3, $4, $5, $6)", params).await
    }
}

fn read(row: &tokio_postgres::Row) -> Option<Token> {
    token_of(row.get(0), row.get(1), row.get::<_, Option<i64>>(2).map(Timestamp))
}
