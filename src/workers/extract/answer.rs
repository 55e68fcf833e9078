//! The schema, and whether an answer fits it. Checked here against the full schema in every case: what a provider promises
//! about its own output is a different subset at each of them. Both compute; they are for a pool.

use super::schema;
use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

/// A pattern that needs more steps than this on an answer is an attack on the clock.
const PATTERN_STEPS: usize = 100_000;
/// What all patterns of one schema may take compiled; a run keeps them while the model thinks.
const PATTERN_BYTES: usize = 32 << 20;
/// What one may, which is the regex engine's own limit: a hundred letters of any script take three megabytes.
const ONE_PATTERN_BYTES: usize = 10 << 20;
/// Transitions that a pattern may remember while it runs.
const PATTERN_CACHE_BYTES: usize = 1 << 20;
/// Problems told to the model at once; more only dilute the first.
const PROBLEMS: usize = 5;
const PROBLEM_CHARS: usize = 200;
/// Subschemas times values that may be visited again to say what is wrong. That there is something wrong is found out with
/// results remembered on the way; what it is, is not.
const VISITS: u64 = 1_000_000;

/// A schema that answers are held against.
#[derive(Debug)]
pub(super) struct Shape {
    schema: Value,
    validator: Validator,
}

impl Shape {
    /// # Errors
    /// A sentence, when the schema is none or is too much work. References to other documents are not followed.
    pub fn new(text: &str) -> Result<Self, String> {
        let schema: Value = serde_json::from_str(text).map_err(|error| format!("`schema` is not JSON: {error}"))?;
        if !schema.is_object() {
            return Err("`schema` must be a JSON Schema, an object".into());
        }
        schema::check(text.len(), &schema)?;
        let patterns = PatternOptions::fancy_regex()
            .backtrack_limit(PATTERN_STEPS)
            .size_limit((PATTERN_BYTES / schema::patterns(&schema).max(1)).min(ONE_PATTERN_BYTES))
            .dfa_size_limit(PATTERN_CACHE_BYTES);
        let options = jsonschema::options().with_pattern_options(patterns);
        let unusable = |error: &str| format!("`schema` is not a usable JSON Schema: {}", shortened(error));
        let validator = options.build(&schema).map_err(|error| unusable(&error.to_string()))?;
        Ok(Self { schema, validator })
    }

    /// The answer as data, or what is wrong with it in words for the model. `tag` is the mark that may not come back: an
    /// answer that holds it repeats its prompt.
    pub fn read(&self, text: &str, tag: &str) -> Result<Value, String> {
        let value: Value = serde_json::from_str(unfenced(text)).map_err(|error| format!("it is not valid JSON: {error}"))?;
        if text.contains(tag) {
            return Err("it repeats the marks around the document".into());
        }
        if self.validator.is_valid(&value) { Ok(value) } else { Err(self.problems(&value)) }
    }

    fn problems(&self, value: &Value) -> String {
        let (values, levels) = extent(value);
        if schema::met_by(&self.schema, levels).saturating_mul(values) > VISITS {
            return "it does not fit the schema".into();
        }
        let problems = self.validator.iter_errors(value).take(PROBLEMS).map(|error| {
            let place = error.instance_path().to_string();
            let place = if place.is_empty() { "the root".to_owned() } else { place };
            format!("at {place}: {}", shortened(&error.to_string()))
        });
        problems.collect::<Vec<_>>().join("; ")
    }
}

/// How many values there are in `value`, itself included, and on how many levels below it.
fn extent(value: &Value) -> (u64, usize) {
    let parts: Vec<&Value> = match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(members) => members.values().collect(),
        _ => return (1, 0),
    };
    let below = parts.into_iter().map(extent);
    below.fold((1, 1), |(values, levels), (more, deep)| (values + more, levels.max(deep + 1)))
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
    use super::Shape;
    use serde_json::{Value, json};

    fn shape(schema: &Value) -> Result<Shape, String> {
        Shape::new(&schema.to_string())
    }

    #[test]
    fn fences_are_taken_off_and_everything_else_is_held_to_the_schema() {
        let schema = json!({"type": "object", "required": ["n"], "properties": {"n": {"type": "integer", "minimum": 1}}, "additionalProperties": false});
        let shape = shape(&schema).expect("a schema");
        for good in ["{\"n\":1}", " {\"n\": 2}\n", "```json\n{\"n\":3}\n```", "```\n{\"n\":3}```"] {
            assert!(shape.read(good, "7f3a").is_ok(), "{good}");
        }
        for (bad, said) in [
            ("", "not valid JSON"),
            ("Sure! {\"n\":1}", "not valid JSON"),
            ("{\"n\":1", "not valid JSON"),
            ("{\"n\":0}", "at /n:"),
            ("{}", "at the root:"),
            ("{\"n\":1,\"x\":\"7f3a\"}", "repeats the marks"),
        ] {
            let problem = shape.read(bad, "7f3a").expect_err("refused");
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
            assert!(shape(&bad).is_err(), "{bad}");
        }
        assert!(shape(&json!({"$defs": {"a": {"type": "string"}}, "$ref": "#/$defs/a"})).is_ok());
    }

    #[test]
    fn a_pattern_that_explodes_ends_as_a_problem_and_not_as_a_hang() {
        let shape = shape(&json!({"type": "object", "properties": {"s": {"pattern": "^(?=(a+)+$)(a|aa)+$"}}})).expect("a schema");
        let answer = format!("{{\"s\":\"{}b\"}}", "a".repeat(5_000));
        assert!(shape.read(&answer, "7f3a").is_err());
    }

    #[test]
    fn patterns_share_the_memory_that_one_schema_may_take() {
        let heavy = |count: usize| json!({"type": "string", "allOf": (0..count).map(|n| json!({"pattern": format!("(a{{900}}){{9}}{n}")})).collect::<Vec<_>>()});
        assert!(shape(&heavy(3)).is_ok());
        assert!(shape(&heavy(1000)).is_err_and(|said| said.contains("not a usable JSON Schema")));
        assert!(shape(&json!({"type": "string", "pattern": "^[\\p{L}\\p{N} .'-]{1,100}$"})).is_ok());
    }

    #[test]
    fn an_answer_that_meets_a_schema_too_often_is_refused_without_the_list_of_reasons() {
        let branch = json!({"properties": {"a": {"$ref": "#/$defs/n"}}, "required": ["z"]});
        let schema = json!({"type": "object", "$defs": {"n": {"anyOf": [branch, branch]}}, "$ref": "#/$defs/n"});
        let shape = shape(&schema).expect("a schema");
        let answer = (0..60).fold(json!({}), |inner, _| json!({"a": inner}));
        assert_eq!(shape.read(&answer.to_string(), "7f3a"), Err("it does not fit the schema".to_owned()));
        assert!(shape.read("{\"a\":{}}", "7f3a").is_err_and(|said| said.starts_with("at the root:")));
    }
}
