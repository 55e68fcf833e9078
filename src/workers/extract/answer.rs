//! The schema, and whether an answer fits it. Checked here against the full schema in every case: what a provider promises
//! about its own output is a different subset at each of them.

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

/// A pattern that needs more steps than this on an answer is an attack on the clock.
const PATTERN_STEPS: usize = 100_000;
/// Problems told to the model at once; more only dilute the first.
const PROBLEMS: usize = 5;
const PROBLEM_CHARS: usize = 200;

/// # Errors
/// A sentence, when the schema is none. References to other documents are not followed.
pub(super) fn compile(schema: &Value) -> Result<Validator, String> {
    if !schema.is_object() {
        return Err("`schema` must be a JSON Schema, an object".into());
    }
    let options = jsonschema::options().with_pattern_options(PatternOptions::fancy_regex().backtrack_limit(PATTERN_STEPS));
    options.build(schema).map_err(|error| format!("`schema` is not a usable JSON Schema: {}", shortened(&error.to_string())))
}

/// The answer as data, or what is wrong with it in words for the model. `tag` is the mark that may not come back: an
/// answer that holds it repeats its prompt.
pub(super) fn read(text: &str, validator: &Validator, tag: &str) -> Result<Value, String> {
    let value: Value = serde_json::from_str(unfenced(text)).map_err(|error| format!("it is not valid JSON: {error}"))?;
    if text.contains(tag) {
        return Err("it repeats the marks around the document".into());
    }
    let problems: Vec<String> = validator
        .iter_errors(&value)
        .take(PROBLEMS)
        .map(|error| {
            let place = error.instance_path().to_string();
            let place = if place.is_empty() { "the root".to_owned() } else { place };
            format!("at {place}: {}", shortened(&error.to_string()))
        })
        .collect();
    if problems.is_empty() { Ok(value) } else { Err(problems.join("; ")) }
}

/// Models without a structured mode like to wrap their JSON in a Markdown fence.
fn unfenced(text: &str) -> &str {
    let text = text.trim();
    let inner = text.strip_prefix("```json").or_else(|| text.strip_prefix("```")).and_then(|rest| rest.strip_suffix("```"));
    inner.unwrap_or(text).trim()
}

fn shortened(text: &str) -> String {
    let mut chars = text.chars();
    let short: String = chars.by_ref().take(PROBLEM_CHARS).collect();
    if chars.next().is_some() { short + "…" } else { short }
}

#[cfg(test)]
mod tests {
    use super::{compile, read};
    use serde_json::json;

    #[test]
    fn fences_are_taken_off_and_everything_else_is_held_to_the_schema() {
        let schema = json!({"type": "object", "required": ["n"], "properties": {"n": {"type": "integer", "minimum": 1}}, "additionalProperties": false});
        let validator = compile(&schema).expect("a schema");
        for good in ["{\"n\":1}", " {\"n\": 2}\n", "```json\n{\"n\":3}\n```", "```\n{\"n\":3}```"] {
            assert!(read(good, &validator, "7f3a").is_ok(), "{good}");
        }
        for (bad, said) in [
            ("", "not valid JSON"),
            ("Sure! {\"n\":1}", "not valid JSON"),
            ("{\"n\":1", "not valid JSON"),
            ("{\"n\":0}", "at /n:"),
            ("{}", "at the root:"),
            ("{\"n\":1,\"x\":\"7f3a\"}", "repeats the marks"),
        ] {
            let problem = read(bad, &validator, "7f3a").expect_err("refused");
            assert!(problem.contains(said), "{bad}: {problem}");
        }
    }

    #[test]
    fn a_schema_that_is_none_or_points_elsewhere_is_refused() {
        for bad in [
            json!(true),
            json!([]),
            json!({"type": "obiect"}),
            json!({"$ref": "https://example.com/schema.json"}),
            json!({"$ref": "file:///etc/passwd"}),
        ] {
            assert!(compile(&bad).is_err(), "{bad}");
        }
        assert!(compile(&json!({"$defs": {"a": {"type": "string"}}, "$ref": "#/$defs/a"})).is_ok());
    }

    #[test]
    fn a_pattern_that_explodes_ends_as_a_problem_and_not_as_a_hang() {
        let validator = compile(&json!({"type": "object", "properties": {"s": {"pattern": "^(?=(a+)+$)(a|aa)+$"}}})).expect("a schema");
        let answer = format!("{{\"s\":\"{}b\"}}", "a".repeat(5_000));
        assert!(read(&answer, &validator, "7f3a").is_err());
    }
}
