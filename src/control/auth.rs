//! Who may call. Whoever shows the configured token may do everything; whoever shows one that was made, what that says. Where there is
//! neither, the port is on loopback only, and the caller must be a program on this machine: no web page in its browser, which could reach
//! 127.0.0.1 under a name of its own (DNS rebinding) or with a form that needs no preflight, and no proxy, which connects from this machine
//! for the whole world. A browser shows a session's cookie (`session/`) in place of a token.

use super::{
    Config, Problem, State,
    caller::{Access, Caller},
    connection::Peer,
    crowd::counted,
    keyring::Found,
    quota::Standing,
    session,
};
use crate::{
    job::{Scope, ShownToken, TokenId},
    telemetry::Metrics,
};
use axum::{
    extract::{self, Request},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use subtle::ConstantTimeEq as _;

pub(super) struct Gate {
    /// The digest of the configured token: digests have one length, so comparing them tells nothing about the token's.
    token: Option<[u8; 32]>,
    /// Names of this machine.
    hosts: BTreeSet<String>,
}

impl Gate {
    pub fn new(token: Option<&SecretString>, config: &Config) -> Self {
        let own = ["localhost".to_owned(), "127.0.0.1".to_owned(), "[::1]".to_owned(), authority_form(config.listen.ip())];
        let configured = config.allowed_hosts.iter().map(|host| host.to_ascii_lowercase());
        Self { token: token.map(|token| Sha256::digest(token.expose_secret()).into()), hosts: own.into_iter().chain(configured).collect() }
    }

    fn is_token(&self, shown: &str) -> bool {
        self.is_digest(&Sha256::digest(shown).into())
    }

    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    pub fn is_digest(&self, digest: &[u8; 32]) -> bool {
        self.token.is_some_and(|token| digest.ct_eq(&token).into())
    }

    fn takes_for_this_machine(&self, headers: &HeaderMap) -> Result<(), Problem> {
        is_no_proxy(headers).and_then(|()| is_no_web_page(headers, &self.hosts))
    }
}

fn authority_form(ip: std::net::IpAddr) -> String {
    match ip {
        std::net::IpAddr::V4(ip) => ip.to_string(),
        std::net::IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// As much of a request as tells who makes it.
#[derive(Clone, Copy)]
pub(super) struct Asked<'r> {
    pub method: &'r Method,
    pub uri: &'r Uri,
    pub headers: &'r HeaderMap,
}

impl<'r> Asked<'r> {
    /// The name and port by which the caller knows us.
    pub fn host(self) -> &'r str {
        let named = self.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        named.or_else(|| self.uri.authority().map(|authority| authority.as_str())).unwrap_or_default()
    }

    /// To the proxy before us, as far as we are told. Who lies harms its own cookie only.
    pub fn is_said_to_be_over_tls(self) -> bool {
        let told = |name: &str| self.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_ascii_lowercase);
        told("x-forwarded-proto").is_some_and(|proto| proto.split(',').next_back().is_some_and(|last| last.trim() == "https"))
            || told("forwarded").is_some_and(|forwarded| forwarded.replace('"', "").contains("proto=https"))
    }
}

/// Whose a session is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// Whoever showed the configured token, of which this is the digest.
    Operator([u8; 32]),
    Token(TokenId),
}

/// Stands before every guarded route, of which it knows what it asks.
pub(super) async fn admit(extract::State((state, access)): extract::State<(State, Access)>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().copied();
    let asked = Asked { method: request.method(), uri: request.uri(), headers: request.headers() };
    let admitted = match peer {
        Some(peer) => admitted(&state, access, asked, peer).await,
        None => Err(unauthorized()),
    };
    match admitted {
        Ok((caller, standing)) => {
            request.extensions_mut().insert(caller);
            let mut response = next.run(request).await;
            if let Some(standing) = standing {
                standing.tell(TOKEN, response.headers_mut());
            }
            response
        }
        Err(problem) => {
            if let Some(reason) = Reason::of(&problem) {
                reason.count(&state);
            }
            problem.into_response()
        }
    }
}

/// Why a call is not let in, as the metrics say it. Callers are told less.
#[derive(Clone, Copy)]
pub(super) enum Reason {
    NoToken,
    MalformedToken,
    UnknownToken,
    EndedToken,
    MissingScope,
    BoundToTenant,
    TooManyCalls,
    NotThisMachine,
    NotThroughProxy,
    Handshake,
}

impl Reason {
    /// Of a refusal that was not counted where it was made.
    fn of(problem: &Problem) -> Option<Self> {
        Some(match problem.code() {
            "missing_scope" => Self::MissingScope,
            "bound_to_tenant" => Self::BoundToTenant,
            "too_many_calls" => Self::TooManyCalls,
            "proxied" | "host_not_allowed" | "cross_site" => Self::NotThisMachine,
            _ => return None,
        })
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::NoToken => "no_token",
            Self::MalformedToken => "malformed_token",
            Self::UnknownToken => "unknown_token",
            Self::EndedToken => "ended_token",
            Self::MissingScope => "missing_scope",
            Self::BoundToTenant => "bound_to_tenant",
            Self::TooManyCalls => "too_many_calls",
            Self::NotThisMachine => "not_this_machine",
            Self::NotThroughProxy => "not_through_proxy",
            Self::Handshake => "handshake",
        }
    }

    const ALL: [Self; 10] = [
        Self::NoToken,
        Self::MalformedToken,
        Self::UnknownToken,
        Self::EndedToken,
        Self::MissingScope,
        Self::BoundToTenant,
        Self::TooManyCalls,
        Self::NotThisMachine,
        Self::NotThroughProxy,
        Self::Handshake,
    ];

    /// From zero on, so that the first of a sort is seen as one more.
    pub fn begin_counting(metrics: &Metrics) {
        for reason in Self::ALL {
            metrics.control_refused.with_label_values(&[reason.as_str()]).inc_by(0);
        }
    }

    pub fn count(self, state: &State) {
        state.metrics.control_refused.with_label_values(&[self.as_str()]).inc();
    }
}

/// The bounds on calls, as headers and refusals name them.
const TOKEN: &str = "token";
const ADDRESS: &str = "address";
const FAILURES: &str = "failures";

async fn admitted(state: &State, access: Access, asked: Asked<'_>, peer: Peer) -> Result<(Caller, Option<Standing>), Problem> {
    within_bounds(state, peer)?;
    let caller = recognised(state, access, asked, peer).await?;
    let standing = spend(state, &caller)?;
    caller.admitted_to(access)?;
    Ok((caller, standing))
}

/// One call of the caller's token, if it showed one.
///
/// # Errors
/// When it called too often.
pub(super) fn spend(state: &State, caller: &Caller) -> Result<Option<Standing>, Problem> {
    let (most, now) = (state.in_force().config.calls_per_token, state.clock.now());
    let standing = caller.token().and_then(|token| state.quotas.tokens.spend(token.id.clone(), most, now));
    if let Some(standing) = standing.filter(|standing| standing.is_over) {
        return Err(standing.refusal(TOKEN));
    }
    Ok(standing)
}

/// # Errors
/// When this address calls too often, whatever it shows.
pub(super) fn within_bounds(state: &State, peer: Peer) -> Result<(), Problem> {
    let most = state.in_force().config.calls_per_address;
    let standing = counted(peer.0).and_then(|address| state.quotas.addresses.spend(address, most, state.clock.now()));
    standing.filter(|standing| standing.is_over).map_or(Ok(()), |standing| Err(standing.refusal(ADDRESS)))
}

/// Who calls, whatever it may do.
///
/// # Errors
/// When it is nobody.
pub(super) async fn anybody(state: &State, asked: Asked<'_>, peer: Peer) -> Result<Caller, Problem> {
    within_bounds(state, peer)?;
    recognised(state, Access { scope: Scope::Metrics, within_tenant: true }, asked, peer).await
}

/// Lets nobody in, and not too often. Who shows a good token is not held up by others of its address who do not.
fn failed(state: &State, peer: Peer, reason: Reason) -> Problem {
    let most = state.in_force().config.failures_per_address;
    // Loopback counts here too.
    let address = counted(peer.0).unwrap_or_else(|| peer.0.to_canonical());
    match state.quotas.failures.spend(address, most, state.clock.now()) {
        Some(standing) if standing.is_over => standing.refusal(FAILURES),
        _ => {
            reason.count(state);
            unauthorized()
        }
    }
}

async fn recognised(state: &State, access: Access, asked: Asked<'_>, peer: Peer) -> Result<Caller, Problem> {
    if let Some(shown) = asked.headers.get(header::AUTHORIZATION) {
        let shown = bearer(shown).ok_or_else(|| failed(state, peer, Reason::MalformedToken))?;
        return holder(state, shown, peer).await.map(|(_, caller)| caller);
    }
    match session::caller(state, asked, peer).await? {
        Some(caller) => Ok(caller),
        None => without_token(state, access, asked.headers, peer).await,
    }
}

/// Whose token this is.
///
/// # Errors
/// When it is nobody's, which is counted.
pub(super) async fn holder(state: &State, shown: &str, peer: Peer) -> Result<(Holder, Caller), Problem> {
    let in_force = state.in_force();
    if in_force.gate.is_token(shown) {
        let digest = Sha256::digest(shown).into();
        return Ok((Holder::Operator(digest), Caller::operator(peer, digest)));
    }
    let shown = ShownToken::parse(shown).ok_or_else(|| failed(state, peer, Reason::MalformedToken))?;
    match state.keyring().find(&shown, state.store(), in_force.config.health_deadline(), &state.clock).await? {
        Found::Good(token) => Ok((Holder::Token(token.id.clone()), Caller::holding(token))),
        Found::Ended => Err(failed(state, peer, Reason::EndedToken)),
        Found::Unknown => Err(failed(state, peer, Reason::UnknownToken)),
    }
}

/// Who held a token when its session began, if it is one still.
///
/// # Errors
/// When the store has not said yet which there are.
pub(super) async fn still_holds(state: &State, holder: &Holder, peer: Peer) -> Result<Option<Caller>, Problem> {
    let in_force = state.in_force();
    match holder {
        Holder::Operator(digest) => Ok(in_force.gate.is_digest(digest).then(|| Caller::operator(peer, *digest))),
        Holder::Token(id) => {
            let token = state.keyring().live(id, state.store(), in_force.config.health_deadline(), &state.clock).await?;
            Ok(token.map(Caller::holding))
        }
    }
}

async fn without_token(state: &State, access: Access, headers: &HeaderMap, peer: Peer) -> Result<Caller, Problem> {
    let in_force = state.in_force();
    if in_force.gate.has_token() {
        return Err(failed(state, peer, Reason::NoToken));
    }
    in_force.gate.takes_for_this_machine(headers)?;
    match state.keyring().are_there(state.store(), in_force.config.health_deadline()).await {
        // Once anybody was given a token, everybody needs one.
        Ok(true) => Err(failed(state, peer, Reason::NoToken)),
        Ok(false) => Ok(Caller::this_machine(peer)),
        // A probe of a daemon whose store never answered must be told just that; the metrics are no probe.
        Err(_) if access.scope == Scope::Metrics && access.within_tenant => Ok(Caller::this_machine(peer)),
        Err(problem) => Err(problem),
    }
}

fn bearer(header: &HeaderValue) -> Option<&str> {
    let (scheme, token) = header.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// One answer for a missing, a malformed, a wrong and an ended token.
pub(super) fn unauthorized() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "send a token as `Authorization: Bearer …`")
}

/// What proxies add to a request. One that adds nothing cannot be told from a program; that is why webhook sources, the reason to
/// put a proxy in front, need a token (`Config::goes_with`).
fn is_no_proxy(headers: &HeaderMap) -> Result<(), Problem> {
    let says_so = |name: &str| matches!(name, "forwarded" | "via" | "x-real-ip") || name.starts_with("x-forwarded-");
    if headers.keys().any(|name| says_so(name.as_str())) {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "proxied",
            "the request came through a proxy, and without a token this port answers programs on its own machine only: set control.token \
             (or control.token_file), and let the proxy pass on nothing but /hooks/",
        ));
    }
    Ok(())
}

fn is_no_web_page(headers: &HeaderMap, hosts: &BTreeSet<String>) -> Result<(), Problem> {
    let forbidden = |code, detail: &str| Err(Problem::new(StatusCode::FORBIDDEN, code, detail));
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !hosts.contains(&without_port(host).to_ascii_lowercase()) {
        return forbidden(
            "host_not_allowed",
            "the Host header names neither this machine nor one of control.allowed_hosts; call 127.0.0.1, or add the name there",
        );
    }
    let fetch_site = headers.get("sec-fetch-site").map(|value| value.as_bytes());
    let from_elsewhere = fetch_site.is_some_and(|site| site != b"same-origin" && site != b"none");
    let origin = headers.get(header::ORIGIN).map(|value| value.to_str().unwrap_or_default());
    let foreign_origin = origin.is_some_and(|origin| origin.split_once("://").is_none_or(|(_, authority)| authority != host));
    if from_elsewhere || foreign_origin {
        return forbidden("cross_site", "this port does not answer the pages of other sites");
    }
    Ok(())
}

/// `[::1]:7717` → `[::1]`.
fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !host.is_empty() => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().expect("a header name"), value.parse().expect("a header value"))).collect()
    }

    fn gate(token: Option<&str>) -> Gate {
        let config = Config { allowed_hosts: vec!["Jobs.Internal".into()], ..Config::default() };
        Gate::new(token.map(SecretString::from).as_ref(), &config)
    }

    #[test]
    fn only_the_whole_token_is_the_token() {
        let gate = gate(Some("s3cret-token"));
        let shown = |text: &'static str| bearer(&HeaderValue::from_static(text)).is_some_and(|token| gate.is_token(token));
        assert!(shown("Bearer s3cret-token") && shown("bearer s3cret-token"), "schemes have no case");
        for other in ["", "Bearer", "Bearer ", "Bearer s3cret-toke", "Bearer s3cret-token2", "Basic s3cret-token", "s3cret-token"] {
            assert!(!shown(other), "{other}");
        }
    }

    #[test]
    fn without_token_only_names_of_this_machine_are_answered() {
        let gate = gate(None);
        for host in ["localhost", "LocalHost:7717", "127.0.0.1", "127.0.0.1:80", "[::1]", "[::1]:7717", "jobs.internal:9"] {
            gate.takes_for_this_machine(&headers(&[("host", host)])).unwrap_or_else(|e| panic!("{host}: {e:?}"));
        }
        for host in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "", ":7717", "::1", "localhost:80:80", "127.0.0.2"]
        {
            assert!(gate.takes_for_this_machine(&headers(&[("host", host)])).is_err(), "{host} was admitted");
        }
        assert!(gate.takes_for_this_machine(&HeaderMap::new()).is_err(), "no host at all was admitted");
    }

    #[test]
    fn without_token_a_request_that_came_through_a_proxy_is_refused() {
        let gate = gate(None);
        for name in ["forwarded", "via", "x-real-ip", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"] {
            let problem = gate.takes_for_this_machine(&headers(&[("host", "127.0.0.1:7717"), (name, "1.1.1.1")])).expect_err(name);
            assert_eq!((problem.status(), problem.code()), (StatusCode::FORBIDDEN, "proxied"), "{name}");
            assert!(problem.detail().contains("set control.token"), "{problem:?}");
        }
    }

    #[test]
    fn a_page_of_another_site_is_refused_under_any_host() {
        let gate = gate(None);
        let own = [("host", "localhost:7717"), ("origin", "http://localhost:7717"), ("sec-fetch-site", "same-origin")];
        gate.takes_for_this_machine(&headers(&own)).expect("our own page");
        for (name, value) in
            [("origin", "http://evil.example"), ("origin", "null"), ("sec-fetch-site", "cross-site"), ("sec-fetch-site", "same-site")]
        {
            assert!(
                gate.takes_for_this_machine(&headers(&[("host", "localhost:7717"), (name, value)])).is_err(),
                "{name}: {value} was admitted"
            );
        }
    }
}
