//! CloudEvents 1.0 as a form of enqueueing, in all three modes of its HTTP binding
//! (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md>). An event becomes the envelope of a job: its
//! type is the kind, its data the payload, its attributes stand in `meta.ce`. The same event again, by source and id, is the same job.

use super::{Problem, bulk, wire::ItemError};
use crate::job::{InvalidEnvelope, Name};
use axum::http::{HeaderMap, HeaderValue, header};
use percent_encoding::percent_decode;
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor},
};
use serde_json::value::{RawValue, to_raw_value};
use sha2::{Digest as _, Sha256};
use std::{collections::BTreeMap, fmt};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Attributes in headers, data in the body.
    Binary,
    /// The event as JSON.
    Structured,
    /// An array of events.
    Batch,
}

/// None: it is no event.
pub(super) fn mode(headers: &HeaderMap) -> Option<Mode> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "application/cloudevents+json" => Some(Mode::Structured),
        "application/cloudevents-batch+json" => Some(Mode::Batch),
        _ => headers.contains_key("ce-specversion").then_some(Mode::Binary),
    }
}

type Members = BTreeMap<String, Box<RawValue>>;

/// No event has so many attributes, and what stands behind the first too many is not read.
const MOST_MEMBERS: usize = 64;

/// An event as it was sent.
struct Sent(Members);

impl<'de> Deserialize<'de> for Sent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Members::new();
                while let Some((name, value)) = map.next_entry()? {
                    members.insert(name, value);
                    if members.len() > MOST_MEMBERS {
                        return Err(de::Error::custom(format!("more than {MOST_MEMBERS} attributes")));
                    }
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Object).map(Self)
    }
}

/// The envelope, or the array of envelopes, that was sent as events.
///
/// # Errors
/// What is wrong with the events as such; what is wrong with the envelopes is said when they are checked.
pub(super) fn envelopes(mode: Mode, headers: &HeaderMap, body: &[u8]) -> Result<Vec<u8>, Problem> {
    let text = std::str::from_utf8(body).map_err(|_| fault("", "not_json", "the body is not UTF-8; send JSON in UTF-8"))?;
    let not_json = |error: serde_json::Error| fault("", "not_json", format!("not JSON of a CloudEvent: {error}"));
    let envelopes = match mode {
        Mode::Binary => to_raw_value(&envelope(in_headers(headers, text)?)?),
        Mode::Structured => to_raw_value(&envelope(serde_json::from_str::<Sent>(text).map_err(not_json)?.0)?),
        Mode::Batch => {
            let (mut made, mut errors) = (Vec::new(), Vec::new());
            for (index, event) in bulk::split(text)?.into_iter().enumerate() {
                match serde_json::from_str::<Sent>(event.get()).map_err(not_json).and_then(|event| envelope(event.0)) {
                    Ok(envelope) => made.push(envelope),
                    Err(error) => errors.push(ItemError::at(index, error)),
                }
            }
            if !errors.is_empty() {
                return Err(Problem::invalid(errors));
            }
            to_raw_value(&made)
        }
    };
    envelopes.map(|raw| Box::<str>::from(raw).into_boxed_bytes().into_vec()).map_err(|error| not_json(error).into())
}

fn fault(pointer: &str, code: &'static str, message: impl Into<String>) -> InvalidEnvelope {
    InvalidEnvelope::new(pointer, code, message)
}

/// Binary mode: header values are percent-encoded UTF-8.
fn in_headers(headers: &HeaderMap, data: &str) -> Result<Members, InvalidEnvelope> {
    let mut event = Members::new();
    for (name, value) in headers {
        if let Some(attribute) = name.as_str().strip_prefix("ce-") {
            event.insert(attribute.to_owned(), text(&decoded(attribute, value)?));
        }
    }
    if !data.trim().is_empty() {
        let data = serde_json::from_str(data).map_err(|error| {
            fault("/data", "not_json", format!("an event's data must be JSON: {error}; or send the event as application/cloudevents+json"))
        })?;
        event.insert("data".into(), data);
    }
    Ok(event)
}

fn decoded(attribute: &str, value: &HeaderValue) -> Result<String, InvalidEnvelope> {
    let text = percent_decode(value.as_bytes()).decode_utf8();
    let text = text.map_err(|_| fault(&format!("/{attribute}"), "wrong_type", "a header of an event is percent-encoded UTF-8"))?;
    Ok(text.trim_matches('"').to_owned())
}

/// The envelope of one event.
fn envelope(mut event: Members) -> Result<Members, InvalidEnvelope> {
    let data = match (event.remove("data"), event.remove("data_base64")) {
        (Some(_), Some(_)) => return Err(fault("/data_base64", "conflict", "an event has `data` or `data_base64`")),
        (Some(data), None) => data,
        (None, Some(data)) => to_raw_value(&BTreeMap::from([("data_base64", data)])).unwrap_or_default(),
        (None, None) => to_raw_value(&()).unwrap_or_default(),
    };
    if required(&event, "specversion")? != "1.0" {
        return Err(fault("/specversion", "out_of_range", "this port takes CloudEvents 1.0"));
    }
    let (id, source, kind) = (required(&event, "id")?, required(&event, "source")?, required(&event, "type")?);
    Name::new(&kind).map_err(|error| fault("/type", "bad_name", error.to_string()))?;
    let identity = Sha256::digest(format!("{source}\0{id}"));
    let mut envelope = Members::from([
        ("kind".into(), text(&kind)),
        ("payload".into(), data),
        ("idempotency_key".into(), text(&format!("ce:{}", hex::encode(identity)))),
    ]);
    // Our own, as extension attributes have to be called.
    for (attribute, member) in [("time", "event_time"), ("queue", "queue"), ("tenant", "tenant"), ("concurrencykey", "concurrency_key")] {
        if let Some(value) = event.get(attribute) {
            envelope.insert(member.into(), value.clone());
        }
    }
    if let Some(priority) = event.get("priority") {
        // Headers know no numbers.
        let number = priority.get().trim_matches('"').parse::<u8>();
        let number = number.map_err(|_| fault("/priority", "wrong_type", "must be a number from 0, first, to 9, last"))?;
        envelope.insert("priority".into(), to_raw_value(&number).unwrap_or_default());
    }
    let meta = BTreeMap::from([("ce", event)]);
    envelope.insert("meta".into(), to_raw_value(&meta).unwrap_or_default());
    Ok(envelope)
}

fn required(event: &Members, attribute: &str) -> Result<String, InvalidEnvelope> {
    let value = event.get(attribute).and_then(|raw| serde_json::from_str::<String>(raw.get()).ok()).filter(|value| !value.is_empty());
    value.ok_or_else(|| fault(&format!("/{attribute}"), "missing", format!("an event needs `{attribute}`, a text that is not empty")))
}

fn text(text: &str) -> Box<RawValue> {
    to_raw_value(text).unwrap_or_default()
}
