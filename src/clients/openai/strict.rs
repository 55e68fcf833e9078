//! Whether a schema lies in the subset that OpenAI's `strict: true` takes (reference: providers 1.1). A schema outside it is
//! sent with `strict: false`; the answer is checked against the full schema in either case.

use serde_json::{Map, Value};

/// Nesting that the provider takes; deeper schemas are refused there.
const MAX_DEPTH: usize = 10;
const UNSUPPORTED: [&str; 9] =
    ["allOf", "oneOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "patternProperties"];

pub(super) fn conforms(schema: &Value) -> bool {
    let root = schema.as_object().is_some_and(|root| is_object(root) && !root.contains_key("anyOf"));
    root && node(schema, 1)
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

fn all_required(schema: &Map<String, Value>) -> bool {
    let required = schema.get("required").and_then(Value::as_array);
    let is_required = |name: &String| required.is_some_and(|names| names.iter().any(|n| n == name));
    schema.get("properties").and_then(Value::as_object).is_none_or(|properties| properties.keys().all(is_required))
}

#[cfg(test)]
mod tests {
    use super::conforms;
    use serde_json::json;

    #[test]
    fn only_closed_objects_with_every_property_required_are_strict() {
        let closed =
            json!({"type": "object", "additionalProperties": false, "required": ["a"], "properties": {"a": {"type": ["number", "null"]}}});
        assert!(conforms(&closed));
        assert!(conforms(
            &json!({"type": "object", "additionalProperties": false, "required": ["l"], "properties": {"l": {"type": "array", "items": closed}}})
        ));
        for loose in [
            json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}),
            json!({"type": "object", "additionalProperties": false, "properties": {"a": {"type": "string"}}}),
            json!({"type": "object", "additionalProperties": false, "required": ["a"], "properties": {"a": {"type": "object"}}}),
            json!({"type": "object", "additionalProperties": false, "allOf": []}),
            json!({"type": "array", "items": {"type": "string"}}),
            json!({"anyOf": [{"type": "object"}], "type": "object", "additionalProperties": false}),
            json!(true),
        ] {
            assert!(!conforms(&loose), "{loose}");
        }
    }
}
