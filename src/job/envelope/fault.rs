//! Finds the member at fault in an envelope that could not be read. Good envelopes never come here: they are read in one
//! pass by serde, whose errors know the type they wanted but neither the place nor what a person should do.

use super::{InvalidEnvelope, Limits, OnDuplicate, UniqueFor};
use crate::job::{JobId, Name, Timestamp};
use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;

/// What a member's value must be.
#[derive(Clone, Copy)]
enum Shape {
    Name,
    Names,
    Id,
    Ids,
    Whole,
    Boolean,
    Instant,
    UniqueFor,
    OnDuplicate,
    Text,
    Object,
    Anything,
    Envelope,
}

/// Every member of the envelope.
const MEMBERS: [(&str, Shape); 25] = [
    ("kind", Shape::Name),
    ("payload", Shape::Anything),
    ("id", Shape::Id),
    ("queue", Shape::Name),
    ("tenant", Shape::Name),
    ("priority", Shape::Whole),
    ("run_at", Shape::Instant),
    ("delay_ms", Shape::Whole),
    ("expires_at", Shape::Instant),
    ("timeout_ms", Shape::Whole),
    ("max_attempts", Shape::Whole),
    ("unique_key", Shape::Name),
    ("unique_for", Shape::UniqueFor),
    ("on_duplicate", Shape::OnDuplicate),
    ("debounce_max_ms", Shape::Whole),
    ("idempotency_key", Shape::Text),
    ("concurrency_key", Shape::Name),
    ("ordered", Shape::Boolean),
    ("tags", Shape::Names),
    ("event_time", Shape::Instant),
    ("after", Shape::Ids),
    ("on_success", Shape::Envelope),
    ("on_failure", Shape::Envelope),
    ("account", Shape::Anything),
    ("meta", Shape::Object),
];

const REQUIRED: [&str; 2] = ["kind", "payload"];

/// The range of a whole number, as it is told to people.
pub(super) fn range(member: &str) -> String {
    match member {
        "priority" => format!("must be 0 (first) to {} (last)", Limits::PRIORITY),
        "delay_ms" | "debounce_max_ms" => format!("must be 0 to {} (ten years)", Limits::DELAY_MS),
        "timeout_ms" => format!("must be 1 to {} (24 hours)", Limits::TIMEOUT_MS),
        _ => format!("must be 1 to {}", Limits::MAX_ATTEMPTS),
    }
}

/// Counts brackets outside strings before any recursive parser sees the text, so that a nesting bomb costs one pass.
pub(super) fn refuse_deep_nesting(text: &str) -> Result<(), InvalidEnvelope> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                // One level is the envelope's own.
                if depth > Limits::NESTING + 1 {
                    let message = format!("nested deeper than {} levels; flatten it", Limits::NESTING);
                    return Err(InvalidEnvelope::new("", "too_large", message));
                }
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// Why `text` is no envelope; `error` is what serde made of it, whose own verdict on *JSON or not* cannot be trusted (it
/// calls `"on_duplicate": 7` a syntax error).
pub(super) fn explain(text: &str, error: &serde_json::Error) -> InvalidEnvelope {
    match serde_json::from_str::<&RawValue>(text) {
        Ok(value) => in_object(value.get(), "").unwrap_or_else(|| InvalidEnvelope::new("", "wrong_type", error.to_string())),
        Err(error) => not_json("", &error),
    }
}

fn not_json(at: &str, error: &serde_json::Error) -> InvalidEnvelope {
    InvalidEnvelope::new(at, "not_json", format!("not valid JSON: {error}"))
}

/// The first fault among the members of the envelope `text`, which stands at the pointer `at`.
fn in_object(text: &str, at: &str) -> Option<InvalidEnvelope> {
    let Members(members) = match serde_json::from_str(text) {
        Ok(members) => members,
        // A name that is no text, such as half a surrogate pair.
        Err(error) if text.starts_with('{') => return Some(not_json(at, &error)),
        Err(_) => {
            let message = "an envelope is a JSON object with at least `kind` and `payload`";
            return Some(InvalidEnvelope::new(at, "wrong_type", message));
        }
    };
    for (position, (name, value)) in members.iter().enumerate() {
        let pointer = format!("{at}/{}", escaped(name));
        if members[..position].iter().any(|(earlier, _)| earlier == name) {
            return Some(InvalidEnvelope::new(pointer, "conflict", format!("`{}` is there twice; send it once", shown(name))));
        }
        let Some((member, shape)) = MEMBERS.into_iter().find(|(member, _)| member == name) else {
            return Some(InvalidEnvelope::new(pointer, "unknown_member", format!("unknown member `{}`; {}", shown(name), nearest(name))));
        };
        let may_be_null = !REQUIRED.contains(&member);
        if may_be_null && value.get() == "null" {
            continue;
        }
        if let Some(fault) = in_value(member, shape, value, &pointer) {
            return Some(fault);
        }
    }
    let missing = REQUIRED.into_iter().find(|required| members.iter().all(|(name, _)| name != required))?;
    Some(InvalidEnvelope::new(format!("{at}/{missing}"), "wrong_type", format!("`{missing}` is required")))
}

fn in_value(member: &str, shape: Shape, value: &RawValue, at: &str) -> Option<InvalidEnvelope> {
    let text = value.get();
    let wrong = |message: &str| Some(InvalidEnvelope::new(at, "wrong_type", message));
    match shape {
        Shape::Anything => None,
        Shape::Envelope => in_object(text, at),
        Shape::Names | Shape::Ids => {
            let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(text) else { return wrong("must be a list of strings") };
            let each = if matches!(shape, Shape::Names) { Shape::Name } else { Shape::Id };
            items.iter().enumerate().find_map(|(index, item)| in_value(member, each, item, &format!("{at}/{index}")))
        }
        Shape::Whole if reads::<u64>(text) && member != "priority" && member != "max_attempts" => None,
        Shape::Whole if reads::<u8>(text) || member == "max_attempts" && reads::<u32>(text) => None,
        Shape::Whole if reads::<i64>(text) || reads::<u64>(text) => Some(InvalidEnvelope::new(at, "out_of_range", range(member))),
        Shape::Whole => wrong(&format!("{}, a whole number", range(member))),
        Shape::Boolean => (!reads::<bool>(text)).then(|| wrong("must be true or false"))?,
        Shape::Object => (!reads::<std::collections::BTreeMap<String, &RawValue>>(text)).then(|| wrong("must be an object"))?,
        Shape::Name | Shape::Id | Shape::Instant | Shape::UniqueFor | Shape::OnDuplicate | Shape::Text => {
            match serde_json::from_str::<String>(text) {
                Ok(said) => in_string(shape, &said).map(|(code, message)| InvalidEnvelope::new(at, code, message)),
                Err(error) if text.starts_with('"') => Some(not_json(at, &error)),
                Err(_) => wrong("must be a string"),
            }
        }
    }
}

/// What is wrong with the text of a string member.
fn in_string(shape: Shape, said: &str) -> Option<(&'static str, String)> {
    match shape {
        Shape::Name => Name::new(said).err().map(|error| ("bad_name", error.to_string())),
        Shape::Id => said.parse::<JobId>().err().map(|_| ("wrong_type", format!("`{}` is not a UUID; mint a UUIDv7", shown(said)))),
        Shape::Instant => Timestamp::parse(said).err().map(|error| ("wrong_type", error.to_string())),
        Shape::UniqueFor => UniqueFor::parse(said).err().map(|error| ("wrong_type", error)),
        Shape::OnDuplicate => {
            let known = OnDuplicate::deserialize(de::value::StrDeserializer::<de::value::Error>::new(said)).is_ok();
            (!known).then(|| ("wrong_type", format!("`{}` is none of return, replace, reject, debounce", shown(said))))
        }
        _ => None,
    }
}

fn reads<'a, T: Deserialize<'a>>(text: &'a str) -> bool {
    serde_json::from_str::<T>(text).is_ok()
}

/// As much of what a producer sent as belongs into a sentence.
fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

/// RFC 6901.
fn escaped(name: &str) -> String {
    shown(name).replace('~', "~0").replace('/', "~1")
}

fn nearest(member: &str) -> String {
    // A name of a megabyte is compared with nothing.
    let likeness = |known: &str| if member.len() > 64 { 0.0 } else { strsim::jaro_winkler(known, member) };
    let best = MEMBERS.iter().map(|(known, _)| *known).max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match best {
        Some(best) if likeness(best) > 0.75 => format!("did you mean `{best}`?"),
        _ => "only the members of the envelope are accepted; put your own data into `payload` or `meta`".into(),
    }
}

/// The members of an object in the order they were sent, repeated ones included.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}
