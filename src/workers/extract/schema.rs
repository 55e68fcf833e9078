//! How much work a schema is, before it is compiled or held against an answer. Few bytes can describe a great deal: a
//! definition that names another twice, twenty times over, is a million subschemas. So every `$ref` is followed and
//! counted, each definition once.

use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// Larger ones are no use in a prompt.
const MOST_BYTES: usize = 64 << 10;
/// Subschemas once every `$ref` is followed. The most properties that a provider takes are 5,000.
const MOST_SUBSCHEMAS: u64 = 10_000;
/// A count that takes longer than this is one that would be refused.
const MOST_STEPS: u32 = 1_000_000;

/// Keywords that hold a schema or a list of them about the same value.
const IN_PLACE: [&str; 7] = ["allOf", "anyOf", "oneOf", "not", "if", "then", "else"];
/// The same, about a part of the value.
const OF_PARTS: [&str; 9] = [
    "items",
    "prefixItems",
    "additionalItems",
    "unevaluatedItems",
    "contains",
    "additionalProperties",
    "unevaluatedProperties",
    "propertyNames",
    "contentSchema",
];
/// Keywords that hold schemas by name.
const NAMED: [&str; 2] = ["properties", "patternProperties"];
const NAMED_IN_PLACE: [&str; 2] = ["dependentSchemas", "dependencies"];
const REFERENCES: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];

/// # Errors
/// A sentence, when the schema is too much or names what cannot be counted.
pub(super) fn check(bytes: usize, schema: &Value) -> Result<(), String> {
    if bytes > MOST_BYTES {
        return Err(format!("`schema` is {bytes} bytes long, and {MOST_BYTES} are allowed; make it smaller"));
    }
    if has_bases_inside(schema) {
        return Err("`schema` holds an `$id` below its root, which moves what `$ref` means; leave it out".into());
    }
    let mut count = Count::new(schema);
    let subschemas = count.of(schema, None);
    if let Some(reference) = count.unknown {
        let reference: String = reference.chars().take(100).collect();
        return Err(format!("`schema` refers to `{reference}`, which is no place in it; write references as `#/$defs/name`"));
    }
    if subschemas > MOST_SUBSCHEMAS {
        return Err(format!("`schema` has more than {MOST_SUBSCHEMAS} subschemas with every `$ref` followed; name fewer alternatives"));
    }
    Ok(())
}

/// The subschemas that a value of so many levels may meet on one path through it, at most.
pub(super) fn met_by(schema: &Value, levels: usize) -> u64 {
    Count::new(schema).of(schema, Some(levels))
}

/// How many different regular expressions there are in it, at most.
pub(super) fn patterns(schema: &Value) -> usize {
    fn collect<'s>(value: &'s Value, found: &mut HashSet<&'s str>) {
        found.extend(value.get("pattern").and_then(Value::as_str));
        found.extend(value.get("patternProperties").and_then(Value::as_object).into_iter().flatten().map(|(name, _)| name.as_str()));
        parts(value).for_each(|part| collect(part, found));
    }
    let mut found = HashSet::new();
    collect(schema, &mut found);
    found.len()
}

/// An object that gives a part of the schema an address of its own. Older drafts spell it `id`.
fn has_bases_inside(schema: &Value) -> bool {
    fn inside(value: &Value, is_old: bool) -> bool {
        let is_base =
            |value: &Value| value.get("$id").is_some_and(Value::is_string) || is_old && value.get("id").is_some_and(Value::is_string);
        parts(value).any(|part| is_base(part) || inside(part, is_old))
    }
    let is_old =
        schema.get("$schema").and_then(Value::as_str).is_some_and(|draft| draft.contains("draft-04") || draft.contains("draft-03"));
    inside(schema, is_old)
}

fn parts(value: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    match value {
        Value::Array(items) => Box::new(items.iter()),
        Value::Object(members) => Box::new(members.values()),
        _ => Box::new(std::iter::empty()),
    }
}

struct Count<'s> {
    root: &'s Value,
    /// By definition and levels left; None while it is being counted, so that a cycle counts once.
    known: HashMap<(*const Value, Option<usize>), Option<u64>>,
    steps: u32,
    /// A reference that could not be followed.
    unknown: Option<&'s str>,
}

impl<'s> Count<'s> {
    fn new(root: &'s Value) -> Self {
        Self { root, known: HashMap::new(), steps: 0, unknown: None }
    }

    /// `schema` and everything below it; with `levels`, only what a value of so many levels can reach.
    fn of(&mut self, schema: &'s Value, levels: Option<usize>) -> u64 {
        self.steps += 1;
        if self.steps > MOST_STEPS {
            return u64::MAX;
        }
        let Some(members) = schema.as_object() else { return 1 };
        let below = levels.map(|levels| levels.checked_sub(1));
        let mut sum = 1_u64;
        let mut add = |count: u64| sum = sum.saturating_add(count);
        for (keyword, value) in members {
            let keyword = keyword.as_str();
            if REFERENCES.contains(&keyword) {
                add(self.referred(value, levels));
            } else if IN_PLACE.contains(&keyword) {
                add(self.held(value, levels));
            } else if NAMED_IN_PLACE.contains(&keyword) {
                add(self.each(value, levels));
            } else if below != Some(None) {
                let below = below.flatten();
                if OF_PARTS.contains(&keyword) {
                    add(self.held(value, below));
                } else if NAMED.contains(&keyword) {
                    add(self.each(value, below));
                }
            }
        }
        sum
    }

    /// A schema, or a list of them.
    fn held(&mut self, value: &'s Value, levels: Option<usize>) -> u64 {
        if value.is_array() { self.each(value, levels) } else { self.of(value, levels) }
    }

    fn each(&mut self, value: &'s Value, levels: Option<usize>) -> u64 {
        parts(value).fold(0, |sum, part| sum.saturating_add(self.of(part, levels)))
    }

    fn referred(&mut self, reference: &'s Value, levels: Option<usize>) -> u64 {
        let Some(reference) = reference.as_str() else { return 1 };
        let Some(target) = pointer(reference).and_then(|pointer| self.root.pointer(&pointer)) else {
            self.unknown = Some(reference);
            return 1;
        };
        let key = (std::ptr::from_ref(target), levels);
        if let Some(known) = self.known.get(&key) {
            return known.unwrap_or(1);
        }
        self.known.insert(key, None);
        let count = self.of(target, levels);
        self.known.insert(key, Some(count));
        count
    }
}

/// The JSON pointer in a reference within the document, its percent signs decoded.
fn pointer(reference: &str) -> Option<String> {
    let mut parts = reference.strip_prefix('#')?.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (code, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(code, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok().filter(|pointer| pointer.is_empty() || pointer.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::{MOST_SUBSCHEMAS, check, met_by, pointer};
    use serde_json::{Value, json};

    fn bomb(levels: usize) -> Value {
        let mut definitions = serde_json::Map::new();
        for level in 0..levels {
            let next = json!({"$ref": format!("#/$defs/d{}", level + 1)});
            definitions.insert(format!("d{level}"), json!({"anyOf": [next, next]}));
        }
        definitions.insert(format!("d{levels}"), json!({"type": "string"}));
        json!({"$defs": definitions, "$ref": "#/$defs/d0"})
    }

    #[test]
    fn a_schema_that_doubles_is_counted_without_being_unfolded_and_refused() {
        assert_eq!(check(2_000, &bomb(8)), Ok(()));
        let said = check(2_000, &bomb(25)).expect_err("a bomb");
        assert!(said.contains("more than 10000 subschemas"), "{said}");
        let mut closed = bomb(25);
        closed["$defs"]["d25"] = json!({"anyOf": [{"$ref": "#/$defs/d0"}]});
        assert!(check(2_000, &closed).is_err(), "a cycle counts once, and what doubles on the way counts");
    }

    #[test]
    fn trees_of_their_own_kind_are_fine_and_what_cannot_be_counted_is_refused() {
        let node = json!({"type": "object", "properties": {"left": {"$ref": "#/$defs/node"}, "right": {"$ref": "#"}, "id": {"type": "string"}, "$id": {}}});
        assert_eq!(check(100, &json!({"$defs": {"node": node}, "$ref": "#/%24defs/node", "$id": "https://example.com/x"})), Ok(()));
        for (bad, said) in [
            (json!({"$ref": "#name", "$defs": {"a": {"$anchor": "name"}}}), "refers to `#name`"),
            (json!({"items": {"$ref": "https://example.com/x"}}), "refers to `https://example.com/x`"),
            (json!({"$ref": "#/$defs/none"}), "refers to `#/$defs/none`"),
            (json!({"$defs": {"a": {"$id": "b", "$defs": {}}}}), "an `$id` below its root"),
            (json!({"$schema": "http://json-schema.org/draft-04/schema#", "items": {"id": "b"}}), "an `$id` below its root"),
        ] {
            let told = check(100, &bad).expect_err("refused");
            assert!(told.contains(said), "{told}");
        }
        assert!(check(65_537, &json!({})).is_err_and(|said| said.contains("65536 are allowed")));
    }

    #[test]
    fn what_a_value_meets_grows_with_its_levels_where_a_schema_names_itself() {
        let branch = json!({"properties": {"a": {"$ref": "#/$defs/n"}}, "required": ["z"]});
        let schema = json!({"$defs": {"n": {"anyOf": [branch, branch]}}, "$ref": "#/$defs/n"});
        assert!(met_by(&schema, 2) < 40);
        assert!(met_by(&schema, 60) > 1 << 40);
        let flat: Vec<Value> = (0..100).map(|n| json!({"const": n})).collect();
        assert_eq!(met_by(&json!({"anyOf": flat}), 9), 101);
        assert!(met_by(&bomb(25), 1) > MOST_SUBSCHEMAS);
    }

    #[test]
    fn pointers_are_decoded_as_in_an_address() {
        assert_eq!(pointer("#/a%20b/%E2%82%AC").as_deref(), Some("/a b/€"));
        for none in ["", "a#/b", "#a", "#/%2", "#/%zz", "#/%ff"] {
            assert_eq!(pointer(none), None, "{none}");
        }
    }
}
