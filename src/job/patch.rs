//! A payload changed by a JSON Patch (RFC 6902). A few bytes of patch can ask for a document without end, by copying what they copied, or
//! for one that is too deep to be read again, by moving: each step is weighed before it is done.

use super::{InvalidEnvelope, Json, Limits};
use json_patch::{Patch, PatchOperation};
use serde_json::Value;

/// More is a new payload, not a change of one.
const MOST_STEPS: usize = 100;

/// # Errors
/// When it does not fit the payload, or would make more of it than any door takes.
pub(super) fn patched(payload: &Json, patch: &Patch, limits: Limits) -> Result<Json, InvalidEnvelope> {
    let mut value: Value = payload.read().map_err(|e| refused(format!("the payload cannot be read: {e}")))?;
    if !keeps_numbers(payload.as_str()) {
        return Err(refused("the payload has numbers of more digits than a patch would keep; send a whole payload"));
    }
    if patch.0.len() > MOST_STEPS {
        return Err(refused(format!("at most {MOST_STEPS} steps; send a whole payload")));
    }
    let mut room = 2 * limits.payload_bytes.min(Limits::PAYLOAD_HARD);
    for step in &patch.0 {
        if let Some((at, brought)) = brought(&value, step) {
            let depth = at.matches('/').count() + depth(brought);
            if depth > Limits::NESTING {
                return Err(refused(format!("the payload would be nested deeper than {}", Limits::NESTING)));
            }
            // What is moved is there already.
            let weight = if matches!(step, PatchOperation::Move(_)) { 0 } else { weight(brought, room) };
            room = room.checked_sub(weight).ok_or_else(|| refused("it would make the payload larger than any door takes"))?;
        }
        json_patch::patch(&mut value, &Patch(vec![step.clone()])).map_err(|e| refused(e.to_string()))?;
    }
    Ok(Json::of(&value))
}

fn refused(message: impl Into<String>) -> InvalidEnvelope {
    InvalidEnvelope::new("/patch", "does_not_fit", message)
}

/// What a step puts into the payload, and where.
fn brought<'v>(value: &'v Value, step: &'v PatchOperation) -> Option<(&'v str, &'v Value)> {
    Some(match step {
        PatchOperation::Add(add) => (add.path.as_str(), &add.value),
        PatchOperation::Replace(replace) => (replace.path.as_str(), &replace.value),
        PatchOperation::Copy(copy) => (copy.path.as_str(), value.pointer(copy.from.as_str())?),
        PatchOperation::Move(step) => (step.path.as_str(), value.pointer(step.from.as_str())?),
        PatchOperation::Remove(_) | PatchOperation::Test(_) => return None,
    })
}

/// About as many bytes as its text has; no further than `most`, and one more.
fn weight(value: &Value, most: usize) -> usize {
    let mut all = 0_usize;
    let mut left = vec![value];
    while let Some(value) = left.pop() {
        all += match value {
            Value::String(text) => text.len() + 2,
            Value::Array(items) => {
                left.extend(items);
                2 + items.len()
            }
            Value::Object(members) => {
                left.extend(members.values());
                2 + members.keys().map(|name| name.len() + 4).sum::<usize>()
            }
            _ => 4,
        };
        if all > most {
            return most.saturating_add(1);
        }
    }
    all
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Whether every number comes out of a reader as it went in: no more than 15 digits, or a whole number that fits.
fn keeps_numbers(text: &str) -> bool {
    let mut in_text = false;
    let mut number = String::new();
    let mut escaped = false;
    for c in text.chars().chain([' ']) {
        if in_text {
            (in_text, escaped) = (escaped || c != '"', !escaped && c == '\\');
        } else if matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E') && (c != 'e' || !number.is_empty()) {
            number.push(c);
        } else {
            let digits = number.split(['e', 'E']).next().unwrap_or_default().bytes().filter(u8::is_ascii_digit).count();
            if digits > 15 && number.parse::<i64>().is_err() && number.parse::<u64>().is_err() {
                return false;
            }
            number.clear();
            in_text = c == '"';
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(payload: &str, patch: &str) -> Result<String, InvalidEnvelope> {
        let patch: Patch = serde_json::from_str(patch).expect("a patch");
        patched(&Json::parse(payload).expect("JSON"), &patch, Limits::default()).map(|made| made.as_str().to_owned())
    }

    #[test]
    fn patch_that_copies_what_it_copied_is_stopped_before_it_is_large() {
        let step = r#",{"op":"copy","from":"","path":"/-"}"#;
        let patch = |n: usize| format!(r#"[{{"op":"add","path":"","value":["x"]}}{}]"#, step.repeat(n));
        assert_eq!(tried("1", &patch(1)).expect("small"), r#"["x",["x"]]"#);
        assert_eq!(tried("1", &patch(60)).expect_err("2^60 values").code, "does_not_fit");
    }

    #[test]
    fn patch_that_moves_the_payload_into_itself_is_stopped_before_it_is_deep() {
        let deep = format!("{}{}", "[".repeat(40), "]".repeat(40));
        let inner = "/0".repeat(39);
        let patch = format!(
            r#"[{{"op":"add","path":"/b","value":{deep}}},{{"op":"move","from":"/a","path":"/b{inner}/-"}},{{"op":"move","from":"/b","path":"/a"}}]"#
        );
        assert!(tried(&format!(r#"{{"a":{deep}}}"#), &patch).expect_err("80 deep").message.contains("nested deeper"));
    }

    #[test]
    fn patch_of_more_steps_than_anybody_writes_is_refused() {
        let step = r#"{"op":"test","path":"","value":1}"#;
        let patch = |n: usize| format!("[{}]", vec![step; n].join(","));
        assert!(tried("1", &patch(100)).is_ok() && tried("1", &patch(101)).is_err());
    }

    #[test]
    fn patch_that_would_cut_a_number_is_known() {
        for kept in [
            "{\"a\":1.5,\"b\":-12e3}",
            "[18446744073709551615]",
            "\"1234567890.12345678901\"",
            "{\"x\\\"1.23456789012345678\":true}",
            "null",
        ] {
            assert!(keeps_numbers(kept), "{kept}");
        }
        for cut in ["1.2345678901234567", "[1,184467440737095516159]", "{\"a\":123456789012345.67}"] {
            assert!(!keeps_numbers(cut), "{cut}");
        }
    }
}
