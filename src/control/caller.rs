//! Who calls: what they may do, and whose jobs they reach. A handler has the store through its caller and not otherwise.

use super::{Problem, State, connection::Peer, session::Ticket};
use crate::{
    job::{InvalidEnvelope, Limits, Name, NewJob, Scope, Token},
    store::{Actor, Store, within::Within},
};
use axum::{extract::FromRequestParts, http::StatusCode, http::request::Parts};
use std::sync::Arc;

/// What a route asks of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    pub scope: Scope,
    /// A caller that is bound to a tenant may call it too, and reaches what is its tenant's.
    pub within_tenant: bool,
}

/// Cheap to clone: a handle.
#[derive(Clone)]
pub(super) struct Caller(Arc<Who>);

struct Who {
    /// For the audit.
    name: String,
    /// None: the operator, who may do everything.
    token: Option<Token>,
    /// Of the configured token, if it showed that one.
    digest: Option<[u8; 32]>,
    /// It showed nothing, because nobody has anything to show.
    is_this_machine: bool,
    /// It showed this session of a browser's.
    session: Option<Ticket>,
}

impl Caller {
    /// Whoever shows the configured token: there is only the address to tell them apart.
    pub fn operator(peer: Peer, digest: [u8; 32]) -> Self {
        let name = format!("http:{}", peer.0);
        Self(Arc::new(Who { name, token: None, digest: Some(digest), is_this_machine: false, session: None }))
    }

    /// A program of this machine, where no token is asked for.
    pub fn this_machine(peer: Peer) -> Self {
        Self(Arc::new(Who { name: format!("http:{}", peer.0), token: None, digest: None, is_this_machine: true, session: None }))
    }

    pub fn is_this_machine(&self) -> bool {
        self.0.is_this_machine
    }

    pub fn holding(token: Token) -> Self {
        let name = format!("token:{}", token.id);
        Self(Arc::new(Who { name, token: Some(token), digest: None, is_this_machine: false, session: None }))
    }

    /// The same one, by its browser.
    #[must_use]
    pub fn by_session(&self, session: Ticket) -> Self {
        self.shown_by(Some(session))
    }

    /// The same one, for what goes on by itself: whoever signs out has not called it off.
    #[must_use]
    pub fn beyond_its_session(&self) -> Self {
        self.shown_by(None)
    }

    fn shown_by(&self, session: Option<Ticket>) -> Self {
        let Who { name, token, digest, is_this_machine, .. } = &*self.0;
        Self(Arc::new(Who { name: name.clone(), token: token.clone(), digest: *digest, is_this_machine: *is_this_machine, session }))
    }

    pub fn session(&self) -> Option<Ticket> {
        self.0.session
    }

    /// As audit rows call it.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    pub fn may(&self, scope: Scope) -> bool {
        self.0.token.as_ref().is_none_or(|token| token.covers(scope))
    }

    /// # Errors
    /// When this is not for this caller.
    pub fn admitted_to(&self, access: Access) -> Result<(), Problem> {
        if !self.may(access.scope) {
            let sentence = format!("this token has not the scope `{}`; ask an operator for one that has", access.scope);
            return Err(Problem::new(StatusCode::FORBIDDEN, "missing_scope", sentence));
        }
        if !access.within_tenant && self.tenant().is_some() {
            return Err(not_of_one_tenant());
        }
        Ok(())
    }

    pub fn token(&self) -> Option<&Token> {
        self.0.token.as_ref()
    }

    pub fn tenant(&self) -> Option<&Name> {
        self.0.token.as_ref().and_then(|token| token.tenant.as_ref())
    }

    /// Who does an administrative act, for its audit row, with an id of its own.
    pub fn actor(&self) -> Actor {
        Actor::new(self.0.name.clone())
    }

    /// Asked now and then in a call that goes on for long. While the store is away, those that were known are.
    pub async fn is_still_let_in(&self, state: &State) -> bool {
        let patience = state.in_force().config.health_deadline();
        let has_its_session =
            self.session().is_none_or(|ticket| state.sessions.until(ticket).is_some_and(|until| until > state.clock.now()));
        let is_good = match self.token() {
            None if self.is_this_machine() => {
                !state.in_force().gate.has_token() && !matches!(state.keyring().are_there(state.store(), patience).await, Ok(true))
            }
            // Another one may be configured by now.
            None => self.0.digest.is_some_and(|digest| state.in_force().gate.is_digest(&digest)),
            Some(token) => matches!(state.keyring().live(&token.id, state.store(), patience, &state.clock).await, Ok(Some(_))),
        };
        has_its_session && is_good
    }

    /// # Errors
    /// When it is not.
    pub async fn is_let_in_still(&self, state: &State) -> Result<(), Problem> {
        if self.is_still_let_in(state).await { Ok(()) } else { Err(super::auth::unauthorized()) }
    }

    /// Reads and checks an envelope of this caller's.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn check(&self, text: &[u8], limits: Limits) -> Result<NewJob, InvalidEnvelope> {
        NewJob::check_for(self.tenant(), text, limits)
    }

    /// The jobs that this caller reaches.
    pub fn jobs<'s>(&'s self, state: &'s State) -> Within<'s> {
        Within::new(state.store(), self.tenant())
    }

    /// What belongs to no tenant.
    ///
    /// # Errors
    /// When the caller is bound to one.
    pub fn everything<'s>(&self, state: &'s State) -> Result<&'s dyn Store, Problem> {
        if self.tenant().is_some() { Err(not_of_one_tenant()) } else { Ok(state.store()) }
    }
}

fn not_of_one_tenant() -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "bound_to_tenant", "this is not one tenant's affair, and this token is bound to one")
}

impl FromRequestParts<State> for Caller {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &State) -> Result<Self, Problem> {
        let unknown = || Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the daemon failed on this request; this is a bug");
        parts.extensions.get().cloned().ok_or_else(|| unknown().because("a route without a door asks who calls"))
    }
}
