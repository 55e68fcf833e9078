//! Whether a schema lies in the subset that OpenAI's `strict: true` takes (reference: providers 1.1). A schema outside it is
//! sent with `strict: false`; the answer is checked against the full schema in either case.

use serde_json::{Map, Value};

/// Nesting that the provider takes; deeper schemas are refused there.
const MAX_DEPTH: usize = 10;
/// The provider stops at 120,000 characters of names and values and at 5,000 properties; a text this short has neither.
const MAX_BYTES: usize = 40_000;
/// Values of all enums together.
const MAX_ENUM_VALUES: usize = 1000;
const UNSUPPORTED: [&str; 9] =
    ["allOf", "oneOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "patternProperties"];

pub(super) fn conforms(schema: &str) -> bool {
    schema.len() <= MAX_BYTES && serde_json::from_str(schema).is_ok_and(|schema| within(&schema) && enum_values(&schema) <= MAX_ENUM_VALUES)
}

/// The rules that are about the schema's shape.
fn within(schema: &Value) -> bool {
    schema["type"] == "object" && schema.get("anyOf").is_none() && node(schema, 1)
}

fn is_object(schema: &Map<String, Value>) -> bool {
    match schema.get("type") {
        Some(Value::String(name)) => name == "object",
        Some(Value::Array(names)) => names.iter().any(|name| name == "object"),
        _ => schema.contains_key("properties"),
    }
}

fn node(schema: &Value, depth: usize) -> bool {
    let Some(schema) = schema.as_object() else { return false };
    if depth > MAX_DEPTH || UNSUPPORTED.iter().any(|word| schema.contains_key(*word)) {
        return false;
    }
    let closed = !is_object(schema) || (schema.get("additionalProperties") == Some(&Value::Bool(false)) && all_required(schema));
    let children = ["properties", "$defs", "definitions"].iter().filter_map(|word| schema.get(*word)?.as_object()).flat_map(Map::values);
    let branches = schema.get("anyOf").and_then(Value::as_array).into_iter().flatten();
    closed && children.chain(branches).chain(schema.get("items")).all(|child| node(child, depth + 1))
}

fn enum_values(value: &Value) -> usize {
    match value {
        Value::Object(members) => {
            let own = members.get("enum").and_then(Value::as_array).map_or(0, Vec::len);
            own + members.values().map(enum_values).sum::<usize>()
        }
        Value::Array(items) => items.iter().map(enum_values).sum(),
        _ => 0,
    }
}

fn all_required(schema: &Map<String, Value>) -> bool {
    let required = schema.get("required").and_then(Value::as_array);
    let is_required = |name: &String| required.is_some_and(|names| names.iter().any(|n| n == name));
    schema.get("properties").and_then(Value::as_object).is_none_or(|properties| properties.keys().all(is_required))
}

#[cfg(test)]
mod tests {
    use super::{conforms, within};
    use serde_json::json;

    #[test]
    fn a_schema_beyond_the_providers_counts_is_not_strict() {
        let listing = |values: usize| {
            let values: Vec<usize> = (0..values).collect();
            json!({"type": "object", "additionalProperties": false, "required": ["a"], "properties": {"a": {"enum": values}}}).to_string()
        };
        assert!(conforms(&listing(1000)));
        assert!(!conforms(&listing(1001)));
        assert!(!conforms(&format!("{}{}", listing(1), " ".repeat(40_000))));
    }

    #[test]
    fn only_closed_objects_with_every_property_required_are_strict() {
        let closed =
            json!({"type": "object", "additionalProperties": false, "required": ["a"], "properties": {"a": {"type": ["number", "null"]}}});
        assert!(within(&closed));
        assert!(within(
            &json!({"type": "object", "additionalProperties": false, "required": ["l"], "properties": {"l": {"type": "array", "items": closed}}})
        ));
        for loose in [
            json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}),
            json!({"type": "object", "additionalProperties": false, "properties": {"a": {"type": "string"}}}),
            json!({"type": "object", "additionalProperties": false, "required": ["a"], "properties": {"a": {"type": "object"}}}),
            json!({"type": "object", "additionalProperties": false, "allOf": []}),
            json!({"type": "array", "items": {"type": "string"}}),
            json!({"type": ["object", "null"], "additionalProperties": false}),
            json!({"anyOf": [{"type": "object"}], "type": "object", "additionalProperties": false}),
            json!(true),
        ] {
            assert!(!within(&loose), "{loose}");
        }
    }
}
