//! What the drivers have in common: how a job's row says things, and what a schedule's former rule owes.

use super::{Error, Page, Result};
use crate::job::{
    AuditPlace, Audited, Extra, InvalidEnvelope, JobId, Json, LiveLimits, NewJob, SeenDaemon, Settings, Timestamp, Token, TokenId,
    UniqueFor,
    schedule::{Plan, Rule, Schedule, ScheduleState, plan},
};
use sha2::{Digest as _, Sha256};

/// How long a unique key is held, as the rows call it.
pub(super) const fn held_word(held: &UniqueFor) -> &'static str {
    match held {
        UniqueFor::UntilFinished => "finished",
        UniqueFor::UntilStarted => "started",
        UniqueFor::Window(_) => "window",
    }
}

/// The end of a window that begins now.
pub(super) fn held_until(held: &UniqueFor, now: Timestamp) -> i64 {
    match held {
        UniqueFor::Window(window) => now.plus(*window).0,
        _ => 0,
    }
}

/// What makes it the same body: everything the producer said, but not the id it said it under.
pub(super) fn fingerprint(job: &NewJob) -> [u8; 16] {
    let mut body = job.clone();
    body.id = JobId(uuid::Uuid::nil());
    body.id_is_producers = false;
    forget_minted(&mut body);
    let digest = Sha256::digest(Json::of(&body).as_str().as_bytes());
    let mut short = [0; 16];
    short.copy_from_slice(&digest[..16]);
    short
}

/// Follow-ups get an id when they are read; the same text read twice must not differ by it.
fn forget_minted(job: &mut NewJob) {
    for follow_up in [&mut job.extra.on_success, &mut job.extra.on_failure].into_iter().flatten() {
        if !follow_up.id_is_producers {
            follow_up.id = JobId(uuid::Uuid::nil());
        }
        forget_minted(follow_up);
    }
}

pub(super) fn extra_text(extra: &Extra) -> Option<String> {
    (!extra.is_empty()).then(|| Json::of(extra).as_str().to_owned())
}

/// Of a job that becomes another: what it made stays what it made.
pub(super) fn extra_with_children_of(old: Option<&str>, new: &Extra) -> Option<String> {
    let old: Extra = old.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    extra_text(&Extra { children: old.children, ..new.clone() })
}

/// Milliseconds as a row holds them.
pub(super) fn ms(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

/// What this machine calls itself.
#[must_use]
pub fn hostname() -> String {
    let mut name = [0_u8; 256];
    // SAFETY: the buffer is as long as it is said to be.
    let done = unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len()) } == 0;
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    if done { String::from_utf8_lossy(&name[..end]).into_owned() } else { "localhost".into() }
}

/// Steps of planning for a rule that is given up: a hundred thousand instants, some hundred milliseconds.
pub(super) const STEPS_OWED: usize = 10;

/// What a rule that is given up owes still up to now, as far as it can be known: nothing of one that is no rule any more.
pub(super) fn owed(former: &ScheduleState, now: Timestamp) -> Option<Plan> {
    let planned = std::panic::catch_unwind(|| {
        let timetable = former.schedule.check().ok()?;
        plan(former, &timetable, now).ok().flatten()
    });
    planned.ok().flatten()
}

/// Where a page of the audit begins.
pub(super) fn place_of(cursor: Option<&str>) -> Result<Option<AuditPlace>> {
    let place = cursor.map(str::parse).transpose();
    place.map_err(|error: crate::job::InvalidPlace| Error::Invalid {
        index: 0,
        error: InvalidEnvelope::new("/cursor", "bad_cursor", error.to_string()),
    })
}

impl Page<Audited> {
    /// Of rows that were asked for up to `limit`: fewer are the last.
    pub(super) fn of_audit(items: Vec<Audited>, limit: usize) -> Self {
        let next = if items.len() < limit { None } else { items.last().map(|row| row.place().to_string()) };
        Self { items, next, ..Self::default() }
    }
}

/// A rule is a line.
const RULE_CHARS: usize = 100;

/// What the audit says of a schedule that is put. None: it is there as it is.
pub(super) fn schedule_words(old: Option<&ScheduleState>, new: &Schedule) -> Option<String> {
    let rule = |schedule: &Schedule| match &schedule.rule {
        Rule::Every { every_ms, .. } => format!("every {every_ms} ms"),
        Rule::Cron { cron, tz } => format!("{cron} {tz}").chars().take(RULE_CHARS).collect(),
    };
    match old {
        None => Some(format!("made: {}", rule(new))),
        Some(old) if old.schedule.rule != new.rule => Some(format!("rule: {} -> {}", rule(&old.schedule), rule(new))),
        Some(old) if Json::of(&old.schedule).as_str() != Json::of(new).as_str() => {
            Some("its rule stays, its job or options changed".to_owned())
        }
        Some(_) => None,
    }
}

/// What is in force once `settings` are configured over the stored ones. Those that cannot be read stop no daemon: they are written anew.
pub(super) fn over_stored(settings: &Settings, stored: Option<&str>) -> Settings {
    let stored = stored.map_or_else(|| Ok(Settings::default()), serde_json::from_str).unwrap_or_else(|error| {
        tracing::error!(%error, "the stored settings cannot be read and are written anew; limits that were changed live are lost");
        Settings::default()
    });
    settings.clone().under_live(&stored)
}

/// How the audit calls a change of limits, or their lifting.
pub(super) const fn limits_action(limits: Option<&LiveLimits>) -> &'static str {
    if limits.is_some() { "set_limits" } else { "unset_limits" }
}

/// What the audit says of a token that is made.
pub(super) fn token_words(token: &Token) -> String {
    let scopes: Vec<&str> = token.scopes.iter().map(|scope| scope.as_str()).collect();
    let of = token.tenant.as_ref().map(|tenant| format!(" of tenant {tenant}")).unwrap_or_default();
    format!("{}: {}{of}", token.name, scopes.join(", "))
}

/// What the audit says of a token's end.
pub(super) fn token_end_words(at: Timestamp) -> String {
    if at == Token::REVOKED { "at once".to_owned() } else { at.to_string() }
}

pub(super) fn token_is_there(id: &TokenId) -> Error {
    Error::NotAllowed(format!("token {id} is there already; make another"))
}

/// One that cannot be read lets nobody in, and keeps no other's holder out.
pub(super) fn token_of(id: &str, text: &str, end: Option<Timestamp>) -> Option<Token> {
    let read = serde_json::from_str::<Token>(text)
        .inspect_err(|error| tracing::error!(%error, "a stored token cannot be read, and lets nobody in"));
    match read {
        Ok(token) => Some(Token { expires_at: end, ..token }),
        Err(_) => id.parse().ok().map(Token::unreadable),
    }
}

/// What a daemon of another release says may not be readable; it is not shown then.
pub(super) fn seen_daemon(text: &str, seen_at: Timestamp, until: Timestamp) -> Option<SeenDaemon> {
    let read = serde_json::from_str(text).inspect_err(|error| tracing::warn!(%error, "what a daemon says of itself cannot be read"));
    Some(SeenDaemon { daemon: read.ok()?, seen_at, until })
}
