//! Who may call the control port.

use super::{
    read::own,
    tx::{Tx, sql},
};
use crate::{
    job::{Json, Timestamp, Token, TokenId},
    store::{
        Actor, Error, Keys, Result,
        words::{token_end_words, token_is_there, token_of, token_words},
    },
};
use rusqlite::{Connection, Params};

impl Tx<'_> {
    pub(super) fn put_token(&mut self, token: &Token, actor: &Actor, now: Timestamp) -> Result<()> {
        if !self.audit(actor, "create_token", token.id.as_str(), Some(&token_words(token)), now)? {
            return Ok(());
        }
        let text = Json::of(token);
        match self.run(sql!("token_put"), (token.id.as_str(), text.as_str(), token.expires_at.map(|t| t.0)))? {
            0 => Err(token_is_there(&token.id)),
            _ => Ok(()),
        }
    }

    pub(super) fn end_token(&mut self, id: &TokenId, at: Timestamp, actor: &Actor, now: Timestamp) -> Result<()> {
        if !self.audit(actor, "end_token", id.as_str(), Some(&token_end_words(at)), now)? {
            return Ok(());
        }
        match self.run(sql!("token_end"), (id.as_str(), at.0, now.0))? {
            0 => Err(Error::NotFound { what: format!("token {id}") }),
            _ => Ok(()),
        }
    }
}

pub(super) fn all(connection: &Connection) -> Result<Vec<Token>> {
    read(connection, sql!("tokens_all"), [])
}

pub(super) fn keys(connection: &Connection, now: Timestamp) -> Result<Keys> {
    let live = read(connection, sql!("tokens_live"), [now.0])?;
    let is_any = !live.is_empty() || connection.prepare_cached(sql!("tokens_any")).and_then(|mut any| any.exists([])).map_err(own)?;
    Ok(Keys { live, is_any })
}

fn read(connection: &Connection, text: &'static str, params: impl Params) -> Result<Vec<Token>> {
    let mut statement = connection.prepare_cached(text).map_err(own)?;
    let rows = statement
        .query_map(params, |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, Option<i64>>(2)?)))
        .map_err(own)?;
    let rows = rows.collect::<rusqlite::Result<Vec<_>>>().map_err(own)?;
    Ok(rows.into_iter().filter_map(|(id, text, end)| token_of(&id, &text, end.map(Timestamp))).collect())
}
