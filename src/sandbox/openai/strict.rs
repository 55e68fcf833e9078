//! OpenAI's strict subset of JSON Schema (reference: providers 1.1, from its documentation): a schema outside it is refused.

use serde_json::Value;

const LEVELS: usize = 10;
const REFUSED: [&str; 7] = ["allOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas"];

/// # Errors
/// What is outside the subset, as a sentence.
pub(super) fn check(schema: &Value) -> Result<(), String> {
    if schema["type"] != "object" || schema.get("anyOf").is_some() {
        return Err("the root must be an object and not `anyOf`".to_owned());
    }
    walk(schema, 0)
}

fn walk(schema: &Value, level: usize) -> Result<(), String> {
    if level > LEVELS {
        return Err(format!("more than {LEVELS} levels of nesting"));
    }
    if let Some(word) = REFUSED.into_iter().find(|word| schema.get(word).is_some()) {
        return Err(format!("`{word}` is not permitted"));
    }
    if let Some(properties) = schema["properties"].as_object() {
        if schema["additionalProperties"] != false {
            return Err("`additionalProperties` is required to be supplied and to be false".to_owned());
        }
        let required = |name: &String| schema["required"].as_array().is_some_and(|names| names.iter().any(|n| n.as_str() == Some(name)));
        if let Some(name) = properties.keys().find(|name| !required(name)) {
            return Err(format!("`required` must list every property; `{name}` is missing"));
        }
    }
    let members = ["properties", "$defs"].into_iter().filter_map(|member| schema[member].as_object()).flat_map(|all| all.values());
    let branches = schema["anyOf"].as_array().into_iter().flatten();
    members.chain(branches).chain(schema.get("items")).try_for_each(|part| walk(part, level + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_the_strict_subset_passes() {
        let strict =
            json!({"type": "object", "additionalProperties": false, "required": ["a"], "properties": {"a": {"type": ["string", "null"]}}});
        assert_eq!(check(&strict), Ok(()));
        let mut open = strict.clone();
        open["additionalProperties"] = json!(true);
        let mut optional = strict.clone();
        optional["required"] = json!([]);
        let mut negated = strict;
        negated["properties"]["a"]["not"] = json!({});
        for outside in [open, optional, negated, json!({"type": "array"})] {
            assert!(check(&outside).is_err(), "{outside}");
        }
    }
}
