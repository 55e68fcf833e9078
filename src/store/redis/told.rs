//! What became of an attempt, as the library's `settle` reads it.

use super::asked::{follow_up, packed};
use crate::job::{Effect, Json, Settlement, Transition};
use serde::Serialize;

#[derive(Serialize)]
struct Told<'s> {
    verdict: char,
    started_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'s str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    till: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'s str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'s str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint: Option<&'s str>,
    usage: Vec<String>,
    effects: Vec<ToldEffect<'s>>,
    follow_ups: Vec<String>,
}

#[derive(Default, Serialize)]
struct ToldEffect<'s> {
    put: &'static str,
    key: &'s str,
    #[serde(skip_serializing_if = "Option::is_none")]
    collection: Option<&'s str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'s str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'s str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_time: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider_id: Option<&'s str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_ms: Option<u64>,
}

/// What becomes of the job, as the library's `settle` reads it: a plain completion in a few bytes, all else packed.
pub(super) fn verdict(s: &Settlement) -> Vec<u8> {
    let result = s.result.as_ref().map(Json::as_str);
    let is_plain = s.usage.is_empty() && s.effects.is_empty() && s.follow_ups.is_empty();
    if matches!(s.transition, Transition::Complete) && is_plain {
        return [b"c".as_slice(), &s.started_at.0.to_be_bytes(), result.unwrap_or_default().as_bytes()].concat();
    }
    let mut told = Told {
        verdict: 'c',
        started_at: s.started_at.0,
        reason: None,
        till: None,
        token: None,
        error: s.transition.error().map(|error| Json::of(error).as_str().to_owned()),
        result,
        checkpoint: s.checkpoint.as_ref().map(Json::as_str),
        usage: s.usage.iter().map(|usage| Json::of(usage).as_str().to_owned()).collect(),
        effects: s.effects.iter().map(effect).collect(),
        follow_ups: s.follow_ups.iter().map(follow_up).collect(),
    };
    match &s.transition {
        Transition::Complete => {}
        Transition::Retry { at, .. } => (told.verdict, told.till) = ('r', Some(at.0)),
        Transition::Snooze { until } => (told.verdict, told.till) = ('n', Some(until.0)),
        Transition::Dead { reason, .. } => (told.verdict, told.reason) = ('d', Some(*reason)),
        Transition::Cancel { reason } => (told.verdict, told.reason) = ('x', Some(reason.as_str())),
        Transition::Release => told.verdict = 'l',
        Transition::Park { reason, until, token, .. } => {
            (told.verdict, told.reason, told.till, told.token) = ('p', Some(reason.as_str()), Some(until.0), token.as_deref());
        }
    }
    [b"m".as_slice(), &packed(&told)].concat()
}

fn effect(effect: &Effect) -> ToldEffect<'_> {
    match effect {
        Effect::PutRecord { collection, key, value, event_time } => ToldEffect {
            put: "record",
            key,
            collection: Some(collection),
            value: Some(value.as_str()),
            event_time: event_time.map(|t| t.0),
            ..ToldEffect::default()
        },
        Effect::RecordSend { channel, key, provider_id } => {
            ToldEffect { put: "send", key, channel: Some(channel), provider_id: provider_id.as_deref(), ..ToldEffect::default() }
        }
        Effect::PutCache { key, value, ttl_ms } => {
            ToldEffect { put: "cache", key, value: Some(value.as_str()), ttl_ms: Some(*ttl_ms), ..ToldEffect::default() }
        }
    }
}
