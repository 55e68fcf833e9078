//! What a JSON Schema says at one place: references followed, `allOf` folded in, the kinds it allows.

use serde_json::{Map, Value, json};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    Array,
    String,
    Number,
    Integer,
    Boolean,
    Null,
}

/// Steps from one `$ref` to the next that are followed before the schema is taken to go in circles.
const REFERENCES: usize = 16;

/// `schema` without `$ref` and `allOf` at its top: what they say is folded in, its own members win.
pub(super) fn resolved(root: &Value, schema: &Value) -> Value {
    let mut schema = schema.clone();
    for _ in 0..REFERENCES {
        let Some(members) = schema.as_object_mut() else { return schema };
        if let Some(Value::String(reference)) = members.remove("$ref") {
            let target = reference.strip_prefix('#').and_then(|pointer| root.pointer(&unescaped(pointer))).cloned();
            schema = folded(schema, target.unwrap_or(json!({})));
        } else if let Some(Value::Array(parts)) = members.remove("allOf") {
            schema = parts.into_iter().fold(schema, |whole, part| folded(whole, resolved_once(root, part)));
        } else {
            return schema;
        }
    }
    schema
}

fn resolved_once(root: &Value, part: Value) -> Value {
    match part.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix('#')) {
        Some(pointer) => folded(part.clone(), root.pointer(&unescaped(pointer)).cloned().unwrap_or(json!({}))),
        None => part,
    }
}

/// A pointer in a URI fragment may have its characters as `%xx`.
fn unescaped(pointer: &str) -> String {
    if !pointer.contains('%') {
        return pointer.to_owned();
    }
    url::form_urlencoded::parse(format!("p={}", pointer.replace('+', "%2B")).as_bytes())
        .next()
        .map_or_else(|| pointer.to_owned(), |(_, value)| value.into_owned())
}

/// `own` with what `other` adds: members of objects united, required lists joined, the own word kept otherwise.
fn folded(own: Value, other: Value) -> Value {
    let (Value::Object(mut own), Value::Object(other)) = (own.clone(), other) else { return own };
    own.remove("$ref");
    for (member, theirs) in other {
        let merged = match (member.as_str(), own.remove(&member)) {
            (_, None) => theirs,
            ("properties" | "$defs", Some(Value::Object(ours))) => united(ours, theirs),
            ("required" | "allOf", Some(Value::Array(ours))) => joined(ours, theirs),
            (_, Some(ours)) => ours,
        };
        own.insert(member, merged);
    }
    Value::Object(own)
}

fn united(mut ours: Map<String, Value>, theirs: Value) -> Value {
    if let Value::Object(theirs) = theirs {
        for (name, schema) in theirs {
            ours.entry(name).or_insert(schema);
        }
    }
    Value::Object(ours)
}

fn joined(mut ours: Vec<Value>, theirs: Value) -> Value {
    if let Value::Array(theirs) = theirs {
        ours.extend(theirs);
    }
    Value::Array(ours)
}

/// The alternatives of `anyOf` or `oneOf`.
pub(super) fn branches(schema: &Value) -> Option<&Vec<Value>> {
    schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array).filter(|branches| !branches.is_empty())
}

/// One alternative with what is said beside it.
pub(super) fn merged(schema: &Value, branch: &Value, root: &Value) -> Value {
    let mut beside = schema.clone();
    if let Some(members) = beside.as_object_mut() {
        let taken = if members.contains_key("anyOf") { "anyOf" } else { "oneOf" };
        members.remove(taken);
    }
    match resolved(root, branch) {
        Value::Object(branch) => folded(Value::Object(branch), beside),
        other => other,
    }
}

/// The kinds that a value may be of, the one that says most first. Where `type` is missing the other words tell.
pub(super) fn kinds(schema: &Value) -> Vec<Kind> {
    if schema == &Value::Bool(false) {
        return vec![Kind::Null];
    }
    let named: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => return vec![implied(schema)],
    };
    let all = [
        ("object", Kind::Object),
        ("array", Kind::Array),
        ("integer", Kind::Integer),
        ("number", Kind::Number),
        ("string", Kind::String),
        ("boolean", Kind::Boolean),
        ("null", Kind::Null),
    ];
    let kinds: Vec<Kind> = all.into_iter().filter(|(name, _)| named.contains(name)).map(|(_, kind)| kind).collect();
    if kinds.is_empty() { vec![Kind::String] } else { kinds }
}

fn implied(schema: &Value) -> Kind {
    let has = |members: &[&str]| members.iter().any(|member| schema.get(member).is_some());
    if has(&["properties", "required", "additionalProperties", "patternProperties", "minProperties"]) {
        Kind::Object
    } else if has(&["items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains"]) {
        Kind::Array
    } else if has(&["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"]) {
        Kind::Number
    } else {
        Kind::String
    }
}

/// Whether `value` is valid against the part `schema` of `root`, formats included.
pub(super) fn accepts(root: &Value, schema: &Value, value: &Value) -> bool {
    let mut whole = schema.clone();
    if let (Some(members), Some(root)) = (whole.as_object_mut(), root.as_object()) {
        for definitions in ["$defs", "definitions", "$schema"] {
            if let Some(given) = root.get(definitions) {
                members.entry(definitions).or_insert_with(|| given.clone());
            }
        }
    }
    jsonschema::options().should_validate_formats(true).build(&whole).is_ok_and(|validator| validator.is_valid(value))
}

/// The words of a schema that one value without members can be checked by; cheap to compile again and again.
pub(super) fn scalar(schema: &Value) -> Option<jsonschema::Validator> {
    const WORDS: [&str; 10] =
        ["type", "format", "pattern", "minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"];
    let words: Map<String, Value> =
        WORDS.into_iter().filter_map(|word| schema.get(word).map(|value| (word.to_owned(), value.clone()))).collect();
    jsonschema::options().should_validate_formats(true).build(&Value::Object(words)).ok()
}
